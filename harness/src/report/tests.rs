//! A sample of each kind of outcome, in each format.

use std::time::{Duration, SystemTime};

use protocol::message::Side;

use super::*;
use crate::finding::{Detail, EventKind, Finding, Sent, Verdict};
use crate::run::milestones::Offer;
use crate::run::{Outcome, SkipKind};
use crate::script::ast::Version;

pub(super) fn finding(id: &str) -> Finding {
    let received = "S: NBD_REP_INFO NBD_INFO_BLOCK_SIZE option=NBD_OPT_GO minimum=768 preferred=4096 maximum=33554432";
    Finding {
        requirement: protocol::requirements::find(id).unwrap(),
        party: Side::Server,
        message: "minimum=768 is not a power of 2".to_owned(),
        at: "scenarios/2.10-go/block-size.nbd:18".to_owned(),
        detail: Detail {
            expected: vec!["An advertised minimum block size is a power of two.".to_owned()],
            received: received.to_owned(),
            reply: None,
            answer: None,
            event: EventKind::Message,
            sent: Sent::Option(protocol::values::OptionType::GO),
            judged: true,
            mark: Some((
                received.find("minimum").unwrap(),
                11,
                "minimum=768 is not a power of 2".to_owned(),
            )),
            bytes: Some(
                "00 00 03 00 at byte 22 of the message (server stream offset 72)".to_owned(),
            ),
            after: vec![
                "C: NBD_OPT_GO name=\"disk\" info={NBD_INFO_BLOCK_SIZE}".to_owned(),
                "S: NBD_REP_INFO NBD_INFO_EXPORT option=NBD_OPT_GO size=1048576 flags={HAS_FLAGS}"
                    .to_owned(),
            ],
        },
        known: None,
    }
}

pub(super) fn outcome(id: &str, verdict: Verdict, findings: Vec<Finding>) -> Outcome {
    Outcome {
        target: "example".to_owned(),
        id: id.to_owned(),
        title: "block sizes are lawful".to_owned(),
        since: Version { major: 2, minor: 10 },
        feature: "NBD_OPT_GO".to_owned(),
        verdict,
        reason: None,
        skipped: None,
        duration: Duration::from_millis(21),
        requirements: Vec::new(),
        capture: None,
        findings,
        said: Vec::new(),
        again: format!("nbdcheck run --target 127.0.0.1:10809 --scenario {id} --capture out/"),
    }
}

fn offer(offered: Option<bool>) -> Offer {
    let denies = offered == Some(false);
    Offer {
        name: if denies { "CACHE" } else { "WRITE_ZEROES" }.to_owned(),
        since: Version { major: if denies { 3 } else { 2 }, minor: if denies { 0 } else { 8 } },
        setup: false,
        offered,
        hidden: false,
        evidence: denies.then(|| "S: NBD_REP_INFO NBD_INFO_EXPORT flags={HAS_FLAGS}".to_owned()),
    }
}

fn run(outcomes: Vec<Outcome>) -> TargetRun {
    TargetRun {
        stopped: false,
        name: "example".to_owned(),
        version: Some("1.2".to_owned()),
        address: None,
        problem: None,
        outcomes,
        offers: vec![offer(Some(true)), offer(Some(false))],
        started: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        duration: Duration::from_millis(42),
    }
}

fn plain(run: &TargetRun) -> String {
    anstream::adapter::strip_str(&terminal::render(run, terminal::View::default())).to_string()
}

#[test]
fn a_failure_shows_rule_evidence_and_how_to_run_it_again() {
    let findings = vec![finding("block-size-min-power-of-2")];
    let failed = outcome("2.10-go/block-size", Verdict::Fail, findings);
    insta::assert_snapshot!(plain(&run(vec![failed])));
}

/// One of each kind, with words of a peer that mean something in each format.
pub(crate) fn mixed() -> TargetRun {
    let mut skipped = outcome("2.11-structured/df", Verdict::Skip, Vec::new());
    skipped.skipped = Some(SkipKind::NotOffered);
    skipped.reason =
        Some("no SEND_DF: S: NBD_REP_INFO NBD_INFO_EXPORT flags={HAS_FLAGS}".to_owned());
    let warned =
        outcome("2.10-go/size", Verdict::Warn, vec![finding("export-size-multiple-of-min")]);
    let mut known = finding("block-size-min-power-of-2");
    known.known = Some("says 768; section \"Size constraints\"".to_owned());
    let known = outcome("2.10-go/block-size", Verdict::Fail, vec![known]);
    let passed = outcome("2.6-base/sanity", Verdict::Pass, Vec::new());
    run(vec![skipped, warned, known, passed])
}

