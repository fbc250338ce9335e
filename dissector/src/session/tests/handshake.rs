//! Greeting, client flags, and the answer to NBD_OPT_EXPORT_NAME.

use protocol::message::Padding;
use protocol::values::{InfoType, OptionType, ReplyType};

use super::dsl::*;

fn dirty() -> Padding {
    let mut bytes = [0; 124];
    bytes[60] = 1;
    Padding::Other(Box::new(bytes))
}

cases! {
    a_little_endian_magic_is_told_apart_from_garbage: WireBigEndian by Client,
        |t| { t.haggle().raw(Client, b"TPOEVAHI\0\0\0\x03\0\0\0\0"); },
        |t| { t.haggle().raw(Client, b"IHAVEOPT\0\0\0\x03\0\0\0\0"); };

    the_tail_of_an_oldstyle_greeting_is_zero: OldstyleReservedZero by Server,
        |t| { t.s(oldstyle(0, dirty())); },
        |t| { t.s(oldstyle(0, Padding::Zeroes)).c(read(1, 0, 512)).s(ok(1)); };
    an_oldstyle_greeting_has_no_handshake_flags: OldstyleNoHandshakeFlags by Server,
        |t| { t.s(oldstyle(1, Padding::Zeroes)); },
        |t| { t.s(oldstyle(0, Padding::Zeroes)).close(Client); };
    an_oldstyle_greeting_has_152_bytes: OldstyleGreetingLayout by Server,
        |t| { t.raw(Server, &oldstyle(0, Padding::Zeroes).to_bytes()[..40]).close(Server); },
        |t| { t.raw(Server, &oldstyle(0, Padding::Zeroes).to_bytes()[..40]).reset(Server); };

    a_greeting_begins_with_its_magics: GreetingLayout by Server,
        |t| { t.raw(Server, b"NBDMAGICIHAVEOPX\0\x03"); },
        |t| { t.raw(Server, b"NBDMAGICIHAVEOPT\0\x03"); };
    a_server_is_silent_until_the_client_flags: GreetingLayout by Server,
        |t| { t.s(newstyle(3)).s(ack(OptionType::LIST)); },
        |t| { t.s(newstyle(3)).c(client_flags(3)); };
    the_client_flags_come_after_the_greeting: ClientFlagsWidth by Client,
        |t| { t.raw(Server, b"NBDMAGIC").c(client_flags(3)).raw(Server, b"IHAVEOPT\0\x03"); },
        |t| { t.raw(Server, b"NBDMAGIC").raw(Server, b"IHAVEOPT\0\x03").c(client_flags(3)); };
    a_greeting_announces_fixed_newstyle: FixedNewstyleFlag by Server,
        |t| { t.s(newstyle(2)); },
        |t| { t.s(newstyle(1)); };
    a_client_confirms_fixed_newstyle: ClientSetsFixed by Client,
        |t| { t.s(newstyle(3)).c(client_flags(2)); },
        |t| { t.s(newstyle(3)).c(client_flags(1)); };
    a_greeting_sets_no_unknown_flags: HandshakeFlagsNoOthers by Server,
        |t| { t.s(newstyle(7)); },
        |t| { t.s(newstyle(3)); };
    a_client_asks_for_no_zeroes_only_if_offered: ClientNoZeroesOfferedOnly by Client,
        |t| { t.s(newstyle(1)).c(client_flags(3)); },
        |t| { t.s(newstyle(3)).c(client_flags(3)); };
    a_client_sets_no_unknown_flags: ClientFlagsNoOthers by Client,
        |t| { t.s(newstyle(3)).c(client_flags(7)); },
        |t| { t.s(newstyle(3)).c(client_flags(3)); };
    the_client_flags_have_32_bits: ClientFlagsWidth by Client,
        |t| { t.s(newstyle(3)).raw(Client, b"\0\x03IHAVEOPT\0\0\0\x03\0\0\0\0"); },
        |t| { t.s(newstyle(3)).raw(Client, b"\0\0\0\x03IHAVEOPT\0\0\0\x03\0\0\0\0"); };
    a_client_sets_fixed_newstyle_only_if_offered: ClientFlagsNoOthers by Client,
        |t| { t.s(newstyle(2)).events.clear(); t.c(client_flags(3)); },
        |t| { t.s(newstyle(2)).events.clear(); t.c(client_flags(2)); };
    tls_in_the_place_of_client_flags_is_accused: TlsViaStarttls by Client,
        |t| { t.s(newstyle(3)).raw(Client, &[0x16, 3, 1, 2]); },
        |t| { t.haggle().agree(OptionType::STARTTLS).raw(Client, &[0x16, 3, 1, 2, 0]); };
    tls_without_starttls_is_accused: TlsViaStarttls by Client,
        |t| { t.haggle().raw(Client, &[0x16, 3, 1, 2, 0, 1, 0, 1, 252, 3]); },
        |t| { t.haggle().agree(OptionType::STARTTLS).raw(Client, &[0x16, 3, 1, 2, 0]); };

    an_export_name_is_bare: ExportNameRequestLayout by Client,
        |t| { t.haggle().refused_go().c(export_name("\0\0\0\x04disk")); },
        |t| { t.haggle().refused_go().c(export_name("disk")); };
    an_export_name_is_not_laid_out_like_go: ExportNameRequestLayout by Client,
        |t| { t.haggle().refused_go().c(export_name("\0\0\0\x04disk\0\x01\0\x03")); },
        |t| { t.haggle().refused_go().c(export_name("diskdiskdisk")); };
    export_name_has_no_option_reply: ExportNameReplyLayout by Server,
        |t| { t.haggle().refused_go().c(export_name("disk"))
            .s(refuse(OptionType::EXPORT_NAME, ReplyType::ERR_UNKNOWN)); },
        |t| { t.haggle().refused_go().c(export_name("disk")).close(Server); };
    the_padding_is_sent_unless_no_zeroes_was_agreed: ExportNameReplyLayout by Server,
        |t| { t.s(newstyle(3)).c(client_flags(1)).refused_go().c(export_name("disk"))
            .s(export_answer(FLAGS, Padding::Absent)).c(read(1, 0, 512))
            .raw(Server, &ok(1).to_bytes()).set_culprit(7).raw(Server, &[0; 512]); },
        |t| { t.s(newstyle(3)).c(client_flags(1)).refused_go().c(export_name("disk"))
            .s(export_answer(FLAGS, Padding::Zeroes)).c(read(1, 0, 512))
            .raw(Server, &ok(1).to_bytes()).raw(Server, &[0; 512]); };
    the_padding_is_zero: ExportNamePaddingZero by Server,
        |t| { t.s(newstyle(3)).c(client_flags(1)).refused_go().c(export_name("disk"))
            .s(export_answer(FLAGS, dirty())); },
        |t| { t.s(newstyle(3)).c(client_flags(1)).refused_go().c(export_name("disk"))
            .s(export_answer(FLAGS, Padding::Zeroes)); };
    the_padding_is_left_out_when_agreed: NoZeroesHonoured by Server,
        |t| { t.haggle().refused_go().c(export_name("disk"))
            .s(export_answer(FLAGS, Padding::Zeroes)).c(write(1, 0, 512)).set_culprit(6).s(ok(1)); },
        |t| { t.haggle().refused_go().c(export_name("disk"))
            .s(export_answer(FLAGS, Padding::Absent)).c(write(1, 0, 512)).s(ok(1)); };
    no_padding_follows_go: GoNoPadding by Server,
        |t| { t.simple().raw(Server, &[0; 124]).culprit().c(write(1, 0, 512)).s(ok(1)); },
        |t| { t.simple().c(write(1, 0, 512)).s(ok(1)); };

    has_flags_is_always_set: HasFlags by Server,
        |t| { t.haggle().c(go()).s(export(OptionType::GO, SIZE, FLAGS & !1)); },
        |t| { t.haggle().c(go()).s(export(OptionType::GO, SIZE, 1)); };
    df_takes_structured_replies: DfNeedsStructured by Server,
        |t| { t.haggle().c(go()).s(export(OptionType::GO, SIZE, FLAGS | DF)); },
        |t| { t.haggle().agree(OptionType::STRUCTURED_REPLY).c(go())
            .s(export(OptionType::GO, SIZE, FLAGS | DF)); };
    df_inside_tls_takes_structured_replies: DfNeedsStructured by Server,
        |t| { t.haggle().c(go()).s(refuse(OptionType::GO, ReplyType::ERR_TLS_REQD))
            .agree(OptionType::STARTTLS).tls().c(go())
            .s(export(OptionType::GO, SIZE, FLAGS | DF)); },
        |t| { t.haggle().agree(OptionType::STARTTLS).tls().agree(OptionType::STRUCTURED_REPLY)
            .c(go()).s(export(OptionType::GO, SIZE, FLAGS | DF)); };
    the_resize_flag_is_reserved: ResizeExperimental by Server,
        |t| { t.haggle().c(go()).s(export(OptionType::GO, SIZE, FLAGS | 0x200)); },
        |t| { t.haggle().c(go()).s(export(OptionType::GO, SIZE, FLAGS | 0x8000)); };
    fast_zero_takes_write_zeroes: FastZeroNeedsWriteZeroes by Server,
        |t| { t.haggle().c(go()).s(export(OptionType::GO, SIZE, 0x801)); },
        |t| { t.haggle().c(go()).s(export(OptionType::GO, SIZE, 0x841)); };
    the_status_payload_flag_is_reserved: ExtStatusPayloadFlagNeedsExt by Server,
        |t| { t.haggle().c(go()).s(export(OptionType::GO, SIZE, FLAGS | 0x1000)); },
        |t| { t.haggle().agree(OptionType::EXTENDED_HEADERS).select("disk", &["x-a:b"]).c(go())
            .s(export(OptionType::GO, SIZE, FLAGS | 0x1000)); };
}

