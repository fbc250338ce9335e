//! The header of a script: `key: value` lines up to the first blank line.

use std::sync::Arc;

use protocol::message::Side;
use protocol::nearest::did_you_mean;
use protocol::notation::ast::{Expr, Op, Span, Spanned};
use protocol::notation::lexer::{Token, lex};
use protocol::notation::parser::Parser;

use super::ast::{Header, Need, Source, Version};
use super::error::ScriptError;

/// Every key, in canonical order.
pub(super) const KEYS: &[&str] = &[
    "nbd", "title", "since", "feature", "tests", "needs", "export", "checks", "beyond", "timeout",
    "hazard", "action",
];

/// `key: value`, with the lines that continue it.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: Spanned<String>,
    /// The words of the value, comments left out.
    pub(super) words: Vec<Spanned<String>>,
}

impl Entry {
    /// The value as one text.
    fn text(&self) -> Spanned<String> {
        let words: Vec<&str> = self.words.iter().map(|word| word.node.as_str()).collect();
        Spanned::new(words.join(" "), self.value_span())
    }

    /// Where the value stands.
    fn value_span(&self) -> Span {
        match (self.words.first(), self.words.last()) {
            (Some(first), Some(last)) => Span { start: first.span.start, end: last.span.end },
            _ => Span { start: self.key.span.end, end: self.key.span.end },
        }
    }
}

/// A line of the header, for the formatter too.
#[derive(Debug, Clone)]
pub(super) enum Line {
    /// A line that is only a comment.
    Comment(String),
    /// The entry that begins here; a comment at its end.
    Entry(Entry, Option<String>),
}

/// Splits the header into entries; gives where the body begins as well.
pub(super) fn split(source: &Arc<Source>, errors: &mut Vec<ScriptError>) -> (Vec<Line>, usize) {
    let mut lines: Vec<Line> = Vec::new();
    let mut at = 0;
    for line in source.text.split_inclusive('\n') {
        let start = at;
        at += line.len();
        if line.trim().is_empty() {
            // Blank lines above the header mean nothing.
            if lines.is_empty() {
                continue;
            }
            return (lines, at);
        }
        header_line(source, line, start, &mut lines, errors);
    }
    (lines, at)
}

fn header_line(
    source: &Arc<Source>,
    line: &str,
    start: usize,
    lines: &mut Vec<Line>,
    errors: &mut Vec<ScriptError>,
) {
    let (code, comment) = split_comment(line);
    if code.trim().is_empty() {
        lines.push(Line::Comment(comment.unwrap_or_default()));
        return;
    }
    let span = Span { start, end: start + code.trim_end().len() };
    if code.starts_with([' ', '\t']) {
        let Some(Line::Entry(entry, old_comment)) =
            lines.iter_mut().rev().find(|line| matches!(line, Line::Entry(..)))
        else {
            errors.push(ScriptError::new(
                source,
                span,
                "a continuation of nothing",
                "begins with blanks",
            ));
            return;
        };
        entry.words.extend(words(code, start));
        *old_comment = old_comment.take().or(comment);
        return;
    }
    match code.split_once(':') {
        Some((key, value)) if !key.contains(char::is_whitespace) && key != "C" && key != "S" => {
            let key_span = Span { start, end: start + key.len() };
            let entry = Entry {
                key: Spanned::new(key.to_owned(), key_span),
                words: words(value, start + key.len() + 1),
            };
            lines.push(Line::Entry(entry, comment));
        }
        _ => errors.push(
            ScriptError::new(source, span, "this is not a header line", "expected `key: value`")
                .help("an empty line separates the header from the body"),
        ),
    }
}

/// A comment begins with `#` at the start of a line or after a blank.
fn split_comment(line: &str) -> (&str, Option<String>) {
    let begins = |at: &usize| *at == 0 || line[..*at].ends_with([' ', '\t']);
    match line.match_indices('#').map(|(at, _)| at).find(begins) {
        Some(at) => (&line[..at], Some(line[at..].trim_end().to_owned())),
        None => (line, None),
    }
}

fn words(text: &str, start: usize) -> Vec<Spanned<String>> {
    text.split_whitespace()
        .map(|word| {
            // Both are parts of one text, so the distance is the word's place.
            let at = start + (word.as_ptr() as usize - text.as_ptr() as usize);
            Spanned::new(word.to_owned(), Span { start: at, end: at + word.len() })
        })
        .collect()
}

/// Reads the header's entries; `None` if what a header must have is missing or wrong.
pub(super) fn read(
    source: &Arc<Source>,
    lines: &[Line],
    errors: &mut Vec<ScriptError>,
) -> Option<Header> {
    let mut reader = Reader { source, entries: Vec::new(), errors };
    for line in lines {
        if let Line::Entry(entry, _) = line {
            reader.add(entry);
        }
    }
    reader.header()
}

struct Reader<'a> {
    source: &'a Arc<Source>,
    entries: Vec<&'a Entry>,
    errors: &'a mut Vec<ScriptError>,
}

impl<'a> Reader<'a> {
    fn error(&mut self, span: Span, message: impl Into<String>, label: impl Into<String>) {
        self.errors.push(ScriptError::new(self.source, span, message, label));
    }

