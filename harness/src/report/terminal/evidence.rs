//! A failure with its evidence: alone, or for all scenarios that fail for the same cause.

use std::collections::HashSet;
use std::fmt::Write as _;

use dissector::render::Plural;

use super::style::{BAD, DOUBT, GOOD, QUIET, STRONG, View, styled, wrapped};
use crate::finding::{Finding, Severity, Verdict};
use crate::markup::clean;
use crate::report::causes::{Cause, Weight, message};
use crate::report::digest::{self, cut};
use crate::run::Outcome;
use crate::run::result::TargetRun;

/// The most ids that are listed one by one where not all are asked for.
const IDS: usize = 12;
/// The most consequences that are told of a cause.
const CONSEQUENCES: usize = 5;

/// The failures of a run, by cause; with `strict` warnings are failures too.
pub(super) fn failures(causes: &[Cause<'_>], view: View, out: &mut String) {
    let counts = |cause: &Cause<'_>| match cause.weight {
        Weight::Failure => true,
        Weight::Warning => view.strict,
        Weight::Known => false,
    };
    let mut shown: HashSet<&str> = HashSet::new();
    for (place, cause) in causes.iter().enumerate() {
        if !counts(cause) || cause.within.is_some() {
            continue;
        }
        if let [outcome] = cause.scenarios.as_slice() {
            // What else only this scenario shows stands in the same block.
            if shown.insert(&outcome.id) {
                let own = |finding: &Finding| {
                    causes.iter().any(|cause| {
                        counts(cause)
                            && cause.within.is_none()
                            && cause.scenarios.len() == 1
                            && cause.scenarios[0].id == outcome.id
                            && cause.covers(finding)
                    })
                };
                let _ = writeln!(out, "{}", block(outcome, own));
            }
        } else {
            let _ = writeln!(out, "{}", group(place, causes, view));
        }
    }
}

/// Several scenarios with one cause.
pub(super) fn group(place: usize, causes: &[Cause<'_>], view: View) -> String {
    let mut out = String::new();
    let cause = &causes[place];
    let (word, style) = match cause.weight {
        Weight::Failure => ("FAIL", BAD),
        Weight::Warning | Weight::Known => ("WARN", DOUBT),
    };
    let message = cause.message();
    let whom = digest::whom(&cause.ids());
    let _ = writeln!(out, "{} {whom}: {}", styled(style, word), styled(STRONG, clean(&message)));
    render_finding(cause.finding, Some(&message), true, &mut out);
    if cause.scenarios.len() > 1 {
        let ids = digest::ids(&cause.ids(), if view.verbose { usize::MAX } else { IDS });
        let lines = wrapped(&ids);
        let _ = writeln!(out, "  {}     {}", styled(QUIET, "in"), lines.join("\n         "));
    }
    let within: Vec<&Cause<'_>> =
        causes.iter().filter(|other| other.within == Some(place)).collect();
    let most = if view.verbose { usize::MAX } else { CONSEQUENCES };
    for (index, other) in within.iter().take(most).enumerate() {
        let word = if index == 0 { "also" } else { "    " };
        let _ = writeln!(
            out,
            "  {}   in {}, and it may follow: {} ({}): {}",
            styled(QUIET, word),
            match other.is_part_of(cause) {
                true => format!("{} of them", other.scenarios.len()),
                false => format!("{} more", Plural(other.scenarios.len() as u64, "scenario")),
            },
            other.requirement().id,
            other.requirement().level,
            digest::shortened(&other.message()),
        );
    }
    if within.len() > most {
        let _ = writeln!(out, "         and {} more", Plural((within.len() - most) as u64, "kind"));
    }
    let _ = writeln!(out, "  {}  {}", styled(QUIET, "again"), cause.outcome.again);
    out
}

/// Scenarios without a verdict, by reason.
pub(super) fn errors(run: &TargetRun, view: View, out: &mut String) {
    for (reason, outcomes) in digest::errors(run) {
        if let [outcome] = outcomes.as_slice() {
            let _ = writeln!(out, "{}", block(outcome, |_| true));
            continue;
        }
        let ids: Vec<&str> = outcomes.iter().map(|outcome| outcome.id.as_str()).collect();
        let count = Plural(outcomes.len() as u64, "scenario");
        let _ = writeln!(out, "{} {count} without verdict", styled(BAD, "ERROR"));
        for line in clean(reason).lines() {
            let _ = writeln!(out, "  {line}");
        }
        let ids = digest::ids(&ids, if view.verbose { usize::MAX } else { IDS });
        let lines = wrapped(&ids);
        let _ = writeln!(out, "  {}     {}", styled(QUIET, "in"), lines.join("\n         "));
        let _ = writeln!(out, "  {}  {}\n", styled(QUIET, "again"), outcomes[0].again);
    }
}

/// An outcome with those of its findings that are wanted.
pub(super) fn block(outcome: &Outcome, wanted: impl Fn(&Finding) -> bool) -> String {
    let mut out = String::new();
    let (word, style) = match outcome.verdict {
        Verdict::Fail => ("FAIL", BAD),
        Verdict::Warn => ("WARN", DOUBT),
        Verdict::Error => ("ERROR", BAD),
        Verdict::Skip => ("SKIP", QUIET),
        Verdict::Pass => ("PASS", GOOD),
    };
    let time = outcome.duration.as_secs_f64();
    let _ = writeln!(out, "{} [{time:>7.3}s] {}", styled(style, word), styled(STRONG, &outcome.id));
    if let Some(reason) = &outcome.reason {
        for line in clean(reason).lines() {
            let _ = writeln!(out, "  {line}");
        }
    }
    let mut findings: Vec<&Finding> =
        outcome.findings.iter().filter(|finding| wanted(finding)).collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity()));
    for (index, finding) in findings.iter().enumerate() {
        // The conversation is the same; once is enough.
        render_finding(finding, None, index == 0, &mut out);
    }
    let _ = writeln!(out, "  {}  {}", styled(QUIET, "again"), outcome.again);
    out
}

