//! The tester is tested, as `nbdcheck selftest` does: the reference server breaks one rule at a time on
//! purpose, and the suite must name it. The honest server passes everything (`tests/run.rs`), so a finding is the fault's.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "sharpness/recorded.rs"]
mod recorded;
#[path = "sharpness/unbroken.rs"]
mod unbroken;

use std::collections::BTreeSet;

use harness::finding::Verdict;
use harness::roomy;
use harness::run::runner::run_target;
use harness::run::target::Target;
use harness::scenarios;
use harness::script::ast::Replies;
use harness::selftest::{self, AnyFault, Means, Outcome, concerned, options};
use protocol::message::Side;
use reference_server::Fault;

fn check(part: usize, of: usize) {
    roomy::within(|| check_here(part, of)).unwrap();
}

fn check_here(part: usize, of: usize) {
    let all = scenarios::all().unwrap();
    let runtime = roomy::runtime().unwrap();
    let mut missed = Vec::new();
    for fault in Fault::ALL.iter().skip(part).step_by(of) {
        let fault = AnyFault::Server(*fault);
        let trial = runtime.block_on(selftest::test(fault, &all, &Means::Inside));
        if trial.outcome != Outcome::Named {
            missed.push(format!("{fault}: {:?} not found, but {:?}", trial.missed(), trial.found));
        }
    }
    assert!(missed.is_empty(), "faults that nothing names:\n{}", missed.join("\n"));
}

#[test]
fn every_fault_is_named_part_1() {
    check(0, 4);
}

#[test]
fn every_fault_is_named_part_2() {
    check(1, 4);
}

#[test]
fn every_fault_is_named_part_3() {
    check(2, 4);
}

#[test]
fn every_fault_is_named_part_4() {
    check(3, 4);
}

/// A scenario that says `reply` runs in every form, and accuses by the rule of the form at hand.
#[test]
fn a_failed_read_breaks_the_rule_of_its_form() {
    let io_error: Vec<_> = scenarios::all()
        .unwrap()
        .into_iter()
        .filter(|script| script.id.starts_with("2.6-read/io-error"))
        .collect();
    assert!(!io_error.is_empty());
    let runtime = roomy::runtime().unwrap();
    for (replies, rule) in [
        (Replies::Default, "read-simple-error-code"),
        (Replies::Structured, "read-error-chunk-required"),
        (Replies::Extended, "read-error-chunk-required"),
    ] {
        let target = Target::faulty(Fault::ReadErrorHidden);
        let (events, _) = tokio::sync::mpsc::unbounded_channel();
        let options = options(replies);
        let run = runtime.block_on(run_target(&target, &io_error, None, &options, events));
        for outcome in &run.outcomes {
            let rules: BTreeSet<_> =
                outcome.findings.iter().map(|finding| finding.requirement.id).collect();
            assert_eq!(rules, [rule].into(), "{} {replies:?}", outcome.id);
        }
    }
}

/// That a server does not close at `NBD_CMD_DISC` is said by the scenarios about that, not by each that
/// ends with it.
#[test]
fn a_server_that_keeps_connections_is_charged_by_the_scenarios_about_that() {
    let ids = ["2.6-disconnect/first-request", "2.6-base/sanity", "3.0-cache/no-data"];
    let scripts: Vec<_> = scenarios::all()
        .unwrap()
        .into_iter()
        .filter(|script| ids.contains(&script.id.as_str()))
        .collect();
    let target = Target::faulty(Fault::DiscIgnored);
    let (events, _) = tokio::sync::mpsc::unbounded_channel();
    let options = options(Replies::Default);
    let runtime = roomy::runtime().unwrap();
    let run = runtime.block_on(run_target(&target, &scripts, None, &options, events));
    let found: Vec<_> = run
        .outcomes
        .iter()
        .map(|outcome| (outcome.id.as_str(), !outcome.findings.is_empty()))
        .collect();
    let expected = [(ids[1], false), (ids[0], true), (ids[2], false)];
    assert_eq!(found, expected);
}

/// Which error a request beyond the end gets is a SHOULD, but a success fails, in every scenario that sees it.
#[test]
fn a_request_beyond_the_end_that_succeeds_is_no_mere_warning() {
    let all = scenarios::all().unwrap();
    let runtime = roomy::runtime().unwrap();
    let faults =
        [Fault::ReadPastEnd, Fault::WritePastEnd, Fault::ZeroesPastEnd, Fault::StatusPastEnd];
    for fault in faults {
        let direct = concerned(AnyFault::Server(fault), &all).swap_remove(0);
        let (events, _) = tokio::sync::mpsc::unbounded_channel();
        let target = Target::faulty(fault);
        let run = runtime.block_on(run_target(
            &target,
            &direct,
            None,
            &options(Replies::Default),
            events,
        ));
        let found = run.outcomes.iter().filter(|outcome| !outcome.findings.is_empty());
        let (failed, warned): (Vec<_>, Vec<_>) =
            found.partition(|outcome| outcome.verdict == Verdict::Fail);
        let warned: Vec<_> = warned.iter().map(|outcome| outcome.id.as_str()).collect();
        assert!(!failed.is_empty() && warned.is_empty(), "{fault}: only warned by {warned:?}");
    }
}

/// Every requirement that binds servers is broken by a fault, or stands in a list with the reason.
#[test]
fn every_requirement_of_servers_has_a_fault_or_a_reason() {
    let reasons = unbroken::check(Side::Server, include_str!("sharpness/servers-unbroken.txt"));
    // Both may only become better.
    assert!(reasons <= 96, "{reasons}");
    assert!(Fault::ALL.len() >= 260, "{}", Fault::ALL.len());
}
