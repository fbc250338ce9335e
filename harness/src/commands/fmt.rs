//! `nbdcheck fmt`: scripts in their canonical form.

use std::path::PathBuf;

use super::CommandError;
use crate::exit;
use crate::script;

/// Command line of `nbdcheck fmt`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Scripts to format in place; style advice is printed to standard error
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Change nothing; exit with 1 if a script is not formatted
    #[arg(long)]
    check: bool,
}

/// Runs the command; gives the exit status.
///
/// # Errors
/// What it could not do.
pub fn run(args: Args) -> Result<u8, CommandError> {
    let mut status = exit::OK;
    for path in &args.files {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| CommandError::cannot_read(&shown, &error))?;
        let formatted = match script::load(&shown, &shown, &text)
            .map(|script| script::lint(&script))
            .and_then(|advice| Ok((script::format(&shown, &text)?, advice)))
        {
            Ok((formatted, advice)) => {
                crate::output::tell(&script::render(&advice, false));
                formatted
            }
            Err(errors) => {
                status = CommandError::script(script::render(&errors, false)).tell();
                continue;
            }
        };
        if formatted == text {
            continue;
        }
        if args.check {
            crate::say!("{shown} is not in canonical form");
            status = status.max(exit::FAILED);
        } else {
            crate::report::file::write(path, formatted.as_bytes())
                .map_err(|error| CommandError::cannot_write(&shown, &error))?;
        }
    }
    Ok(status)
}
