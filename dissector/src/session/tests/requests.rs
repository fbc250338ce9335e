//! What clients ask for.

use protocol::values::{Command, CommandFlags, OptionType};

use super::dsl::*;

const FLUSH: Command = Command::FLUSH;
const TRIM: Command = Command::TRIM;
const CACHE: Command = Command::CACHE;
const ZEROES: Command = Command::WRITE_ZEROES;
const STATUS: Command = Command::BLOCK_STATUS;
const FUA: CommandFlags = CommandFlags::FUA;
const DF_FLAG: CommandFlags = CommandFlags::DF;

impl Talk {
    /// Simple replies, with these transmission flags.
    fn flags(&mut self, flags: u16) -> &mut Self {
        self.haggle().enter(SIZE, flags, 1)
    }

    /// No constraints were told.
    fn plain(&mut self) -> &mut Self {
        self.haggle().enter(1 << 30, FLAGS, 0)
    }

    /// A size that is odd, with no constraints.
    fn odd(&mut self) -> &mut Self {
        self.haggle().enter(1_000_001, FLAGS, 0)
    }
}

cases! {
    a_request_begins_with_its_magic: RequestLayout by Client,
        |t| { t.simple().raw(Client, &[0x99; 28]); },
        |t| { t.simple().raw(Client, &disc(0x9999).to_bytes()); };
    only_a_write_has_payload: RequestLayout by Client,
        |t| { t.simple().c(cmd(ZEROES, 1, 0, 512)).raw(Client, &[0; 512]); },
        |t| { t.simple().c(write(1, 0, 512)).s(ok(1)).c(disc(2)); };
    cookies_in_flight_are_distinct: CookieDistinct by Client,
        |t| { t.simple().c(read(1, 0, 512)).c(read(1, 512, 512)); },
        |t| { t.simple().c(write(1, 0, 512)).s(ok(1)).c(write(1, 512, 512)); };
    historic_magics_are_gone: MagicHistoric by Client,
        |t| { t.simple().raw(Client, &[0x12, 0x56, 0x09, 0x53, 0, 0, 0, 0]); },
        |t| { t.simple().raw(Client, &[0x25, 0x60, 0x95, 0x13, 0, 0, 0, 0]); };
    extended_requests_are_negotiated: MagicExtended by Client,
        |t| { t.structured().raw(Client, &[0x21, 0xe4, 0x1c, 0x71]).raw(Client, &[0; 20])
            .raw(Client, &512u64.to_be_bytes()); },
        |t| { t.extended().raw(Client, &[0x21, 0xe4, 0x1c, 0x71]).raw(Client, &[0; 20])
            .raw(Client, &512u64.to_be_bytes()); };

    without_constraints_offsets_are_multiples_of_512: PortableMin512 by Client,
        |t| { t.plain().c(read(1, 100, 512)); },
        |t| { t.haggle().enter(1 << 30, FLAGS, 1).c(read(1, 100, 512)); };
    without_constraints_lengths_are_multiples_of_512: PortableMin512 by Client,
        |t| { t.odd().c(read(1, 0, 1)); },
        |t| { t.odd().c(read(1, 1_000_000 / 512 * 512, 65)); };
    without_constraints_payloads_are_below_32_mib: PortableMax32Mib by Client,
        |t| { t.plain().c(read(1, 0, (1 << 25) + 512)); },
        |t| { t.plain().c(read(1, 0, 1 << 25)).c(cmd(TRIM, 2, 0, 1 << 26)); };
    payloads_are_within_the_maximum: PayloadLimit by Client,
        |t| { t.haggle().enter_sized(1 << 30, FLAGS, 1, 1 << 20).c(write(1, 0, (1 << 20) + 1)); },
        |t| { t.haggle().enter_sized(1 << 30, FLAGS, 1, 1 << 20).c(write(1, 0, 1 << 20))
            .c(cmd(ZEROES, 2, 0, 1 << 21)); };
    simple_reads_are_within_the_maximum: PayloadLimit by Client,
        |t| { t.haggle().enter_sized(1 << 30, FLAGS, 1, 1 << 20).c(read(1, 0, 1 << 21)); },
        |t| { t.haggle().agree(OptionType::STRUCTURED_REPLY)
            .enter_sized(1 << 30, FLAGS, 1, 1 << 20).c(read(1, 0, 1 << 21)); };
    requests_are_aligned_to_the_minimum: RequestAligned by Client,
        |t| { t.haggle().enter(SIZE, FLAGS, 4096).c(read(1, 512, 4096)); },
        |t| { t.haggle().enter(SIZE, FLAGS, 4096).c(read(1, 4096, 4096)).c(cmd(FLUSH, 2, 0, 0)); };
    lengths_are_aligned_to_the_minimum: RequestAligned by Client,
        |t| { t.haggle().enter(SIZE, FLAGS, 4096).c(cmd(TRIM, 1, 0, 512)); },
        |t| { t.haggle().enter(SIZE, FLAGS, 512).c(cmd(TRIM, 1, 0, 512)); };
    who_did_not_ask_need_not_align: RequestAligned by Client,
        |t| { t.haggle().enter(SIZE, FLAGS, 4096).c(read(1, 1, 1)); },
        |t| { t.unasked().c(read(1, 1, 1)); };
    requests_end_within_the_export: RequestWithinExport by Client,
        |t| { t.simple().c(read(1, SIZE - 512, 1024)); },
        |t| { t.simple().c(read(1, SIZE - 512, 512)); };
    ends_of_requests_do_not_wrap: RequestWithinExport by Client,
        |t| { t.simple().c(cmd(CACHE, 1, u64::MAX - 511, 512)); },
        |t| { t.simple().c(cmd(CACHE, 1, SIZE - 1, 1)); };

    fua_takes_its_flag: ClientNeedsFlag by Client,
        |t| { t.flags(0x65).c(cmd_with(Command::WRITE, FUA, 1, 0, 512)); },
        |t| { t.flags(0x6d).c(cmd_with(Command::WRITE, FUA, 1, 0, 512)); };
    df_takes_its_flag: DfNeedsFlag by Client,
        |t| { t.haggle().agree(OptionType::STRUCTURED_REPLY).enter(SIZE, FLAGS, 1)
            .c(cmd_with(Command::READ, DF_FLAG, 1, 0, 512)); },
        |t| { t.structured().c(cmd_with(Command::READ, DF_FLAG, 1, 0, 512)); };
    df_takes_structured_replies: StructuredExtensionsClient by Client,
        |t| { t.simple().c(cmd_with(Command::READ, DF_FLAG, 1, 0, 512)); },
        |t| { t.structured().c(cmd_with(Command::READ, DF_FLAG, 1, 0, 512)); };
    block_status_takes_structured_replies: StructuredExtensionsClient by Client,
        |t| { t.simple().c(cmd(STATUS, 1, 0, 512)); },
        |t| { t.contexts(&["base:allocation"], 1).c(cmd(STATUS, 1, 0, 512)); };
    fast_zero_takes_its_flag: FastZeroNeedsFlag by Client,
        |t| { t.flags(0x6d).c(cmd_with(ZEROES, CommandFlags::FAST_ZERO, 1, 0, 512)); },
        |t| { t.flags(0x86d).c(cmd_with(ZEROES, CommandFlags::FAST_ZERO, 1, 0, 512)); };
    flags_belong_to_their_commands: CommandFlagsDocumented by Client,
        |t| { t.simple().c(cmd_with(Command::WRITE, CommandFlags::NO_HOLE, 1, 0, 512)); },
        |t| { t.simple().c(cmd_with(ZEROES, CommandFlags::NO_HOLE, 1, 0, 512)); };
    unknown_flags_are_not_sent: CommandFlagsDocumented by Client,
        |t| { t.simple().c(cmd_with(Command::READ, CommandFlags(0x8000), 1, 0, 512)); },
        |t| { t.contexts(&["x-a:b"], 1).c(cmd_with(STATUS, CommandFlags::REQ_ONE, 1, 0, 512)); };
    fua_is_for_writes: FuaWritesOnly by Client,
        |t| { t.simple().c(cmd_with(FLUSH, FUA, 1, 0, 0)); },
        |t| { t.simple().c(cmd_with(TRIM, FUA, 1, 0, 512)); };
    resize_is_reserved: ResizeExperimental by Client,
        |t| { t.simple().c(cmd(Command::RESIZE, 1, 0, 512)); },
        |t| { t.simple().c(cmd(CACHE, 1, 0, 512)); };
    unknown_commands_are_negotiated: BaselineNegotiated by Client,
        |t| { t.simple().c(cmd(Command(99), 1, 0, 512)); },
        |t| { t.flags(0x161).c(cmd(CACHE, 1, 0, 512)); };

    a_read_is_not_empty: ReadZeroLength by Client,
        |t| { t.simple().c(read(1, 0, 0)); }, |t| { t.simple().c(read(1, 0, 1)); };
    a_write_is_not_empty: WriteZeroLength by Client,
        |t| { t.simple().c(write(1, 0, 0)); }, |t| { t.simple().c(write(1, 0, 1)); };
    a_trim_is_not_empty: TrimZeroLength by Client,
        |t| { t.simple().c(cmd(TRIM, 1, 0, 0)); }, |t| { t.simple().c(cmd(TRIM, 1, 0, 1)); };
    zeroes_are_not_empty: WriteZeroesZeroLength by Client,
        |t| { t.simple().c(cmd(ZEROES, 1, 0, 0)); }, |t| { t.simple().c(cmd(ZEROES, 1, 0, 1)); };
    a_status_query_is_not_empty: StatusZeroLength by Client,
        |t| { t.contexts(&["x-a:b"], 1).c(cmd(STATUS, 1, 0, 0)); },
        |t| { t.contexts(&["x-a:b"], 1).c(cmd(STATUS, 1, 0, 1)); };
    flush_takes_its_flag: FlushNeedsFlag by Client,
        |t| { t.flags(0x61).c(cmd(FLUSH, 1, 0, 0)); }, |t| { t.flags(0x65).c(cmd(FLUSH, 1, 0, 0)); };
    flush_has_no_range: FlushZeroFields by Client,
        |t| { t.simple().c(cmd(FLUSH, 1, 0, 512)); }, |t| { t.simple().c(cmd(FLUSH, 1, 0, 0)); };
    trim_takes_its_flag: TrimNeedsFlag by Client,
        |t| { t.flags(0x45).c(cmd(TRIM, 1, 0, 1)); }, |t| { t.flags(0x25).c(cmd(TRIM, 1, 0, 1)); };
    write_zeroes_takes_its_flag: WriteZeroesNeedsFlag by Client,
        |t| { t.flags(0x25).c(cmd(ZEROES, 1, 0, 1)); },
        |t| { t.flags(0x45).c(cmd(ZEROES, 1, 0, 1)); };
    block_status_takes_a_context: StatusNeedsContext by Client,
        |t| { t.structured().c(cmd(STATUS, 1, 0, 512)); },
        |t| { t.contexts(&["x-a:b"], 1).c(cmd(STATUS, 1, 0, 512)); };
    contexts_are_for_the_export_entered: StatusNeedsContext by Client,
        |t| { t.haggle().agree(OptionType::STRUCTURED_REPLY).select("other", &["x-a:b"])
            .enter(SIZE, FLAGS, 1).c(cmd(STATUS, 1, 0, 512)); },
        |t| { t.haggle().agree(OptionType::STRUCTURED_REPLY).select("disk", &["x-a:b"])
            .enter(SIZE, FLAGS, 1).c(cmd(STATUS, 1, 0, 512)); };
    the_last_selection_counts: StatusNeedsContext by Client,
        |t| { t.haggle().agree(OptionType::STRUCTURED_REPLY).select("disk", &["x-a:b"])
            .select("disk", &[]).enter(SIZE, FLAGS, 1).c(cmd(STATUS, 1, 0, 512)); },
        |t| { t.haggle().agree(OptionType::STRUCTURED_REPLY).select("other", &["x-a:b"])
            .select("disk", &["x-a:b"]).enter(SIZE, FLAGS, 1).c(cmd(STATUS, 1, 0, 512)); };
    the_data_of_a_write_is_not_longer_than_it_says: WritePayload by Client,
        |t| { t.simple().c(write(1, 0, 512)).raw(Client, &[0; 28]); },
        |t| { t.simple().c(write(1, 0, 512)).s(ok(1)).c(disc(2)); };
    a_write_has_all_its_payload: WritePayload by Client,
        |t| { t.simple().raw(Client, &write(1, 0, 512).to_bytes()).raw(Client, &[0; 100])
            .close(Client); },
        |t| { t.simple().raw(Client, &write(1, 0, 512).to_bytes()).raw(Client, &[0; 512]); };
    a_disc_has_no_range: DiscZeroFields by Client,
        |t| { t.simple().c(cmd(Command::DISC, 1, 512, 0)); }, |t| { t.simple().c(disc(1)); };
    a_disc_waits_for_replies: DiscWhenIdle by Client,
        |t| { t.simple().c(write(1, 0, 512)).c(disc(2)); },
        |t| { t.simple().c(write(1, 0, 512)).s(ok(1)).c(disc(2)); };
}

impl Talk {
    /// The server told a minimum of 4096 to a client that did not ask.
    fn unasked(&mut self) -> &mut Self {
        let go = OptionType::GO;
        self.haggle().c(info(go, "disk", &[])).s(block_size(go, 4096, 4096, 1 << 25));
        self.events.clear();
        self.s(export(go, SIZE, FLAGS)).s(ack(go))
    }
}

#[test]
fn constraints_learned_by_info_hold_for_export_name() {
    let mut talk = Talk::new();
    let (info_option, size) = (OptionType::INFO, protocol::values::InfoType::BLOCK_SIZE);
    talk.haggle().c(info(info_option, "disk", &[size])).s(export(info_option, SIZE, FLAGS));
    talk.s(block_size(info_option, 4096, 4096, 1 << 25)).s(ack(info_option));
    talk.c(export_name("disk")).s(export_answer(FLAGS, protocol::message::Padding::Absent));
    talk.c(read(1, 512, 512));
    assert_eq!(talk.broken(), ["opt-go-preferred", "request-aligned-to-min"]);
}
