//! From tokens to lines and expressions: recursive descent, one method a rule.

use super::ast::{
    BinaryOp, Expr, FieldPattern, MessageLine, Op, PartExpr, Pattern, Span, Spanned, Word,
};
use super::error::NotationError;
use super::lexer::{Lexeme, Token, lex};
use crate::message::Side;

/// The result of a rule.
pub type Parsed<T> = Result<T, NotationError>;

/// How deep parentheses, calls and sets may nest.
const DEPTH_LIMIT: usize = 64;

/// Reads a text token by token. The rules of lines and expressions are here; those of whole scripts
/// are built on the same methods elsewhere.
pub struct Parser<'a> {
    text: &'a str,
    lexemes: Vec<Lexeme>,
    at: usize,
    depth: usize,
}

/// Whether blanks may stand around operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spacing {
    /// In a field: a blank ends the expression.
    Tight,
    /// In `check` and in parentheses.
    Free,
}

/// Reads one message line: `C: NBD_CMD_READ cookie=0x1 offset=0 length=512`.
///
/// # Errors
/// The first mistake.
pub fn parse_line(text: &str) -> Parsed<MessageLine> {
    let mut parser = Parser::whole(text)?;
    let line = parser.message_line()?;
    parser.expect_end()?;
    Ok(line)
}

/// Reads an expression as it stands in `check`.
///
/// # Errors
/// The first mistake.
pub fn parse_expr(text: &str) -> Parsed<Spanned<Expr>> {
    let mut parser = Parser::whole(text)?;
    let expr = parser.expr()?;
    parser.expect_end()?;
    Ok(expr)
}

impl<'a> Parser<'a> {
    /// Reads the tokens of `text`; comments are left out. The second value tells what was no token.
    #[must_use]
    pub fn new(text: &'a str) -> (Self, Vec<NotationError>) {
        let (mut lexemes, errors) = lex(text);
        lexemes.retain(|lexeme| !matches!(lexeme.token, Token::Comment(_)));
        (Self { text, lexemes, at: 0, depth: 0 }, errors)
    }

    /// A parser of a text without bad tokens.
    fn whole(text: &'a str) -> Parsed<Self> {
        let (parser, errors) = Self::new(text);
        errors.into_iter().next().map_or(Ok(parser), Err)
    }

    /// The text that is read.
    #[must_use]
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// The next token.
    #[must_use]
    pub fn peek(&self) -> &Token {
        &self.lexemes[self.at].token
    }

    /// The token after the next `ahead` ones; the last one stays [`Token::End`].
    #[must_use]
    pub fn peek_at(&self, ahead: usize) -> &Token {
        &self.lexemes[(self.at + ahead).min(self.lexemes.len() - 1)].token
    }

    /// Where the next token stands; for a line's end an empty place.
    #[must_use]
    pub fn span(&self) -> Span {
        let Lexeme { token, span, .. } = &self.lexemes[self.at];
        match token {
            Token::Newline => Span { start: span.start, end: span.start },
            _ => *span,
        }
    }

    /// Where the last taken token ended.
    #[must_use]
    pub fn last_end(&self) -> usize {
        self.at.checked_sub(1).map_or(0, |last| self.lexemes[last].span.end)
    }

    /// From `start` up to the last taken token.
    #[must_use]
    pub fn span_from(&self, start: usize) -> Span {
        Span { start, end: self.last_end().max(start) }
    }

    fn spaced(&self) -> bool {
        self.lexemes[self.at].spaced
    }

    /// Takes the next token; the end is never passed.
    pub fn bump(&mut self) -> Lexeme {
        let lexeme = self.lexemes[self.at].clone();
        self.at = (self.at + 1).min(self.lexemes.len() - 1);
        lexeme
    }

    /// How many tokens were taken: to see whether a rule got anywhere.
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    /// Whether the next token is this symbol.
    #[must_use]
    pub fn at_symbol(&self, symbol: &str) -> bool {
        matches!(self.peek(), Token::Symbol(found) if *found == symbol)
    }

    /// Whether the next token is this word.
    #[must_use]
    pub fn at_word(&self, word: &str) -> bool {
        matches!(self.peek(), Token::Word(found) if found == word)
    }

    /// Takes a symbol if it is next.
    pub fn eat_symbol(&mut self, symbol: &str) -> bool {
        let found = self.at_symbol(symbol);
        if found {
            self.bump();
        }
        found
    }

    /// Takes a word if it is next.
    pub fn eat_word(&mut self, word: &str) -> bool {
        let found = self.at_word(word);
        if found {
            self.bump();
        }
        found
    }

    /// Takes a symbol.
    ///
    /// # Errors
    /// Something else is next.
    pub fn expect_symbol(&mut self, symbol: &str) -> Parsed<Span> {
        if self.at_symbol(symbol) {
            return Ok(self.bump().span);
        }
        Err(self.unexpected(&format!("expected `{symbol}`")))
    }

    /// Takes any word.
    ///
    /// # Errors
    /// Something else is next; the label says that `wanted` was expected.
    pub fn expect_any_word(&mut self, wanted: &str) -> Parsed<Spanned<String>> {
        match self.peek() {
            Token::Word(word) => {
                let word = word.clone();
                Ok(Spanned::new(word, self.bump().span))
            }
            _ => Err(self.unexpected(&format!("expected {wanted}"))),
        }
    }

    /// Takes the end of the text, and line ends before it.
    ///
    /// # Errors
    /// There is more.
    pub fn expect_end(&mut self) -> Parsed<()> {
        while *self.peek() == Token::Newline {
            self.bump();
        }
        match self.peek() {
            Token::End => Ok(()),
            _ => Err(self.unexpected("expected nothing more")),
        }
    }

