//! The whole suite against real servers and clients. What they do otherwise is recorded in
//! `harness/known`, with the section of the specification and the evidence; nothing else may fail.

mod needed;

use std::process::Command;

/// Runs the suite; nothing but what the record of this version has may fail, no entry of it may be
/// stale, and at least `share` percent of the scenarios must have run, or the run shows little. A
/// version that has no record yet only has to come through.
fn whole_suite(kind: &str, name: &str, share: u64) {
    if !needed::here(&[name]) {
        return;
    }
    let record = format!("{}/known/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(env!("CARGO_BIN_EXE_nbdcheck"))
        .args(["run", kind, name, "--report", "json=-", "--expect", &record])
        .output()
        .expect("the binary runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    // Nothing here may end a program of somebody else's; see SECURITY.md.
    for scenario in json["scenarios"].as_array().expect("scenarios") {
        let told = scenario["findings"].to_string();
        let ended = told.contains("process ended") || told.contains("killed by");
        assert!(!ended, "{} ends {name}: {told}", scenario["id"]);
    }
    let required = std::env::var_os("NBDCHECK_REQUIRE_RECORDS").is_some();
    let recorded = !text.contains("note: no record for ");
    if recorded || required {
        assert_eq!(output.status.code(), Some(0), "{text}");
    } else {
        assert!(matches!(output.status.code(), Some(0 | 1)), "{text}");
        println!("{text}");
    }
    let count = |key: &str| json["summary"][key].as_u64().unwrap_or(0);
    let ran = count("passed") + count("warned") + count("known") + count("failed");
    let all = ran + count("skipped");
    assert!(ran * 100 >= all * share, "only {ran} of {all} ran\n{text}");
    println!("{name}: {ran} of {all} ran");
}

#[test]
fn qemu_nbd_keeps_to_the_protocol_but_for_what_is_known() {
    whole_suite("--peer", "qemu-nbd", 80);
}

#[test]
fn qemu_storage_daemon_keeps_to_the_protocol_but_for_what_is_known() {
    whole_suite("--peer", "qemu-storage-daemon", 70);
}

#[test]
fn nbdkit_keeps_to_the_protocol_but_for_what_is_known() {
    whole_suite("--peer", "nbdkit", 80);
}

#[test]
fn nbd_server_keeps_to_the_protocol_but_for_what_is_known() {
    whole_suite("--peer", "nbd-server", 50);
}

#[test]
fn qemu_img_keeps_to_the_protocol_but_for_what_is_known() {
    whole_suite("--client", "qemu-img", 10);
}

#[test]
fn qemu_io_keeps_to_the_protocol_but_for_what_is_known() {
    whole_suite("--client", "qemu-io", 10);
}

#[test]
fn nbdinfo_keeps_to_the_protocol_but_for_what_is_known() {
    whole_suite("--client", "nbdinfo", 10);
}

#[test]
fn nbdcopy_keeps_to_the_protocol_but_for_what_is_known() {
    whole_suite("--client", "nbdcopy", 10);
}

#[test]
fn nbdsh_keeps_to_the_protocol_but_for_what_is_known() {
    whole_suite("--client", "nbdsh", 10);
}

#[test]
fn nbd_client_keeps_to_the_protocol_but_for_what_is_known() {
    whole_suite("--client", "nbd-client", 5);
}
