//! The JSON of `run`, a contract with users' scripts.

use std::io;

use serde::Serialize;

use super::causes::{Cause, causes, count};
use crate::finding::Finding;
use crate::markup::json::escaped;
use crate::run::features::features;
use crate::run::milestones::Offer;
use crate::run::result::TargetRun;
use crate::run::{Outcome, SkipKind, Totals};

#[derive(Serialize)]
struct Document<'r> {
    nbdcheck: &'static str,
    target: Target<'r>,
    summary: Summary,
    /// What prevented a verdict, if anything.
    problem: Option<&'r str>,
    features: Vec<FeatureRow<'r>>,
    /// The findings, grouped: the same rule, the same kind of event, after the same message.
    causes: Vec<CauseRow<'r>>,
    /// What the server was seen to offer, whatever the scenarios found.
    offers: Vec<OfferRow<'r>>,
    scenarios: Vec<Scenario<'r>>,
}

#[derive(Serialize)]
struct OfferRow<'r> {
    since: String,
    feature: &'r str,
    /// It hangs on how the server was set up.
    setup: bool,
    /// Null where nothing shows it.
    offered: Option<bool>,
    /// The line that shows that it is not offered.
    evidence: Option<&'r str>,
}

#[derive(Serialize)]
struct CauseRow<'r> {
    requirement: &'static str,
    level: &'static str,
    party: &'static str,
    /// `fail`, `warn`, or `known` where a record of known deviations explains it.
    verdict: &'static str,
    /// `message`, `content`, `check`, `timeout`, `stalled`, `close`, `cut-off`, `reset`, `garbage`, `oversized`, `death`,
    /// `refused` or `handshake`.
    event: &'static str,
    /// What nbdcheck had sent before; null where the peer had the first word.
    after: Option<String>,
    message: String,
    scenarios: Vec<&'r str>,
    /// The scenario whose conversation shows it best.
    example: &'r str,
    /// The place in this list of a wider cause that it may follow from.
    within: Option<usize>,
    /// Why it is known.
    known: Option<&'r str>,
}

/// Several targets: one document each.
#[derive(Serialize)]
struct Several<'r> {
    nbdcheck: &'static str,
    summary: Summary,
    runs: Vec<Document<'r>>,
}

#[derive(Serialize)]
struct Target<'r> {
    name: &'r str,
    address: Option<&'r str>,
    version: Option<&'r str>,
}

#[derive(Serialize)]
struct Summary {
    passed: usize,
    warned: usize,
    failed: usize,
    /// Failures that a record of known deviations explains; not in `failed`.
    known: usize,
    skipped: usize,
    /// Of the skipped ones those whose turn did not come before the run ended.
    not_run: usize,
    errors: usize,
    /// How many runs did not come to their end, or to a verdict; see `problem`.
    problems: usize,
    /// How many causes the failures have; without those that may follow from another.
    causes: usize,
    duration_ms: u128,
}

impl Summary {
    fn new(runs: &[TargetRun]) -> Self {
        let totals = Totals::of(runs.iter().flat_map(|run| &run.outcomes));
        let Totals { passed, warned, failed, known, skipped, not_run, errors } = totals;
        let problems = runs.iter().filter(|run| run.problem.is_some()).count();
        let causes = runs.iter().map(|run| count(&causes(run)).causes).sum();
        let duration_ms = runs.iter().map(|run| run.duration.as_millis()).sum();
        Self {
            passed,
            warned,
            failed,
            known,
            skipped,
            not_run,
            errors,
            problems,
            causes,
            duration_ms,
        }
    }
}

#[derive(Serialize)]
struct FeatureRow<'r> {
    since: String,
    feature: &'r str,
    verdict: &'static str,
}