/// A finding; without its message if that was said already.
fn render_finding(finding: &Finding, said: Option<&str>, with_lines: bool, out: &mut String) {
    let rule = finding.requirement;
    let style = match finding.severity() {
        Severity::Failure => BAD,
        Severity::Warning => DOUBT,
    };
    let section = digest::sections(rule.section);
    let _ = writeln!(
        out,
        "  {}   {} ({}, {}; {section})",
        styled(QUIET, &finding.at),
        styled(style, rule.id),
        rule.level,
        finding.party.name(),
    );
    let message = message(finding);
    if said != Some(message.as_str()) {
        let _ = writeln!(out, "     {}", clean(&message));
    }
    if let Some(reason) = &finding.known {
        let _ = writeln!(out, "     {}     {reason}", styled(QUIET, "known"));
    }
    let expected = &finding.detail.expected;
    if message != rule.summary && !expected.iter().any(|line| line == rule.summary) {
        let _ = writeln!(out, "     {}      {}", styled(QUIET, "rule"), rule.summary);
    }
    for (index, expected) in expected.iter().enumerate() {
        let word = if index == 0 { "expected" } else { "      or" };
        let _ = writeln!(out, "     {}  {}", styled(QUIET, word), cut(expected));
    }
    let received = &finding.detail.received;
    if !received.is_empty() && *received != message {
        for (index, line) in received.lines().enumerate() {
            let word = if index == 0 { "received" } else { "        " };
            let _ = writeln!(out, "     {}  {}", styled(QUIET, word), cut(line));
        }
        mark(finding, out);
    }
    if let Some(bytes) = &finding.detail.bytes {
        let _ = writeln!(out, "     {}     {bytes}", styled(QUIET, "bytes"));
    }
    if with_lines {
        for (index, line) in finding.detail.after.iter().enumerate() {
            let word = if index == 0 { "after" } else { "     " };
            let _ = writeln!(out, "  {}  {}", styled(QUIET, word), cut(line));
        }
    }
}

/// Carets below the wrong part of what was received.
fn mark(finding: &Finding, out: &mut String) {
    let style = match finding.severity() {
        Severity::Failure => BAD,
        Severity::Warning => DOUBT,
    };
    let received = &finding.detail.received;
    let shown = cut(received).len();
    if let Some((start, length, note)) = &finding.detail.mark
        && *start < shown
    {
        let width = received.get(..*start).map_or(0, |text| text.chars().count());
        let marked = received.get(*start..start + length).map_or(1, |text| text.chars().count());
        let carets = styled(style, "^".repeat(marked.clamp(1, 60)));
        let note = if *note == finding.message { "" } else { note.as_str() };
        let line = format!("               {}{carets} {note}", " ".repeat(width));
        let _ = writeln!(out, "{}", line.trim_end());
    }
}
