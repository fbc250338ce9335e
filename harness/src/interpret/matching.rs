//! Whether what came is what a line expects, and if not, how to show it.

use dissector::render::Plural;
use protocol::codec::layout_error;
use protocol::describe::{Description, Kind, Value};
use protocol::message::{Cookie, Message};
use protocol::notation::ast::{Expr, FieldPattern, MessageLine, Op, Spanned, Word};
use protocol::payload::{Part, Payload, place_of, recognize};
use protocol::values::{ErrorCode, ReplyType};

use super::assemble::Reply;
use super::eval;
use super::eval::{Env, EvalError, Evaluated};
use crate::finding::EventKind;
use crate::link::{End, Received};

/// The largest payload that a capture keeps byte for byte.
const CAPTURE_LIMIT: usize = 4 << 20;

/// What came, at the height that a line asks for.
#[derive(Debug, Clone)]
pub enum Candidate {
    /// One message.
    Message(Box<Received>),
    /// A whole reply.
    Reply(Box<Reply>),
    /// No message.
    End(End),
}

impl Candidate {
    /// In what form it shows a breach.
    #[must_use]
    pub fn event(&self) -> EventKind {
        match self {
            Self::Message(_) | Self::Reply(_) => EventKind::Message,
            Self::End(End::Close | End::Notified) => EventKind::Close,
            Self::End(End::CutOff(_)) => EventKind::CutOff,
            Self::End(End::Reset) => EventKind::Reset,
            Self::End(End::Timeout(_)) => EventKind::Timeout,
            Self::End(End::Stalled(..)) => EventKind::Stalled,
            Self::End(End::Garbage(_)) => EventKind::Garbage,
            Self::End(End::TooLarge(_) | End::Endless(_)) => EventKind::Oversized,
        }
    }

    /// The type of the reply to an option, if it is one.
    #[must_use]
    pub fn option_reply(&self) -> Option<ReplyType> {
        match self {
            Self::Message(received) => option_reply(&received.message),
            Self::Reply(_) | Self::End(_) => None,
        }
    }
}

/// The type of a message that replies to an option.
pub(crate) fn option_reply(message: &Message) -> Option<ReplyType> {
    match message {
        Message::OptionReply(reply) => Some(reply.reply),
        _ => None,
    }
}

/// Names cookies as the script does.
pub trait Labels {
    /// The cookie behind a label.
    fn cookie(&self, label: &str) -> Option<Cookie>;
    /// The label of a cookie.
    fn label(&self, cookie: Cookie) -> Option<&str>;
}

/// What a comparison brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is what was expected; these are the captures.
    Match(Vec<(String, Value)>),
    /// It differs.
    Differs(Box<Difference>),
}

/// How what came differs from what was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Whether only a field differs (or which error it is): then a `should` line only warns.
    pub soft: bool,
    /// The expected line, variables resolved.
    pub expected: String,
    /// The line that came, or how the wait ended.
    pub received: String,
    /// The part of `received` that differs: first byte, length, and a word about it.
    pub mark: Option<(usize, usize, String)>,
    /// The bytes of the field that differs.
    pub bytes: Option<String>,
    /// Only the data differs.
    pub content: bool,
}