/// A failure, an error and a problem, with words of a peer that mean something in each format.
fn hostile() -> TargetRun {
    let mut bad = finding("string-utf8");
    bad.message = "message </pre><script>alert(1)</script> # | `x`\n- ok 1\u{1b}[2J".to_owned();
    bad.detail.received = "S: NBD_REP_ERR_UNKNOWN message=\"<b>&\\xff\"".to_owned();
    bad.detail.mark = Some((23, 7, "not UTF-8".to_owned()));
    bad.detail.after.push("```".to_owned());
    let failed = outcome("2.10-go/name-not-utf8", Verdict::Fail, vec![bad]);
    let mut error = outcome("2.6-base/cookies", Verdict::Error, Vec::new());
    error.reason = Some("can't connect: <refused> # SKIP\n...".to_owned());
    let mut run = run(vec![failed, error]);
    run.name = "example # <x>".to_owned();
    run.problem = Some("the server's process ended (<signal> 11)".to_owned());
    run
}

#[test]
fn skips_warnings_and_known_failures_are_told_apart() {
    insta::assert_snapshot!(plain(&mixed()));
}

#[test]
fn as_tap() {
    insta::assert_snapshot!(tap::render(&[mixed(), hostile()]));
}

#[test]
fn as_markdown() {
    insta::assert_snapshot!(markdown::render(&[mixed(), hostile()]));
}

#[test]
fn as_html() {
    let page = html::render(&[mixed(), hostile()]);
    assert!(!page.contains("<script>") && !page.contains('\u{1b}') && !page.contains("://"));
    let body = page.split_once("<body>").map(|(_, body)| body).unwrap_or_default();
    let mut lines = body.to_owned();
    for tag in ["<tr>", "<li>", "<h2", "<h3", "<details", "<p>", "<pre>"] {
        lines = lines.replace(tag, &format!("\n{tag}"));
    }
    insta::assert_snapshot!(lines);
}

#[test]
fn as_json() {
    insta::assert_snapshot!(json::render(&[mixed()]).unwrap());
}

#[test]
fn as_junit() {
    insta::assert_snapshot!(junit::render(&[mixed(), hostile()]).unwrap());
}

#[test]
fn several_targets_are_several_documents() {
    let text = json::render(&[mixed(), hostile()]).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["runs"].as_array().map(Vec::len), Some(2));
    assert_eq!(value["summary"]["errors"], 1);
}

/// A finding of the script that a connection ended, or nothing came.
fn ended(event: EventKind, sent: Sent) -> Finding {
    let mut finding = finding("session-no-unjustified-hard-disconnect");
    finding.message = "close: the peer closed the connection".to_owned();
    finding.detail = Detail {
        expected: vec!["S: NBD_REP_ERR_UNSUP option=NBD_OPT_0x4e424421".to_owned()],
        received: "close: the peer closed the connection".to_owned(),
        event,
        sent,
        after: vec!["C: NBD_OPT_0x4e424421".to_owned()],
        ..Detail::default()
    };
    finding
}

/// Many scenarios with few causes.
fn crowd() -> TargetRun {
    use protocol::values::{Command, OptionType};
    let mut outcomes = Vec::new();
    for number in 0..15u32 {
        let unknown = Sent::Option(OptionType(0x4e42_4421 + number % 3));
        let mut findings = vec![ended(EventKind::Close, unknown)];
        if number < 5 {
            let mut after = finding("baseline-read");
            after.detail.judged = false;
            after.message = "it can be read".to_owned();
            findings.push(after);
        }
        let folder = ["2.6-options", "2.10-go", "robustness"][number as usize % 3];
        outcomes.push(outcome(&format!("{folder}/unknown-{number}"), Verdict::Fail, findings));
    }
    for id in ["2.6-commands/trim", "2.6-commands/trim-all"] {
        let silent = ended(EventKind::Timeout, Sent::Request(Command::TRIM));
        outcomes.push(outcome(id, Verdict::Fail, vec![silent]));
    }
    for (id, sent) in [("2.10-go/a", OptionType::GO), ("2.10-go/b", OptionType::INFO)] {
        let mut warning = finding("export-size-multiple-of-min");
        warning.detail.sent = Sent::Option(sent);
        outcomes.push(outcome(id, Verdict::Warn, vec![warning]));
    }
    for id in ["2.6-base/one", "2.6-base/two"] {
        let mut error = outcome(id, Verdict::Error, Vec::new());
        error.reason = Some("can't connect: connection refused".to_owned());
        outcomes.push(error);
    }
    let reasons = [
        (SkipKind::NotOffered, "no SEND_DF: S: NBD_REP_INFO NBD_INFO_EXPORT flags={HAS_FLAGS}"),
        (SkipKind::NotOffered, "no SEND_CACHE: S: NBD_REP_INFO NBD_INFO_EXPORT flags={HAS_FLAGS}"),
        (SkipKind::NotAllowed, "it writes: `--allow-write` lets it"),
        (SkipKind::NotAllowed, "hazardous (half a message): `--allow-hazard` runs it"),
        (SkipKind::NotAllowed, "hazardous (a reset): `--allow-hazard` runs it"),
        (SkipKind::NotPossible, "needs the configuration `many`, which only nbdcheck can give"),
        (SkipKind::NotPossible, "needs the configuration `large`, which only nbdcheck can give"),
    ];
    for (number, (kind, reason)) in reasons.into_iter().enumerate() {
        let mut skipped = outcome(&format!("3.0-cache/{number}"), Verdict::Skip, Vec::new());
        skipped.skipped = Some(kind);
        skipped.reason = Some(reason.to_owned());
        outcomes.push(skipped);
    }
    outcomes.sort_by(|a, b| a.id.cmp(&b.id));
    run(outcomes)
}

