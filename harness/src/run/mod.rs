//! Running scenarios: what is under test, what it offers, which scenarios are run, and how each
//! came out.

pub mod clients;
pub mod deviations;
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
use crate::peer::quoted;
use crate::run::milestones::{MILESTONES, Offer};
use crate::run::result::TargetRun;
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

/// A feature's verdict over its scenarios.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeatureVerdict {
    /// Every scenario that ran passed.
    Pass,
    /// Some warned, none failed.
    Warn,
    /// Some failed.
    Fail,
    /// The peer does not offer it.
    NotOffered,
    /// No scenario ran, for another reason.
    NotTested,
}

impl FeatureVerdict {
    /// The contract's word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::NotOffered => "not-offered",
            Self::NotTested => "not-tested",
        }
    }
}

/// Whether the server was seen not to offer what a feature is.
fn is_withheld(offers: &[Offer], feature: &str, since: Version) -> bool {
    let about = |offer: &&Offer| {
        let milestone = MILESTONES.iter().find(|milestone| milestone.name == offer.name);
        milestone.is_some_and(|milestone| milestone.covers(feature, since))
    };
    let mut about = offers.iter().filter(about).peekable();
    about.peek().is_some() && about.all(|offer| offer.offered == Some(false))
}

/// A feature and its scenarios.
#[derive(Debug, Clone)]
pub struct Feature<'o> {
    /// The qemu version that brought it.
    pub since: Version,
    /// Its name.
    pub name: &'o str,
    /// How its scenarios came out.
    pub totals: Totals,
    /// In a word.
    pub verdict: FeatureVerdict,
}

/// Groups the outcomes of a run by version and feature, in this order. What tests a server that does not
/// offer a feature is no sign that it does.
#[must_use]
pub fn features(run: &TargetRun) -> Vec<Feature<'_>> {
    let mut groups: std::collections::BTreeMap<(Version, &str), Vec<&Outcome>> = Default::default();
    for outcome in &run.outcomes {
        groups.entry((outcome.since, &outcome.feature)).or_default().push(outcome);
    }
    groups
        .into_iter()
        .map(|((since, name), outcomes)| {
            let totals = Totals::of(outcomes.iter().copied());
            let verdict = if totals.failed > 0 || totals.known > 0 {
                FeatureVerdict::Fail
            } else if is_withheld(&run.offers, name, since) {
                FeatureVerdict::NotOffered
            } else if totals.warned > 0 {
                FeatureVerdict::Warn
            } else if totals.passed > 0 {
                FeatureVerdict::Pass
            } else if outcomes.iter().any(|o| o.skipped == Some(SkipKind::NotOffered)) {
                FeatureVerdict::NotOffered
            } else {
                FeatureVerdict::NotTested
            };
            Feature { since, name, totals, verdict }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tests_a_server_without_a_feature_is_no_sign_that_it_has_it() {
        let scripts = crate::scenarios::all().unwrap();
        let is = |script: &&std::sync::Arc<Script>| script.id == "2.11-structured/not-asked";
        let mut run = TargetRun::new("server");
        let mut outcome = Outcome::new("server", scripts.iter().find(is).unwrap(), "nbdcheck run");
        outcome.verdict = Verdict::Pass;
        run.outcomes.push(outcome);
        let milestone = MILESTONES.iter().find(|it| it.name == "structured replies").unwrap();
        for (offered, verdict) in [
            (Some(false), FeatureVerdict::NotOffered),
            (Some(true), FeatureVerdict::Pass),
            (None, FeatureVerdict::Pass),
        ] {
            run.offers = vec![Offer {
                name: milestone.name.to_owned(),
                since: milestone.since,
                setup: false,
                offered,
                hidden: false,
                evidence: None,
            }];
            assert_eq!(features(&run)[0].verdict, verdict);
        }
    }
}
