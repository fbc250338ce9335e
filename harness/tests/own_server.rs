//! `run --server 'CMD'`: programs of the user's own, as `nbdcheck` starts, watches and ends them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod serve;

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

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

/// A program that serves something else than the image that it is given is told so, once; nothing is
/// blamed on it for what it holds.
#[test]
fn a_server_that_ignores_its_image_is_given_content_or_spared() {
    let scenarios = ["2.6-read", "2.12-block-status/covers", "2.6-base"];
    let tested = |server: &[&str]| {
        let mut command = Command::new(NBDCHECK);
        command.args(["run", "--color", "never"]).args(server).args(["--report", "json=-"]);
        command.args(scenarios.map(|it| ["--scenario", it]).as_flattened());
        let output = command.output().unwrap();
        let all = text(&output);
        assert_eq!(output.status.code(), Some(0), "{all}");
        let told =
            "the export does not hold what is in the file `{image}`: at offset 0 the file has ";
        assert_eq!(all.matches(&format!("note: {told}")).count(), 1, "{all}");
        assert!(
            all.contains("Without `{image}`, content is written through the protocol"),
            "{all}"
        );
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (json["summary"]["passed"].as_u64().unwrap(), all)
    };
    let served = |args: &str| {
        format!(": {{image}}; exec {NBDCHECK} serve --bind 127.0.0.1:{{port}} --export {args}")
    };
    let (writable, all) = tested(&["--server", &served("=mem:{size}")]);
    assert!(all.contains("; known content is written to it instead"), "{all}");
    let (read_only, all) = tested(&["--server", &served("=mem:{size},ro")]);
    assert!(all.contains("what needs known content is left out"), "{all}");
    assert!(read_only < writable, "{all}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine.toml");
    let peer = format!(
        "format = 1\nkind = \"server\"\nname = \"mine\"\ntitle = \"mine\"\nprogram = {NBDCHECK:?}\ninstall = \"-\"\n[version]\nargs = [\"--version\"]\npattern = \"nbdcheck {{version}}\"\n[start]\nargs = [\"serve\", \"--bind\", \"127.0.0.1:{{port}}\", \"{{args}}\"]\n[listen]\ntcp = []\n[configuration.default]\nexport = \"\"\nimage = {{ size = \"16MiB\", content = \"known\" }}\nargs = [\"--export\", \"=mem:16M\"]\n"
    );
    std::fs::write(&file, peer).unwrap();
    // The configurations that are not described are skipped.
    let (by_file, all) = tested(&["--peer", file.to_str().unwrap()]);
    assert!(by_file >= 15 && all.contains("; known content is written to it instead"), "{all}");
}

