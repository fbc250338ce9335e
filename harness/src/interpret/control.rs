//! Blocks: loops, alternatives and groups. They branch on the first received line.

use protocol::describe::Value;
use protocol::message::Side;
use protocol::notation::ast::{Expr, MessageLine, Span, Spanned, Word};
use protocol::requirements;

use super::conn::conn_name;
use super::interpreter::Interpreter;
use super::labels::Cookies;
use super::matching::{Candidate, Difference, Outcome, compare, resolved};
use super::stop::{Flow, Stop};
use crate::finding::{Detail, Sent};
use crate::link::End;
use crate::link::tracker::Phase;
use crate::script::ast::{Branch, Items, Statement, StatementKind};

/// How many rounds a loop may take.
const ROUNDS: u64 = 100_000;

impl Interpreter<'_> {
    pub(super) fn items(&self, items: &Items) -> Result<Vec<Value>, Stop> {
        match items {
            Items::List(list) => {
                list.iter().map(|item| self.env.value(item).map_err(Stop::from)).collect()
            }
            Items::Range(from, to) => {
                let (from, to) = (self.env.int(from)?, self.env.int(to)?);
                if to.saturating_sub(from) > ROUNDS {
                    return Err(Stop::Error(format!("a loop of more than {ROUNDS} rounds")));
                }
                Ok((from..=to).map(Value::Int).collect())
            }
        }
    }

    pub(super) fn bounds(
        &self,
        least: &Spanned<Expr>,
        most: Option<&Spanned<Expr>>,
    ) -> Result<(u64, u64), Stop> {
        let most = match most {
            Some(most) => self.env.int(most)?,
            None => u64::MAX,
        };
        Ok((self.env.int(least)?, most))
    }

    pub(super) async fn repeat(&mut self, least: u64, most: u64, body: &[Statement]) -> Flow {
        let mut done = 0;
        let mut hearing = None;
        while done < most {
            if done >= least && !Box::pin(self.starts(body)).await? {
                break;
            }
            if let Some(line) = first_lines(body).first().filter(|_| most == u64::MAX) {
                let hearing = hearing.get_or_insert_with(|| self.hearing(conn_name(line)));
                if self.is_too_much(hearing, done) {
                    return self.endless(line, done);
                }
            }
            let outer = self.env.clone();
            Box::pin(self.block(body)).await?;
            self.env = outer;
            done += 1;
        }
        Ok(())
    }

    pub(super) async fn until(&mut self, line: &MessageLine, body: &[Statement]) -> Flow {
        let hearing = self.hearing(conn_name(line));
        let mut rounds = 0;
        while !self.is_too_much(&hearing, rounds) {
            rounds += 1;
            if Box::pin(self.matches(line)).await? {
                return Box::pin(self.expect(line)).await;
            }
            if !Box::pin(self.starts(body)).await? {
                let mut lines = vec![line];
                lines.extend(first_lines(body));
                return self.refuse(&lines, line.span).await;
            }
            let outer = self.env.clone();
            Box::pin(self.block(body)).await?;
            self.env = outer;
        }
        self.endless(line, rounds)
    }

    /// From here on it is counted what comes on a connection in answer to what was sent last.
    pub(super) fn hearing(&self, name: &str) -> Hearing {
        let conn = self.conns.get(name);
        Hearing {
            conn: name.to_owned(),
            sent: conn.map_or(Sent::Nothing, |conn| conn.link.sent()),
            before: conn.map_or(0, |conn| conn.link.consumed()),
        }
    }

    /// Whether more has come than any answer need have.
    pub(super) fn is_too_much(&self, hearing: &Hearing, messages: u64) -> bool {
        let (most, bytes) = self.setup.patience.hears(hearing.sent);
        // Data is as long as it is: only what is haggled over is short.
        let data = self.tested() == Side::Client
            || self
                .conns
                .get(&hearing.conn)
                .is_some_and(|conn| conn.link.tracker().phase() == Phase::Transmission);
        let bytes = if data { u64::MAX } else { bytes };
        let heard = self.conns.get(&hearing.conn).map_or(0, |conn| conn.link.consumed());
        messages >= most || heard.saturating_sub(hearing.before) >= bytes
    }

    /// What the peer says in answer to a line has no end.
    fn endless(&mut self, line: &MessageLine, rounds: u64) -> Flow {
        if let Some(conn) = self.conns.get(conn_name(line)) {
            self.setup.patience.endless(conn.link.sent());
        }
        let endless = Candidate::End(End::Endless(rounds));
        let expected = resolved(line, &self.env, &Cookies::default())?;
        let difference = Difference {
            soft: false,
            expected,
            received: End::Endless(rounds).to_string(),
            mark: None,
            bytes: None,
            content: false,
        };
        self.report(line, &endless, difference, false)?;
        Err(Stop::Failed)
    }

    pub(super) async fn either(&mut self, branches: &[Branch], span: Span) -> Flow {
        for (index, branch) in branches.iter().enumerate() {
            if begins_with_anything(branch) && self.has_come(&branches[..index]).await? {
                continue;
            }
            if !Box::pin(self.starts(&branch.body)).await? {
                continue;
            }
            if let Some(id) = &branch.warn {
                let mut detail = Detail::default();
                let rule = match first_lines(&branch.body).first() {
                    Some(line) => {
                        let candidate = self.choose(line).await?.candidate;
                        (detail.event, detail.reply) =
                            (candidate.event(), candidate.option_reply());
                        detail.received = self.received_text(line).await?;
                        self.meant(line, &id.node)
                    }
                    None => id.node.as_str(),
                };
                let expected = branches
                    .iter()
                    .filter(|branch| branch.warn.is_none())
                    .flat_map(|branch| first_lines(&branch.body));
                detail.expected = self.resolve_all(expected)?;
                let summary = requirements::find(rule).map_or("", |rule| rule.summary);
                self.find(rule, summary, id.span, detail)?;
            }
            return Box::pin(self.block(&branch.body)).await;
        }
        let lines: Vec<_> = branches.iter().flat_map(|branch| first_lines(&branch.body)).collect();
        self.refuse(&lines, span).await
    }

    /// Whether what one of these branches waits for by its cookie has come, though it is not as it
    /// should be. A branch that begins with anything (`S: _`) is about what else there is.
    async fn has_come(&mut self, branches: &[Branch]) -> Result<bool, Stop> {
        for branch in branches {
            if let Some(line) = first_lines(&branch.body).first().filter(|line| names_cookie(line))
                && !matches!(self.choose(line).await?.candidate, Candidate::End(_))
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Each statement is satisfied by what comes next, the first that fits first.
    pub(super) async fn any_order(&mut self, body: &[Statement], span: Span) -> Flow {
        let mut left: Vec<(&Statement, u64)> =
            body.iter().map(|statement| (statement, 0)).collect();
        'next: while !left.is_empty() {
            for index in 0..left.len() {
                let (statement, done) = left[index];
                if !Box::pin(self.starts(std::slice::from_ref(statement))).await? {
                    continue;
                }
                let finished = match &statement.kind {
                    StatementKind::Repeat { least, most, body } => {
                        let (_, most) = self.bounds(least, most.as_ref())?;
                        let outer = self.env.clone();
                        Box::pin(self.block(body)).await?;
                        self.env = outer;
                        left[index].1 += 1;
                        done + 1 >= most
                    }
                    _ => {
                        Box::pin(self.statement(statement)).await?;
                        true
                    }
                };
                if finished {
                    left.remove(index);
                }
                continue 'next;
            }
            let mut missing = Vec::new();
            for (statement, done) in &left {
                let optional = match &statement.kind {
                    StatementKind::Maybe(_) => true,
                    StatementKind::Repeat { least, most, .. } => {
                        *done >= self.bounds(least, most.as_ref())?.0
                    }
                    _ => false,
                };
                if !optional {
                    missing.extend(first_lines(std::slice::from_ref(*statement)));
                }
            }
            if missing.is_empty() {
                return Ok(());
            }
            return self.refuse(&missing, span).await;
        }
        Ok(())
    }

    /// Whether what comes next fits the first line of these statements.
    pub(super) async fn starts(&mut self, statements: &[Statement]) -> Result<bool, Stop> {
        for line in first_lines(statements) {
            if line.side == self.setup.side {
                return Ok(true);
            }
            if Box::pin(self.matches(line)).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) async fn matches(&mut self, line: &MessageLine) -> Result<bool, Stop> {
        let choice = self.choose(line).await?;
        Ok(match self.compare(line, &choice.candidate)? {
            Outcome::Match(_) => true,
            Outcome::Differs(difference) => line.should && difference.soft,
        })
    }

    pub(super) fn compare(
        &self,
        line: &MessageLine,
        candidate: &Candidate,
    ) -> Result<Outcome, Stop> {
        let cookies = self.conns.get(conn_name(line)).map(|conn| &conn.cookies);
        let none = Cookies::default();
        Ok(compare(line, candidate, &self.env, cookies.unwrap_or(&none))?)
    }
}

fn names_cookie(line: &MessageLine) -> bool {
    line.fields.iter().any(|field| field.key.node == "cookie")
}

fn begins_with_anything(branch: &Branch) -> bool {
    first_lines(&branch.body)
        .first()
        .is_some_and(|line| matches!(line.head.node, Word::Any) && !names_cookie(line))
}

/// From where on it is counted what comes on a connection, and what it answers.
pub(super) struct Hearing {
    conn: String,
    sent: Sent,
    before: u64,
}

/// The lines of which one must come first for these statements to begin.
pub(super) fn first_lines(statements: &[Statement]) -> Vec<&MessageLine> {
    let Some(first) = statements.first() else { return Vec::new() };
    match &first.kind {
        StatementKind::Message(line) => vec![line],
        StatementKind::AnyOrder(body) => {
            body.iter().flat_map(|statement| first_lines(std::slice::from_ref(statement))).collect()
        }
        StatementKind::Either(branches) => {
            branches.iter().flat_map(|branch| first_lines(&branch.body)).collect()
        }
        StatementKind::Maybe(body) | StatementKind::Repeat { body, .. } => {
            let mut lines = first_lines(body);
            lines.extend(first_lines(&statements[1..]));
            lines
        }
        StatementKind::Until { line, body } => {
            let mut lines = vec![line];
            lines.extend(first_lines(body));
            lines
        }
        StatementKind::For { body, .. } | StatementKind::Given { body, .. } => first_lines(body),
        StatementKind::Event(_) | StatementKind::Check { .. } => first_lines(&statements[1..]),
    }
}
