//! What a person reads who asks for what can't be done, with the exit status: each command line that
//! is refused before anything is played.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use clap::Parser as _;

use super::{Cli, execute};

/// What a command says, and its exit status. `DIR` in the words stands for a folder.
fn refused(words: &str, folder: &Path) -> String {
    let folder = folder.display().to_string();
    let words: Vec<_> = words.split(' ').map(|word| word.replace("DIR", &folder)).collect();
    let typed = words.join(" ").replace(&folder, "DIR");
    let words = std::iter::once("nbdcheck".to_owned()).chain(words);
    let (said, status) = match Cli::try_parse_from(words) {
        Err(error) => (error.render().to_string(), u8::try_from(error.exit_code()).unwrap()),
        Ok(cli) => match execute(cli.command) {
            Ok(status) => panic!("`{typed}` ended with {status}"),
            Err(error) => (error.to_string(), error.status()),
        },
    };
    // What clap adds to each of its messages.
    let end = said.find("\nUsage: ").or(said.find("\nFor more information")).unwrap_or(said.len());
    let mut shown = format!("$ nbdcheck {typed}\n");
    for line in said[..end].trim_end().lines() {
        let _ = writeln!(shown, "{}", line.replace(&folder, "DIR").trim_end());
    }
    let _ = writeln!(shown, "# exit status {status}\n");
    shown
}

/// A folder with files that are of no use.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &[u8]| fs::write(folder.path().join(name), text).unwrap();
    fs::create_dir(folder.path().join("empty")).unwrap();
    write("text.pcap", b"no capture\n");
    let mut header = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    header.extend([0, 0, 4, 0, 1, 0, 0, 0]);
    write("none.pcap", &header);
    write("bad.nbd", b"title: x\n\nC: NBD_OPT_GOO\n");
    write("text.json", b"text");
    write("other.json", b"{\"a\": 1}");
    write("bad.toml", b"[[known]]\nscenario = 1\n");
    write("peer.toml", b"program = \"x\"\n");
    write("bad.pem", b"no certificate\n");
    folder
}

fn all(lines: &[&str]) -> String {
    let folder = folder();
    lines.iter().map(|line| refused(line, folder.path())).collect()
}

#[test]
fn of_run() {
    insta::assert_snapshot!(
        "errors_run",
        all(&[
            "run --scenario 2.10-goo/*",
            "run --scenario sanitty",
            "run --scenario 2.6-base/sanitty",
            "run --scenario [",
            "run --scenario DIR/none.nbd",
            "run --scenario DIR/bad.nbd",
            "run --feature fluish",
            "run --since 8.2 --until 2.6",
            "run --since 8",
            "run --partition 3/2",
            "run --timeout 0",
            "run --max-time 0",
            "run --axes replies=all,color=red",
            "run --target nowhere://",
            "run --target localhost:port",
            "run --target nbds://localhost --tls-ca DIR/bad.pem",
            "run --peer qemu-ndb",
            "run --peer DIR/peer.toml",
            "run --peer self@9.9",
            "run --server mine",
            "run --server mine{prot}",
            "run --client qemu-imgg",
            "run --expect DIR/none.toml",
            "run --expect DIR/bad.toml",
            "run --report xml=out",
            "run --report json",
            "run --report json=DIR/none/out",
            "run --report json=DIR/out --report tap=DIR/out",
            "run --capture DIR/text.json",
            "run --max-fail 0",
            "run --fail-fast --max-fail 2",
        ])
    );
}

#[test]
fn of_captures() {
    insta::assert_snapshot!(
        "errors_captures",
        all(&[
            "decode DIR/none",
            "decode DIR/empty",
            "decode DIR/text.pcap",
            "decode DIR/none.pcap",
            "decode --session 0 DIR/none.pcap",
            "decode --session 1 DIR/none.pcap DIR/none.pcap",
            "decode --as-scenario DIR/none.pcap",
            "decode --as-scenario --format json DIR/none.pcap",
            "decode --keylog DIR/none DIR/none.pcap",
            "decode --keylog DIR/text.json DIR/none.pcap",
            "decode --filter nme==NBD_CMD_READ DIR/none.pcap",
            "decode --filter length>5kb DIR/none.pcap",
            "decode --filter latency>10 DIR/none.pcap",
            "decode --stats --filter latency>10ms DIR/none.pcap",
            "decode",
            "validate DIR/empty",
            "validate --report tap=- DIR/none.pcap",
            "validate --report json=DIR/none/out DIR/none.pcap",
            "validate --keylog DIR/none DIR/none.pcap",
            "relay --listen DIR/x --to nowhere:port",
            "relay --listen DIR/x --to nbd://",
            "relay --listen DIR/x --to DIR/y --keylog DIR/empty",
            "relay --listen DIR/x --to DIR/y -w -",
            "relay --listen DIR/x --to DIR/y -w DIR/none/out",
            "relay --listen DIR/none/x --to DIR/y",
        ])
    );
}

#[test]
fn of_servers_and_clients() {
    insta::assert_snapshot!(
        "errors_servers",
        all(&[
            "serve --export disk",
            "serve --export disk=disc:1MiB",
            "serve --export disk=mem:5kb",
            "serve --export disk=mem:1MiB,reed-only",
            "serve --export disk=mem:1MiB,min=3",
            "serve --export disk=pattern:1MiB,seed=x",
            "serve --export disk=file:DIR/none",
            "serve --export disk=file:DIR/none,backing=mem:1",
            "serve --profile 9.9",
            "serve --fault cookie-truncate",
            "serve --quirk chunks-tinny",
            "serve --bind localhost:port",
            "serve --tls forced",
            "serve --tls-cert DIR/bad.pem --tls-key DIR/bad.pem",
            "serve --sessions 1",
            "serve --judge --judge-report json=DIR/none/out",
            "serve --socket DIR/none/socket",
            "client raed nbd://localhost",
            "client read localhost",
            "client read",
            "client info nbd://localhost --fault cookie-wrongg",
            "client info nbd://localhost --quirk dribles",
            "client zero-fast nbd://localhost --profile 2.6",
            "probe qemu-ndb",
            "probe all",
            "probe localhost --timeout 4000",
            "explore",
            "explore self@all",
            "explore --peer self --time 0",
            "differ self",
            "differ self@all self",
            "differ self self --report tap=-",
            "matrix DIR/none.json",
            "matrix DIR/text.json",
            "matrix DIR/other.json",
            "matrix --server qemu-ndb",
            "matrix --client qemu-imgg",
            "matrix --report tap=-",
        ])
    );
}

#[test]
fn of_the_rest() {
    insta::assert_snapshot!(
        "errors_rest",
        all(&[
            "list no-such-text",
            "explain cookie-ecoed",
            "fmt DIR/none.nbd",
            "report diff DIR/none.json DIR/text.json",
            "report diff DIR/text.json DIR/text.json",
            "selftest --area tsl",
            "selftest --fault cookie-truncate",
            "selftest --client --fault cookie-truncate",
            "selftest --report tap=-",
            "completions tsch",
            "runn",
            "run --peers self",
        ])
    );
}
