//! `nbdcheck decode` agrees with what a real server says that it was asked.
//!
//! Needs nbdkit, nbdcopy, tshark, and tcpdump as root.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "decode_real/link_types.rs"]
mod link_types;
mod needed;
#[path = "decode_real/tls.rs"]
mod tls;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use dissector::capture::ConnectionWriter;
use protocol::message::{
    Cookie, ExportInfo, Greeting, Message, OptionBody, OptionRequest, Padding, Request,
    RequestForm, Side, SimpleReply,
};
use protocol::values::{
    ClientFlags, Command as NbdCommand, CommandFlags, ErrorCode, HandshakeFlags, OptionType,
    TransmissionFlags,
};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(20);

/// A process that does not outlive its test.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap_or_else(|error| panic!("can't start {command:?}: {error}")))
    }

    /// Asks it to end and waits.
    fn interrupt(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let end = Instant::now() + LIMIT;
        while self.0.try_wait().unwrap().is_none() {
            assert!(Instant::now() < end, "a process does not end");
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

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn wait_for_port(port: u16) {
    let end = Instant::now() + LIMIT;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < end, "nothing listens on port {port}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn nbdcheck(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nbdcheck")).args(arguments).output().unwrap()
}

fn json(capture: &Path) -> Vec<Value> {
    let output = nbdcheck(&["decode", "--format", "json", capture.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Captures what happens on a port meanwhile.
fn capture(port: u16, file: &Path, act: impl FnOnce()) {
    let mut tcpdump = Running::start(
        Command::new("tcpdump")
            .args(["-i", "lo", "-s", "0", "-B", "65536", "-U", "--immediate-mode", "-w"])
            .arg(file)
            .arg(format!("tcp port {port}"))
            .stderr(Stdio::piped()),
    );
    let mut talk = BufReader::new(tcpdump.0.stderr.take().unwrap()).lines();
    let ready = talk.by_ref().any(|line| line.unwrap().contains("listening on"));
    assert!(ready, "tcpdump does not listen; it needs root");
    act();
    // The kernel hands packets over at once; this waits for tcpdump to write them.
    let (mut size, mut same) = (0, 0);
    while same < 5 {
        std::thread::sleep(Duration::from_millis(40));
        let now = fs::metadata(file).unwrap().len();
        same = if now == size && now > 24 { same + 1 } else { 0 };
        size = now;
    }
    tcpdump.interrupt();
}

/// How often nbdkit's log filter saw each request: `connection=1 Read id=5 offset=0x0 ...`.
fn logged(log: &str) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::new();
    for line in log.lines() {
        let Some((_, call)) = line.split_once("connection=") else { continue };
        let mut words = call.split_whitespace().skip(1);
        let name = match words.next() {
            Some("Read") => "request NBD_CMD_READ",
            Some("Write") => "request NBD_CMD_WRITE",
            Some("Zero") => "request NBD_CMD_WRITE_ZEROES",
            Some("Trim") => "request NBD_CMD_TRIM",
            Some("Flush") => "request NBD_CMD_FLUSH",
            Some("Extents") => "request NBD_CMD_BLOCK_STATUS",
            Some("Cache") => "request NBD_CMD_CACHE",
            _ => continue, // `...Read` is the answer
        };
        *counts.entry(name).or_default() += 1;
    }
    counts
}

#[test]
fn counts_agree_with_the_servers_own_log() {
    if !needed::here(&["nbdkit", "nbdcopy", "tcpdump"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (source, target) = (path("source.img"), path("target.img"));
    let mut image = vec![0x11; 300_000];
    image.resize(1 << 20, 0);
    image[900_000..].fill(0x22);
    fs::write(&source, &image).unwrap();
    fs::write(&target, []).unwrap();

    let port = free_port();
    let mut nbdkit = Running::start(
        Command::new("nbdkit")
            .args(["-f", "-i", "127.0.0.1", "-p", &port.to_string(), "--filter=log"])
            .args(["memory", "1M", &format!("logfile={}", path("log").display())]),
    );
    wait_for_port(port);
    let uri = format!("nbd://127.0.0.1:{port}");
    capture(port, &path("it.pcap"), || {
        for (from, to) in [(source.to_str().unwrap(), &*uri), (&*uri, target.to_str().unwrap())] {
            let copied = Command::new("nbdcopy").args([from, to]).status().unwrap();
            assert!(copied.success());
        }
    });
    nbdkit.interrupt();
    assert_eq!(fs::read(&target).unwrap(), image);

    let lines = json(&path("it.pcap"));
    let summary = lines.last().unwrap();
    assert_eq!(summary["type"], "summary");
    assert_eq!(summary["violations"], 0, "{lines:#?}");
    assert_eq!(summary["problems"], 0);
    let log = fs::read_to_string(path("log")).unwrap();
    let wanted = logged(&log);
    assert!(wanted.len() >= 3, "{log}");
    let counts = summary["counts"].as_object().unwrap();
    let got: BTreeMap<&str, u64> = counts
        .iter()
        .filter(|(name, _)| name.starts_with("request ") && *name != "request NBD_CMD_DISC")
        .map(|(name, count)| (name.as_str(), count.as_u64().unwrap()))
        .collect();
    assert_eq!(got, wanted);

    // The same from standard input, and one session of it.
    let file = fs::File::open(path("it.pcap")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_nbdcheck"))
        .args(["decode", "--session", "1", "-"])
        .stdin(file)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("# session 1: 127.0.0.1:"), "{text}");
    assert!(!text.contains("# session 2"), "{text}");
    let output = nbdcheck(&["validate", path("it.pcap").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout.is_empty());
}

fn golden(name: &str) -> String {
    format!("{}/../golden/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = nbdcheck(arguments);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn exit_statuses_tell_what_came_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("text"), "this is no capture").unwrap();
    // A pcap without a packet.
    let mut head = 0xa1b2_c3d4_u32.to_le_bytes().to_vec();
    head.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0]);
    fs::write(path("empty"), head).unwrap();
    for command in ["decode", "validate"] {
        let (code, _, talk) = run(&[command, &path("text")]);
        assert_eq!(code, Some(3));
        assert!(talk.contains("not a pcap or pcapng file"), "{talk}");
        let (code, _, talk) = run(&[command, &path("missing")]);
        assert_eq!(code, Some(3));
        assert!(talk.contains("can't read the capture"), "{talk}");
        let (code, _, talk) = run(&[command, &path("empty")]);
        assert_eq!(code, Some(3));
        assert!(talk.contains("no NBD traffic found"), "{talk}");
    }
    let capture = golden("recorded/nbdsh-nbdkit.pcap");
    assert_eq!(run(&["decode", &capture, "--session", "99"]).0, Some(2));
    assert_eq!(run(&["decode", &capture, "--session", "0"]).0, Some(2));
    assert_eq!(run(&["validate", &capture]).0, Some(0));
    // CACHE answered with data: a server's fault.
    let (code, findings, _) = run(&["validate", &golden("qemu/3.0-server-cache-as-data.pcap")]);
    assert_eq!(code, Some(1), "{findings}");
    assert!(findings.contains(" server MUST "), "{findings}");
}

#[test]
fn payloads_that_print_as_digests_show_how_they_begin_where_that_is_asked_for() {
    let capture = golden("recorded/nbdsh-nbdkit.pcap");
    let digests = |arguments: &[&str]| -> Vec<String> {
        let lines = run(arguments).1;
        lines.lines().filter(|line| line.contains("data=digest(")).map(str::to_owned).collect()
    };
    let (short, verbose) = (digests(&["decode", &capture]), digests(&["decode", &capture, "-v"]));
    assert!(!short.is_empty());
    assert!(!short.iter().any(|line| line.contains(" begins ")), "{short:#?}");
    let heads = verbose.iter().filter_map(|line| line.split_once(" begins "));
    let heads: Vec<_> = heads.map(|(_, bytes)| bytes.split(' ').count()).collect();
    assert_eq!(heads, vec![16; short.len()], "{verbose:#?}");
}

#[test]
fn colours_are_as_they_are_asked_for() {
    let capture = golden("recorded/nbdsh-nbdkit.pcap");
    let coloured = |arguments: &[&str]| run(arguments).1.contains('\x1b');
    assert!(!coloured(&["decode", &capture]), "into a pipe");
    assert!(coloured(&["decode", &capture, "--color", "always"]));
    assert!(!coloured(&["--color", "never", "decode", &capture]));
    assert_eq!(run(&["decode", &capture, "--color", "pink"]).0, Some(2));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_nbdcheck"))
        .args(["decode", "--format", "json", &golden("qemu/10.0-server.pcap")])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::with_capacity(16, child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(first.starts_with("{\"type\":\"session\""));
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panic"));
    assert_eq!(output.status.code(), Some(0));
}

fn tshark(capture: &Path, arguments: &[&str]) -> String {
    let output = Command::new("tshark").arg("-r").arg(capture).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// How many reads and how many writes there are.
const READS: u64 = 20;

/// A session of reads and writes, piece by piece.
fn reads_and_writes() -> Vec<(Side, Vec<u8>)> {
    let request = |command, cookie, offset, length| {
        let request = Request {
            form: RequestForm::Compact,
            flags: CommandFlags::EMPTY,
            command,
            cookie: Cookie(cookie),
            offset,
            length,
            status: None,
        };
        Message::Request(request).to_bytes()
    };
    let reply = |cookie| {
        let reply = SimpleReply { error: ErrorCode::OK, cookie: Cookie(cookie) };
        Message::SimpleReply(reply).to_bytes()
    };
    let flags = HandshakeFlags::FIXED_NEWSTYLE.with(HandshakeFlags::NO_ZEROES);
    let option =
        OptionRequest { option: OptionType::EXPORT_NAME, body: OptionBody::Name("disk".into()) };
    let export = ExportInfo {
        size: 64 << 20,
        flags: TransmissionFlags::HAS_FLAGS,
        padding: Padding::Absent,
    };
    let mut talk = vec![
        (Side::Server, Message::Greeting(Greeting::Newstyle { flags }).to_bytes()),
        (Side::Client, Message::ClientFlags(ClientFlags(3)).to_bytes()),
        (Side::Client, Message::Option(option).to_bytes()),
        (Side::Server, Message::ExportInfo(export).to_bytes()),
    ];
    for n in 0..READS {
        talk.push((Side::Client, request(NbdCommand::READ, n, n << 20, 300 << 10)));
        talk.push((Side::Server, [reply(n), vec![7; 300 << 10]].concat()));
        let write = request(NbdCommand::WRITE, 1000 + n, n << 20, 1 << 20);
        talk.push((Side::Client, [write, vec![9; 1 << 20]].concat()));
        talk.push((Side::Server, reply(1000 + n)));
    }
    talk.push((Side::Client, request(NbdCommand::DISC, 99, 0, 0)));
    talk
}

/// A capture of our own making: tshark sees the messages that we see, and nothing wrong with the
/// packets. (In captures of real sessions its NBD dissector misses what does not begin a segment.)
#[test]
fn tshark_agrees_with_our_captures() {
    if !needed::here(&["tshark"]) {
        return;
    }
    let talk = reads_and_writes();
    let folder = tempfile::tempdir().unwrap();
    for (client, server) in [("127.0.0.1:51234", "127.0.0.1:10809"), ("[::1]:51234", "[::1]:4711")]
    {
        let path = folder.path().join("it.pcapng");
        let file = std::io::BufWriter::new(fs::File::create(&path).unwrap());
        let addresses = (client.parse().unwrap(), server.parse().unwrap());
        let mut writer = ConnectionWriter::new(file, addresses.0, addresses.1).unwrap();
        let mut time = 1_700_000_000_000_000_000;
        writer.opened(time).unwrap();
        for (from, bytes) in &talk {
            time += 1_000_000;
            writer.data(*from, time, bytes).unwrap();
        }
        writer.closed(Side::Client, time, false).unwrap();
        writer.closed(Side::Server, time, false).unwrap();
        writer.finish().unwrap();

        let lines = json(&path);
        let summary = lines.last().unwrap();
        assert_eq!(summary["violations"], 1, "NBD_OPT_EXPORT_NAME is not the preferred option");
        assert_eq!(summary["problems"], 0);
        let ours: BTreeMap<&str, u64> = summary["counts"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, count)| (name.as_str(), count.as_u64().unwrap()))
            .collect();
        let mut theirs: BTreeMap<&str, u64> = BTreeMap::new();
        let fields = ["-Y", "nbd", "-T", "fields", "-e", "nbd.type", "-e", "nbd.error"];
        for line in tshark(&path, &fields).lines() {
            let name = match line.split('\t').collect::<Vec<_>>()[..] {
                ["0", ""] => "request NBD_CMD_READ",
                ["1", ""] => "request NBD_CMD_WRITE",
                ["2", ""] => "request NBD_CMD_DISC",
                [_, "0"] => "simple-reply ok",
                _ => panic!("{line}"),
            };
            *theirs.entry(name).or_default() += 1;
        }
        assert_eq!(theirs["simple-reply ok"], 2 * READS);
        for (name, count) in theirs {
            assert_eq!(ours[name], count, "{name}");
        }
        let expert = tshark(&path, &["-q", "-z", "expert"]);
        assert!(!expert.contains("Errors") && !expert.contains("Warns"), "{expert}");
        let sums = ["-o", "tcp.check_checksum:TRUE", "-Y", "tcp.checksum.status != 1"];
        assert_eq!(tshark(&path, &sums), "");
    }
}

/// A session of qemu-img with qemu-nbd, as a scenario, passes where it was recorded and elsewhere.
#[test]
fn a_recorded_session_is_a_scenario_for_any_server() {
    let golden = |name: &str| format!("{}/../golden/{name}", env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("recorded.nbd");
    for (capture, session, peers) in [
        ("recorded/qemu-img-qemu-nbd.pcap", "2", &["self", "qemu-nbd"][..]),
        ("recorded/self-qemu-img.pcap", "1", &["self", "qemu-nbd", "nbdkit"]),
        ("qemu/2.6-client-qemu-io.pcap", "1", &["self", "qemu-nbd", "nbdkit"]),
        // nbdinfo closes its direction before the answer to ABORT.
        ("qemu/10.0-server.pcap", "1", &["self", "qemu-nbd"]),
        ("qemu/2.12-server.pcap", "1", &["self", "qemu-nbd"]),
        ("qemu/4.2-server.pcap", "1", &["self", "qemu-nbd"]),
    ] {
        let output = nbdcheck(&["decode", "--as-scenario", "--session", session, &golden(capture)]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        fs::write(&script, &output.stdout).unwrap();
        for peer in peers {
            if *peer != "self" && !needed::here(&[peer]) {
                continue;
            }
            let path = script.display().to_string();
            let output = nbdcheck(&["run", "--peer", peer, "--scenario", &path]);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            // Where it was recorded with something that this version of the peer has not.
            let lacks = *peer != "self" && text.contains("is not offered: S: ");
            let status = if lacks { 3 } else { 0 };
            assert_eq!(output.status.code(), Some(status), "{capture} with {peer}: {text}");
        }
    }
}

/// A session that is found by chance is not what was meant, also where the others begin later.
#[test]
fn a_scenario_is_of_the_session_that_was_asked_for_or_of_the_only_one() {
    let golden = |name: &str| format!("{}/../golden/{name}", env!("CARGO_MANIFEST_DIR"));
    let told = |args: &[&str]| {
        let output = nbdcheck(args);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), text.lines().next().unwrap_or_default().to_owned())
    };
    let capture = golden("qemu/10.0-server.pcap");
    let (status, text) = told(&["decode", "--as-scenario", &capture]);
    assert_eq!(status, Some(2));
    assert!(text.ends_with("has several sessions, not just one to take"), "{text}");
    let (status, text) = told(&["decode", "--as-scenario", "--session", "50", &capture]);
    assert_eq!(status, Some(2));
    assert!(text.contains("no session 50") && text.ends_with("it has 9"), "{text}");
    let stats = ["decode", "--stats", "--filter", "latency > 1ms", &capture];
    assert_eq!(told(&stats).0, Some(2));
    let alone = golden("made/vlan.pcapng");
    assert_eq!(told(&["decode", "--as-scenario", &alone]).0, Some(0));
    let (status, text) = told(&["decode", "--as-scenario", &golden("made/mid-session.pcapng")]);
    assert_eq!(status, Some(3), "{text}");
}
