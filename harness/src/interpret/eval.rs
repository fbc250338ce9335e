//! Expressions of a script: variables and what an expression comes to.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use protocol::describe::Value;
use protocol::message::Extent;
use protocol::notation::ast::{BinaryOp, Expr, PartExpr, Pattern, Span, Spanned};
use protocol::payload::{Part, Payload};
use protocol::text::WireString;

/// The longest text that an expression may make, in bytes.
const TEXT_LIMIT: u64 = 16 << 20;

/// What an expression comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evaluated {
    /// A value of a field.
    Value(Value),
    /// A truth.
    Bool(bool),
}

impl fmt::Display for Evaluated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(value) => value.fmt(f),
            Self::Bool(truth) => truth.fmt(f),
        }
    }
}

/// An expression that can't be worked out: a mistake in the script.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct EvalError {
    /// What is wrong.
    pub message: String,
    /// Where.
    pub span: Span,
}

/// The variables. A capture is immutable: an inner scope may only add.
#[derive(Debug, Clone, Default)]
pub struct Env {
    variables: HashMap<String, Value>,
    there: Option<Arc<[u8]>>,
}

impl Env {
    /// The value of a variable.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.variables.get(name)
    }

    /// Sets a variable.
    pub fn set(&mut self, name: &str, value: Value) {
        self.variables.insert(name.to_owned(), value);
    }

    /// What the export was read to hold before; see [`Setup::there`](super::Setup::there).
    pub fn set_there(&mut self, there: Option<Arc<[u8]>>) {
        self.there = there;
    }

    /// What is expected at `offset` of the export: what was read there before, where the script
    /// stands for known content. `None` where the script's own word counts.
    #[must_use]
    pub fn as_there(&self, wanted: &Payload, offset: u64) -> Option<Payload> {
        let there = self.there.as_deref()?;
        let mut at = offset;
        let parts = wanted.0.iter().map(|part| {
            let (from, length) = (at, part.length());
            at = at.saturating_add(length);
            if matches!(part, Part::Any(_) | Part::Digest(..) | Part::Hex(_)) {
                return part.clone();
            }
            // Nothing is known of what lies beyond.
            match there.get(from as usize..at as usize) {
                Some(bytes) => Part::Hex(bytes.to_vec()),
                None => Part::Any(length),
            }
        });
        Some(Payload(parts.collect()))
    }

    /// How a payload is shown that is expected.
    #[must_use]
    pub fn shown(&self, wanted: &Value) -> String {
        match wanted {
            Value::Payload(payload) if self.there.is_some() => {
                format!("what-was-read-before*{}", payload.length())
            }
            wanted => wanted.to_string(),
        }
    }

    /// Forgets a variable: the end of a loop.
    pub fn unset(&mut self, name: &str) {
        self.variables.remove(name);
    }

    /// What an expression comes to.
    ///
    /// # Errors
    /// A variable that has no value, or operands that do not fit.
    pub fn eval(&self, expr: &Spanned<Expr>) -> Result<Evaluated, EvalError> {
        let fail = |message: String| Err(EvalError { message, span: expr.span });
        let value = match &expr.node {
            Expr::Int(n) => Value::Int(*n),
            Expr::Text(text) => Value::Text(text.clone()),
            Expr::Name(name) => Value::Name(name.clone().into()),
            Expr::Set(items) => self.set_value(items)?,
            Expr::Variable(name) => match self.get(name) {
                Some(value) => value.clone(),
                None => return fail(format!("`${name}` has no value here")),
            },
            Expr::Payload(parts) => Value::Payload(self.payload(parts)?),
            Expr::Call(name, args) => return self.call(name, args, expr.span),
            Expr::Not(inner) => return Ok(Evaluated::Bool(!self.truth(inner)?)),
            Expr::Binary(op, left, right) => return self.binary(*op, left, right, expr.span),
            Expr::Any | Expr::Capture(_) => {
                return fail("only a received line can take any value".to_owned());
            }
            Expr::Pair(..) => return fail("a pair is allowed only in a set of extents".to_owned()),
        };
        Ok(Evaluated::Value(value))
    }

    /// A field's value.
    ///
    /// # Errors
    /// As [`Env::eval`], and where the expression is a truth.
    pub fn value(&self, expr: &Spanned<Expr>) -> Result<Value, EvalError> {
        match self.eval(expr)? {
            Evaluated::Value(value) => Ok(value),
            Evaluated::Bool(_) => Err(EvalError {
                message: "expected a value, not a comparison".to_owned(),
                span: expr.span,
            }),
        }
    }

    /// A number.
    ///
    /// # Errors
    /// As [`Env::eval`], and where the expression is no number.
    pub fn int(&self, expr: &Spanned<Expr>) -> Result<u64, EvalError> {
        match self.value(expr)? {
            Value::Int(n) | Value::Hex(n) => Ok(n),
            other => Err(EvalError {
                message: format!("expected a number, `{other}` is none"),
                span: expr.span,
            }),
        }
    }

    /// A truth.
    ///
    /// # Errors
    /// As [`Env::eval`], and where the expression is no comparison.
    pub fn truth(&self, expr: &Spanned<Expr>) -> Result<bool, EvalError> {
        match self.eval(expr)? {
            Evaluated::Bool(truth) => Ok(truth),
            Evaluated::Value(value) => Err(EvalError {
                message: format!("expected a comparison, `{value}` is a value"),
                span: expr.span,
            }),
        }
    }

    fn set_value(&self, items: &[Spanned<Expr>]) -> Result<Value, EvalError> {
        let mut names = Vec::new();
        let mut texts = Vec::new();
        let mut ids = Vec::new();
        let mut extents = Vec::new();
        for item in items {
            if let Expr::Pair(length, status) = &item.node {
                extents.push(Extent { length: self.int(length)?, status: self.int(status)? });
                continue;
            }
            match self.value(item)? {
                Value::Name(name) => names.push(name.into_owned()),
                Value::Names(more) => names.extend(more),
                Value::Text(text) => texts.push(text),
                // A number is a context's id, or a mask of flags that have no name.
                Value::Int(n) => match u32::try_from(n) {
                    Ok(id) => ids.push(id),
                    Err(_) => names.push(format!("{n:#x}")),
                },
                other => {
                    return Err(EvalError {
                        message: format!("`{other}` is not allowed in a set"),
                        span: item.span,
                    });
                }
            }
        }
        if !texts.is_empty() {
            return Ok(Value::Texts(texts));
        }
        if !extents.is_empty() {
            return Ok(Value::Extents(extents));
        }
        if names.is_empty() && !ids.is_empty() {
            return Ok(Value::Ids(ids));
        }
        names.extend(ids.iter().map(|id| format!("{id:#x}")));
        Ok(Value::Names(names))
    }

    fn payload(&self, parts: &[PartExpr]) -> Result<Payload, EvalError> {
        let mut out = Vec::with_capacity(parts.len());
        for part in parts {
            let count = match &part.count {
                Some(count) => self.int(count)?,
                None => 0,
            };
            let byte = |expr: &Spanned<Expr>, limit: u64| {
                let n = self.int(expr)?;
                if n > limit {
                    let message = format!("{n} is more than {limit}");
                    return Err(EvalError { message, span: expr.span });
                }
                Ok(n)
            };
            out.push(match &part.pattern {
                Pattern::Zero => Part::Zero(count),
                Pattern::Fill(value) => Part::Fill(byte(value, 0xff)? as u8, count),
                Pattern::Place(seed) => Part::Place(byte(seed, 0xffff)? as u16, count),
                Pattern::Hex(bytes) => Part::Hex(bytes.clone()),
                Pattern::Digest(digest) => Part::Digest(*digest, count),
                Pattern::Any => Part::Any(count),
            });
        }
        Ok(Payload(out))
    }

    fn call(&self, name: &str, args: &[Spanned<Expr>], span: Span) -> Result<Evaluated, EvalError> {
        let int = |n: u64| Ok(Evaluated::Value(Value::Int(n)));
        match (name, args) {
            ("pow2", [n]) => Ok(Evaluated::Bool(self.int(n)?.is_power_of_two())),
            ("min", [a, b]) => int(self.int(a)?.min(self.int(b)?)),
            ("max", [a, b]) => int(self.int(a)?.max(self.int(b)?)),
            ("down" | "up", [n, unit]) => {
                let (n, unit) = (self.int(n)?, self.int(unit)?);
                let rounded = match (name, n.checked_rem(unit)) {
                    ("down", Some(rest)) => Some(n - rest),
                    _ if unit == 0 => None,
                    _ => n.checked_next_multiple_of(unit),
                };
                rounded.map_or_else(
                    || {
                        let message = format!("{n} can't be rounded to multiples of {unit}");
                        Err(EvalError { message, span })
                    },
                    int,
                )
            }
            ("length", [value]) => match self.value(value)? {
                Value::Text(text) => int(text.len() as u64),
                Value::Payload(payload) => int(payload.length()),
                Value::Names(names) => int(names.len() as u64),
                Value::Texts(texts) => int(texts.len() as u64),
                Value::Extents(extents) => int(extents.len() as u64),
                other => Err(EvalError { message: format!("`{other}` has no length"), span }),
            },
            ("sum", [value]) => match self.value(value)? {
                Value::Extents(extents) => {
                    int(extents.iter().fold(0, |sum, e| sum.saturating_add(e.length)))
                }
                other => Err(EvalError { message: format!("`{other}` has no sum"), span }),
            },
            ("first" | "status", [value]) => match self.value(value)? {
                Value::Extents(extents) => match extents.first() {
                    Some(extent) if name == "first" => int(extent.length),
                    Some(extent) => int(extent.status),
                    None => Err(EvalError { message: "there is no extent".to_owned(), span }),
                },
                other => Err(EvalError { message: format!("`{other}` has no extents"), span }),
            },
            _ => Err(EvalError {
                message: format!("no function `{name}` takes {} arguments", args.len()),
                span,
            }),
        }
    }

    fn binary(
        &self,
        op: BinaryOp,
        left: &Spanned<Expr>,
        right: &Spanned<Expr>,
        span: Span,
    ) -> Result<Evaluated, EvalError> {
        match op {
            BinaryOp::And => {
                return Ok(Evaluated::Bool(self.truth(left)? && self.truth(right)?));
            }
            BinaryOp::Or => {
                return Ok(Evaluated::Bool(self.truth(left)? || self.truth(right)?));
            }
            _ => {}
        }
        let (a, b) = (self.value(left)?, self.value(right)?);
        let truth = |truth| Ok(Evaluated::Bool(truth));
        match op {
            BinaryOp::Eq => return truth(same(&a, &b)),
            BinaryOp::Ne => return truth(!same(&a, &b)),
            BinaryOp::Has => return truth(has_all(&a, &b)),
            BinaryOp::Lacks => return truth(has_none(&a, &b)),
            _ => {}
        }
        if let (BinaryOp::Mul, Value::Text(text), Value::Int(n)) = (op, &a, &b) {
            if (text.len() as u64).saturating_mul(*n) > TEXT_LIMIT {
                let message = format!("a text of more than {TEXT_LIMIT} bytes");
                return Err(EvalError { message, span });
            }
            let repeated = WireString(text.as_bytes().repeat(*n as usize));
            return Ok(Evaluated::Value(Value::Text(repeated)));
        }
        if let (BinaryOp::Add, Value::Text(x), Value::Text(y)) = (op, &a, &b) {
            let joined = WireString([x.as_bytes(), y.as_bytes()].concat());
            return Ok(Evaluated::Value(Value::Text(joined)));
        }
        let (Some(x), Some(y)) = (number(&a), number(&b)) else {
            let message = format!("expected two numbers, not `{a}` and `{b}`");
            return Err(EvalError { message, span });
        };
        let result = match op {
            BinaryOp::Add => x.checked_add(y),
            BinaryOp::Sub => x.checked_sub(y),
            BinaryOp::Mul => x.checked_mul(y),
            BinaryOp::Div => x.checked_div(y),
            BinaryOp::Rem => x.checked_rem(y),
            BinaryOp::Lt => return truth(x < y),
            BinaryOp::Le => return truth(x <= y),
            BinaryOp::Gt => return truth(x > y),
            BinaryOp::Ge => return truth(x >= y),
            _ => None,
        };
        match result {
            Some(n) => Ok(Evaluated::Value(Value::Int(n))),
            None => Err(EvalError {
                message: format!("`{a}` and `{b}`: the result is not a 64-bit number"),
                span,
            }),
        }
    }
}

