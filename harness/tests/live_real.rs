//! `nbdcheck capture` sees on an interface what `decode` sees in the file that it writes meanwhile.
//!
//! Needs nbdinfo, and to be root for all but the refusals.

#![cfg(feature = "live")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{BufRead as _, BufReader, Read as _};
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

#[test]
fn tells_what_open_sessions_come_to_when_it_is_ended() {
    let (_server, port) = server();
    let capturing = capture(&["--port", &port.to_string(), "--format", "summary"]);
    let mut client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
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
    let (status, talk) = refused(&["-i", "lo", "-w", "-"]);
    assert_eq!(status, Some(2));
    assert!(talk.contains("standard output is for what is decoded"), "{talk}");
    let (status, talk) = refused(&["-i", "lo", "-w", "/no/such/folder/file"]);
    assert_eq!(status, Some(3));
    assert!(talk.contains("can't write /no/such/folder/file"), "{talk}");
}