    /// Whether a line ends here: at its end, the text's, or a block's.
    #[must_use]
    pub fn at_line_end(&self) -> bool {
        matches!(self.peek(), Token::Newline | Token::End) || self.at_symbol("}")
    }

    /// The error that the next token should not stand here.
    #[must_use]
    pub fn unexpected(&self, label: &str) -> NotationError {
        NotationError::new(self.span(), format!("unexpected {}", self.peek().name()), label)
    }

    /// `@conn`, if it is next.
    pub fn conn(&mut self) -> Option<Spanned<String>> {
        let Token::Conn(name) = self.peek() else { return None };
        let name = name.clone();
        Some(Spanned::new(name, self.bump().span))
    }

    /// `[tag]*`.
    pub fn tags(&mut self) -> Vec<Spanned<String>> {
        let mut tags = Vec::new();
        while let Token::Tag(id) = self.peek() {
            let id = id.clone();
            tags.push(Spanned::new(id, self.bump().span));
        }
        tags
    }

    /// Whether a message line begins here: `C:`, `S@b:`, after `should` too.
    #[must_use]
    pub fn at_message_line(&self) -> bool {
        let first = usize::from(self.at_word("should"));
        matches!(self.peek_at(first), Token::Word(word) if word == "C" || word == "S")
            && matches!(self.peek_at(first + 1), Token::Symbol(":") | Token::Conn(_))
    }

    /// `[should] SIDE[@conn]: HEAD [VARIANT] field* [tag]*`; what ends it is left.
    ///
    /// # Errors
    /// The first mistake.
    pub fn message_line(&mut self) -> Parsed<MessageLine> {
        let start = self.span().start;
        let should = self.eat_word("should");
        let side = match self.peek() {
            Token::Word(word) if word == "C" => Side::Client,
            Token::Word(word) if word == "S" => Side::Server,
            _ => return Err(self.unexpected("expected `C:` or `S:`")),
        };
        self.bump();
        let conn = self.conn();
        self.expect_symbol(":")?;
        let Some(head) = self.message_word() else {
            return Err(self.unexpected("expected a message's name"));
        };
        let variant = if self.at_field() { None } else { self.message_word() };
        let mut fields = Vec::new();
        if head.node == Word::Name("bytes".to_owned()) && !self.at_field() && !self.at_line_end() {
            let key = Spanned::new("data".to_owned(), self.span());
            fields.push(FieldPattern { key, op: Op::Eq, value: self.value()? });
        }
        while self.at_field() {
            fields.push(self.field()?);
        }
        let tags = self.tags();
        if !self.at_line_end() && !self.at_symbol("{") {
            return Err(self.bad_field(!tags.is_empty()));
        }
        let span = self.span_from(start);
        Ok(MessageLine { should, side, conn, head, variant, fields, tags, span })
    }

    /// What to say about a token that is no field.
    fn bad_field(&self, after_tag: bool) -> NotationError {
        if after_tag {
            return self
                .unexpected("expected the end of the line")
                .help("tags stand at the end of the line");
        }
        let error = self.unexpected("expected `field=value`, a tag or the end of the line");
        match self.peek() {
            Token::Symbol("+" | "-" | "*" | "/" | "%") => error.help(
                "in a field no blanks stand around operators: `offset=$size-512`; or use parentheses",
            ),
            Token::Symbol("=" | "==") => error.help("write `field=value`"),
            Token::Word(word) => error.help(format!("write `{word}=value`")),
            Token::Text(_) | Token::Number(_) | Token::Variable(_) => {
                error.help("every value belongs to a field: `field=value`")
            }
            _ => error,
        }
    }

    fn message_word(&mut self) -> Option<Spanned<Word>> {
        let word = match self.peek() {
            Token::Word(name) => Word::Name(name.clone()),
            Token::Variable(name) => Word::Variable(name.clone()),
            Token::Symbol("_") => Word::Any,
            _ => return None,
        };
        Some(Spanned::new(word, self.bump().span))
    }

    /// Whether `word op` is next.
    fn at_field(&self) -> bool {
        matches!(self.peek(), Token::Word(_)) && field_op(self.peek_at(1)).is_some()
    }

    fn field(&mut self) -> Parsed<FieldPattern> {
        let key = self.expect_any_word("a field")?;
        let Some(op) = field_op(self.peek()) else {
            return Err(
                self.unexpected("expected `=`, `!=`, `<`, `<=`, `>`, `>=`, `has` or `lacks`")
            );
        };
        self.bump();
        Ok(FieldPattern { key, op, value: self.value()? })
    }

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
        let start = self.at;
        let left = self.sum(Spacing::Free)?;
        let Some(op) = comparison_op(self.peek()) else {
            if self.at_symbol("=") {
                return Err(self.unexpected("expected a comparison").help("write `==` in `check`"));
            }
            return Ok(left);
        };
        if matches!(self.lexemes[start].token, Token::Word(ref word) if word == "not") {
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
            .help("in a field no blanks stand around operators; or use parentheses"));
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

fn field_op(token: &Token) -> Option<Op> {
    match token {
        Token::Symbol("=") => Some(Op::Eq),
        Token::Symbol("!=") => Some(Op::Ne),
        Token::Symbol("<") => Some(Op::Lt),
        Token::Symbol("<=") => Some(Op::Le),
        Token::Symbol(">") => Some(Op::Gt),
        Token::Symbol(">=") => Some(Op::Ge),
        Token::Word(word) if word == "has" => Some(Op::Has),
        Token::Word(word) if word == "lacks" => Some(Op::Lacks),
        _ => None,
    }
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
