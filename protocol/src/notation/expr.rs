//! From tokens to expressions.

use super::ast::{BinaryOp, Expr, PartExpr, Pattern, Span, Spanned};
use super::error::NotationError;
use super::lexer::Token;
use super::parser::{Parsed, Parser};

/// How deep parentheses, calls and sets may nest.
const DEPTH_LIMIT: usize = 64;

/// Whether blanks may stand around operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spacing {
    /// In a field: a blank ends the expression.
    Tight,
    /// In `check` and in parentheses.
    Free,
}

impl Parser<'_> {
    /// The value of a field: an expression without blanks around its operators.
    ///
    /// # Errors
    /// The first mistake.
    pub fn value(&mut self) -> Parsed<Spanned<Expr>> {
        self.sum(Spacing::Tight)
    }

    /// An expression with blanks as one likes.
    ///
    /// # Errors
    /// The first mistake.
    pub fn expr(&mut self) -> Parsed<Spanned<Expr>> {
        self.nested(Self::disjunction)
    }

    fn nested<T>(&mut self, rule: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth == DEPTH_LIMIT {
            return Err(NotationError::new(self.span(), "this nests too deep", "too deep"));
        }
        self.depth += 1;
        let parsed = rule(self);
        self.depth -= 1;
        parsed
    }

    fn disjunction(&mut self) -> Parsed<Spanned<Expr>> {
        let mut left = self.conjunction()?;
        while self.eat_word("or") {
            left = binary(BinaryOp::Or, left, self.conjunction()?);
        }
        Ok(left)
    }

    fn conjunction(&mut self) -> Parsed<Spanned<Expr>> {
        let mut left = self.comparison()?;
        while self.eat_word("and") {
            left = binary(BinaryOp::And, left, self.comparison()?);
        }
        Ok(left)
    }

    fn comparison(&mut self) -> Parsed<Spanned<Expr>> {
        let negated = matches!(self.peek(), Token::Word(word) if word == "not");
        let left = self.sum(Spacing::Free)?;
        let Some(op) = comparison_op(self.peek()) else {
            if self.at_symbol("=") {
                return Err(self.unexpected("expected a comparison").help("write `==` in `check`"));
            }
            return Ok(left);
        };
        if negated {
            return Err(NotationError::new(
                left.span,
                "`not` binds tighter than a comparison",
                "negated before it is compared",
            )
            .help("write `not (a == b)`, or the opposite comparison"));
        }
        self.bump();
        let right = self.sum(Spacing::Free)?;
        if comparison_op(self.peek()).is_some() {
            return Err(self
                .unexpected("comparisons can't be chained")
                .help("write `a < b and b < c`"));
        }
        Ok(binary(op, left, right))
    }

    fn sum(&mut self, spacing: Spacing) -> Parsed<Spanned<Expr>> {
        let mut left = self.product(spacing)?;
        loop {
            let op = match self.peek() {
                Token::Symbol("+") => BinaryOp::Add,
                Token::Symbol("-") => BinaryOp::Sub,
                _ => return Ok(left),
            };
            if !self.operator(spacing)? {
                return Ok(left);
            }
            left = binary(op, left, self.product(spacing)?);
        }
    }

    fn product(&mut self, spacing: Spacing) -> Parsed<Spanned<Expr>> {
        let mut left = self.unary(spacing)?;
        loop {
            let op = match self.peek() {
                Token::Symbol("*") => BinaryOp::Mul,
                Token::Symbol("/") => BinaryOp::Div,
                Token::Symbol("%") => BinaryOp::Rem,
                _ => return Ok(left),
            };
            if !self.operator(spacing)? {
                return Ok(left);
            }
            left = binary(op, left, self.unary(spacing)?);
        }
    }

    /// Takes an arithmetic operator if it belongs to the expression.
    fn operator(&mut self, spacing: Spacing) -> Parsed<bool> {
        if spacing == Spacing::Tight && self.spaced() {
            return Ok(false);
        }
        let sign = self.bump();
        if spacing == Spacing::Tight && self.spaced() {
            return Err(NotationError::new(
                sign.span,
                "a blank after an operator",
                "no blank here",
            )
            .help("no spaces around operators in a field; or use parentheses"));
        }
        Ok(true)
    }

    fn unary(&mut self, spacing: Spacing) -> Parsed<Spanned<Expr>> {
        if !self.at_word("not") || spacing == Spacing::Tight {
            return self.atom();
        }
        let start = self.bump().span.start;
        let inner = self.nested(|parser| parser.unary(spacing))?;
        Ok(Spanned::new(Expr::Not(Box::new(inner)), self.span_from(start)))
    }

    fn atom(&mut self) -> Parsed<Spanned<Expr>> {
        let start = self.span().start;
        let token = self.peek().clone();
        let expr = match token {
            Token::Number(n) => self.leaf(Expr::Int(n)),
            Token::Text(text) => self.leaf(Expr::Text(text)),
            Token::Variable(name) => self.leaf(Expr::Variable(name)),
            Token::Capture(name) => self.leaf(Expr::Capture(name)),
            Token::Symbol("_") => self.leaf(Expr::Any),
            Token::Symbol("{") => self.nested(Self::set)?,
            Token::Symbol("(") => {
                self.bump();
                let inner = self.expr()?;
                self.expect_symbol(")")?;
                inner.node
            }
            _ if self.at_part() => self.payload()?,
            Token::Word(name) => {
                self.bump();
                if self.at_symbol("(") && !self.spaced() {
                    self.nested(|parser| parser.call(name))?
                } else {
                    Expr::Name(name)
                }
            }
            _ => return Err(self.unexpected("expected a value")),
        };
        Ok(Spanned::new(expr, self.span_from(start)))
    }

    fn leaf(&mut self, expr: Expr) -> Expr {
        self.bump();
        expr
    }

    fn set(&mut self) -> Parsed<Expr> {
        self.bump();
        let mut items = Vec::new();
        while !self.eat_symbol("}") {
            if matches!(self.peek(), Token::Newline | Token::End | Token::Tag(_)) {
                return Err(self.unexpected("expected `}` or another item of the set"));
            }
            if self.at_symbol(",") {
                return Err(self
                    .unexpected("no comma here")
                    .help("the items of a set are separated by blanks"));
            }
            let start = self.span().start;
            let mut item = self.value()?;
            if self.eat_symbol(":") {
                let second = self.value()?;
                item = Spanned::new(
                    Expr::Pair(Box::new(item), Box::new(second)),
                    self.span_from(start),
                );
            }
            items.push(item);
        }
        Ok(Expr::Set(items))
    }

    fn call(&mut self, name: String) -> Parsed<Expr> {
        self.bump();
        let mut arguments = Vec::new();
        while !self.eat_symbol(")") {
            if !arguments.is_empty() {
                self.expect_symbol(",")?;
            }
            arguments.push(self.expr()?);
        }
        Ok(Expr::Call(name, arguments))
    }

    /// Whether a part of a payload is next.
    fn at_part(&self) -> bool {
        match self.peek() {
            Token::Hex(_) | Token::Digest(_) => true,
            Token::Word(word) => match word.as_str() {
                "zero" | "any" => *self.peek_at(1) == Token::Symbol("*"),
                "fill" | "place" => *self.peek_at(1) == Token::Symbol("("),
                _ => false,
            },
            _ => false,
        }
    }

    fn payload(&mut self) -> Parsed<Expr> {
        let mut parts = vec![self.part()?];
        while self.eat_symbol("++") {
            if !self.at_part() {
                return Err(self.unexpected("expected a payload such as `zero*512`"));
            }
            parts.push(self.part()?);
        }
        Ok(Expr::Payload(parts))
    }

    fn part(&mut self) -> Parsed<PartExpr> {
        let pattern = match self.bump().token {
            Token::Hex(bytes) => return Ok(PartExpr { pattern: Pattern::Hex(bytes), count: None }),
            Token::Digest(digest) => Pattern::Digest(digest),
            Token::Word(word) if word == "zero" => Pattern::Zero,
            Token::Word(word) if word == "any" => Pattern::Any,
            Token::Word(word) => {
                self.expect_symbol("(")?;
                let argument = Box::new(self.expr()?);
                self.expect_symbol(")")?;
                if word == "fill" { Pattern::Fill(argument) } else { Pattern::Place(argument) }
            }
            _ => return Err(self.unexpected("expected a payload")),
        };
        if !self.eat_symbol("*") {
            return Err(self.unexpected("expected `*` and the number of bytes"));
        }
        let count = Some(Box::new(self.value()?));
        Ok(PartExpr { pattern, count })
    }
}

fn binary(op: BinaryOp, left: Spanned<Expr>, right: Spanned<Expr>) -> Spanned<Expr> {
    let span = Span { start: left.span.start, end: right.span.end };
    Spanned::new(Expr::Binary(op, Box::new(left), Box::new(right)), span)
}

fn comparison_op(token: &Token) -> Option<BinaryOp> {
    match token {
        Token::Symbol("==") => Some(BinaryOp::Eq),
        Token::Symbol("!=") => Some(BinaryOp::Ne),
        Token::Symbol("<") => Some(BinaryOp::Lt),
        Token::Symbol("<=") => Some(BinaryOp::Le),
        Token::Symbol(">") => Some(BinaryOp::Gt),
        Token::Symbol(">=") => Some(BinaryOp::Ge),
        Token::Word(word) if word == "has" => Some(BinaryOp::Has),
        Token::Word(word) if word == "lacks" => Some(BinaryOp::Lacks),
        _ => None,
    }
}
