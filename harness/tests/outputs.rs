//! What `nbdcheck` leaves behind: where it can't be written that is an error, and known early where
//! it can be known early.

mod needed;
mod serve;

use std::fs::{self, File};
use std::io::Read as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

fn nbdcheck(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nbdcheck"));
    command.args(args);
    command
}

/// A run that passes, within moments.
const SANITY: [&str; 5] = ["run", "--peer", "self", "--scenario", "2.6-base/sanity"];

fn with(args: &[&str]) -> Output {
    nbdcheck(&SANITY).args(args).output().expect("the binary runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn full() -> File {
    File::options().write(true).open("/dev/full").expect("/dev/full")
}

#[test]
fn a_full_standard_output_is_an_error_of_every_command() {
    let report: Vec<&str> = SANITY.into_iter().chain(["--report", "tap=-"]).collect();
    let commands: [&[&str]; 7] = [
        &SANITY,
        &report,
        &["list"],
        &["explain", "baseline-read"],
        &["coverage"],
        &["man"],
        &["completions", "bash"],
    ];
    for args in commands {
        let output = nbdcheck(args).stdout(full()).output().expect("the binary runs");
        assert_eq!(output.status.code(), Some(3), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains("No space left"), "{args:?}: {}", stderr(&output));
    }
}

#[test]
fn who_stops_reading_changes_no_verdict() {
    for args in [&SANITY[..], &["list"]] {
        let mut child = nbdcheck(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert_eq!(stderr(&output), "", "{args:?}");
    }
}

#[test]
fn a_full_standard_error_changes_no_verdict() {
    let status = nbdcheck(&SANITY).stderr(full()).output().expect("the binary runs").status;
    assert_eq!(status.code(), Some(0));
    let args = ["run", "--scenario", "none-such"];
    let status = nbdcheck(&args).stderr(full()).output().expect("the binary runs").status;
    assert_eq!(status.code(), Some(2));
}

#[test]
fn paths_of_reports_are_looked_at_before_anything_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let json = |name: &str| format!("json={}", at(name));
    let tap = |name: &str| format!("tap={}", at(name));
    let cases: [(&[String], &str); 4] = [
        (&[json("none/x.json")], "no such folder:"),
        (&[json("")], "it is a folder"),
        (&[json("x"), tap("./x")], "two reports go to"),
        (&["json=-".to_owned(), "tap=-".to_owned()], "two reports go to standard output"),
    ];
    for (reports, told) in cases {
        let args: Vec<&str> =
            reports.iter().flat_map(|report| ["--report", report.as_str()]).collect();
        let output = with(&args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr(&output).contains(told), "{args:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty(), "{args:?}: it ran");
    }
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
}

#[test]
fn a_report_that_can_not_be_written_is_an_error() {
    for format in ["json", "junit", "tap", "html", "markdown"] {
        let output = with(&["--report", &format!("{format}=/dev/full")]);
        assert_eq!(output.status.code(), Some(3), "{format}");
        assert!(stderr(&output).contains("can't write /dev/full"), "{}", stderr(&output));
    }
}

/// Runs it where no file may be larger than a few blocks.
fn with_small_files(args: &[&str]) -> Output {
    Command::new("sh")
        .args([
            "-c",
            "trap '' XFSZ; ulimit -f 4; exec \"$@\"",
            "sh",
            env!("CARGO_BIN_EXE_nbdcheck"),
        ])
        .args(args)
        .output()
        .expect("a shell")
}

#[test]
fn a_report_that_stops_midway_leaves_the_old_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("out.html");
    fs::write(&path, "old").expect("written");
    let report = format!("html={}", path.display());
    let args = ["run", "--peer", "self", "--scenario", "2.6-base", "--report", &report];
    let output = with_small_files(&args);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains("can't write"), "{}", stderr(&output));
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
}

