//! Simple replies, cookies and error values.

use protocol::values::{Command, CommandFlags, ErrorCode, OptionType};

use super::dsl::*;
use crate::session::{Config, Session};

const ZEROES: Command = Command::WRITE_ZEROES;
const FAST: CommandFlags = CommandFlags::FAST_ZERO;

impl Talk {
    /// A request and the error that it gets.
    fn fails(&mut self, request: protocol::message::Message, error: ErrorCode) -> &mut Self {
        self.c(request).s(err(1, error))
    }

    /// Write zeroes without fast zeroes.
    fn slow(&mut self) -> &mut Self {
        self.haggle().enter(SIZE, 0x6d, 1)
    }

    /// A maximum payload of 64 KiB.
    fn small(&mut self) -> &mut Self {
        self.haggle().enter_sized(1 << 19, FLAGS, 1, 1 << 16)
    }
}

cases! {
    chunks_are_negotiated: SimpleOnlyWithoutStructured by Server,
        |t| { t.simple().c(read(1, 0, 512)).s(data(1, DONE, 0, 512)); },
        |t| { t.structured().c(read(1, 0, 512)).s(data(1, DONE, 0, 512)); };
    extended_chunks_are_negotiated: MagicExtended by Server,
        |t| { t.structured().c(cmd(Command::FLUSH, 1, 0, 0)).raw(Server, &extended_none()); },
        |t| { t.extended().raw(Client, &extended_flush()).raw(Server, &extended_none()); };
    a_request_is_answered_once: OneReplyPerRequest by Server,
        |t| { t.simple().c(write(1, 0, 512)).s(ok(1)).s(ok(1)); },
        |t| { t.simple().c(write(1, 0, 512)).s(ok(1)).c(write(1, 0, 512)).s(ok(1)); };
    nothing_is_answered_unasked: OneReplyPerRequest by Server,
        |t| { t.simple().s(ok(7)); },
        |t| { t.simple().c(write(7, 0, 512)).s(ok(7)); };
    a_reply_is_simple_or_structured: OneReplyPerRequest by Server,
        |t| { t.contexts(&["x-a:b"], 1).c(cmd(Command::BLOCK_STATUS, 1, 0, 512))
            .s(status(1, MORE, 1, &[(512, 0)])).s(err(1, ErrorCode::OK)).culprit(); t.events.retain(no_status); },
        |t| { t.contexts(&["x-a:b"], 1).c(cmd(Command::BLOCK_STATUS, 1, 0, 512))
            .s(status(1, DONE, 1, &[(512, 0)])); };
    cookies_are_echoed: CookieEchoed by Server,
        |t| { t.simple().c(write(0x1_0000_0001, 0, 512)).s(ok(1)); },
        |t| { t.simple().c(write(0x1_0000_0001, 0, 512)).s(ok(0x1_0000_0001)); };
    a_reply_begins_with_its_magic: SimpleReplyLayout by Server,
        |t| { t.simple().c(read(1, 0, 512)).raw(Server, &[7; 16]); },
        |t| { t.simple().c(write(1, 0, 512)).raw(Server, &ok(1).to_bytes()); };
    historic_reply_magics_are_gone: MagicHistoric by Server,
        |t| { t.simple().c(read(1, 0, 512)).raw(Server, &[0x96, 0x74, 0x46, 0x68]); },
        |t| { t.simple().c(read(1, 0, 512)).raw(Server, &[0x67, 0x44, 0x66, 0x98]); };
    a_read_has_just_its_data: SimpleReadPayload by Server,
        |t| { t.simple().c(read(1, 0, 512)).s(ok(1)).raw(Server, &[0; 1024]); },
        |t| { t.simple().c(read(1, 0, 512)).s(ok(1)).raw(Server, &[0; 512]).c(disc(2)); };
    a_failed_read_has_no_data: SimpleErrorNoPayload by Server,
        |t| { t.simple().fails(read(1, 0, 512), ErrorCode::EIO).raw(Server, &[0; 512]); },
        |t| { t.simple().fails(read(1, 0, 512), ErrorCode::EIO).c(write(2, 0, 1)).s(ok(2)); };
    payload_takes_chunks: StructuredForPayload by Server,
        |t| { t.structured().c(read(1, 0, 512)).s(ok(1)); t.events.retain(no_simple);
            t.raw(Server, &[0; 512]).set_culprit(10).c(write(2, 0, 1)).s(ok(2)); },
        |t| { t.structured().c(read(1, 0, 512)).s(data(1, DONE, 0, 512)); };
    a_structured_read_is_not_answered_simply: ReadNoSimple by Server,
        |t| { t.structured().fails(read(1, 0, 512), ErrorCode::EINVAL); },
        |t| { t.structured().c(read(1, 0, 512)).s(error(1, DONE, ErrorCode::EINVAL, "")); };
    errors_are_preferably_structured: StructuredErrorsPreferred by Server,
        |t| { t.structured().fails(write(1, 0, 512), ErrorCode::EIO); },
        |t| { t.structured().c(write(1, 0, 512)).s(ok(1)); };
    block_status_is_structured: StatusStructured by Server,
        |t| { t.contexts(&["x-a:b"], 1).c(cmd(Command::BLOCK_STATUS, 1, 0, 512)).s(ok(1)); },
        |t| { t.contexts(&["x-a:b"], 1).c(cmd(Command::BLOCK_STATUS, 1, 0, 512))
            .s(error(1, DONE, ErrorCode::EIO, "")); };

    a_read_only_export_fails_writes: ReadOnlyFailsWrites by Server,
        |t| { t.haggle().enter(SIZE, FLAGS | 2, 1).c(write(1, 0, 512)).s(ok(1)); },
        |t| { t.haggle().enter(SIZE, FLAGS | 2, 1).fails(write(1, 0, 512), ErrorCode::EPERM); };
    a_read_only_export_fails_zeroes_too: ReadOnlyFailsWrites by Server,
        |t| { t.haggle().enter(SIZE, FLAGS | 2, 1).c(cmd(ZEROES, 1, 0, 512)).s(ok(1)); },
        |t| { t.haggle().enter(SIZE, FLAGS | 2, 1).fails(cmd(ZEROES, 1, 0, 512), ErrorCode::EPERM); };
    a_read_only_export_should_fail_trims: ReadOnlyEperm by Server,
        |t| { t.haggle().enter(SIZE, FLAGS | 2, 1).c(cmd(Command::TRIM, 1, 0, 512)).s(ok(1)); },
        |t| { t.haggle().enter(SIZE, FLAGS | 2, 1)
            .fails(cmd(Command::TRIM, 1, 0, 512), ErrorCode::EPERM); };

    errors_have_defined_values: ErrorKnown by Server,
        |t| { t.simple().fails(read(1, 0, 512), ErrorCode(2)); },
        |t| { t.simple().fails(read(1, 0, 512), ErrorCode::ESHUTDOWN); };
    eoverflow_is_not_for_writes: ErrorEoverflowScope by Server,
        |t| { t.simple().fails(write(1, 0, 512), ErrorCode::EOVERFLOW); },
        |t| { t.structured().c(read(1, 0, 512)).s(error(1, DONE, ErrorCode::EOVERFLOW, "")); };
    eoverflow_is_for_what_is_larger_than_the_maximum: ErrorEoverflowScope by Server,
        |t| { t.small().fails(cmd(Command::TRIM, 1, 0, 1 << 16), ErrorCode::EOVERFLOW); },
        |t| { t.small().fails(cmd(Command::TRIM, 1, 0, 1 << 17), ErrorCode::EOVERFLOW); };
    enotsup_is_for_zeroes: ErrorEnotsupScope by Server,
        |t| { t.simple().fails(cmd(Command::TRIM, 1, 0, 512), ErrorCode::ENOTSUP); },
        |t| { t.simple().fails(cmd_with(ZEROES, FAST, 1, 0, 512), ErrorCode::ENOTSUP); };
    enomem_is_avoided: ErrorNoEnomem by Server,
        |t| { t.simple().fails(read(1, 0, 512), ErrorCode::ENOMEM); },
        |t| { t.simple().fails(read(1, 0, 512), ErrorCode::EINVAL); };
    enotsup_is_for_fast_zeroes: ZeroesNoEnotsupWithoutFast by Server,
        |t| { t.simple().fails(cmd(ZEROES, 1, 0, 512), ErrorCode::ENOTSUP); },
        |t| { t.simple().fails(cmd_with(ZEROES, FAST, 1, 0, 512), ErrorCode::ENOTSUP); };
    fast_zeroes_do_not_overflow: ZeroesFastNoEoverflow by Server,
        |t| { t.small().fails(cmd_with(ZEROES, FAST, 1, 0, 1 << 18), ErrorCode::EOVERFLOW); },
        |t| { t.small().fails(cmd(ZEROES, 1, 0, 1 << 18), ErrorCode::EOVERFLOW); };
    without_fast_zeroes_no_enotsup: ZeroesUnadvertisedNoEnotsup by Server,
        |t| { t.slow().fails(cmd(ZEROES, 1, 0, 512), ErrorCode::ENOTSUP); },
        |t| { t.slow().fails(cmd(ZEROES, 1, 0, 512), ErrorCode::EPERM); };
}

