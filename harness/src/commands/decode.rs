//! `nbdcheck decode`.

use std::fs::File;
use std::io::{self, BufReader, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use dissector::capture::{Input, ReadError};
use dissector::dissect::{Options, Record, Sink, dissect};
use dissector::render::Only;
use dissector::session::Recognize;
use dissector::tls::KeyLog;

use super::CommandError;
use super::captures::{captures, name};
use super::cut_short;
use super::view::View;
use crate::exit;
use crate::output;
use crate::transcribe::Transcriber;

/// Command line of `nbdcheck decode`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Sessions are found on port 10809, on ports given with --port, and on any port \
by the server's greeting.

In JSON, frame is the number of the packet with which something became known, counted from 1; times
are nanoseconds since 1970. Other numbers above 2^53, which not every program can read, are strings
in hexadecimal (\"0x8000000000000000\"). Fields may be added."
)]
pub struct Args {
    /// Capture files: pcap or pcapng, also compressed with gzip or Zstandard; folders with such
    /// files; `-` is standard input. Each of several is decoded by itself
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    #[command(flatten)]
    view: View,

    /// TLS key log (programs write one if SSLKEYLOGFILE is set); secrets inside a pcapng are used
    /// without this option. Can be repeated
    #[arg(long, value_name = "FILE")]
    keylog: Vec<PathBuf>,

    /// Print a session as a scenario script that replays its client against any server; choose the
    /// session with `--session` if the capture has several
    #[arg(long, conflicts_with_all = ["format", "stats"])]
    as_scenario: bool,
}

/// Runs the command; gives the exit status.
///
/// # Errors
/// What it could not do.
pub fn run(args: Args) -> Result<u8, CommandError> {
    let keys = keys(&args.keylog)?;
    let files = captures(&args.files)?;
    let [file] = &files[..] else {
        if args.as_scenario || args.view.session.is_some() {
            let text = "sessions have numbers in each capture; name one file";
            return Err(CommandError::usage(text));
        }
        return Ok(several(&args, &files, &keys));
    };
    if args.as_scenario {
        return as_scenario(&args, file, keys);
    }
    one(&args, file, keys)
}

/// Decodes several captures, one after the other; gives the worst exit status.
fn several(args: &Args, files: &[PathBuf], keys: &KeyLog) -> u8 {
    let mut worst = exit::OK;
    for (index, file) in files.iter().enumerate() {
        output::print(&args.view.heading(&name(file), index == 0));
        worst = worst.max(one(args, file, keys.clone()).unwrap_or_else(|error| error.tell()));
        if output::has_failed() {
            break;
        }
    }
    worst
}

/// Decodes a capture; gives the exit status.
fn one(args: &Args, path: &Path, keys: KeyLog) -> Result<u8, CommandError> {
    let name = name(path);
    let options = args.view.options(keys);
    let shown =
        args.view.show(false, |sink| open(path).and_then(|file| dissect(file, options, sink)))?;
    let Some(sessions) = shown else { return Ok(exit::OK) };
    let sessions = sessions.map_err(|error| unreadable(&name, &error))?;
    match args.view.session {
        _ if sessions == 0 => Err(no_sessions(&name)),
        Some(wanted) if wanted > sessions => {
            let hint = "`nbdcheck decode --format summary` shows them all";
            Err(no_session(wanted, &name, sessions).hint(hint))
        }
        _ => Ok(exit::OK),
    }
}

