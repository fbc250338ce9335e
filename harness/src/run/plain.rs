//! What plain sessions show of a client before the scenarios are played: what is known from there is
//! not told again by each of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Outcome, SkipKind};
use crate::finding::Verdict;
use crate::script::ast::{Event, Script, StatementKind};

/// What an outcome without verdict begins with where the client could not be started.
pub const NOT_STARTED: &str = "the client does not start";

/// What plain sessions have shown.
#[derive(Debug, Clone, Default)]
pub struct Plain {
    /// The rules that the judge has found broken.
    broken: BTreeSet<&'static str>,
    /// Why the client is not one that uses TLS, with the line that shows it.
    pub no_tls: Option<(SkipKind, String)>,
}

impl Plain {
    /// Whether a script is a plain session.
    #[must_use]
    pub fn is_one(script: &Script) -> bool {
        let judges = |kind: &StatementKind| match kind {
            StatementKind::Event(line) => matches!(line.event, Event::Judge(_)),
            _ => false,
        };
        script.body.iter().any(|statement| judges(&statement.kind))
    }

    /// Takes note of how a plain session came out.
    pub fn learn(&mut self, script: &Script, outcome: &Outcome) {
        let judged = outcome.findings.iter().filter(|finding| finding.detail.judged);
        self.broken.extend(judged.map(|finding| finding.requirement.id));
        let tls = script.header.has_need("tls");
        if tls
            && let (Some(kind @ (SkipKind::NotOffered | SkipKind::NotPossible)), Some(reason)) =
                (outcome.skipped, &outcome.reason)
        {
            self.no_tls = Some((kind, reason.clone()));
        }
    }

    /// Leaves to a scenario what is its own to tell.
    pub fn subtract(&self, script: &Arc<Script>, outcome: &mut Outcome) {
        let before = outcome.findings.len();
        outcome.findings.retain(|finding| {
            let id = finding.requirement.id;
            !finding.detail.judged || !self.broken.contains(id) || script.header.claims(id)
        });
        if outcome.findings.len() == before {
            return;
        }
        if matches!(outcome.verdict, Verdict::Fail | Verdict::Warn) {
            outcome.verdict = Verdict::of(&outcome.findings);
        }
    }
}
