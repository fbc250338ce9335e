//! `nbdcheck completions` and `nbdcheck man`: what packagers install beside the binary.

use std::io::{self, Write as _};

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Cli;
use crate::exit;

/// Command line of `nbdcheck completions`.
#[derive(Debug, clap::Args)]
pub struct CompletionArgs {
    /// The shell to complete for
    shell: Shell,
}

/// Prints a completion script; gives the exit status.
#[must_use]
pub fn completions(args: CompletionArgs) -> u8 {
    let mut out = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "nbdcheck", &mut out);
    print(&out)
}

/// Prints the manual page; gives the exit status.
#[must_use]
pub fn man() -> u8 {
    let mut out = Vec::new();
    match clap_mangen::Man::new(Cli::command()).render(&mut out) {
        Ok(()) => print(&out),
        Err(_) => exit::NO_VERDICT,
    }
}

fn print(bytes: &[u8]) -> u8 {
    match io::stdout().write_all(bytes) {
        Ok(()) => exit::OK,
        Err(_) => exit::NO_VERDICT,
    }
}
