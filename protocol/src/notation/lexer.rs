//! From text to tokens.

use std::time::Duration;

use super::ast::Span;
use super::error::NotationError;
use crate::nearest::did_you_mean;
use crate::text::{WireString, unescape};
use crate::units;

/// The smallest parts of the notation.
#[derive(Debug, Clone, PartialEq)]
pub enum Token {
    /// `NBD_OPT_GO`, `simple-reply`, `any-order`.
    Word(String),
    /// `512`, `0x200`, `64KiB`.
    Number(u64),
    /// `100ms`, `5s`.
    Duration(Duration),
    /// `"..."`.
    Text(WireString),
    /// `hex"de ad"`.
    Hex(Vec<u8>),
    /// `digest(0123456789abcdef)`.
    Digest(u64),
    /// `$x`.
    Variable(String),
    /// `?x`.
    Capture(String),
    /// `@conn`.
    Conn(String),
    /// `[requirement-id]`.
    Tag(String),
    /// Braces, operators and the like, as written; `_` too.
    Symbol(&'static str),
    /// `# ...` up to the end of the line, with the `#`.
    Comment(String),
    /// The end of a line.
    Newline,
    /// The end of the text; always last.
    End,
}

impl Token {
    /// How a message calls the token: "`=`", "the end of the line".
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Word(word) => format!("`{word}`"),
            Self::Number(_) => "a number".to_owned(),
            Self::Duration(_) => "a duration".to_owned(),
            Self::Text(_) => "a text".to_owned(),
            Self::Hex(_) | Self::Digest(_) => "a payload".to_owned(),
            Self::Variable(name) => format!("`${name}`"),
            Self::Capture(name) => format!("`?{name}`"),
            Self::Conn(name) => format!("`@{name}`"),
            Self::Tag(id) => format!("the tag `[{id}]`"),
            Self::Symbol(symbol) => format!("`{symbol}`"),
            Self::Comment(_) => "a comment".to_owned(),
            Self::Newline => "the end of the line".to_owned(),
            Self::End => "the end of the text".to_owned(),
        }
    }
}

/// A token in its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Lexeme {
    /// What it is.
    pub token: Token,
    /// Where it stands.
    pub span: Span,
    /// Whether a blank, a line's beginning or nothing at all stands before it.
    pub spaced: bool,
}

/// Longest first, so that `++` is not taken for two `+`.
const SYMBOLS: &[&str] = &[
    "++", "--", "..", "==", "!=", "<=", ">=", "{", "}", "(", ")", ":", ",", "=", "<", ">", "+",
    "-", "*", "/", "%",
];

/// Splits a text into tokens, comments included. Stretches that are no token are left out and told
/// as errors. Never fails as a whole; the last token is [`Token::End`].
#[must_use]
pub fn lex(text: &str) -> (Vec<Lexeme>, Vec<NotationError>) {
    let mut lexer = Lexer { text, at: 0, lexemes: Vec::new(), errors: Vec::new() };
    lexer.run();
    (lexer.lexemes, lexer.errors)
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    lexemes: Vec<Lexeme>,
    errors: Vec<NotationError>,
}

fn is_word_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

