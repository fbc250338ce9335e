//! From the text of a filter to conditions; words that no message can have are refused.

use std::str::FromStr;

use protocol::build::constant;
use protocol::describe::Value;
use protocol::nearest::did_you_mean;
use protocol::notation::ast::{BinaryOp, Expr, Span, Spanned};
use protocol::notation::parser::parse_expr;

use super::error::{FilterError, Mistake};
use super::expression::{Condition, Expression, Item, Wanted};
use super::fields::{self, Field, names};
use super::units::Units;
use super::values::Holds;

impl FromStr for Expression {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        read(text).map(Self::new)
    }
}

/// So many conditions a filter may join: they are taken one inside of the other.
const CONDITIONS: usize = 1000;

/// Reads a filter.
fn read(text: &str) -> Result<Condition, FilterError> {
    let units = Units::read(text);
    let joins = |word: &&str| matches!(*word, "and" | "or" | "not");
    if text.split(|c: char| !c.is_alphabetic()).filter(joins).count() > CONDITIONS {
        let message = format!("more than {CONDITIONS} conditions");
        let span = Span { start: 0, end: 0 };
        return Err(Mistake::new(span, message, None).within(text, span));
    }
    let condition = parse_expr(&units.text)
        .map_err(Mistake::from)
        .and_then(|expr| Reader { units: &units }.condition(&expr));
    condition.map_err(|mistake| {
        let span = units.original(mistake.span);
        mistake.within(text, span)
    })
}

struct Reader<'a> {
    units: &'a Units,
}

impl Reader<'_> {
    fn condition(&self, expr: &Spanned<Expr>) -> Result<Condition, Mistake> {
        let both = |left, right| -> Result<_, Mistake> {
            Ok((Box::new(self.condition(left)?), Box::new(self.condition(right)?)))
        };
        match &expr.node {
            Expr::Not(inner) => Ok(Condition::Not(Box::new(self.condition(inner)?))),
            Expr::Binary(BinaryOp::And, left, right) => {
                both(left, right).map(|(left, right)| Condition::And(left, right))
            }
            Expr::Binary(BinaryOp::Or, left, right) => {
                both(left, right).map(|(left, right)| Condition::Or(left, right))
            }
            Expr::Binary(op, left, right) if is_comparison(*op) => {
                let field = field(left)?;
                has_op(field, *op, left)?;
                let wanted = self.wanted(field, right)?;
                Ok(Condition::Compare { field, op: *op, wanted })
            }
            Expr::Name(name) if fields::find(name).is_some() => Err(Mistake::new(
                expr.span,
                format!("`{name}` alone is not a condition"),
                Some(format!("compare it: `{name} == ...`")),
            )),
            _ => Err(Mistake::new(
                expr.span,
                "comparisons joined by `and`, `or`, `not` are expected",
                Some("`name == NBD_CMD_READ and length >= 64KiB`".to_owned()),
            )),
        }
    }

    /// What a field is compared with.
    fn wanted(&self, field: &'static Field, expr: &Spanned<Expr>) -> Result<Wanted, Mistake> {
        let holds = field.holds;
        match &expr.node {
            Expr::Set(items) if holds.is_set() => {
                let items = items.iter().map(|item| self.item(field, item));
                items.collect::<Result<_, _>>().map(Wanted::Set)
            }
            Expr::Set(_) => {
                let hint = format!("`{0} == ... or {0} == ...`", field.name);
                Err(Mistake::new(expr.span, format!("`{}` is not a set", field.name), Some(hint)))
            }
            _ if holds.is_set() => Ok(Wanted::Set(vec![self.item(field, expr)?])),
            Expr::Int(number) if holds == Holds::Time => {
                if *number == 0 || self.units.is_time(expr.span) {
                    return Ok(Wanted::Number(*number));
                }
                let message = format!("`{}` is a time, and this number has no unit", field.name);
                let hint = "the units are ns, us, ms, s: `10ms`".to_owned();
                Err(Mistake::new(expr.span, message, Some(hint)))
            }
            Expr::Int(number) if holds == Holds::Number => {
                if !self.units.is_time(expr.span) {
                    return Ok(Wanted::Number(*number));
                }
                let hint = "the times are `latency` and `time`".to_owned();
                Err(Mistake::new(expr.span, format!("`{}` is not a time", field.name), Some(hint)))
            }
            _ => match self.item(field, expr)? {
                Item::Word(word) => Ok(Wanted::Word(word)),
                Item::Mask(_) => Err(self.refused(field, expr)),
            },
        }
    }

    /// A word, or an item of a set.
    fn item(&self, field: &'static Field, expr: &Spanned<Expr>) -> Result<Item, Mistake> {
        let holds = field.holds;
        let word = match &expr.node {
            Expr::Int(_) if self.units.is_time(expr.span) => None,
            Expr::Int(mask) if holds.is_flags() => return Ok(Item::Mask(*mask)),
            Expr::Int(number) => holds.number(*number),
            Expr::Name(name) => holds.word(name),
            Expr::Text(text) if takes_text(holds) => {
                return Ok(Item::Word(text.as_bytes().to_vec()));
            }
            Expr::Text(text) => text.to_str().and_then(|text| holds.word(text)),
            Expr::Payload(_) if holds == Holds::Payload => match constant(expr)? {
                Value::Payload(payload) => Some(payload.to_string()),
                _ => None,
            },
            Expr::Pair(length, status) if holds == Holds::Extents => {
                match (&length.node, &status.node) {
                    (Expr::Int(length), Expr::Int(status)) => Some(format!("{length}:{status}")),
                    _ => None,
                }
            }
            _ => None,
        };
        word.map(|word| Item::Word(word.into_bytes())).ok_or_else(|| self.refused(field, expr))
    }

    fn refused(&self, field: &Field, expr: &Spanned<Expr>) -> Mistake {
        let wanted = field.holds.wanted();
        let (message, advice) = match &expr.node {
            Expr::Name(name) => (format!("`{name}` is not {wanted}"), field.holds.advice(name)),
            _ => (format!("this is not {wanted}"), field.holds.advice("")),
        };
        let known = || Some(format!("`{}` is compared with {wanted}", field.name));
        Mistake::new(expr.span, message, advice.or_else(known))
    }
}

