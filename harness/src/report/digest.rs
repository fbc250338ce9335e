//! What all reports for people say of a run, gathered once.

use std::collections::BTreeMap;

use crate::finding::{Finding, Severity};
use crate::markup::clean;
use crate::run::runner::TargetRun;
use crate::run::{Feature, FeatureVerdict, Outcome, SkipKind};

/// A heading for a run: what was tested, which version, where.
#[must_use]
pub fn title(run: &TargetRun) -> String {
    let version = run.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
    let address = run.address.as_ref().map(|address| format!(" at {address}")).unwrap_or_default();
    format!("{}{version}{address}", run.name)
}

/// A feature's verdict in a word.
#[must_use]
pub fn word(feature: &Feature<'_>) -> &'static str {
    match feature.verdict {
        FeatureVerdict::Fail if feature.totals.failed == 0 => "fail (known)",
        FeatureVerdict::NotTested if feature.totals.errors > 0 => "error",
        verdict => verdict.name(),
    }
}

/// The warnings that nothing explains.
pub fn warnings(run: &TargetRun) -> impl Iterator<Item = (&Outcome, &Finding)> {
    findings(run)
        .filter(|(_, finding)| finding.severity == Severity::Warning && finding.known.is_none())
}

/// The findings that a record explains, with the reason.
pub fn known(run: &TargetRun) -> impl Iterator<Item = (&Outcome, &Finding, &str)> {
    findings(run)
        .filter_map(|(outcome, finding)| Some((outcome, finding, finding.known.as_deref()?)))
}

fn findings(run: &TargetRun) -> impl Iterator<Item = (&Outcome, &Finding)> {
    run.outcomes
        .iter()
        .flat_map(|outcome| outcome.findings.iter().map(move |finding| (outcome, finding)))
}

/// The scenarios that were skipped, by reason: for each the ids.
#[must_use]
pub fn skips(run: &TargetRun) -> Vec<(&str, Vec<&str>)> {
    let mut groups: BTreeMap<(SkipKind, &str), Vec<&str>> = BTreeMap::new();
    for outcome in &run.outcomes {
        if let (Some(kind), Some(reason)) = (outcome.skipped, &outcome.reason) {
            groups.entry((kind, reason)).or_default().push(&outcome.id);
        }
    }
    groups.into_iter().map(|((_, reason), ids)| (reason, ids)).collect()
}

/// Whom the skips of a reason concern: the scenario, or how many.
#[must_use]
pub fn whom(ids: &[&str]) -> String {
    match ids {
        [id] => (*id).to_owned(),
        ids => format!("{} scenarios", ids.len()),
    }
}

/// A line as evidence: names may be thousands of bytes long.
#[must_use]
pub fn cut(line: &str) -> String {
    limited(line, 500)
}

/// The first line, for an overview.
#[must_use]
pub fn shortened(text: &str) -> String {
    limited(text.lines().next().unwrap_or_default(), 160)
}

fn limited(line: &str, characters: usize) -> String {
    let line = clean(line);
    match line.char_indices().nth(characters) {
        Some((at, _)) => format!("{}... ({} bytes in all)", &line[..at], line.len()),
        None => line,
    }
}

/// The headings of the specification where a rule stands, in quotes.
#[must_use]
pub fn sections(section: &str) -> String {
    let parts: Vec<String> =
        section.split(" ; ").take(2).map(|part| format!("\"{part}\"")).collect();
    let word = if parts.len() == 1 { "section" } else { "sections" };
    format!("{word} {}", parts.join(", "))
}
