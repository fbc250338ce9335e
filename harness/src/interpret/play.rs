//! Playing a script, statement by statement.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use protocol::describe::Value;
use protocol::message::{Message, Side};
use protocol::values::OptionType;

use super::eval::Env;
use super::interpreter::Interpreter;
use super::setup::Setup;
use super::stop::{Ending, Flow, Played, Stop};
use crate::finding::{EventKind, Finding};
use crate::link::Said;
use crate::link::tracker::Phase;
use crate::script::ast::{Script, Statement, StatementKind};

/// How many connections a client may make, and leave without entering, before it is in earnest.
const LOOKS: usize = 8;

/// Plays a script to its end, within the set-up's limits.
pub async fn play(script: &Script, setup: Setup) -> Played {
    let deadline = setup.deadline;
    let mut env = Env::default();
    env.set_there(setup.there.clone());
    env.set("export", Value::Text(setup.export.as_str().into()));
    for (name, value) in &setup.variables {
        env.set(name, value.clone());
    }
    let mut interpreter = Interpreter {
        script,
        setup,
        env,
        conns: BTreeMap::new(),
        findings: Vec::new(),
        exercised: BTreeSet::new(),
        places_sought: 0,
        transcript: Vec::new(),
        large: None,
        others: None,
    };
    let outcome = match tokio::time::timeout(deadline, interpreter.run()).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Stop::Error(format!("the scenario took more than {deadline:?}"))),
    };
    interpreter.end(outcome).await
}

impl Interpreter<'_> {
    async fn run(&mut self) -> Flow {
        let env = self.env.clone();
        for _ in 0..LOOKS {
            let from = self.transcript.len();
            let outcome = self.block(&self.script.body).await;
            let stopped = matches!(outcome, Err(Stop::Failed | Stop::Left | Stop::Skip(_)));
            if !stopped || !self.only_looked(from) || !self.looks_again().await? {
                outcome?;
                return self.say_goodbye().await;
            }
            self.findings.retain(|finding| finding.detail.judged);
            self.env = env.clone();
        }
        Err(Stop::Error(format!("the client made {LOOKS} connections and entered on none")))
    }

    /// Whether the client under test has lawfully left its only connection without entering: before
    /// it said anything, or by `NBD_OPT_ABORT`. `from` is where the connection begins in what was said.
    fn only_looked(&self, from: usize) -> bool {
        let said = self.transcript[from..].iter().rev().find_map(|entry| match &entry.said {
            Said::Message(seen) if seen.from == Side::Client => Some(&seen.message),
            _ => None,
        });
        let lawful = match said {
            None => true,
            Some(Message::Option(request)) => request.option == OptionType::ABORT,
            Some(_) => false,
        };
        let mut conns = self.conns.values();
        let (only, more) = (conns.next(), conns.next());
        let haggles = only.is_some_and(|conn| conn.link.tracker().phase() != Phase::Transmission);
        self.setup.client.is_some() && lawful && haggles && more.is_none()
    }

    /// Whether the client connects once more, where it will be played with from the start.
    async fn looks_again(&mut self) -> Result<bool, Stop> {
        let Some(name) = self.conns.keys().next().cloned() else { return Ok(false) };
        let limit = self.setup.timeout;
        if let Some(conn) = self.conns.get_mut(&name) {
            conn.link.close(false, limit).await;
        }
        self.collect();
        let first = self.script.body.first().map(|statement| statement.span);
        let Some(span) = first else { return Ok(false) };
        self.comes_again(&name, span).await
    }

    async fn end(mut self, outcome: Flow) -> Played {
        // A moment is enough to close; a peer that does not listen is dropped all the same.
        let limit = self.setup.timeout.min(Duration::from_secs(1));
        for conn in self.conns.values_mut() {
            conn.take_leave(limit, &self.setup.patience).await;
        }
        self.collect();
        self.stop_others();
        self.last_words().await;
        let end = match outcome {
            Ok(()) | Err(Stop::Failed | Stop::Left) => Ending::Done,
            Err(Stop::Skip(reason)) => Ending::Skipped(reason),
            Err(Stop::Unfit(reason)) => Ending::Unfit(reason),
            Err(Stop::Error(reason)) => Ending::Error(reason),
        };
        let end = self.judge_others(end);
        let end = self.cut_off(end);
        Played {
            end,
            findings: self.findings,
            exercised: self.exercised,
            transcript: self.transcript,
        }
    }

    /// A client that was at work all the time until it was stopped has not left of its own accord.
    fn cut_off(&mut self, end: Ending) -> Ending {
        let ends = |finding: &Finding| {
            finding.detail.judged
                || matches!(finding.detail.event, EventKind::Close | EventKind::Reset)
        };
        let Some(client) = &self.setup.client else { return end };
        let waited = |finding: &Finding| finding.detail.event == EventKind::Timeout;
        if !client.was_cut_off()
            || !self.findings.iter().any(ends)
            || self.findings.iter().any(waited)
        {
            return end;
        }
        self.findings.clear();
        Ending::Error(
            "the client was still at work when its time was over, and was stopped".to_owned(),
        )
    }

    /// Shows with each failure how the client under test ended and what it says about it.
    async fn last_words(&mut self) {
        if self.findings.is_empty() {
            return;
        }
        self.stop_listening();
        let limit = self.setup.timeout.min(Duration::from_secs(2));
        let Some(client) = &mut self.setup.client else { return };
        client.wait(limit).await;
        let words = client.last_words();
        for finding in &mut self.findings {
            finding.detail.after.extend(words.iter().cloned());
        }
    }

    pub(super) async fn block(&mut self, statements: &[Statement]) -> Flow {
        for statement in statements {
            Box::pin(self.statement(statement)).await?;
        }
        Ok(())
    }

    pub(super) async fn statement(&mut self, statement: &Statement) -> Flow {
        match &statement.kind {
            StatementKind::Message(line) if line.side == self.setup.side => {
                Box::pin(self.send(line)).await
            }
            StatementKind::Message(line) => Box::pin(self.expect(line)).await,
            StatementKind::Event(line) => Box::pin(self.event(line)).await,
            StatementKind::Check { expr, tags, .. } => self.check(expr, tags, statement.span).await,
            StatementKind::AnyOrder(body) => Box::pin(self.any_order(body, statement.span)).await,
            StatementKind::Either(branches) => {
                Box::pin(self.either(branches, statement.span)).await
            }
            StatementKind::Maybe(body) => {
                if Box::pin(self.starts(body)).await? {
                    Box::pin(self.block(body)).await?;
                }
                Ok(())
            }
            StatementKind::Repeat { least, most, body } => {
                let (least, most) = self.bounds(least, most.as_ref())?;
                Box::pin(self.repeat(least, most, body)).await
            }
            StatementKind::Until { line, body } => Box::pin(self.until(line, body)).await,
            StatementKind::For { variable, items, body } => {
                for value in self.items(items)? {
                    let outer = self.env.clone();
                    self.env.set(&variable.node, value);
                    Box::pin(self.block(body)).await?;
                    self.env = outer;
                }
                Ok(())
            }
            StatementKind::Given { variable, body } => {
                if self.env.get(&variable.node).is_some() {
                    Box::pin(self.block(body)).await?;
                }
                Ok(())
            }
        }
    }
}
