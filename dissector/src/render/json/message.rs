//! The line of a message. There are millions of them, so that each part is written where it belongs,
//! once.

use protocol::describe::{Description, Kind, Value};
use protocol::digits::{decimal, hex_digits, hexadecimal};
use protocol::payload::Part;

use super::value::{Json, SAFE};
use crate::render::harmless;
use crate::session::Seen;

/// What a line has besides the message.
pub(super) struct Around {
    pub(super) session: u64,
    /// The number of the packet with which the message was complete; `None` at the end of the capture.
    pub(super) frame: Option<u64>,
    /// How long after its request or option began a reply was complete.
    pub(super) latency_ns: Option<u64>,
}

/// Appends the line; `text` is room for the notation.
pub(super) fn write(out: &mut Vec<u8>, text: &mut Vec<u8>, around: &Around, seen: &Seen) {
    let description = seen.describe();
    out.extend_from_slice(b"{\"type\":\"message\"");
    number(out, ",\"session\":", around.session);
    number(out, ",\"number\":", seen.number);
    number(out, ",\"time_ns\":", seen.time_ns);
    number(out, ",\"end_ns\":", seen.end_ns);
    match around.frame {
        Some(frame) => number(out, ",\"frame\":", frame),
        None => out.extend_from_slice(b",\"frame\":null"),
    }
    word(out, ",\"from\":\"", seen.from.name());
    number(out, ",\"offset\":", seen.offset);
    number(out, ",\"length\":", seen.length);
    out.extend_from_slice(if seen.tls { b",\"tls\":true" } else { b",\"tls\":false" });
    word(out, ",\"kind\":\"", description.kind.name());
    word(out, ",\"name\":\"", description.name());
    out.extend_from_slice(b",\"fields\":");
    fields(out, &description);
    text.clear();
    text.extend_from_slice(match seen.from.letter() {
        'C' => b"C: ",
        _ => b"S: ",
    });
    description.append(text);
    out.extend_from_slice(b",\"text\":");
    string(out, text);
    if let Some(answers) = seen.answers {
        number(out, ",\"answers\":", answers);
    }
    if let Some(latency_ns) = around.latency_ns {
        number(out, ",\"latency_ns\":", latency_ns);
    }
    out.extend_from_slice(b"}\n");
}

fn has_flags(kind: Kind) -> bool {
    matches!(kind, Kind::Request | Kind::Chunk | Kind::ExtendedRequest | Kind::ExtendedChunk)
}

/// The fields as an object.
pub(super) fn fields(out: &mut Vec<u8>, description: &Description) {
    out.push(b'{');
    let mut separator: &[u8] = b"\"";
    for (index, field) in description.fields.iter().enumerate() {
        out.extend_from_slice(separator);
        separator = b",\"";
        out.extend_from_slice(field.key.as_bytes());
        out.extend_from_slice(b"\":");
        value(out, &field.value);
        // On the wire the information type follows the option that is answered.
        if let (0, Some(info)) = (index, description.info_type()) {
            word(out, ",\"info\":\"", info);
        }
    }
    // The notation leaves out a set of flags that is empty.
    if has_flags(description.kind) && description.fields.iter().all(|field| field.key != "flags") {
        out.extend_from_slice(separator);
        out.extend_from_slice(b"flags\":[]");
    }
    out.push(b'}');
}

fn value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Int(n) if *n <= SAFE => decimal(out, *n),
        Value::Int(n) | Value::Hex(n) => {
            out.push(b'"');
            hexadecimal(out, *n);
            out.push(b'"');
        }
        Value::Name(name) => word(out, "\"", name),
        Value::Names(names) => {
            out.push(b'[');
            for (index, name) in names.iter().enumerate() {
                word(out, if index > 0 { ",\"" } else { "\"" }, name);
            }
            out.push(b']');
        }
        Value::Payload(payload) => match payload.0[..] {
            [Part::Digest(digest, length)] if length <= SAFE => {
                number(out, "{\"length\":", length);
                out.extend_from_slice(b",\"digest\":\"");
                hex_digits(out, digest, 16);
                out.extend_from_slice(b"\"}");
            }
            _ => other(out, value),
        },
        Value::Text(_) | Value::Texts(_) | Value::Ids(_) | Value::Extents(_) => other(out, value),
    }
}

/// A value that is rare, or whose words a peer has chosen.
fn other(out: &mut Vec<u8>, value: &Value) {
    // Writing to memory does not fail.
    let _ = harmless::write(out, &Json(value));
}

fn number(out: &mut Vec<u8>, key: &str, number: u64) {
    out.extend_from_slice(key.as_bytes());
    decimal(out, number);
}

/// A word of the protocol, which needs no escapes. `key` has the first quote.
fn word(out: &mut Vec<u8>, key: &str, word: &str) {
    debug_assert!(is_plain(word.as_bytes()), "{word:?}");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(word.as_bytes());
    out.push(b'"');
}

fn string(out: &mut Vec<u8>, text: &[u8]) {
    if is_plain(text) {
        out.push(b'"');
        out.extend_from_slice(text);
        out.push(b'"');
    } else {
        // Writing to memory does not fail.
        let _ = harmless::write(out, &String::from_utf8_lossy(text));
    }
}

/// Whether JSON has these bytes as they are. Without an early end the compiler looks at many at once.
fn is_plain(bytes: &[u8]) -> bool {
    let plain = |byte: &u8| (b' '..0x7f).contains(byte) & (*byte != b'"') & (*byte != b'\\');
    bytes.iter().fold(true, |all, byte| all & plain(byte))
}

#[cfg(test)]
mod tests {
    use protocol::build::parse_line;

    use super::*;

    fn json(line: &str) -> String {
        let mut out = Vec::new();
        fields(&mut out, &parse_line(line).unwrap().1.describe(None));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn fields_have_the_information_type_also_of_one_that_nobody_knows() {
        let told = json("S: NBD_REP_INFO NBD_INFO_0x4d option=NBD_OPT_GO data=hex\"78 79 7a\"");
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        assert_eq!(told["info"], "NBD_INFO_0x4d");
        assert_eq!(told["data"]["length"], 3);
    }

    #[test]
    fn numbers_beyond_what_a_double_holds_are_strings() {
        let told = json("C: NBD_CMD_READ cookie=0x1 offset=9007199254740993 length=512");
        let want = r#"{"cookie":"0x1","offset":"0x20000000000001","length":512,"flags":[]}"#;
        assert_eq!(told, want);
    }

    #[test]
    fn what_a_peer_has_said_is_escaped() {
        let mut out = Vec::new();
        string(&mut out, "a\"b\\c\u{7f}é".as_bytes());
        assert_eq!(String::from_utf8(out).unwrap(), r#""a\"b\\c\u007fé""#);
        let mut out = Vec::new();
        string(&mut out, b"S: simple-reply ok");
        assert_eq!(out, b"\"S: simple-reply ok\"");
    }
}