impl Talk {
    /// NBD_OPT_GO is not supported.
    fn refused_go(&mut self) -> &mut Self {
        let go = OptionType::GO;
        self.c(info(go, "disk", &[InfoType::BLOCK_SIZE])).s(refuse(go, ReplyType::ERR_UNSUP))
    }
}

#[test]
fn zeroes_in_the_wrong_place_are_stepped_over() {
    let mut talk = Talk::new();
    talk.simple().raw(Server, &[0; 124]).c(write(1, 0, 512)).s(ok(1));
    assert_eq!(talk.broken(), ["opt-go-no-padding"]);
    assert_eq!(talk.messages().last().map(|seen| seen.answers), Some(Some(7)));
    assert!(talk.problems().is_empty());
}

#[test]
fn an_oldstyle_session_needs_no_flags() {
    let mut talk = Talk::new();
    talk.s(oldstyle(0, Padding::Zeroes)).c(read(1, 0, 512)).raw(Server, &ok(1).to_bytes());
    talk.raw(Server, &[0x5a; 512]).c(disc(2)).close(Server).close(Client).finish();
    insta::assert_snapshot!(talk.lines_after(1), @r#"
    2 C: NBD_CMD_READ cookie=0x1 offset=0 length=512
    3 S: simple-reply ok cookie=0x1 data=fill(0x5a)*512 # answers 2
    4 C: NBD_CMD_DISC cookie=0x2 offset=0 length=0
    "#);
}
