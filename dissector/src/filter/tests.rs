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
fn what_only_replies_have_is_known() {
    let asks = |text: &str| text.parse::<Expression>().unwrap().asks_of_replies();
    assert_eq!(asks("name == NBD_CMD_READ and not (latency < 1ms)"), Some("latency"));
    assert_eq!(asks("error != ok"), Some("error"));
    assert_eq!(asks("length > 4KiB or flags has FUA"), None);
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
fn mistakes_are_told_with_their_place_and_advice() {
    let mistakes = [
        "nmae == NBD_CMD_READ",
        "length",
        "length > $x",
        "length >",
        "",
        "name == NBD_CMD_READ and error == EINVAL",
        "name == NBD_CMD_REED",
        "name == READ",
        "from == foo",
        "kind == reqest",
        "tls == maybe",
        "flags has NBD_CMD_FLAG_FUA",
        "flags has {FUA DFF}",
        "flags == client",
        "option == GO",
        "error == 0x100000000",
        "latency > 5",
        "latency > 5KiB",
        "time > 10ms and length > 10ms",
        "length == foo",
        "name has READ",
        "name < NBD_CMD_READ",
        "name == {NBD_CMD_READ}",
        "export == 5",
        "\u{1b}[31m == 5",
    ];
    let told = mistakes.map(|text| text.parse::<Expression>().unwrap_err().to_string());
    insta::assert_snapshot!(told.join("\n\n"));
}

#[test]
fn a_mistake_far_behind_is_shown_with_what_is_near_it() {
    let text = format!("{}frm == server", " ".repeat(70_000));
    let error = text.parse::<Expression>().unwrap_err().to_string();
    assert!(error.contains("frm == server\n"), "{error}");
    assert!(error.len() < 1000, "{error}");
    let lines: Vec<_> = error.lines().collect();
    assert_eq!(lines[1].find("frm"), lines[2].find('^'), "{error}");
}

#[test]
fn conditions_without_end_are_refused() {
    let text = format!("{}from == server", "from == server and ".repeat(10_000));
    let error = text.parse::<Expression>().unwrap_err().to_string();
    assert!(error.contains(": more than 1000 conditions\n"), "{error}");
    let text = format!("{}from == server", "from == server and ".repeat(900));
    assert!(text.parse::<Expression>().is_ok());
}

#[test]
fn flags_are_compared_by_name_and_by_bits_with_or_without_braces() {
    let fua = lines("flags has {FUA}", CAPTURE);
    assert_eq!(fua.len(), 1);
    for filter in [
        "flags has FUA",
        "flags == FUA",
        "flags has {0x1} and kind == request",
        "flags == 1 and from == client and kind != client-flags",
        "kind == request and not (flags lacks FUA) ",
    ] {
        assert_eq!(lines(filter, CAPTURE), fua, "{filter}");
    }
    let without = lines("kind == request and flags lacks FUA", CAPTURE);
    assert!(without.iter().any(|line| line.starts_with("C: NBD_CMD_READ ")));
    assert!(lines("flags has 0x100000000", CAPTURE).is_empty());
}

#[test]
fn numbers_stand_for_the_words_that_they_mean() {
    let errors = "recorded/nbdsh-nbdkit-errors.pcap";
    let invalid = lines("error == NBD_EINVAL", errors);
    assert!(!invalid.is_empty());
    assert_eq!(lines("error == 22", errors), invalid);
    assert_eq!(lines("error == NBD_E0x16", errors), invalid);
    assert_eq!(lines("name == NBD_CMD_0x1", CAPTURE), lines("name == NBD_CMD_WRITE", CAPTURE));
    assert_eq!(lines("option == 7", CAPTURE), lines("option == NBD_OPT_GO", CAPTURE));
    let zeroes = lines("data == zero*4096 and from == server", CAPTURE);
    assert!(zeroes.iter().all(|line| line.ends_with("data=zero*4096")) && !zeroes.is_empty());
    assert!(!lines("extents has {32768:0 131072:3}", CAPTURE).is_empty());
    assert!(lines("form == structured", CAPTURE).len() > 3);
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in ".{0,60}") {
        if let Err(error) = text.parse::<Expression>() {
            let _ = error.to_string();
        }
    }

    #[test]
    fn no_text_of_words_panics(words in proptest::collection::vec(
        proptest::sample::select(vec![
            "latency", "flags", "name", "==", "has", ">", "10ms", "5", "\"ä\"", "(", ")", "and", "not",
            "{", "}", "FUA", "5KiB", "zero*5", "ß", "1:2",
        ]),
        0..9,
    )) {
        if let Err(error) = words.join(" ").parse::<Expression>() {
            let _ = error.to_string();
        }
    }
}
