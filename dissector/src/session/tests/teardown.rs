//! How sessions end.

use protocol::values::{ErrorCode, OptionType, ReplyType};

use super::dsl::*;

const ABORT: OptionType = OptionType::ABORT;
const LIST: OptionType = OptionType::LIST;
const GO: OptionType = OptionType::GO;

impl Talk {
    /// That requests were in flight at NBD_CMD_DISC is not what the talk is about.
    fn besides_disc(&mut self) -> &mut Self {
        assert_eq!(self.broken(), ["term-client-disc-when-idle"]);
        self.events.clear();
        self
    }
}

cases! {
    nothing_follows_abort: AbortClientCloses by Client,
        |t| { t.haggle().c(opt(ABORT)).s(ack(ABORT)).c(opt(LIST)); },
        |t| { t.haggle().c(opt(ABORT)).close(Client).s(ack(ABORT)).close(Server); };
    abort_is_acknowledged: AbortAcked by Server,
        |t| { t.haggle().c(opt(ABORT)).s(refuse(ABORT, ReplyType::ERR_INVALID)); },
        |t| { t.haggle().c(opt(ABORT)).s(ack(ABORT)); };
    a_server_that_knows_of_abort_does_not_just_close: AbortAcked by Server,
        |t| { t.haggle().c(opt(ABORT)).informed(Server).close(Server); },
        |t| { t.haggle().c(opt(ABORT)).close(Server); };
    abort_needs_no_tls: ForcedAbortExempt by Server,
        |t| { t.haggle().c(opt(ABORT)).s(refuse(ABORT, ReplyType::ERR_TLS_REQD)); },
        |t| { t.haggle().c(opt(LIST)).s(refuse(LIST, ReplyType::ERR_TLS_REQD)); };
    no_option_follows_a_shutdown: AbortsOnShutdown by Client,
        |t| { t.haggle().c(opt(LIST)).s(refuse(LIST, ReplyType::ERR_SHUTDOWN)).informed(Client)
            .c(opt(LIST)); },
        |t| { t.haggle().c(opt(LIST)).s(refuse(LIST, ReplyType::ERR_SHUTDOWN)).c(opt(LIST)); };
    no_request_follows_a_shutdown: DiscOnShutdown by Client,
        |t| { t.simple().c(read(1, 0, 512)).s(err(1, ErrorCode::ESHUTDOWN)).informed(Client)
            .c(read(2, 0, 512)); },
        // It may have been on its way while another one was open.
        |t| { t.simple().c(read(1, 0, 512)).c(read(2, 0, 512)).s(err(1, ErrorCode::ESHUTDOWN))
            .informed(Client).c(read(3, 0, 512)); };
    a_client_that_does_not_know_of_a_shutdown_goes_on: DiscOnShutdown by Client,
        |t| { t.structured().c(read(1, 0, 512)).s(error(1, 1, ErrorCode::ESHUTDOWN, ""))
            .informed(Client).c(read(2, 0, 512)); },
        |t| { t.simple().c(read(1, 0, 512)).informed(Client).s(err(1, ErrorCode::ESHUTDOWN))
            .c(read(2, 0, 512)); };
    a_client_that_leaves_says_abort: ClientQuitsSoftly by Client,
        |t| { t.haggle().agree(LIST).close(Client); },
        |t| { t.haggle().agree(LIST).close(Server).close(Client); };
    a_client_that_is_refused_says_abort: ClientQuitsSoftly by Client,
        |t| { t.haggle().c(go()).s(refuse(GO, ReplyType::ERR_UNKNOWN)).close(Client); },
        |t| { t.haggle().c(go()).s(refuse(GO, ReplyType::ERR_UNKNOWN)).c(opt(ABORT))
            .close(Client); };
    a_client_that_waits_can_not_abort: ClientQuitsSoftly by Client,
        |t| { t.haggle().reset(Client); },
        |t| { t.haggle().c(opt(LIST)).reset(Client); };
    nothing_follows_disc: DiscSilentAfter by Client,
        |t| { t.simple().c(disc(1)).c(write(2, 0, 512)); },
        |t| { t.simple().c(disc(1)).close(Client).close(Server); };
    a_client_takes_leave: NoHardDisconnect by Client,
        |t| { t.simple().c(read(1, 0, 512)).s(ok(1)).raw(Server, &[0; 512]).close(Client); },
        |t| { t.simple().c(disc(1)).close(Client).close(Server); };
    a_client_does_not_reset: NoHardDisconnect by Client,
        |t| { t.simple().c(read(1, 0, 512)).c(read(2, 0, 512)).s(ok(1)).raw(Server, &[0; 512])
            .reset(Client); },
        |t| { t.simple().close(Server).reset(Client); };
    an_option_reply_comes_whole: OptionReplyLayout by Server,
        |t| { t.haggle().c(opt(LIST)).raw(Server, &ack(LIST).to_bytes()[..15]).informed(Server)
            .close(Server); },
        |t| { t.haggle().c(opt(LIST)).raw(Server, &ack(LIST).to_bytes()[..15]).close(Client)
            .close(Server); };
    a_chunk_comes_whole: StructuredChunkLayout by Server,
        |t| { t.structured().c(read(1, 0, 512)).raw(Server, &data(1, 1, 0, 512).to_bytes())
            .close(Server); },
        |t| { t.structured().c(read(1, 0, 512)).raw(Server, &data(1, 1, 0, 512).to_bytes())
            .reset(Server); };
    the_head_of_a_chunk_comes_whole: StructuredChunkLayout by Server,
        |t| { t.structured().c(read(1, 0, 512)).raw(Server, &none(1).to_bytes()[..9])
            .close(Server); },
        |t| { t.structured().c(read(1, 0, 512)).raw(Server, &none(1).to_bytes()[..9]).finish(); };
    an_extended_chunk_comes_whole: ExtReplyLayout by Server,
        |t| { t.extended().c(x(read(1, 0, 512))).raw(Server, &xs(0, none(1)).to_bytes()[..30])
            .close(Server); },
        |t| { t.extended().c(x(read(1, 0, 512))).raw(Server, &xs(0, none(1)).to_bytes()[..30])
            .finish(); };
    the_head_of_a_simple_reply_comes_whole: SimpleReplyLayout by Server,
        |t| { t.simple().c(read(1, 0, 512)).raw(Server, &ok(1).to_bytes()[..9]).close(Server); },
        |t| { t.simple().c(read(1, 0, 512)).raw(Server, &ok(1).to_bytes()[..9]).finish(); };
    the_data_of_a_simple_reply_comes_whole: SimpleReadPayload by Server,
        |t| { t.simple().c(read(1, 0, 512)).raw(Server, &ok(1).to_bytes()).raw(Server, &[0; 100])
            .close(Server); },
        |t| { t.simple().c(read(1, 0, 512)).c(disc(2)).besides_disc()
            .raw(Server, &ok(1).to_bytes()).raw(Server, &[0; 100]).close(Server); };
    a_server_waits_for_requests_in_flight: ShutdownWaits by Server,
        |t| { t.simple().c(read(1, 0, 512)).c(write(2, 0, 512)).informed(Server).close(Server); },
        // It may have been on its way when the server left.
        |t| { t.simple().c(read(1, 0, 512)).close(Server); };
    nor_does_it_reset: ShutdownWaits by Server,
        |t| { t.simple().c(read(1, 0, 512)).informed(Server).reset(Server); },
        |t| { t.simple().c(write(1, 0, 512)).s(ok(1)).informed(Server).reset(Server); };
    a_server_leaves_after_the_client: ShutdownWaits by Server,
        |t| { t.structured().c(read(1, 0, 512)).informed(Server).close(Server); },
        |t| { t.structured().c(read(1, 0, 512)).c(disc(2)).besides_disc().informed(Server)
            .close(Server); };
    a_server_refuses_options_and_stays: ServerErrorsOptions by Server,
        |t| { t.haggle().c(opt(LIST)).informed(Server).close(Server); },
        |t| { t.haggle().c(opt(LIST)).informed(Server).close(Client).close(Server); };
    a_name_can_not_be_refused: ServerErrorsOptions by Server,
        |t| { t.haggle().c(go()).informed(Server).close(Server); },
        |t| { t.haggle().c(go()).s(refuse(GO, ReplyType::ERR_UNSUP)).c(export_name("disk"))
            .informed(Server).close(Server); };
    disc_is_not_answered: DiscNoReply by Server,
        |t| { t.simple().c(disc(1)).s(ok(1)); },
        |t| { t.simple().c(disc(1)).close(Server); };
}