/// Prints a session as a scenario; gives the exit status.
fn as_scenario(args: &Args, path: &Path, keys: KeyLog) -> Result<u8, CommandError> {
    let name = name(path);
    let session = args.view.session.unwrap_or(1);
    let mut transcriber = Transcriber::new(&format!("session {session} of {name}"));
    let options = Options { ports: args.view.port.clone(), recognize: Recognize::Form, keys };
    let result = open(path).and_then(|file| match args.view.session {
        Some(_) => dissect(file, options, &mut Only::new(&mut transcriber, Some(session))),
        None => dissect(file, options, &mut Alone { inner: &mut transcriber, others: false }),
    });
    let sessions = result.map_err(|error| unreadable(&name, &error))?;
    if sessions == 0 {
        return Err(no_sessions(&name));
    }
    // One that is found by chance is not what was meant.
    if session > sessions || (args.view.session.is_none() && sessions > 1) {
        let error = match args.view.session {
            Some(wanted) => no_session(wanted, &name, sessions),
            // The others have not been looked for.
            None => CommandError::usage(format_args!(
                "{name} has several sessions, not just one to take"
            )),
        };
        let hint = "`--session N` chooses; `nbdcheck decode --format summary` shows them all";
        return Err(error.hint(hint));
    }
    let script = transcriber.script();
    let script =
        script.map_err(|error| CommandError::no_verdict(format_args!("{name}: {error}")))?;
    output::print(&script);
    Ok(exit::OK)
}

fn no_session(wanted: u64, name: &str, sessions: u64) -> CommandError {
    CommandError::usage(format_args!("no session {wanted} in {name}: it has {sessions}"))
}

/// Hands on the first session; has enough when there is another.
struct Alone<'a> {
    inner: &'a mut Transcriber,
    others: bool,
}

impl Sink for Alone<'_> {
    fn record(&mut self, record: Record<'_>) {
        match record.session() {
            Some(2..) => self.others = true,
            _ => self.inner.record(record),
        }
    }

    fn is_done(&self) -> bool {
        self.others
    }
}

/// Opens a capture; `-` is standard input.
pub(super) fn open(path: &Path) -> Result<Input<'static>, ReadError> {
    if path == Path::new("-") {
        if io::stdin().is_terminal() {
            let error = "standard input is a terminal, not a capture";
            return Err(ReadError::Io(io::Error::other(error)));
        }
        return Ok(Input::from(io::stdin()));
    }
    let file = File::open(path)?;
    let about = file.metadata()?;
    if about.is_dir() {
        return Err(ReadError::Io(io::Error::from(io::ErrorKind::IsADirectory)));
    }
    if about.is_file() {
        cut_short::reads(path);
    }
    Ok(Input::file(file)?)
}

/// Reads key logs.
pub(super) fn keys(files: &[PathBuf]) -> Result<KeyLog, CommandError> {
    let mut keys = KeyLog::default();
    for path in files {
        let name = name(path);
        let read = File::open(path).and_then(|file| keys.read(BufReader::new(file)));
        let read =
            read.map_err(|error| CommandError::usage(format_args!("can't read {name}: {error}")))?;
        if read == 0 && opens_nothing(path) {
            crate::say!("warning: no secrets in {name} that open a session of TLS");
        } else if read == 0 {
            let error = CommandError::usage(format_args!("{name}: no secrets of TLS"));
            return Err(error.hint("a key log has lines like `CLIENT_RANDOM 5f3a... 91c0...`"));
        }
    }
    Ok(keys)
}

/// How much of a file tells whether it is a key log, in bytes.
const BEGINNING: u64 = 64 << 10;

/// Whether a file without a secret that could be used is a key log all the same: of a program whose
/// handshakes failed, or that made none.
fn opens_nothing(path: &Path) -> bool {
    let mut begins = Vec::new();
    let read = File::open(path).and_then(|file| file.take(BEGINNING).read_to_end(&mut begins));
    let is_log = || begins.split(|byte| *byte == b'\n').any(KeyLog::is_of_a_log);
    read.is_ok() && (begins.is_empty() || is_log())
}

/// A capture that can't be read to its end.
pub(super) fn unreadable(name: &str, error: &ReadError) -> CommandError {
    CommandError::no_verdict(format_args!("{name}: {error}"))
}

/// A capture in which there is nothing for us.
pub(super) fn no_sessions(name: &str) -> CommandError {
    let error = CommandError::no_verdict(format_args!("{name}: no NBD traffic found"));
    error.hint(
        "a server on another port than 10809 whose greeting was not captured is found with \
         `--port N`",
    )
}
