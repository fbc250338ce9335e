//! `nbdcheck validate`.

use std::io::{self, BufWriter, IsTerminal as _, LineWriter, Write};
use std::path::PathBuf;

use dissector::dissect::{Options, Record, Sink, Totals, dissect};
use dissector::render::Plural;
use dissector::session::{ProblemKind, Recognize};

mod others;

use others::Contradictions;

use super::decode::{complain, keys, name, no_sessions, open};
use crate::exit;

/// What a read that contradicts a write is told as.
const DATA_DIFFERS: &str = ProblemKind::DataDiffers.name();

/// Command line of `nbdcheck validate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Capture files: pcap or pcapng, also compressed with gzip or Zstandard; `-` is standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// An additional TCP port of an NBD server, besides 10809. On other ports, sessions are
    /// recognised by the server's greeting. Can be repeated
    #[arg(long, value_name = "N")]
    port: Vec<u16>,

    /// TLS key log (programs write one if SSLKEYLOGFILE is set); secrets inside a pcapng are used
    /// without this option. Can be repeated
    #[arg(long, value_name = "FILE")]
    keylog: Vec<PathBuf>,

    /// Do not warn about reads that contradict earlier writes
    ///
    /// By default, a read that returns other data than was written is a warning, unless an error,
    /// another request or another session in the capture may have changed the data. Whole blocks of
    /// 4 KiB are compared.
    #[arg(long)]
    no_data: bool,
}

/// Runs the command; gives the exit status: failed when a MUST was broken, no verdict when a file
/// could not be read or holds no NBD.
#[must_use]
pub fn run(args: Args) -> u8 {
    let keys = match keys(&args.keylog) {
        Ok(keys) => keys,
        Err(status) => return status,
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let mut all = Totals::default();
    let mut no_verdict = false;
    for file in &args.files {
        let name = name(file);
        // Of the lines of a damaged capture there may be millions.
        let mut talk: Box<dyn Write> = match io::stderr().is_terminal() {
            true => Box::new(LineWriter::new(io::stderr())),
            false => Box::new(BufWriter::with_capacity(64 << 10, io::stderr())),
        };
        let mut sink = Violations {
            file: &name,
            out: &mut out,
            talk: &mut talk,
            error: None,
            totals: &mut all,
            contradictions: Contradictions::default(),
        };
        let recognize = match args.no_data {
            true => Recognize::Nothing,
            false => Recognize::Contradictions,
        };
        let options = Options { ports: args.port.clone(), recognize, keys: keys.clone() };
        let result = open(file).and_then(|file| dissect(file, options, &mut sink));
        sink.tell_contradictions();
        let error = sink.error.take().or_else(|| out.flush().err());
        let _ = talk.flush();
        match error {
            Some(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            Some(error) => {
                crate::say!("error: can't write the output: {error}");
                return exit::NO_VERDICT;
            }
            None => {}
        }
        match result {
            Ok(0) => {
                no_sessions(&name);
                no_verdict = true;
            }
            Ok(_) => {}
            Err(error) => {
                complain(&name, &error);
                no_verdict = true;
            }
        }
    }
    let Totals { sessions, violations, warnings, messages, .. } = &all;
    crate::say!(
        "{}, {}: {}, {}",
        Plural(*sessions, "session"),
        Plural(messages.iter().sum(), "message"),
        Plural(*violations, "violation"),
        Plural(*warnings, "warning"),
    );
    match (violations, no_verdict) {
        (1.., _) => exit::FAILED,
        (0, true) => exit::NO_VERDICT,
        (0, false) => exit::OK,
    }
}

/// Prints a line for each violation.
struct Violations<'a, W> {
    file: &'a str,
    out: &'a mut W,
    /// For problems.
    talk: &'a mut dyn Write,
    error: Option<io::Error>,
    totals: &'a mut Totals,
    contradictions: Contradictions,
}

impl<W: Write> Violations<'_, W> {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        if self.error.is_none() {
            self.error = writeln!(self.out, "{}: {line}", self.file).err();
        }
    }

    fn tell_contradictions(&mut self) {
        let (told, more) = std::mem::take(&mut self.contradictions).told();
        self.totals.warnings += told.len() as u64 + more;
        for (session, text) in told {
            self.line(format_args!("session {session}: data-differs: {text}"));
        }
        if more > 0 {
            self.line(format_args!("data-differs: {} like these", Plural(more, "more read")));
        }
    }
}

impl<W: Write> Sink for Violations<'_, W> {
    fn record(&mut self, record: Record<'_>) {
        match record {
            Record::Violation(info, violation) => {
                let requirement = violation.requirement;
                self.line(format_args!(
                    "session {} message {} {} {} {}: {}",
                    info.number,
                    violation.message,
                    violation.party.name(),
                    requirement.level,
                    requirement.id,
                    violation.text
                ));
            }
            // What could not be seen limits what the verdict means.
            Record::Problem(Some(info), note) if note.kind == DATA_DIFFERS => {
                self.contradictions.add(info.number, &note.text);
            }
            Record::Problem(info, note) => {
                let session = info.map(|info| format!("session {}: ", info.number));
                let (file, session) = (self.file, session.unwrap_or_default());
                // Nothing is lost but talk if that fails.
                let _ = writeln!(self.talk, "{file}: {session}{}: {}", note.kind, note.text);
            }
            Record::Closed(info, totals) => {
                self.contradictions.closed(info, totals);
                self.totals.add(totals);
            }
            Record::Opened(_) | Record::Message(..) | Record::Tls(..) | Record::Ended(..) => {}
        }
    }

    fn wants_messages(&self) -> bool {
        false
    }

    fn is_done(&self) -> bool {
        self.error.is_some()
    }
}
