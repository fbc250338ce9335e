//! `nbdcheck validate`.

use std::io::{self, BufWriter, IsTerminal as _, LineWriter, Write};
use std::path::PathBuf;

use dissector::dissect::{Options, dissect};
use dissector::session::Recognize;
use dissector::tls::KeyLog;

pub(super) mod findings;
mod others;
mod report;

use findings::{Findings, Found};
use report::{Collected, Format};

use super::CommandError;
use super::captures::{captures, name};
use super::decode::{keys, no_sessions, open, unreadable};
use crate::exit;
use crate::report::Report;

/// Command line of `nbdcheck validate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Capture files: pcap or pcapng, also compressed with gzip or Zstandard; folders with such
    /// files; `-` is standard input
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

    /// Write what was found to a file: `json`, `junit` or `sarif`; `-` is standard output. Can be
    /// repeated
    #[arg(long, value_name = "FORMAT=PATH")]
    report: Vec<Report<Format>>,
}

/// Runs the command; gives the exit status: failed when a MUST was broken, no verdict when a file
/// could not be read or holds no NBD, or nothing could be judged.
///
/// # Errors
/// What it could not do.
pub fn run(args: Args) -> Result<u8, CommandError> {
    crate::report::check(&args.report).map_err(CommandError::usage)?;
    let files = captures(&args.files)?;
    let keys = keys(&args.keylog)?;
    let mut collected = (!args.report.is_empty()).then(Collected::default);
    let judged = judge(&args, &files, &keys, collected.as_mut());
    for report in &args.report {
        let text = collected.as_ref().map(|all| all.render(report.format)).unwrap_or_default();
        report
            .put(&text)
            .map_err(|error| CommandError::cannot_write(report.path.display(), &error))?;
    }
    judged
}

/// Judges the files; gives the exit status.
fn judge(
    args: &Args,
    files: &[PathBuf],
    keys: &KeyLog,
    mut collected: Option<&mut Collected>,
) -> Result<u8, CommandError> {
    // A report on standard output is alone there.
    let mut out: Box<dyn Write> = match args.report.iter().any(Report::is_stdout) {
        true => Box::new(io::sink()),
        false => Box::new(BufWriter::new(io::stdout().lock())),
    };
    let mut all = Found::default();
    let mut no_verdict = false;
    for file in files {
        let name = name(file);
        if let Some(collected) = collected.as_deref_mut() {
            collected.begin(&name);
        }
        // Of the lines of a damaged capture there may be millions.
        let talk: Box<dyn Write + Send> = match io::stderr().is_terminal() {
            true => Box::new(LineWriter::new(io::stderr())),
            false => Box::new(BufWriter::with_capacity(64 << 10, io::stderr())),
        };
        let sink = Findings::new(&name, &mut out, talk);
        let mut sink = sink.collect(collected.as_deref_mut());
        let recognize = match args.no_data {
            true => Recognize::Nothing,
            false => Recognize::Contradictions,
        };
        let options = Options { ports: args.port.clone(), recognize, keys: keys.clone() };
        let result = open(file).and_then(|file| dissect(file, options, &mut sink));
        sink.tell_contradictions();
        let found = sink.totals().clone();
        let error = sink.flush();
        drop(sink);
        all.add(&found);
        match error {
            Some(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            Some(error) => return Err(CommandError::cannot_write("the output", &error)),
            None => {}
        }
        let (error, why) = match result {
            Ok(0) => (no_sessions(&name), "no NBD traffic found".to_owned()),
            Ok(_) if found.judged() == 0 => {
                let why = "nothing of it could be judged";
                (CommandError::no_verdict(format_args!("{name}: {why}")), why.to_owned())
            }
            Ok(_) => continue,
            Err(error) => (unreadable(&name, &error), error.to_string()),
        };
        let _ = out.flush();
        error.tell();
        no_verdict = true;
        if let Some(collected) = collected.as_deref_mut() {
            collected.failed(why);
        }
    }
    crate::say!("{all}");
    Ok(match (all.violations(), no_verdict) {
        (1.., _) => exit::FAILED,
        (0, true) => exit::NO_VERDICT,
        (0, false) => exit::OK,
    })
}
