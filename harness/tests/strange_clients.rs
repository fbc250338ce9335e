//! Clients that nobody here wrote the scenarios for: one lawful, others with a mistake each. What
//! they do is in `strangers/clients/client.py`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "serve/started.rs"]
mod started;

use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use started::started;

fn client() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/strangers/clients/client.py")
}

/// A peer file for a kind of client, in a folder of its own.
fn peer_file(folder: &Path, kind: &str) -> String {
    let program = client();
    let action = |words: &str| format!("[\"{kind}\", \"{{uri}}\", {words}]");
    let inside =
        |words: &str| format!("[\"{kind}\", \"{{uri}}\", \"--tls\", \"{{tls-dir}}\", {words}]");
    let maps = kind == "libnbd";
    let cannot = ["map", "flush", "trim", "zero", "cache"];
    let cannot = cannot.iter().filter(|it| !(maps && **it == "map"));
    let cannot: Vec<String> = cannot.map(|it| format!("{it} = \"not made for it\"")).collect();
    let map = if maps {
        format!("map = {}\n", action("\"map\", \"{offset}\", \"{length}\""))
    } else {
        String::new()
    };
    let text = format!(
        "format = 1\nkind = \"client\"\nname = \"{kind}\"\ntitle = \"a client for tests\"\n\
         program = \"{}\"\ninstall = \"it is here\"\n\
         [version]\nargs = [\"--version\"]\npattern = \"client {{version}}\"\n\
         [actions]\n{map}info = {}\nlist = {}\nread = {}\nwrite = {}\ncopy-out = {}\ncopy-in = {}\n\
         [tls.x509]\ninfo = {}\nread = {}\n[cannot]\n{}\n",
        program.display(),
        action("\"info\""),
        action("\"list\""),
        action("\"read\", \"{offset}\", \"{length}\""),
        action("\"write\", \"{offset}\", \"{length}\""),
        action("\"copy-out\", \"{file}\""),
        action("\"copy-in\", \"{file}\""),
        inside("\"info\""),
        inside("\"read\", \"{offset}\", \"{length}\""),
        cannot.join("\n"),
    );
    let path = folder.join(format!("{kind}.toml"));
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// Runs a client's scenarios; gives the report and what was printed.
fn run(kind: &str, more: &[&str]) -> (Output, Value) {
    let folder = tempfile::tempdir().unwrap();
    run_client(&peer_file(folder.path(), kind), more)
}

/// The same of what `--client` takes.
fn run_client(client: &str, more: &[&str]) -> (Output, Value) {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.json");
    let output = Command::new(env!("CARGO_BIN_EXE_nbdcheck"))
        .args(["run", "--client", client, "--report", &format!("json={}", report.display())])
        .args(more)
        .output()
        .unwrap();
    let json =
        std::fs::read_to_string(report).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (output, serde_json::from_str(&json).unwrap())
}

fn few<'a>(scenarios: &[&'a str]) -> Vec<&'a str> {
    scenarios.iter().flat_map(|scenario| ["--scenario", scenario]).collect()
}

/// The findings of a run: scenario, requirement and message.
fn findings(report: &Value) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut all = Vec::new();
    let scenarios = report["scenarios"].as_array().unwrap();
    for scenario in scenarios {
        for finding in scenario["findings"].as_array().unwrap() {
            let message = text(&finding["message"]);
            all.push((text(&scenario["id"]), text(&finding["requirement"]), message));
        }
    }
    all
}

