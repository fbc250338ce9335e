//! `nbdcheck run` as users and their scripts see it: exit statuses, messages, reports.

mod serve;

use std::fs;
use std::process::{Command, Output};

use serve::Serve;

fn nbdcheck(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nbdcheck")).args(args).output().expect("the binary runs")
}

fn status(output: &Output) -> i32 {
    output.status.code().expect("no signal ended it")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn without_arguments_the_tool_proves_itself() {
    let output = nbdcheck(&["run"]);
    assert_eq!(status(&output), 0, "{}{}", stdout(&output), stderr(&output));
    assert!(stdout(&output).contains("self: "), "{}", stdout(&output));
}

#[test]
fn structured_and_bytewise_passes_against_the_reference_server() {
    let output = nbdcheck(&["run", "--peer", "self", "--axes", "replies=structured,send=bytewise"]);
    assert_eq!(status(&output), 0, "{}{}", stdout(&output), stderr(&output));
}

#[test]
fn extended_passes_against_the_reference_server() {
    let output = nbdcheck(&["run", "--peer", "self", "--axes", "replies=extended"]);
    assert_eq!(status(&output), 0, "{}{}", stdout(&output), stderr(&output));
}

#[test]
fn coalesced_passes_against_the_reference_server() {
    let output = nbdcheck(&["run", "--peer", "self", "--axes", "send=coalesced"]);
    assert_eq!(status(&output), 0, "{}{}", stdout(&output), stderr(&output));
}

#[test]
fn a_broken_server_exits_1_and_names_the_rule_and_the_bytes() {
    let server = Serve::start(&["--fault", "cookie-wrong"]);
    let output = nbdcheck(&["run", "--target", &server.address, "--scenario", "2.6-base/sanity"]);
    assert_eq!(status(&output), 1);
    let text = stdout(&output);
    for part in
        ["cookie-echoed (MUST, server; section \"Transmission\")", "bytes", "again  nbdcheck run"]
    {
        assert!(text.contains(part), "{part} in\n{text}");
    }
}

#[test]
fn an_unreachable_target_exits_3() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
    let address = port.expect("a free port").to_string();
    let output = nbdcheck(&["run", "--target", &address]);
    assert_eq!(status(&output), 3);
    assert!(stdout(&output).contains("no verdict: can't connect"), "{}", stdout(&output));
}

#[test]
fn a_run_that_skips_everything_exits_3() {
    let server = Serve::start(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("writes.nbd");
    let header =
        "nbd:     1\ntitle:   x\nsince:   2.6\nfeature: x\ntests:   server\nneeds:   write\n";
    let body = "-- to transmission\nC: NBD_CMD_WRITE data=zero*$block\nS: reply ok\n";
    fs::write(&path, format!("{header}\n{body}")).expect("written");
    let script = path.display().to_string();
    let output = nbdcheck(&["run", "--target", &server.address, "--scenario", &script]);
    assert_eq!(status(&output), 3, "{}", stdout(&output));
    assert!(stdout(&output).contains("it writes: `--allow-write` lets it"), "{}", stdout(&output));
}

#[test]
fn a_selection_that_matches_nothing_exits_2_with_the_nearest_names() {
    let output = nbdcheck(&["run", "--scenario", "2.6-base/sanitty"]);
    assert_eq!(status(&output), 2);
    assert!(stderr(&output).contains("the nearest are `2.6-base/sanity`"), "{}", stderr(&output));
    let output = nbdcheck(&["run", "--scenario", "2.10-goo/*"]);
    assert_eq!(status(&output), 2);
    assert!(stderr(&output).contains("`2.10-go/*`"), "{}", stderr(&output));
}

#[test]
fn a_broken_script_exits_2_with_a_caret() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("broken.nbd");
    let header = "nbd:     1\ntitle:   x\nsince:   2.6\nfeature: x\ntests:   server\n";
    fs::write(&path, format!("{header}\n-- to haggling\nC: NBD_OPT_LISST\n")).expect("written");
    let output = nbdcheck(&["run", "--scenario", &path.display().to_string()]);
    assert_eq!(status(&output), 2);
    let text = stderr(&output);
    assert!(text.contains("NBD_OPT_LISST") && text.contains("NBD_OPT_LIST`"), "{text}");
}

#[test]
fn a_target_is_not_written_to_unless_allowed() {
    let folder = tempfile::tempdir().expect("a folder");
    let image = folder.path().join("image");
    let bytes: Vec<u8> = (0..2_000_000u32).flat_map(u32::to_be_bytes).collect();
    fs::write(&image, &bytes).expect("written");
    let server = Serve::start(&["--export", &format!("=file:{}", image.display())]);
    let output = nbdcheck(&["run", "--target", &server.address]);
    assert_eq!(status(&output), 0, "{}", stdout(&output));
    assert!(fs::read(&image).expect("read") == bytes, "the image was written to");
}

