use super::*;
use crate::dissect::{Options, dissect};
use crate::render::Only;

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
