//! `nbdcheck run`.

/// Command line of `nbdcheck run`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command; gives the exit status.
#[must_use]
pub fn run(_args: Args) -> u8 {
    crate::exit::USAGE
}
