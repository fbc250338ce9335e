//! From tokens to lines: recursive descent, one method a rule. Expressions are in `expr`.

use super::ast::{Expr, FieldPattern, MessageLine, Op, Span, Spanned, Word};
use super::error::NotationError;
use super::lexer::{Lexeme, Token, lex};
use crate::message::Side;

/// The result of a rule.
pub type Parsed<T> = Result<T, NotationError>;

/// Reads a text token by token. The rules of lines and expressions are here; those of whole scripts
/// are built on the same methods elsewhere.
pub struct Parser<'a> {
    text: &'a str,
    pub(super) lexemes: Vec<Lexeme>,
    pub(super) at: usize,
    pub(super) depth: usize,
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

    #[expect(clippy::indexing_slicing, reason = "there is an end, and `bump` does not pass it")]
    fn lexeme(&self) -> &Lexeme {
        &self.lexemes[self.at]
    }

    /// The next token.
    #[must_use]
    pub fn peek(&self) -> &Token {
        &self.lexeme().token
    }

    /// The token after the next `ahead` ones; the last one stays [`Token::End`].
    #[must_use]
    pub fn peek_at(&self, ahead: usize) -> &Token {
        self.lexemes.get(self.at + ahead).map_or(&Token::End, |lexeme| &lexeme.token)
    }

    /// Where the next token stands; for a line's end an empty place.
    #[must_use]
    pub fn span(&self) -> Span {
        let Lexeme { token, span, .. } = self.lexeme();
        match token {
            Token::Newline => Span { start: span.start, end: span.start },
            _ => *span,
        }
    }

    /// Where the last taken token ended.
    #[must_use]
    pub fn last_end(&self) -> usize {
        let last = self.at.checked_sub(1).and_then(|last| self.lexemes.get(last));
        last.map_or(0, |lexeme| lexeme.span.end)
    }

    /// From `start` up to the last taken token.
    #[must_use]
    pub fn span_from(&self, start: usize) -> Span {
        Span { start, end: self.last_end().max(start) }
    }

    /// Whether a blank stands before the next token.
    pub(super) fn spaced(&self) -> bool {
        self.lexeme().spaced
    }

    /// Takes the next token; the end is never passed.
    pub fn bump(&mut self) -> Lexeme {
        let lexeme = self.lexeme().clone();
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
        let message = match self.peek() {
            Token::End => "the text ends too early".to_owned(),
            Token::Newline => "the line ends too early".to_owned(),
            token => {
                let name = token.name();
                let name = name.strip_prefix("a ").or(name.strip_prefix("the ")).unwrap_or(&name);
                format!("unexpected {name}")
            }
        };
        NotationError::new(self.span(), message, label)
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
                .help("tags belong at the end of the line");
        }
        let error = self.unexpected("expected `field=value`, a tag or the end of the line");
        match self.peek() {
            Token::Symbol("+" | "-" | "*" | "/" | "%") => error.help(
                "no spaces around operators in a field: `offset=$size-512`; or use parentheses",
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

    /// Fields, as many as there are.
    ///
    /// # Errors
    /// One of them is wrong.
    pub fn fields(&mut self) -> Parsed<Vec<FieldPattern>> {
        let mut fields = Vec::new();
        while self.at_field() {
            fields.push(self.field()?);
        }
        Ok(fields)
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