fn ids(found: &[(String, String, String)]) -> Vec<&str> {
    let mut ids: Vec<&str> = found.iter().map(|(_, id, _)| id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

fn ran(report: &Value) -> usize {
    let scenarios = report["scenarios"].as_array().unwrap();
    scenarios.iter().filter(|scenario| scenario["verdict"] != "skip").count()
}

#[test]
fn an_honest_client_is_accused_of_nothing() {
    let (output, report) = run("honest", &[]);
    assert_eq!(findings(&report), Vec::new(), "{output:?}");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_client_that_knows_only_export_name_is_tested() {
    let (output, report) = run("only-export-name", &[]);
    let found = findings(&report);
    assert_eq!(ids(&found), ["opt-go-preferred"], "{output:?}");
    // Once, not in each scenario.
    let plain = |id: &str| id.starts_with("client/plain-") || id == "client-tls/plain";
    assert!(found.iter().all(|(scenario, ..)| plain(scenario)), "{found:?}");
    assert_eq!(output.status.code(), Some(0));
    assert!(ran(&report) >= 75, "{} scenarios ran", ran(&report));
    // Without a list and TLS there are enough as well.
    let scenarios = report["scenarios"].as_array().unwrap();
    let least = |id: &str| !id.contains("list") && !id.starts_with("client-tls/");
    let ran = scenarios.iter().filter(|it| it["verdict"] != "skip");
    let ran = ran.filter(|it| least(it["id"].as_str().unwrap())).count();
    assert!(ran >= 60, "{ran} scenarios ran");
}

/// Each mistake is found by the scenarios that are there for it, and by its rule.
#[test]
fn mistakes_of_simple_clients_are_found() {
    for (kind, requirement, scenarios) in [
        ("cuts-offsets", "request-layout", &["client/read-far", "client/write-far"][..]),
        ("writes-nothing", "baseline-write", &["client/plain-copy-in", "client/plain-write"]),
        ("writes-elsewhere", "baseline-write", &["client/plain-copy-in"]),
        (
            "rounds-up",
            "request-within-export",
            &["client/copy-out-odd", "client/copy-out-tiny", "client/copy-out-odd-told"],
        ),
        ("rounds-up", "request-within-export", &["client/plain-odd"]),
        (
            "unlimited",
            "size-client-portable-max-32-mib",
            &["client/copy-out-large", "client/copy-in-large"],
        ),
        ("takes-anything", "baseline-notls", &["client/greeting-bad-magic"]),
        ("takes-anything", "baseline-notls", &["client/close-in-export-info"]),
        ("takes-anything", "baseline-read", &["client/close-in-data"]),
        ("takes-anything", "baseline-write", &["client/close-in-write", "client/error-in-copy-in"]),
        (
            "takes-anything",
            "tflag-client-needs-flag",
            &["client/read-only-copy-in", "client/export-name-read-only"],
        ),
        (
            "takes-anything",
            "baseline-simple-replies",
            &["client/wrong-cookie-write", "client/bad-magic-write", "client/error-in-copy-out"],
        ),
        ("takes-anything", "error-client-unexpected-as-einval", &["client/error-unknown-write"]),
    ] {
        let (output, report) = run(kind, &few(scenarios));
        let found = findings(&report);
        for scenario in scenarios {
            let told = found.iter().any(|(id, rule, _)| id == scenario && rule == requirement);
            assert!(told, "{kind} in {scenario}: {found:?}\n{output:?}");
        }
    }
}

/// The order of options of libnbd 1.22, whose tools list, map and copy.
#[test]
fn a_client_in_the_order_of_libnbd_is_accused_of_nothing() {
    let (output, report) = run("libnbd", &[]);
    let mut found = findings(&report);
    // It lists contexts for each export also where structured replies were refused: a wish not kept.
    found.retain(|(_, id, _)| id != "opt-list-meta-client-structured-first");
    assert_eq!(found, Vec::new(), "{output:?}");
    assert_eq!(output.status.code(), Some(0));
    assert!(ran(&report) >= 120, "{} scenarios ran", ran(&report));
}

#[test]
fn each_of_several_connections_is_judged() {
    let (output, report) = run("four-connections", &[]);
    assert_eq!(findings(&report), Vec::new(), "{output:?}");
    assert_eq!(output.status.code(), Some(0));
    for scenario in ["client/plain-copy-out", "client/plain-copy-in", "client/copy-out-large"] {
        let (output, report) = run("fourth-is-faulty", &few(&[scenario]));
        let found = findings(&report);
        assert_eq!(ids(&found), ["request-within-export"], "{scenario}: {output:?}");
        assert_eq!(output.status.code(), Some(1));
    }
}

#[test]
fn a_client_that_never_says_goodbye_is_told_so_by_plain_sessions() {
    let (output, report) =
        run("no-goodbye", &few(&["client/plain-*", "client/error-io", "client/flags"]));
    let found = findings(&report);
    assert_eq!(ids(&found), ["session-no-unjustified-hard-disconnect"], "{output:?}");
    let plain = |id: &str| id.starts_with("client/plain-") || id == "client-tls/plain";
    assert!(found.iter().all(|(scenario, ..)| plain(scenario)), "{found:?}");
    assert_eq!(output.status.code(), Some(1));
}

/// The capture of a session tells the same as the run did.
#[test]
fn who_leaves_without_a_word_is_told_from_a_capture_too() {
    for kind in ["no-goodbye", "cookie-forgotten"] {
        let folder = tempfile::tempdir().unwrap();
        let captures = folder.path().display().to_string();
        let (output, report) = run(kind, &["--scenario", "client/enter", "--capture", &captures]);
        let found = findings(&report);
        assert!(ids(&found).contains(&"session-no-unjustified-hard-disconnect"), "{output:?}");
        let file = folder.path().join(kind).join("client/enter.pcapng");
        let validate = Command::new(env!("CARGO_BIN_EXE_nbdcheck"));
        let output = { validate }.arg("validate").arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(said.contains("client MUST NOT session-no-unjustified-hard-disconnect"), "{said}");
        assert!(!said.contains(" server "), "{said}");
    }
}

#[test]
fn a_client_that_takes_the_end_of_the_stream_for_a_size_is_found() {
    let (output, report) =
        run("export-name-eof", &few(&["client/export-name-refused", "client/plain-info"]));
    let found = findings(&report);
    let told = |(_, id, message): &(String, String, String)| {
        id == "opt-export-name-refusal-closes"
            && message.contains("the server closed, and the client says status 0")
    };
    assert!(found.iter().any(told), "{output:?}");
}

#[test]
fn a_client_that_does_not_look_at_the_flags_is_found() {
    let (output, report) = run("flags-not-looked-at", &few(&["client/newstyle", "client/enter"]));
    let found = findings(&report);
    let ids = ids(&found);
    // The MUST of the options, and the MUST NOT of the flags.
    assert_eq!(ids, ["client-flags-no-others", "newstyle-nonfixed-one-option"], "{output:?}");
    assert!(found.iter().all(|(scenario, ..)| scenario == "client/newstyle"), "{output:?}");
}

#[test]
fn a_client_that_begins_tls_after_any_reply_is_found() {
    let (output, report) =
        run("starttls-any-reply", &few(&["client-tls/refused-*", "client-tls/x509"]));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let found = findings(&report);
    assert!(
        found.iter().all(|(scenario, ..)| scenario.starts_with("client-tls/refused")),
        "{found:?}"
    );
}

const THREE: [&str; 3] = [
    "opt-structured-extensions-client",
    "request-within-export",
    "session-no-unjustified-hard-disconnect",
];

#[test]
fn three_bugs_show_in_the_first_plain_session() {
    let command = format!("'{}' three-bugs {{uri}}", client().display());
    let scenarios = few(&["client/plain-*", "client/flags", "client/spare-greeting-flags"]);
    let (output, report) = run_client(&command, &scenarios);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let mut found = findings(&report);
    // The other scenarios do not tell the same again.
    assert!(found.iter().all(|(scenario, ..)| scenario == "client/plain-info"), "{found:?}");
    found.retain(|(scenario, ..)| scenario == "client/plain-info");
    assert_eq!(ids(&found), THREE);
}

#[test]
fn a_program_that_can_not_be_started_ends_the_run_at_once() {
    let began = std::time::Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_nbdcheck"))
        .args(["run", "--client", "no-such-program-at-all {uri}"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("the client does not start"), "{said}");
    assert!(began.elapsed() < std::time::Duration::from_secs(20), "{:?}", began.elapsed());
}

/// A client that can't do what it is asked to says so and does not connect: that breaks no rule.
#[test]
fn what_a_client_can_not_do_is_not_held_against_it() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("client.sh");
    let text = format!(
        "uri=$1\nshift\ncase $1 in\ninfo|read) exec '{}' honest \"$uri\" \"$@\";;\n\
         *) echo \"no such command: $1\" >&2; exit 2;;\nesac\n",
        client().display()
    );
    std::fs::write(&script, text).unwrap();
    let script = script.display();
    let command = format!("sh '{script}' {{uri}} {{action}} {{offset}} {{length}}");
    let scenarios = few(&["client/plain-*", "client/*zero*", "client/flags"]);
    let (output, report) = run_client(&command, &scenarios);
    assert_eq!(findings(&report), Vec::new(), "{output:?}");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(ran(&report) >= 3, "{} scenarios ran", ran(&report));
    let reasons = report["scenarios"].to_string();
    assert!(reasons.contains("the client does not connect: the client: "), "{reasons}");
    assert!(reasons.contains("no such command: zero"), "{reasons}");
}

#[test]
fn a_command_without_tls_is_not_tested_inside_tls() {
    let command = format!("'{}' honest {{uri}}", client().display());
    let output = Command::new(env!("CARGO_BIN_EXE_nbdcheck"))
        .args([
            "run",
            "--client",
            &command,
            "-v",
            "--scenario",
            "client-tls",
            "--scenario",
            "client/flags",
        ])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("ask for NBD_OPT_STARTTLS"), "{said}");
}

/// `serve --judge` for one session, and its address.
fn judge(more: &[&str]) -> (Child, BufReader<std::process::ChildStdout>, String) {
    started(&[&["--judge", "--sessions", "1"], more].concat(), Stdio::piped())
}

#[test]
fn serve_judges_whoever_connects() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("judged.json");
    for (kind, status, wanted) in [("honest", 0, &[][..]), ("three-bugs", 1, &THREE[..])] {
        let (mut child, mut lines, uri) = judge(&[
            "--export",
            "disk=pattern:1000448",
            "--judge-report",
            &format!("json={}", report.display()),
        ]);
        let ended = Command::new("python3").arg(client()).args([kind, &uri]).output();
        assert!(ended.is_ok());
        let mut said = String::new();
        std::io::Read::read_to_string(&mut lines, &mut said).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(status), "{said}");
        let json: Value = serde_json::from_str(&std::fs::read_to_string(&report).unwrap()).unwrap();
        assert_eq!(ids(&findings(&json)), wanted, "{said}");
        for id in wanted {
            assert!(said.contains("FAIL session 1 from 127.0.0.1"), "{said}");
            assert!(said.contains(id), "{said}");
        }
    }
}

#[test]
fn a_client_that_never_connects_is_one_cause_and_shows_no_lack() {
    let output = Command::new(env!("CARGO_BIN_EXE_nbdcheck"))
        .args(["run", "--color", "never", "--client", "true {uri}"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("; 1 cause in "), "{said}");
    assert!(!said.contains("not-offered"), "{said}");
}
