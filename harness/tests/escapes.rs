//! What a peer says is shown to people, and never carried out by their terminal: names, descriptions
//! and messages with escape sequences reach no output as they are.

use std::io::{Read as _, Result, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

/// Sets a title, clears the screen, moves the cursor, and is a control character in Latin-1.
const NASTY: &str = "\u{1b}]0;owned\u{7}\u{1b}[2J\r\u{8}\u{9b}31m";

fn text(name: &str) -> Vec<u8> {
    format!("{name}{NASTY}").into_bytes()
}

fn reply(stream: &mut TcpStream, option: u32, kind: u32, data: &[u8]) -> Result<()> {
    let mut bytes = 0x0003_e889_0455_65a9_u64.to_be_bytes().to_vec();
    for field in [option, kind, data.len() as u32] {
        bytes.extend(field.to_be_bytes());
    }
    bytes.extend(data);
    stream.write_all(&bytes)
}

/// A server that puts escape sequences wherever it may say something.
fn serve(mut stream: TcpStream, refuses: bool) -> Result<()> {
    stream.write_all(b"NBDMAGICIHAVEOPT\0\x03")?;
    stream.read_exact(&mut [0; 4])?;
    loop {
        let mut header = [0; 16];
        stream.read_exact(&mut header)?;
        let number =
            |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap_or_default());
        let (option, length) = (number(8), number(12));
        stream.read_exact(&mut vec![0; length.min(1 << 16) as usize])?;
        match option {
            2 => return reply(&mut stream, option, 1, &[]),
            3 => {
                let name = text("disk");
                let mut data = (name.len() as u32).to_be_bytes().to_vec();
                data.extend(name);
                data.extend(text("a disk"));
                reply(&mut stream, option, 2, &data)?;
                reply(&mut stream, option, 1, &[])?;
            }
            6 | 7 if !refuses => {
                reply(&mut stream, option, 3, &[[0, 2].to_vec(), text("told")].concat())?;
                reply(&mut stream, option, 3, &[0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 1])?;
                reply(&mut stream, option, 1, &[])?;
                if option == 7 {
                    return Ok(());
                }
            }
            _ => reply(&mut stream, option, 0x8000_0002, &text("never"))?,
        }
    }
}

fn start(refuses: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream, refuses));
        }
    });
    address
}

/// What it printed, which holds the harmless beginning of what the peer said, and no control
/// characters but the ends of lines.
fn harmless(what: &str, bytes: &[u8], said: &[&str]) {
    let text = String::from_utf8(bytes.to_vec()).expect("output is UTF-8");
    for said in said {
        assert!(text.contains(said), "{what} lacks {said:?}:\n{text}");
    }
    let bad = text.char_indices().find(|(_, c)| c.is_control() && *c != '\n');
    assert!(bad.is_none(), "{what} has {bad:?}:\n{text:?}");
}

fn nbdcheck(args: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_nbdcheck")).args(args).output().expect("the binary runs")
}

#[test]
fn what_a_server_says_is_escaped_in_every_report() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    const FORMATS: [&str; 5] = ["json", "junit", "tap", "html", "markdown"];
    let (address, capture) = (start(false), path("captures"));
    let mut args: Vec<String> = ["run", "--target", &address, "--capture", &capture]
        .into_iter()
        .chain(["--scenario", "2.6-base/unknown-option"])
        .chain(["--scenario", "2.6-options/unknown-numbers"])
        .map(str::to_owned)
        .collect();
    for format in FORMATS {
        args.extend(["--report".to_owned(), format!("{format}={}", path(format))]);
    }
    let output = nbdcheck(&args.iter().map(String::as_str).collect::<Vec<_>>());
    harmless("standard output", &output.stdout, &["FAIL", "never\\u{1b}]0;owned"]);
    harmless("standard error", &output.stderr, &[]);
    for format in FORMATS {
        harmless(format, &std::fs::read(path(format)).expect("a report"), &["never"]);
    }
    for format in ["json", "html", "markdown"] {
        let output = nbdcheck(&["matrix", &path("json"), "--report", &format!("{format}=-")]);
        harmless("a matrix", &output.stdout, &["qemu"]);
        harmless("a matrix", &output.stderr, &[]);
    }
    let mut decoded = 0;
    for file in files(Path::new(&capture)) {
        for command in [
            &["decode"][..],
            &["decode", "--format", "tree"],
            &["decode", "--format", "json"],
            &["validate"],
        ] {
            let output = nbdcheck(&[command, &[&file]].concat());
            let name = command.join(" ");
            harmless(&name, &output.stdout, &[]);
            harmless(&name, &output.stderr, &[]);
        }
        decoded += 1;
    }
    assert!(decoded > 0, "no captures");
}

fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => found.extend(files(&path)),
            path => found.push(path.to_string_lossy().into_owned()),
        }
    }
    found
}

#[test]
fn the_reason_of_a_refusal_is_escaped() {
    let output = nbdcheck(&["run", "--target", &start(true), "--scenario", "2.6-base/sanity"]);
    harmless("standard output", &output.stdout, &[]);
    harmless("standard error", &output.stderr, &[]);
    let all = [output.stdout, output.stderr].concat();
    assert!(String::from_utf8_lossy(&all).contains("never\\u{1b}]0;owned"));
}

#[test]
fn what_a_server_offers_is_escaped() {
    let address = start(false);
    for format in ["text", "json"] {
        let output = nbdcheck(&["probe", &address, "--format", format]);
        harmless(format, &output.stdout, &["disk"]);
        harmless(format, &output.stderr, &[]);
    }
}
