//! `nbdcheck decode`.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, IsTerminal as _, LineWriter, Write};
use std::path::{Path, PathBuf};

use dissector::capture::{Input, ReadError};
use dissector::dissect::{Options, dissect};
use dissector::filter::{Expression, Filter};
use dissector::render::{
    JsonRenderer, Only, Renderer, SummaryRenderer, TextOptions, TextRenderer, TimeFormat,
    TreeRenderer,
};
use dissector::stats::StatsRenderer;
use dissector::tls::KeyLog;

use crate::exit;
use crate::transcribe::Transcriber;

/// Command line of `nbdcheck decode`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The capture, pcap or pcapng, perhaps compressed (gzip, Zstandard); `-` for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// What to print: the notation, that with every field and its bytes, an object of JSON a line,
    /// or a summary of each session
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,

    /// TCP port of an NBD server, besides 10809; on other ports sessions are found by the
    /// server's greeting
    #[arg(long, value_name = "N")]
    port: Vec<u16>,

    /// Secrets of TLS (what SSLKEYLOGFILE makes programs write); those inside a pcapng are found
    /// without
    #[arg(long, value_name = "FILE")]
    keylog: Vec<PathBuf>,

    /// Only the session with this number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    session: Option<u64>,

    /// Only messages for which this is true, and what was found about them: comparisons of fields,
    /// joined by `and`, `or` and `not (...)`, such as `name == NBD_CMD_READ and length >= 64KiB`,
    /// `error != ok`, `latency > 10ms`, `flags has {FUA}`, `session == 2 and from == client`
    #[arg(long, value_name = "EXPR")]
    filter: Option<Expression>,

    /// How times are told in text: since the session began, as date and time of day in UTC, or
    /// since the message before
    #[arg(long, value_enum, default_value_t = Time::Relative)]
    time: Time,

    /// Tell in text how long after its request each reply was complete
    #[arg(long, short)]
    verbose: bool,

    /// For each session and command: how many, bytes, errors, the share that is sequential, latency
    /// with a histogram; requests in flight over time, the slowest. With `--format json` an object a
    /// line
    #[arg(long)]
    stats: bool,

    /// Print a session as a scenario that replays its client against any server; with --session
    /// where the capture has several
    #[arg(long, conflicts_with_all = ["format", "stats"])]
    as_scenario: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// The `C:`/`S:` notation, a line a message
    Text,
    /// The notation, and below each message its fields with their bytes
    Tree,
    /// JSON, an object a line
    Json,
    /// Counts and findings of each session
    Summary,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Time {
    /// Seconds since the session's first packet
    Relative,
    /// Date and time of day in UTC
    Absolute,
    /// Seconds since the message before
    Delta,
}

/// Runs the command; gives the exit status.
#[must_use]
pub fn run(args: Args) -> u8 {
    let keys = match keys(&args.keylog) {
        Ok(keys) => keys,
        Err(status) => return status,
    };
    if args.as_scenario {
        return as_scenario(&args, keys);
    }
    // On a terminal each line shows at once, for a capture that is still being made.
    let stdout = io::stdout();
    let out: Box<dyn Write> = if stdout.is_terminal() {
        Box::new(LineWriter::new(stdout.lock()))
    } else {
        Box::new(BufWriter::with_capacity(64 << 10, stdout.lock()))
    };
    let text = TextOptions {
        time: match args.time {
            Time::Relative => TimeFormat::Relative,
            Time::Absolute => TimeFormat::Absolute,
            Time::Delta => TimeFormat::Delta,
        },
        latency: args.verbose,
        colour: anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never,
    };
    let mut renderer: Box<dyn Renderer> = match args.format {
        format if args.stats => Box::new(StatsRenderer::new(out, format == Format::Json)),
        Format::Text => Box::new(TextRenderer::with_options(out, text)),
        Format::Tree => Box::new(TreeRenderer::new(TextRenderer::with_options(out, text))),
        Format::Json => Box::new(JsonRenderer::new(out)),
        Format::Summary => Box::new(SummaryRenderer::new(out)),
    };
    let recognize = args.format != Format::Summary;
    let options = Options { ports: args.port, recognize, keys };
    let name = name(&args.file);
    let result = open(&args.file).and_then(|file| match &args.filter {
        Some(expression) => {
            let mut filter = Filter::new(&mut *renderer, expression);
            dissect(file, options, &mut Only::new(&mut filter, args.session))
        }
        None => dissect(file, options, &mut Only::new(&mut *renderer, args.session)),
    });
    let written = renderer.finish();
    let sessions = match result {
        Ok(sessions) => sessions,
        Err(error) => {
            complain(&name, &error);
            return exit::NO_VERDICT;
        }
    };
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return exit::OK,
        Err(error) => {
            eprintln!("error: can't write the output: {error}");
            return exit::NO_VERDICT;
        }
        Ok(()) => {}
    }
    match args.session {
        _ if sessions == 0 => {
            no_sessions(&name);
            exit::NO_VERDICT
        }
        Some(wanted) if wanted > sessions => {
            eprintln!("error: no session {wanted} in {name}: it has {sessions}");
            eprintln!("hint: `nbdcheck decode --format summary` shows them all");
            exit::USAGE
        }
        _ => exit::OK,
    }
}