/// Compares a candidate with a line.
///
/// # Errors
/// An expression of the line can't be worked out.
pub fn compare(
    line: &MessageLine,
    candidate: &Candidate,
    env: &Env,
    labels: &dyn Labels,
) -> Result<Outcome, EvalError> {
    let head = word(&line.head, env)?;
    let variant = match &line.variant {
        Some(variant) => word(variant, env)?,
        None => None,
    };
    // Texts are made of what differs only: most messages fit, and to recognise data takes long.
    let differ = |soft, received, mark, bytes, content| {
        let expected = resolved(line, env, labels)?;
        let difference = Difference { soft, expected, received, mark, bytes, content };
        Ok(Outcome::Differs(Box::new(difference)))
    };
    let differs = |soft, received, mark, bytes| differ(soft, received, mark, bytes, false);
    match candidate {
        Candidate::End(end) => {
            let wanted = matches!(
                (head.as_deref(), end),
                (Some("end"), End::Close | End::Notified | End::Reset | End::CutOff(_))
                    | (Some("close"), End::Close | End::Notified)
                    | (Some("close-notify"), End::Notified)
                    | (Some("reset"), End::Reset)
                    | (Some("timeout"), End::Timeout(_))
            );
            if wanted {
                Ok(Outcome::Match(Vec::new()))
            } else {
                differs(false, end.to_string(), None, None)
            }
        }
        Candidate::Message(received) => {
            let description = received.message.describe(None);
            let text = || format!("{}: {}", received.message.side().letter(), describe(received));
            if let Some(soft) = head_differs(head.as_deref(), &description) {
                return differs(soft, text(), None, None);
            }
            if let Some(variant) = &variant
                && description.variant.as_deref() != Some(variant)
            {
                return differs(false, text(), None, None);
            }
            let mut captures = Vec::new();
            for pattern in &line.fields {
                let key = pattern.key.node.as_str();
                let data = (key == "data").then_some((received.bulk_offset, &received.bulk[..]));
                match field(pattern, description.field(key), data, env, labels)? {
                    Ok(capture) => captures.extend(capture),
                    Err(miss) => {
                        let mut text = text();
                        let mark = find_field(&text, key, &miss.note);
                        let bytes = field_bytes(received, &describe(received), key);
                        if let Some(data) = miss.received {
                            text = replace_field(&text, key, &data);
                        }
                        let mark = mark.or_else(|| find_field(&text, key, &miss.note));
                        return differ(true, text, mark, bytes, data.is_some());
                    }
                }
            }
            Ok(Outcome::Match(captures))
        }
        Candidate::Reply(reply) => compare_reply(line, variant, reply, env, labels),
    }
}

fn compare_reply(
    line: &MessageLine,
    variant: Option<String>,
    reply: &Reply,
    env: &Env,
    labels: &dyn Labels,
) -> Result<Outcome, EvalError> {
    let side = line.side.letter();
    let text = || reply_text(side, reply, labels);
    let differ = |soft, received: String, mark, content| {
        let expected = resolved(line, env, labels)?;
        let difference = Difference { soft, expected, received, mark, bytes: None, content };
        Ok(Outcome::Differs(Box::new(difference)))
    };
    let differs = |soft, received, mark| differ(soft, received, mark, false);
    let failed = reply.error != ErrorCode::OK;
    let (fits, soft) = match variant.as_deref() {
        None => (true, false),
        Some("ok") => (!failed, false),
        Some("error") => (failed, false),
        // Another error than the one asked for: the request failed as it should.
        Some(name) => (reply.error.to_string() == name, failed),
    };
    if !fits {
        let start = format!("{side}: reply ").len();
        let mark = (start, reply.error.to_string().len(), String::new());
        return differs(soft, text(), Some(mark));
    }
    let mut captures = Vec::new();
    for pattern in &line.fields {
        let key = pattern.key.node.as_str();
        let found = match key {
            "cookie" => Some(Value::Hex(reply.cookie.0)),
            "error" => Some(Value::Name(reply.error.label())),
            "message" => Some(Value::Text(reply.message.clone())),
            "offset" => Some(Value::Int(reply.offset)),
            "chunks" => Some(Value::Int(reply.messages as u64)),
            "extents" => reply.extents.first().map(|(_, extents)| Value::Extents(extents.clone())),
            "data" => None,
            _ => {
                let message = format!("a reply has no field `{key}`");
                return Err(EvalError { message, span: pattern.key.span });
            }
        };
        let mut data = None;
        if key == "data" {
            if !failed && let Some(at) = reply.first_uncovered() {
                let note = format!("no chunk covers byte {at} of the read");
                let text = text();
                let mark = find_field(&text, "data", &note);
                return differs(true, text, mark);
            }
            data = Some((reply.offset, if failed { &[] } else { &reply.data[..] }));
        }
        match field(pattern, found.as_ref(), data, env, labels)? {
            Ok(capture) => captures.extend(capture),
            Err(miss) => {
                let mut text = text();
                if let Some(data) = miss.received {
                    text = replace_field(&text, key, &data);
                }
                let mark = find_field(&text, key, &miss.note);
                return differ(true, text, mark, key == "data" && !failed);
            }
        }
    }
    Ok(Outcome::Match(captures))
}

