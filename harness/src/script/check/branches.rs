//! Branches are decided by the first line that comes, so first lines must be told apart.

use protocol::notation::ast::{Expr, FieldPattern, MessageLine, Op, Span, Spanned, Word};
use protocol::notation::vocabulary::Head;
use protocol::values::{ErrorCode, ReplyType};

use super::super::ast::{Statement, StatementKind};
use super::super::walk;
use super::Checker;

/// How what two lines accept is related.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Relation {
    /// Nothing fits both.
    Apart,
    /// Whatever fits the second fits the first.
    FirstCovers,
    /// Whatever fits the first fits the second, and more does.
    SecondWider,
    /// Something fits both.
    Overlap,
}

impl Checker<'_> {
    pub(super) fn branches(&mut self) {
        let mut all = Vec::new();
        walk::statements(&self.script.body, &mut |statement| all.push(statement));
        for statement in all {
            match &statement.kind {
                StatementKind::Either(branches) => {
                    let mut lines = Vec::new();
                    for branch in branches {
                        lines.extend(self.first(&branch.body, "a branch", statement.span));
                    }
                    if branches.len() == 1 {
                        let error = self
                            .error(
                                statement.span,
                                "`either` with one branch",
                                "nothing to choose from",
                            )
                            .help("use `maybe { }` for what may not come");
                        self.errors.push(error);
                    }
                    for (index, later) in lines.iter().enumerate() {
                        for earlier in &lines[..index] {
                            self.told_apart(earlier, later);
                        }
                    }
                }
                StatementKind::Maybe(body) => {
                    self.first(body, "`maybe`", statement.span);
                }
                StatementKind::Repeat { body, .. } => {
                    self.first(body, "`repeat`", statement.span);
                }
                StatementKind::Until { line, body } => {
                    if self.is_sent(line) {
                        let error = self.error(
                            line.span,
                            "`until` must end with a received line",
                            "sent by the harness",
                        );
                        self.errors.push(error);
                    } else {
                        for first in self.first(body, "`until`", statement.span) {
                            self.told_apart(line, first);
                        }
                    }
                }
                StatementKind::AnyOrder(body) => {
                    for child in body {
                        self.child(child);
                    }
                }
                _ => {}
            }
        }
    }

    /// The received lines that a block may begin with.
    fn first<'b>(
        &mut self,
        body: &'b [Statement],
        what: &str,
        block: Span,
    ) -> Vec<&'b MessageLine> {
        let (span, label) = match body.first() {
            None => (block, "empty"),
            Some(Statement { kind, span }) => match kind {
                StatementKind::Message(line) if !self.is_sent(line) => return vec![line],
                StatementKind::Message(_) => (*span, "sent by the harness"),
                StatementKind::Either(branches) => {
                    let mut lines = Vec::new();
                    for branch in branches {
                        lines.extend(self.first(&branch.body, what, *span));
                    }
                    return lines;
                }
                StatementKind::AnyOrder(body) => {
                    let mut lines = Vec::new();
                    for child in body {
                        lines.extend(self.first(std::slice::from_ref(child), what, *span));
                    }
                    return lines;
                }
                StatementKind::Maybe(inner) | StatementKind::Repeat { body: inner, .. } => {
                    let mut lines = self.first(inner, what, *span);
                    if body.len() > 1 {
                        lines.extend(self.first(&body[1..], what, *span));
                    }
                    return lines;
                }
                StatementKind::Until { line, body } => {
                    let mut lines = vec![line];
                    lines.extend(self.first(body, what, *span));
                    return lines;
                }
                _ => (*span, "not a line"),
            },
        };
        let letter = self.script.header.tests.letter();
        let error = self
            .error(span, format!("{what} must begin with a received line"), label)
            .help(format!("what comes decides: begin with a line `{letter}: ...`"));
        self.errors.push(error);
        Vec::new()
    }

    /// A statement of `any-order`, which must wait for something.
    fn child(&mut self, child: &Statement) {
        let waits = match &child.kind {
            StatementKind::Message(line) => !self.is_sent(line),
            // These begin with a received line, or are told so.
            StatementKind::Either(_)
            | StatementKind::Maybe(_)
            | StatementKind::Repeat { .. }
            | StatementKind::Until { .. } => true,
            _ => false,
        };
        if !waits {
            let error =
                self.error(child.span, "`any-order` is for what comes", "waits for nothing");
            self.errors.push(error);
        }
    }

    fn told_apart(&mut self, earlier: &MessageLine, later: &MessageLine) {
        let conn = |line: &MessageLine| line.conn.as_ref().map(|conn| conn.node.clone());
        let error = if conn(earlier) != conn(later) {
            self.error(
                later.span,
                "branches wait on different connections",
                "on another connection",
            )
        } else {
            match relate(earlier, later) {
                Relation::Apart | Relation::SecondWider => return,
                Relation::FirstCovers => self
                    .error(later.span, "this can never be reached", "taken by the line above")
                    .help("put the more special line first"),
                Relation::Overlap => self
                    .error(later.span, "these lines cannot be distinguished", "and this one")
                    .help("let them differ in name, second word or a field compared with `=`"),
            }
        };
        self.errors.push(error.related(earlier.span, "this line"));
    }
}

