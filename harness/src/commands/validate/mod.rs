//! `nbdcheck validate`.

use std::io::{self, BufWriter, IsTerminal as _, LineWriter, Write};
use std::path::PathBuf;

use dissector::dissect::{Options, dissect};
use dissector::session::Recognize;

pub(super) mod findings;
mod others;

use findings::{Findings, Found};

use super::decode::{complain, keys, name, no_sessions, open};
use crate::exit;

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
    let mut all = Found::default();
    let mut no_verdict = false;
    for file in &args.files {
        let name = name(file);
        // Of the lines of a damaged capture there may be millions.
        let talk: Box<dyn Write + Send> = match io::stderr().is_terminal() {
            true => Box::new(LineWriter::new(io::stderr())),
            false => Box::new(BufWriter::with_capacity(64 << 10, io::stderr())),
        };
        let mut sink = Findings::new(&name, &mut out, talk);
        let recognize = match args.no_data {
            true => Recognize::Nothing,
            false => Recognize::Contradictions,
        };
        let options = Options { ports: args.port.clone(), recognize, keys: keys.clone() };
        let result = open(file).and_then(|file| dissect(file, options, &mut sink));
        sink.tell_contradictions();
        all.add(sink.totals());
        match sink.flush() {
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
    crate::say!("{all}");
    match (all.violations(), no_verdict) {
        (1.., _) => exit::FAILED,
        (0, true) => exit::NO_VERDICT,
        (0, false) => exit::OK,
    }
}