/// A whole reply as a line.
fn reply_text(side: char, reply: &Reply, labels: &dyn Labels) -> String {
    let mut text = format!("{side}: reply {}", reply.error);
    if let Some(label) = labels.label(reply.cookie) {
        text.push_str(&format!(" cookie={label}"));
    }
    if !reply.message.is_empty() {
        text.push_str(&format!(" message={}", reply.message));
    }
    if reply.error == ErrorCode::OK && !reply.data.is_empty() {
        text.push_str(&format!(" data={}", recognize(reply.offset, &reply.data)));
    }
    text
}

/// The name that a word stands for; `None` for any.
fn word(word: &Spanned<Word>, env: &Env) -> Result<Option<String>, EvalError> {
    match &word.node {
        Word::Name(name) => Ok(Some(name.to_string())),
        Word::Any => Ok(None),
        Word::Variable(name) => match env.get(name) {
            Some(Value::Name(name)) => Ok(Some(name.to_string())),
            Some(other) => {
                let message = format!("expected the name of a message, `${name}` is `{other}`");
                Err(EvalError { message, span: word.span })
            }
            None => {
                Err(EvalError { message: format!("`${name}` has no value here"), span: word.span })
            }
        },
    }
}

/// Whether the head is another than expected, and if so, whether both are error replies.
fn head_differs(head: Option<&str>, description: &Description) -> Option<bool> {
    let head = head?;
    let came = description.head.parse::<ReplyType>().is_ok_and(ReplyType::is_error)
        && description.kind == Kind::OptionReply;
    if head == "error" {
        return if came { None } else { Some(false) };
    }
    if head == description.head {
        return None;
    }
    Some(came && head.parse::<ReplyType>().is_ok_and(ReplyType::is_error))
}

/// The description of a message with its bulk as it was recognised.
#[must_use]
pub fn describe(received: &Received) -> Description {
    let has_bulk = !received.bulk.is_empty() || received.message.bulk() > 0;
    let payload = has_bulk.then(|| recognize(received.bulk_offset, &received.bulk));
    received.message.describe(payload.as_ref())
}

/// How a field differs.
struct Miss {
    note: String,
    /// For data: a form that shows where it begins to differ.
    received: Option<String>,
}

/// What a field pattern may capture, or how the field differs.
type FieldOutcome = Result<Option<(String, Value)>, Miss>;

fn field(
    pattern: &FieldPattern,
    found: Option<&Value>,
    data: Option<(u64, &[u8])>,
    env: &Env,
    labels: &dyn Labels,
) -> Result<FieldOutcome, EvalError> {
    let key = pattern.key.node.as_str();
    match (&pattern.value.node, data) {
        (Expr::Any, _) if found.is_some() || data.is_some() => return Ok(Ok(None)),
        (Expr::Capture(name), Some((offset, bytes))) => {
            let payload = if bytes.len() <= CAPTURE_LIMIT {
                Payload(vec![Part::Hex(bytes.to_vec())])
            } else {
                recognize(offset, bytes)
            };
            return Ok(Ok(Some((name.clone(), Value::Payload(payload)))));
        }
        (Expr::Capture(name), None) => {
            return Ok(match found.cloned().or_else(|| default_of(key)) {
                Some(value) => Ok(Some((name.clone(), value))),
                None => Err(Miss { note: format!("has no `{key}`"), received: None }),
            });
        }
        _ => {}
    }
    let wanted = match &pattern.value.node {
        Expr::Name(label) if key == "cookie" => match labels.cookie(label) {
            Some(cookie) => Value::Hex(cookie.0),
            None => {
                let message = format!("no request with cookie `{label}` was sent");
                return Err(EvalError { message, span: pattern.value.span });
            }
        },
        _ => match env.eval(&pattern.value)? {
            Evaluated::Value(value) => value,
            Evaluated::Bool(_) => {
                let message = "expected a value, not a comparison".to_owned();
                return Err(EvalError { message, span: pattern.value.span });
            }
        },
    };
    if let (Value::Payload(wanted), Some((offset, bytes))) = (&wanted, data) {
        let there = env.as_there(wanted, offset);
        let wanted = there.as_ref().unwrap_or(wanted);
        let difference = wanted.first_difference(offset, bytes);
        return Ok(match (pattern.op, difference) {
            (Op::Eq, None) | (Op::Ne, Some(_)) => Ok(None),
            (Op::Eq, Some(at)) => Err(explain_data(wanted, offset, bytes, at)),
            (Op::Ne, None) => {
                Err(Miss { note: "must be something else".to_owned(), received: None })
            }
            _ => {
                let message = "data can only be compared by `=` and `!=`".to_owned();
                return Err(EvalError { message, span: pattern.value.span });
            }
        });
    }
    let Some(found) = found.cloned().or_else(|| default_of(key)) else {
        return Ok(Err(Miss { note: format!("has no `{key}`"), received: None }));
    };
    let fits = match pattern.op {
        Op::Eq => eval::same(&found, &wanted),
        Op::Ne => !eval::same(&found, &wanted),
        Op::Has => eval::has_all(&found, &wanted),
        Op::Lacks => eval::has_none(&found, &wanted),
        Op::Lt | Op::Le | Op::Gt | Op::Ge => match (eval::number(&found), eval::number(&wanted)) {
            (Some(found), Some(wanted)) => pattern.op.holds(found, wanted),
            _ => false,
        },
    };
    if fits {
        return Ok(Ok(None));
    }
    let note = match pattern.op {
        Op::Eq => format!("must be {wanted}"),
        op => format!("must be {} {wanted}", symbol(op)),
    };
    Ok(Err(Miss { note, received: None }))
}

