//! `run --server 'CMD'`: programs of the user's own, as `nbdcheck` starts, watches and ends them.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

const NBDCHECK: &str = env!("CARGO_BIN_EXE_nbdcheck");

fn run(server: &str, more: &[&str]) -> Output {
    let mut command = Command::new(NBDCHECK);
    command.args(["run", "--color", "never", "--server", server]).args(more);
    command.output().expect("the binary runs")
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

/// Runs that must end without a verdict; gives what was said, without what changes.
fn no_verdict(server: &str) -> String {
    let began = Instant::now();
    let output = run(server, &["--scenario", "2.6-base/sanity"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(began.elapsed() < Duration::from_secs(10));
    let said = text(&output).replace(NBDCHECK, "nbdcheck");
    let lines =
        said.lines().filter(|line| !line.starts_with("  command: ") && !line.contains(" ran, "));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_server_without_an_image_gets_its_content_through_the_protocol() {
    let server = format!("{NBDCHECK} serve --bind 127.0.0.1:{{port}} --export =mem:{{size}}");
    for scenario in ["2.6-read", "2.8-write-zeroes", "2.6-base"] {
        let output = run(&server, &["--scenario", scenario, "--report", "json=-"]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let count = |key: &str| json["summary"][key].as_u64().unwrap();
        assert!(count("passed") > 2 * count("skipped"), "{}", text(&output));
    }
}

#[test]
fn a_server_can_be_given_sizes_and_be_told_to_be_read_only() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.json");
    let server = format!(
        "A=1; {NBDCHECK} serve {{port:--bind 127.0.0.1:{{port}}}} {{socket:--socket {{socket}}}} --export '{{name}}=file:{{image}}{{read-only:,ro}}'"
    );
    for axes in ["default", "transport=unix"] {
        let mut more = vec!["--axes", axes, "--report"];
        let report = format!("json={}", out.display());
        more.extend([report.as_str()]);
        for scenario in ["2.6-write/read-only", "2.6-write/size-511", "2.6-base/write-read"] {
            more.extend(["--scenario", scenario]);
        }
        let output = run(&server, &more);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        assert!(!text(&output).contains("skipped"), "{}", text(&output));
    }
}

#[test]
fn what_cannot_be_started_is_told_at_once() {
    insta::assert_snapshot!(no_verdict("no-such-server -p {port}"), @r"
    no-such-server -p {port}
    no verdict: `no-such-server` is not installed
    hint: it is looked for in PATH; a path has a `/` in it
    ");
    insta::assert_snapshot!(no_verdict("A=1 no-such-server -p {port}"), @r"
    A=1 no-such-server -p {port}
    no verdict: the server ended at its start: exit status 127
      | /bin/sh: 1: no-such-server: not found
    ");
    insta::assert_snapshot!(no_verdict(": {port}; cat /no/such/file; kill -SEGV $$"), @r"
    : {port}; cat /no/such/file; kill -SEGV $$
    no verdict: the server ended at its start: killed by SIGSEGV
      | cat: /no/such/file: No such file or directory
    ");
}

#[test]
fn a_command_without_a_port_is_a_mistake() {
    let output = run("mine", &[]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    insta::assert_snapshot!(text(&output), @r"
    error: `mine` can't be a peer: it needs `{port}` or `{socket}`, so that the server listens where nbdcheck looks for it
    hint: --server 'mine --port {port}'
    ");
}
