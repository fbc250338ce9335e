//! TAP, version 13, the newest that `prove` of the distributions reads: a test point for each scenario.

use std::fmt::Write as _;

use super::{digest, terminal};
use crate::finding::Verdict;
use crate::markup::clean;
use crate::run::Outcome;
use crate::run::result::TargetRun;

/// The document as text.
#[must_use]
pub fn render(runs: &[TargetRun]) -> String {
    let mut out = "TAP version 13\n".to_owned();
    let points = runs.iter().map(|run| run.outcomes.len() + usize::from(run.problem.is_some()));
    let _ = writeln!(out, "1..{}", points.sum::<usize>());
    let mut number = 0;
    for run in runs {
        for outcome in &run.outcomes {
            number += 1;
            point(number, &run.name, outcome, &mut out);
        }
        if let Some(problem) = &run.problem {
            number += 1;
            let word = digest::problem_word(run);
            let _ = writeln!(out, "not ok {number} - {}: {word}", description(&run.name));
            diagnostics(&[("message", problem)], &mut out);
        }
    }
    out
}

fn point(number: usize, target: &str, outcome: &Outcome, out: &mut String) {
    let name = description(&format!("{target}: {}", outcome.id));
    let reason = outcome.reason.as_deref().unwrap_or_default();
    let known = || outcome.findings.iter().find_map(|finding| finding.known.as_deref());
    let (ok, directive) = match outcome.verdict {
        Verdict::Pass | Verdict::Warn => ("ok", String::new()),
        Verdict::Skip => ("ok", format!(" # SKIP {}", description(reason))),
        // A failure that is expected is what TAP calls a TODO.
        Verdict::Fail if outcome.is_known() => {
            ("not ok", format!(" # TODO {}", description(known().unwrap_or("known"))))
        }
        Verdict::Fail | Verdict::Error => ("not ok", String::new()),
    };
    let _ = writeln!(out, "{ok} {number} - {name}{directive}");
    let milliseconds = outcome.duration.as_millis().to_string();
    let text = match outcome.verdict {
        Verdict::Error => reason.to_owned(),
        _ if outcome.findings.is_empty() => return,
        _ => terminal::outcome_text(outcome),
    };
    let rule = outcome.findings.first();
    diagnostics(
        &[
            ("severity", outcome.verdict.name()),
            ("requirement", rule.map_or("", |finding| finding.requirement.id)),
            ("message", rule.map_or(reason, |finding| finding.message.as_str())),
            ("duration_ms", milliseconds.as_str()),
            ("detail", text.as_str()),
        ],
        out,
    );
}

/// Text on a line of a test point: one line, without what could be taken for a directive.
fn description(text: &str) -> String {
    let text = clean(text).replace(['\n', '\t'], " ");
    text.replace('\\', "\\\\").replace('#', "\\#")
}

/// A block of YAML, in the part of it that `prove` reads. Several lines stand in it as they are; the
/// rest as JSON's strings, which are YAML's too.
fn diagnostics(fields: &[(&str, &str)], out: &mut String) {
    out.push_str("  ---\n");
    for (key, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
        let value = clean(value).replace('\t', " ");
        let value = value.trim_end_matches('\n');
        if value.contains('\n') {
            // The first line says how far all are indented, and an empty one must be so, too.
            let _ = writeln!(out, "  {key}: |");
            for line in value.trim_start().lines() {
                let _ = writeln!(out, "    {line}");
            }
        } else {
            let _ = writeln!(out, "  {key}: {}", serde_json::Value::from(value));
        }
    }
    out.push_str("  ...\n");
}