#[test]
fn who_was_wronged_may_hang_up() {
    let mut talk = Talk::new();
    talk.haggle().c(go()).s(ack(GO));
    assert_eq!(talk.broken(), ["opt-info-export-required"]);
    let mut talk = Talk::new();
    talk.haggle().c(opt(LIST)).s(ack(LIST)).s(ack(LIST)).close(Client);
    assert_eq!(talk.broken(), ["option-reply-one-final"]);
}

#[test]
fn a_client_may_leave_without_a_word_where_there_is_no_abort() {
    let mut talk = Talk::new();
    talk.s(newstyle(2));
    talk.events.clear();
    talk.c(client_flags(2)).close(Client).finish();
    assert_eq!(talk.broken(), Vec::<&str>::new());
}

#[test]
fn a_probe_may_leave_after_the_greeting() {
    let mut talk = Talk::new();
    talk.s(newstyle(3)).close(Client).close(Server).finish();
    assert_eq!(talk.broken(), Vec::<&str>::new());
    assert!(talk.problems().is_empty());
}

#[test]
fn a_client_may_leave_before_the_greeting() {
    let mut talk = Talk::new();
    talk.raw(Server, b"NBDMAGIC").close(Client).close(Server).finish();
    let cut_off = "  ? server cut-off: the last 8 bytes of the server are not a whole message";
    assert_eq!(talk.lines(), cut_off);
}