/// What may be written in quotes: it has no words of its own.
fn takes_text(holds: Holds) -> bool {
    matches!(holds, Holds::Text | Holds::Texts | Holds::Payload | Holds::Extents)
}

fn field(expr: &Spanned<Expr>) -> Result<&'static Field, Mistake> {
    let all = || Some(format!("the fields are {}", names().collect::<Vec<_>>().join(", ")));
    match &expr.node {
        Expr::Name(name) => fields::find(name).ok_or_else(|| {
            let hint = did_you_mean(name, names()).or_else(all);
            Mistake::new(expr.span, format!("`{name}` is not a field"), hint)
        }),
        _ => Err(Mistake::new(expr.span, "a field must be on the left", all())),
    }
}

fn is_comparison(op: BinaryOp) -> bool {
    use BinaryOp::{Eq, Ge, Gt, Has, Lacks, Le, Lt, Ne};
    matches!(op, Eq | Ne | Lt | Le | Gt | Ge | Has | Lacks)
}

/// Whether a field can be compared so.
fn has_op(field: &Field, op: BinaryOp, at: &Spanned<Expr>) -> Result<(), Mistake> {
    let Field { name, holds, .. } = field;
    let (lacking, hint) = match op {
        BinaryOp::Has | BinaryOp::Lacks if !holds.is_set() => ("is not a set", "`==` and `!=`"),
        BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge if !holds.has_order() => {
            ("has no order", if holds.is_set() { "`has` and `lacks`" } else { "`==` and `!=`" })
        }
        _ => return Ok(()),
    };
    let hint = format!("{hint} compare it");
    Err(Mistake::new(at.span, format!("`{name}` {lacking}"), Some(hint)))
}
