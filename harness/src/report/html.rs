//! One HTML file: the summary, each failure with its evidence, all scenarios.

use maud::{Markup, html};

use super::causes::{Cause, Weight, causes};
use super::{digest, skips, terminal};
use crate::finding::{Finding, Verdict};
use crate::markup::html::{page, text};
use crate::run::features::{Feature, features};
use crate::run::result::TargetRun;
use crate::run::{Outcome, Totals};

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
    let causes = causes(run);
    let roots = |weight: Weight| {
        let of = move |cause: &&Cause<'_>| cause.weight == weight && cause.within.is_none();
        causes.iter().filter(of)
    };
    let shown = |outcome: &&Outcome| {
        let alone = |cause: &Cause<'_>| cause.outcome.id == outcome.id;
        outcome.verdict != Verdict::Fail || causes.iter().any(alone)
    };
    let hidden: Vec<&Outcome> = run.outcomes.iter().filter(|outcome| !shown(outcome)).collect();
    let skips = skips::by_reason(run);
    html! {
        h2 id={ "run-" (index) } { (text(&digest::title(run))) }
        p { (text(&terminal::totals_text(run))) }
        @if let Some(problem) = &run.problem {
            p { span.badge.error { (digest::problem_word(run)) } " " (text(problem)) }
        }
        @if !run.outcomes.is_empty() { (summary(&features(run))) }
        @for cause in roots(Weight::Failure) { (group(cause, &causes)) }
        @for (reason, outcomes) in digest::errors(run) { (error(reason, &outcomes)) }
        @if !hidden.is_empty() {
            h3 { "Further scenarios that failed" }
            @for outcome in hidden { (evidence(outcome)) }
        }
        @let rest: Vec<_> = roots(Weight::Warning).chain(roots(Weight::Known)).collect();
        @if !rest.is_empty() {
            h3 { "Warnings and known deviations" }
            @for cause in rest { (group(cause, &causes)) }
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
            @let Totals { passed, warned, failed, known, skipped, errors, .. } = feature.totals;
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

/// The scenarios of one cause, and the conversation that shows it best.
fn group(cause: &Cause<'_>, causes: &[Cause<'_>]) -> Markup {
    let within: Vec<&Cause<'_>> = causes
        .iter()
        .filter(|other| other.within.is_some_and(|at| std::ptr::eq(&causes[at], cause)))
        .collect();
    html! {
        details open[cause.weight == Weight::Failure] {
            summary {
                span.badge.(cause.weight.name()) { (cause.weight.name()) }
                " " code { (text(&digest::whom(&cause.ids()))) }
                " " (text(&digest::shortened(&cause.message())))
            }
            (rule(cause.finding))
            @let lines = &cause.finding.detail.after;
            @if !lines.is_empty() {
                p.quiet { "The conversation before" }
                pre { @for line in lines { (text(&digest::cut(line))) "\n" } }
            }
            @if cause.scenarios.len() > 1 {
                p { "In " @for (index, id) in cause.ids().into_iter().enumerate() {
                    @if index > 0 { ", " } code { (text(id)) }
                } }
            }
            @if !within.is_empty() {
                p { "Also, in some of them; it may follow from this:" }
                ul { @for other in within { li {
                    (text(&digest::whom(&other.ids()))) ": " strong { (other.requirement().id) }
                    " (" (other.requirement().level) ") " (text(&other.message()))
                } } }
            }
            @if let Some(capture) = &cause.outcome.capture {
                p { "Capture: " code { (text(capture)) } }
            }
            p { "Again: " code { (text(&cause.outcome.again)) } }
        }
    }
}

/// Scenarios that came to no verdict for one reason.
fn error(reason: &str, outcomes: &[&Outcome]) -> Markup {
    let ids: Vec<&str> = outcomes.iter().map(|outcome| outcome.id.as_str()).collect();
    html! {
        details open {
            summary { span.badge.error { "error" } " " code { (text(&digest::whom(&ids))) } }
            p { (text(reason)) }
            @if ids.len() > 1 { p { "In " (text(&ids.join(", "))) } }
            @if let Some(first) = outcomes.first() { p { "Again: " code { (text(&first.again)) } } }
        }
    }
}

/// One scenario with all that was found in it.
fn evidence(outcome: &Outcome) -> Markup {
    let known = outcome.is_known();
    let class = if known { "known" } else { outcome.verdict.name() };
    html! {
        details {
            summary {
                span.badge.(class) { (class) }
                " " code { (text(&outcome.id)) } " " span.quiet { (text(&outcome.title)) }
            }
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
