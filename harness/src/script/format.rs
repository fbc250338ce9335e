//! The canonical form of a script. Lines stay lines; what is made uniform is blanks, indentation,
//! the places of braces, tags and comments, and the header.

use std::sync::Arc;

use protocol::notation::lexer::{Lexeme, Token, lex};

use super::ast::Source;
use super::error::ScriptError;
use super::{body, header};

/// How deep a block is indented.
const INDENT: usize = 2;
/// Where the values of the header begin.
const VALUES: usize = 9;
/// Header lines are wrapped to this width.
const WIDTH: usize = 100;
/// Where tags begin.
const TAGS: usize = 80;
/// Where comments after a line begin, if the line leaves room.
const COMMENTS: usize = 50;

/// The script in canonical form; what is in it already stays as it is.
///
/// # Errors
/// Every mistake of grammar: what can't be read can't be formatted.
pub fn format(path: &str, text: &str) -> Result<String, Vec<ScriptError>> {
    let source = Arc::new(Source::new(path, text));
    let mut errors = Vec::new();
    let (lines, start) = header::split(&source, &mut errors);
    header::read(&source, &lines, &mut errors);
    let body = body::read(&source, start, &mut errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut out = String::new();
    lines.iter().for_each(|line| header_line(line, &mut out));
    let body = Body::new(&text[start..], &body.blocks, start).format();
    if !body.is_empty() {
        out.push('\n');
        out.push_str(&body);
    }
    Ok(out)
}

fn header_line(line: &header::Line, out: &mut String) {
    match line {
        header::Line::Comment(comment) => out.push_str(comment),
        header::Line::Entry(entry, comment) => {
            let key = format!("{}:", entry.key.node);
            // The first line is a mark, not a part of the table.
            let column = if key == "nbd:" { key.len() + 1 } else { VALUES };
            out.push_str(&format!("{key:column$}"));
            let mut at = column;
            for (index, word) in entry.words.iter().enumerate() {
                let width = word.node.chars().count();
                if index > 0 && at + 1 + width > WIDTH {
                    out.push('\n');
                    out.push_str(&" ".repeat(column));
                    at = column;
                } else if index > 0 {
                    out.push(' ');
                    at += 1;
                }
                out.push_str(&word.node);
                at += width;
            }
            if let Some(comment) = comment {
                place(out, at, comment);
            }
        }
    }
    out.push('\n');
}

/// Puts a comment after a line of this width.
fn place(out: &mut String, width: usize, comment: &str) {
    let column =
        [COMMENTS, TAGS].into_iter().find(|column| width + 2 <= *column).unwrap_or(width + 2);
    out.push_str(&" ".repeat(column - width));
    out.push_str(comment);
}

/// A brace of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Brace {
    Open,
    Close,
}

struct Body<'a> {
    text: &'a str,
    lexemes: Vec<Lexeme>,
    /// The places of braces of blocks, and whether their block fills more than a line.
    braces: Vec<(usize, Brace, bool)>,
    out: String,
    depth: usize,
    /// The line that is being written.
    line: Vec<Lexeme>,
    /// Empty lines stand before it.
    blank: bool,
    /// The line before it opened a block, after which no empty line stands.
    opened: bool,
}

impl<'a> Body<'a> {
    fn new(text: &'a str, blocks: &[(usize, usize)], start: usize) -> Self {
        let mut braces = Vec::new();
        for (open, close) in blocks.iter().map(|(open, close)| (open - start, close - start)) {
            let many = text[open..close].contains('\n');
            braces.push((open, Brace::Open, many));
            braces.push((close, Brace::Close, many));
        }
        braces.sort_by_key(|(at, ..)| *at);
        let (lexemes, _) = lex(text);
        Self {
            text,
            lexemes,
            braces,
            out: String::new(),
            depth: 0,
            line: Vec::new(),
            blank: false,
            opened: false,
        }
    }

    fn brace(&self, lexeme: &Lexeme) -> Option<(Brace, bool)> {
        let at = lexeme.span.start;
        let index = self.braces.binary_search_by_key(&at, |(at, ..)| *at).ok()?;
        Some((self.braces[index].1, self.braces[index].2))
    }