    fn add(&mut self, entry: &'a Entry) {
        let key = &entry.key;
        if !KEYS.contains(&key.node.as_str()) {
            let help = did_you_mean(&key.node, KEYS.iter().copied())
                .unwrap_or_else(|| format!("the keys are {}", KEYS.join(", ")));
            let error = ScriptError::new(
                self.source,
                key.span,
                format!("unknown key `{}`", key.node),
                "not a key of the header",
            );
            self.errors.push(error.help(help));
            return;
        }
        if let Some(first) = self.entries.iter().find(|entry| entry.key == *key) {
            let error = ScriptError::new(
                self.source,
                key.span,
                format!("`{}` twice", key.node),
                "again here",
            )
            .related(first.key.span, "first here");
            self.errors.push(error);
            return;
        }
        if entry.words.is_empty() {
            self.error(key.span, format!("`{}` without a value", key.node), "expected a value");
        }
        self.entries.push(entry);
    }

    fn entry(&self, key: &str) -> Option<&'a Entry> {
        self.entries.iter().find(|entry| entry.key.node == key).copied()
    }

    fn text(&self, key: &str) -> Option<Spanned<String>> {
        self.entry(key).map(Entry::text)
    }

    fn required(&mut self, key: &str) -> Option<Spanned<String>> {
        let text = self.text(key);
        if text.is_none() {
            let end = self.source.text.find('\n').unwrap_or(self.source.text.len());
            let error = ScriptError::new(
                self.source,
                Span { start: 0, end },
                format!("the header has no `{key}`"),
                "in this header",
            );
            self.errors.push(error.help(match key {
                "nbd" => "the first line is `nbd: 1`, the version of the notation",
                "title" => "say in one sentence what the scenario shows",
                "since" => "name the qemu version that brought the feature: `since: 2.10`",
                "feature" => {
                    "name the feature that the summary counts this under: `feature: NBD_OPT_GO`"
                }
                _ => "say who is under test: `tests: server` or `tests: client`",
            }));
        }
        text
    }

    fn header(mut self) -> Option<Header> {
        if let Some(version) = self.required("nbd")
            && version.node != "1"
        {
            self.error(
                version.span,
                format!("unknown version `{}` of the notation", version.node),
                "expected 1",
            );
        }
        let title = self.required("title");
        let since = self.required("since").and_then(|text| self.version(text));
        let feature = self.required("feature");
        let tests = self.required("tests").and_then(|text| self.tests(&text));
        let needs = self.entry("needs").map_or(&[][..], |entry| &entry.words);
        let needs = needs.iter().filter_map(|word| self.need(word)).collect();
        let timeout = self.text("timeout").and_then(|text| match &lex(&text.node).0[..] {
            [one, _] if let Token::Duration(timeout) = one.token => Some(timeout),
            _ => {
                self.error(
                    text.span,
                    format!("`{}` is not a duration", text.node),
                    "expected `5s` or `500ms`",
                );
                None
            }
        });
        Some(Header {
            title: title?,
            since: since?,
            feature: feature?,
            tests: tests?,
            needs,
            export: self.text("export"),
            checks: self.entry("checks").map(|entry| entry.words.clone()).unwrap_or_default(),
            beyond: self.entry("beyond").map(|entry| entry.words.clone()).unwrap_or_default(),
            timeout,
            hazard: self.text("hazard"),
            action: self.text("action"),
        })
    }

    fn version(&mut self, text: Spanned<String>) -> Option<Spanned<Version>> {
        match text.node.parse() {
            Ok(version) => Some(Spanned::new(version, text.span)),
            Err(error) => {
                self.error(text.span, format!("{error}"), "expected a version of qemu");
                None
            }
        }
    }

    fn tests(&mut self, text: &Spanned<String>) -> Option<Side> {
        match text.node.as_str() {
            "server" => Some(Side::Server),
            "client" => Some(Side::Client),
            other => {
                self.error(
                    text.span,
                    format!("`{other}` can't be tested"),
                    "expected `server` or `client`",
                );
                None
            }
        }
    }

    /// `write`, `size>=192KiB`, `tls=forced`.
    fn need(&mut self, word: &Spanned<String>) -> Option<Need> {
        let text = word.node.as_str();
        let end = text.find(['<', '>', '=', '!']).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        let name_span = Span { start: word.span.start, end: word.span.start + end };
        let name = Spanned::new(name.to_owned(), name_span);
        if rest.is_empty() {
            return Some(Need { name, condition: None });
        }
        const OPS: &[(&str, Op)] = &[
            ("==", Op::Eq),
            ("!=", Op::Ne),
            ("<=", Op::Le),
            (">=", Op::Ge),
            ("<", Op::Lt),
            (">", Op::Gt),
            ("=", Op::Eq),
        ];
        let value = OPS
            .iter()
            .find_map(|(sign, op)| Some((*op, end + sign.len(), rest.strip_prefix(sign)?)));
        if name.node == "context"
            && let Some(context) = rest.strip_prefix('=')
            && !context.is_empty()
        {
            let span = Span { start: word.span.start + end + 1, end: word.span.end };
            let expr = Spanned::new(Expr::Text(context.into()), span);
            return Some(Need { name, condition: Some((Op::Eq, expr)) });
        }
        let value = value.and_then(|(op, at, value)| {
            // The places are those of the whole text.
            let padded = format!("{}{value}", " ".repeat(word.span.start + at));
            let (mut parser, mistakes) = Parser::new(&padded);
            let expr = parser.value().ok()?;
            (mistakes.is_empty() && parser.expect_end().is_ok()).then_some((op, expr))
        });
        match value {
            Some((op, expr)) => Some(Need { name, condition: Some((op, expr)) }),
            _ => {
                self.errors.push(
                    ScriptError::new(
                        self.source,
                        word.span,
                        format!("`{text}` is not a need"),
                        "expected a comparison with a value",
                    )
                    .help("write it without blanks: `size>=192KiB`"),
                );
                None
            }
        }
    }
}
