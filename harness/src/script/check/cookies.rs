//! Which request a reply answers: told by a label, or plain because only one is in flight.

use std::collections::{BTreeMap, BTreeSet};

use protocol::message::Side;
use protocol::nearest::did_you_mean;
use protocol::notation::ast::{Expr, MessageLine, Op, Word};
use protocol::notation::vocabulary::Head;
use protocol::values::Command;

use super::super::ast::{Event, Statement, StatementKind};
use super::Checker;

/// The requests in flight on each connection; `None` where paths differ.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct InFlight {
    requests: BTreeMap<String, Option<Vec<Option<String>>>>,
    /// Every label that a request on the connection has had.
    bound: BTreeSet<(String, String)>,
}

impl InFlight {
    fn on(&mut self, conn: &str) -> Option<&mut Vec<Option<String>>> {
        self.requests.entry(conn.to_owned()).or_insert_with(|| Some(Vec::new())).as_mut()
    }

    /// What is true whichever of two paths was taken.
    fn merge(&mut self, other: Self) {
        let conns: BTreeSet<String> =
            self.requests.keys().chain(other.requests.keys()).cloned().collect();
        let none = Some(Vec::new());
        for conn in conns {
            let theirs = other.requests.get(&conn).unwrap_or(&none);
            if self.requests.get(&conn).unwrap_or(&none) != theirs {
                self.requests.insert(conn, None);
            }
        }
        self.bound.extend(other.bound);
    }
}

impl Checker<'_> {
    pub(super) fn cookies(&mut self) {
        let body = &self.script.body;
        let first = self.errors.len();
        self.cookies_in(body, &mut InFlight::default());
        // The rounds of a loop tell the same.
        let mut seen = BTreeSet::new();
        let mut index = 0;
        self.errors.retain(|error| {
            index += 1;
            index <= first || seen.insert(error.span.start)
        });
    }

    fn cookies_in(&mut self, body: &[Statement], state: &mut InFlight) {
        for statement in body {
            self.cookies_of(statement, state);
        }
    }

    fn cookies_of(&mut self, statement: &Statement, state: &mut InFlight) {
        match &statement.kind {
            StatementKind::Message(line) => self.cookie(line, state),
            StatementKind::Event(event) => {
                let conn = event.conn.as_ref().map_or("", |conn| &conn.node);
                if matches!(event.event, Event::Connect | Event::Close | Event::Reset) {
                    state.requests.remove(conn);
                }
            }
            StatementKind::Check { .. } => {}
            StatementKind::AnyOrder(body) => self.cookies_in(body, state),
            StatementKind::Either(branches) => {
                let before = state.clone();
                for (index, branch) in branches.iter().enumerate() {
                    let mut path = before.clone();
                    self.cookies_in(&branch.body, &mut path);
                    if index == 0 {
                        *state = path;
                    } else {
                        state.merge(path);
                    }
                }
            }
            StatementKind::Maybe(body)
            | StatementKind::Repeat { body, .. }
            | StatementKind::Given { body, .. } => {
                let mut path = state.clone();
                self.cookies_in(body, &mut path);
                state.merge(path);
            }
            StatementKind::Until { line, body } => {
                let mut path = state.clone();
                self.cookies_in(body, &mut path);
                state.merge(path);
                self.cookie(line, state);
            }
            StatementKind::For { body, .. } => {
                // Two rounds show what a first one leaves in flight.
                self.cookies_in(body, state);
                self.cookies_in(body, state);
            }
        }
    }

    fn cookie(&mut self, line: &MessageLine, state: &mut InFlight) {
        let Word::Name(name) = &line.head.node else { return };
        let Some(head) = Head::find(name) else { return };
        let conn = line.conn.as_ref().map_or("", |conn| &conn.node);
        match head {
            Head::Request(Command::DISC) => {}
            Head::Request(_) => {
                let label = label(line);
                if let Some(label) = &label {
                    state.bound.insert((conn.to_owned(), label.clone()));
                }
                if let Some(requests) = state.on(conn) {
                    requests.push(label);
                }
            }
            Head::Reply | Head::SimpleReply | Head::Chunk(_) => {
                self.answer(line, head, conn, state)
            }
            Head::End => {
                state.requests.remove(conn);
            }
            _ => {}
        }
    }

    fn answer(&mut self, line: &MessageLine, head: Head, conn: &str, state: &mut InFlight) {
        let done = is_last(line, head);
        let label = label(line);
        if let Some(label) = &label {
            self.bound(line, conn, label, state);
            if done
                && let Some(requests) = state.on(conn)
                && let Some(at) =
                    requests.iter().position(|request| request.as_ref() == Some(label))
            {
                requests.remove(at);
            }
            return;
        }
        if line.fields.iter().any(|field| field.key.node == "cookie") {
            // Any of them, or another than one: said on purpose.
            if done {
                state.requests.insert(conn.to_owned(), None);
            }
            return;
        }
        let Some(requests) = state.on(conn) else { return };
        if requests.len() > 1 {
            let labels: Vec<String> =
                requests.iter().flatten().map(|label| format!("`cookie={label}`")).collect();
            let help = if labels.is_empty() {
                "give the requests labels, `cookie=a`, and the reply the one it answers".to_owned()
            } else {
                format!("in flight: {}", labels.join(", "))
            };
            let error = self
                .error(line.span, "which request does this answer?", "several are in flight here")
                .help(help);
            self.errors.push(error);
            return;
        }
        if done {
            requests.clear();
        }
    }

    fn bound(&mut self, line: &MessageLine, conn: &str, label: &str, state: &InFlight) {
        if label.starts_with(['$', '0'])
            || state.bound.contains(&(conn.to_owned(), label.to_owned()))
        {
            return;
        }
        let Some(field) = line.fields.iter().find(|field| field.key.node == "cookie") else {
            return;
        };
        let known =
            state.bound.iter().filter(|(on, _)| on == conn).map(|(_, label)| label.as_str());
        let error = self
            .error(
                field.value.span,
                format!("no request has the cookie `{label}`"),
                "unknown label",
            )
            .maybe_help(did_you_mean(label, known));
        self.errors.push(error);
    }
}

/// The label of a line's cookie: its name, `$x`, or the number in hexadecimal.
fn label(line: &MessageLine) -> Option<String> {
    let cookie = |key: &str| key == "cookie";
    let field = line.fields.iter().find(|f| cookie(&f.key.node) && f.op == Op::Eq)?;
    match &field.value.node {
        Expr::Name(name) => Some(name.clone()),
        Expr::Int(n) => Some(format!("{n:#x}")),
        Expr::Variable(name) => Some(format!("${name}")),
        // Only a request tells its cookie to a capture.
        Expr::Capture(name) if !is_reply(line) => Some(format!("${name}")),
        _ => None,
    }
}

fn is_reply(line: &MessageLine) -> bool {
    line.side == Side::Server
}

/// Whether a line that comes after is about another request: a chunk may be the last of its reply,
/// unless the line says that it is not.
fn is_last(line: &MessageLine, head: Head) -> bool {
    let Head::Chunk(_) = head else { return true };
    let flags = line.fields.iter().find(|field| field.key.node == "flags");
    flags.is_none_or(|field| match &field.value.node {
        Expr::Set(items) => {
            let done = items.iter().any(|item| item.node == Expr::Name("DONE".to_owned()));
            done != (field.op == Op::Lacks)
        }
        _ => true,
    })
}