    fn format(mut self) -> String {
        let lexemes = std::mem::take(&mut self.lexemes);
        for (index, lexeme) in lexemes.iter().enumerate() {
            let brace = self.brace(lexeme);
            match &lexeme.token {
                Token::Newline | Token::End => {
                    if self.line.is_empty() && !self.opened {
                        self.blank |= index == 0 || lexemes[index - 1].token == Token::Newline;
                    }
                    let or_follows = self.joins(&lexemes[index..]);
                    if !or_follows {
                        self.end_line();
                    }
                }
                _ if brace == Some((Brace::Close, true)) => {
                    self.end_line();
                    self.blank = false;
                    self.depth = self.depth.saturating_sub(1);
                    self.line.push(lexeme.clone());
                }
                _ => {
                    let after_close = match (self.line.last(), &lexeme.token) {
                        (Some(last), Token::Word(word)) if word == "or" => self.brace(last),
                        _ => None,
                    };
                    // A branch on one line stands on its own.
                    if after_close == Some((Brace::Close, false)) {
                        self.end_line();
                    }
                    self.line.push(lexeme.clone());
                    if brace == Some((Brace::Open, true)) {
                        let comment = matches!(
                            lexemes.get(index + 1).map(|next| &next.token),
                            Some(Token::Comment(_))
                        );
                        if !comment {
                            self.end_line();
                        }
                        self.depth += 1;
                    }
                }
            }
        }
        self.end_line();
        self.out
    }

    /// Whether the line, which is the end of a long branch, goes on with the `or` that comes next.
    fn joins(&self, rest: &[Lexeme]) -> bool {
        let next = rest.iter().find(|lexeme| lexeme.token != Token::Newline);
        let is_or = matches!(next.map(|next| &next.token), Some(Token::Word(word)) if word == "or");
        let closed = self.line.last().and_then(|last| self.brace(last));
        is_or && self.line.len() == 1 && closed == Some((Brace::Close, true))
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let Some(first) = line.first() else { return };
        if self.blank && !self.out.is_empty() {
            self.out.push('\n');
        }
        self.blank = false;
        // An opening brace has deepened already when its comment is written.
        let opens = line.iter().any(|lexeme| self.brace(lexeme) == Some((Brace::Open, true)));
        self.opened = opens;
        let comment_after_brace =
            opens && matches!(line.last().map(|l| &l.token), Some(Token::Comment(_)));
        let depth = self.depth - usize::from(comment_after_brace);
        let indent = " ".repeat(depth * INDENT);
        if let Token::Comment(comment) = &first.token {
            self.out.push_str(&format!("{indent}{comment}\n"));
            return;
        }
        let (code, tags, comment) = parts(&line);
        let mut text = indent;
        let mut style = Style::of(code);
        for (index, lexeme) in code.iter().enumerate() {
            if index > 0 && self.spaced(&code[index - 1], lexeme, &mut style) {
                text.push(' ');
            }
            text.push_str(&self.text[lexeme.span.start..lexeme.span.end]);
            style.pass(lexeme, self.brace(lexeme).is_some());
        }
        for (index, tag) in tags.iter().enumerate() {
            let width = text.chars().count();
            let column = if index == 0 { TAGS.max(width + 1) } else { width + 1 };
            text.push_str(&" ".repeat(column - width));
            if let Token::Tag(id) = &tag.token {
                text.push_str(&format!("[{id}]"));
            }
        }
        if let Some(comment) = comment {
            let width = text.chars().count();
            place(&mut text, width, comment);
        }
        self.out.push_str(&text);
        self.out.push('\n');
    }

