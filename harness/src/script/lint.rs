//! What a script should not be, although it could be played.

use std::collections::BTreeSet;
use std::sync::Arc;

use protocol::message::Side;
use protocol::notation::ast::{Expr, MessageLine, Op, Span, Spanned, Word};
use protocol::requirements::{self, Level};

use super::ast::{
    Event, Replies, Script, Serve, Source, Statement, StatementKind, TlsKind, Version,
};
use super::check::{Relation, relate};
use super::error::ScriptError;
use super::oversteps::{Overstep, oversteps};
use super::walk;

/// The words of scripts that a version of qemu brought.
const SINCE: &[(Version, &[&str])] = &[
    (version(2, 6), &["NBD_OPT_STARTTLS", "tls"]),
    (version(2, 8), &["NBD_CMD_WRITE_ZEROES", "SEND_WRITE_ZEROES", "NO_HOLE"]),
    (version(2, 10), &["NBD_OPT_GO", "NBD_OPT_INFO", "block-size"]),
    (
        version(2, 11),
        &[
            "NBD_OPT_STRUCTURED_REPLY",
            "structured",
            "SEND_DF",
            "DF",
            "NBD_REPLY_TYPE_NONE",
            "NBD_REPLY_TYPE_OFFSET_DATA",
            "NBD_REPLY_TYPE_OFFSET_HOLE",
            "NBD_REPLY_TYPE_ERROR",
            "NBD_REPLY_TYPE_ERROR_OFFSET",
        ],
    ),
    (
        version(2, 12),
        &[
            "NBD_OPT_LIST_META_CONTEXT",
            "NBD_OPT_SET_META_CONTEXT",
            "context",
            "NBD_CMD_BLOCK_STATUS",
            "NBD_REPLY_TYPE_BLOCK_STATUS",
            "REQ_ONE",
        ],
    ),
    (version(3, 0), &["NBD_CMD_CACHE", "SEND_CACHE", "psk"]),
    (version(4, 2), &["SEND_FAST_ZERO", "FAST_ZERO", "CAN_MULTI_CONN"]),
    (
        version(8, 2),
        &[
            "NBD_OPT_EXTENDED_HEADERS",
            "extended",
            "BLOCK_STATUS_PAYLOAD",
            "PAYLOAD_LEN",
            "NBD_REPLY_TYPE_BLOCK_STATUS_EXT",
        ],
    ),
];

/// The commands that change an export.
const WRITES: &[&str] = &["NBD_CMD_WRITE", "NBD_CMD_TRIM", "NBD_CMD_WRITE_ZEROES"];

const fn version(major: u16, minor: u16) -> Version {
    Version { major, minor }
}

/// Advice about a script that [`super::check`] has nothing against, in the order of lines. The
/// embedded scripts are free of it.
#[must_use]
pub fn lint(script: &Script) -> Vec<ScriptError> {
    let mut linter = Linter { script, advice: Vec::new() };
    linter.ids();
    linter.captures();
    linter.writes();
    linter.since();
    linter.action();
    linter.order();
    linter.greetings();
    linter.limits();
    linter.sizes();
    linter.levels();
    let mut advice = linter.advice;
    advice.sort_by_key(|error| error.span.start);
    advice
}

/// The word of a script that the youngest version of qemu brought, and that version; `None` if they
/// have all been there always. Only lines that are played whatever comes are looked at.
#[must_use]
pub fn youngest(script: &Script) -> Option<(Version, &str, Span)> {
    let mut found: Vec<(Version, &str, Span)> = Vec::new();
    let mut look = |word, span| {
        let born = SINCE.iter().find(|(_, words)| words.contains(&word));
        found.extend(born.map(|(born, _)| (*born, word, span)));
    };
    for need in &script.header.needs {
        look(&need.name.node, need.name.span);
    }
    Linter::sure(&script.body, &mut look);
    // The first of those that are equally young.
    found.into_iter().rev().max_by_key(|(born, ..)| *born)
}

struct Linter<'s> {
    script: &'s Script,
    advice: Vec<ScriptError>,
}

