//! The shipped peer files against the programs that they describe. A program that is not installed
//! is passed over, unless `NBDCHECK_REQUIRE_PEERS` names it, as `make test` sees to.

#![allow(clippy::unwrap_used)] // a test, its helpers too

mod needed;

use std::path::Path;
use std::time::{Duration, Instant};

use harness::peer::{
    ClientFile, Content, Parameters, PeerFile, Running, StartError, StartOptions, Tls, Transport,
    greet,
};
use protocol::message::Greeting;
use protocol::values::HandshakeFlags;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

const LIMIT: Duration = Duration::from_secs(5);

/// The result, or `None` for a program that may be missing.
fn installed<T>(result: Result<T, StartError>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(StartError::Missing { program, .. }) if !needed::required(&program) => {
            eprintln!("`{program}` is not installed: not tested");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Whether anything is left of a peer: a process with its mark, or its directory.
fn left_over(dir: &Path) -> String {
    let mut left = Vec::new();
    if dir.exists() {
        left.push(dir.display().to_string());
    }
    let wanted = dir.as_os_str().as_encoded_bytes();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let environ = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        if environ.windows(wanted.len()).any(|window| window == wanted) {
            left.push(entry.path().display().to_string());
        }
    }
    left.join(" ")
}

async fn start_and_stop(peer: PeerFile, configuration: String, transport: Transport) {
    let what = format!("{} {configuration} {transport:?}", peer.name());
    let options = StartOptions { transport, ..StartOptions::default() };
    let Some(mut running) = installed(peer.start_with(&configuration, &options).await) else {
        return;
    };
    let greeting = greet(running.address(), LIMIT).await.unwrap_or_else(|e| panic!("{what}: {e}"));
    match (configuration.as_str(), &greeting) {
        ("oldstyle", Greeting::Oldstyle { size, .. }) => assert_eq!(*size, 16 << 20, "{what}"),
        ("newstyle", Greeting::Newstyle { flags }) => {
            assert!(!flags.has(HandshakeFlags::FIXED_NEWSTYLE), "{what}");
        }
        (_, Greeting::Newstyle { flags }) => {
            assert!(flags.has(HandshakeFlags::FIXED_NEWSTYLE), "{what}");
        }
        _ => panic!("{what}: {greeting:?}"),
    }
    assert!(running.alive(), "{what}");
    assert_eq!(running.exit_status(), None, "{what}");
    let dir = running.directory().to_owned();
    let stopped = running.stop().await;
    assert!(!stopped.killed && !stopped.early, "{what}: {stopped:?}");
    assert_eq!(left_over(&dir), "", "{what}");
}

async fn all_configurations_of(name: &str) {
    let start = Instant::now();
    let peer = PeerFile::builtin(name).unwrap();
    let mut starts = JoinSet::new();
    let fixed = peer.configurations().filter(|name| !name.contains('*')).map(str::to_owned);
    let families = ["size-1", "size-511", "size-513", "block-512", "block-4096"];
    let families = families.map(str::to_owned).into_iter().filter(|c| peer.supports(c).is_ok());
    for configuration in fixed.chain(families) {
        for transport in [Transport::Tcp, Transport::Unix] {
            starts.spawn(start_and_stop(peer.clone(), configuration.clone(), transport));
        }
    }
    while let Some(done) = starts.join_next().await {
        if let Err(error) = done {
            std::panic::resume_unwind(error.into_panic());
        }
    }
    eprintln!("{name}: {:?}", start.elapsed());
}

#[tokio::test]
async fn qemu_nbd_starts_and_stops_in_every_configuration() {
    all_configurations_of("qemu-nbd").await;
}

#[tokio::test]
async fn qemu_storage_daemon_starts_and_stops_in_every_configuration() {
    all_configurations_of("qemu-storage-daemon").await;
}

#[tokio::test]
async fn nbdkit_starts_and_stops_in_every_configuration() {
    all_configurations_of("nbdkit").await;
}

#[tokio::test]
async fn nbd_server_starts_and_stops_in_every_configuration() {
    all_configurations_of("nbd-server").await;
}

#[tokio::test]
async fn versions_are_told() {
    for name in harness::peer::shipped_servers() {
        let version = PeerFile::builtin(&name).unwrap().version().await;
        if let Some(version) = installed(version) {
            assert!(version.contains('.'), "{name}: {version}");
        }
    }
    for name in harness::peer::shipped_clients() {
        let version = ClientFile::builtin(&name).unwrap().version().await;
        if let Some(version) = installed(version) {
            assert!(version.contains('.'), "{name}: {version}");
        }
    }
}

#[tokio::test]
async fn dropping_a_server_leaves_nothing() {
    for name in harness::peer::shipped_servers() {
        let peer = PeerFile::builtin(&name).unwrap();
        let Some(running) = installed(peer.start("default").await) else { continue };
        let dir = running.directory().to_owned();
        // An open connection must not keep anything alive.
        let open = running.address().connect(LIMIT).await.unwrap();
        drop(running);
        assert_eq!(left_over(&dir), "", "{name}");
        drop(open);
    }
}

#[tokio::test]
async fn a_start_that_is_given_up_leaves_nothing() {
    for name in harness::peer::shipped_servers() {
        let peer = PeerFile::builtin(&name).unwrap();
        // Given up at a different moment each time, the last ones after the end.
        for pause in [0, 1, 3, 6, 10, 15, 25, 50, 100] {
            let parent = tempfile::tempdir().unwrap();
            let path = parent.path().to_owned();
            let options = StartOptions { parent: Some(path.clone()), ..StartOptions::default() };
            let start = peer.start_with("default", &options);
            drop(tokio::time::timeout(Duration::from_millis(pause), start).await);
            let left: Vec<_> = std::fs::read_dir(parent.path()).unwrap().flatten().collect();
            assert!(left.is_empty(), "{name} after {pause} ms: {left:?}");
            drop(parent);
            assert_eq!(left_over(&path), "", "{name} after {pause} ms");
        }
    }
}

/// Starts a server of another file, made of a shipped one by replacing a piece of it.
async fn start_changed(name: &str, from: &str, to: &str) -> Result<Running, StartError> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("peers/{name}.toml"));
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("changed.toml");
    std::fs::write(&path, text.replace(from, to)).unwrap();
    PeerFile::load(&path).unwrap().start("default").await
}