/// The number in a value.
#[must_use]
pub fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Int(n) | Value::Hex(n) => Some(*n),
        _ => None,
    }
}

/// Whether two values are equal; flags in any order, and nothing equals nothing.
#[must_use]
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Int(x) | Value::Hex(x), Value::Int(y) | Value::Hex(y)) => x == y,
        (Value::Names(x), Value::Names(y)) => {
            let sorted = |names: &[String]| {
                let mut names = names.to_vec();
                names.sort();
                names
            };
            sorted(x) == sorted(y)
        }
        (Value::Payload(a), Value::Payload(b)) => same_bytes(a, b),
        (a, b) if is_empty_set(a) && is_empty_set(b) => true,
        (a, b) => a == b,
    }
}

/// Whether two payloads stand for the same bytes at offset 0; of those that are too long to be
/// written out only the patterns are compared.
fn same_bytes(a: &Payload, b: &Payload) -> bool {
    if a == b || a.length() != b.length() || a.length() > TEXT_LIMIT {
        return a == b;
    }
    let mut bytes = vec![0; a.length() as usize];
    let (pattern, sendable) = if a.is_sendable() { (b, a) } else { (a, b) };
    sendable.fill(0, 0, &mut bytes);
    pattern.first_difference(0, &bytes).is_none()
}