/// What an absent field means.
fn default_of(key: &str) -> Option<Value> {
    match key {
        "flags" | "handshake-flags" => Some(Value::Names(Vec::new())),
        "message" | "description" => Some(Value::Text("".into())),
        "data" | "padding" => Some(Value::Payload(Payload::default())),
        _ => None,
    }
}

/// An operator as it is written.
#[must_use]
pub fn symbol(op: Op) -> &'static str {
    match op {
        Op::Eq => "=",
        Op::Ne => "!=",
        Op::Lt => "<",
        Op::Le => "<=",
        Op::Gt => ">",
        Op::Ge => ">=",
        Op::Has => "has",
        Op::Lacks => "lacks",
    }
}

/// Shows data up to where it differs, then its next bytes, and says whose they are if they tell.
fn explain_data(wanted: &Payload, offset: u64, bytes: &[u8], at: u64) -> Miss {
    let position = (at as usize).min(bytes.len());
    let (right, wrong) = bytes.split_at(position);
    let mut parts = Vec::new();
    if !right.is_empty() {
        parts.push(recognize(offset, right).to_string());
    }
    let wrong_offset = offset.wrapping_add(at);
    if !wrong.is_empty() {
        let (head, rest) = wrong.split_at(wrong.len().min(16));
        parts.push(Payload(vec![Part::Hex(head.to_vec())]).to_string());
        if !rest.is_empty() {
            parts.push(recognize(wrong_offset.wrapping_add(16), rest).to_string());
        }
    }
    let whose = |bytes: &[u8], offset: u64| {
        let skip = ((8 - offset % 8) % 8) as usize;
        let word = u64::from_be_bytes(*bytes.get(skip..)?.first_chunk::<8>()?);
        let (seed, belongs) = place_of(word)?;
        let here = offset.wrapping_add(skip as u64);
        Some(if belongs == here {
            format!("from byte {at}: these are place({seed})")
        } else {
            format!(
                "from byte {at}: these belong to offset {belongs:#x} of place({seed}), not to {here:#x}"
            )
        })
    };
    let note = if wrong.is_empty() {
        format!("ends after {}, {} were expected", Plural(at, "byte"), wanted.length())
    } else if at >= wanted.length() {
        let wanted = Plural(wanted.length(), "byte");
        format!(
            "goes on after the {wanted} that {} expected",
            if wanted.0 == 1 { "was" } else { "were" }
        )
    } else {
        whose(wrong, wrong_offset).unwrap_or_else(|| format!("differs from byte {at} on"))
    };
    Miss { note, received: Some(parts.join(" ++ ")) }
}

/// The place of a field in a line of the notation, with a note.
#[must_use]
pub fn find_field(text: &str, key: &str, note: &str) -> Option<(usize, usize, String)> {
    let start = text.find(&format!(" {key}="))? + 1;
    Some((start, field_length(&text[start..]), note.to_owned()))
}