/// How what two lines accept is related; the first is tried first.
pub(in super::super) fn relate(first: &MessageLine, second: &MessageLine) -> Relation {
    let (a, b) = (Accepts::of(first), Accepts::of(second));
    if a.apart(&b) {
        Relation::Apart
    } else if a.covers(&b) {
        Relation::FirstCovers
    } else if b.covers(&a) {
        Relation::SecondWider
    } else {
        Relation::Overlap
    }
}

/// What a line accepts, as words and conditions.
struct Accepts<'l> {
    head: Option<&'l str>,
    variant: Option<&'l str>,
    fields: Vec<&'l FieldPattern>,
}

impl<'l> Accepts<'l> {
    fn of(line: &'l MessageLine) -> Self {
        fn word(word: &Spanned<Word>) -> Option<&str> {
            match &word.node {
                Word::Name(name) => Some(name),
                // Nothing is known about it.
                Word::Variable(_) | Word::Any => None,
            }
        }
        let mut head = word(&line.head);
        let mut variant = line.variant.as_ref().and_then(word);
        let mut fields: Vec<&FieldPattern> = line
            .fields
            .iter()
            .filter(|field| !matches!(field.value.node, Expr::Any | Expr::Capture(_)))
            .collect();
        if line.should {
            // A differing field, or another error, only warns: it is accepted.
            fields.retain(|field| field.key.node == "cookie");
            if is_error_reply(head) {
                head = Some("error");
            }
            if head == Some("reply") && variant.is_some_and(|word| word != "ok") {
                variant = Some("error");
            }
        }
        Self { head, variant, fields }
    }

    fn apart(&self, other: &Self) -> bool {
        heads_apart(self.head, other.head)
            || variants_apart(self.variant, other.variant)
            || self.fields.iter().any(|a| other.fields.iter().any(|b| fields_apart(a, b)))
            || self.error_apart(other)
            || other.error_apart(self)
    }

    /// `reply NBD_EINVAL` and `reply error error!=NBD_EINVAL`.
    fn error_apart(&self, other: &Self) -> bool {
        let Some(variant) = self.variant else { return false };
        variant.parse::<ErrorCode>().is_ok()
            && other.fields.iter().any(|field| {
                let same = field.value.node == Expr::Name(variant.to_owned());
                field.key.node == "error"
                    && match field.op {
                        Op::Ne => same,
                        Op::Eq => !same && matches!(field.value.node, Expr::Name(_)),
                        _ => false,
                    }
            })
    }

    fn covers(&self, other: &Self) -> bool {
        let head = match self.head {
            None => other.head.is_none_or(|head| !is_end(head)),
            Some("error") => other.head == Some("error") || is_error_reply(other.head),
            Some("end") => other.head.is_some_and(|head| is_end(head) && head != "timeout"),
            Some("close") => matches!(other.head, Some("close" | "close-notify")),
            head => head == other.head,
        };
        let variant = match self.variant {
            None => true,
            Some("error") => other.variant.is_some_and(|word| word != "ok"),
            variant => variant == other.variant,
        };
        head && variant && self.fields.iter().all(|field| other.fields.contains(field))
    }
}