#[test]
fn failures_of_one_cause_are_told_once() {
    insta::assert_snapshot!(plain(&crowd()));
}

#[test]
fn the_verbose_view_tells_all_of_them() {
    let view = terminal::View { strict: false, verbose: true };
    let text = terminal::render(&crowd(), view);
    let text = anstream::adapter::strip_str(&text).to_string();
    for outcome in &crowd().outcomes {
        assert!(text.contains(&outcome.id), "{}", outcome.id);
    }
    insta::assert_snapshot!(text);
}

#[test]
fn causes_in_markdown() {
    insta::assert_snapshot!(markdown::render(&[crowd()]));
}

#[test]
fn causes_in_json() {
    let text = json::render(&[crowd()]).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["summary"]["causes"], 2);
    insta::assert_snapshot!(serde_json::to_string_pretty(&value["causes"]).unwrap());
}

#[test]
fn every_failed_scenario_has_its_evidence_in_html() {
    let page = html::render(&[crowd()]);
    for outcome in &crowd().outcomes {
        assert!(page.contains(&outcome.id), "{}", outcome.id);
    }
    assert!(page.contains("Further scenarios that failed"));
}

/// A server that died on the way.
fn dead() -> TargetRun {
    let mut death = ended(EventKind::Death, Sent::Request(protocol::values::Command::TRIM));
    death.message = "the server stopped answering".to_owned();
    death.detail.received.clone_from(&death.message);
    let mut outcomes = vec![outcome("2.6-commands/trim", Verdict::Fail, vec![death])];
    for id in ["2.6-commands/write", "2.8-write-zeroes/plain"] {
        let mut left = outcome(id, Verdict::Skip, Vec::new());
        left.skipped = Some(SkipKind::NotRun);
        left.reason = Some("not run: the server stopped answering".to_owned());
        outcomes.push(left);
    }
    let mut run = run(outcomes);
    run.problem = Some("the server stopped answering after 2.6-commands/trim".to_owned());
    run
}

#[test]
fn a_run_that_ends_early_tells_what_was_not_run() {
    insta::assert_snapshot!(plain(&dead()));
}

/// How many scenarios of some runs came out how, and how many runs have no verdict.
fn totals(runs: &[TargetRun]) -> (crate::run::Totals, usize) {
    let totals = crate::run::Totals::of(runs.iter().flat_map(|run| &run.outcomes));
    (totals, runs.iter().filter(|run| run.problem.is_some()).count())
}

#[test]
fn all_formats_count_alike() {
    let later = TargetRun::unplayed("later", "interrupted");
    let runs = [mixed(), hostile(), crowd(), dead(), later];
    let (totals, problems) = totals(&runs);
    assert!(problems == 3 && totals.known > 0 && totals.errors > 0 && totals.not_run == 2);

    let text = tap::render(&runs);
    let points = |begin: &str, directive: &str| {
        let is = |line: &&str| line.starts_with(begin) && line.contains(directive);
        text.lines().filter(is).count()
    };
    let all = totals.ran() + totals.skipped + totals.errors + problems;
    assert!(text.contains(&format!("\n1..{all}\n")), "{text}");
    assert_eq!(points("ok ", "") - points("ok ", " # SKIP"), totals.passed + totals.warned);
    assert_eq!(points("ok ", " # SKIP"), totals.skipped);
    assert_eq!(points("not ok ", " # TODO"), totals.known);
    assert_eq!(points("not ok ", ""), totals.known + totals.failed + totals.errors + problems);

    let text = junit::render(&runs).unwrap();
    let head = text.lines().find(|line| line.starts_with("<testsuites")).unwrap_or_default();
    for (name, count) in
        [("tests", all), ("failures", totals.failed), ("errors", totals.errors + problems)]
    {
        assert!(head.contains(&format!("{name}=\"{count}\"")), "{name} {count}: {head}");
    }
    assert_eq!(text.matches("<skipped").count(), totals.skipped);

    let value: serde_json::Value = serde_json::from_str(&json::render(&runs).unwrap()).unwrap();
    let summary = &value["summary"];
    for (name, count) in [
        ("passed", totals.passed),
        ("warned", totals.warned),
        ("failed", totals.failed),
        ("known", totals.known),
        ("skipped", totals.skipped),
        ("not_run", totals.not_run),
        ("errors", totals.errors),
        ("problems", problems),
    ] {
        assert_eq!(summary[name], count, "{name}");
    }

    for run in &runs {
        let line = terminal::totals_text(run);
        let told = line.contains("no verdict") || line.contains("not finished");
        assert_eq!(told, run.problem.is_some(), "{line}");
        for text in [
            plain(run),
            markdown::render(std::slice::from_ref(run)),
            html::render(std::slice::from_ref(run)),
        ] {
            let ran = line.split_once(": ").map_or("", |(_, counts)| counts);
            assert!(text.contains(ran), "{ran} in {text}");
        }
    }
}
