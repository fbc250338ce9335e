//! What all reports for people say of a run, gathered once.

use std::collections::BTreeMap;

use crate::finding::{EventKind, Verdict};
use crate::markup::clean;
use crate::run::features::{Feature, FeatureVerdict};
use crate::run::result::TargetRun;
use crate::run::{Outcome, SkipKind};

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

/// What the problem of a run amounts to, in a word: it ended early for the death of the server, or
/// for another reason, or there is no verdict at all.
#[must_use]
pub fn problem_word(run: &TargetRun) -> &'static str {
    let cut_short = run.outcomes.iter().any(|it| it.skipped == Some(SkipKind::NotRun));
    let mut findings = run.outcomes.iter().flat_map(|outcome| &outcome.findings);
    match cut_short {
        _ if run.stopped => "FAIL",
        true if findings.any(|it| it.detail.event == EventKind::Death) => "FAIL",
        true => "not finished",
        false => "no verdict",
    }
}

/// The scenarios without a verdict, by reason.
#[must_use]
pub fn errors(run: &TargetRun) -> Vec<(&str, Vec<&Outcome>)> {
    let mut groups: Vec<(&str, Vec<&Outcome>)> = Vec::new();
    for outcome in run.outcomes.iter().filter(|outcome| outcome.verdict == Verdict::Error) {
        let reason = outcome.reason.as_deref().unwrap_or_default();
        match groups.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, outcomes)) => outcomes.push(outcome),
            None => groups.push((reason, vec![outcome])),
        }
    }
    groups
}

/// Ids in a row; where there are more than `most`, how many each folder has.
#[must_use]
pub fn ids(ids: &[&str], most: usize) -> String {
    if ids.len() <= most {
        return ids.join(", ");
    }
    let mut folders: BTreeMap<&str, usize> = BTreeMap::new();
    for id in ids {
        *folders.entry(id.rsplit_once('/').map_or(*id, |(folder, _)| folder)).or_default() += 1;
    }
    let folders: Vec<String> =
        folders.iter().map(|(folder, count)| format!("{folder} ({count})")).collect();
    folders.join(", ")
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