#[tokio::test]
async fn a_server_that_ends_at_its_start_is_told_with_its_words() {
    let result = start_changed("nbdkit", "--log=stderr", "--no-such-option").await;
    if let Err(StartError::Missing { .. }) = result {
        return assert!(installed(result).is_none());
    }
    let text = result.unwrap_err().to_string();
    let (first, rest) = text.split_once('\n').unwrap();
    assert_eq!(first, "nbdkit ended at its start: exit status 1");
    assert!(rest.starts_with("  command: nbdkit --foreground --no-such-option"), "{rest}");
    assert!(rest.contains("\n  | ") && rest.contains("unrecognized option"), "{rest}");
}

#[tokio::test]
async fn a_daemon_that_ends_at_its_start_is_told() {
    let result = start_changed("nbd-server", "exportname = {image}", "exportname = /none/x").await;
    if let Err(StartError::Missing { .. }) = result {
        return assert!(installed(result).is_none());
    }
    // It listens in spite of that: the image is opened when a client comes.
    assert!(result.is_ok(), "{}", result.unwrap_err());
    let result = start_changed("nbd-server", "flush = true", "flush = perhaps").await;
    let text = result.map(|running| running.stderr_tail()).unwrap_err().to_string();
    assert!(text.starts_with("nbd-server ended at its start: exit status 1"), "{text}");
}

#[tokio::test]
async fn a_server_that_does_not_listen_is_not_waited_for_for_ever() {
    let text = r#"
        format = 1
        kind = "server"
        name = "sleeper"
        title = "never listens"
        program = "sleep"
        install = "it is everywhere"
        version = { args = [], pattern = "{version}" }
        start = { args = ["{args}"], ready-within = "50ms" }
        listen = { tcp = [] }
        configuration.default.args = ["60"]
    "#;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sleeper.toml");
    std::fs::write(&path, text).unwrap();
    let error = PeerFile::load(&path).unwrap().start("default").await.unwrap_err().to_string();
    assert!(error.starts_with("sleeper is not ready after 50ms: Connection refused"), "{error}");
    assert!(error.ends_with("\n  command: sleep 60"), "{error}");
}