/// It turns everybody else away while it still has the connection before.
#[test]
fn a_server_with_one_place_is_not_taken_for_dead() {
    let server = format!(
        "{NBDCHECK} serve --max-connections 1 --bind 127.0.0.1:{{port}} --export =file:{{image}}"
    );
    for scenario in ["2.6-options", "2.6-disconnect", "security"] {
        let output = run(&server, &["--scenario", scenario]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
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

/// A run that is under way with a server that has two processes, one in a session of its own.
struct UnderWay {
    nbdcheck: std::process::Child,
    pids: Vec<String>,
}

impl UnderWay {
    fn start(dir: &std::path::Path) -> Self {
        let list = dir.join("pids");
        let server = format!(
            "echo $$ >>{0}; setsid sleep 300 & echo $! >>{0}; : {{port}}; sleep 300",
            list.display()
        );
        let mut command = Command::new(NBDCHECK);
        command.args(["run", "--server", &server]).env("TMPDIR", dir);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let nbdcheck = command.spawn().expect("the binary runs");
        let mut run = Self { nbdcheck, pids: Vec::new() };
        let began = Instant::now();
        loop {
            let text = std::fs::read_to_string(&list).unwrap_or_default();
            run.pids = text.lines().map(str::to_owned).collect();
            if run.pids.len() == 2 && text.ends_with('\n') {
                return run;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "nothing was started");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends it by a signal and waits until nothing is left, in files neither.
    fn end(mut self, signal: Signal, dir: &std::path::Path) -> Option<i32> {
        kill_process(Pid::from_child(&self.nbdcheck), signal).expect("it is there");
        let status = self.nbdcheck.wait().expect("it is a child");
        let is_there = |pid: &String| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
        };
        let began = Instant::now();
        let left = |dir| std::fs::read_dir(dir).expect("the folder is there").count() > 1;
        while self.pids.iter().any(is_there) || left(dir) {
            assert!(
                began.elapsed() < Duration::from_secs(5),
                "{signal:?}: {:?} is left",
                self.pids
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        println!("{signal:?}: nothing is left after {:?}", began.elapsed());
        status.code()
    }
}

#[cfg(target_os = "linux")]
#[test]
fn nothing_is_left_however_the_run_is_ended() {
    for (signal, status) in [
        (Signal::INT, Some(3)),
        (Signal::TERM, Some(3)),
        (Signal::HUP, Some(3)),
        (Signal::QUIT, Some(3)),
        (Signal::KILL, None),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let run = UnderWay::start(dir.path());
        assert_eq!(run.end(signal, dir.path()), status, "{signal:?}");
    }
}

/// The command that the report of a failure names.
fn again(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|line| line.trim().strip_prefix("again  nbdcheck "));
    line.unwrap_or_else(|| panic!("no failure in {text}")).to_owned()
}

/// What is printed can be typed: it runs the same scenario, which fails again.
#[test]
fn a_failure_can_be_run_again_as_printed() {
    let dir = tempfile::tempdir().unwrap();
    let client = dir.path().join("it's a client.sh");
    let answer = "exec 3<>/dev/tcp/$1/$2; head -c 18 <&3 >/dev/null; printf %16d 0 >&3; cat <&3";
    std::fs::write(&client, answer).unwrap();
    let server = format!(
        "{NBDCHECK} serve --bind '127.0.0.1:{{port}}' --fault cookie-wrong --export 'a b=mem:16MiB'"
    );
    let client = format!("bash \"{}\" {{host}} {{port}} # {{uri}} {{action}}", client.display());
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (peer, peer_client) = (path("a server.toml"), path("client's.toml"));
    std::fs::write(&peer, PEER.replace("NBDCHECK", NBDCHECK)).unwrap();
    std::fs::write(&peer_client, PEER_CLIENT).unwrap();
    let script = path("no such error.nbd");
    std::fs::write(&script, SCRIPT).unwrap();
    let target: [&[&str]; 5] = [
        &[
            "--server",
            &server,
            "--export",
            "a b",
            "--axes",
            "send=bytewise",
            "--timeout",
            "2.5",
            "--scenario",
            "2.6-base/sanity",
        ],
        &["--client", &client, "--timeout", "0.5", "--scenario", "client/enter"],
        &["--peer", &peer, "--strict", "--scenario", "2.6-base/sanity"],
        &["--client", &peer_client, "--timeout", "0.5", "--scenario", "client/enter"],
        &["--peer", "self", "--scenario", &script],
    ];
    for args in target {
        failing_again_as_printed(args, dir.path());
    }
}

/// What was allowed is allowed again.
#[test]
fn a_failure_of_a_target_can_be_run_again_as_printed() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve::Serve::start(&["--export", "disk=mem:1MiB", "--fault", "disc-answered"]);
    let target =
        ["--target", &server.address, "--allow-write", "--allow-hazard", "--export", "disk"];
    let scenario = ["--scenario", "2.6-disconnect/fua"];
    failing_again_as_printed(&[&target[..], &scenario].concat(), dir.path());
}

/// Runs what fails, and again what the report names: the same options, failure and line.
fn failing_again_as_printed(args: &[&str], dir: &std::path::Path) {
    let mut command = Command::new(NBDCHECK);
    let first = command.args(["run", "--color", "never"]).args(args).output().unwrap();
    assert_eq!(first.status.code(), Some(1), "{}", text(&first));
    let line = again(&first);
    for arg in args.iter().filter(|arg| arg.starts_with("--")) {
        assert!(line.contains(arg), "{arg} in {line}");
    }
    let mut shell = Command::new("sh");
    shell.current_dir(dir).args(["-c", &format!("'{NBDCHECK}' {line} --color never")]);
    let second = shell.output().unwrap();
    assert_eq!(second.status.code(), Some(1), "{line}\n{}", text(&second));
    assert_eq!(again(&second), line);
}

const PEER: &str = r#"
format = 1
kind = "server"
name = "a server"
title = "a server with a fault"
program = "NBDCHECK"
install = "it is here"
[version]
args = ["--version"]
pattern = "nbdcheck {version}"
[start]
args = ["serve", "{listen}", "{args}", "--fault", "cookie-wrong"]
ready-within = "10s"
stop-within = "5s"
[listen]
tcp = ["--bind", "127.0.0.1:{port}"]
[configuration.default]
export = "disk"
image = { size = "16MiB", content = "known" }
args = ["--export", "disk=file:{image}"]
"#;

/// It connects to nothing.
const PEER_CLIENT: &str = r#"
format = 1
kind = "client"
name = "nothing"
title = "a client that does nothing"
program = "true"
install = "it is there"
[version]
args = ["--version"]
pattern = "true (GNU coreutils) {version}"
[actions]
read = ["{uri}"]
"#;

const SCRIPT: &str = r"nbd: 1
title:   an export that there is can't be found
since:   2.10
feature: NBD_OPT_GO
tests:   server
checks:  baseline-info-go

-- to haggling
C: NBD_OPT_INFO name=$export info={}
S: NBD_REP_ERR_UNKNOWN [baseline-info-go]
";

#[test]
fn a_client_that_cannot_be_started_is_told_at_once() {
    let mut command = Command::new(NBDCHECK);
    let output = command.args(["run", "--client", "no-such-client {uri}"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(text(&output).contains("`no-such-client` is not installed"), "{}", text(&output));
}
