//! Running scenarios: what is under test, what it offers, which scenarios are run, and how each
//! came out.

pub mod clients;
pub mod deviations;
pub mod features;
pub mod fitting;
pub mod milestones;
pub mod needs;
pub mod plain;
pub mod prepare;
pub mod result;
pub mod runner;
pub mod secured;
pub mod select;
pub mod selfclient;
mod stores;
pub mod survey;
pub mod target;
pub mod versions;

use std::time::Duration;

use crate::finding::{Finding, Severity, Verdict};
use crate::link::Entry;
use crate::peer::quoted;
use crate::script::ast::{Script, Version};
use crate::script::library;

/// Why a scenario was not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SkipKind {
    /// The peer does not offer what the scenario needs; the reason quotes the evidence.
    NotOffered,
    /// It would write, or is hazardous, and the run does not allow that.
    NotAllowed,
    /// The harness can't bring the peer into the wanted configuration, or it offers what the
    /// scenario needs to be absent.
    NotPossible,
    /// The run ended before its turn came, or while it was at it.
    NotRun,
}

impl SkipKind {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::NotOffered, Self::NotAllowed, Self::NotPossible, Self::NotRun];

    /// The word in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotOffered => "not-offered",
            Self::NotAllowed => "not-allowed",
            Self::NotPossible => "not-possible",
            Self::NotRun => "not-run",
        }
    }
}

/// How one scenario came out against one target.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Name of the target.
    pub target: String,
    /// Id of the scenario.
    pub id: String,
    /// Its title.
    pub title: String,
    /// The qemu version that brought its feature.
    pub since: Version,
    /// Its feature.
    pub feature: String,
    /// The verdict; a known failure keeps it.
    pub verdict: Verdict,
    /// Why it was skipped, or why there is no verdict.
    pub reason: Option<String>,
    /// Why it was skipped, as a kind.
    pub skipped: Option<SkipKind>,
    /// How long it took.
    pub duration: Duration,
    /// The requirements whose lines were reached.
    pub requirements: Vec<&'static str>,
    /// Where the capture was written.
    pub capture: Option<String>,
    /// What was found.
    pub findings: Vec<Finding>,
    /// What was said, where [`runner::Options::keep`] asks for it.
    pub said: Vec<Entry>,
    /// The command that runs it again.
    pub again: String,
}

impl Outcome {
    /// Of a scenario that has not been run yet.
    #[must_use]
    pub fn new(target: &str, script: &Script, again: &str) -> Self {
        Self {
            target: target.to_owned(),
            id: script.id.clone(),
            title: script.header.title.node.clone(),
            since: script.header.since.node,
            feature: script.header.feature.node.clone(),
            verdict: Verdict::Skip,
            reason: None,
            skipped: None,
            duration: Duration::ZERO,
            requirements: Vec::new(),
            capture: None,
            findings: Vec::new(),
            said: Vec::new(),
            again: format!(
                "{again} --scenario {} --capture out/",
                quoted(library::selector(script))
            ),
        }
    }

    /// It was not run.
    fn skip(&mut self, kind: SkipKind, reason: String) {
        self.skipped = Some(kind);
        self.reason = Some(reason);
    }

    /// There is no verdict.
    fn fail_to_run(&mut self, reason: String) {
        self.verdict = Verdict::Error;
        self.reason = Some(reason);
    }

    /// Whether the scenario failed and every failure is known.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.verdict == Verdict::Fail
            && self
                .findings
                .iter()
                .filter(|finding| finding.severity() == Severity::Failure)
                .all(|finding| finding.known.is_some())
    }
}

/// How many scenarios came out how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Passed.
    pub passed: usize,
    /// Only warnings.
    pub warned: usize,
    /// Failed, and not known to.
    pub failed: usize,
    /// Failed as a record of known deviations says.
    pub known: usize,
    /// Not run, for whatever reason.
    pub skipped: usize,
    /// Of those the ones whose turn did not come before the run ended.
    pub not_run: usize,
    /// No verdict.
    pub errors: usize,
}

impl Totals {
    /// Counts an outcome.
    pub fn add(&mut self, outcome: &Outcome) {
        match outcome.verdict {
            Verdict::Pass => self.passed += 1,
            Verdict::Warn => self.warned += 1,
            Verdict::Fail if outcome.is_known() => self.known += 1,
            Verdict::Fail => self.failed += 1,
            Verdict::Skip => {
                self.skipped += 1;
                self.not_run += usize::from(outcome.skipped == Some(SkipKind::NotRun));
            }
            Verdict::Error => self.errors += 1,
        }
    }

    /// The totals of some outcomes.
    #[must_use]
    pub fn of<'o>(outcomes: impl IntoIterator<Item = &'o Outcome>) -> Self {
        let mut totals = Self::default();
        for outcome in outcomes {
            totals.add(outcome);
        }
        totals
    }

    /// How many scenarios gave a verdict.
    #[must_use]
    pub fn ran(&self) -> usize {
        self.passed + self.warned + self.failed + self.known
    }
}