/// Drops what the same message breaks besides.
fn no_status(event: &crate::session::Event) -> bool {
    !matches!(event, crate::session::Event::Violation(v)
        if v.requirement.id == "status-reply-structured")
}

fn no_simple(event: &crate::session::Event) -> bool {
    !matches!(event, crate::session::Event::Violation(v)
        if v.requirement.id == "read-structured-no-simple")
}

fn extended_flush() -> Vec<u8> {
    let mut bytes = vec![0; 32];
    bytes[..4].copy_from_slice(&0x21e4_1c71u32.to_be_bytes());
    bytes[7] = 3;
    bytes[15] = 1;
    bytes
}

fn extended_none() -> Vec<u8> {
    let mut bytes = vec![0; 32];
    bytes[..4].copy_from_slice(&0x6e8a_278cu32.to_be_bytes());
    bytes[5] = 1;
    bytes[15] = 1;
    bytes
}

#[test]
fn replies_may_come_in_any_order_and_between_each_other() {
    let mut talk = Talk::new();
    talk.structured().c(read(1, 0, 1024)).c(read(2, 0, 1024)).c(write(3, 0, 512));
    talk.s(data(2, MORE, 512, 512)).s(data(1, MORE, 0, 512)).s(ok(3)).s(data(2, DONE, 0, 512));
    talk.s(hole(1, MORE, 512, 512)).s(none(1)).finish();
    assert_eq!(talk.broken(), Vec::<&str>::new());
    assert!(talk.problems().is_empty());
    let answers: Vec<_> = talk.messages().skip(11).map(|seen| seen.answers).collect();
    assert_eq!(answers, [10, 9, 11, 10, 9, 9].map(Some));
}

