//! What a person reads: the summary by feature and version, then each failure with its evidence.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use comfy_table::{Cell, CellAlignment, Table, presets};

use super::digest::{self, cut};
use crate::finding::{Finding, Severity, Verdict};
use crate::markup::clean;
use crate::run::deviations::counts;
use crate::run::runner::TargetRun;
use crate::run::{Outcome, Totals, features};

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const DOUBT: Style = AnsiColor::Yellow.on_default();
const QUIET: Style = AnsiColor::BrightBlack.on_default();
const STRONG: Style = Style::new().bold();

fn styled(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// The whole report of a target. Colours are always in it; the stream it is printed on takes them
/// out where they are not wanted.
#[must_use]
pub fn render(run: &TargetRun, strict: bool) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{}", styled(STRONG, clean(&digest::title(run))));
    if !run.outcomes.is_empty() {
        let _ = writeln!(out, "{}\n", table(run));
    }
    for outcome in &run.outcomes {
        if counts(outcome, strict) || outcome.verdict == Verdict::Error {
            let _ = writeln!(out, "{}", outcome_styled(outcome));
        }
    }
    warnings(run, strict, &mut out);
    known(run, &mut out);
    skips(run, &mut out);
    if let Some(problem) = &run.problem {
        let _ = writeln!(out, "{} {}\n", styled(BAD, "no verdict:"), clean(problem));
    }
    let _ = writeln!(out, "{}", totals_line(run));
    out
}

fn table(run: &TargetRun) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header(["since", "feature", "verdict", "pass", "warn", "fail", "known", "skip"]);
    for feature in features(&run.outcomes) {
        let Totals { passed, warned, failed, known, skipped, errors } = feature.totals;
        let number = |n: usize| {
            let text = if n == 0 { "·".to_owned() } else { n.to_string() };
            Cell::new(text).set_alignment(CellAlignment::Right)
        };
        table.add_row(vec![
            Cell::new(feature.since).set_alignment(CellAlignment::Right),
            Cell::new(feature.name),
            Cell::new(digest::word(&feature)),
            number(passed),
            number(warned),
            number(failed + errors),
            number(known),
            number(skipped),
        ]);
    }
    table
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
    add(totals.skipped, QUIET, "skipped");
    let ran = totals.ran();
    let all = run.outcomes.len();
    format!("{}: {}; {ran} of {all} ran, {:.2?}", run.name, words.join(", "), run.duration)
}

/// The last line without colours.
#[must_use]
pub fn totals_text(run: &TargetRun) -> String {
    anstream::adapter::strip_str(&totals_line(run)).to_string()
}

/// An outcome with all its findings, without colours.
#[must_use]
pub fn outcome_text(outcome: &Outcome) -> String {
    anstream::adapter::strip_str(&outcome_styled(outcome)).to_string()
}

fn outcome_styled(outcome: &Outcome) -> String {
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
    let mut findings: Vec<&Finding> = outcome.findings.iter().collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    for (index, finding) in findings.iter().enumerate() {
        // The conversation is the same; once is enough.
        render_finding(finding, index == 0, &mut out);
    }
    let _ = writeln!(out, "  {}  {}", styled(QUIET, "again"), outcome.again);
    out
}

fn render_finding(finding: &Finding, with_lines: bool, out: &mut String) {
    let rule = finding.requirement;
    let style = match finding.severity {
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
    let _ = writeln!(out, "     {}", clean(&finding.message));
    if let Some(reason) = &finding.known {
        let _ = writeln!(out, "     {}     {reason}", styled(QUIET, "known"));
    }
    for (index, expected) in finding.detail.expected.iter().enumerate() {
        let word = if index == 0 { "expected" } else { "      or" };
        let _ = writeln!(out, "     {}  {}", styled(QUIET, word), cut(expected));
    }
    let received = &finding.detail.received;
    if !received.is_empty() {
        for (index, line) in received.lines().enumerate() {
            let word = if index == 0 { "received" } else { "        " };
            let _ = writeln!(out, "     {}  {}", styled(QUIET, word), cut(line));
        }
        let shown = cut(received).len();
        if let Some((start, length, note)) = &finding.detail.mark
            && *start < shown
        {
            let width = received.get(..*start).map_or(0, |text| text.chars().count());
            let marked =
                received.get(*start..start + length).map_or(1, |text| text.chars().count());
            let carets = styled(style, "^".repeat(marked.clamp(1, 60)));
            let note = if *note == finding.message { "" } else { note.as_str() };
            let line = format!("               {}{carets} {note}", " ".repeat(width));
            let _ = writeln!(out, "{}", line.trim_end());
        }
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

fn warnings(run: &TargetRun, strict: bool, out: &mut String) {
    if strict {
        return;
    }
    let mut lines = Vec::new();
    for (outcome, finding) in digest::warnings(run) {
        let rule = finding.requirement;
        lines.push(format!("  {}  {} ({}): {}", outcome.id, rule.id, rule.level, finding.message));
        if !finding.detail.received.is_empty() && finding.detail.received != finding.message {
            lines.push(format!("      {}", digest::shortened(&finding.detail.received)));
        }
    }
    list("warnings", DOUBT, &lines, out);
}

fn known(run: &TargetRun, out: &mut String) {
    let lines: Vec<String> = digest::known(run)
        .map(|(outcome, finding, reason)| {
            format!("  {}  {}: {reason}", outcome.id, finding.requirement.id)
        })
        .collect();
    list("known deviations", DOUBT, &lines, out);
}

fn skips(run: &TargetRun, out: &mut String) {
    let lines: Vec<String> = digest::skips(run)
        .into_iter()
        .map(|(reason, ids)| format!("  {}: {}", digest::whom(&ids), clean(reason)))
        .collect();
    list("skipped", QUIET, &lines, out);
}

fn list(title: &str, style: Style, lines: &[String], out: &mut String) {
    if !lines.is_empty() {
        let _ = writeln!(out, "{}\n{}\n", styled(style, title), lines.join("\n"));
    }
}
