//! The extension "extended headers".

use protocol::message::{ChunkBody, Message};
use protocol::values::{ChunkType, Command, CommandFlags, ErrorCode, OptionType, ReplyType};

use super::dsl::*;

const EXTENDED: OptionType = OptionType::EXTENDED_HEADERS;
const STRUCTURED: OptionType = OptionType::STRUCTURED_REPLY;
const STARTTLS: OptionType = OptionType::STARTTLS;
const SET: OptionType = OptionType::SET_META_CONTEXT;
const LIST_META: OptionType = OptionType::LIST_META_CONTEXT;
const GO: OptionType = OptionType::GO;
const STATUS: Command = Command::BLOCK_STATUS;
const PAYLOAD_LEN: CommandFlags = CommandFlags::PAYLOAD_LEN;
/// BLOCK_STATUS_PAYLOAD.
const FILTER: u16 = 0x1000;
const NAME: &[&str] = &["x-any:thing"];
const EARLY: ReplyType = ReplyType::ERR_EXT_HEADER_REQD;

impl Talk {
    /// Context 1, and a query of 4096 bytes at 0.
    fn query(&mut self, name: &str) -> &mut Self {
        self.extended_contexts(&[name], FLAGS | DF).c(x(cmd(STATUS, 1, 0, 4096)))
    }

    /// Contexts 1 and 2, and a query about one of them.
    fn one_of_two(&mut self) -> &mut Self {
        self.extended_contexts(&["x-a:b", "x-a:c"], FLAGS | FILTER).c(filtered(1, 4096, &[2]))
    }
}

fn lying(count: u32, list: &[(u64, u64)]) -> Message {
    let body = ChunkBody::BlockStatusExt { id: 1, count, extents: extents(list) };
    xs(0, chunk(ChunkType::BLOCK_STATUS_EXT, DONE, 1, body))
}

/// The header of a chunk of data with an absurd length.
fn endless(length: u64) -> Vec<u8> {
    let mut bytes = xs(0, data(1, DONE, 0, 512)).to_bytes();
    bytes[24..32].copy_from_slice(&length.to_be_bytes());
    bytes
}

/// An extended query of 4 GiB that counts its payload.
fn query_without_form(length: u64) -> Message {
    let Message::Request(mut request) = x(cmd_with(STATUS, PAYLOAD_LEN, 1, 0, 0)) else {
        panic!("no request")
    };
    request.length = length;
    Message::Request(request)
}