/// How long the field is that `text` begins with: up to the next blank outside quotes and braces;
/// payload parts joined by ` ++ ` belong together.
fn field_length(text: &str) -> usize {
    let mut depth = 0usize;
    let mut quoted = false;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '{' if !quoted => depth += 1,
            '}' if !quoted => depth = depth.saturating_sub(1),
            ' ' if !quoted && depth == 0 => {
                let joined = text[at..].starts_with(" ++ ") || text[..at].ends_with(" ++");
                if !joined {
                    return at;
                }
            }
            _ => {}
        }
    }
    text.len()
}

fn replace_field(text: &str, key: &str, value: &str) -> String {
    match find_field(text, key, "") {
        Some((start, length, _)) => {
            format!("{}{key}={value}{}", &text[..start], &text[start + length..])
        }
        None => format!("{text} {key}={value}"),
    }
}

/// The bytes of a field and where they stood.
#[must_use]
pub fn field_bytes(received: &Received, description: &Description, key: &str) -> Option<String> {
    let field = description.fields.iter().find(|field| field.key == key)?;
    let (at, count) = field.at;
    let head = received.message.to_bytes();
    let bytes = head.get(at as usize..(at + count) as usize)?;
    if bytes.is_empty() {
        return None;
    }
    let shown: Vec<String> = bytes.iter().take(32).map(|byte| format!("{byte:02x}")).collect();
    let more = if bytes.len() > 32 { " ..." } else { "" };
    let party = received.message.side().name();
    let stream = received.stream_offset + at;
    Some(format!(
        "{}{more} at byte {at} of the message ({party} stream offset {stream})",
        shown.join(" ")
    ))
}

/// The expected line with its variables resolved.
///
/// # Errors
/// An expression can't be worked out.
pub fn resolved(line: &MessageLine, env: &Env, labels: &dyn Labels) -> Result<String, EvalError> {
    let mut text =
        format!("{}: {}", line.side.letter(), word(&line.head, env)?.as_deref().unwrap_or("_"));
    if let Some(variant) = &line.variant {
        text.push(' ');
        text.push_str(word(variant, env)?.as_deref().unwrap_or("_"));
    }
    for pattern in &line.fields {
        let value = match &pattern.value.node {
            Expr::Any | Expr::Capture(_) => "_".to_owned(),
            Expr::Name(label) if pattern.key.node == "cookie" => match labels.cookie(label) {
                Some(_) => label.clone(),
                None => "_".to_owned(),
            },
            _ => match env.eval(&pattern.value)? {
                Evaluated::Value(value) => env.shown(&value),
                other => other.to_string(),
            },
        };
        let op = match pattern.op {
            Op::Has => " has ",
            Op::Lacks => " lacks ",
            op => symbol(op),
        };
        text.push_str(&format!(" {}{op}{value}", pattern.key.node));
    }
    Ok(text)
}

/// Why a message's data has not the layout of its type, for the note under it.
#[must_use]
pub fn layout_note(message: &Message) -> Option<String> {
    layout_error(message).map(|error| error.to_string())
}

/// The bytes of a field of a message that the judge saw.
pub(crate) fn seen_bytes(seen: &dissector::session::Seen, key: &str) -> Option<String> {
    let received = Received {
        message: seen.message.clone(),
        bulk: bytes::Bytes::new(),
        bulk_offset: 0,
        stream_offset: seen.offset,
        request: None,
    };
    let description = seen.describe();
    field_bytes(&received, &description, key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_ends_where_the_next_begins() {
        let text = r#"S: x name="a b\" c=" flags={A B} data=zero*4 ++ hex"01 02" more=1"#;
        let find = |key| {
            let (start, length, _) = find_field(text, key, "").unwrap();
            &text[start..start + length]
        };
        assert_eq!(find("name"), r#"name="a b\" c=""#);
        assert_eq!(find("flags"), "flags={A B}");
        assert_eq!(find("data"), r#"data=zero*4 ++ hex"01 02""#);
        assert_eq!(find("more"), "more=1");
    }

    #[test]
    fn data_of_another_offset_is_told_apart() {
        let mut bytes = vec![0; 64];
        protocol::payload::place(1, 0x1000, &mut bytes);
        let wanted = Payload(vec![Part::Place(1, 64)]);
        let miss = explain_data(&wanted, 0x200, &bytes, 0);
        assert_eq!(
            miss.note,
            "from byte 0: these belong to offset 0x1000 of place(1), not to 0x200"
        );
    }
}
