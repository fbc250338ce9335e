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
