//! What a person reads: the summary by feature and version, then each failure with its evidence.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use comfy_table::{Cell, CellAlignment, Table, presets};

use crate::finding::{Finding, Severity, Verdict};
use crate::run::deviations::counts;
use crate::run::runner::TargetRun;
use crate::run::{FeatureVerdict, Outcome, SkipKind, Totals, features};

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
    let version = run.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
    let address = run.address.as_ref().map(|address| format!(" at {address}")).unwrap_or_default();
    let title = format!("{}{version}{address}", run.name);
    let _ = writeln!(out, "{}", styled(STRONG, title));
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
        let _ = writeln!(out, "{} {problem}\n", styled(BAD, "no verdict:"));
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
        let verdict = match feature.verdict {
            FeatureVerdict::Fail if failed == 0 => "fail (known)",
            verdict if errors > 0 && verdict == FeatureVerdict::NotTested => "error",
            verdict => verdict.name(),
        };
        table.add_row(vec![
            Cell::new(feature.since).set_alignment(CellAlignment::Right),
            Cell::new(feature.name),
            Cell::new(verdict),
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
        for line in reason.lines() {
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
    let section = sections(rule.section);
    let _ = writeln!(
        out,
        "  {}   {} ({}, {}; {section})",
        styled(QUIET, &finding.at),
        styled(style, rule.id),
        rule.level,
        finding.party.name(),
    );
    let _ = writeln!(out, "     {}", finding.message);
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

/// The headings of the specification where a rule stands, in quotes.
fn sections(section: &str) -> String {
    let parts: Vec<String> =
        section.split(" ; ").take(2).map(|part| format!("\"{part}\"")).collect();
    let word = if parts.len() == 1 { "section" } else { "sections" };
    format!("{word} {}", parts.join(", "))
}

fn warnings(run: &TargetRun, strict: bool, out: &mut String) {
    if strict {
        return;
    }
    let mut lines = Vec::new();
    for outcome in &run.outcomes {
        for finding in &outcome.findings {
            if finding.severity == Severity::Warning && finding.known.is_none() {
                let rule = finding.requirement;
                lines.push(format!(
                    "  {}  {} ({}): {}",
                    outcome.id, rule.id, rule.level, finding.message
                ));
                if !finding.detail.received.is_empty() && finding.detail.received != finding.message
                {
                    lines.push(format!("      {}", shortened(&finding.detail.received)));
                }
            }
        }
    }
    if !lines.is_empty() {
        let _ = writeln!(out, "{}\n{}\n", styled(DOUBT, "warnings"), lines.join("\n"));
    }
}

/// A line as evidence: names may be thousands of bytes long.
fn cut(line: &str) -> String {
    limited(line, 500)
}

/// A line for an overview.
fn shortened(text: &str) -> String {
    limited(text.lines().next().unwrap_or_default(), 160)
}

fn limited(line: &str, characters: usize) -> String {
    match line.char_indices().nth(characters) {
        Some((at, _)) => format!("{}... ({} bytes in all)", &line[..at], line.len()),
        None => line.to_owned(),
    }
}

fn known(run: &TargetRun, out: &mut String) {
    let mut lines = Vec::new();
    for outcome in &run.outcomes {
        for finding in &outcome.findings {
            if let Some(reason) = &finding.known {
                lines.push(format!("  {}  {}: {reason}", outcome.id, finding.requirement.id));
            }
        }
    }
    if !lines.is_empty() {
        let _ = writeln!(out, "{}\n{}\n", styled(DOUBT, "known deviations"), lines.join("\n"));
    }
}

fn skips(run: &TargetRun, out: &mut String) {
    let mut groups: std::collections::BTreeMap<(SkipKind, &str), Vec<&str>> = Default::default();
    for outcome in &run.outcomes {
        if let (Some(kind), Some(reason)) = (outcome.skipped, &outcome.reason) {
            groups.entry((kind, reason)).or_default().push(&outcome.id);
        }
    }
    if groups.is_empty() {
        return;
    }
    let _ = writeln!(out, "{}", styled(QUIET, "skipped"));
    for ((_, reason), ids) in groups {
        let _ = match ids.as_slice() {
            [id] => writeln!(out, "  {id}: {reason}"),
            ids => writeln!(out, "  {} scenarios: {reason}", ids.len()),
        };
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Detail;
    use crate::script::ast::Version;
    use protocol::message::Side;
    use std::time::Duration;

    fn finding(id: &str, severity: Severity) -> Finding {
        let received = "S: NBD_REP_INFO NBD_INFO_BLOCK_SIZE option=NBD_OPT_GO minimum=768 preferred=4096 maximum=33554432";
        Finding {
            requirement: protocol::requirements::find(id).unwrap(),
            severity,
            party: Side::Server,
            message: "minimum=768 is not a power of 2".to_owned(),
            at: "scenarios/2.10-go/block-size.nbd:18".to_owned(),
            detail: Detail {
                expected: vec!["An advertised minimum block size is a power of two.".to_owned()],
                received: received.to_owned(),
                is_end: false,
                mark: Some((received.find("minimum").unwrap(), 11, "minimum=768 is not a power of 2".to_owned())),
                bytes: Some("00 00 03 00 at byte 22 of the message (server stream offset 72)".to_owned()),
                after: vec![
                    "C: NBD_OPT_GO name=\"disk\" info={NBD_INFO_BLOCK_SIZE}".to_owned(),
                    "S: NBD_REP_INFO NBD_INFO_EXPORT option=NBD_OPT_GO size=1048576 flags={HAS_FLAGS}".to_owned(),
                ],
            },
            known: None,
        }
    }

    fn outcome(id: &str, verdict: Verdict, findings: Vec<Finding>) -> Outcome {
        Outcome {
            target: "example".to_owned(),
            id: id.to_owned(),
            title: "block sizes are lawful".to_owned(),
            since: Version { major: 2, minor: 10 },
            feature: "NBD_OPT_GO".to_owned(),
            verdict,
            reason: None,
            skipped: None,
            duration: Duration::from_millis(21),
            requirements: Vec::new(),
            capture: None,
            findings,
            again: format!("nbdcheck run --target 127.0.0.1:10809 --scenario {id} --capture out/"),
        }
    }

    fn run(outcomes: Vec<Outcome>) -> TargetRun {
        TargetRun {
            name: "example".to_owned(),
            version: Some("1.2".to_owned()),
            address: None,
            problem: None,
            outcomes,
            duration: Duration::from_millis(42),
        }
    }

    fn plain(run: &TargetRun) -> String {
        anstream::adapter::strip_str(&render(run, false)).to_string()
    }

    #[test]
    fn a_failure_shows_rule_evidence_and_how_to_run_it_again() {
        let findings = vec![finding("block-size-min-power-of-2", Severity::Failure)];
        let failed = outcome("2.10-go/block-size", Verdict::Fail, findings);
        insta::assert_snapshot!(plain(&run(vec![failed])));
    }

    #[test]
    fn skips_warnings_and_known_failures_are_told_apart() {
        let mut skipped = outcome("2.11-structured/df", Verdict::Skip, Vec::new());
        skipped.skipped = Some(SkipKind::NotOffered);
        skipped.reason =
            Some("no SEND_DF: S: NBD_REP_INFO NBD_INFO_EXPORT flags={HAS_FLAGS}".to_owned());
        let warned = outcome(
            "2.10-go/size",
            Verdict::Warn,
            vec![finding("export-size-multiple-of-min", Severity::Warning)],
        );
        let mut known = finding("block-size-min-power-of-2", Severity::Failure);
        known.known = Some("says 768; section \"Size constraints\"".to_owned());
        let known = outcome("2.10-go/block-size", Verdict::Fail, vec![known]);
        let passed = outcome("2.6-base/sanity", Verdict::Pass, Vec::new());
        insta::assert_snapshot!(plain(&run(vec![skipped, warned, known, passed])));
    }
}
