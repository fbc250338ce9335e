//! What a filter says: conditions on the fields of a message.

use std::fmt;

use protocol::describe::{Description, Kind, Value};
use protocol::notation::ast::BinaryOp;
use protocol::values::{ClientFlags, CommandFlags, HandshakeFlags, ReplyFlags, TransmissionFlags};

use super::fields::Field;
use crate::session::Seen;

/// A filter: `name == NBD_CMD_READ and length >= 64KiB`, `latency > 10ms`, `error != ok`,
/// `flags has FUA`, `session == 2 and from == client`.
///
/// A comparison with a field that a message does not have is false. `name` is the name of the
/// message; the name of an export is `export`. `time` counts from the session's start, `latency`
/// from the request to its reply; both take `ns`, `us`, `ms`, `s`. [`fields`](super::fields) lists
/// all.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    condition: Condition,
}

/// What is to be true of a message.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Condition {
    Not(Box<Condition>),
    And(Box<Condition>, Box<Condition>),
    Or(Box<Condition>, Box<Condition>),
    Compare { field: &'static Field, op: BinaryOp, wanted: Wanted },
}

/// What a field is compared with.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Wanted {
    Number(u64),
    Word(Vec<u8>),
    Set(Vec<Item>),
}

/// An item of a set.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Item {
    Word(Vec<u8>),
    /// Flags by their bits; which they are depends on the message.
    Mask(u64),
}

/// A message and what is known about it besides.
pub(super) struct Subject<'a> {
    pub(super) session: u64,
    /// Since the session began, in nanoseconds.
    pub(super) time: u64,
    /// From the request to this reply, in nanoseconds.
    pub(super) latency: Option<u64>,
    pub(super) seen: &'a Seen,
    pub(super) described: &'a Description,
}

impl Expression {
    pub(super) fn new(condition: Condition) -> Self {
        Self { condition }
    }

    /// Whether it asks for times that take memory to know.
    pub(super) fn asks_latency(&self) -> bool {
        self.condition.asks("latency")
    }

    /// A field that it asks for and that no request has, but the reply to it.
    #[must_use]
    pub fn asks_of_replies(&self) -> Option<&'static str> {
        ["latency", "error"].into_iter().find(|name| self.condition.asks(name))
    }

    /// Whether a message is wanted.
    pub(super) fn wants(&self, subject: &Subject<'_>) -> bool {
        self.condition.holds(subject)
    }
}

impl Condition {
    fn asks(&self, name: &str) -> bool {
        match self {
            Self::Not(inner) => inner.asks(name),
            Self::And(left, right) | Self::Or(left, right) => left.asks(name) || right.asks(name),
            Self::Compare { field, .. } => field.name == name,
        }
    }

    fn holds(&self, subject: &Subject<'_>) -> bool {
        match self {
            Self::Not(inner) => !inner.holds(subject),
            Self::And(left, right) => left.holds(subject) && right.holds(subject),
            Self::Or(left, right) => left.holds(subject) || right.holds(subject),
            Self::Compare { field, op, wanted } => subject
                .field(field.name)
                .is_some_and(|value| compare(*op, &value, wanted, field, subject)),
        }
    }
}

/// A field's value in a form that can be compared.
#[derive(Debug, PartialEq)]
enum Operand {
    Number(u64),
    Word(Vec<u8>),
    Words(Vec<Vec<u8>>),
}

fn compare(
    op: BinaryOp,
    value: &Operand,
    wanted: &Wanted,
    field: &Field,
    subject: &Subject<'_>,
) -> bool {
    match (value, wanted) {
        (Operand::Number(value), Wanted::Number(wanted)) => ordered(op, value.cmp(wanted)),
        (Operand::Word(value), Wanted::Word(wanted)) => ordered(op, value.cmp(wanted)),
        (Operand::Words(value), Wanted::Set(items)) => contains(op, value, items, field, subject),
        (Operand::Word(value), Wanted::Set(items)) => {
            contains(op, std::slice::from_ref(value), items, field, subject)
        }
        // Of different kinds: unlike.
        _ => op == BinaryOp::Ne,
    }
}

fn ordered(op: BinaryOp, order: std::cmp::Ordering) -> bool {
    match op {
        BinaryOp::Eq => order.is_eq(),
        BinaryOp::Ne => order.is_ne(),
        BinaryOp::Lt => order.is_lt(),
        BinaryOp::Le => order.is_le(),
        BinaryOp::Gt => order.is_gt(),
        BinaryOp::Ge => order.is_ge(),
        _ => false,
    }
}