fn is_empty_set(value: &Value) -> bool {
    match value {
        Value::Names(names) => names.is_empty(),
        Value::Texts(texts) => texts.is_empty(),
        Value::Ids(ids) => ids.is_empty(),
        Value::Extents(extents) => extents.is_empty(),
        _ => false,
    }
}

fn names(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Names(names) => Some(names.clone()),
        Value::Name(name) => Some(vec![name.to_string()]),
        Value::Ids(ids) => Some(ids.iter().map(|id| format!("{id:#x}")).collect()),
        Value::Int(n) => Some(vec![format!("{n:#x}")]),
        _ => None,
    }
}

/// Whether all flags of `b` are in `a`.
#[must_use]
pub fn has_all(a: &Value, b: &Value) -> bool {
    match (names(a), names(b)) {
        (Some(a), Some(b)) => b.iter().all(|name| a.contains(name)),
        _ => false,
    }
}

/// Whether no flag of `b` is in `a`.
#[must_use]
pub fn has_none(a: &Value, b: &Value) -> bool {
    match (names(a), names(b)) {
        (Some(a), Some(b)) => !b.iter().any(|name| a.contains(name)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at<T>(node: T) -> Spanned<T> {
        Spanned::new(node, Span::default())
    }

    fn binary(op: BinaryOp, a: Expr, b: Expr) -> Spanned<Expr> {
        at(Expr::Binary(op, Box::new(at(a)), Box::new(at(b))))
    }

    #[test]
    fn a_text_times_a_number_is_repeated() {
        let env = Env::default();
        let expr = binary(BinaryOp::Mul, Expr::Text("ab".into()), Expr::Int(3));
        assert_eq!(env.value(&expr), Ok(Value::Text("ababab".into())));
    }

    #[test]
    fn numbers_do_not_wrap() {
        let env = Env::default();
        let expr = binary(BinaryOp::Sub, Expr::Int(1), Expr::Int(2));
        assert!(env.eval(&expr).is_err());
        let expr = binary(BinaryOp::Rem, Expr::Int(1), Expr::Int(0));
        assert!(env.eval(&expr).is_err());
    }

    #[test]
    fn the_first_extent_has_a_length_and_a_status() {
        let mut env = Env::default();
        let extent = |length, status| Extent { length, status };
        env.set("two", Value::Extents(vec![extent(512, 3), extent(1024, 0)]));
        env.set("none", Value::Extents(vec![]));
        let call = |name: &str, of: &str| {
            env.int(&at(Expr::Call(name.into(), vec![at(Expr::Variable(of.into()))])))
        };
        assert_eq!(call("first", "two"), Ok(512));
        assert_eq!(call("status", "two"), Ok(3));
        assert!(call("first", "none").is_err() && call("status", "none").is_err());
    }

    #[test]
    fn numbers_are_rounded_to_multiples() {
        let env = Env::default();
        let call = |name: &str, n, unit| {
            let args = vec![at(Expr::Int(n)), at(Expr::Int(unit))];
            env.int(&at(Expr::Call(name.into(), args)))
        };
        assert_eq!(call("down", 1_000_001, 512), Ok(999_936));
        assert_eq!(call("up", 1_000_001, 512), Ok(1_000_448));
        assert_eq!([call("down", 512, 512), call("up", 512, 512)], [Ok(512), Ok(512)]);
        assert!(call("down", 1, 0).is_err() && call("up", 1, 0).is_err());
        assert!(call("up", u64::MAX, 512).is_err());
    }

    #[test]
    fn flags_are_equal_in_any_order() {
        let a = Value::Names(vec!["A".into(), "B".into()]);
        let b = Value::Names(vec!["B".into(), "A".into()]);
        assert!(same(&a, &b) && has_all(&a, &b) && !has_none(&a, &b));
        assert!(same(&Value::Names(vec![]), &Value::Extents(vec![])));
    }
}