#[test]
fn a_failed_tls_handshake_is_nobodys_fault() {
    let mut talk = Talk::new();
    talk.haggle().agree(OptionType::STARTTLS).raw(Client, &[0x16, 3, 1, 0, 1, 1]).close(Client);
    talk.raw(Server, &[0x15, 3, 3]).close(Server).finish();
    insta::assert_snapshot!(talk.lines(), @r#"
    1 S: greeting fixed-newstyle flags={NO_ZEROES}
    2 C: client-flags flags={FIXED_NEWSTYLE NO_ZEROES}
    3 C: NBD_OPT_STARTTLS
    4 S: NBD_REP_ACK option=NBD_OPT_STARTTLS # answers 3
      ? client encrypted: 6 bytes inside TLS were not opened
      ? server encrypted: 3 bytes inside TLS were not opened
    "#);
}

#[test]
fn what_is_cut_off_or_unanswered_is_told() {
    let mut talk = Talk::new();
    talk.simple().c(read(1, 0, 512)).c(write(2, 0, 512)).raw(Server, &ok(1).to_bytes());
    talk.raw(Server, &[0x5a; 100]).raw(Client, &write(3, 0, 512).to_bytes()[..20]).reset(Server);
    talk.close(Client).finish();
    insta::assert_snapshot!(talk.lines_after(6), @r#"
    7 C: NBD_CMD_READ cookie=0x1 offset=0 length=512
    8 C: NBD_CMD_WRITE cookie=0x2 offset=0 length=512 data=zero*512
    9 S: simple-reply ok cookie=0x1 data=fill(0x5a)*100 # answers 7
      ? server cut-off: simple-reply is cut off: 100 of 512 bytes came
      ? client cut-off: the last 20 bytes of the client are not a whole message
      ? server unanswered: 1 request was never answered in full; the first is message 8
    "#);
}

#[test]
fn a_session_that_goes_on_is_cut_off_at_the_end_of_the_capture() {
    let mut talk = Talk::new();
    talk.haggle().c(opt(LIST)).raw(Server, &ack(LIST).to_bytes()[..10]).finish();
    insta::assert_snapshot!(talk.lines(), @r#"
    1 S: greeting fixed-newstyle flags={NO_ZEROES}
    2 C: client-flags flags={FIXED_NEWSTYLE NO_ZEROES}
    3 C: NBD_OPT_LIST
      ? server cut-off: the last 10 bytes of the server are not a whole message
      ? server unanswered: 1 option has no final reply; the first is message 3
    "#);
}
