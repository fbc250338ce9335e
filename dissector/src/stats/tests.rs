use protocol::build::parse_line;
use protocol::message::Message;
use protocol::values::Command;

use super::*;
use crate::dissect::{Options, dissect};
use crate::filter::{Expression, Filter};
use crate::render::Only;
use crate::session::Seen;

fn stats(capture: &str, session: u64, json: bool) -> String {
    let path = format!("{}/../golden/{capture}", env!("CARGO_MANIFEST_DIR"));
    let file = std::fs::File::open(path).unwrap();
    let mut renderer = StatsRenderer::new(Vec::new(), json);
    dissect(file, Options::default(), &mut Only::new(&mut renderer, Some(session))).unwrap();
    renderer.finish().unwrap();
    String::from_utf8(renderer.into_inner()).unwrap()
}

#[test]
fn commands_latencies_and_depth_for_people() {
    insta::assert_snapshot!(stats("recorded/nbdsh-nbdkit.pcap", 1, false));
}

#[test]
fn errors_are_counted() {
    insta::assert_snapshot!(stats("recorded/nbdsh-nbdkit-errors.pcap", 1, false));
}

#[test]
fn the_same_for_programs() {
    insta::assert_snapshot!(stats("recorded/nbdsh-nbdkit.pcap", 1, true));
}

fn seen(number: u64, times: [u64; 2], answers: Option<u64>, line: &str) -> Seen {
    let (from, message, payload) = parse_line(line).unwrap();
    let ([time_ns, end_ns], offset, length, tls, head) = (times, 0, 28, false, None);
    let unknown = &[];
    #[rustfmt::skip]
    let seen = Seen {
        number, time_ns, end_ns, from, offset, length, tls, message, payload, head, answers, unknown,
    };
    seen
}

// The upper edge of the histogram's bucket, 4,620,287 ns, was told as the longest latency.
#[test]
fn no_percentile_exceeds_the_longest_latency() {
    let mut stats = SessionStats::default();
    stats.message(0, &seen(1, [0; 2], None, "C: NBD_CMD_READ cookie=1 offset=0 length=512"));
    stats.message(0, &seen(2, [4_590_000; 2], Some(1), "S: simple-reply ok cookie=1"));
    let read = stats.commands.values().next().unwrap();
    assert_eq!([0.5, 0.9, 0.99, 1.0].map(|part| read.percentile(part)), [4_590_000; 4]);
}

// Replies were filtered away, and nothing was ever answered.
#[test]
fn a_filter_chooses_requests_with_their_replies() {
    let path = format!("{}/../golden/recorded/nbdsh-nbdkit.pcap", env!("CARGO_MANIFEST_DIR"));
    let expression: Expression = "name == NBD_CMD_READ and offset < 1MiB".parse().unwrap();
    let mut renderer = StatsRenderer::new(Vec::new(), true);
    let mut filter = Filter::of_requests(&mut renderer, &expression);
    let file = std::fs::File::open(path).unwrap();
    dissect(file, Options::default(), &mut Only::new(&mut filter, Some(1))).unwrap();
    renderer.finish().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&renderer.into_inner()).unwrap();
    let all: serde_json::Value =
        serde_json::from_str(&stats("recorded/nbdsh-nbdkit.pcap", 1, true)).unwrap();
    assert_eq!(json["commands"].as_array().unwrap().len(), 1);
    assert_eq!(json["commands"][0], all["commands"][0]);
    assert_eq!(json["commands"][0]["answered"], 6);
    let columns = json["depth"]["columns"].as_array().unwrap();
    assert!(columns.iter().any(|column| *column == 0), "the depth falls: {columns:?}");
}

#[test]
fn commands_that_a_client_makes_up_cost_no_more_than_a_few() {
    let mut stats = SessionStats::default();
    for number in 0..65_536u64 {
        let mut seen =
            seen(number + 1, [0, 0], None, "C: NBD_CMD_READ cookie=0x1 offset=0 length=1");
        if let Message::Request(request) = &mut seen.message {
            request.command = Command(number as u16);
        }
        stats.message(0, &seen);
    }
    assert!(stats.commands.len() <= 32);
    // NBD_CMD_DISC is not counted.
    assert_eq!(stats.left_out, 65_535 - 32);
}
