//! What a person reads: the summary by version and feature, then each cause of failures with its
//! evidence.

mod evidence;
mod features;
mod style;

use std::collections::HashSet;
use std::fmt::Write as _;

use anstyle::Style;

pub use style::View;
use style::{BAD, DOUBT, GOOD, QUIET, STRONG, styled, wrapped};

use super::causes::{Cause, Weight, causes, count};
use super::{digest, skips};
use crate::markup::clean;
use crate::run::deviations::counts;
use crate::run::result::TargetRun;
use crate::run::{Outcome, SkipKind, Totals};
use dissector::render::Plural;

/// The whole report of a target. Colours are always in it; the stream it is printed on takes them
/// out where they are not wanted.
#[must_use]
pub fn render(run: &TargetRun, view: View) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{}", styled(STRONG, clean(&digest::title(run))));
    if !run.outcomes.is_empty() && view.verbose {
        let _ = writeln!(out, "{}\n", features::table(run));
    } else if !run.outcomes.is_empty() {
        let _ = writeln!(out, "{}", features::overview(run));
    }
    let causes = causes(run);
    evidence::failures(&causes, view, &mut out);
    if view.verbose {
        each(run, &causes, view, &mut out);
    }
    evidence::errors(run, view, &mut out);
    brief("warnings", Weight::Warning, &causes, view, &mut out);
    brief("known deviations", Weight::Known, &causes, view, &mut out);
    skipped(run, view, &mut out);
    if let Some(problem) = &run.problem {
        let word = styled(BAD, format!("{}:", digest::problem_word(run)));
        let _ = writeln!(out, "{word} {}\n", clean(problem));
    }
    let first = causes.iter().find(|cause| cause.weight == Weight::Failure);
    if let Some(cause) = first {
        let id = cause.requirement().id;
        let _ =
            writeln!(out, "`nbdcheck explain {id}` shows the text of a rule and its section.\n");
    }
    let _ = writeln!(out, "{}", totals_line(run));
    out
}

