use super::expression::without_units;
use super::*;
use crate::dissect::{Options, dissect};
use crate::render::{Renderer, TextRenderer};

/// What a filter leaves of a golden capture.
fn filtered(filter: &str, capture: &str) -> String {
    let path = format!("{}/../golden/{capture}", env!("CARGO_MANIFEST_DIR"));
    let file = std::fs::File::open(path).unwrap();
    let expression: Expression = filter.parse().unwrap();
    let mut renderer = TextRenderer::new(Vec::new());
    dissect(file, Options::default(), &mut Filter::new(&mut renderer, &expression)).unwrap();
    renderer.finish().unwrap();
    String::from_utf8(renderer.into_inner()).unwrap()
}

/// The lines of messages that a filter leaves of a golden capture, without their comments.
fn lines(filter: &str, capture: &str) -> Vec<String> {
    let text = filtered(filter, capture);
    let messages = text.lines().filter(|line| line.starts_with("C: ") || line.starts_with("S: "));
    let bare = messages.map(|line| line.split("  # ").next().unwrap().to_owned());
    bare.filter(|line| !line.ends_with(": close") && !line.ends_with(": reset")).collect()
}

const CAPTURE: &str = "recorded/nbdsh-nbdkit.pcap";

#[test]
fn fields_are_compared_by_their_kind() {
    assert_eq!(
        lines("name == NBD_CMD_WRITE and length < 1KiB", CAPTURE),
        ["C: NBD_CMD_WRITE cookie=0x4 flags={FUA} offset=131072 length=512 data=fill(0x5b)*512"]
    );
    assert_eq!(
        lines("flags has {FUA}", CAPTURE),
        lines("number == 0 or offset == 0x20000 and kind == request", CAPTURE)
    );
    assert_eq!(lines("kind == option and export == \"\"", CAPTURE).len(), 2);
    assert_eq!(lines("from == client and not (kind == request)", CAPTURE).len(), 4);
}

#[test]
fn a_field_that_is_not_there_is_like_nothing() {
    assert!(lines("minimum >= 0 and kind == request", CAPTURE).is_empty());
    assert!(!lines("error != ok", "recorded/nbdsh-nbdkit-errors.pcap").is_empty());
    assert!(lines("error != ok", CAPTURE).is_empty());
}

#[test]
fn the_type_of_information_is_a_field_of_replies_too() {
    let lines = lines("info == NBD_INFO_EXPORT and kind == option-reply", CAPTURE);
    assert!(!lines.is_empty());
    assert!(lines.iter().all(|line| line.starts_with("S: NBD_REP_INFO NBD_INFO_EXPORT ")));
}

#[test]
fn latency_is_that_of_replies() {
    let all = lines("latency >= 0ns", CAPTURE);
    assert!(all.iter().all(|line| line.starts_with("S: ")));
    assert!(lines("latency > 10s", CAPTURE).is_empty());
    assert_eq!(all.len(), lines("latency < 10s", CAPTURE).len());
}

#[test]
fn a_session_with_something_wanted_is_told_as_a_whole() {
    let capture = "tls/tls13-nbdcopy-nbdkit.pcapng";
    insta::assert_snapshot!(filtered("name == NBD_CMD_DISC", capture));
    assert_eq!(filtered("name == NBD_CMD_TRIM", capture), "");
    // TLS is open, and nothing was asked of it.
    let tls = filtered("name == NBD_OPT_STARTTLS and kind == option", capture);
    assert!(tls.contains("-- tls 1.3 opened") && tls.contains("C: close"), "{tls}");
}

#[test]
fn mistakes_are_told_with_advice() {
    let error = |text: &str| text.parse::<Expression>().unwrap_err().to_string();
    insta::assert_snapshot!(error("nmae == NBD_CMD_READ"), @r"
    not a filter: `nmae` is no field
    hint: did you mean `name`?
    ");
    insta::assert_snapshot!(error("length"), @r"
    not a filter: `length` alone is no condition
    hint: compare it: `length == ...`
    ");
    insta::assert_snapshot!(error("length > $x"), @r"
    not a filter: a number, a word, a text or a set stands on the right
    hint: `length >= 64KiB`, `name == NBD_CMD_READ`, `flags has {FUA}`
    ");
    insta::assert_snapshot!(error("length >"), @"not a filter: unexpected the end of the text: expected a value");
    insta::assert_snapshot!(error(""), @"not a filter: unexpected the end of the text: expected a value");
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in ".{0,60}") {
        let _ = text.parse::<Expression>();
    }
}

#[test]
fn units_become_nanoseconds_but_not_in_texts() {
    assert_eq!(without_units("latency>10ms"), "latency>10000000");
    assert_eq!(without_units("time >= 2s and x == \"3us\""), "time >= 2000000000 and x == \"3us\"");
    assert_eq!(without_units("name == NBD_CMD_READ"), "name == NBD_CMD_READ");
    assert_eq!(without_units("length == 64KiB"), "length == 64KiB");
}