cases! {
    export_name_is_out: ExtExportNameForbidden by Client,
        |t| { t.haggle().agree(EXTENDED).c(export_name("disk")); },
        |t| { t.haggle().c(opt(EXTENDED)).s(refuse(EXTENDED, ReplyType::ERR_UNSUP))
            .c(go()).s(refuse(GO, ReplyType::ERR_UNSUP)).c(export_name("disk")); };
    go_comes_with_it: ExtGoNotUnsup by Server,
        |t| { t.haggle().agree(EXTENDED).c(go()).s(refuse(GO, ReplyType::ERR_UNSUP)); },
        |t| { t.haggle().agree(EXTENDED).c(go()).s(refuse(GO, ReplyType::ERR_UNKNOWN)); };
    listing_base_needs_nothing: ExtListMetaBaseNoError by Server,
        |t| { t.haggle().agree(STRUCTURED).c(meta(LIST_META, "", &["base:"]))
            .s(refuse(LIST_META, EARLY)); },
        |t| { t.haggle().agree(STRUCTURED).c(meta(LIST_META, "", &["base:", "x-a:"]))
            .s(refuse(LIST_META, EARLY)); };
    a_listing_is_not_refused_once_they_are_on: ExtListMetaBaseNoError by Server,
        |t| { t.haggle().agree(EXTENDED).c(meta(LIST_META, "", &[])).s(refuse(LIST_META, EARLY)); },
        |t| { t.haggle().agree(STRUCTURED).c(meta(LIST_META, "", &[]))
            .s(refuse(LIST_META, EARLY)); };
    selecting_base_needs_nothing: ExtSetMetaBaseNoError by Server,
        |t| { t.haggle().agree(STRUCTURED).c(meta(SET, "", &["base:allocation"]))
            .s(refuse(SET, EARLY)); },
        |t| { t.haggle().agree(STRUCTURED).c(meta(SET, "", &["base:allocation", "x-a:b"]))
            .s(refuse(SET, EARLY)); };
    tls_undoes_them: ExtRenegotiatedAfterTls by Client,
        |t| { t.haggle().agree(EXTENDED).agree(STARTTLS).tls(); t.events.clear();
            t.enter(SIZE, FLAGS, 1).c(x(read(1, 0, 512))); },
        |t| { t.haggle().agree(STARTTLS).tls().agree(EXTENDED)
            .enter(SIZE, FLAGS, 1).c(x(read(1, 0, 512))); };
    contexts_take_them_again_inside_tls: ExtRenegotiatedAfterTls by Client,
        |t| { t.haggle().agree(EXTENDED).agree(STARTTLS).tls(); t.events.clear();
            t.c(meta(SET, "disk", NAME)); },
        |t| { t.haggle().agree(STARTTLS).tls().agree(EXTENDED).c(meta(SET, "disk", NAME)); };
    the_filter_flag_takes_them: ExtStatusPayloadFlagNeedsExt by Server,
        |t| { t.haggle().agree(STRUCTURED).select("disk", NAME).enter(SIZE, FLAGS | FILTER, 0)
            .set_culprit(9); },
        |t| { t.haggle().agree(EXTENDED).select("disk", NAME).enter(SIZE, FLAGS | FILTER, 0); };
    the_filter_flag_takes_contexts: ExtStatusPayloadFlagNeedsContexts by Server,
        |t| { t.haggle().agree(EXTENDED).c(go()).s(export(GO, SIZE, FLAGS | FILTER)); },
        |t| { t.haggle().agree(EXTENDED).c(info(OptionType::INFO, "disk", &[]))
            .s(export(OptionType::INFO, SIZE, FLAGS | FILTER)); };

    a_request_begins_with_its_magic: ExtRequestLayout by Client,
        |t| { t.extended().raw(Client, &[0x99; 32]); },
        |t| { t.extended().raw(Client, &x(disc(0x9999)).to_bytes()); };
    only_with_its_flag_a_payload_follows: ExtRequestLayout by Client,
        |t| { t.extended().c(x(cmd(Command::TRIM, 1, 0, 512))).raw(Client, &[7; 512]); },
        |t| { t.extended().c(x(write(1, 0, 512))).s(xs(0, none(1))).c(x(disc(2))); };
    every_request_is_extended: ExtClientUsesExtendedRequests by Client,
        |t| { t.extended().c(cmd(Command::FLUSH, 1, 0, 0)); },
        |t| { t.structured().c(cmd(Command::FLUSH, 1, 0, 0)); };
    compact_requests_announce_no_payload: ExtCompactNoPayloadFlag by Client,
        |t| { t.simple().c(cmd_with(Command::WRITE, PAYLOAD_LEN, 1, 0, 512)); },
        |t| { t.extended().c(x(write(1, 0, 512))); };
    a_write_announces_its_payload: ExtWritePayloadFlag by Client,
        |t| { t.extended().c(bare(x(write(1, 0, 512)))).s(xs(0, none(1))); },
        |t| { t.extended().c(x(write(1, 0, 512))).s(xs(0, none(1))); };
    a_payload_is_not_empty: ExtPayloadNonzero by Client,
        |t| { t.extended_contexts(NAME, FLAGS | FILTER).c(query_without_form(0)); },
        |t| { t.extended_contexts(NAME, FLAGS | FILTER).c(filtered(1, 512, &[])); };
    reads_keep_to_32_bits: ExtReadClient32Bit by Client,
        |t| { t.haggle().agree(EXTENDED).enter(1 << 40, FLAGS, 1).c(x(read(1, 0, 1 << 32))); },
        |t| { t.haggle().agree(EXTENDED).enter(1 << 40, FLAGS, 1).c(x(read(1, 0, (1 << 32) - 1)))
            .c(x(cmd(Command::TRIM, 2, 0, 1 << 33))); };
    a_filter_takes_its_flag: ExtStatusPayloadNeedsFlag by Client,
        |t| { t.extended_contexts(NAME, FLAGS).c(filtered(1, 512, &[1])); },
        |t| { t.extended_contexts(NAME, FLAGS | FILTER).c(filtered(1, 512, &[1])); };
    a_filter_is_a_length_and_ids: ExtStatusPayloadForm by Client,
        |t| { t.extended_contexts(NAME, FLAGS | FILTER).c(query_without_form(10)); },
        |t| { t.extended_contexts(NAME, FLAGS | FILTER).c(filtered(1, 512, &[1])); };
    a_filter_is_at_least_a_length: ExtStatusPayloadForm by Client,
        |t| { t.extended_contexts(NAME, FLAGS | FILTER).c(query_without_form(4)); },
        |t| { t.extended_contexts(NAME, FLAGS | FILTER).c(filtered(1, 512, &[])); };
    a_payload_is_within_the_maximum: PayloadLimit by Client,
        |t| { t.haggle().agree(EXTENDED).enter_sized(1 << 30, FLAGS, 1, 1 << 20)
            .c(x(write(1, 0, (1 << 20) + 1))); },
        |t| { t.haggle().agree(EXTENDED).enter_sized(1 << 30, FLAGS, 1, 1 << 20)
            .c(x(write(1, 0, 1 << 20))).c(x(cmd(Command::CACHE, 2, 0, 1 << 21))); };
    other_commands_have_no_payload: CommandFlagsDocumented by Client,
        |t| { t.extended().c(x(cmd_with(Command::TRIM, PAYLOAD_LEN, 1, 0, 1 << 16))); },
        |t| { t.extended().c(x(cmd(Command::TRIM, 1, 0, 1 << 16))); };
    a_write_has_all_its_payload: WritePayload by Client,
        |t| { t.extended().raw(Client, &x(write(1, 0, 512)).to_bytes()).raw(Client, &[0; 100])
            .close(Client); },
        |t| { t.extended().raw(Client, &x(write(1, 0, 512)).to_bytes()).raw(Client, &[0; 512]); };

    a_reply_begins_with_its_magic: ExtReplyLayout by Server,
        |t| { t.extended().c(x(read(1, 0, 512))).raw(Server, &[7; 32]); },
        |t| { t.extended().c(x(read(1, 0, 512))).raw(Server, &xs(0, none(1)).to_bytes()[..31]); };
    a_chunk_ends_where_its_length_says: ExtReplyLayout by Server,
        |t| { t.extended().c(x(read(1, 0, 512))).s(xs(0, data(1, MORE, 0, 512)))
            .raw(Server, &[7; 32]); },
        |t| { t.extended().c(x(read(1, 0, 512))).s(xs(0, data(1, MORE, 0, 512)))
            .s(xs(0, none(1))); };
    every_reply_is_extended: ExtAllRepliesExtended by Server,
        |t| { t.extended().c(x(read(1, 0, 512))).s(data(1, DONE, 0, 512)); },
        |t| { t.extended().c(x(read(1, 0, 512))).s(xs(0, data(1, DONE, 0, 512))); };
    simple_replies_are_out: ExtNoSimpleReply by Server,
        |t| { t.extended().c(x(write(1, 0, 512))).s(ok(1)); },
        |t| { t.extended().c(x(write(1, 0, 512))).s(xs(0, none(1))); };
    a_read_is_not_refused_simply: ExtNoSimpleReply by Server,
        |t| { t.extended().c(x(read(1, 0, 512))).s(err(1, ErrorCode::EIO)); },
        |t| { t.extended().c(x(read(1, 0, 512))).s(xs(0, error(1, DONE, ErrorCode::EIO, ""))); };
    the_offset_is_repeated: ExtReplyOffsetMatches by Server,
        |t| { t.extended().c(x(read(1, 512, 1024))).s(xs(1024, hole(1, MORE, 1024, 512))); },
        |t| { t.extended().c(x(read(1, 512, 1024))).s(xs(512, hole(1, MORE, 1024, 512))); };
    a_failure_repeats_the_offset: ExtReplyOffsetMatches by Server,
        |t| { t.extended().c(x(write(1, 512, 512))).s(xs(0, error(1, DONE, ErrorCode::EIO, ""))); },
        |t| { t.extended().c(x(write(1, 512, 512)))
            .s(xs(512, error(1, DONE, ErrorCode::EIO, ""))); };
    a_reply_has_a_32_bit_length: ExtReplyLength32Bit by Server,
        |t| { t.haggle().agree(EXTENDED).enter_sized(1 << 40, FLAGS, 1, u32::MAX)
            .c(x(read(1, 0, (1 << 32) - 8))).raw(Server, &endless(1 << 32)).finish(); },
        |t| { t.haggle().agree(EXTENDED).enter_sized(1 << 40, FLAGS, 1, u32::MAX)
            .c(x(read(1, 0, (1 << 32) - 16))).raw(Server, &endless((1 << 32) - 8)).finish(); };

    the_compact_status_is_out: ExtStatusCompactOnly by Server,
        |t| { t.query("x-a:b").s(xs(0, status(1, DONE, 1, &[(4096, 0)]))); },
        |t| { t.query("x-a:b").s(status_ext(1, DONE, 1, &[(4096, 0)])); };
    the_extended_status_is_negotiated: ExtStatusNeedsNegotiation by Server,
        |t| { t.contexts(NAME, 1).c(cmd(STATUS, 1, 0, 4096)).s(chunk(ChunkType::BLOCK_STATUS_EXT,
            MORE, 1, ChunkBody::BlockStatusExt { id: 1, count: 1, extents: extents(&[(4096, 0)]) })); },
        |t| { t.contexts(NAME, 1).c(cmd(STATUS, 1, 0, 4096)).s(status(1, MORE, 1, &[(4096, 0)])); };
    a_status_is_made_of_whole_extents: ExtStatusLength by Server,
        |t| { t.query("x-a:b").s(xs(0, chunk_raw(ChunkType::BLOCK_STATUS_EXT, DONE, 1, &[0; 12]))); },
        |t| { t.query("x-a:b").s(status_ext(1, DONE, 1, &[(4096, 0)])); };
    a_status_has_an_extent: ExtStatusLength by Server,
        |t| { t.query("x-a:b").s(lying(1, &[])); },
        |t| { t.query("x-a:b").s(lying(1, &[(4096, 0)])); };
    the_count_is_that_of_the_extents: ExtStatusCount by Server,
        |t| { t.query("x-a:b").s(lying(2, &[(4096, 0)])); },
        |t| { t.query("x-a:b").s(lying(2, &[(512, 0), (3584, 1)])); };
    the_count_is_not_0: ExtStatusCountNonzero by Server,
        |t| { t.query("x-a:b").s(lying(0, &[(4096, 0)])); },
        |t| { t.query("x-a:b").s(lying(1, &[(4096, 0)])); };
    neither_count_nor_extents_is_one_fault: ExtStatusCountNonzero by Server,
        |t| { t.query("x-a:b").s(lying(0, &[])); },
        |t| { t.query("x-a:b").s(lying(1, &[(4096, 0)])); };
    an_extent_is_not_empty: ExtStatusExtentNonzero by Server,
        |t| { t.query("x-a:b").s(lying(2, &[(512, 0), (0, 1)])); },
        |t| { t.query("x-a:b").s(lying(2, &[(512, 0), (512, 1)])); };
    base_has_32_bits: ExtStatusUpperZero by Server,
        |t| { t.query("base:allocation").s(lying(1, &[(4096, 1 << 32)])); },
        |t| { t.query("x-a:b").s(lying(1, &[(4096, 1 << 32)])); };
    other_contexts_of_base_have_32_bits: ExtStatusUpperZero by Server,
        |t| { t.query("base:other").s(lying(1, &[(4096, 1 << 63)])); },
        |t| { t.query("base:other").s(lying(1, &[(4096, 0xffff_ffff)])); };
    the_depth_has_32_bits: ExtStatusUpperZero by Server,
        |t| { t.query("qemu:allocation-depth").s(lying(1, &[(4096, 1 << 32)])); },
        |t| { t.query("qemu:allocation-depth").s(lying(1, &[(4096, 7)])); };

    // The rules of the status chunk hold for the extended one.
    base_allocation_has_two_bits: BaseReservedBits by Server,
        |t| { t.query("base:allocation").s(lying(1, &[(4096, 4)])); },
        |t| { t.query("base:allocation").s(lying(1, &[(4096, 3)])); };
    only_the_last_extent_may_reach_the_end: StatusSumBeforeLast by Server,
        |t| { t.query("x-a:b").s(lying(2, &[(4096, 0), (512, 1)])); },
        |t| { t.query("x-a:b").s(lying(2, &[(3584, 0), (65536, 1)])); };
    req_one_gives_one_extent: StatusReqOneSingle by Server,
        |t| { t.extended_contexts(NAME, FLAGS).c(x(cmd_with(STATUS, CommandFlags::REQ_ONE, 1, 0, 4096)))
            .s(lying(2, &[(512, 0), (512, 1)])); },
        |t| { t.extended_contexts(NAME, FLAGS).c(x(cmd_with(STATUS, CommandFlags::REQ_ONE, 1, 0, 4096)))
            .s(lying(1, &[(512, 0)])); };
    req_one_is_bound_by_the_length_in_the_payload: StatusReqOneLength by Server,
        |t| { t.extended_contexts(NAME, FLAGS | FILTER).c(one(filtered(1, 512, &[1])))
            .s(lying(1, &[(1024, 0)])); },
        |t| { t.extended_contexts(NAME, FLAGS | FILTER).c(one(filtered(1, 512, &[1])))
            .s(lying(1, &[(512, 0)])); };
    each_context_is_answered: StatusOnePerContext by Server,
        |t| { t.extended_contexts(&["x-a:b", "x-a:c"], FLAGS).c(x(cmd(STATUS, 1, 0, 4096)))
            .s(status_ext(1, DONE, 1, &[(4096, 0)])); },
        |t| { t.extended_contexts(&["x-a:b", "x-a:c"], FLAGS).c(x(cmd(STATUS, 1, 0, 4096)))
            .s(status_ext(1, MORE, 2, &[(4096, 0)])).s(status_ext(1, DONE, 1, &[(512, 0)])); };
    each_wanted_context_is_answered: StatusOnePerContext by Server,
        |t| { t.one_of_two().s(xs(0, none(1))); },
        |t| { t.one_of_two().s(status_ext(1, DONE, 2, &[(4096, 0)])); };
    extents_end_with_the_export: StatusWithinExport by Server,
        |t| { t.query("x-a:b").s(lying(1, &[(u64::MAX, 0)])); },
        |t| { t.query("x-a:b").s(lying(1, &[(SIZE, 0)])); };
}

