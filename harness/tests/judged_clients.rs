//! `serve --judge` and real programs: nothing is found but what they are known to do. Those that are not
//! installed are passed over, unless `NBDCHECK_REQUIRE_PEERS` names them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod needed;
#[path = "serve/started.rs"]
mod started;

use std::collections::BTreeSet;
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use reference_server::tls::generated::Made;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use started::started;

/// The rule about how a session ends.
const GOODBYE: &str = "session-no-unjustified-hard-disconnect";

/// `nbdcheck serve --judge` on a free port; dropping it ends it.
struct Judge {
    child: Child,
    out: BufReader<ChildStdout>,
    uri: String,
    folder: tempfile::TempDir,
}

impl Judge {
    fn start(args: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let report = format!("json={}", folder.path().join("judged.json").display());
        let args = [&["--judge", "--judge-report", &report], args].concat();
        let (child, out, uri) = started(&args, Stdio::null());
        Self { child, out, uri, folder }
    }

    /// Runs a command of the shell with `$URI`, `$PORT` and `$OUT`, a file to write.
    fn visit(&self, command: &str) {
        let (_, port) = self.uri.rsplit_once("127.0.0.1:").unwrap();
        let port: String = port.chars().take_while(char::is_ascii_digit).collect();
        let status = Command::new("sh")
            .args(["-c", command])
            .env("URI", &self.uri)
            .env("PORT", port)
            .env("OUT", self.folder.path().join("out"))
            .current_dir(self.folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(status.is_ok(), "{command}");
    }

    /// Ends it; the rules that clients broke, and what was printed.
    fn end(mut self) -> (BTreeSet<String>, String) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let mut said = String::new();
        self.out.read_to_string(&mut said).unwrap();
        let status = self.child.wait().unwrap().code();
        let text = std::fs::read_to_string(self.folder.path().join("judged.json")).unwrap();
        let report: Value = serde_json::from_str(&text).unwrap();
        let scenario = &report["scenarios"][0];
        let findings = scenario["findings"].as_array().unwrap();
        let rule = |finding: &Value| finding["requirement"].as_str().unwrap().to_owned();
        let broken = findings.iter().map(rule).collect();
        let failed = scenario["verdict"] == "fail";
        assert_eq!(status, Some(i32::from(failed)), "{said}");
        (broken, said)
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What programs do with an export that can be written, and the rules that they are known to break.
const VISITS: [(&str, &str, &[&str]); 10] = [
    ("nbdinfo", "nbdinfo $URI; nbdinfo --list $URI", &[]),
    // Where there is no such context it ends without NBD_CMD_DISC.
    ("nbdinfo", "nbdinfo --map $URI", &[GOODBYE]),
    ("nbdcopy", "nbdcopy $URI $OUT; nbdcopy $OUT $URI", &[]),
    // It hangs up without NBD_CMD_DISC where it finds that it can't do what it is to do.
    ("nbdcopy", "truncate -s 2M big; nbdcopy big $URI", &[GOODBYE]),
    // qemu from 8.2 on leaves PAYLOAD_LEN out of its extended writes.
    (
        "qemu-img",
        "qemu-img convert -f raw -O raw $URI $OUT; qemu-img convert -n -f raw -O raw $OUT $URI; qemu-img map -f raw $URI",
        &["ext-write-payload-flag"],
    ),
    (
        "qemu-io",
        "qemu-io -f raw -c 'read 0 64k' -c 'write 4k 8k' -c flush -c 'discard 64k 64k' -c 'write -z 128k 64k' $URI",
        &["ext-write-payload-flag"],
    ),
    // The shell's own interpreter must be the one that libnbd's module is installed for.
    (
        "nbdsh",
        "PATH=/usr/bin:$PATH nbdsh -u $URI -c 'h.pread(512, 0); h.pwrite(b\"x\" * 512, 0); h.flush(); h.shutdown()'",
        &[],
    ),
    // An exception ends the shell, without NBD_CMD_DISC.
    (
        "nbdsh",
        "PATH=/usr/bin:$PATH nbdsh -u $URI -c 'h.trim(512, 100)' -c 'raise OSError()'",
        &[GOODBYE, "size-client-portable-min-512"],
    ),
    // It leaves each of its connections without NBD_CMD_DISC.
    (
        "fio",
        "fio --name=j --ioengine=nbd --uri=$URI --rw=randrw --size=1M --bs=4k --loops=2",
        &[GOODBYE],
    ),
    ("nbd-client", "nbd-client -l 127.0.0.1 $PORT", &[]),
];

/// A small client that does what it is told.
fn client() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/strangers/clients/client.py")
}

fn known(broken: &BTreeSet<String>, known: &[&str]) -> bool {
    broken.iter().all(|rule| known.contains(&rule.as_str()))
}

#[test]
fn programs_are_accused_of_nothing_but_what_they_do() {
    for (program, command, rules) in VISITS {
        if !needed::here(&[program]) {
            continue;
        }
        for more in [&[][..], &["--profile", "4.2"], &["--profile", "2.6"]] {
            let args = [&["--export", "disk=pattern:1MiB"], more].concat();
            let judge = Judge::start(&args);
            judge.visit(command);
            let (broken, said) = judge.end();
            assert!(known(&broken, rules), "{command} {more:?}: {said}");
        }
    }
}

/// A server that breaks a rule on purpose is a reason to hang up, and its own faults are nobody's.
#[test]
fn programs_that_meet_a_fault_are_accused_of_nothing() {
    for fault in ["cookie-wrong", "read-short", "disc-ignored", "disc-answered"] {
        let judge = Judge::start(&["--export", "disk=pattern:1MiB", "--fault", fault]);
        // Somebody must come, so that there is a verdict.
        judge.visit(&format!("python3 {} honest $URI; true", client().display()));
        for (program, command) in [
            ("nbdinfo", "timeout 10 nbdinfo $URI"),
            ("nbdcopy", "timeout 10 nbdcopy $URI $OUT"),
            ("qemu-io", "timeout 10 qemu-io -f raw -r -c 'read 0 4k' $URI"),
        ] {
            if needed::here(&[program]) {
                judge.visit(command);
            }
        }
        let (broken, said) = judge.end();
        assert!(broken.is_empty(), "{fault}: {said}");
    }
}

/// Inside TLS the judge hears as much.
#[test]
fn programs_are_judged_inside_tls() {
    let folder = tempfile::tempdir().unwrap();
    let made = Made::make(folder.path()).unwrap();
    let file = |name: &str| made.file(name).display().to_string();
    let (cert, key, ca) = (file("server-cert.pem"), file("server-key.pem"), file("ca-cert.pem"));
    let client = client();
    let client = client.display();
    let tls = folder.path().display();
    let uri = format!("nbds://localhost:$PORT/disk?tls-certificates={tls}");
    let visits = [
        ("python3", format!("python3 {client} honest $URI --tls {tls} read 0 4096"), &[][..]),
        (
            "python3",
            format!("python3 {client} three-bugs $URI --tls {tls} info"),
            &[
                "opt-structured-extensions-client",
                "request-within-export",
                "session-hard-disconnect-tls-first",
                GOODBYE,
            ],
        ),
        ("nbdinfo", format!("nbdinfo '{uri}'").replace("$PORT", "'$PORT'"), &[]),
        ("nbdcopy", format!("nbdcopy '{uri}' $OUT").replace("$PORT", "'$PORT'"), &[]),
    ];
    for (program, command, rules) in visits {
        if !needed::here(&[program]) {
            continue;
        }
        let credentials = ["--tls-cert", &cert, "--tls-key", &key, "--tls-ca", &ca];
        let judge =
            Judge::start(&[&["--export", "disk=pattern:1000448"], &credentials[..]].concat());
        judge.visit(&command);
        let (broken, said) = judge.end();
        let wanted: BTreeSet<String> = rules.iter().map(ToString::to_string).collect();
        assert_eq!(broken, wanted, "{command}: {said}");
    }
}
