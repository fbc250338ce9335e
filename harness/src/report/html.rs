//! One HTML file: the summary, each failure with its evidence, all scenarios.

use maud::{Markup, html};

use super::{digest, terminal};
use crate::finding::{Finding, Verdict};
use crate::markup::html::{page, text};
use crate::run::runner::TargetRun;
use crate::run::{Feature, Outcome, Totals, features};

/// The document as text.
#[must_use]
pub fn render(runs: &[TargetRun]) -> String {
    page(
        "nbdcheck",
        &html! {
            h1 { "nbdcheck" }
            @if runs.len() > 1 {
                ul { @for (index, run) in runs.iter().enumerate() {
                    li { a href={ "#run-" (index) } { (text(&digest::title(run))) } ": "
                        (text(&terminal::totals_text(run))) }
                } }
            }
            @for (index, run) in runs.iter().enumerate() { (section(index, run)) }
        },
    )
}

fn section(index: usize, run: &TargetRun) -> Markup {
    let is_bad = |outcome: &&Outcome| {
        outcome.verdict == Verdict::Error || outcome.verdict == Verdict::Fail && !outcome.is_known()
    };
    let skips = digest::skips(run);
    html! {
        h2 id={ "run-" (index) } { (text(&digest::title(run))) }
        p { (text(&terminal::totals_text(run))) }
        @if let Some(problem) = &run.problem {
            p { span.badge.error { "no verdict" } " " (text(problem)) }
        }
        @if !run.outcomes.is_empty() { (summary(&features(&run.outcomes))) }
        @for outcome in run.outcomes.iter().filter(is_bad) { (evidence(outcome)) }
        @let rest: Vec<_> = run.outcomes.iter()
            .filter(|outcome| !outcome.findings.is_empty() && !is_bad(outcome)).collect();
        @if !rest.is_empty() {
            h3 { "Warnings and known deviations" }
            @for outcome in rest { (evidence(outcome)) }
        }
        @if !skips.is_empty() {
            h3 { "Skipped" }
            ul { @for (reason, ids) in &skips {
                li { (digest::whom(ids)) ": " code { (text(reason)) } }
            } }
        }
        @if !run.outcomes.is_empty() { (all(run)) }
    }
}

fn summary(features: &[Feature<'_>]) -> Markup {
    html! { div.scroll { table {
        thead { tr { @for head in ["since", "feature", "verdict", "pass", "warn", "fail", "known", "skip"] {
            th scope="col" { (head) }
        } } }
        tbody { @for feature in features {
            @let Totals { passed, warned, failed, known, skipped, errors } = feature.totals;
            @let class = match digest::word(feature) { "fail (known)" => "known", word => word };
            tr {
                td { (feature.since) }
                th scope="row" { (text(feature.name)) }
                td.(class) { (digest::word(feature)) }
                @for n in [passed, warned, failed + errors, known, skipped] {
                    td.number { @if n > 0 { (n) } @else { "·" } }
                }
            }
        } }
    } } }
}

fn evidence(outcome: &Outcome) -> Markup {
    let known = outcome.is_known();
    let class = if known { "known" } else { outcome.verdict.name() };
    let open = !known && matches!(outcome.verdict, Verdict::Fail | Verdict::Error);
    html! {
        details open[open] {
            summary {
                span.badge.(class) { (if known { "known" } else { outcome.verdict.name() }) }
                " " code { (text(&outcome.id)) } " " span.quiet { (text(&outcome.title)) }
            }
            @if let Some(reason) = &outcome.reason { p { (text(reason)) } }
            @for finding in &outcome.findings { (rule(finding)) }
            @if let Some(first) = outcome.findings.first() && !first.detail.after.is_empty() {
                p.quiet { "The conversation before" }
                pre { @for line in &first.detail.after { (text(&digest::cut(line))) "\n" } }
            }
            @if let Some(capture) = &outcome.capture { p { "Capture: " code { (text(capture)) } } }
            p { "Again: " code { (text(&outcome.again)) } }
        }
    }
}

fn rule(finding: &Finding) -> Markup {
    let rule = finding.requirement;
    let detail = &finding.detail;
    html! {
        p {
            strong { (rule.id) } " (" (rule.level) ", " (finding.party.name()) "; "
            (digest::sections(rule.section)) ") "
            span.quiet { (text(&finding.at)) }
            br; (text(&finding.message))
            @if let Some(known) = &finding.known { br; span.badge.known { "known" } " " (text(known)) }
        }
        pre {
            @for (index, expected) in detail.expected.iter().enumerate() {
                @if index == 0 { "expected  " } @else { "      or  " }
                (text(&digest::cut(expected))) "\n"
            }
            @if !detail.received.is_empty() { "received  " (received(finding)) "\n" }
            @if let Some(bytes) = &detail.bytes { "bytes     " (text(bytes)) "\n" }
        }
    }
}

/// What came, with the wrong part marked.
fn received(finding: &Finding) -> Markup {
    let line = &finding.detail.received;
    let parts = finding.detail.mark.as_ref().and_then(|(start, length, _)| {
        let end = start.checked_add(*length)?;
        Some((line.get(..*start)?, line.get(*start..end)?, line.get(end..)?))
    });
    match parts {
        Some((before, wrong, after)) if before.len() < 500 => html! {
            (text(before)) mark { (text(&digest::cut(wrong))) } (text(&digest::cut(after)))
        },
        _ => text(&digest::cut(line)),
    }
}

fn all(run: &TargetRun) -> Markup {
    html! { details {
        summary { "All scenarios (" (run.outcomes.len()) ")" }
        div.scroll { table {
            thead { tr { @for head in ["scenario", "verdict", "what it shows", "ms"] {
                th scope="col" { (head) }
            } } }
            tbody { @for outcome in &run.outcomes {
                @let known = outcome.is_known();
                tr {
                    td { code { (text(&outcome.id)) } }
                    @if known { td.known { "fail (known)" } }
                    @else { td.(outcome.verdict.name()) { (outcome.verdict.name()) } }
                    td { (text(&outcome.title)) }
                    td.number { (outcome.duration.as_millis()) }
                }
            } }
        } }
    } }
}
