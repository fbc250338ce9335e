//! Lines without variables, as decode output has them.

use crate::describe::Value;
use crate::message::{Extent, Message, Side};
use crate::notation::ast::{Expr, MessageLine, Op, PartExpr, Pattern, Span, Spanned, Word};
use crate::notation::error::NotationError;
use crate::notation::parser;
use crate::payload::{Part, Payload};

use super::error::{Blame, BuildError};
use super::{Built, Context, build};

/// The message that a line of decode output stands for; the inverse of
/// [`describe`](crate::message::Message::describe).
///
/// # Errors
/// The line is not of the notation, holds captures or variables, or stands for no message.
pub fn parse_line(text: &str) -> Result<(Side, Message, Option<Payload>), NotationError> {
    let line = parser::parse_line(text)?;
    let Built { message, payload, .. } = build_line(&line)?;
    Ok((line.side, message, payload))
}

/// The message that a line without captures and variables stands for.
///
/// # Errors
/// As [`parse_line`].
pub fn build_line(line: &MessageLine) -> Result<Built, NotationError> {
    let head = word(&line.head)?;
    let variant = line.variant.as_ref().map(word).transpose()?;
    let mut fields = Vec::with_capacity(line.fields.len());
    for field in &line.fields {
        if field.op != Op::Eq {
            return Err(NotationError::new(
                field.key.span,
                "this field is compared, not stated",
                "expected `field=value`",
            ));
        }
        fields.push((field.key.node.clone(), constant(&field.value)?));
    }
    build(line.side, head, variant, &fields, &Context::default()).map_err(|error| at(line, &error))
}

/// The error with the place that it blames.
#[must_use]
pub fn at(line: &MessageLine, error: &BuildError) -> NotationError {
    let span = match error.blame() {
        Blame::Head => line.head.span,
        Blame::Variant => line.variant.as_ref().map_or(line.head.span, |word| word.span),
        Blame::Field(key) => line.fields.iter().rev().find(|field| field.key.node == key).map_or(
            line.head.span,
            |field| match error {
                BuildError::WrongType { .. }
                | BuildError::UnknownName { .. }
                | BuildError::TooLarge { .. } => field.value.span,
                _ => field.key.span,
            },
        ),
    };
    NotationError::new(span, error.to_string(), "here").maybe_help(error.help())
}

fn word(word: &Spanned<Word>) -> Result<&str, NotationError> {
    match &word.node {
        Word::Name(name) => Ok(name),
        _ => Err(not_constant(word.span)),
    }
}

fn not_constant(span: Span) -> NotationError {
    NotationError::new(span, "this line must state every value", "not a value")
}

/// The value of an expression that needs nothing to be known: a literal, a set or a payload.
///
/// # Errors
/// It holds a variable, a capture, an operator or a call.
pub fn constant(expr: &Spanned<Expr>) -> Result<Value, NotationError> {
    match &expr.node {
        Expr::Int(n) => Ok(Value::Int(*n)),
        Expr::Text(text) => Ok(Value::Text(text.clone())),
        Expr::Name(name) => Ok(Value::Name(name.clone().into())),
        Expr::Set(items) => set(items, expr.span),
        Expr::Payload(parts) => parts
            .iter()
            .map(part)
            .collect::<Result<_, _>>()
            .map(|parts| Value::Payload(Payload(parts))),
        _ => Err(not_constant(expr.span)),
    }
}

fn int(expr: &Spanned<Expr>) -> Result<u64, NotationError> {
    match constant(expr)? {
        Value::Int(n) => Ok(n),
        _ => Err(NotationError::new(expr.span, "this is not a number", "expected a number")),
    }
}

fn below<T: TryFrom<u64>>(expr: &Spanned<Expr>) -> Result<T, NotationError> {
    T::try_from(int(expr)?)
        .map_err(|_| NotationError::new(expr.span, "this number is too large", "too large"))
}

fn set(items: &[Spanned<Expr>], span: Span) -> Result<Value, NotationError> {
    let mut names = Vec::new();
    let mut texts = Vec::new();
    let mut ids = Vec::new();
    let mut extents = Vec::new();
    for item in items {
        match &item.node {
            Expr::Int(n) => {
                names.push(format!("{n:#x}"));
                ids.extend(u32::try_from(*n).ok());
            }
            Expr::Name(name) => names.push(name.clone()),
            Expr::Text(text) => texts.push(text.clone()),
            Expr::Pair(length, status) => {
                extents.push(Extent { length: int(length)?, status: int(status)? });
            }
            _ => return Err(not_constant(item.span)),
        }
    }
    let count = items.len();
    if ids.len() == count && count > 0 {
        return Ok(Value::Ids(ids));
    }
    if names.len() == count {
        return Ok(Value::Names(names));
    }
    if texts.len() == count {
        return Ok(Value::Texts(texts));
    }
    if extents.len() == count {
        return Ok(Value::Extents(extents));
    }
    Err(NotationError::new(span, "this set mixes names, texts and extents", "of several kinds"))
}

fn part(PartExpr { pattern, count }: &PartExpr) -> Result<Part, NotationError> {
    let count = count.as_deref().map_or(Ok(0), int)?;
    Ok(match pattern {
        Pattern::Zero => Part::Zero(count),
        Pattern::Fill(byte) => Part::Fill(below(byte)?, count),
        Pattern::Place(seed) => Part::Place(below(seed)?, count),
        Pattern::Hex(bytes) => Part::Hex(bytes.clone()),
        Pattern::Digest(digest) => Part::Digest(*digest, count),
        Pattern::Any => Part::Any(count),
    })
}
