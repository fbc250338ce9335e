//! `nbdcheck completions` and `nbdcheck man`: what packagers install beside the binary.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Cli;
use crate::exit;
use crate::output;

/// Command line of `nbdcheck completions`.
#[derive(Debug, clap::Args)]
pub struct CompletionArgs {
    /// Shell to write completions for
    shell: Shell,
}

/// Prints a completion script; gives the exit status.
#[must_use]
pub fn completions(args: CompletionArgs) -> u8 {
    let mut out = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "nbdcheck", &mut out);
    {
        output::print(&String::from_utf8_lossy(&out));
        exit::OK
    }
}

/// Prints the manual page; gives the exit status.
#[must_use]
pub fn man() -> u8 {
    let mut out = Vec::new();
    match clap_mangen::Man::new(Cli::command()).render(&mut out) {
        Ok(()) => {
            output::print(&String::from_utf8_lossy(&out));
            exit::OK
        }
        Err(_) => exit::NO_VERDICT,
    }
}