/// The scenarios that only a list of ids has named so far.
fn each(run: &TargetRun, causes: &[Cause<'_>], view: View, out: &mut String) {
    let alone = |outcome: &Outcome| {
        causes.iter().any(|cause| cause.outcome.id == outcome.id && cause.within.is_none())
    };
    for outcome in &run.outcomes {
        if counts(outcome, view.strict) && !alone(outcome) {
            let _ = writeln!(out, "{}", evidence::block(outcome, |_| true));
        }
    }
}

/// The last line: how many scenarios came out how.
#[must_use]
pub fn totals_line(run: &TargetRun) -> String {
    let totals = Totals::of(&run.outcomes);
    let mut words = vec![styled(GOOD, format!("{} passed", totals.passed))];
    let mut add = |count: usize, style: Style, word: &str| {
        if count > 0 {
            words.push(styled(style, format!("{count} {word}")));
        }
    };
    add(totals.warned, DOUBT, "warned");
    add(totals.failed, BAD, "failed");
    add(totals.known, DOUBT, "known to fail");
    add(totals.errors, BAD, "without verdict");
    add(totals.skipped - totals.not_run, QUIET, "skipped");
    add(totals.not_run, DOUBT, "not run");
    let ran = totals.ran();
    let all = run.outcomes.len();
    let count = count(&causes(run));
    let reasons = if count.scenarios > 0 {
        let (causes, scenarios) = (count.causes as u64, count.scenarios as u64);
        format!("; {} in {}", Plural(causes, "cause"), Plural(scenarios, "scenario"))
    } else {
        String::new()
    };
    let end = match (&run.problem, digest::problem_word(run)) {
        (None, _) => String::new(),
        (Some(_), "FAIL") => styled(BAD, "; not finished"),
        (Some(_), word) => styled(BAD, format!("; {word}")),
    };
    let words = words.join(", ");
    format!("{}: {words}{reasons}; {ran} of {all} ran, {:.2?}{end}", run.name, run.duration)
}

/// The last line without colours.
#[must_use]
pub fn totals_text(run: &TargetRun) -> String {
    anstream::adapter::strip_str(&totals_line(run)).to_string()
}

/// An outcome with all its findings.
#[must_use]
pub fn outcome(outcome: &Outcome) -> String {
    evidence::block(outcome, |_| true)
}

/// An outcome with all its findings, without colours.
#[must_use]
pub fn outcome_text(outcome: &Outcome) -> String {
    anstream::adapter::strip_str(&evidence::block(outcome, |_| true)).to_string()
}

/// A cause with its evidence and the ids of its scenarios, without colours.
#[must_use]
pub fn cause_text(place: usize, causes: &[Cause<'_>]) -> String {
    let view = View { strict: true, verbose: true };
    anstream::adapter::strip_str(&evidence::group(place, causes, view)).to_string()
}

/// Causes of less weight: a line for each, and what was received.
fn brief(title: &str, weight: Weight, causes: &[Cause<'_>], view: View, out: &mut String) {
    if weight == Weight::Warning && view.strict {
        return;
    }
    let named = |ids: &[&str]| {
        let whom = if view.verbose { ids.join(", ") } else { digest::whom(ids) };
        wrapped(&whom).join("\n  ")
    };
    let mut lines = Vec::new();
    // Entries of a record with one reason are one line, whatever the events.
    let mut known: Vec<(&str, &str, Vec<&str>)> = Vec::new();
    for cause in causes.iter().filter(|cause| cause.weight == weight) {
        let rule = cause.requirement();
        if let Some(reason) = &cause.finding.known {
            let ids = cause.ids();
            match known.iter_mut().find(|(id, of, _)| (*id, *of) == (rule.id, reason)) {
                Some((_, _, all)) => all.extend(ids),
                None => known.push((rule.id, reason, ids)),
            }
            continue;
        }
        let whom = named(&cause.ids());
        let message = cause.message();
        lines.push(format!("  {whom}  {} ({}): {}", rule.id, rule.level, clean(&message)));
        let detail = &cause.finding.detail;
        if !detail.received.is_empty() && detail.received != message {
            lines.push(format!("      received  {}", digest::shortened(&detail.received)));
        }
        // What the judge expects is the rule.
        for (index, expected) in detail.expected.iter().filter(|_| !detail.judged).enumerate() {
            let word = if index == 0 { "expected" } else { "      or" };
            lines.push(format!("      {word}  {}", digest::shortened(expected)));
        }
    }
    for (id, reason, mut ids) in known {
        let mut seen = HashSet::new();
        ids.retain(|id| seen.insert(*id));
        lines.push(format!("  {}  {id}: {reason}", named(&ids)));
    }
    list(title, DOUBT, &lines, out);
}

fn skipped(run: &TargetRun, view: View, out: &mut String) {
    let reasons = skips::by_reason(run);
    if view.verbose || reasons.len() <= skips::FEW {
        let lines: Vec<String> = reasons
            .into_iter()
            .map(|(reason, ids)| {
                let whom = if view.verbose { ids.join(", ") } else { digest::whom(&ids) };
                format!("  {}: {}", wrapped(&whom).join("\n  "), clean(reason))
            })
            .collect();
        return list("skipped", QUIET, &lines, out);
    }
    let mut lines = Vec::new();
    for class in skips::classes(run) {
        let word = match class.kind {
            SkipKind::NotOffered => "not offered",
            SkipKind::NotAllowed => "not allowed",
            SkipKind::NotPossible => "not possible",
            SkipKind::NotRun => "not run",
        };
        let reasons: Vec<String> = class
            .reasons
            .iter()
            .map(|(reason, count)| match (class.reasons.len(), count) {
                (1, _) => reason.clone(),
                (_, count) => format!("{reason} ({count})"),
            })
            .collect();
        let text = wrapped(&reasons.join("; ")).join(&format!("\n{:20}", ""));
        lines.push(format!("  {word:<12} {:>3}  {text}", class.count));
    }
    list("skipped (-v lists each one, with the message that shows why)", QUIET, &lines, out);
}

fn list(title: &str, style: Style, lines: &[String], out: &mut String) {
    if !lines.is_empty() {
        let _ = writeln!(out, "{}\n{}\n", styled(style, title), lines.join("\n"));
    }
}