    /// Whether a blank stands between two tokens of a line.
    fn spaced(&self, last: &Lexeme, next: &Lexeme, style: &mut Style) -> bool {
        let symbol = |lexeme: &Lexeme| match lexeme.token {
            Token::Symbol(symbol) => Some(symbol),
            _ => None,
        };
        let brace = |lexeme: &Lexeme| self.brace(lexeme).is_some();
        if brace(last) || brace(next) {
            // Only an empty block on one line has nothing between its braces.
            return !(brace(last)
                && brace(next)
                && symbol(last) == Some("{")
                && symbol(next) == Some("}"));
        }
        match (symbol(last), symbol(next)) {
            (Some("++"), _) | (_, Some("++")) => true,
            (Some("{" | "("), _) | (_, Some("}" | ")" | ",")) => false,
            (Some(","), _) => true,
            // Outside sets only the side's colon stands.
            (Some(":"), _) => style.sets == 0,
            (_, Some(":")) | (Some(".."), _) | (_, Some("..")) => false,
            (Some("--"), _) => true,
            _ if style.sets > 0 => next.spaced,
            (Some(sign), _) | (_, Some(sign)) if is_operator(sign) => style.free(sign, next),
            (_, Some("(")) => next.spaced || is_connective(last),
            _ => !(matches!(next.token, Token::Conn(_)) && is_side(last)),
        }
    }
}

fn is_operator(sign: &str) -> bool {
    matches!(sign, "=" | "==" | "!=" | "<" | "<=" | ">" | ">=" | "+" | "-" | "*" | "/" | "%")
}

fn is_connective(lexeme: &Lexeme) -> bool {
    let words = ["check", "and", "or", "not", "has", "lacks"];
    matches!(&lexeme.token, Token::Word(word) if words.contains(&word.as_str()))
}

fn is_side(lexeme: &Lexeme) -> bool {
    matches!(&lexeme.token, Token::Word(word) if word == "C" || word == "S")
}

/// Code, tags at its end, and a comment.
fn parts(line: &[Lexeme]) -> (&[Lexeme], &[Lexeme], Option<&str>) {
    let (line, comment) = match line.split_last() {
        Some((Lexeme { token: Token::Comment(comment), .. }, rest)) => {
            (rest, Some(comment.as_str()))
        }
        _ => (line, None),
    };
    let is_tag = |lexeme: &&Lexeme| matches!(lexeme.token, Token::Tag(_));
    let tags = line.iter().rev().take_while(is_tag).count();
    let (code, tags) = line.split_at(line.len() - tags);
    (code, tags, comment)
}

/// What the tokens of a line so far say about the next blank.
struct Style {
    /// A message line, whose operators have no blanks; in `check` they have.
    is_line: bool,
    /// How many sets are open.
    sets: usize,
    /// Inside the count of a payload's part in `check`, whose operators have no blanks.
    count: bool,
    /// The last token could end a part's pattern: `zero`, `any`, `)`, a digest.
    pattern: bool,
}

impl Style {
    fn of(code: &[Lexeme]) -> Self {
        let word = |at: usize, text: &str| matches!(code.get(at).map(|l| &l.token), Some(Token::Word(word)) if word == text);
        let is_check = word(0, "check") || word(0, "should") && word(1, "check");
        Self { is_line: !is_check, sets: 0, count: false, pattern: false }
    }

    fn pass(&mut self, lexeme: &Lexeme, is_block: bool) {
        self.count &= !lexeme.spaced;
        match &lexeme.token {
            Token::Symbol("{") if !is_block => self.sets += 1,
            Token::Symbol("}") if !is_block => self.sets = self.sets.saturating_sub(1),
            Token::Word(word) if word == "check" => self.is_line = false,
            Token::Word(word) if word == "C" || word == "S" => self.is_line = true,
            _ => {}
        }
        if lexeme.token == Token::Symbol("*") && self.pattern && !lexeme.spaced {
            self.count = true;
        }
        self.pattern = match &lexeme.token {
            Token::Digest(_) | Token::Symbol(")") => true,
            Token::Word(word) => word == "zero" || word == "any",
            _ => false,
        };
    }

    /// Whether blanks stand around this operator.
    fn free(&mut self, sign: &str, next: &Lexeme) -> bool {
        if self.is_line {
            return false;
        }
        if self.count && next.spaced {
            self.count = false;
        }
        let begins_count = sign == "*" && self.pattern && !next.spaced;
        !self.count && !begins_count
    }
}
