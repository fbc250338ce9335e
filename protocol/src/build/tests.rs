//! What is built, what is refused, and what is said about it. The round trips over all messages
//! are in `tests/round_trip.rs`.

use super::*;
use crate::message::Cookie;
use crate::notation::parser;
use crate::payload::Part;
use crate::values::OptionType;

/// The line that a line reads back as.
fn again(text: &str) -> String {
    let (side, message, payload) = parse_line(text).unwrap();
    crate::describe::line(side, &message.describe(payload.as_ref()))
}

#[test]
fn reads_lines_of_decode_output() {
    for line in [
        "S: greeting fixed-newstyle flags={NO_ZEROES}",
        "S: greeting oldstyle size=512 flags={HAS_FLAGS}",
        "C: client-flags flags={FIXED_NEWSTYLE 0x80}",
        r#"C: NBD_OPT_GO name="" info={NBD_INFO_0x7777}"#,
        "C: NBD_OPT_0x4e424421 data=hex\"01 02\"",
        "S: NBD_REP_INFO NBD_INFO_EXPORT option=NBD_OPT_GO data=hex\"01\"",
        "C: NBD_CMD_WRITE form=extended cookie=0x1 flags={PAYLOAD_LEN} offset=0 length=4 data=zero*4",
        "C: NBD_CMD_WRITE cookie=0x1 offset=0 length=0",
        "S: NBD_REPLY_TYPE_OFFSET_DATA cookie=0x1 flags={DONE} data=hex\"01 02\"",
        "C: NBD_CMD_WRITE form=extended cookie=0x1 flags={} offset=0 length=8 data=zero*8",
        "S: NBD_REPLY_TYPE_NONE form=extended cookie=0x1 flags={DONE} request-offset=512",
        "S: NBD_REPLY_TYPE_0x80ff cookie=0x1 flags={} error=NBD_E0x270f data=hex\"00\"",
    ] {
        assert_eq!(again(line), line);
    }
}

#[test]
fn fills_in_lawful_defaults() {
    for (line, wanted) in [
        (r#"C: NBD_OPT_GO name="a""#, r#"C: NBD_OPT_GO name="a" info={}"#),
        (
            "C: NBD_CMD_WRITE cookie=1 data=zero*512",
            "C: NBD_CMD_WRITE cookie=0x1 offset=0 length=512 data=zero*512",
        ),
        ("C: NBD_CMD_FLUSH cookie=1", "C: NBD_CMD_FLUSH cookie=0x1 offset=0 length=0"),
        (
            "C: NBD_CMD_WRITE form=extended cookie=1 flags={FUA} data=zero*8",
            "C: NBD_CMD_WRITE form=extended cookie=0x1 flags={FUA PAYLOAD_LEN} offset=0 length=8 \
             data=zero*8",
        ),
        (
            "C: NBD_CMD_BLOCK_STATUS form=extended cookie=1 effect-length=512 ids={3}",
            "C: NBD_CMD_BLOCK_STATUS form=extended cookie=0x1 flags={PAYLOAD_LEN} offset=0 \
             length=12 effect-length=512 ids={3}",
        ),
        ("S: NBD_REPLY_TYPE_NONE cookie=1", "S: NBD_REPLY_TYPE_NONE cookie=0x1 flags={DONE}"),
        (
            "S: NBD_REPLY_TYPE_BLOCK_STATUS_EXT cookie=1 id=2 extents={8:0 8:1}",
            "S: NBD_REPLY_TYPE_BLOCK_STATUS_EXT cookie=0x1 flags={} id=2 count=2 extents={8:0 8:1}",
        ),
    ] {
        assert_eq!(again(line), wanted);
    }
}

#[test]
fn the_conversation_supplies_what_a_line_leaves_out() {
    let context = Context {
        extended: true,
        cookie: Some(Cookie(7)),
        option: Some(OptionType::GO),
        request_offset: Some(512),
        padded: true,
    };
    let lines = [
        (Side::Server, "NBD_REP_ACK", vec![]),
        (Side::Server, "NBD_REPLY_TYPE_NONE", vec![]),
        (Side::Server, "export-info", vec![("size".to_owned(), Value::Int(512))]),
    ];
    let built = lines.map(|(side, head, fields)| {
        build(side, head, None, &fields, &context).unwrap().message.describe(None).to_string()
    });
    assert_eq!(
        built,
        [
            "NBD_REP_ACK option=NBD_OPT_GO",
            "NBD_REPLY_TYPE_NONE form=extended cookie=0x7 flags={DONE} request-offset=512",
            "export-info size=512 flags={HAS_FLAGS} padding=zero*124",
        ]
    );
}

#[test]
fn lies_stay_beside_the_message() {
    let line = parser::parse_line("C: NBD_OPT_LIST length=9 magic=0x1122334455667788").unwrap();
    let built = build_line(&line).unwrap();
    assert_eq!(built.announced_length, Some(9));
    assert_eq!(
        built.to_bytes(),
        [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0, 0, 0, 3, 0, 0, 0, 9]
    );
    let text = "S: NBD_REPLY_TYPE_OFFSET_HOLE cookie=1 offset=0 size=1 length=11 magic=1";
    let bytes = build_line(&parser::parse_line(text).unwrap()).unwrap().to_bytes();
    assert_eq!((&bytes[..4], &bytes[16..20]), (&[0, 0, 0, 1][..], &[0, 0, 0, 11][..]));
    let text = "C: NBD_CMD_WRITE cookie=1 length=4096 data=zero*100";
    let built = build_line(&parser::parse_line(text).unwrap()).unwrap();
    assert_eq!(built.message.bulk(), 4096);
    assert_eq!(built.payload, Some(Payload(vec![Part::Zero(100)])));
}

#[test]
fn says_what_is_wrong_and_where() {
    let lines = [
        "C: NBD_OPT_GOO",
        "S: NBD_OPT_GO",
        "S: reply ok",
        "S: greeting",
        "S: greeting newstile",
        "S: NBD_REP_ACK NBD_INFO_NAME option=NBD_OPT_GO",
        "C: NBD_CMD_READ cookie=1 ofset=0 length=1",
        "C: NBD_CMD_READ cookie=1 cookie=2 length=1",
        "C: NBD_CMD_READ cookie=1",
        "C: NBD_CMD_READ cookie=1 length=4294967296",
        "C: NBD_CMD_READ cookie=1 length=\"a\"",
        "C: NBD_CMD_READ cookie=1 length=1 flags={DFF}",
        "C: NBD_CMD_READ cookie=1 length=1 data=zero*1",
        "C: NBD_CMD_READ cookie=1 length<1",
        "C: NBD_CMD_READ cookie=$c length=1",
        "C: NBD_CMD_WRITE cookie=1 length=1",
        "C: client-flags flags={\"a\" B}",
        "C: NBD_OPT_GO name=\"\" data=hex\"00\"",
        "S: NBD_REPLY_TYPE_OFFSET_DATA cookie=1 data=zero*512",
        "S: export-info size=1 padding=zero*3",
    ];
    let told = lines.map(|line| match parse_line(line) {
        Ok(_) => format!("{line}\n  no error"),
        Err(error) => {
            let place = &line[error.span.start..error.span.end];
            let help = error.help.map_or_else(String::new, |help| format!(" ({help})"));
            format!("{line}\n  at `{place}`: {}{help}", error.message)
        }
    });
    insta::assert_snapshot!(told.join("\n"));
}
