//! TLS as users of `nbdcheck run` meet it: targets, forms, captures.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod needed;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use reference_server::tls::generated::{Made, USER};
use reference_server::tls::has_psk;

fn nbdcheck(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nbdcheck")).args(args).output().unwrap()
}

fn passes(args: &[&str]) -> String {
    let output = nbdcheck(args);
    let (out, err) = (output.stdout, output.stderr);
    let text = String::from_utf8_lossy(&out).into_owned() + &String::from_utf8_lossy(&err);
    assert_eq!(output.status.code(), Some(0), "{args:?}\n{text}");
    text
}

/// `nbdcheck serve` on a free port; dropping it ends it.
struct Serve {
    child: Child,
    port: String,
}

impl Serve {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_nbdcheck"))
            .args(["serve", "--bind", "127.0.0.1:0", "--export", "disk=mem:16MiB"])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // It tells its address once it listens: `nbds://127.0.0.1:PORT/...`.
        let line = lines.find_map(|line| line.ok().filter(|line| line.contains("127.0.0.1:")));
        let line = line.unwrap();
        let (_, port) = line.split_once("127.0.0.1:").unwrap();
        let port = port.split(|c: char| !c.is_ascii_digit()).next().unwrap().to_owned();
        Self { child, port }
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn a_target_inside_tls_is_tested_with_the_uri_s_certificates_and_with_the_options() {
    let folder = tempfile::tempdir().unwrap();
    let made = Made::make(folder.path()).unwrap();
    let file = |name: &str| text(&made.file(name));
    let (ca, cert, key) = (file("ca-cert.pem"), file("client-cert.pem"), file("client-key.pem"));
    let server = Serve::start(&[
        "--tls-cert",
        &file("server-cert.pem"),
        "--tls-key",
        &file("server-key.pem"),
        "--tls-ca",
        &ca,
    ]);
    let what = ["--scenario", "2.6-base", "--allow-write", "--scenario", "2.6-cookies"];
    let uri =
        format!("nbds://localhost:{}/disk?tls-certificates={}", server.port, text(folder.path()));
    let mut args = vec!["run", "--target", &uri];
    args.extend(what);
    let shown = passes(&args);
    assert!(!shown.contains(" 0 passed"), "{shown}");
    let uri = format!("nbds://localhost:{}/disk", server.port);
    let mut args = vec!["run", "--target", &uri];
    args.extend(["--tls-ca", &ca, "--tls-cert", &cert, "--tls-key", &key]);
    args.extend(what);
    passes(&args);
    // Without a certificate there is no verdict, and the reason is told.
    let output = nbdcheck(&["run", "--target", &uri, "--tls-ca", &ca]);
    assert_eq!(output.status.code(), Some(3));
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(shown.contains("no verdict"), "{shown}");
    let plain = format!("127.0.0.1:{}", server.port);
    let output = nbdcheck(&["run", "--target", &plain]);
    assert_eq!(output.status.code(), Some(3));
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(shown.contains("the server insists on TLS"), "{shown}");
}

#[test]
fn a_target_with_pre_shared_keys_is_tested() {
    if !has_psk() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let made = Made::make(folder.path()).unwrap();
    let keys = text(&made.file("keys.psk"));
    let server = Serve::start(&["--tls-psk", &keys]);
    let uri = format!("nbds://{USER}@localhost:{}/disk", server.port);
    passes(&["run", "--target", &uri, "--tls-psk", &keys, "--scenario", "2.6-base"]);
}

#[test]
fn scenarios_pass_inside_tls_and_over_a_unix_socket() {
    let folders = ["2.6-base", "2.6-options", "2.6-cookies", "2.6-disconnect", "2.6-commands"];
    let mut args = vec!["run", "--peer", "self", "--axes", "tls=x509,transport=unix"];
    args.extend(folders.iter().flat_map(|folder| ["--scenario", folder]));
    let shown = passes(&args);
    assert!(shown.contains("self (tls=x509,transport=unix): "), "{shown}");
    if has_psk() {
        passes(&["run", "--peer", "self", "--axes", "tls=psk", "--feature", "reads and writes"]);
    }
}

#[test]
fn captures_of_tls_open_in_wireshark_without_any_setting() {
    if !needed::here(&["tshark"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut ids = vec!["2.6-starttls/tls-1-2", "2.6-starttls/tls-1-3"];
    if has_psk() {
        ids.extend(["3.0-psk/tls-1-2", "3.0-psk/tls-1-3"]);
    }
    for id in ids {
        let capture = text(folder.path());
        passes(&["run", "--peer", "self", "--scenario", id, "--capture", &capture]);
        let file = folder.path().join("self").join(format!("{id}.pcapng"));
        // Whoever can't decrypt sees no Finished (20).
        let output = Command::new("tshark")
            .arg("-r")
            .arg(&file)
            .args(["-Y", "tls.handshake.type == 20", "-T", "fields", "-e", "tls.handshake.type"])
            .output()
            .unwrap();
        let seen = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(seen.contains("20"), "{id}: {seen}{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Every connection of the probe is made with TLS, not only the first.
#[test]
fn a_server_that_insists_on_tls_shows_its_features() {
    let text = passes(&["probe", "self", "--configuration", "tls-forced", "--format", "json"]);
    let found: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(found["tls"], "forced");
    for name in ["structured replies", "extended headers", "BLOCK_STATUS payload"] {
        let features = found["features"].as_array().unwrap();
        let feature = features.iter().find(|feature| feature["feature"] == name).unwrap();
        assert_eq!(feature["offered"], true, "{name}");
    }
}