#[test]
fn captures_that_can_not_be_written_are_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, "").expect("written");
    let output = with(&["--capture", &file.display().to_string()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("can't write captures to"), "{}", stderr(&output));

    let out = folder.path().join("out").display().to_string();
    let json = folder.path().join("out.json").display().to_string();
    let scenario = "2.6-read/data-and-holes";
    let report = format!("json={json}");
    let args = ["run", "--peer", "self", "--scenario", scenario, "--capture", &out];
    let output = with_small_files(&[&args[..], &["--report", "json=/dev/null"]].concat());
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let told = "captures are missing or incomplete: can't write";
    assert!(stderr(&output).contains(told), "{}", stderr(&output));

    let output = nbdcheck(&args).args(["--report", &report]).output().expect("the binary runs");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let value: serde_json::Value =
        serde_json::from_slice(&fs::read(&json).expect("a report")).expect("JSON");
    let capture = value["scenarios"][0]["capture"].as_str().expect("a path").to_owned();
    assert!(Path::new(&capture).is_file(), "{capture}");
}

#[test]
fn captures_of_scripts_outside_stay_in_the_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("work")).expect("a folder");
    let header = "nbd:     1\ntitle:   x\nsince:   2.6\nfeature: x\ntests:   server\n";
    fs::write(folder.path().join("mine.nbd"), format!("{header}\n-- to haggling\n"))
        .expect("written");
    let args = ["run", "--peer", "self", "--scenario", "../mine.nbd", "--capture", "out"];
    let output =
        nbdcheck(&args).current_dir(folder.path().join("work")).output().expect("the binary runs");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(folder.path().join("work/out/self/_./mine.pcapng").is_file());
}

#[test]
fn forms_have_captures_of_their_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let json = folder.path().join("out.json").display().to_string();
    let (out, report) = (folder.path().display().to_string(), format!("json={json}"));
    let args = ["--axes", "replies=all", "--capture", &out, "--report", &report];
    assert_eq!(with(&args).status.code(), Some(0));
    let value: serde_json::Value =
        serde_json::from_slice(&fs::read(&json).expect("a report")).expect("JSON");
    let runs = value["runs"].as_array().expect("runs");
    let mut paths: Vec<&str> =
        runs.iter().filter_map(|run| run["scenarios"][0]["capture"].as_str()).collect();
    assert_eq!(paths.len(), 3);
    paths.sort_unstable();
    paths.dedup();
    assert_eq!(paths.len(), 3);
}

#[test]
fn an_interrupted_run_says_so_in_every_report() {
    // A server that never says a word, so that the run is under way when it is interrupted.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let formats = ["json", "junit", "tap", "html", "markdown"];
    let path = |format: &str| folder.path().join(format);
    let reports = formats.map(|format| format!("{format}={}", path(format).display()));
    let mut command = nbdcheck(&["run", "--target", &address, "--target", "127.0.0.1:1"]);
    command.args(reports.iter().flat_map(|report| ["--report", report]));
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs");
    let held = listener.accept().expect("a connection");
    kill_process(Pid::from_child(&child), Signal::INT).expect("it is there");
    let mut text = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut text).expect("text");
    assert_eq!(child.wait().expect("it ends").code(), Some(3), "{text}");
    drop(held);
    assert!(text.contains("interrupted: the reports show the results so far"), "{text}");
    for format in formats {
        let text = fs::read_to_string(path(format)).expect("a report");
        assert!(text.contains("interrupted after 0 of "), "{format}: {text}");
        assert!(text.contains("interrupted before it began"), "{format}: {text}");
    }
}

/// Who reads TAP in CI is `prove`; it counts what failed, and complains of what it can't parse.
#[test]
fn prove_reads_tap_green_and_red() {
    if !needed::here(&["prove"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = serve::Serve::start(&["--fault", "cookie-truncated"]);
    for (name, target, passes) in [("green.tap", "self", true), ("red.tap", "", false)] {
        let path = folder.path().join(name);
        let report = format!("tap={}", path.display());
        let whom =
            if target.is_empty() { ["--target", &server.address] } else { ["--peer", target] };
        let run = nbdcheck(&["run", "--scenario", "2.6-base/*", "--report", &report])
            .args(whom)
            .output()
            .expect("the binary runs");
        assert_eq!(run.status.success(), passes, "{}", stderr(&run));
        let read = Command::new("prove").args(["-e", "cat"]).arg(&path).output().expect("prove");
        let text = String::from_utf8_lossy(&read.stdout) + String::from_utf8_lossy(&read.stderr);
        assert_eq!(read.status.success(), passes, "{text}");
        assert!(!text.contains("Parse errors"), "{text}");
        assert!(passes || text.contains("Failed test"), "{text}");
    }
}
