//! TLS that real programs spoke: opened, it is what the server logged and what tshark opens.
//!
//! Needs certtool and psktool (GnuTLS) besides.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use dissector::capture::ConnectionWriter;
use protocol::message::Side;
use serde_json::Value;

use super::{
    Running, capture, free_port, golden, logged, nbdcheck, needed, run, tshark, wait_for_port,
};

/// A certificate authority and a server's certificate; and a pre-shared key.
fn credentials(folder: &Path) {
    let template = "cn = localhost\ndns_name = localhost\nca\ncert_signing_key\ntls_www_server\n";
    fs::write(folder.join("template"), template).unwrap();
    let certtool = |arguments: &[&str]| {
        let output = Command::new("certtool").args(arguments).current_dir(folder).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    certtool(&["--generate-privkey", "--key-type=ecdsa", "--outfile", "server-key.pem"]);
    certtool(&[
        "--generate-self-signed",
        "--load-privkey=server-key.pem",
        "--template=template",
        "--outfile=server-cert.pem",
    ]);
    fs::copy(folder.join("server-cert.pem"), folder.join("ca-cert.pem")).unwrap();
    let psktool = Command::new("psktool")
        .args(["-u", "alice", "-p", "keys.psk"])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(psktool.status.success());
}

/// How a connection is secured.
struct Secured {
    server: &'static str,
    uri: &'static str,
    /// A line of GnuTLS's configuration.
    overrides: &'static str,
    version: &'static str,
}

const X509: (&str, &str) = ("--tls-certificates=FOLDER", "tls-certificates=FOLDER");
const PSK: (&str, &str) = ("--tls-psk=FOLDER/keys.psk", "tls-psk-file=FOLDER/keys.psk");

/// The bytes inside TLS as tshark opens them, of one connection.
fn followed(path: &Path, keylog: &Path, port: u16, stream: usize) -> Vec<(Side, Vec<u8>)> {
    let decode_as = format!("tcp.port=={port},tls");
    let keylog = format!("tls.keylog_file:{}", keylog.display());
    let follow = format!("follow,tls,raw,{stream}");
    let out = tshark(path, &["-d", &decode_as, "-o", &keylog, "-q", "-z", &follow]);
    let mut pieces = Vec::new();
    let is_hex = |line: &str| line.bytes().all(|byte| byte.is_ascii_hexdigit());
    for line in out.lines() {
        let digits = line.trim_start();
        if !digits.is_empty() && is_hex(digits) {
            let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
            let bytes = pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
            pieces.push((line.starts_with('\t'), bytes));
        }
    }
    // The client says something first.
    let client = pieces.first().map(|(tab, _)| *tab).expect("tshark opens TLS");
    let side = |tab| if tab == client { Side::Client } else { Side::Server };
    pieces.into_iter().map(|(tab, bytes)| (side(tab), bytes)).collect()
}

fn decoded(path: &Path, more: &[&str]) -> Vec<Value> {
    let arguments = [&["decode", "--format", "json", path.to_str().unwrap()], more].concat();
    let output = nbdcheck(&arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The messages of a session, in the notation.
fn messages(lines: &[Value], session: usize, tls: bool) -> Vec<&str> {
    let wanted = |line: &&Value| {
        line["type"] == "message" && line["session"] == session && line["tls"] == tls
    };
    lines.iter().filter(wanted).map(|line| line["text"].as_str().unwrap()).collect()
}

/// The same conversation without TLS.
fn plain(talk: &[(Side, Vec<u8>)], path: &Path) -> Vec<Value> {
    let greeting = [&b"NBDMAGICIHAVEOPT"[..], &[0, 3]].concat();
    let start = [(Side::Server, greeting), (Side::Client, vec![0, 0, 0, 3])];
    let file = fs::File::create(path).unwrap();
    let addresses = ("127.0.0.1:50000".parse().unwrap(), "127.0.0.1:10809".parse().unwrap());
    let mut writer = ConnectionWriter::new(file, addresses.0, addresses.1).unwrap();
    writer.opened(0).unwrap();
    for (from, bytes) in start.iter().chain(talk) {
        writer.data(*from, 0, bytes).unwrap();
    }
    writer.finish().unwrap();
    decoded(path, &[])
}

fn check(secured: &Secured) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    credentials(folder.path());
    let in_folder = |text: &str| text.replace("FOLDER", folder.path().to_str().unwrap());
    let mut image = vec![0x11; 100_000];
    image.resize(256 << 10, 0);
    fs::write(path("source.img"), &image).unwrap();
    fs::write(path("target.img"), []).unwrap();
    fs::write(path("gnutls.conf"), format!("[overrides]\n{}\n", secured.overrides)).unwrap();

    let port = free_port();
    let mut nbdkit = Running::start(
        Command::new("nbdkit")
            .args(["-f", "-i", "127.0.0.1", "-p", &port.to_string(), "--filter=log"])
            .args(["--tls=require", &in_folder(secured.server), "memory", "256K"])
            .arg(format!("logfile={}", path("log").display())),
    );
    wait_for_port(port);
    let uri = format!("nbds://alice@localhost:{port}/?{}", in_folder(secured.uri));
    let (source, target) = (path("source.img"), path("target.img"));
    capture(port, &path("it.pcap"), || {
        for (from, to) in [(source.to_str().unwrap(), &*uri), (&*uri, target.to_str().unwrap())] {
            let copied = Command::new("nbdcopy")
                .args(["--connections=1", from, to])
                .env("SSLKEYLOGFILE", path("keylog"))
                .env("GNUTLS_SYSTEM_PRIORITY_FILE", path("gnutls.conf"))
                .status()
                .unwrap();
            assert!(copied.success());
        }
    });
    nbdkit.interrupt();
    assert_eq!(fs::read(&target).unwrap(), image);

    let keylog = path("keylog").to_str().unwrap().to_owned();
    let lines = decoded(&path("it.pcap"), &["--keylog", &keylog]);
    let opened: Vec<_> = lines.iter().filter(|line| line["type"] == "tls").collect();
    assert!(!opened.is_empty());
    assert!(opened.iter().all(|line| line["version"] == secured.version), "{opened:?}");
    let summary = lines.last().unwrap();
    assert_eq!(summary["violations"], 0, "{lines:#?}");
    assert_eq!(summary["problems"], 0, "{lines:#?}");
    let log = fs::read_to_string(path("log")).unwrap();
    let counts: BTreeMap<&str, u64> = summary["counts"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(name, _)| name.starts_with("request ") && *name != "request NBD_CMD_DISC")
        .map(|(name, count)| (name.as_str(), count.as_u64().unwrap()))
        .collect();
    assert_eq!(counts, logged(&log), "{log}");

    let sessions = summary["sessions"].as_u64().unwrap() as usize;
    for session in 1..=sessions {
        let ours = messages(&lines, session, true);
        if ours.is_empty() {
            continue; // the one that waited for the port
        }
        let theirs = followed(&path("it.pcap"), &path("keylog"), port, session - 1);
        let theirs = plain(&theirs, &path("plain.pcapng"));
        assert_eq!(ours, messages(&theirs, 1, false)[2..], "session {session}");
    }

    // Without the secrets nothing is judged, and the version is named all the same.
    let sealed = decoded(&path("it.pcap"), &[]);
    assert_eq!(sealed.last().unwrap()["violations"], 0);
    let named = format!("tls {} TLS_", secured.version);
    let told = |line: &&Value| line["type"] == "problem" && line["kind"] == "encrypted";
    let told: Vec<_> = sealed.iter().filter(told).map(|line| line["text"].as_str()).collect();
    assert_eq!(told.len(), opened.len());
    assert!(told.iter().all(|text| text.is_some_and(|text| text.starts_with(&named))), "{told:?}");
}

#[test]
fn tls_1_3_is_opened() {
    if !needed::here(&["nbdkit", "nbdcopy", "tcpdump", "tshark", "certtool"]) {
        return;
    }
    let (server, uri) = X509;
    check(&Secured { server, uri, overrides: "", version: "1.3" });
}

#[test]
fn tls_1_2_is_opened() {
    if !needed::here(&["nbdkit", "nbdcopy", "tcpdump", "tshark", "certtool"]) {
        return;
    }
    let (server, uri) = X509;
    let overrides = "disabled-version = tls1.3";
    check(&Secured { server, uri, overrides, version: "1.2" });
}

#[test]
fn tls_with_a_pre_shared_key_is_opened() {
    if !needed::here(&["nbdkit", "nbdcopy", "tcpdump", "tshark", "psktool"]) {
        return;
    }
    let (server, uri) = PSK;
    check(&Secured { server, uri, overrides: "", version: "1.3" });
    let overrides = "disabled-version = tls1.3";
    check(&Secured { server, uri, overrides, version: "1.2" });
}

#[test]
fn key_logs_are_read_or_complained_about() {
    let capture = golden("tls/qemu-10.0-server-x509.pcap");
    let keylog = golden("tls/qemu-10.0-server-x509.keylog");
    let (code, text, _) = run(&["decode", &capture, "--keylog", &keylog]);
    assert_eq!(code, Some(0));
    assert!(text.contains("\n-- tls 1.3 opened  # +") && text.contains("NBD_CMD_READ"), "{text}");
    let (code, text, talk) = run(&["validate", &capture]);
    assert_eq!((code, &*text), (Some(0), ""));
    assert!(talk.contains("encrypted: tls 1.3 TLS_AES_256_GCM_SHA384, no keys: "), "{talk}");
    for command in ["decode", "validate"] {
        let (code, _, talk) = run(&[command, &capture, "--keylog", &capture]);
        assert_eq!(code, Some(2));
        assert!(talk.contains("no secrets of TLS"), "{talk}");
        // What a program logs whose handshake fails, and one that makes none.
        let early = format!("EARLY_EXPORTER_SECRET {} {}\n", "01".repeat(32), "02".repeat(32));
        for log in [&*early, ""] {
            let keys = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(keys.path(), log).unwrap();
            let keys = keys.path().to_str().unwrap();
            let (code, _, talk) = run(&[command, &capture, "--keylog", keys]);
            assert_eq!(code, Some(0), "{talk}");
            assert!(talk.contains("warning: no secrets in "), "{talk}");
        }
        let (code, _, talk) = run(&[command, &capture, "--keylog", "/missing"]);
        assert_eq!(code, Some(2));
        assert!(talk.contains("can't read /missing"), "{talk}");
    }
}
