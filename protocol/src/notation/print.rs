//! The canonical form of lines and expressions: `parse(print(x)) == x`, and a line that
//! [`crate::describe`] made prints as it was.

use std::fmt::{self, Display, Formatter};

use super::ast::{BinaryOp, Expr, FieldPattern, MessageLine, Op, PartExpr, Pattern, Spanned, Word};
use crate::payload::{Part, Payload};

impl Display for Word {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Variable(name) => write!(f, "${name}"),
            Self::Any => f.write_str("_"),
        }
    }
}

/// The operator with the blanks that belong to it.
impl Display for Op {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Eq => "=",
            Self::Ne => "!=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
            Self::Has => " has ",
            Self::Lacks => " lacks ",
        })
    }
}

impl BinaryOp {
    /// As it is written.
    #[must_use]
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Rem => "%",
            Self::Eq => "==",
            Self::Ne => "!=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
            Self::Has => "has",
            Self::Lacks => "lacks",
            Self::And => "and",
            Self::Or => "or",
        }
    }

    const fn level(self) -> Level {
        match self {
            Self::Or => Level::Or,
            Self::And => Level::And,
            Self::Add | Self::Sub => Level::Sum,
            Self::Mul | Self::Div | Self::Rem => Level::Product,
            _ => Level::Comparison,
        }
    }
}

/// How tightly a form binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Or,
    And,
    Comparison,
    Sum,
    Product,
    Not,
    Atom,
}

impl Level {
    /// The level that an operand to the right must have at least.
    const fn above(self) -> Self {
        match self {
            Self::Or => Self::And,
            Self::And => Self::Comparison,
            Self::Comparison => Self::Sum,
            Self::Sum => Self::Product,
            Self::Product => Self::Not,
            Self::Not | Self::Atom => Self::Atom,
        }
    }
}

/// Where an expression is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// In a field: no blanks around operators.
    Tight,
    /// In a field whose numbers are hexadecimal: cookies, bits of flags.
    TightHex,
    /// In `check` and in parentheses.
    Free,
}

/// As in `check`.
impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_expr(f, self, Level::Or, Style::Free)
    }
}

/// A payload's part.
impl Display for PartExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.pattern {
            Pattern::Zero => f.write_str("zero")?,
            Pattern::Fill(byte) => match byte.node {
                Expr::Int(byte) => write!(f, "fill({byte:#04x})")?,
                _ => write!(f, "fill({})", byte.node)?,
            },
            Pattern::Place(seed) => write!(f, "place({})", seed.node)?,
            Pattern::Hex(bytes) => {
                let literal = Payload(vec![Part::Hex(bytes.clone())]);
                return write!(f, "{literal}");
            }
            Pattern::Digest(digest) => write!(f, "digest({digest:016x})")?,
            Pattern::Any => f.write_str("any")?,
        }
        if let Some(count) = &self.count {
            f.write_str("*")?;
            write_operand(f, &count.node, Level::Sum, Level::Product, Style::Tight)?;
        }
        Ok(())
    }
}

impl Display for FieldPattern {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.key.node, self.op)?;
        let style = match self.key.node.as_str() {
            "cookie" | "magic" | "flags" | "handshake-flags" => Style::TightHex,
            _ => Style::Tight,
        };
        write_expr(f, &self.value.node, Level::Sum, style)
    }
}

impl Display for MessageLine {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.should {
            f.write_str("should ")?;
        }
        write!(f, "{}", self.side.letter())?;
        if let Some(conn) = &self.conn {
            write!(f, "@{}", conn.node)?;
        }
        write!(f, ": {}", self.head.node)?;
        if let Some(variant) = &self.variant {
            write!(f, " {}", variant.node)?;
        }
        for field in &self.fields {
            write!(f, " {field}")?;
        }
        for tag in &self.tags {
            write!(f, " [{}]", tag.node)?;
        }
        Ok(())
    }
}

