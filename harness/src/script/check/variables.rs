//! Captures and uses: nothing is used before it has a value on every path, nothing gets a second
//! one.

use std::collections::{BTreeMap, HashMap};

use protocol::message::Side;
use protocol::nearest::did_you_mean;
use protocol::notation::ast::{Expr, MessageLine, Span, Spanned, Word};

use super::super::ast::{Statement, StatementKind};
use super::super::walk;
use super::Checker;

/// What every script knows.
const BUILT_IN: &[&str] = &[
    "export",
    "other",
    "size",
    "end",
    "flags",
    "minimum",
    "preferred",
    "maximum",
    "block",
    "page",
];

/// The variables at one place of a script.
#[derive(Debug, Clone, Default)]
struct Known {
    /// Has a value whichever path led here, and where it got it.
    sure: BTreeMap<String, Span>,
    /// Has one on some paths: for each such path, all that got a value on it.
    perhaps: Vec<BTreeMap<String, Span>>,
}

impl Known {
    fn perhaps(&self, name: &str) -> Option<Span> {
        self.perhaps.iter().find_map(|group| group.get(name)).copied()
    }

    /// What was captured on a path that not everyone takes.
    fn add_path(&mut self, before: &Self, after: Self) {
        let new: BTreeMap<_, _> =
            after.sure.into_iter().filter(|(name, _)| !before.sure.contains_key(name)).collect();
        if !new.is_empty() {
            self.perhaps.push(new);
        }
        self.perhaps.extend(after.perhaps.into_iter().skip(before.perhaps.len()));
    }
}

struct Flow<'c, 's> {
    checker: &'c mut Checker<'s>,
    /// What loops captured: gone after them.
    lost: HashMap<String, Span>,
}

impl Checker<'_> {
    pub(super) fn variables(&mut self) {
        let body = &self.script.body;
        let mut known = Known::default();
        for name in BUILT_IN {
            known.sure.insert((*name).to_owned(), Span::default());
        }
        if self.script.header.tests == Side::Client {
            for name in ["status", "output", "stored"] {
                known.sure.insert(name.to_owned(), Span::default());
            }
        }
        Flow { checker: self, lost: HashMap::new() }.block(body, &mut known);
    }
}

impl Flow<'_, '_> {
    fn block(&mut self, body: &[Statement], known: &mut Known) {
        for statement in body {
            self.statement(statement, known);
        }
    }

    fn statement(&mut self, statement: &Statement, known: &mut Known) {
        match &statement.kind {
            StatementKind::Message(line) => self.line(line, known),
            StatementKind::Event(_) | StatementKind::Check { .. } => {
                for expr in walk::exprs(statement) {
                    self.expr(expr, known);
                }
            }
            StatementKind::AnyOrder(body) => {
                // Nothing can be used by a sibling: it may come first.
                let before = known.clone();
                for child in body {
                    let mut own = before.clone();
                    self.statement(child, &mut own);
                    for (name, span) in own.sure {
                        if before.sure.contains_key(&name) {
                            continue;
                        }
                        if let Some(first) = known.sure.insert(name.clone(), span) {
                            self.twice(&name, span, first);
                        }
                    }
                    known.perhaps.extend(own.perhaps.into_iter().skip(before.perhaps.len()));
                }
            }
            StatementKind::Either(branches) => {
                let before = known.clone();
                let mut paths: Vec<Known> = Vec::new();
                for branch in branches {
                    let mut path = before.clone();
                    self.block(&branch.body, &mut path);
                    paths.push(path);
                }
                let Some((first, rest)) = paths.split_first() else { return };
                for (name, span) in &first.sure {
                    if rest.iter().all(|path| path.sure.contains_key(name)) {
                        known.sure.entry(name.clone()).or_insert(*span);
                    }
                }
                for path in paths {
                    known.add_path(&before, path);
                }
                let Known { sure, perhaps } = known;
                perhaps
                    .iter_mut()
                    .for_each(|group| group.retain(|name, _| !sure.contains_key(name)));
                perhaps.retain(|group| !group.is_empty());
            }
            StatementKind::Maybe(body) => {
                let before = known.clone();
                let mut path = before.clone();
                self.block(body, &mut path);
                known.add_path(&before, path);
            }
            StatementKind::Repeat { body, .. } => {
                for expr in walk::exprs(statement) {
                    self.expr(expr, known);
                }
                self.round(body, known.clone(), known);
            }
            StatementKind::Until { line, body } => {
                self.round(body, known.clone(), known);
                self.line(line, known);
            }
            StatementKind::For { variable, body, .. } => {
                for expr in walk::exprs(statement) {
                    self.expr(expr, known);
                }
                let mut inside = known.clone();
                self.define(&variable.node, variable.span, &mut inside);
                self.round(body, inside, known);
            }
            StatementKind::Given { variable, body } => self.given(variable, body, known),
        }
    }

