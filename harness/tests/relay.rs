//! `nbdcheck relay` between clients and servers: what passes is unchanged, what is found live is what
//! `validate` finds in the file.
//!
//! Needs qemu-img, qemu-nbd, nbdcopy, nbdkit, psktool and tshark; those that are not installed are
//! passed over, unless `NBDCHECK_REQUIRE_PEERS` names them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod needed;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const LIMIT: Duration = Duration::from_secs(30);

/// A process that does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `nbdcheck relay`, which writes to `it.pcapng` in its folder.
struct Relay {
    process: Running,
    talk: BufReader<ChildStderr>,
    /// As it says itself.
    address: String,
}

/// What came of it.
struct Relayed {
    status: Option<i32>,
    findings: String,
    talk: String,
}

impl Relay {
    fn start(folder: &Path, listen: &str, to: &str, more: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nbdcheck"));
        command.args(["relay", "--listen", listen, "--to", to, "-w", "it.pcapng", "--validate"]);
        command.args(more).current_dir(folder).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut talk = BufReader::new(child.stderr.take().unwrap());
        let process = Running(child);
        let mut first = String::new();
        talk.read_line(&mut first).unwrap();
        let address = first.strip_prefix("listening on ").and_then(|rest| rest.split(',').next());
        let address = address.unwrap_or_else(|| panic!("{first}")).to_owned();
        Self { process, talk, address }
    }

    /// Ends it by ^C.
    fn interrupt(self) -> Relayed {
        kill_process(Pid::from_child(&self.process.0), Signal::INT).unwrap();
        self.ended()
    }

    /// Waits until it ends by itself.
    fn ended(mut self) -> Relayed {
        let (mut findings, mut talk) = (String::new(), String::new());
        self.process.0.stdout.take().unwrap().read_to_string(&mut findings).unwrap();
        self.talk.read_to_string(&mut talk).unwrap();
        let status = self.process.0.wait().unwrap().code();
        Relayed { status, findings, talk }
    }
}

impl Relayed {
    /// What `validate` finds in the file is what was found live, to the last count.
    fn is_what_the_file_has(&self, folder: &Path, more: &[&str]) {
        let output = Command::new(env!("CARGO_BIN_EXE_nbdcheck"))
            .args(["validate", "it.pcapng"])
            .args(more)
            .current_dir(folder)
            .output()
            .unwrap();
        let found = String::from_utf8(output.stdout).unwrap().replace("it.pcapng: ", "");
        let talk = String::from_utf8(output.stderr).unwrap().replace("it.pcapng: ", "");
        assert_eq!(found, self.findings);
        assert_eq!(talk.lines().last(), self.talk.lines().last(), "{talk}\n{}", self.talk);
        assert_eq!(output.status.code(), self.status, "{talk}\n{}", self.talk);
    }
}

fn run(folder: &Path, program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A server that is up once its socket is there.
fn server(folder: &Path, socket: &str, program: &str, arguments: &[&str]) -> Running {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).stdout(Stdio::null()).stderr(Stdio::null());
    let running = Running(command.spawn().unwrap());
    let end = Instant::now() + LIMIT;
    while std::os::unix::net::UnixStream::connect(folder.join(socket)).is_err() {
        assert!(Instant::now() < end, "{program} does not listen");
        std::thread::sleep(Duration::from_millis(10));
    }
    running
}

/// 3 MiB that are neither zero nor regular.
fn image(folder: &Path) -> PathBuf {
    let mut state = 1u64;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    let path = folder.join("image");
    fs::write(&path, (0..3 << 20).map(|_| next()).collect::<Vec<_>>()).unwrap();
    path
}

/// tshark reads the file to its end and sees nothing wrong with the packets.
fn tshark_is_content(folder: &Path) {
    let output = Command::new("tshark")
        .args(["-r", "it.pcapng", "-o", "tcp.check_checksum:TRUE"])
        .args(["-Y", "tcp.analysis.flags || tcp.checksum.status == 0 || _ws.malformed"])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
}

