//! `nbdcheck capture` sees on an interface what `decode` sees in the file that it writes meanwhile.
//!
//! Needs nbdinfo, nbdkit, psktool and tshark, and to be root for all but the refusals.

#![cfg(feature = "live")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod needed;

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const LIMIT: Duration = Duration::from_secs(20);

/// A process that does not outlive its test.
struct Running(Child);

impl Running {
    fn nbdcheck(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nbdcheck"));
        command.args(arguments).stdin(Stdio::null());
        Self(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    /// How it ends, within a limit.
    fn status(&mut self) -> ExitStatus {
        let end = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A reference server on a port of its own.
fn server() -> (Running, u16) {
    let mut server = Running::nbdcheck(&["serve", "--bind", "127.0.0.1:0"]);
    let mut first = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let port = first.split("127.0.0.1:").nth(1).unwrap_or_else(|| panic!("{first}"));
    let port = port.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap();
    (server, port)
}

struct Capturing {
    process: Running,
    out: BufReader<ChildStdout>,
    talk: BufReader<ChildStderr>,
}

/// Captures on the loopback interface; returns when it does.
fn capture(arguments: &[&str]) -> Capturing {
    let mut process = Running::nbdcheck(&[&["capture", "-i", "lo"], arguments].concat());
    let out = BufReader::new(process.0.stdout.take().unwrap());
    let mut talk = BufReader::new(process.0.stderr.take().unwrap());
    let mut first = String::new();
    talk.read_line(&mut first).unwrap();
    assert!(first.starts_with("listening on lo (Ethernet), TCP port 10809, "), "{first}");
    Capturing { process, out, talk }
}

impl Capturing {
    /// What it says until it ends.
    fn rest(mut self) -> (ExitStatus, String, String) {
        let status = self.process.status();
        let (mut out, mut talk) = (String::new(), String::new());
        self.out.read_to_string(&mut out).unwrap();
        self.talk.read_to_string(&mut talk).unwrap();
        (status, out, talk)
    }
}

fn nbdinfo(port: u16) {
    let mut nbdinfo = Command::new("nbdinfo");
    nbdinfo.args(["--json", &format!("nbd://127.0.0.1:{port}")]).stdout(Stdio::null());
    assert!(Running(nbdinfo.spawn().unwrap()).status().success());
}

fn decode(file: &Path, port: u16) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_nbdcheck"))
        .args(["decode", "--port", &port.to_string()])
        .arg(file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn shows_messages_as_they_pass_and_writes_the_same_to_a_file() {
    if !needed::here(&["nbdinfo"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("it.pcapng");
    let (_server, port) = server();
    // The limit is for the case that nothing comes.
    let (port_text, file_text) = (port.to_string(), file.to_str().unwrap());
    let mut capturing = capture(&["--port", &port_text, "-w", file_text, "--duration", "20"]);
    nbdinfo(port);
    // The session is shown while it is captured, up to its end.
    let mut shown = String::new();
    while !shown.contains(" ends: ") {
        assert_ne!(capturing.out.read_line(&mut shown).unwrap(), 0, "{shown}");
    }
    assert!(capturing.process.0.try_wait().unwrap().is_none());
    capturing.process.signal(Signal::INT);
    let (status, out, talk) = capturing.rest();
    shown += &out;
    assert_eq!(status.code(), Some(0), "{talk}");
    assert!(talk.contains(" packets, "), "{talk}");
    assert!(!talk.contains("missing"), "{talk}");
    assert!(shown.contains("C: NBD_OPT_"), "{shown}");
    assert_eq!(shown, decode(&file, port));
}

/// nbdkit that speaks nothing but TLS, on a port of its own, and the URI of it for clients.
fn secured(folder: &Path) -> (Running, u16, String) {
    let keys = folder.join("keys.psk");
    let made = Command::new("psktool").args(["-u", "alice", "-p"]).arg(&keys).output().unwrap();
    assert!(made.status.success());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nbdkit = Command::new("nbdkit")
        .args(["-f", "-i", "127.0.0.1", "-p", &port.to_string(), "--tls=require"])
        .arg(format!("--tls-psk={}", keys.display()))
        .args(["memory", "256K"])
        .spawn();
    let nbdkit = Running(nbdkit.unwrap());
    let end = Instant::now() + LIMIT;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < end, "nbdkit does not listen");
        std::thread::sleep(Duration::from_millis(10));
    }
    (nbdkit, port, format!("nbds://alice@127.0.0.1:{port}/?tls-psk-file={}", keys.display()))
}

/// What the client says first inside TLS, as tshark opens the file, in hexadecimal.
fn tshark(file: &Path, port: u16) -> String {
    let output = Command::new("tshark")
        .args(["-d", &format!("tcp.port=={port},tls"), "-q", "-z", "follow,tls,raw,0", "-r"])
        .arg(file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let out = String::from_utf8(output.stdout).unwrap();
    let is_hex = |line: &&str| !line.is_empty() && line.bytes().all(|b| b.is_ascii_hexdigit());
    out.lines().map(str::trim_start).find(is_hex).unwrap_or_default().to_owned()
}

#[test]
fn opens_tls_with_secrets_that_come_meanwhile() {
    if !needed::here(&["nbdinfo", "nbdkit", "psktool", "tshark"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (_nbdkit, port, uri) = secured(folder.path());
    for (version, overrides) in [("1.3", ""), ("1.2", "disabled-version = tls1.3")] {
        std::fs::write(path("gnutls.conf"), format!("[overrides]\n{overrides}\n")).unwrap();
        let (file, keylog) = (path("it.pcapng"), path(version));
        let mut capturing = capture(
            &[
                &["--port", &port.to_string(), "--duration", "20"],
                &["-w", file.to_str().unwrap(), "--keylog", keylog.to_str().unwrap()][..],
            ]
            .concat(),
        );
        assert!(!keylog.exists());
        let nbdinfo = Command::new("nbdinfo")
            .args(["--json", &uri])
            .env("SSLKEYLOGFILE", &keylog)
            .env("GNUTLS_SYSTEM_PRIORITY_FILE", path("gnutls.conf"))
            .stdout(Stdio::null())
            .spawn();
        assert!(Running(nbdinfo.unwrap()).status().success());
        let mut shown = String::new();
        while !shown.contains(" ends: ") {
            assert_ne!(capturing.out.read_line(&mut shown).unwrap(), 0, "{shown}");
        }
        capturing.process.signal(Signal::INT);
        let (status, out, talk) = capturing.rest();
        shown += &out;
        assert_eq!(status.code(), Some(0), "{talk}");
        assert!(!talk.contains("warning"), "{talk}");
        assert!(shown.contains(&format!("-- tls {version} opened  # +")), "{shown}");
        assert!(shown.contains("C: NBD_OPT_GO name=\"\""), "{shown}");
        assert!(shown.contains(", 0 violations, 0 warnings, 0 problems"), "{shown}");
        // The file has the secrets.
        assert_eq!(shown, decode(&file, port));
        let ihaveopt = "49484156454f5054";
        assert!(tshark(&file, port).starts_with(ihaveopt), "{shown}");
    }
}

#[test]
fn tls_without_secrets_waits_for_a_while_only() {
    if !needed::here(&["nbdinfo", "nbdkit", "psktool"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (_nbdkit, port, uri) = secured(folder.path());
    let keylog = folder.path().join("keys.log");
    let mut capturing =
        capture(&["--port", &port.to_string(), "--keylog", keylog.to_str().unwrap()]);
    let nbdinfo = Command::new("nbdinfo").args(["--json", &uri]).stdout(Stdio::null()).spawn();
    assert!(Running(nbdinfo.unwrap()).status().success());
    let mut shown = String::new();
    while !shown.contains(" ends: ") {
        assert_ne!(capturing.out.read_line(&mut shown).unwrap(), 0, "{shown}");
    }
    assert!(shown.contains("-- encrypted: tls 1.3 TLS_"), "{shown}");
    capturing.process.signal(Signal::INT);
    let (status, _, talk) = capturing.rest();
    assert_eq!(status.code(), Some(0), "{talk}");
    assert!(talk.contains("warning: no secrets of TLS came in "), "{talk}");
}

#[test]
fn tells_what_open_sessions_come_to_when_it_is_ended() {
    let (_server, port) = server();
    let capturing = capture(&["--port", &port.to_string(), "--format", "summary"]);
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    client.set_read_timeout(Some(LIMIT)).unwrap();
    client.read_exact(&mut [0; 18]).unwrap();
    capturing.process.signal(Signal::TERM);
    let (status, out, talk) = capturing.rest();
    assert_eq!(status.code(), Some(0), "{talk}");
    assert!(out.contains(&format!("-> 127.0.0.1:{port}\n")), "{out}");
    assert!(out.contains("greeting fixed-newstyle"), "{out}");
}

#[test]
fn ends_after_so_many_packets_or_so_long() {
    if !needed::here(&["nbdinfo"]) {
        return;
    }
    let (_server, port) = server();
    let port_text = port.to_string();
    let capturing = capture(&["--port", &port_text, "--count", "5", "--format", "json"]);
    nbdinfo(port);
    let (status, out, talk) = capturing.rest();
    assert!(talk.starts_with("5 packets, "), "{talk}");
    assert_eq!(status.code(), Some(0), "{out}");
    assert!(out.lines().last().unwrap().starts_with("{\"type\":\"summary\""), "{out}");

    let capturing = capture(&["--port", &port_text, "--session", "999", "--duration", "0.01"]);
    let (status, out, talk) = capturing.rest();
    assert!(matches!(status.code(), Some(2 | 3)), "{talk}");
    assert_eq!(out, "");
}

#[test]
fn says_what_prevents_it() {
    let refused = |arguments: &[&str]| {
        let mut process = Running::nbdcheck(&[&["capture"], arguments].concat());
        let status = process.status();
        let mut talk = String::new();
        process.0.stderr.take().unwrap().read_to_string(&mut talk).unwrap();
        (status.code(), talk)
    };
    let (status, talk) = refused(&["-i", "no-such-interface"]);
    assert_eq!(status, Some(3));
    assert!(talk.contains("no interface `no-such-interface`\nhint: there are "), "{talk}");
    assert!(talk.contains("lo"), "{talk}");
    let (status, talk) = refused(&["-i", "lo", "--keylog", "/"]);
    assert_eq!(status, Some(2));
    assert!(talk.contains("can't read /: it is not a file"), "{talk}");
    let (status, talk) = refused(&["-i", "lo", "-w", "-"]);
    assert_eq!(status, Some(2));
    assert!(talk.contains("standard output is for what is decoded"), "{talk}");
    let (status, talk) = refused(&["-i", "lo", "-w", "/no/such/folder/file"]);
    assert_eq!(status, Some(3));
    assert!(talk.contains("can't write /no/such/folder/file"), "{talk}");
}