fn is_word_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn span_from(&self, start: usize) -> Span {
        Span { start, end: self.at }
    }

    /// Takes the characters that fit, and gives them.
    fn take_while(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !fits(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn run(&mut self) {
        loop {
            let before = self.at;
            self.take_while(|c| matches!(c, ' ' | '\t' | '\r'));
            let start = self.at;
            let spaced = start > before || start == 0 || self.text[..start].ends_with('\n');
            let Some(c) = self.rest().chars().next() else {
                self.lexemes.push(Lexeme {
                    token: Token::End,
                    span: self.span_from(start),
                    spaced,
                });
                return;
            };
            match self.token(c) {
                Ok(token) => {
                    self.lexemes.push(Lexeme { token, span: self.span_from(start), spaced });
                }
                Err(error) => self.errors.push(error),
            }
        }
    }

    fn token(&mut self, c: char) -> Result<Token, NotationError> {
        match c {
            '\n' => {
                self.at += 1;
                Ok(Token::Newline)
            }
            '#' => {
                let comment = self.take_while(|c| c != '\n');
                Ok(Token::Comment(comment.trim_end().to_owned()))
            }
            '"' => self.quoted().map(Token::Text),
            '$' => self.name("a variable's name").map(Token::Variable),
            '?' => self.name("a name for what is captured").map(Token::Capture),
            '@' => self.name("a connection's name").map(Token::Conn),
            '[' => self.tag(),
            c if c.is_ascii_digit() => self.number(),
            c if is_word_start(c) => self.word(),
            _ => self.symbol(c),
        }
    }

    fn symbol(&mut self, c: char) -> Result<Token, NotationError> {
        let start = self.at;
        if let Some(symbol) = SYMBOLS.iter().find(|symbol| self.rest().starts_with(**symbol)) {
            self.at += symbol.len();
            return Ok(Token::Symbol(symbol));
        }
        self.at += c.len_utf8();
        let shown = c.escape_debug();
        let error = NotationError::new(
            self.span_from(start),
            format!("unexpected `{shown}`"),
            "not part of the notation",
        );
        Err(match c {
            ']' => error.help("a tag is written `[requirement-id]`, without blanks"),
            '!' => error.help("`not` negates an expression, `!=` compares"),
            '&' => error.help("write `and`"),
            '|' => error.help("write `or`"),
            '\'' => error.help("texts are written in double quotes"),
            _ => error,
        })
    }

    /// The name after `$`, `?` or `@`.
    fn name(&mut self, wanted: &str) -> Result<String, NotationError> {
        let start = self.at;
        self.at += 1;
        let name = self.take_while(is_word_char);
        if name.is_empty() {
            let sign = &self.text[start..self.at];
            let error = NotationError::new(
                self.span_from(start),
                format!("`{sign}` without a name"),
                format!("expected {wanted}"),
            );
            return Err(error);
        }
        Ok(name.to_owned())
    }

    fn tag(&mut self) -> Result<Token, NotationError> {
        let start = self.at;
        self.at += 1;
        let inner = self.take_while(|c| !matches!(c, ']' | '\n' | '#' | '[' | '{' | '}'));
        if !self.rest().starts_with(']') {
            return Err(NotationError::new(
                self.span_from(start),
                "a tag that is not closed",
                "expected `]` after the requirement's id",
            ));
        }
        self.at += 1;
        let id = inner.trim();
        if id.is_empty() || !id.chars().all(|c| is_word_char(c) || c == '-') {
            let error = NotationError::new(
                self.span_from(start),
                format!("`[{inner}]` is not a tag"),
                "expected the id of one requirement",
            );
            return Err(error.help("several tags are written `[one] [two]`"));
        }
        Ok(Token::Tag(id.to_owned()))
    }

    fn number(&mut self) -> Result<Token, NotationError> {
        let start = self.at;
        let hex = self.rest().starts_with("0x");
        if hex {
            self.at += 2;
        }
        let digits =
            self.take_while(|c| if hex { c.is_ascii_hexdigit() } else { c.is_ascii_digit() });
        let unit = self.take_while(is_word_char);
        let too_large =
            |span| NotationError::new(span, "this number is too large", "more than 64 bits");
        let radix = if hex { 16 } else { 10 };
        if digits.is_empty() {
            return Err(NotationError::new(
                self.span_from(start),
                "`0x` without digits",
                "expected hexadecimal digits",
            ));
        }
        let number =
            u64::from_str_radix(digits, radix).map_err(|_| too_large(self.span_from(start)))?;
        let unit_span = Span { start: self.at - unit.len(), end: self.at };
        let scaled =
            |scale: u64| number.checked_mul(scale).ok_or_else(|| too_large(self.span_from(start)));
        if unit.is_empty() {
            Ok(Token::Number(number))
        } else if hex {
            Err(NotationError::new(
                unit_span,
                format!("`{unit}` after a hexadecimal number"),
                "not a hexadecimal digit",
            ))
        } else if let Some(scale) = units::scale(unit, &units::SIZES) {
            scaled(scale).map(Token::Number)
        } else if let Some(scale) = units::scale(unit, &units::TIMES) {
            scaled(scale).map(|nanoseconds| Token::Duration(Duration::from_nanos(nanoseconds)))
        } else {
            let known = units::SIZES.iter().chain(&units::TIMES).map(|(name, _)| *name);
            Err(NotationError::new(
                unit_span,
                format!("unknown unit `{unit}`"),
                "expected KiB, MiB, GiB, TiB, ns, us, ms or s",
            )
            .maybe_help(did_you_mean(unit, known)))
        }
    }

    /// A word; hyphens join its parts.
    fn word(&mut self) -> Result<Token, NotationError> {
        let start = self.at;
        self.take_while(is_word_char);
        while let Some(rest) = self.rest().strip_prefix('-')
            && rest.starts_with(|c: char| c.is_ascii_alphanumeric())
        {
            self.at += 1;
            self.take_while(is_word_char);
        }
        match &self.text[start..self.at] {
            "_" => Ok(Token::Symbol("_")),
            "hex" if self.rest().starts_with('"') => self.hex(start).map(Token::Hex),
            "digest" if self.rest().starts_with('(') => self.digest(start).map(Token::Digest),
            word => Ok(Token::Word(word.to_owned())),
        }
    }

    /// What stands between the quotes that begin here, which are taken too.
    fn quoted_inner(&mut self) -> Result<&'a str, NotationError> {
        let start = self.at;
        let rest = self.rest();
        let mut escaped = false;
        for (at, c) in rest.char_indices().skip(1) {
            match c {
                '\n' => break,
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => {
                    self.at += at + 1;
                    return Ok(&rest[1..at]);
                }
                _ => {}
            }
        }
        self.take_while(|c| c != '\n');
        Err(NotationError::new(
            self.span_from(start),
            "a text that is not closed",
            "expected `\"` before the end of the line",
        ))
    }

    fn quoted(&mut self) -> Result<WireString, NotationError> {
        let inner_start = self.at + 1;
        let inner = self.quoted_inner()?;
        unescape(inner).map_err(|at| {
            let start = inner_start + at;
            let length = inner[at..].chars().take(2).map(char::len_utf8).sum::<usize>();
            NotationError::new(
                Span { start, end: start + length },
                "unknown escape",
                "no such escape",
            )
            .help(r#"known are \\ \" \n \t \r \0 \x1f \u{1f}"#)
        })
    }

    fn hex(&mut self, start: usize) -> Result<Vec<u8>, NotationError> {
        let inner = self.quoted_inner()?;
        let digits: Vec<u8> = inner.bytes().filter(|b| *b != b' ').collect();
        let byte = |pair: &[u8]| match pair {
            [high, low] => {
                let digit = |b: u8| char::from(b).to_digit(16);
                u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()
            }
            _ => None,
        };
        digits.chunks(2).map(byte).collect::<Option<Vec<u8>>>().ok_or_else(|| {
            NotationError::new(
                self.span_from(start),
                "these are not bytes",
                "expected pairs of hexadecimal digits",
            )
            .help("write `hex\"de ad be ef\"`")
        })
    }

    fn digest(&mut self, start: usize) -> Result<u64, NotationError> {
        self.at += 1;
        let digits = self.take_while(|c| c.is_ascii_hexdigit());
        let closed = self.rest().starts_with(')');
        self.at += usize::from(closed);
        match u64::from_str_radix(digits, 16) {
            Ok(digest) if closed => Ok(digest),
            _ => Err(NotationError::new(
                self.span_from(start),
                "not a digest",
                "expected up to 16 hexadecimal digits and `)`",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<Token> {
        let (lexemes, errors) = lex(text);
        assert_eq!(errors, []);
        lexemes.into_iter().map(|lexeme| lexeme.token).collect()
    }

    #[test]
    fn hyphens_join_words_but_not_variables() {
        let word = |w: &str| Token::Word(w.to_owned());
        assert_eq!(tokens("effect-length"), [word("effect-length"), Token::End]);
        assert_eq!(
            tokens("$size-512"),
            [Token::Variable("size".into()), Token::Symbol("-"), Token::Number(512), Token::End]
        );
    }

    #[test]
    fn units_multiply() {
        assert_eq!(tokens("64KiB")[0], Token::Number(65536));
        assert_eq!(tokens("0x1f")[0], Token::Number(31));
        assert_eq!(tokens("100ms")[0], Token::Duration(Duration::from_millis(100)));
        assert_eq!(tokens("0..8")[1], Token::Symbol(".."));
    }

    #[test]
    fn payload_literals_are_one_token() {
        assert_eq!(tokens("hex\"de ad\"")[0], Token::Hex(vec![0xde, 0xad]));
        assert_eq!(tokens("digest(00ff)")[0], Token::Digest(255));
    }

    #[test]
    fn a_hash_in_a_text_is_no_comment() {
        assert_eq!(tokens("\"a#b\"")[0], Token::Text("a#b".into()));
    }

    #[test]
    fn tells_each_mistake_and_goes_on() {
        let (lexemes, errors) =
            lex("1kib \"open\n0x ! 99999999999999999999 [a b] \"\\q\" hex\"1\"");
        let told: Vec<&str> = errors.iter().map(|error| error.message.as_str()).collect();
        assert_eq!(
            told,
            [
                "unknown unit `kib`",
                "a text that is not closed",
                "`0x` without digits",
                "unexpected `!`",
                "this number is too large",
                "`[a b]` is not a tag",
                "unknown escape",
                "these are not bytes",
            ]
        );
        assert_eq!(lexemes.len(), 2);
        assert_eq!(errors[0].help.as_deref(), Some("did you mean `KiB`?"));
    }

    proptest::proptest! {
        #[test]
        fn never_panics_and_spans_are_in_order(text: String) {
            let (lexemes, _) = lex(&text);
            let mut at = 0;
            for lexeme in lexemes {
                assert!(at <= lexeme.span.start && lexeme.span.end <= text.len());
                assert!(text.is_char_boundary(lexeme.span.start) && text.is_char_boundary(lexeme.span.end));
                at = lexeme.span.end;
            }
        }
    }
}