#[test]
fn between_qemu_img_and_qemu_nbd_all_is_as_without_it() {
    if !needed::here(&["qemu-img", "qemu-nbd", "tshark"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (folder, image) = (folder.path(), image(folder.path()));
    fs::write(folder.join("served"), vec![0; 3 << 20]).unwrap();
    let _server = server(
        folder,
        "server",
        "qemu-nbd",
        &[
            "-t",
            "-f",
            "raw",
            "-e",
            "8",
            "-k",
            &folder.join("server").display().to_string(),
            "served",
        ],
    );
    let relay = Relay::start(folder, "./relay", "./server", &[]);
    assert_eq!(relay.address, "./relay");
    let uri = "nbd+unix:///?socket=relay";
    run(folder, "qemu-img", &["convert", "-n", "-f", "raw", "-O", "raw", "image", uri]);
    run(folder, "qemu-img", &["convert", "-f", "raw", "-O", "raw", uri, "back"]);
    run(folder, "qemu-img", &["compare", "-f", "raw", "-F", "raw", "back", "image"]);
    let relayed = relay.interrupt();
    assert_eq!(fs::read(&image).unwrap(), fs::read(folder.join("back")).unwrap());
    assert!(
        relayed.talk.contains("2 sessions, ") || relayed.talk.contains("3 sessions, "),
        "{}",
        relayed.talk
    );
    relayed.is_what_the_file_has(folder, &[]);
    tshark_is_content(folder);
    assert!(!folder.join("relay").exists());
}

#[test]
fn between_nbdcopy_and_nbdkit_all_is_as_without_it_inside_tls_too() {
    if !needed::here(&["nbdcopy", "nbdkit", "psktool", "tshark"]) {
        return;
    }
    for tls in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let (folder, image) = (folder.path(), image(folder.path()));
        let mut arguments = vec!["-f", "-U", "server"];
        let (mut uri, mut more) = ("nbd+unix:///?socket=relay", &[][..]);
        if tls {
            run(folder, "psktool", &["-u", "alice", "-p", "keys.psk"]);
            arguments.extend(["--tls=require", "--tls-psk=keys.psk"]);
            uri = "nbds+unix://alice@/?socket=relay&tls-psk-file=keys.psk";
            more = &["--keylog", "secrets.log"];
        }
        let _server =
            server(folder, "server", "nbdkit", &[&arguments[..], &["memory", "3M"]].concat());
        let relay = Relay::start(folder, "./relay", "./server", more);
        let nbdcopy = |from: &str, to: &str| {
            let output = Command::new("nbdcopy")
                .args([from, to])
                .env("SSLKEYLOGFILE", folder.join("secrets.log"))
                .current_dir(folder)
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        nbdcopy("image", uri);
        nbdcopy(uri, "back");
        let relayed = relay.interrupt();
        assert_eq!(fs::read(&image).unwrap(), fs::read(folder.join("back")).unwrap());
        assert_eq!(relayed.status, Some(0), "{}", relayed.talk);
        // The secrets are in the file.
        relayed.is_what_the_file_has(folder, &[]);
        let messages = relayed.talk.split(" sessions, ").nth(1).unwrap();
        let messages: u64 = messages.split(' ').next().unwrap().parse().unwrap();
        assert!(messages > 60, "{}", relayed.talk);
        tshark_is_content(folder);
    }
}

/// The reference server on TCP, which breaks a rule, and where it listens.
fn faulty(fault: &str) -> (Running, String) {
    let child = Command::new(env!("CARGO_BIN_EXE_nbdcheck"))
        .args(["serve", "--bind", "127.0.0.1:0", "--fault", fault])
        .stdout(Stdio::piped())
        .spawn();
    let mut server = Running(child.unwrap());
    let mut first = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let address = first.trim().trim_start_matches("nbd://").trim_end_matches('/').to_owned();
    (server, address)
}

#[test]
fn findings_are_printed_as_they_come_and_a_broken_must_fails() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (_server, address) = faulty("option-two-final-replies");
    let mut relay = Relay::start(folder, "127.0.0.1:0", &address, &["--sessions", "1"]);
    let mut client = TcpStream::connect(&relay.address).unwrap();
    let mut greeting = [0; 18];
    client.read_exact(&mut greeting).unwrap();
    // FIXED_NEWSTYLE, then NBD_OPT_LIST.
    client.write_all(&[0, 0, 0, 1]).unwrap();
    client.write_all(b"IHAVEOPT\x00\x00\x00\x03\x00\x00\x00\x00").unwrap();
    let mut out = BufReader::new(relay.process.0.stdout.take().unwrap());
    let mut first = String::new();
    out.read_line(&mut first).unwrap();
    assert!(first.contains(" server MUST"), "{first}");
    // The connection is still open.
    assert!(relay.process.0.try_wait().unwrap().is_none());
    drop(client);
    let mut findings = String::new();
    out.read_to_string(&mut findings).unwrap();
    let mut talk = String::new();
    relay.talk.read_to_string(&mut talk).unwrap();
    let status = relay.process.0.wait().unwrap().code();
    assert_eq!(status, Some(1), "{talk}");
    let relayed = Relayed { status, findings: first + &findings, talk };
    let port = address.rsplit(':').next().unwrap();
    relayed.is_what_the_file_has(folder, &["--port", port]);
}

#[test]
fn what_can_not_be_listened_on_is_told_and_nobody_coming_is_no_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("file"), "mine").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_nbdcheck"))
        .args(["relay", "--listen", "./file", "--to", "./server"])
        .current_dir(folder)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    insta::assert_snapshot!(String::from_utf8_lossy(&output.stderr), @"error: can't listen on ./file: there is something else than a socket, which is left alone");
    assert_eq!(fs::read(folder.join("file")).unwrap(), b"mine");

    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let relay = Relay::start(folder, "./relay", &free, &[]);
    let client = std::os::unix::net::UnixStream::connect(folder.join("relay")).unwrap();
    (&client).read_to_end(&mut Vec::new()).unwrap();
    let relayed = relay.interrupt();
    assert_eq!(relayed.status, Some(3));
    let talk = relayed.talk.replace(&free, "ADDRESS");
    let process = format!("process {}", std::process::id());
    insta::assert_snapshot!(talk.replace(&process, "process N"), @"
    error: a client (process N) was turned away: can't connect to ADDRESS: Connection refused (os error 111)
    0 sessions, 0 messages: 0 violations, 0 warnings
    error: no NBD traffic passed
    ");
}
