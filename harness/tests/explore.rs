//! `nbdcheck explore` finds what is wrong without a scenario about it, shortens it to a script that fails
//! again, and finds nothing in what is lawful.
//!
//! `NBDCHECK_EXPLORE=SECONDS` explores each quirk for so long instead of a few sessions, and each fault, and
//! tells which ones are not found.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod needed;

use std::sync::Mutex;
use std::time::Duration;

use harness::explore::{Compared, Found, Limits, Tally, differ, hunt};
use harness::finding::Verdict;
use harness::roomy;
use harness::run::deviations::Deviations;
use harness::run::runner::{Options, run_target};
use harness::run::target::Target;
use harness::script;
use reference_server::{Fault, Quirk};

/// How many servers are explored at a time.
const AT_ONCE: usize = 3;

fn options() -> Options {
    let timeout = Duration::from_secs(5);
    Options { write: true, hazard: true, jobs: 2, timeout, ..Options::default() }
}

fn limits(sessions: u64) -> Limits {
    Limits {
        time: Duration::from_secs(60),
        sessions: Some(sessions),
        failures: Some(1),
        seed: 1,
        folder: std::path::PathBuf::new(),
        lawful: false,
        until: None,
    }
}

fn block_on<T: Send, W: Future<Output = T>>(work: impl FnOnce() -> W + Send) -> T {
    roomy::within(|| roomy::runtime().unwrap().block_on(work())).unwrap()
}

fn explored(target: &Target, limits: &Limits, options: &Options, known: Deviations) -> Tally {
    let hunted = block_on(|| hunt(target, options, limits, known, |_| {}));
    hunted.map_err(|unavailable| unavailable.into_reason()).unwrap()
}

/// What was found, in a line each.
fn findings(tally: &Tally) -> Vec<String> {
    let outcomes = tally.found.iter().map(|found| (found, &found.outcome));
    outcomes
        .flat_map(|(found, outcome)| {
            let text = &found.script.source.text;
            let line = move |rule: &str, message: &str| format!("{rule}: {message}\n{text}");
            outcome.findings.iter().map(move |it| line(it.requirement.id, &it.message))
        })
        .collect()
}

/// A fault is found, and what is saved of it fails again, by the same rule.
fn finds(fault: Fault, most_lines: usize) {
    // What a faulty server leaves out it never says.
    let options = Options { timeout: Duration::from_millis(700), ..options() };
    let target = Target::faulty(fault);
    // A fault may break other rules first.
    let limits = Limits { failures: Some(5), ..limits(200) };
    let tally = explored(&target, &limits, &options, Deviations::default());
    let named = |found: &&Found| {
        let mut findings = found.outcome.findings.iter();
        found.outcome.verdict == Verdict::Fail
            && findings.any(|it| fault.expected().contains(&it.requirement.id))
    };
    // Which sessions show it first, and what else they show, depends on how many run at once.
    let lines = |found: &&Found| found.script.source.text.lines().count();
    let found = tally.found.iter().filter(named).min_by_key(lines);
    let found = found.unwrap_or_else(|| panic!("{fault} is not found"));
    let text = &found.script.source.text;
    let (_, body) = text.split_once("\n\n").unwrap();
    assert!(body.lines().count() <= most_lines, "{fault}: not the shortest\n{text}");
    let rules: Vec<_> = found.outcome.findings.iter().map(|it| it.requirement.id).collect();
    // The file says all that is needed to run it.
    let again = script::load("again", "again.nbd", text).unwrap();
    let (events, _) = tokio::sync::mpsc::unbounded_channel();
    let scripts = [std::sync::Arc::new(again)];
    let run = block_on(|| run_target(&target, &scripts, None, &options, events));
    let again: Vec<_> = run.outcomes[0].findings.iter().map(|it| it.requirement.id).collect();
    assert!(again.contains(&rules[0]), "{fault}: {again:?}\n{text}");
}

#[test]
fn finds_writes_that_are_not_stored() {
    finds(Fault::WriteNotStored, 10);
}

#[test]
fn finds_chunks_that_overlap() {
    finds(Fault::ChunksOverlap, 14);
}

#[test]
fn finds_an_option_that_nobody_knows() {
    finds(Fault::OptionUnknownAcked, 7);
}

#[test]
fn finds_an_option_that_is_answered_as_another() {
    finds(Fault::OptionReplyOtherCode, 7);
}

#[test]
fn the_same_seed_finds_the_same() {
    let found = || {
        let target = Target::faulty(Fault::ZeroesNeighbours);
        let options = Options { jobs: 1, ..options() };
        let tally = explored(&target, &limits(200), &options, Deviations::default());
        let found = tally.found.first().unwrap();
        (found.session, found.script.source.text.clone())
    };
    assert_eq!(found(), found());
}

fn compared(a: &Target, b: &Target, limits: &Limits) -> Compared {
    let options = options();
    let compared = block_on(|| differ([a, b], &options, limits, |_| {}));
    compared.map_err(|unavailable| unavailable.into_reason()).unwrap()
}

/// What differs, in a line each.
fn differences(compared: &Compared) -> Vec<String> {
    let all = compared.parted.iter().flat_map(|parted| &parted.differences);
    all.map(|it| format!("{}: {:?}", it.asked, it.answers)).collect()
}

/// A server answers as itself, and what it may choose is passed over.
#[test]
fn what_servers_may_choose_is_no_difference() {
    for quirks in [
        vec![],
        vec![Quirk::RepliesReversed, Quirk::ChunksTiny, Quirk::ErrorsWithoutText],
        vec![Quirk::ChunksMixed, Quirk::ErrorChunksBare, Quirk::ContextIdsDescending],
        vec![Quirk::ContextsReversed, Quirk::InfoReversed, Quirk::StatusHalf, Quirk::Dribbles],
    ] {
        let limits = Limits { failures: None, ..limits(15) };
        let all = compared(&Target::reference(), &Target::quirky(quirks), &limits);
        assert_eq!(differences(&all), [""; 0]);
        assert!(all.sessions > 10 && all.untried.0 == 0 && all.problem.is_none(), "{all:?}");
    }
}