#[tokio::test]
async fn the_death_of_a_server_is_seen() {
    for name in harness::peer::shipped_servers() {
        let peer = PeerFile::builtin(&name).unwrap();
        let Some(mut running) = installed(peer.start("default").await) else { continue };
        let pid = rustix::process::Pid::from_raw(running.process_id().cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::SEGV).unwrap();
        let start = Instant::now();
        while running.alive() && start.elapsed() < LIMIT {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let status = running.exit_status();
        let want = if name == "nbd-server" { "gone" } else { "killed by SIGSEGV" };
        assert_eq!(status.as_deref(), Some(want), "{name}");
        assert!(running.stop().await.early, "{name}");
    }
}

fn over_unix() -> StartOptions {
    StartOptions { transport: Transport::Unix, ..StartOptions::default() }
}

/// What nbdinfo says of a server: of the export under test, and the list.
async fn told_by_nbdinfo(running: &Running) -> Option<(serde_json::Value, serde_json::Value)> {
    let nbdinfo = ClientFile::builtin("nbdinfo").unwrap();
    let mut told = Vec::new();
    for (action, name) in [("info", running.export_name().unwrap()), ("list", "")] {
        let with = Parameters::new(running.address().clone(), name);
        let run = installed(nbdinfo.run(action, &with).await)?;
        told.push(serde_json::from_slice(&run.stdout).unwrap_or_default());
    }
    let list = told.pop().unwrap();
    told.pop().map(|info| (info, list))
}

#[tokio::test]
async fn configurations_are_what_their_names_say() {
    for name in harness::peer::shipped_servers() {
        let peer = PeerFile::builtin(&name).unwrap();
        let wanted = [
            "default",
            "blank",
            "read-only",
            "size-513",
            "block-4096",
            "large",
            "many",
            "no-list",
            "no-structured",
            "multi-conn",
            "single-conn",
        ];
        for configuration in wanted.into_iter().filter(|c| peer.supports(c).is_ok()) {
            // libnbd over TCP waits for delayed acknowledgements, 40 ms each.
            let started = peer.start_with(configuration, &over_unix()).await;
            let Some(running) = installed(started) else { continue };
            let Some((info, list)) = told_by_nbdinfo(&running).await else { return };
            let what = format!("{name} {configuration}: {info:#} {list:#}");
            let export = &info["exports"][0];
            let exports = list["exports"].as_array().map_or(0, Vec::len);
            assert_eq!(export["is_read_only"], configuration == "read-only", "{what}");
            let size = match configuration {
                // nbd-server tells the size 0 by NBD_OPT_INFO.
                _ if name == "nbd-server" => 0,
                "size-513" if running.note().is_some() => 1024,
                "size-513" => 513,
                "large" => 9_u64 << 30,
                _ => 16 << 20,
            };
            assert_eq!(export["export-size"], size, "{what}");
            match configuration {
                "block-4096" => assert_eq!(export["block_size_minimum"], 4096, "{what}"),
                "many" => assert!(exports >= 3, "{what}"),
                "no-list" => assert_eq!(exports, 0, "{what}"),
                "no-structured" => assert_eq!(info["structured"], false, "{what}"),
                "multi-conn" => assert_eq!(export["can_multi_conn"], true, "{what}"),
                "single-conn" => assert_eq!(export["can_multi_conn"], false, "{what}"),
                _ => assert_eq!(exports, 1, "{what}"),
            }
        }
    }
}

#[tokio::test]
async fn reads_that_are_to_fail_do() {
    let nbdsh = ClientFile::builtin("nbdsh").unwrap();
    for name in harness::peer::shipped_servers() {
        let peer = PeerFile::builtin(&name).unwrap();
        if peer.supports("errors").is_err() {
            continue;
        }
        let started = peer.start_with("errors", &over_unix()).await;
        let Some(running) = installed(started) else { continue };
        for (offset, length, fails) in
            [(0, 4096, false), (0x80000, 512, true), (0x7f000, 8192, true)]
        {
            let address = running.address().clone();
            let with = Parameters { offset, length, ..Parameters::new(address, "disk") };
            let Some(run) = installed(nbdsh.run("read", &with).await) else { return };
            assert_eq!(!run.is_success(), fails, "{name}: {run:?}");
        }
    }
}

/// Runs certtool.
fn certtool(args: &[&str]) -> bool {
    let mut command = std::process::Command::new("certtool");
    command.args(args).stderr(std::process::Stdio::null()).status().is_ok_and(|s| s.success())
}

/// Makes an authority and its certificate for `localhost`, as the peers want them, if that can be
/// done here.
fn certificates(dir: &Path) -> bool {
    const VALID: &str = "cn = localhost\nexpiration_days = 2\n";
    const CA: &str = "ca\ncert_signing_key\n";
    const SERVER: &str = "dns_name = localhost\ntls_www_server\nencryption_key\nsigning_key\n";
    let path = |name: &str| dir.join(name).display().to_string();
    let (ca_key, ca_cert) = (path("ca-key.pem"), path("ca-cert.pem"));
    for (name, rest) in [("ca", CA), ("server", SERVER)] {
        let (key, cert) = (path(&format!("{name}-key.pem")), path(&format!("{name}-cert.pem")));
        let template = path(name);
        std::fs::write(&template, format!("{VALID}{rest}")).unwrap();
        let mut args = vec!["--load-privkey", &key, "--template", &template, "--outfile", &cert];
        match name {
            "ca" => args.push("--generate-self-signed"),
            _ => {
                args.extend(["--generate-certificate", "--load-ca-certificate", &ca_cert]);
                args.extend(["--load-ca-privkey", &ca_key]);
            }
        }
        if !certtool(&["--generate-privkey", "--bits=2048", "--outfile", &key]) || !certtool(&args)
        {
            assert!(!needed::required("certtool"), "`certtool` is needed");
            return false;
        }
    }
    true
}

#[tokio::test]
async fn tls_is_insisted_on() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("keys.psk"), "alice:0123456789abcdef0123456789abcdef\n")
        .unwrap();
    let mut ways = vec![Tls::Psk(dir.path().to_owned())];
    if certificates(dir.path()) {
        ways.push(Tls::X509(dir.path().to_owned()));
    }
    for name in harness::peer::shipped_servers() {
        let peer = PeerFile::builtin(&name).unwrap();
        for tls in &ways {
            let options = StartOptions { tls: tls.clone(), ..StartOptions::default() };
            let started = peer.start_with("default", &options).await;
            if let Err(StartError::Unsupported(reason)) = &started {
                assert!(!reason.contains("is not described"), "{name}: {reason}");
                continue;
            }
            let Some(running) = installed(started) else { continue };
            let mut stream = running.address().connect(LIMIT).await.unwrap();
            let (mut greeting, mut reply) = ([0; 18], [0; 16]);
            stream.read_exact(&mut greeting).await.unwrap();
            stream
                .write_all(b"\x00\x00\x00\x03IHAVEOPT\x00\x00\x00\x03\x00\x00\x00\x00")
                .await
                .unwrap();
            stream.read_exact(&mut reply).await.unwrap();
            assert_eq!(&reply[12..], b"\x80\x00\x00\x05", "{name} {tls:?}");
        }
    }
}

