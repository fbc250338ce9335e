//! A recorded bug becomes a script that fails on no right server, and on the server that has it where
//! the session shows it again.
//!
//! A plain run records one fault of nine and those whose scripts were once unfair; `NBDCHECK_RECORDED=all`
//! records each, and holds how many are found again.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use dissector::dissect::{Options, dissect};
use dissector::render::Only;
use harness::capture::Captures;
use harness::finding::Verdict;
use harness::roomy;
use harness::run::Outcome;
use harness::run::result::TargetRun;
use harness::run::runner::run_target;
use harness::run::target::Target;
use harness::scenarios;
use harness::script::ast::{Replies, Script};
use harness::script::parse;
use harness::selftest::{AnyFault, concerned, options};
use harness::transcribe::Transcriber;
use reference_server::Fault;

/// A plain run records one fault of so many.
const SHARE: usize = 9;
/// So many scenarios are tried at a time, for one that shows a fault,
const TRIED: usize = 12;
/// and so many times.
const TRIES: usize = 12;
/// Faults whose scripts once failed right servers, or are of the same kinds: the server left, or did what
/// right ones do not.
const ONCE_UNFAIR: [Fault; 10] = [
    Fault::ExportNameCloses,
    Fault::OptionUnknownDataKept,
    Fault::WriteEmptyCloses,
    Fault::TrimEmptyCloses,
    Fault::ZeroesEmptyCloses,
    Fault::ReadLargeCloses,
    Fault::CommandUnknownSucceeds,
    Fault::ContextEarly,
    Fault::ContextReplyShort,
    Fault::ContextSelectionAnywhere,
];
/// So many faults are found again if each is recorded. It may only become more.
const FOUND_AGAIN: usize = 144;
/// So many sessions of its capture are tried.
const SESSIONS: u64 = 3;

async fn run(target: &Target, scripts: &[Arc<Script>], folder: Option<&Path>) -> TargetRun {
    let (events, _) = tokio::sync::mpsc::unbounded_channel();
    let capture = folder.map(|folder| Captures::below(folder).unwrap());
    let options = harness::run::runner::Options { capture, ..options(Replies::Default) };
    run_target(target, scripts, None, &options, events).await
}

/// A session of a capture as a script, if it can be replayed.
fn script(capture: &Path, session: u64) -> Option<Arc<Script>> {
    let mut transcriber = Transcriber::new("recorded");
    let mut sink = Only::new(&mut transcriber, Some(session));
    dissect(File::open(capture).unwrap(), Options::default(), &mut sink).unwrap();
    let text = transcriber.script().ok()?;
    let parsed = parse("recorded", "recorded.nbd", &text);
    Some(Arc::new(parsed.unwrap_or_else(|errors| panic!("{errors:?}\n{text}"))))
}

/// What became of a fault that was recorded.
enum Recorded {
    /// It is found again.
    Found,
    /// It is not: the sessions leave open what is wrong, or need what only their scenario had.
    Missed,
    /// No session can be replayed.
    NotReplayable,
    /// No scenario failed.
    NotSeen,
}

/// Whether it is a failure or a warning.
fn is_found(outcome: &&Outcome) -> bool {
    matches!(outcome.verdict, Verdict::Fail | Verdict::Warn)
}

async fn record(fault: Fault, all: &[Arc<Script>], wrong: &mut Vec<String>) -> Recorded {
    let folder = tempfile::tempdir().unwrap();
    let target = Target::faulty(fault);
    let mut became = Recorded::NotSeen;
    let scripts: Vec<_> = concerned(AnyFault::Server(fault), all).concat();
    let mut recorded = Vec::new();
    for tried in scripts.chunks(TRIED).take(TRIES) {
        let outcomes = run(&target, tried, Some(folder.path())).await.outcomes;
        recorded.extend(outcomes.into_iter().filter(|outcome| is_found(&outcome)));
        if !recorded.is_empty() {
            break;
        }
    }
    let captures = recorded.iter().filter_map(|it| it.capture.as_ref());
    for capture in captures {
        if matches!(became, Recorded::NotSeen) {
            became = Recorded::NotReplayable;
        }
        for session in 1..=SESSIONS {
            let Some(script) = script(Path::new(capture), session) else { continue };
            let right = run(&Target::reference(), std::slice::from_ref(&script), None).await;
            let passes = |it: &Outcome| matches!(it.verdict, Verdict::Pass | Verdict::Skip);
            if !right.outcomes.iter().all(passes) {
                wrong.push(format!("{fault}: {:?}", right.outcomes));
            }
            became = Recorded::Missed;
            let again = run(&target, &[script], None).await;
            if again.outcomes.iter().any(|outcome| is_found(&outcome)) {
                return Recorded::Found;
            }
        }
    }
    became
}

#[test]
fn a_recorded_fault_is_a_script_that_no_right_server_fails() {
    roomy::within(|| {
        let all = scenarios::all().unwrap();
        let runtime = roomy::runtime().unwrap();
        let (mut wrong, mut told) = (Vec::new(), Vec::new());
        let all_of_them = std::env::var("NBDCHECK_RECORDED").is_ok_and(|asked| asked == "all");
        let share = if all_of_them { 1 } else { SHARE };
        let mut found = 0;
        for (index, fault) in Fault::ALL.iter().enumerate() {
            if index % share != 0 && !ONCE_UNFAIR.contains(fault) {
                continue;
            }
            let became = runtime.block_on(record(*fault, &all, &mut wrong));
            found += usize::from(matches!(became, Recorded::Found));
            let text = match became {
                Recorded::Found => "found",
                Recorded::Missed => "missed",
                Recorded::NotReplayable => "not replayable",
                Recorded::NotSeen => "not recorded",
            };
            told.push(format!("{fault} {text}"));
        }
        println!("{}", told.join("\n"));
        assert!(wrong.is_empty(), "right servers fail:\n{}", wrong.join("\n"));
        assert!(!all_of_them || found >= FOUND_AGAIN, "only {found} are found again");
    })
    .unwrap();
}