    /// One round of a loop. What it captures is gone afterwards.
    fn round(&mut self, body: &[Statement], mut inside: Known, outside: &Known) {
        let before = inside.clone();
        self.block(body, &mut inside);
        let mut gone = Known::default();
        gone.add_path(&before, inside);
        for (name, span) in gone.perhaps.into_iter().flatten() {
            if !outside.sure.contains_key(&name) {
                self.lost.entry(name).or_insert(span);
            }
        }
    }

    fn given(&mut self, variable: &Spanned<String>, body: &[Statement], known: &mut Known) {
        let name = &variable.node;
        let before = known.clone();
        let mut inside = known.clone();
        if !known.sure.contains_key(name) {
            // Whichever path gave it a value gave values to what all such paths share.
            let mut groups = known.perhaps.iter().filter(|group| group.contains_key(name));
            let Some(first) = groups.next() else {
                self.unknown(name, variable.span, known);
                return;
            };
            let rest: Vec<_> = groups.collect();
            for (shared, span) in first {
                if rest.iter().all(|group| group.contains_key(shared)) {
                    inside.sure.insert(shared.clone(), *span);
                }
            }
        }
        let entered = inside.clone();
        self.block(body, &mut inside);
        let mut after = before.clone();
        after.add_path(&entered, inside);
        *known = after;
    }

    fn line(&mut self, line: &MessageLine, known: &mut Known) {
        for word in std::iter::once(&line.head).chain(&line.variant) {
            if let Word::Variable(name) = &word.node {
                self.used(name, word.span, known);
            }
        }
        for field in &line.fields {
            self.expr(&field.value, known);
        }
    }

    fn expr(&mut self, whole: &Spanned<Expr>, known: &mut Known) {
        let mut found = Vec::new();
        walk::expr(whole, &mut |part| found.push(part));
        for part in found {
            match &part.node {
                Expr::Variable(name) => self.used(name, part.span, known),
                Expr::Capture(name) => self.define(name, part.span, known),
                _ => {}
            }
        }
    }

    fn define(&mut self, name: &str, span: Span, known: &mut Known) {
        if BUILT_IN.contains(&name) {
            let error = self
                .checker
                .error(span, format!("`${name}` has a value already"), "can't be captured")
                .help(format!("`${name}` is built in; choose another name"));
            self.checker.errors.push(error);
        } else if let Some(first) = known.sure.get(name).copied().or_else(|| known.perhaps(name)) {
            self.twice(name, span, first);
        }
        known.sure.insert(name.to_owned(), span);
    }

    fn twice(&mut self, name: &str, span: Span, first: Span) {
        let error = self
            .checker
            .error(span, format!("`{name}` is captured twice"), "again here")
            .related(first, "first here")
            .help(format!("a capture never changes; to compare, write `${name}`"));
        self.checker.errors.push(error);
    }

    fn used(&mut self, name: &str, span: Span, known: &Known) {
        if !known.sure.contains_key(name) {
            self.unknown(name, span, known);
        }
    }

    fn unknown(&mut self, name: &str, span: Span, known: &Known) {
        let checker = &mut *self.checker;
        let error = checker.error(
            span,
            format!("`${name}` has no value here"),
            "used before it is captured",
        );
        let error = if let Some(place) = known.perhaps(name) {
            error
                .related(place, "captured only if this line comes")
                .help(format!("put what uses it into `given ${name} {{ }}`"))
        } else if let Some(place) = self.lost.get(name) {
            error
                .related(*place, "captured in a loop")
                .help("what a loop captures is lost after each round")
        } else {
            let names: Vec<String> = known.sure.keys().map(|name| format!("${name}")).collect();
            error.maybe_help(did_you_mean(&format!("${name}"), names.iter().map(String::as_str)))
        };
        checker.errors.push(error);
    }
}
