//! What a filter says: an expression of the notation over the fields of a message.

use std::fmt;
use std::str::FromStr;

use protocol::describe::{Description, Kind, Value};
use protocol::notation::ast::{BinaryOp, Expr, Spanned};
use protocol::notation::error::{NotationError, did_you_mean};
use protocol::notation::parser::parse_expr;

use super::fields::names;
use crate::session::Seen;

/// A filter: `name == NBD_CMD_READ and length >= 64KiB`, `latency > 10ms`, `error != ok`,
/// `flags has {FUA}`, `session == 2 and from == client`.
///
/// A comparison with a field that a message does not have is false. `name` is the name of the
/// message; the name of an export is `export`. `time` counts from the session's start, `latency`
/// from the request to its reply; both take `ns`, `us`, `ms`, `s`. [`fields`](super::fields) lists
/// all.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    expr: Spanned<Expr>,
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

/// Why a text is no filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct FilterError {
    message: String,
    hint: Option<String>,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a filter: {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl From<NotationError> for FilterError {
    fn from(error: NotationError) -> Self {
        let NotationError { message, label, help, .. } = error;
        Self { message: format!("{message}: {label}"), hint: help }
    }
}

impl FromStr for Expression {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let expr = parse_expr(&without_units(text))?;
        check(&expr.node)?;
        Ok(Self { expr })
    }
}

/// Times in nanoseconds: `10ms` becomes `10000000`. Texts in quotes stay.
pub(super) fn without_units(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut quoted = false;
    for piece in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
        let body = piece.trim_end_matches(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let digits = body.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let scale: Option<u64> = match &body[digits.len()..] {
            "ns" => Some(1),
            "us" => Some(1_000),
            "ms" => Some(1_000_000),
            "s" => Some(1_000_000_000),
            _ => None,
        };
        match (digits.parse::<u64>(), scale) {
            (Ok(number), Some(scale)) if !quoted => {
                out.push_str(&number.saturating_mul(scale).to_string());
                out.push_str(&piece[body.len()..]);
            }
            _ => out.push_str(piece),
        }
        quoted ^= piece.ends_with('"');
    }
    out
}

fn field_name(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Name(name) if names().any(|word| word == name) => Some(name),
        _ => None,
    }
}

fn check(expr: &Expr) -> Result<(), FilterError> {
    let fail = |message: String, hint: Option<String>| Err(FilterError { message, hint });
    match expr {
        Expr::Not(inner) => check(&inner.node),
        Expr::Binary(BinaryOp::And | BinaryOp::Or, left, right) => {
            check(&left.node)?;
            check(&right.node)
        }
        Expr::Binary(op, left, right) if is_comparison(*op) => {
            if field_name(&left.node).is_none() {
                let all =
                    || Some(format!("the fields are {}", names().collect::<Vec<_>>().join(", ")));
                return match &left.node {
                    Expr::Name(name) => fail(
                        format!("`{name}` is no field"),
                        did_you_mean(name, names()).or_else(all),
                    ),
                    _ => fail("a field stands on the left".to_owned(), all()),
                };
            }
            match &right.node {
                Expr::Int(_) | Expr::Text(_) | Expr::Name(_) => Ok(()),
                Expr::Set(items)
                    if items.iter().all(|item| {
                        matches!(item.node, Expr::Name(_) | Expr::Text(_) | Expr::Int(_))
                    }) =>
                {
                    Ok(())
                }
                _ => fail(
                    "a number, a word, a text or a set stands on the right".to_owned(),
                    Some("`length >= 64KiB`, `name == NBD_CMD_READ`, `flags has {FUA}`".to_owned()),
                ),
            }
        }
        Expr::Name(name) if field_name(expr).is_some() => fail(
            format!("`{name}` alone is no condition"),
            Some(format!("compare it: `{name} == ...`")),
        ),
        _ => fail(
            "comparisons joined by `and`, `or`, `not` are expected".to_owned(),
            Some("`name == NBD_CMD_READ and length >= 64KiB`".to_owned()),
        ),
    }
}

fn is_comparison(op: BinaryOp) -> bool {
    use BinaryOp::{Eq, Ge, Gt, Has, Lacks, Le, Lt, Ne};
    matches!(op, Eq | Ne | Lt | Le | Gt | Ge | Has | Lacks)
}

/// A field's value in a form that can be compared.
#[derive(Debug, PartialEq)]
enum Operand {
    Number(u64),
    Word(Vec<u8>),
    Words(Vec<Vec<u8>>),
}

