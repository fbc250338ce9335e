//! Servers that nobody here configured, each with one fault (`unlawful.txt`): `run --target` finds it
//! in the scenario that is told there, and names the requirement.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::BufRead as _;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How many are tested at once.
const WORKERS: usize = 4;
/// How long one may take on a machine that is busy.
const EACH: Duration = Duration::from_secs(60);

/// A fault, the scenario that finds it, and the requirement.
fn faults() -> Vec<[&'static str; 3]> {
    let lines = include_str!("unlawful.txt").lines();
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let words = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    words.map(|words| words.try_into().expect("three words")).collect()
}

struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(fault: &str) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/strangers/unlawful.py");
        let mut command = Command::new("python3");
        command.args(["-B", script, fault, "--port", "0"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, address: line.trim().to_owned() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether the fault is found by its scenario and its requirement; else what was found.
fn is_found([fault, scenario, requirement]: [&str; 3]) -> Result<(), String> {
    let server = Server::start(fault);
    let began = Instant::now();
    let mut command = Command::new(env!("CARGO_BIN_EXE_nbdcheck"));
    command.args(["run", "--color", "never", "--target", &server.address, "--allow-write"]);
    command.args(["--timeout", "2", "--scenario", scenario, "--report", "json=-"]);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    if began.elapsed() > EACH {
        return Err(format!("{fault}: it took {:?}\n{text}", began.elapsed()));
    }
    let json: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("{fault}: {error}\n{text}"))?;
    let scenarios = json["scenarios"].as_array().into_iter().flatten();
    let findings = scenarios.filter_map(|it| it["findings"].as_array()).flatten();
    let named: Vec<&str> = findings.filter_map(|it| it["requirement"].as_str()).collect();
    match named.contains(&requirement) {
        true => Ok(()),
        false => Err(format!("{fault}: {scenario} names {named:?}, not {requirement}\n{text}")),
    }
}

#[test]
fn each_fault_is_found_by_its_requirement() {
    let left = Mutex::new(faults());
    let missed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let Some(fault) = left.lock().unwrap().pop() else { break };
                    if let Err(why) = is_found(fault) {
                        missed.lock().unwrap().push(why);
                    }
                }
            });
        }
    });
    let missed = missed.into_inner().unwrap();
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn there_are_many_and_each_is_told_once() {
    let all = faults();
    let names: std::collections::BTreeSet<&str> = all.iter().map(|[fault, ..]| *fault).collect();
    assert!(names.len() >= 80 && names.len() == all.len(), "{} of {}", names.len(), all.len());
    let script = include_str!("strangers/unlawful.py");
    assert_eq!(script.matches("\n@fault\n").count(), names.len());
}