fn contains(
    op: BinaryOp,
    value: &[Vec<u8>],
    items: &[Item],
    field: &Field,
    subject: &Subject<'_>,
) -> bool {
    let words = items.iter().flat_map(|item| match item {
        Item::Word(word) => vec![word.clone()],
        Item::Mask(mask) => subject.flags(field.name, *mask),
    });
    let words: Vec<Vec<u8>> = words.collect();
    let same = || value.len() == words.len() && words.iter().all(|word| value.contains(word));
    match op {
        BinaryOp::Has => words.iter().all(|word| value.contains(word)),
        BinaryOp::Lacks => !words.iter().any(|word| value.contains(word)),
        BinaryOp::Eq => same(),
        BinaryOp::Ne => !same(),
        _ => false,
    }
}

impl Subject<'_> {
    fn field(&self, name: &str) -> Option<Operand> {
        let word = |text: &str| Some(Operand::Word(text.as_bytes().to_vec()));
        let kind = self.described.kind;
        match name {
            "session" => Some(Operand::Number(self.session)),
            "number" => Some(Operand::Number(self.seen.number)),
            "time" => Some(Operand::Number(self.time)),
            "bytes" => Some(Operand::Number(self.seen.length)),
            "latency" => self.latency.map(Operand::Number),
            "from" => word(self.seen.from.name()),
            "tls" => word(if self.seen.tls { "yes" } else { "no" }),
            "kind" => word(kind.name()),
            "name" => word(self.described.name()),
            "variant" => self.described.variant.as_deref().and_then(word),
            "info" if kind == Kind::OptionReply => self.described.info_type().and_then(word),
            "form" => match kind {
                Kind::Request => word("compact"),
                Kind::Chunk => word("structured"),
                Kind::ExtendedRequest | Kind::ExtendedChunk => word("extended"),
                _ => None,
            },
            "export" => self.described.field("name").map(operand),
            "error" if kind == Kind::SimpleReply => word(self.described.name()),
            // A reply without an error says that all is well.
            "error" if matches!(kind, Kind::Chunk | Kind::ExtendedChunk) => {
                self.described.field("error").map(operand).or_else(|| word("ok"))
            }
            // Where no flag is set the line does not say so.
            "flags" if matches!(kind, Kind::Request | Kind::ExtendedRequest) => {
                let flags = self.described.field("flags").map(operand);
                Some(flags.unwrap_or(Operand::Words(Vec::new())))
            }
            field => self.described.field(field).map(operand),
        }
    }

    /// The names of flags in a field of this message by their bits.
    fn flags(&self, field: &str, mask: u64) -> Vec<Vec<u8>> {
        let oldstyle = self.described.variant.as_deref() == Some("oldstyle");
        let narrow = u16::try_from(mask).ok();
        let names = match self.described.kind {
            Kind::Greeting if field == "handshake-flags" || !oldstyle => {
                narrow.map(|mask| HandshakeFlags(mask).names())
            }
            Kind::ClientFlags => u32::try_from(mask).ok().map(|mask| ClientFlags(mask).names()),
            Kind::Greeting | Kind::OptionReply | Kind::ExportInfo => {
                narrow.map(|mask| TransmissionFlags(mask).names())
            }
            Kind::Request | Kind::ExtendedRequest => narrow.map(|mask| CommandFlags(mask).names()),
            Kind::Chunk | Kind::ExtendedChunk => narrow.map(|mask| ReplyFlags(mask).names()),
            Kind::Option | Kind::SimpleReply => None,
        };
        // A mask that is too wide for the field is nothing that it has.
        let names = names.unwrap_or_else(|| vec![format!("{mask:#x}")]);
        names.into_iter().map(String::into_bytes).collect()
    }
}

fn operand(value: &Value) -> Operand {
    let text = |text: &dyn fmt::Display| text.to_string().into_bytes();
    match value {
        Value::Int(number) | Value::Hex(number) => Operand::Number(*number),
        Value::Name(name) => Operand::Word(name.as_bytes().to_vec()),
        Value::Text(text) => Operand::Word(text.as_bytes().to_vec()),
        Value::Names(names) => Operand::Words(names.iter().map(|name| text(name)).collect()),
        Value::Texts(texts) => {
            Operand::Words(texts.iter().map(|text| text.as_bytes().to_vec()).collect())
        }
        Value::Ids(ids) => Operand::Words(ids.iter().map(|id| text(id)).collect()),
        Value::Extents(extents) => Operand::Words(
            extents
                .iter()
                .map(|extent| text(&format_args!("{}:{}", extent.length, extent.status)))
                .collect(),
        ),
        Value::Payload(payload) => Operand::Word(text(payload)),
    }
}
