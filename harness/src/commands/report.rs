//! `nbdcheck report`: what can be done with the JSON reports of earlier runs.

use std::path::PathBuf;

use clap::Subcommand;

use super::CommandError;
use crate::matrix::changes::{Changes, compare, render};
use crate::matrix::tested::read;
use crate::{exit, output};

/// Command line of `nbdcheck report`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Compare two reports: which scenarios broke, were mended, came or are not run any more
    ///
    /// Exits with 1 if a scenario fails that did not fail before, or if the new run has no verdict.
    Diff {
        /// JSON report of the earlier run (`nbdcheck run --report json=OLD`)
        old: PathBuf,
        /// JSON report of the later run
        new: PathBuf,
    },
}

/// Runs the command; gives the exit status.
///
/// # Errors
/// What it could not do.
pub fn run(args: Args) -> Result<u8, CommandError> {
    let What::Diff { old, new } = args.what;
    let read = |path| {
        read(path).map_err(|error| {
            let hint = "`nbdcheck run --report json=PATH` writes a report";
            CommandError::no_verdict(error).hint(hint)
        })
    };
    let (old, new) = (read(&old)?, read(&new)?);
    let changes = compare(&old, &new);
    output::print(&render(&old, &new, &changes));
    if changes.is_empty() {
        return Err(CommandError::no_verdict("the reports have no target in common"));
    }
    Ok(if changes.iter().any(Changes::is_worse) { exit::FAILED } else { exit::OK })
}
