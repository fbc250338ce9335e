use super::*;
use dissector::dissect::{Options, dissect};
use dissector::render::Only;

fn script(capture: &str, session: u64) -> Result<String, Untold> {
    let path = format!("{}/../golden/{capture}", env!("CARGO_MANIFEST_DIR"));
    let file = std::fs::File::open(path).unwrap();
    let mut transcriber = Transcriber::new(&format!("session {session} of {capture}"));
    let mut sink = Only::new(&mut transcriber, Some(session));
    dissect(file, Options::default(), &mut sink).unwrap();
    transcriber.script()
}

#[test]
fn a_write_of_qemu_img_becomes_a_scenario() {
    insta::assert_snapshot!(script("recorded/qemu-img-qemu-nbd.pcap", 2).unwrap());
}

#[test]
fn requests_in_flight_are_waited_for_together() {
    insta::assert_snapshot!(script("recorded/nbdsh-nbdkit.pcap", 1).unwrap());
}

#[test]
fn an_old_client_becomes_a_scenario() {
    insta::assert_snapshot!(script("qemu/2.6-client-qemu-io.pcap", 1).unwrap());
}

#[test]
fn what_was_not_known_and_what_failed_by_chance_is_left_open() {
    insta::assert_snapshot!(script("recorded/self-qemu-img.pcap", 1).unwrap());
    insta::assert_snapshot!(script("recorded/nbdsh-nbdkit-errors.pcap", 1).unwrap());
}

#[test]
fn every_golden_session_becomes_a_scenario_or_tells_why_not() {
    for folder in ["recorded", "qemu"] {
        let path = format!("{}/../golden/{folder}", env!("CARGO_MANIFEST_DIR"));
        for entry in std::fs::read_dir(path).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if !(name.ends_with(".pcap") || name.ends_with(".pcapng")) {
                continue;
            }
            for session in 1.. {
                match script(&format!("{folder}/{name}"), session) {
                    Err(Untold::Absent) => break,
                    Err(error @ (Untold::Mistaken(_) | Untold::TooLong)) => {
                        panic!("session {session} of {name}: {error}")
                    }
                    Err(Untold::NotReplayable(_)) | Ok(_) => {}
                }
            }
        }
    }
}

#[test]
fn what_is_not_seen_whole_is_no_scenario() {
    for name in ["mid-session", "greeting-lost", "payload-lost", "reply-lost"] {
        let script = script(&format!("made/{name}.pcapng"), 1);
        assert!(matches!(script, Err(Untold::NotReplayable(_))), "{name}: {script:?}");
    }
    assert!(script("made/cut-off.pcapng", 1).is_ok());
}

#[test]
fn a_client_that_hears_the_answer_after_its_end_only_shuts_its_direction() {
    let script = script("qemu/10.0-server.pcap", 1).unwrap();
    let end = "C: NBD_OPT_ABORT\n-- shut\nS: NBD_REP_ACK option=NBD_OPT_ABORT\nS: end\n";
    assert!(script.ends_with(end), "{script}");
}

#[test]
fn what_another_server_may_answer_otherwise_is_left_open() {
    let beyond = script("qemu/10.0-server.pcap", 4).unwrap();
    assert!(beyond.contains("NBD_EINVAL in the capture"), "{beyond}");
    assert!(!beyond.contains("S: reply NBD_EINVAL"), "{beyond}");
    // This server did not know NBD_OPT_GO.
    let old = script("qemu/2.6-server.pcap", 2).unwrap();
    assert!(!old.contains("ERR_UNSUP") && !old.contains("needs:   NBD_OPT_GO"), "{old}");
    let context = script("qemu/10.0-server-contexts.pcap", 3).unwrap();
    assert!(context.contains(" context=qemu:dirty-bitmap:bm0"), "{context}");
    // The server reset the connection instead of an answer to ABORT.
    let aborted = script("recorded/nbd-client-nbd-server.pcap", 1).unwrap();
    let end = "maybe { S: NBD_REP_ACK option=NBD_OPT_ABORT }\nS: end\n";
    assert!(aborted.contains(end), "{aborted}");
}

#[test]
fn what_the_server_was_accused_of_is_not_asked_for() {
    let enotsup = script("../dissector/tests/captures/write-zeroes-enotsup.pcap", 1).unwrap();
    let right = "S: reply ok                                       # NBD_ENOTSUP in the capture";
    assert!(enotsup.contains(right), "{enotsup}");
    let abort = "../dissector/tests/captures/abort-answered-with-tls-reqd.pcap";
    let abort = script(abort, 1).unwrap();
    assert!(abort.contains("C: NBD_OPT_ABORT\nS: NBD_REP_ACK option=NBD_OPT_ABORT\n"), "{abort}");
    assert!(!abort.contains("\nS: error"), "{abort}");
}

