//! The tester is tested, as `nbdcheck selftest --client` does: the reference client breaks one rule at a
//! time on purpose, and the suite must name it. What it does not name yet is in `sharpness/clients.txt`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "sharpness/unbroken.rs"]
mod unbroken;

use std::collections::BTreeMap;
use std::sync::Arc;

use harness::roomy;
use harness::scenarios;
use harness::selftest::{self, AnyFault, Means, Outcome};
use protocol::message::Side;

/// Faults that are tried at the same time.
const AT_ONCE: usize = 4;

/// The faults that are known not to be named, and what becomes of them.
fn known() -> BTreeMap<&'static str, &'static str> {
    let lines = include_str!("sharpness/clients.txt").lines();
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_once(' ').unwrap()).collect()
}

#[test]
fn every_fault_of_the_client_is_named() {
    let scripts = scenarios::all().unwrap();
    let runtime = roomy::runtime().unwrap();
    let trials = runtime.block_on(async {
        let places = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
        let mut running = tokio::task::JoinSet::new();
        for fault in AnyFault::all(Side::Client) {
            let (scripts, places) = (scripts.clone(), places.clone());
            running.spawn(async move {
                let _place = places.acquire().await;
                selftest::test(fault, &scripts, &Means::Inside).await
            });
        }
        running.join_all().await
    });
    let known = known();
    let mut wrong = Vec::new();
    for trial in &trials {
        let (fault, outcome) = (trial.fault, trial.outcome);
        if (outcome == Outcome::Named) == known.contains_key(fault.name()) {
            let (outcome, missed, found) = (outcome.name(), trial.missed(), &trial.found);
            wrong.push(format!("{fault}: {outcome}; not named: {missed:?}, found: {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for name in known.keys() {
        assert!(trials.iter().any(|trial| trial.fault.name() == *name), "there is no {name}");
    }
    let named = trials.iter().filter(|trial| trial.outcome == Outcome::Named).count();
    assert!(named >= 90, "{named}");
}

/// Every requirement that binds clients is broken by a fault, or stands in a list with the reason.
#[test]
fn every_requirement_of_clients_has_a_fault_or_a_reason() {
    unbroken::check(Side::Client, include_str!("sharpness/clients-unbroken.txt"));
}