#[tokio::test]
async fn clients_do_what_their_files_say() {
    let server = PeerFile::builtin("nbdkit").unwrap();
    let mut all = JoinSet::new();
    for name in harness::peer::shipped_clients() {
        let client = ClientFile::builtin(&name).unwrap();
        for action in client.actions().map(str::to_owned).collect::<Vec<_>>() {
            let (client, server) = (client.clone(), server.clone());
            all.spawn(async move { one_action(&client, &server, &action).await });
        }
    }
    while let Some(done) = all.join_next().await {
        if let Err(error) = done {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

async fn one_action(client: &ClientFile, server: &PeerFile, action: &str) {
    // Fast zeroes need the memory plugin.
    let configuration = if action == "zero-fast" { "blank" } else { "default" };
    let Some(running) = installed(server.start(configuration).await) else { return };
    let what = format!("{} {action}", client.name());
    let mut with = Parameters::new(running.address().clone(), running.export_name().unwrap());
    (with.offset, with.length) = (4096, 8192);
    let file = running.directory().join("copy");
    let size = 16 << 20;
    if action == "copy-in" || action == "compare" {
        std::fs::copy(running.image().unwrap(), &file).unwrap();
    }
    with.file = Some(file.clone());
    let Some(run) = installed(client.run(action, &with).await) else { return };
    assert!(run.is_success(), "{what}: {run:?}");
    if action.starts_with("copy-out") {
        assert_eq!(running.content(), Some(Content::Known));
        let (copy, image) =
            (std::fs::read(&file).unwrap(), std::fs::read(running.image().unwrap()).unwrap());
        assert!(copy.len() == size && copy == image, "{what}");
    }
}
