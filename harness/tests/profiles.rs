//! The reference server as each release of qemu: every scenario passes, or needs what the release
//! does not have.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::Duration;

use harness::finding::Verdict;
use harness::roomy;
use harness::run::clients::{ClientTarget, run_client};
use harness::run::result::TargetRun;
use harness::run::runner::{Options, run_target};
use harness::run::target::Target;
use harness::run::{Outcome, SkipKind};
use harness::scenarios;
use harness::script::ast::{Script, Version};
use protocol::message::Side;
use reference_server::Profile;

fn options() -> Options {
    Options {
        write: true,
        hazard: true,
        jobs: 8,
        timeout: Duration::from_secs(10),
        ..Options::default()
    }
}

async fn run(profile: &'static Profile, scripts: &[Arc<Script>]) -> TargetRun {
    let (events, _) = tokio::sync::mpsc::unbounded_channel();
    run_target(&Target::Profile(profile), scripts, None, &options(), events).await
}

/// What went wrong, and what was skipped without evidence that it is not there.
fn wrong(outcome: &Outcome) -> Option<String> {
    let id = &outcome.id;
    let reason = outcome.reason.as_deref().unwrap_or("no reason");
    let found = || outcome.findings.iter().map(|it| it.message.as_str()).collect::<Vec<_>>();
    match outcome.verdict {
        Verdict::Pass | Verdict::Warn => None,
        Verdict::Skip if outcome.skipped != Some(SkipKind::NotOffered) => None,
        Verdict::Skip if reason.contains("S: ") => None,
        _ => Some(format!("{}: {id}: {reason} {:?}", outcome.target, found())),
    }
}

fn check(profiles: &'static [Profile]) {
    let all = scenarios::all().unwrap();
    let servers: Vec<_> =
        all.into_iter().filter(|script| script.header.tests == Side::Server).collect();
    let runtime = roomy::runtime().unwrap();
    let runs = runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for (index, profile) in profiles.iter().enumerate() {
            let servers = servers.clone();
            tasks.spawn(async move { (index, run(profile, &servers).await) });
        }
        let mut runs = tasks.join_all().await;
        runs.sort_by_key(|(index, _)| *index);
        runs.into_iter().map(|(_, run)| run).collect::<Vec<_>>()
    });
    for (profile, run) in profiles.iter().zip(runs) {
        assert_eq!(run.problem, None, "{}", run.name);
        let wrong: Vec<String> = run.outcomes.iter().filter_map(wrong).collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        let ran = run.outcomes.iter().filter(|it| it.verdict != Verdict::Skip).count();
        let version: Version = profile.version().parse().unwrap();
        let due = servers.iter().filter(|script| script.header.since.node <= version).count();
        assert!(ran * 4 > due * 3, "{}: only {ran} of {due} ran", run.name);
    }
}

#[test]
fn qemu_2_6_to_2_11_pass_what_they_have() {
    check(&Profile::ALL[..4]);
}

#[test]
fn qemu_2_12_to_4_2_pass_what_they_have() {
    check(&Profile::ALL[4..7]);
}

#[test]
fn qemu_5_2_to_8_2_pass_what_they_have() {
    check(&Profile::ALL[7..]);
}

/// A client of a release plays what it can; where it does not ask for what a scenario takes, the
/// line that shows it is quoted.
#[test]
fn clients_pass_what_they_ask_for() {
    let all = scenarios::all().unwrap();
    let scripts: Vec<_> =
        all.into_iter().filter(|script| script.header.tests == Side::Client).collect();
    let runtime = roomy::runtime().unwrap();
    let mut before = 0;
    for profile in Profile::ALL {
        let (events, _) = tokio::sync::mpsc::unbounded_channel();
        let client = ClientTarget::Profile(profile);
        let run = runtime.block_on(run_client(&client, &scripts, &options(), events));
        assert_eq!(run.problem, None, "{}", run.name);
        let wrong = |outcome: &Outcome| {
            let evident = outcome.reason.as_deref().is_some_and(|reason| reason.contains("C: "));
            let fine = match outcome.verdict {
                Verdict::Pass | Verdict::Warn => true,
                Verdict::Skip => outcome.skipped != Some(SkipKind::NotOffered) || evident,
                _ => false,
            };
            (!fine).then(|| format!("{}: {}: {:?}", outcome.target, outcome.id, outcome.findings))
        };
        let wrong: Vec<String> = run.outcomes.iter().filter_map(wrong).collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        // Each release can do what the ones before it could.
        let ran = run.outcomes.iter().filter(|it| it.verdict != Verdict::Skip).count();
        assert!(ran >= before.max(15), "{profile}: only {ran} ran");
        before = ran;
    }
    assert!(before * 10 > scripts.len() * 9, "the newest release ran only {before}");
}
