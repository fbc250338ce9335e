//! `nbdcheck completions` and `nbdcheck man`: what packagers install beside the binary.

use clap_complete::Shell;

use super::CommandError;
use crate::exit;
use crate::output;

/// Command line of `nbdcheck completions`.
#[derive(Debug, clap::Args)]
pub struct CompletionArgs {
    /// Shell to write completions for
    shell: Shell,
}

/// Prints a completion script for a command line; returns the exit status.
#[must_use]
pub fn completions(args: CompletionArgs, mut cli: clap::Command) -> u8 {
    let mut out = Vec::new();
    clap_complete::generate(args.shell, &mut cli, "nbdcheck", &mut out);
    output::print(&String::from_utf8_lossy(&out));
    exit::OK
}

/// Prints the manual page of a command line; returns the exit status.
///
/// # Errors
/// It can't be made.
pub fn man(cli: clap::Command) -> Result<u8, CommandError> {
    let mut out = Vec::new();
    let made = clap_mangen::Man::new(cli).render(&mut out);
    made.map_err(|error| CommandError::cannot_write("the manual page", &error))?;
    output::print(&String::from_utf8_lossy(&out));
    Ok(exit::OK)
}
