//! Markdown, for pull requests and the summaries of CI jobs.

use std::fmt::Write as _;

use super::{digest, terminal};
use crate::finding::Verdict;
use crate::markup::markdown::{block, row, text};
use crate::run::runner::TargetRun;
use crate::run::{Totals, features};

/// The document as text.
#[must_use]
pub fn render(runs: &[TargetRun]) -> String {
    let runs: Vec<String> = runs.iter().map(section).collect();
    format!("# nbdcheck\n\n{}", runs.join("\n"))
}

fn section(run: &TargetRun) -> String {
    let mut out = format!("## {}\n\n", text(&digest::title(run)));
    let _ = writeln!(out, "{}\n", text(&terminal::totals_text(run)));
    if let Some(problem) = &run.problem {
        let _ = writeln!(out, "**No verdict**: {}\n", text(problem));
    }
    if !run.outcomes.is_empty() {
        table(run, &mut out);
    }
    for outcome in &run.outcomes {
        let failed = outcome.verdict == Verdict::Fail && !outcome.is_known();
        if failed || outcome.verdict == Verdict::Error {
            let _ = writeln!(out, "\n### {} {}\n", outcome.verdict.name(), text(&outcome.id));
            let _ = write!(out, "{}", block(&terminal::outcome_text(outcome)));
        }
    }
    list(
        "Warnings",
        digest::warnings(run).map(|(outcome, finding)| {
            let rule = finding.requirement;
            format!("{} {} ({}): {}", outcome.id, rule.id, rule.level, finding.message)
        }),
        &mut out,
    );
    list(
        "Known deviations",
        digest::known(run).map(|(outcome, finding, reason)| {
            format!("{} {}: {reason}", outcome.id, finding.requirement.id)
        }),
        &mut out,
    );
    let skips = digest::skips(run);
    list(
        "Skipped",
        skips.iter().map(|(reason, ids)| format!("{}: {reason}", digest::whom(ids))),
        &mut out,
    );
    out
}

fn list(title: &str, lines: impl Iterator<Item = String>, out: &mut String) {
    let lines: Vec<String> = lines.collect();
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n<details><summary>{title} ({})</summary>\n", lines.len());
    for line in lines {
        let _ = writeln!(out, "- {}", text(&line));
    }
    out.push_str("\n</details>\n");
}

fn table(run: &TargetRun, out: &mut String) {
    let head = ["since", "feature", "verdict", "pass", "warn", "fail", "known", "skip"];
    out.push_str(&row(&head.map(str::to_owned)));
    let rule = ["---", "---", "---", "--:", "--:", "--:", "--:", "--:"];
    out.push_str(&row(&rule.map(str::to_owned)));
    for feature in features(&run.outcomes) {
        let Totals { passed, warned, failed, known, skipped, errors } = feature.totals;
        let word = digest::word(&feature);
        let bad = failed + errors > 0;
        let mut cells = vec![
            feature.since.to_string(),
            text(feature.name),
            if bad { format!("**{word}**") } else { word.to_owned() },
        ];
        let numbers = [passed, warned, failed + errors, known, skipped];
        cells.extend(numbers.map(|n| if n == 0 { String::new() } else { n.to_string() }));
        out.push_str(&row(&cells));
    }
}