impl<'s> Linter<'s> {
    fn advise(
        &mut self,
        span: Span,
        message: impl Into<String>,
        label: &str,
        help: impl Into<String>,
    ) {
        let source: &Arc<Source> = &self.script.source;
        let error = ScriptError::new(source, span, message, label).help(help).as_advice();
        self.advice.push(error);
    }

    fn each(&self) -> Vec<&'s Statement> {
        let mut all = Vec::new();
        walk::statements(&self.script.body, &mut |statement| all.push(statement));
        all
    }

    fn lines(&self) -> Vec<&'s MessageLine> {
        self.each().into_iter().filter_map(walk::line).collect()
    }

    fn ids(&mut self) {
        let tagged = self.script.requirements();
        for id in &self.script.header.checks {
            if !tagged.contains(id.node.as_str()) {
                let message = format!("no line is tagged with `{}`", id.node);
                self.advise(
                    id.span,
                    message,
                    "promised here",
                    format!("tag the line that shows it with `[{}]`", id.node),
                );
            }
        }
        let checks: BTreeSet<&str> =
            self.script.header.checks.iter().map(|id| id.node.as_str()).collect();
        let mut told = BTreeSet::new();
        for id in walk::all_ids(self.script) {
            if !checks.contains(id.node.as_str()) && told.insert(&id.node) {
                let message = format!("`{}` is not in `checks`", id.node);
                self.advise(id.span, message, "tagged here", "add it to `checks` in the header");
            }
        }
    }

    fn captures(&mut self) {
        let mut captured: Vec<(&str, Span)> = Vec::new();
        let mut used = BTreeSet::new();
        for statement in self.each() {
            if let StatementKind::Given { variable, .. } = &statement.kind {
                used.insert(variable.node.as_str());
            }
            if let Some(line) = walk::line(statement) {
                for word in std::iter::once(&line.head).chain(&line.variant) {
                    if let Word::Variable(name) = &word.node {
                        used.insert(name);
                    }
                }
            }
            for whole in walk::exprs(statement) {
                walk::expr(whole, &mut |part| match &part.node {
                    Expr::Capture(name) => captured.push((name, part.span)),
                    Expr::Variable(name) => {
                        used.insert(name);
                    }
                    _ => {}
                });
            }
        }
        for (name, span) in captured {
            if !used.contains(name) {
                let message = format!("`${name}` is never used");
                self.advise(span, message, "captured here", "leave the field out, or write `_`");
            }
        }
    }

    fn writes(&mut self) {
        let header = &self.script.header;
        let allowed = header.tests == Side::Client
            || header
                .needs
                .iter()
                .any(|need| ["write", "read-only"].contains(&need.name.node.as_str()))
            || header.export.as_ref().is_some_and(|export| export.node == "read-only");
        if allowed {
            return;
        }
        let write = self.lines().into_iter().find_map(|line| match &line.head.node {
            Word::Name(name) if line.side == Side::Client && WRITES.contains(&name.as_str()) => {
                Some((name, line.head.span))
            }
            _ => None,
        });
        if let Some((name, span)) = write {
            let message = format!("`{name}` without `needs: write`");
            self.advise(
                span,
                message,
                "writes",
                "somebody's data may be at stake: say `needs: write`",
            );
        }
    }

    fn since(&mut self) {
        let since = self.script.header.since.node;
        if let Some((born, word, span)) = youngest(self.script).filter(|(born, ..)| *born > since) {
            let message = format!("`{word}` came with {born}, `since` says {since}");
            self.advise(span, message, "younger than the script", format!("write `since: {born}`"));
        }
    }

    /// The words of lines that are played whatever comes.
    fn sure(body: &'s [Statement], look: &mut impl FnMut(&'s str, Span)) {
        for statement in body {
            match &statement.kind {
                StatementKind::Event(event) => match &event.event {
                    Event::ToTransmission(Replies::Extended, _) => look("extended", event.span),
                    Event::ToTransmission(_, contexts) if !contexts.is_empty() => {
                        look("NBD_OPT_SET_META_CONTEXT", event.span);
                    }
                    Event::ToTransmission(Replies::Structured, _) => look("structured", event.span),
                    Event::Serve(serve) => Self::served(serve, event.span, look),
                    Event::Tls(tls) => {
                        let psk = tls.kind == Some(TlsKind::Psk);
                        look(if psk { "psk" } else { "tls" }, event.span);
                    }
                    _ => {}
                },
                StatementKind::Either(_)
                | StatementKind::Maybe(_)
                | StatementKind::Given { .. } => {
                    continue;
                }
                // It may take no round.
                StatementKind::Repeat { least, .. } if least.node == Expr::Int(0) => continue,
                _ => {}
            }
            if let Some(line) = walk::line(statement) {
                if let Word::Name(name) = &line.head.node {
                    look(name, line.head.span);
                }
                for field in &line.fields {
                    match &field.value.node {
                        Expr::Set(items) if field.key.node == "flags" => {
                            items.iter().for_each(|item| Self::item(item, look));
                        }
                        Expr::Name(name) if field.key.node == "form" => {
                            look(name, field.value.span)
                        }
                        _ => {}
                    }
                }
            }
            for block in walk::blocks(statement) {
                Self::sure(block, look);
            }
        }
    }

    fn served(serve: &'s Serve, span: Span, look: &mut impl FnMut(&'s str, Span)) {
        match serve.replies {
            Replies::Extended => look("extended", span),
            _ if serve.contexts.is_some() => look("NBD_OPT_SET_META_CONTEXT", span),
            Replies::Structured => look("structured", span),
            Replies::Default => {}
        }
        for field in &serve.fields {
            if let (Expr::Set(items), "flags") = (&field.value.node, field.key.node.as_str()) {
                items.iter().for_each(|item| Self::item(item, look));
            }
        }
    }

    fn item(item: &'s Spanned<Expr>, look: &mut impl FnMut(&'s str, Span)) {
        if let Expr::Name(name) = &item.node {
            look(name, item.span);
        }
    }

    fn action(&mut self) {
        let header = &self.script.header;
        match (&header.action, header.tests) {
            (None, Side::Client) => {
                let text = &self.script.source.text;
                let start = text.find("tests:").unwrap_or(0);
                let end = text[start..].find('\n').map_or(text.len(), |at| start + at);
                let help = "say what the client is to do: `action: info`";
                self.advise(
                    Span { start, end },
                    "a client is tested without `action`",
                    "nothing to do",
                    help,
                );
            }
            (Some(action), Side::Server) => {
                let span = action.span;
                self.advise(
                    span,
                    "`action` is for clients under test",
                    "a server acts on its own",
                    "leave it out",
                );
            }
            _ => {}
        }
    }

    /// A lawful server may refuse what is beyond its limits.
    fn limits(&mut self) {
        for Overstep { word, span, message } in oversteps(self.script) {
            let label = match word {
                "end" => "beyond the end of a small export",
                "minimum" => "not in whole blocks",
                "effect" => "longer than a server may like",
                _ => "more than a server takes at once",
            };
            let help = format!(
                "use `$block`, `$page`, `$maximum`, `$end`, or say what it needs: `size>=4*$block`; \
                 if the scenario is about just that, say `beyond: {word}`"
            );
            self.advise(span, message, label, help);
        }
    }

    /// The size of an export is the server's business.
    fn sizes(&mut self) {
        let named =
            self.script.header.needs.iter().any(|need| {
                need.name.node == "size" && matches!(&need.condition, Some((Op::Eq, _)))
            });
        if named || self.script.header.tests == Side::Client {
            return;
        }
        for line in self.lines().into_iter().filter(|line| line.side == Side::Server) {
            let about_export = match &line.head.node {
                Word::Name(name) => {
                    ["greeting", "export-info", "NBD_REP_INFO"].contains(&name.as_str())
                }
                _ => false,
            };
            for field in line.fields.iter().filter(|field| field.key.node == "size") {
                if about_export && matches!(&field.value.node, Expr::Int(_)) {
                    self.advise(
                        field.value.span,
                        "not every export is of this size",
                        "the size of one export",
                        "write `size=$size`, or need it: `needs: size==...`",
                    );
                }
            }
        }
    }

    /// What is a SHOULD is warned of, and a MUST fails: the level of a rule decides, so what a script
    /// calls a wish must be one, and whatever can fail names its rule.
    fn levels(&mut self) {
        for statement in self.each() {
            let (should, tags) = match &statement.kind {
                StatementKind::Message(line) => (line.should, &line.tags),
                StatementKind::Check { should, tags, .. } => {
                    if tags.is_empty() {
                        self.advise(
                            statement.span,
                            "it names no rule",
                            "what is broken if this is not true?",
                            "tag it with the rule that it shows: `[ID]`",
                        );
                    }
                    (*should, tags)
                }
                StatementKind::Either(branches) => {
                    for id in branches.iter().filter_map(|branch| branch.warn.as_ref()) {
                        self.wish(id, "either it is tolerated, `or { ... }`, or it is a failure");
                    }
                    continue;
                }
                _ => continue,
            };
            if !should {
                continue;
            }
            if tags.is_empty() {
                let message = "a wish that names no rule";
                let help = "tag it with the SHOULD that it shows: `[ID]`";
                self.advise(statement.span, message, "a warning of what?", help);
            }
            for id in tags {
                self.wish(id, "leave out `should`, or name the SHOULD that it shows");
            }
        }
    }

    /// What is called a wish is one in the catalogue.
    fn wish(&mut self, id: &Spanned<String>, help: &str) {
        if let Some(rule) = requirements::find(&id.node)
            && !matches!(rule.level, Level::Should | Level::ShouldNot)
        {
            let message = format!("`{}` is a {}, not a SHOULD", id.node, rule.level);
            self.advise(id.span, message, "warned of here", help);
        }
    }

    /// `fixed-newstyle` is the flag; `flags` are the others.
    fn greetings(&mut self) {
        for line in self.lines() {
            let is = |word: &Word, wanted: &[&str]| match word {
                Word::Name(name) => wanted.contains(&name.as_str()),
                _ => false,
            };
            let newstyle = is(&line.head.node, &["greeting"])
                && line
                    .variant
                    .as_ref()
                    .is_some_and(|v| is(&v.node, &["newstyle", "fixed-newstyle"]));
            for field in line.fields.iter().filter(|field| newstyle && field.key.node == "flags") {
                walk::expr(&field.value, &mut |part| {
                    if part.node == Expr::Name("FIXED_NEWSTYLE".to_owned()) {
                        self.advise(
                            part.span,
                            "`FIXED_NEWSTYLE` is expressed by the second word",
                            "never among these flags",
                            "write `fixed-newstyle`, and the other flags here",
                        );
                    }
                });
            }
        }
    }

    /// In `any-order`, written order is priority: a wide line above a special one takes it all.
    fn order(&mut self) {
        for statement in self.each() {
            let StatementKind::AnyOrder(body) = &statement.kind else { continue };
            let firsts: Vec<(&Statement, &MessageLine)> =
                body.iter().filter_map(|child| first(child).map(|line| (child, line))).collect();
            for (index, (_, later)) in firsts.iter().enumerate() {
                let takes_all = |(child, line): &&(&Statement, &MessageLine)| {
                    matches!(child.kind, StatementKind::Repeat { most: None, .. })
                        && line.conn == later.conn
                        && relate(line, later) == Relation::FirstCovers
                };
                if firsts[..index].iter().find(takes_all).is_some() {
                    self.advise(
                        later.span,
                        "this can never be reached",
                        "taken by `repeat` above",
                        "written order is priority: put the wide line last",
                    );
                }
            }
        }
    }
}

/// The line that decides whether a statement of `any-order` is next.
fn first(statement: &Statement) -> Option<&MessageLine> {
    match &statement.kind {
        StatementKind::Message(line) => Some(line),
        StatementKind::Maybe(body) | StatementKind::Repeat { body, .. } => {
            body.first().and_then(first)
        }
        _ => None,
    }
}
