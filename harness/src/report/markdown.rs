//! Markdown, for pull requests and the summaries of CI jobs.

use std::fmt::Write as _;

use super::causes::{Cause, Weight, causes};
use super::{digest, skips, terminal};
use crate::markup::markdown::{block, row, text};
use crate::run::Totals;
use crate::run::features::features;
use crate::run::result::TargetRun;

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
        let _ = writeln!(out, "**{}**: {}\n", digest::problem_word(run), text(problem));
    }
    if !run.outcomes.is_empty() {
        table(run, &mut out);
    }
    let causes = causes(run);
    for (place, cause) in causes.iter().enumerate() {
        if cause.weight == Weight::Failure && cause.within.is_none() {
            let whom = text(&digest::whom(&cause.ids()));
            let _ = writeln!(out, "\n### fail {whom}: {}\n", text(&one_line(&cause.message())));
            let _ = write!(out, "{}", block(&terminal::cause_text(place, &causes)));
        }
    }
    for (reason, outcomes) in digest::errors(run) {
        let ids: Vec<&str> = outcomes.iter().map(|outcome| outcome.id.as_str()).collect();
        let _ = writeln!(out, "\n### error {}\n", text(&digest::whom(&ids)));
        let again = outcomes.first().map_or("", |outcome| outcome.again.as_str());
        let all = digest::ids(&ids, usize::MAX);
        let _ = write!(out, "{}", block(&format!("{reason}\nin     {all}\nagain  {again}\n")));
    }
    let line = |cause: &Cause<'_>| {
        let (rule, ids) = (cause.requirement(), cause.ids().join(", "));
        match &cause.finding.known {
            Some(reason) => format!("{ids} {}: {reason}", rule.id),
            None => format!("{ids} {} ({}): {}", rule.id, rule.level, cause.message()),
        }
    };
    let of = |weight: Weight| causes.iter().filter(move |cause| cause.weight == weight);
    list("Warnings", of(Weight::Warning).map(line), &mut out);
    list("Known deviations", of(Weight::Known).map(line), &mut out);
    let skips = skips::by_reason(run);
    list(
        "Skipped",
        skips.iter().map(|(reason, ids)| format!("{}: {reason}", digest::whom(ids))),
        &mut out,
    );
    out
}

fn one_line(message: &str) -> String {
    digest::shortened(message)
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
    for feature in features(run) {
        let Totals { passed, warned, failed, known, skipped, errors, .. } = feature.totals;
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