/// A request without its PAYLOAD_LEN.
fn bare(message: Message) -> Message {
    let Message::Request(mut request) = message else { panic!("no request: {message:?}") };
    request.flags = request.flags.without(PAYLOAD_LEN);
    Message::Request(request)
}

/// A request with REQ_ONE.
fn one(message: Message) -> Message {
    let Message::Request(mut request) = message else { panic!("no request: {message:?}") };
    request.flags = request.flags | CommandFlags::REQ_ONE;
    Message::Request(request)
}

#[test]
fn what_is_early_may_be_refused_so() {
    let mut talk = Talk::new();
    talk.haggle().c(meta(LIST_META, "", &["base:"])).s(refuse(LIST_META, EARLY));
    talk.c(meta(SET, "", &["base:allocation"])).s(refuse(SET, EARLY));
    assert_eq!(
        talk.broken(),
        ["opt-list-meta-client-structured-first", "opt-set-meta-needs-structured"]
    );
}

#[test]
fn a_payload_does_not_count_as_effect() {
    let mut talk = Talk::new();
    // 2 MiB of payload with TRIM, of which the export of 1 MiB knows nothing.
    let trim = x(cmd_with(Command::TRIM, PAYLOAD_LEN, 1, 512, 2 << 20));
    talk.extended().c(trim).s(xs(512, error(1, DONE, ErrorCode::EINVAL, "no payload, please")));
    assert_eq!(talk.broken(), ["cmdflag-documented-only"]);
}