/// What a client can see is found, whichever of the two it is, in a script that says all that is needed.
#[test]
fn another_answer_is_a_difference() {
    let one = |a: &Target, b: &Target| {
        // One session at a time: two could find something before the limit ends the work.
        let options = Options { jobs: 1, ..options() };
        let limits = limits(60);
        let found = block_on(|| differ([a, b], &options, &limits, |_| {}));
        let found = found.map_err(|unavailable| unavailable.into_reason()).unwrap();
        assert_eq!(found.parted.len(), 1, "{found:?}");
        let text = found.parted[0].script.source.text.clone();
        let (_, body) = text.split_once("\n\n").unwrap();
        (differences(&found), body.lines().count())
    };
    let quirky = |quirk| Target::quirky(vec![quirk]);
    let (found, lines) = one(&Target::reference(), &quirky(Quirk::EmptyReadFails));
    assert!(found[0].ends_with(r#": [["ok"], ["NBD_EINVAL"]]"#), "{found:?}");
    assert!(lines <= 20, "not the shortest: {lines}");
    let (found, _) = one(&quirky(Quirk::ListRefused), &Target::reference());
    assert!(found[0].contains(r#"[["NBD_REP_ERR_POLICY"], ["NBD_REP_SERVER"#), "{found:?}");
    let (found, _) = one(&Target::reference(), &Target::faulty(Fault::WriteNotStored));
    assert!(found[0].starts_with("[write-stored]: [[\"keeps it\"]"), "{found:?}");
}

/// Nothing is found in a server that is right.
#[test]
fn finds_nothing_in_the_reference_server() {
    let tally = explored(&Target::reference(), &limits(60), &options(), Deviations::default());
    assert_eq!(findings(&tally), [""; 0]);
    assert_eq!((tally.sessions > 50, tally.untried.0, tally.problem), (true, 0, None));
}

/// Nor in one that makes lawful choices that few make.
#[test]
fn finds_nothing_in_any_quirk() {
    let seconds = std::env::var("NBDCHECK_EXPLORE").ok().map(|text| text.parse().unwrap());
    let limits = match seconds {
        Some(seconds) => Limits { time: Duration::from_secs(seconds), sessions: None, ..limits(1) },
        None => limits(5),
    };
    let waiting = Mutex::new(Quirk::ALL.iter().enumerate());
    let found = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some((seed, quirk)) = waiting.lock().unwrap().next() else { break };
                    let limits = Limits { seed: seed as u64, ..limits.clone() };
                    // One that the harness starts is taken to have as many places as it wants.
                    if *quirk == Quirk::OneConnection {
                        continue;
                    }
                    let target = Target::quirky(vec![*quirk]);
                    let options = Options { jobs: 1, ..options() };
                    let tally = explored(&target, &limits, &options, Deviations::default());
                    let problem = tally.problem.clone().into_iter();
                    let all = findings(&tally).into_iter().chain(problem);
                    found.lock().unwrap().extend(all.map(|text| format!("{quirk}: {text}")));
                }
            });
        }
    });
    let found = found.into_inner().unwrap();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// What a real server does otherwise is on record; nothing else is found.
#[test]
fn finds_nothing_new_in_a_real_server() {
    if !needed::here(&["nbdkit"]) {
        return;
    }
    let file = harness::peer::PeerFile::find("nbdkit").unwrap();
    let target = Target::Peer(Box::new(file));
    let version = block_on(|| target.version());
    let known = Deviations::shipped("nbdkit", version.as_deref());
    if !version.is_some_and(|version| known.knows(&version)) {
        return;
    }
    let limits = Limits { seed: 2, lawful: true, ..limits(12) };
    let tally = explored(&target, &limits, &options(), known);
    assert_eq!(findings(&tally), [""; 0]);
}

/// How many of the faults are found without a scenario about them; takes its time.
#[test]
fn finds_most_faults() {
    let Ok(seconds) = std::env::var("NBDCHECK_EXPLORE") else { return };
    let time = Duration::from_secs(seconds.parse().unwrap());
    let waiting = Mutex::new(Fault::ALL.iter());
    let missed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(fault) = waiting.lock().unwrap().next() else { break };
                    let until = Some(fault.expected());
                    let limits =
                        Limits { time, sessions: None, failures: None, until, ..limits(1) };
                    let options = Options { timeout: Duration::from_millis(700), ..options() };
                    let target = Target::faulty(*fault);
                    let tally = explored(&target, &limits, &options, Deviations::default());
                    let named = fault.expected().iter().all(|rule| tally.rules.contains_key(rule));
                    let found: Vec<_> = tally.rules.into_keys().collect();
                    if !named {
                        let line =
                            format!("{fault}: found {found:?} in {} sessions", tally.sessions);
                        missed.lock().unwrap().push((found.is_empty(), line));
                    }
                }
            });
        }
    });
    let missed = missed.into_inner().unwrap();
    for (survived, line) in &missed {
        println!("{} {line}", if *survived { "survived" } else { "not named" });
    }
    let survived = missed.iter().filter(|(survived, _)| *survived).count();
    let (all, found) = (Fault::ALL.len(), Fault::ALL.len() - survived);
    println!("{found} of {all} found, {} named", all - missed.len());
    assert!(found * 10 >= all * 8, "{found} of {all}");
}