fn is_end(head: &str) -> bool {
    Head::find(head) == Some(Head::End)
}

fn is_error_reply(head: Option<&str>) -> bool {
    head.is_some_and(|head| head.parse::<ReplyType>().is_ok_and(ReplyType::is_error))
}

fn heads_apart(a: Option<&str>, b: Option<&str>) -> bool {
    let end = |head: Option<&str>| head.is_some_and(is_end);
    let (Some(x), Some(y)) = (a, b) else {
        // `_` stands for a message.
        return end(a) != end(b);
    };
    if x == y || (x == "error" && is_error_reply(b)) || (y == "error" && is_error_reply(a)) {
        return false;
    }
    if end(a) && end(b) {
        let whole = |head: &str, other: &str| {
            (head == "end" && other != "timeout") || (head == "close" && other == "close-notify")
        };
        return !whole(x, y) && !whole(y, x);
    }
    // A whole reply and one of its messages are the same bytes.
    let part = |head: &str| matches!(Head::find(head), Some(Head::SimpleReply | Head::Chunk(_)));
    !(x == "reply" && part(y) || y == "reply" && part(x))
}

fn variants_apart(a: Option<&str>, b: Option<&str>) -> bool {
    match (a, b) {
        (Some("error"), Some(other)) | (Some(other), Some("error")) => other == "ok",
        (Some(a), Some(b)) => a != b,
        _ => false,
    }
}

fn fields_apart(a: &FieldPattern, b: &FieldPattern) -> bool {
    if a.key != b.key {
        return false;
    }
    let (x, y) = (&a.value.node, &b.value.node);
    match (a.op, b.op) {
        (Op::Eq, Op::Ne) | (Op::Ne, Op::Eq) => x == y,
        (Op::Eq, Op::Eq) if is_constant(x) && is_constant(y) => !same(x, y),
        _ => match (flags(a), flags(b)) {
            (Some(x), Some(y)) => flags_apart(a.op, &x, b.op, &y),
            _ => match (range(a), range(b)) {
                (Some((low, high)), Some((least, most))) => high < least || most < low,
                _ => false,
            },
        },
    }
}

/// Whether the value is the same in every run. A payload may be equal to one written otherwise.
fn is_constant(expr: &Expr) -> bool {
    match expr {
        Expr::Int(_) | Expr::Text(_) | Expr::Name(_) => true,
        Expr::Set(items) => items.iter().all(|item| is_constant(&item.node)),
        Expr::Pair(a, b) => is_constant(&a.node) && is_constant(&b.node),
        _ => false,
    }
}

fn same(a: &Expr, b: &Expr) -> bool {
    match (a, b) {
        (Expr::Set(x), Expr::Set(y)) => x.len() == y.len() && x.iter().all(|item| y.contains(item)),
        _ => a == b,
    }
}

/// The names of a constant set of flags.
fn flags(field: &FieldPattern) -> Option<Vec<&Expr>> {
    match &field.value.node {
        Expr::Set(items) if field.key.node.ends_with("flags") && is_constant(&field.value.node) => {
            Some(items.iter().map(|item| &item.node).collect())
        }
        _ => None,
    }
}

fn flags_apart(op: Op, a: &[&Expr], other: Op, b: &[&Expr]) -> bool {
    match (op, other) {
        (Op::Eq, Op::Has) => !b.iter().all(|flag| a.contains(flag)),
        (Op::Has, Op::Eq) => !a.iter().all(|flag| b.contains(flag)),
        (Op::Eq | Op::Has, Op::Lacks) | (Op::Lacks, Op::Eq | Op::Has) => {
            a.iter().any(|flag| b.contains(flag))
        }
        _ => false,
    }
}

/// The numbers that a comparison with a constant accepts.
fn range(field: &FieldPattern) -> Option<(u64, u64)> {
    let Expr::Int(n) = field.value.node else { return None };
    match field.op {
        Op::Eq => Some((n, n)),
        Op::Lt => Some((0, n.checked_sub(1)?)),
        Op::Le => Some((0, n)),
        Op::Gt => Some((n.checked_add(1)?, u64::MAX)),
        Op::Ge => Some((n, u64::MAX)),
        Op::Ne | Op::Has | Op::Lacks => None,
    }
}