#[test]
fn a_write_may_be_answered_before_its_payload_is_complete() {
    let mut talk = Talk::new();
    let bytes = write(1, 0, 512).to_bytes();
    talk.simple().raw(Client, &bytes).s(err(1, ErrorCode::EPERM)).raw(Client, &[0; 512]);
    talk.c(write(2, 0, 512)).s(ok(2));
    assert_eq!(talk.broken(), Vec::<&str>::new());
}

#[test]
fn equal_cookies_of_equal_reads_are_followed() {
    let mut talk = Talk::new();
    talk.simple().c(read(1, 0, 512)).c(read(1, 512, 512)).s(ok(1)).raw(Server, &[0; 512]);
    talk.s(ok(1)).raw(Server, &[0; 512]).c(write(1, 0, 1)).s(ok(1));
    assert_eq!(talk.broken(), ["cookie-distinct-inflight"]);
    assert!(talk.problems().is_empty());
}

#[test]
fn after_equal_cookies_of_unequal_reads_the_server_is_found_again() {
    let mut talk = Talk::new();
    talk.simple().c(read(1, 0, 512)).c(read(1, 512, 1024)).s(ok(1)).raw(Server, &[0; 512]);
    talk.s(ok(1)).raw(Server, &[0; 1024]).c(write(1, 0, 1)).s(ok(1)).finish();
    assert_eq!(talk.broken(), ["cookie-distinct-inflight"]);
    // Twice it can't be told how long the payload is, and twice the next reply is found.
    assert_eq!(talk.problems().len(), 4, "{}", talk.lines());
    assert!(talk.messages().last().is_some_and(|seen| seen.answers.is_some()));
}

