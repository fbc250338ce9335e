//! Lawful but unusual clients: the reference client makes choices that few clients make, alone and two
//! together, and nothing may be found, neither failures nor warnings.
//!
//! A plain run plays part of the scenarios on each quirk and on a few pairs; which, is drawn with a
//! seed. `NBDCHECK_QUIRKS=all` plays every scenario on each quirk and on 100 pairs,
//! `NBDCHECK_QUIRKS=probes,dribbles` every scenario on one combination, and
//! `NBDCHECK_QUIRKS_SEED=7` draws others.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::Duration;

use harness::finding::Verdict;
use harness::roomy;
use harness::run::clients::{ClientTarget, run_client};
use harness::run::runner::Options;
use harness::scenarios;
use harness::script::ast::Script;
use protocol::message::Side;
use reference_server::ClientQuirk;

/// Pairs of a plain run, and of a full one.
const FEW: usize = 10;
const MANY: usize = 100;
/// A plain run plays one scenario of so many on each client.
const SHARE: usize = 12;
/// Clients that are tested at the same time.
const AT_ONCE: usize = 4;

/// Numbers that look random and are the same for the same seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: usize) -> usize {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize) % limit
    }
}

fn cases() -> Vec<(Vec<ClientQuirk>, Vec<Arc<Script>>)> {
    let asked = std::env::var("NBDCHECK_QUIRKS").unwrap_or_default();
    let seed = std::env::var("NBDCHECK_QUIRKS_SEED").map_or(1, |seed| seed.parse().unwrap());
    let mut draw = Draw(0x9e37_79b9_7f4a_7c15 ^ seed);
    let mut scripts = scenarios::all().unwrap();
    scripts.retain(|script| script.header.tests == Side::Client);
    if !asked.is_empty() && asked != "all" {
        // The quirks of servers have other names, and a test of their own.
        let quirks: Result<Vec<ClientQuirk>, _> = asked.split(',').map(str::parse).collect();
        return quirks.map(|quirks| vec![(quirks, scripts)]).unwrap_or_default();
    }
    let (pairs, share) = if asked == "all" { (MANY, 1) } else { (FEW, SHARE) };
    let mut sets: Vec<Vec<ClientQuirk>> = ClientQuirk::ALL.iter().map(|it| vec![*it]).collect();
    for _ in 0..pairs {
        let first = draw.below(ClientQuirk::ALL.len());
        let other = (first + 1 + draw.below(ClientQuirk::ALL.len() - 1)) % ClientQuirk::ALL.len();
        sets.push(vec![ClientQuirk::ALL[first], ClientQuirk::ALL[other]]);
    }
    sets.into_iter()
        .map(|quirks| {
            let from = draw.below(share);
            (quirks, scripts.iter().skip(from).step_by(share).cloned().collect())
        })
        .collect()
}

/// What is found in a client, a line each.
async fn found(quirks: &[ClientQuirk], scripts: &[Arc<Script>]) -> Vec<String> {
    let (events, _) = tokio::sync::mpsc::unbounded_channel();
    let options = Options {
        write: true,
        hazard: true,
        jobs: 4,
        timeout: Duration::from_secs(5),
        ..Options::default()
    };
    let client = ClientTarget::Quirky(quirks.to_vec());
    let run = run_client(&client, scripts, &options, events).await;
    let mut found = Vec::new();
    for outcome in &run.outcomes {
        for finding in &outcome.findings {
            let message = finding.message.lines().next().unwrap_or_default();
            found.push(format!("{} {}: {message}", outcome.id, finding.requirement.id));
        }
        let bad = matches!(outcome.verdict, Verdict::Fail | Verdict::Error | Verdict::Warn);
        if bad && outcome.findings.is_empty() {
            found.push(format!("{} {:?}: {:?}", outcome.id, outcome.verdict, outcome.reason));
        }
    }
    if !run.outcomes.iter().any(|outcome| outcome.verdict == Verdict::Pass) {
        found.push("no scenario passed".to_owned());
    }
    found
}

#[test]
fn quirks_are_not_held_against_a_client() {
    let runtime = roomy::runtime().unwrap();
    let wrong = runtime.block_on(async {
        let mut wrong = String::new();
        let mut waiting = cases().into_iter();
        let mut running = tokio::task::JoinSet::new();
        loop {
            while running.len() < AT_ONCE
                && let Some((quirks, scripts)) = waiting.next()
            {
                running.spawn(async move {
                    let found = found(&quirks, &scripts).await;
                    (quirks, found)
                });
            }
            let Some(done) = running.join_next().await else { return wrong };
            let (quirks, found) = done.unwrap();
            let names: Vec<_> = quirks.iter().map(|quirk| quirk.name()).collect();
            for line in found {
                let line = format!("{}: {line}\n", names.join(","));
                eprint!("{line}");
                wrong += &line;
            }
        }
    });
    assert!(wrong.is_empty(), "found in lawful clients:\n{wrong}");
}
