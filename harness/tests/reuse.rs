//! A target is tested with what it has: scenarios find the export that they want among its exports, content is laid
//! where that is allowed, and nothing is written where it is not.

mod serve;

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde_json::Value;

use serve::Serve;

impl Serve {
    fn run(&self, args: &[&str]) -> Run {
        Run::of(&[&["--target", &self.address], args].concat())
    }
}

/// What became of each scenario: the verdict, and the reason if there is one.
struct Run(BTreeMap<String, (String, String)>);

impl Run {
    fn of(args: &[&str]) -> Self {
        let output = Command::new(env!("CARGO_BIN_EXE_nbdcheck"))
            .arg("run")
            .args(args)
            .args(["--report", "json=-"])
            .output()
            .expect("the binary runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        let json: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| {
            panic!("no report: {errors}");
        });
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let outcome =
            |one: &Value| (text(&one["id"]), (text(&one["verdict"]), text(&one["reason"])));
        Self(json["scenarios"].as_array().expect("scenarios").iter().map(outcome).collect())
    }

    fn has_run(&self, id: &str) -> bool {
        self.0.get(id).is_some_and(|(verdict, _)| verdict != "skip" && verdict != "error")
    }

    /// All that is neither passed nor skipped.
    fn bad(&self) -> Vec<String> {
        let bad = self.0.iter().filter(|(_, (verdict, _))| verdict != "pass" && verdict != "skip");
        bad.map(|(id, (verdict, reason))| format!("{id}: {verdict} {reason}")).collect()
    }
}

/// What only a server as a whole can be: no server is all of these at once.
fn is_of_the_server(configuration: &str) -> bool {
    configuration.starts_with("tls-")
        || ["oldstyle", "newstyle", "no-list", "no-structured", "no-zeroes", "no-cache"]
            .contains(&configuration)
}

#[test]
fn on_a_rich_target_of_64_mib_nearly_all_runs_that_runs_against_a_peer() {
    let server = Serve::start(&[
        "--default=disk",
        "--export=disk=mem:64MiB,desc=a disk",
        "--export=read-only=pattern:16MiB,ro",
        "--export=odd=mem:1000001",
        "--export=one=mem:1",
        "--export=small=mem:511",
        "--export=more=mem:513",
        "--export=empty=mem:0",
        "--export=blocks=mem:16MiB,min=4096,max=1MiB",
        "--export=large=mem:9GiB",
        "--export=single=mem:16MiB,single",
        "--export=bitmaps=mem:16MiB,bitmap=bm0,bitmap=bm1",
    ]);
    let target = server.run(&["--allow-write", "--allow-hazard"]);
    let peer = Run::of(&["--peer", "self"]);
    let mut left = Vec::new();
    let (mut ran, mut all, mut of_the_server) = (0, 0, 0);
    for script in harness::scenarios::all().expect("scenarios") {
        let id = script.id.as_str();
        if !peer.has_run(id) {
            continue;
        }
        let configuration = script.header.export.as_ref().map_or("", |name| &name.node);
        if is_of_the_server(configuration) {
            of_the_server += 1;
            continue;
        }
        all += 1;
        if target.has_run(id) {
            ran += 1;
        } else {
            left.push(format!("{id}: {}", target.0.get(id).map_or("", |(_, reason)| reason)));
        }
    }
    println!(
        "{ran} of {all} scenarios ran that `--peer self` runs, besides {of_the_server} for other servers; left out:\n{}",
        left.join("\n")
    );
    assert!(ran * 100 >= all * 95, "only {ran} of {all} ran:\n{}", left.join("\n"));
    assert_eq!(target.bad(), [""; 0]);
}

#[test]
fn nothing_is_written_unless_it_is_allowed_and_only_where() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let bytes: Vec<u8> = (0..500_000_u32).flat_map(u32::to_be_bytes).collect();
    let sizes = [("a", bytes.len()), ("odd", 1_000_001), ("small", 300), ("b", 1 << 20)];
    for (name, size) in sizes {
        fs::write(path(name), &bytes[..size]).expect("written");
    }
    let same = |name: &str, size: usize| fs::read(path(name)).expect("read") == bytes[..size];
    let exports = sizes.map(|(name, _)| format!("--export={name}=file:{}", path(name)));
    let args: Vec<&str> = exports.iter().map(String::as_str).collect();
    let server = Serve::start(&args);

    let run = server.run(&[]);
    assert_eq!(run.bad(), [""; 0]);
    for (name, size) in sizes {
        assert!(same(name, size), "{name} was written to");
    }
    // What is there does as well as known content where a scenario only reads.
    for id in ["2.6-read/offsets", "2.6-read/size-1", "2.6-cookies/many-in-flight"] {
        assert!(run.has_run(id), "{id}: {:?}", run.0[id]);
    }

    // Only what is named may be lost.
    let run = server.run(&["--export", "b", "--allow-write"]);
    assert_eq!(run.bad(), [""; 0]);
    assert!(run.has_run("2.6-write/read-back") || run.has_run("2.6-base/write-read"));
    assert!(!run.has_run("2.6-write/size-511"), "{:?}", run.0["2.6-write/size-511"]);
    for (name, size) in &sizes[..3] {
        assert!(same(name, *size), "{name} was written to");
    }
    assert!(!same("b", 1 << 20));
}

#[test]
fn scenarios_about_read_only_exports_run_on_any() {
    let server = Serve::start(&["--export==pattern:2MiB,ro"]);
    let run = server.run(&[]);
    assert_eq!(run.bad(), [""; 0]);
    for id in [
        "2.6-commands/trim-read-only",
        "2.6-write/read-only",
        "2.6-write/read-only-reconnect",
        "2.8-write-zeroes/read-only",
        "2.8-write-zeroes/read-only-eperm",
        "3.0-cache/read-only",
        "4.2-multi-conn/read-only-reads",
        "8.2-extended/read-only",
    ] {
        assert!(run.has_run(id), "{id}: {:?}", run.0[id]);
    }
}

#[test]
fn a_device_that_can_t_be_given_content_is_one_reason() {
    // Writes succeed and have no effect.
    let server = Serve::start(&["--export==mem:16MiB", "--fault", "write-not-stored"]);
    let run = server.run(&["--allow-write", "--scenario", "2.6-read", "--scenario", "2.6-cookies"]);
    let (verdict, reason) = &run.0["2.6-cookies/halves"];
    assert_eq!(verdict, "skip", "{reason}");
    assert!(reason.starts_with("the export keeps nothing that is written"), "{reason}");
}