/// Prints a session as a scenario; gives the exit status.
fn as_scenario(args: &Args, keys: KeyLog) -> u8 {
    let name = name(&args.file);
    let session = args.session.unwrap_or(1);
    let mut transcriber = Transcriber::new(&format!("session {session} of {name}"));
    let options = Options { ports: args.port.clone(), recognize: true, keys };
    let result = open(&args.file)
        .and_then(|file| dissect(file, options, &mut Only::new(&mut transcriber, Some(session))));
    let sessions = match result {
        Ok(sessions) => sessions,
        Err(error) => {
            complain(&name, &error);
            return exit::NO_VERDICT;
        }
    };
    if sessions == 0 {
        no_sessions(&name);
        return exit::NO_VERDICT;
    }
    // One that is found by chance is not what was meant.
    if session > sessions || (args.session.is_none() && sessions > 1) {
        eprintln!("error: {name} has {sessions} sessions, not just one to take");
        eprintln!("hint: `--session N` chooses; `nbdcheck decode --format summary` shows them all");
        return exit::USAGE;
    }
    match transcriber.script() {
        Ok(script) => match io::stdout().write_all(script.as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                eprintln!("error: can't write the output: {error}");
                exit::NO_VERDICT
            }
            _ => exit::OK,
        },
        Err(error) => {
            eprintln!("error: {name}: {error}");
            exit::NO_VERDICT
        }
    }
}

/// Opens a capture; `-` is standard input.
pub(super) fn open(path: &Path) -> Result<Input<'static>, ReadError> {
    if path == Path::new("-") {
        if io::stdin().is_terminal() {
            let error = "standard input is a terminal, not a capture";
            return Err(ReadError::Io(io::Error::other(error)));
        }
        return Ok(Input::from(io::stdin().lock()));
    }
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(ReadError::Io(io::Error::from(io::ErrorKind::IsADirectory)));
    }
    Ok(Input::file(file)?)
}

/// Reads key logs; complains and gives the exit status if that fails.
pub(super) fn keys(files: &[PathBuf]) -> Result<KeyLog, u8> {
    let mut keys = KeyLog::default();
    for path in files {
        match File::open(path).and_then(|file| keys.read(BufReader::new(file))) {
            Ok(0) => {
                eprintln!("error: {}: no secrets of TLS", name(path));
                eprintln!("hint: a key log has lines like `CLIENT_RANDOM 5f3a... 91c0...`");
                return Err(exit::USAGE);
            }
            Ok(_) => {}
            Err(error) => {
                eprintln!("error: can't read {}: {error}", name(path));
                return Err(exit::USAGE);
            }
        }
    }
    Ok(keys)
}

/// How messages name a capture; safe to print.
pub(super) fn name(path: &Path) -> String {
    if path == Path::new("-") {
        return "standard input".to_owned();
    }
    path.display()
        .to_string()
        .chars()
        .flat_map(|c| {
            let escaped = c.is_control().then(|| c.escape_default());
            let plain = escaped.is_none().then_some(c);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect()
}

pub(super) fn complain(name: &str, error: &ReadError) {
    eprintln!("error: {name}: {error}");
}

pub(super) fn no_sessions(name: &str) {
    let _ = io::stdout().flush();
    eprintln!("error: {name}: no NBD traffic found");
    eprintln!(
        "hint: a server on another port than 10809 whose greeting was not captured is found with \
         `--port N`"
    );
}