#[test]
fn equal_cookies_of_structured_reads_are_not_held_against_the_server() {
    let mut talk = Talk::new();
    talk.structured().c(read(1, 0, 512)).c(read(1, 512, 1024)).s(data(1, MORE, 512, 512));
    talk.s(data(1, DONE, 0, 512)).s(data(1, DONE, 1024, 512)).c(read(1, 0, 512)).s(none(1));
    assert_eq!(talk.broken(), ["cookie-distinct-inflight", "read-structured-covers-request"]);
}

#[test]
fn requests_of_length_0_may_be_answered_in_any_way() {
    let mut talk = Talk::new();
    talk.contexts(&["x-a:b"], 1);
    for (cookie, command) in
        [Command::READ, Command::WRITE, Command::BLOCK_STATUS].iter().enumerate()
    {
        talk.c(cmd(*command, cookie as u64, 0, 0));
    }
    talk.events.clear();
    talk.s(none(0)).s(ok(1)).s(ok(2)).c(cmd(Command::BLOCK_STATUS, 3, 0, 0));
    talk.events.clear();
    talk.s(none(3));
    assert_eq!(talk.broken(), Vec::<&str>::new());
}

#[test]
fn what_a_faulty_request_is_answered_is_open() {
    let mut talk = Talk::new();
    talk.structured().c(read(1, SIZE, 512)).s(error(1, DONE, ErrorCode::EOVERFLOW, ""));
    talk.c(cmd(Command(99), 2, 0, 0))
        .s(err(2, ErrorCode::ENOTSUP))
        .c(read(3, SIZE, 512))
        .s(none(3));
    let expected = [
        "request-within-export",
        "baseline-client-negotiates-rest",
        "structured-errors-preferred",
        "request-within-export",
    ];
    assert_eq!(talk.broken(), expected);
}

#[test]
fn replies_after_disc_are_lawful_for_what_was_in_flight() {
    let mut talk = Talk::new();
    talk.simple().c(write(1, 0, 512)).c(disc(2)).s(ok(1)).close(Server).close(Client).finish();
    assert_eq!(talk.broken(), ["term-client-disc-when-idle"]);
    assert!(talk.problems().is_empty());
}

#[test]
fn an_extended_session_is_followed() {
    let mut talk = Talk::new();
    talk.extended().raw(Client, &extended_flush()).raw(Server, &extended_none()).finish();
    assert_eq!(talk.broken(), Vec::<&str>::new());
    assert_eq!(talk.messages().last().map(|seen| seen.answers), Some(Some(9)));
}

#[test]
fn replies_amid_an_option_that_is_longer_than_what_was_sent_are_nobodys_fault() {
    for length in [1000, 1 << 20] {
        let go = OptionType::GO;
        let mut talk = Talk::new();
        talk.haggle();
        let mut option = opt_raw(go, &[0; 6]).to_bytes();
        option[12..16].copy_from_slice(&u32::to_be_bytes(length));
        talk.raw(Client, &option).s(export(go, SIZE, FLAGS)).s(ack(go));
        talk.raw(Client, &read(1, 0, 512).to_bytes()).s(ok(1)).raw(Server, &[0x72; 512]);
        talk.close(Client).close(Server).finish();
        assert!(!talk.violations().iter().any(|it| it.party == Server), "{}", talk.lines());
    }
}

#[test]
fn a_cookie_that_is_one_bit_off_is_told_with_the_request() {
    let mut talk = Talk::new();
    talk.simple().c(read(0x4b, 0, 512)).s(err(0x0b, ErrorCode::EIO));
    let text = &talk.violations()[0].text;
    assert_eq!(
        text,
        "cookie=0xb is that of no request in flight; it is one bit off the open request 0x4b"
    );
}

#[test]
fn many_requests_with_one_cookie_cost_what_others_do() {
    let mut session = Session::new(Config::default());
    let mut talk = Talk::new();
    talk.simple();
    for (side, bytes) in &talk.sent {
        session.received(*side, 0, bytes);
    }
    let (ask, answer) = (read(1, 0, 512).to_bytes(), err(1, ErrorCode::EIO).to_bytes());
    let mut events = 0;
    for _ in 0..60_000 {
        session.received(Client, 0, &ask);
        while session.next_event().is_some() {
            events += 1;
        }
    }
    for _ in 0..60_000 {
        session.received(Server, 0, &answer);
        while session.next_event().is_some() {
            events += 1;
        }
    }
    assert!(events >= 120_000);
}