/// Prints an expression that binds at least as tightly as `least`, or parenthesises it.
fn write_expr(f: &mut Formatter<'_>, expr: &Expr, least: Level, style: Style) -> fmt::Result {
    if level(expr, style) < least {
        f.write_str("(")?;
        write_expr(f, expr, Level::Or, Style::Free)?;
        return f.write_str(")");
    }
    match expr {
        Expr::Int(n) if style == Style::TightHex => write!(f, "{n:#x}"),
        Expr::Int(n) => write!(f, "{n}"),
        Expr::Text(text) => write!(f, "{text}"),
        Expr::Name(name) => f.write_str(name),
        Expr::Set(items) => {
            f.write_str("{")?;
            write_list(f, items, " ", if style == Style::TightHex { style } else { Style::Tight })?;
            f.write_str("}")
        }
        Expr::Pair(first, second) => {
            write_expr(f, &first.node, Level::Sum, Style::Tight)?;
            f.write_str(":")?;
            write_expr(f, &second.node, Level::Sum, Style::Tight)
        }
        Expr::Any => f.write_str("_"),
        Expr::Capture(name) => write!(f, "?{name}"),
        Expr::Variable(name) => write!(f, "${name}"),
        Expr::Payload(parts) => {
            for (index, part) in parts.iter().enumerate() {
                let join = if index > 0 { " ++ " } else { "" };
                write!(f, "{join}{part}")?;
            }
            Ok(())
        }
        Expr::Call(name, arguments) => {
            write!(f, "{name}(")?;
            write_list(f, arguments, ", ", Style::Free)?;
            f.write_str(")")
        }
        Expr::Not(inner) => {
            f.write_str("not ")?;
            write_expr(f, &inner.node, Level::Not, style)
        }
        Expr::Binary(op, left, right) => {
            let own = op.level();
            // Comparisons do not chain, so neither side may be one.
            let left_least = if own == Level::Comparison { own.above() } else { own };
            write_operand(f, &left.node, left_least, own, style)?;
            match style {
                Style::Free => write!(f, " {} ", op.symbol())?,
                Style::Tight | Style::TightHex => f.write_str(op.symbol())?,
            }
            write_operand(f, &right.node, own.above(), own, style)
        }
    }
}

/// The operand of an operator. Three forms need parentheses although they bind tightly enough:
/// without blanks a payload, whose count would go on, and a name (or `_`), which a hyphen would prolong; and
/// a negation before a comparison.
fn write_operand(
    f: &mut Formatter<'_>,
    expr: &Expr,
    least: Level,
    operator: Level,
    style: Style,
) -> fmt::Result {
    let swallows =
        matches!(expr, Expr::Payload(_) | Expr::Name(_) | Expr::Any) && style != Style::Free;
    let negates = operator == Level::Comparison && begins_with_not(expr);
    if swallows || negates {
        f.write_str("(")?;
        write_expr(f, expr, Level::Or, Style::Free)?;
        return f.write_str(")");
    }
    write_expr(f, expr, least, style)
}

fn begins_with_not(expr: &Expr) -> bool {
    match expr {
        Expr::Not(_) => true,
        Expr::Binary(_, left, _) => begins_with_not(&left.node),
        _ => false,
    }
}

fn level(expr: &Expr, style: Style) -> Level {
    match expr {
        // Without blanks `not` can't be written.
        Expr::Not(_) => {
            if style == Style::Free {
                Level::Not
            } else {
                Level::Or
            }
        }
        Expr::Binary(op, ..) => op.level(),
        _ => Level::Atom,
    }
}

fn write_list(
    f: &mut Formatter<'_>,
    items: &[Spanned<Expr>],
    separator: &str,
    style: Style,
) -> fmt::Result {
    let least = if style == Style::Free { Level::Or } else { Level::Sum };
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            f.write_str(separator)?;
        }
        write_expr(f, &item.node, least, style)?;
    }
    Ok(())
}
