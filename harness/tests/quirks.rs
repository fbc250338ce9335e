//! Lawful but unusual: the reference server makes choices that few servers make, alone and several
//! together, and nothing may be found, neither failures nor warnings. It is tested as a server that
//! the harness starts, and as one that somebody else runs.
//!
//! A plain run plays part of the scenarios on each quirk and on a few combinations; which, is drawn
//! with a seed. `NBDCHECK_QUIRKS=all` plays every scenario on each quirk and on 300 combinations,
//! `NBDCHECK_QUIRKS=chunks-tiny,dribbles` every scenario on one combination, and
//! `NBDCHECK_QUIRKS_SEED=7` draws others.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::Duration;

use harness::finding::Verdict;
use harness::roomy;
use harness::run::runner::{Options, run_target};
use harness::run::target::Target;
use harness::scenarios;
use harness::script::ast::Script;
use protocol::message::Side;
use reference_server::store::MemoryStore;
use reference_server::{Export, Quirk, Server};

/// Combinations of a plain run, and of a full one.
const FEW: usize = 10;
const MANY: usize = 300;
/// A plain run plays one scenario of so many on each server.
const SHARE: usize = 20;
/// Servers that are tested at the same time.
const AT_ONCE: usize = 6;

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

/// Some quirks, and the scenarios that are played on a server with them.
struct Case {
    quirks: Vec<Quirk>,
    scripts: Vec<Arc<Script>>,
}

fn cases() -> Vec<Case> {
    let asked = std::env::var("NBDCHECK_QUIRKS").unwrap_or_default();
    let seed = std::env::var("NBDCHECK_QUIRKS_SEED").map_or(1, |seed| seed.parse().unwrap());
    let mut draw = Draw(0x9e37_79b9_7f4a_7c15 ^ seed);
    let mut scripts = scenarios::all().unwrap();
    scripts.retain(|script| script.header.tests == Side::Server);
    if !asked.is_empty() && asked != "all" {
        let quirks = asked.split(',').map(|name| name.parse().unwrap()).collect();
        return vec![Case { quirks, scripts }];
    }
    let (combinations, share) = if asked == "all" { (MANY, 1) } else { (FEW, SHARE) };
    let mut sets: Vec<Vec<Quirk>> = Quirk::ALL.iter().map(|quirk| vec![*quirk]).collect();
    for index in 0..combinations {
        let mut quirks: Vec<Quirk> = Vec::new();
        while quirks.len() < 2 + index % 2 {
            let quirk = Quirk::ALL[draw.below(Quirk::ALL.len())];
            if !quirks.contains(&quirk) {
                quirks.push(quirk);
            }
        }
        sets.push(quirks);
    }
    sets.into_iter()
        .map(|quirks| {
            let alone = asked != "all" || quirks.len() == 1;
            // A full run would take an hour with every scenario on every combination.
            let share = if alone { share } else { 8 };
            let from = draw.below(share);
            let scripts = scripts.iter().skip(from).step_by(share).cloned().collect();
            Case { quirks, scripts }
        })
        .collect()
}

fn options() -> Options {
    Options {
        write: true,
        hazard: false,
        jobs: 4,
        timeout: Duration::from_secs(5),
        ..Options::default()
    }
}

/// What is found in a target, a line each.
async fn found(target: &Target, scripts: &[Arc<Script>]) -> Vec<String> {
    let (events, _) = tokio::sync::mpsc::unbounded_channel();
    let run = run_target(target, scripts, None, &options(), events).await;
    let mut found = Vec::new();
    for outcome in &run.outcomes {
        for finding in &outcome.findings {
            found.push(format!(
                "{} {}: {}",
                outcome.id,
                finding.requirement.id,
                finding.message.lines().next().unwrap_or_default()
            ));
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

/// The same, as of a server that somebody else runs.
async fn found_outside(quirks: &[Quirk], scripts: &[Arc<Script>]) -> Vec<String> {
    let handle = Server::builder()
        .export(Export::new("", MemoryStore::new(16 << 20)))
        .quirks(quirks.iter().copied())
        .tcp(([127, 0, 0, 1], 0).into())
        .start()
        .await
        .unwrap();
    let address = handle.tcp_address().unwrap();
    let target = Target::External {
        name: address.to_string(),
        address: address.into(),
        export: None,
        security: None,
        insists: false,
    };
    found(&target, scripts).await
}

#[test]
fn quirks_are_not_held_against_a_server() {
    let runtime = roomy::runtime().unwrap();
    let wrong = runtime.block_on(async {
        let mut wrong = String::new();
        let mut waiting = cases().into_iter();
        let mut running = tokio::task::JoinSet::new();
        loop {
            while running.len() < AT_ONCE
                && let Some(Case { quirks, scripts }) = waiting.next()
            {
                running.spawn(async move {
                    // The harness takes it that it knows how many connections its own servers serve.
                    let own = match quirks.contains(&Quirk::OneConnection) {
                        true => Vec::new(),
                        false => found(&Target::quirky(quirks.clone()), &scripts).await,
                    };
                    let outside = found_outside(&quirks, &scripts).await;
                    (quirks, own, outside)
                });
            }
            let Some(done) = running.join_next().await else { return wrong };
            let (quirks, own, outside) = done.unwrap();
            for (how, found) in [("started by the harness", own), ("somebody else's", outside)] {
                let names: Vec<_> = quirks.iter().map(|quirk| quirk.name()).collect();
                for line in found {
                    let line = format!("{}, {how}: {line}\n", names.join(","));
                    eprint!("{line}");
                    wrong += &line;
                }
            }
        }
    });
    assert!(wrong.is_empty(), "found in lawful servers:\n{wrong}");
}