#[test]
fn a_status_too_long_to_be_kept_is_no_missing_one() {
    let mut talk = Talk::new();
    let count: u32 = (1 << 20) + 1;
    talk.extended_contexts(NAME, FLAGS).c(x(cmd(STATUS, 1, 0, SIZE)));
    let mut header = status_ext(1, DONE, 1, &[]).to_bytes();
    header[24..32].copy_from_slice(&(8 + 16 * u64::from(count)).to_be_bytes());
    talk.raw(Server, &header[..32]).raw(Server, &vec![0; 8 + 16 * count as usize]);
    assert_eq!(talk.broken(), ["status-extent-limit"]);
}

#[test]
fn a_lawful_extended_session_breaks_no_rule() {
    let mut talk = Talk::new();
    talk.extended_contexts(&["base:allocation", "x-a:b"], FLAGS | DF | FILTER);
    talk.c(x(write(1, 1024, 2048))).c(x(cmd_with(Command::READ, CommandFlags::DF, 2, 512, 512)));
    talk.s(xs(512, data(2, DONE, 512, 512))).s(xs(1024, none(1)));
    talk.c(x(cmd(STATUS, 3, 0, SIZE))).s(status_ext(3, MORE, 2, &[(SIZE, 1 << 40)]));
    talk.s(status_ext(3, DONE, 1, &[(1024, 3), (2048, 0), (SIZE - 3072, 3)]));
    talk.c(filtered(4, 4096, &[2])).s(status_ext(4, DONE, 2, &[(4096, 9)]));
    talk.c(x(disc(5))).close(Client);
    insta::assert_snapshot!(talk.lines_after(14), @r#"
    15 S: NBD_REPLY_TYPE_OFFSET_DATA form=extended cookie=0x2 flags={DONE} request-offset=512 offset=512 data=zero*512 # answers 14
    16 S: NBD_REPLY_TYPE_NONE form=extended cookie=0x1 flags={DONE} request-offset=1024 # answers 13
    17 C: NBD_CMD_BLOCK_STATUS form=extended cookie=0x3 offset=0 length=1048576
    18 S: NBD_REPLY_TYPE_BLOCK_STATUS_EXT form=extended cookie=0x3 flags={} request-offset=0 id=2 count=1 extents={1048576:1099511627776} # answers 17
    19 S: NBD_REPLY_TYPE_BLOCK_STATUS_EXT form=extended cookie=0x3 flags={DONE} request-offset=0 id=1 count=3 extents={1024:3 2048:0 1045504:3} # answers 17
    20 C: NBD_CMD_BLOCK_STATUS form=extended cookie=0x4 flags={PAYLOAD_LEN} offset=0 length=12 effect-length=4096 ids={2}
    21 S: NBD_REPLY_TYPE_BLOCK_STATUS_EXT form=extended cookie=0x4 flags={DONE} request-offset=0 id=2 count=1 extents={4096:9} # answers 20
    22 C: NBD_CMD_DISC form=extended cookie=0x5 offset=0 length=0
    "#);
    assert_eq!(talk.broken(), Vec::<&str>::new());
}