#[derive(Serialize)]
struct Scenario<'r> {
    id: &'r str,
    title: &'r str,
    since: String,
    feature: &'r str,
    verdict: &'static str,
    /// Every failure of it is recorded as a known deviation.
    known: bool,
    reason: Option<&'r str>,
    /// Of a skip: `not-offered`, `not-allowed`, `not-possible` or `not-run`.
    skipped: Option<&'static str>,
    duration_ms: u128,
    requirements: &'r [&'static str],
    capture: Option<&'r str>,
    findings: Vec<FindingRow<'r>>,
    again: &'r str,
}

#[derive(Serialize)]
struct FindingRow<'r> {
    requirement: &'static str,
    level: &'static str,
    party: &'static str,
    message: &'r str,
    at: &'r str,
    section: &'static str,
    expected: &'r [String],
    received: &'r str,
    bytes: Option<&'r str>,
    /// Why it is known.
    known: Option<&'r str>,
}

/// The document as text: the contract's object for one target, an object with `runs` for several.
///
/// # Errors
/// Never in practice: everything can be written as JSON.
pub fn render(runs: &[TargetRun]) -> io::Result<String> {
    let mut text = match runs {
        [run] => serde_json::to_string_pretty(&document(run))?,
        runs => serde_json::to_string_pretty(&Several {
            nbdcheck: env!("CARGO_PKG_VERSION"),
            summary: Summary::new(runs),
            runs: runs.iter().map(document).collect(),
        })?,
    };
    text.push('\n');
    Ok(escaped(&text))
}

fn document(run: &TargetRun) -> Document<'_> {
    Document {
        nbdcheck: env!("CARGO_PKG_VERSION"),
        target: Target {
            name: &run.name,
            address: run.address.as_deref(),
            version: run.version.as_deref(),
        },
        summary: Summary::new(std::slice::from_ref(run)),
        problem: run.problem.as_deref(),
        features: features(run)
            .into_iter()
            .map(|feature| FeatureRow {
                since: feature.since.to_string(),
                feature: feature.name,
                verdict: feature.verdict.name(),
            })
            .collect(),
        causes: causes(run).iter().map(cause).collect(),
        offers: run.offers.iter().map(offer).collect(),
        scenarios: run.outcomes.iter().map(scenario).collect(),
    }
}

fn cause<'r>(cause: &Cause<'r>) -> CauseRow<'r> {
    let rule = cause.requirement();
    CauseRow {
        requirement: rule.id,
        level: rule.level.name(),
        party: cause.finding.party.name(),
        verdict: cause.weight.name(),
        event: cause.finding.detail.event.name(),
        after: cause.after(),
        message: cause.message(),
        scenarios: cause.ids(),
        example: &cause.outcome.id,
        within: cause.within,
        known: cause.finding.known.as_deref(),
    }
}

fn offer(offer: &Offer) -> OfferRow<'_> {
    OfferRow {
        since: offer.since.to_string(),
        feature: &offer.name,
        setup: offer.setup,
        offered: offer.offered,
        evidence: offer.evidence.as_deref(),
    }
}

fn scenario(outcome: &Outcome) -> Scenario<'_> {
    Scenario {
        id: &outcome.id,
        title: &outcome.title,
        since: outcome.since.to_string(),
        feature: &outcome.feature,
        verdict: outcome.verdict.name(),
        known: outcome.is_known(),
        reason: outcome.reason.as_deref(),
        skipped: outcome.skipped.map(SkipKind::name),
        duration_ms: outcome.duration.as_millis(),
        requirements: &outcome.requirements,
        capture: outcome.capture.as_deref(),
        findings: outcome.findings.iter().map(finding).collect(),
        again: &outcome.again,
    }
}

fn finding(finding: &Finding) -> FindingRow<'_> {
    FindingRow {
        requirement: finding.requirement.id,
        level: finding.requirement.level.name(),
        party: finding.party.name(),
        message: &finding.message,
        at: &finding.at,
        section: finding.requirement.section,
        expected: &finding.detail.expected,
        received: &finding.detail.received,
        bytes: finding.detail.bytes.as_deref(),
        known: finding.known.as_deref(),
    }
}