impl Expression {
    /// Whether it asks for times that take memory to know.
    pub(super) fn asks_latency(&self) -> bool {
        fn asks(expr: &Expr) -> bool {
            match expr {
                Expr::Not(inner) => asks(&inner.node),
                Expr::Binary(_, left, right) => asks(&left.node) || asks(&right.node),
                Expr::Name(name) => name == "latency",
                _ => false,
            }
        }
        asks(&self.expr.node)
    }

    /// Whether a message is wanted.
    pub(super) fn wants(&self, subject: &Subject<'_>) -> bool {
        holds(&self.expr.node, subject)
    }
}

fn holds(expr: &Expr, subject: &Subject<'_>) -> bool {
    match expr {
        Expr::Not(inner) => !holds(&inner.node, subject),
        Expr::Binary(BinaryOp::And, left, right) => {
            holds(&left.node, subject) && holds(&right.node, subject)
        }
        Expr::Binary(BinaryOp::Or, left, right) => {
            holds(&left.node, subject) || holds(&right.node, subject)
        }
        Expr::Binary(op, left, right) => {
            let field = field_name(&left.node).and_then(|name| subject.field(name));
            match (field, literal(&right.node)) {
                (Some(field), Some(wanted)) => compare(*op, &field, &wanted),
                _ => false,
            }
        }
        _ => false,
    }
}

fn literal(expr: &Expr) -> Option<Operand> {
    let word = |expr: &Expr| match expr {
        Expr::Name(name) => Some(name.clone().into_bytes()),
        Expr::Text(text) => Some(text.as_bytes().to_vec()),
        Expr::Int(number) => Some(number.to_string().into_bytes()),
        _ => None,
    };
    match expr {
        Expr::Int(number) => Some(Operand::Number(*number)),
        Expr::Set(items) => {
            items.iter().map(|item| word(&item.node)).collect::<Option<_>>().map(Operand::Words)
        }
        other => word(other).map(Operand::Word),
    }
}

fn compare(op: BinaryOp, field: &Operand, wanted: &Operand) -> bool {
    use Operand::{Number, Word, Words};
    let order = match (field, wanted) {
        (Number(field), Number(wanted)) => Some(field.cmp(wanted)),
        (Word(field), Word(wanted)) => Some(field.cmp(wanted)),
        _ => None,
    };
    match (op, order) {
        (BinaryOp::Eq, Some(order)) => order.is_eq(),
        (BinaryOp::Ne, Some(order)) => order.is_ne(),
        (BinaryOp::Lt, Some(order)) => order.is_lt(),
        (BinaryOp::Le, Some(order)) => order.is_le(),
        (BinaryOp::Gt, Some(order)) => order.is_gt(),
        (BinaryOp::Ge, Some(order)) => order.is_ge(),
        _ => match (op, field, wanted) {
            (BinaryOp::Has, Words(field), Words(wanted)) => {
                wanted.iter().all(|word| field.contains(word))
            }
            (BinaryOp::Lacks, Words(field), Words(wanted)) => {
                !wanted.iter().any(|word| field.contains(word))
            }
            (BinaryOp::Eq | BinaryOp::Ne, Words(field), Words(wanted)) => {
                let same =
                    field.len() == wanted.len() && wanted.iter().all(|word| field.contains(word));
                same == (op == BinaryOp::Eq)
            }
            // Of different kinds: unlike.
            (BinaryOp::Ne, ..) => true,
            _ => false,
        },
    }
}

impl Subject<'_> {
    fn field(&self, name: &str) -> Option<Operand> {
        let word = |text: &str| Some(Operand::Word(text.as_bytes().to_vec()));
        match name {
            "session" => Some(Operand::Number(self.session)),
            "number" => Some(Operand::Number(self.seen.number)),
            "time" => Some(Operand::Number(self.time)),
            "bytes" => Some(Operand::Number(self.seen.length)),
            "latency" => self.latency.map(Operand::Number),
            "from" => word(self.seen.from.name()),
            "tls" => word(if self.seen.tls { "yes" } else { "no" }),
            "kind" => word(self.described.kind.name()),
            "name" => word(self.described.name()),
            "variant" => self.described.variant.as_deref().and_then(word),
            "info" if self.described.info_type().is_some() => {
                self.described.info_type().and_then(word)
            }
            "export" => self.described.field("name").map(operand),
            "error" if self.described.kind == Kind::SimpleReply => word(self.described.name()),
            // A reply without an error says that all is well.
            "error" if matches!(self.described.kind, Kind::Chunk | Kind::ExtendedChunk) => {
                self.described.field("error").map(operand).or_else(|| word("ok"))
            }
            field => self.described.field(field).map(operand),
        }
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