#[test]
fn the_json_report_keeps_its_contract() {
    let output =
        nbdcheck(&["run", "--peer", "self", "--scenario", "2.6-base/sanity", "--report", "json=-"]);
    assert_eq!(status(&output), 0);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["nbdcheck"], env!("CARGO_PKG_VERSION"));
    assert_eq!(json["target"]["name"], "self");
    assert_eq!(json["summary"]["passed"], 1);
    for key in ["warned", "failed", "skipped", "errors", "duration_ms"] {
        assert!(json["summary"][key].is_u64(), "{key}");
    }
    assert_eq!(json["features"][0]["verdict"], "pass");
    let scenario = &json["scenarios"][0];
    assert_eq!(scenario["id"], "2.6-base/sanity");
    assert_eq!(scenario["verdict"], "pass");
    assert!(scenario["reason"].is_null() && scenario["capture"].is_null());
    assert!(scenario["requirements"].is_array() && scenario["findings"].is_array());
}

#[test]
fn a_finding_in_the_json_report_keeps_its_contract() {
    let server = Serve::start(&["--fault", "cookie-wrong"]);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("out.json");
    let report = format!("json={}", path.display());
    let junit = folder.path().join("out.xml");
    let junit_report = format!("junit={}", junit.display());
    let target = &server.address;
    let scenario = "2.6-base/sanity";
    nbdcheck(&[
        "run",
        "--target",
        target,
        "--scenario",
        scenario,
        "--report",
        &report,
        "--report",
        &junit_report,
    ]);
    let json: serde_json::Value =
        serde_json::from_slice(&fs::read(&path).expect("a report")).expect("JSON");
    let finding = &json["scenarios"][0]["findings"][0];
    assert_eq!(finding["requirement"], "cookie-echoed");
    assert_eq!(finding["level"], "MUST");
    assert_eq!(finding["party"], "server");
    let at = finding["at"].as_str().expect("a place");
    assert!(at.starts_with("scenarios/2.6-base/sanity.nbd:"), "{at}");
    let xml = fs::read_to_string(&junit).expect("a report");
    assert!(xml.contains("<failure") && xml.contains("cookie-echoed"), "{xml}");
}

#[test]
fn known_failures_pass_and_stale_entries_fail() {
    let server = Serve::start(&["--fault", "cookie-wrong"]);
    let folder = tempfile::tempdir().expect("a folder");
    let known = folder.path().join("known.expect");
    let both = "2.6-base/sanity cookie-echoed # wrong on purpose\n2.6-base/sanity baseline-read # follows from it\n";
    fs::write(&known, both).expect("written");
    let expect = known.display().to_string();
    let args =
        ["run", "--target", &server.address, "--scenario", "2.6-base/sanity", "--expect", &expect];
    let output = nbdcheck(&args);
    assert_eq!(status(&output), 0, "{}{}", stdout(&output), stderr(&output));
    fs::write(&known, format!("{both}2.6-base/sanity baseline-disc # no longer\n"))
        .expect("written");
    let output = nbdcheck(&args);
    assert_eq!(status(&output), 1);
    assert!(stderr(&output).contains("no longer breaks `baseline-disc`"), "{}", stderr(&output));
}

#[test]
fn captures_are_accepted_by_validate() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().display().to_string();
    let output = nbdcheck(&["run", "--peer", "self", "--scenario", "2.6-base", "--capture", &out]);
    assert_eq!(status(&output), 0, "{}", stdout(&output));
    let capture = folder.path().join("self/2.6-base/sanity.pcapng").display().to_string();
    let output = nbdcheck(&["validate", &capture]);
    assert_eq!(status(&output), 0, "{}{}", stdout(&output), stderr(&output));
    assert_eq!(stdout(&output), "");
}

#[test]
fn the_first_failure_can_end_a_run() {
    let server = Serve::start(&["--fault", "cookie-wrong"]);
    let args = ["run", "--target", &server.address, "--scenario", "2.6-base", "--jobs", "1"];
    let json = |more: &[&str]| {
        let output = nbdcheck(&[&args[..], more, &["--report", "json=-"]].concat());
        assert_eq!(status(&output), 1, "{}", stderr(&output));
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        json
    };
    let left = |json: &serde_json::Value| {
        let scenarios = json["scenarios"].as_array().expect("scenarios").clone();
        scenarios.into_iter().filter(|it| it["skipped"] == "not-run").count()
    };
    let all = json(&[]);
    assert!(left(&all) == 0 && all["problem"].is_null(), "{all}");
    let first = json(&["--fail-fast"]);
    assert_eq!(first["summary"]["failed"], 1, "{first}");
    assert!(left(&first) > 0, "{first}");
    assert_eq!(first["problem"], "one scenario has failed: --fail-fast");
    let second = json(&["--max-fail", "2"]);
    assert_eq!(second["summary"]["failed"], 2, "{second}");
}

#[test]
fn time_can_end_a_run_which_then_has_no_verdict() {
    let server = Serve::start(&[]);
    let output = nbdcheck(&["run", "--target", &server.address, "--max-time", "0.001"]);
    assert_eq!(status(&output), 3, "{}", stdout(&output));
    let text = stdout(&output);
    assert!(text.contains("not finished: time is up: --max-time 0.001"), "{text}");
    let output = nbdcheck(&["run", "--max-time", "0"]);
    assert_eq!(status(&output), 2);
    assert!(stderr(&output).contains("--max-time takes more than 0"), "{}", stderr(&output));
}