#[test]
fn a_session_in_tls_asks_for_a_server_that_has_it() {
    let script = script("tls/tls13-nbdcopy-nbdkit.pcapng", 1).unwrap();
    assert!(script.contains("\nexport:  tls-forced\n"), "{script}");
}

/// A talk of a client with a server that leaves, and what the client still says then.
fn left_by_the_server(before: &[(Side, Message)], after: &[Message]) -> String {
    use dissector::dissect::{Ended, SessionInfo};
    use dissector::session::{Config, Event, Session};

    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 10809));
    let info = SessionInfo { number: 1, client: address, server: address, start_ns: 0 };
    let mut session = Session::new(Config::default());
    let mut transcriber = Transcriber::new("left");
    transcriber.record(Record::Opened(&info));
    let tell = |session: &mut Session, transcriber: &mut Transcriber| {
        while let Some(event) = session.next_event() {
            match event {
                Event::Message(seen) => transcriber.record(Record::Message(&info, &seen)),
                Event::Violation(it) => transcriber.record(Record::Violation(&info, &it)),
                Event::Problem(_) => {}
            }
        }
    };
    let greeting = Greeting::Newstyle { flags: HandshakeFlags(3) };
    let begin = [
        (Side::Server, Message::Greeting(greeting)),
        (Side::Client, Message::ClientFlags(ClientFlags(3))),
    ];
    for (from, message) in begin.iter().chain(before) {
        session.received(*from, 0, &message.to_bytes());
        tell(&mut session, &mut transcriber);
    }
    session.closed(Side::Server, 0, Close::End);
    let ended = Ended { from: Side::Server, time_ns: 0, how: Close::End };
    transcriber.record(Record::Ended(&info, ended));
    tell(&mut session, &mut transcriber);
    for message in after {
        session.received(Side::Client, 0, &message.to_bytes());
        tell(&mut session, &mut transcriber);
    }
    transcriber.script().unwrap()
}

/// NBD_OPT_EXPORT_NAME of the export `disk`.
fn export_name() -> (Side, Message) {
    let body = OptionBody::Name(WireString(b"disk".to_vec()));
    (Side::Client, Message::Option(OptionRequest { option: OptionType::EXPORT_NAME, body }))
}

/// The export that follows it.
fn entered() -> (Side, Message) {
    let info = protocol::message::ExportInfo {
        size: 1 << 20,
        flags: TransmissionFlags(5),
        padding: protocol::message::Padding::Absent,
    };
    (Side::Server, Message::ExportInfo(info))
}

fn request(command: Command, cookie: u64) -> Message {
    Message::Request(Request {
        form: protocol::message::RequestForm::Compact,
        flags: CommandFlags(0),
        command,
        cookie: Cookie(cookie),
        offset: 0,
        length: 512,
        status: None,
    })
}

/// A script demanded that servers leave, as a faulty one had, where right ones enter the export.
#[test]
fn a_server_that_leaves_at_export_name_may_enter_it_elsewhere() {
    let script = left_by_the_server(&[export_name()], &[]);
    let open = "either {\n  S: export-info";
    assert!(script.contains(open) && script.contains("or { S: end }"), "{script}");
}

/// A script waited for answers after it had closed the connection.
#[test]
fn what_a_client_sends_after_the_server_left_is_not_told() {
    let before = [export_name(), entered(), (Side::Client, request(Command::READ, 1))];
    let script = left_by_the_server(&before, &[request(Command::FLUSH, 2)]);
    assert!(script.contains("C: NBD_CMD_READ") && !script.contains("NBD_CMD_FLUSH"), "{script}");
    assert!(script.trim_end().ends_with("-- close"), "{script}");
}

/// A script demanded that an experimental command succeed.
#[test]
fn an_experimental_command_need_not_succeed() {
    let reply = SimpleReply { error: ErrorCode::OK, cookie: Cookie(1) };
    let before = [
        export_name(),
        entered(),
        (Side::Client, request(Command::RESIZE, 1)),
        (Side::Server, Message::SimpleReply(reply)),
    ];
    let script = left_by_the_server(&before, &[]);
    assert!(script.contains("\nS: reply _") && !script.contains("S: reply ok"), "{script}");
}
