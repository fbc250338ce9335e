//! `decode` and `validate` on files that change, on several files, and their reports.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, BufWriter, Read as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use dissector::capture::ConnectionWriter;
use protocol::message::Side;
use serde_json::Value;

/// The beginning of a session: greeting, flags, NBD_OPT_LIST and nothing after it.
fn haggling(to: &mut ConnectionWriter<BufWriter<File>>) {
    to.opened(0).unwrap();
    to.data(Side::Server, 1, b"NBDMAGICIHAVEOPT\x00\x03").unwrap();
    to.data(Side::Client, 2, &[0, 0, 0, 3]).unwrap();
}

fn writer(path: &Path) -> ConnectionWriter<BufWriter<File>> {
    let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let out = BufWriter::new(File::create(path).unwrap());
    ConnectionWriter::new(out, address(50_000), address(10809)).unwrap()
}

fn nbdcheck(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nbdcheck"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

#[test]
fn a_file_that_is_cut_short_while_it_is_read_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("it.pcapng");
    let mut file = writer(&path);
    haggling(&mut file);
    // 24 MiB of options: several windows of the file.
    for number in 0..120_000u64 {
        file.data(Side::Client, 3 + number, b"IHAVEOPT\x00\x00\x00\x03\x00\x00\x00\x00").unwrap();
        let reply =
            b"\x00\x03\xe8\x89\x04\x55\x65\xa9\x00\x00\x00\x03\x00\x00\x00\x01\x00\x00\x00\x00";
        file.data(Side::Server, 3 + number, reply).unwrap();
    }
    file.finish().unwrap();
    assert!(fs::metadata(&path).unwrap().len() > 20 << 20);
    let mut decode = Command::new(env!("CARGO_BIN_EXE_nbdcheck"))
        .args(["decode", "it.pcapng"])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It writes into a pipe that nobody empties, and comes no further than that.
    let mut out = BufReader::new(decode.stdout.take().unwrap());
    out.read_line(&mut String::new()).unwrap();
    OpenOptions::new().write(true).open(&path).unwrap().set_len(4096).unwrap();
    out.read_to_end(&mut Vec::new()).unwrap();
    let mut talk = String::new();
    decode.stderr.take().unwrap().read_to_string(&mut talk).unwrap();
    assert_eq!(decode.wait().unwrap().code(), Some(3), "{talk}");
    assert_eq!(talk, "error: it.pcapng: the file was cut short while it was read\n");
}

/// A folder with two captures: one whose server breaks a MUST, one in which there is no NBD.
fn two() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("in")).unwrap();
    let mut file = writer(&folder.path().join("in/bad.pcapng"));
    haggling(&mut file);
    file.data(Side::Client, 700_000_000, b"IHAVEOPT\x00\x00\x00\x03\x00\x00\x00\x00").unwrap();
    // The magic of another message.
    file.data(Side::Server, 1_500_000_000, &[7; 20]).unwrap();
    file.closed(Side::Server, 1_500_000_000, false).unwrap();
    file.finish().unwrap();
    writer(&folder.path().join("none.pcapng")).finish().unwrap();
    folder
}

#[test]
fn folders_are_validated_and_reported_on() {
    let folder = two();
    let output = nbdcheck(folder.path(), &["validate", ".", "--report", "json=out.json"]);
    assert_eq!(output.status.code(), Some(1));
    insta::assert_snapshot!(String::from_utf8_lossy(&output.stdout), @"./in/bad.pcapng: session 1 message 1 server MUST option-reply-layout: expected the option reply magic, found magic 0x0707070707070707 at byte 18 of the server (frame 7, +1.500000 s, byte 18)");
    insta::assert_snapshot!(String::from_utf8_lossy(&output.stderr), @"
    ./in/bad.pcapng: session 1: lost: the rest of the server's bytes can't be followed
    ./in/bad.pcapng: session 1: unanswered: 1 option has no final reply; the first is message 3
    error: ./none.pcapng: no NBD traffic found
    hint: a server on another port than 10809 whose greeting was not captured is found with `--port N`
    1 session, 3 messages: 1 violation, 0 warnings; 20 bytes could not be judged
    ");
    let json = fs::read_to_string(folder.path().join("out.json")).unwrap();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["summary"]["violations"], 1);
    assert_eq!(json["files"][0]["findings"][0]["frame"], 7);
    assert_eq!(json["files"][1]["error"], "no NBD traffic found");
    let output = nbdcheck(folder.path(), &["validate", "in", "--report", "sarif=-"]);
    let sarif: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(sarif["runs"][0]["results"][0]["level"], "error");
}

#[test]
fn several_captures_are_decoded_one_after_the_other() {
    let folder = two();
    let output = nbdcheck(folder.path(), &["decode", "in/bad.pcapng", "in"]);
    insta::assert_snapshot!(String::from_utf8_lossy(&output.stdout), @"
    # file in/bad.pcapng
    # session 1: 127.0.0.1:50000 -> 127.0.0.1:10809, 1970-01-01 00:00:00.000000 UTC
    S: greeting fixed-newstyle flags={NO_ZEROES}  # +0.000000 @0
    C: client-flags flags={FIXED_NEWSTYLE NO_ZEROES}  # +0.000000 @0
    C: NBD_OPT_LIST  # +0.700000 @4
    # ! MUST server [option-reply-layout] expected the option reply magic, found magic 0x0707070707070707 at byte 18 of the server (message 1)  # +1.500000 @18 frame 7
    -- lost: the rest of the server's bytes can't be followed  # +1.500000
    S: close  # +1.500000
    -- unanswered: 1 option has no final reply; the first is message 3  # +1.500000
    # session 1 ends: 3 messages, 1 violation, 0 warnings, 2 problems

    # file in/bad.pcapng
    # session 1: 127.0.0.1:50000 -> 127.0.0.1:10809, 1970-01-01 00:00:00.000000 UTC
    S: greeting fixed-newstyle flags={NO_ZEROES}  # +0.000000 @0
    C: client-flags flags={FIXED_NEWSTYLE NO_ZEROES}  # +0.000000 @0
    C: NBD_OPT_LIST  # +0.700000 @4
    # ! MUST server [option-reply-layout] expected the option reply magic, found magic 0x0707070707070707 at byte 18 of the server (message 1)  # +1.500000 @18 frame 7
    -- lost: the rest of the server's bytes can't be followed  # +1.500000
    S: close  # +1.500000
    -- unanswered: 1 option has no final reply; the first is message 3  # +1.500000
    # session 1 ends: 3 messages, 1 violation, 0 warnings, 2 problems
    ");
    let output = nbdcheck(folder.path(), &["decode", "--format", "json", "in", "none.pcapng"]);
    assert_eq!(output.status.code(), Some(3));
    let lines = String::from_utf8(output.stdout).unwrap();
    let types: Vec<String> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["type"].to_string())
        .collect();
    assert_eq!(types.iter().filter(|it| *it == "\"file\"").count(), 2);
    assert_eq!(types.iter().filter(|it| *it == "\"summary\"").count(), 2);
    let output = nbdcheck(folder.path(), &["decode", "--session", "1", "."]);
    assert_eq!(output.status.code(), Some(2));
}
