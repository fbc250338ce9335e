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
