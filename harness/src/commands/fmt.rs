//! `nbdcheck fmt`: scripts in their canonical form.

use std::path::PathBuf;

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
#[must_use]
pub fn run(args: Args) -> u8 {
    let mut status = exit::OK;
    for path in &args.files {
        let shown = path.display().to_string();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                crate::say!("error: can't read {shown}: {error}");
                return exit::NO_VERDICT;
            }
        };
        let formatted = match script::load(&shown, &shown, &text)
            .map(|script| script::lint(&script))
            .and_then(|advice| Ok((script::format(&shown, &text)?, advice)))
        {
            Ok((formatted, advice)) => {
                crate::output::tell(&script::render(&advice, false));
                formatted
            }
            Err(errors) => {
                crate::output::tell(&script::render(&errors, false));
                status = exit::USAGE;
                continue;
            }
        };
        if formatted == text {
            continue;
        }
        if args.check {
            crate::say!("{shown} is not in canonical form");
            status = status.max(exit::FAILED);
        } else if let Err(error) = crate::report::file::write(path, formatted.as_bytes()) {
            crate::say!("error: can't write {shown}: {error}");
            return exit::NO_VERDICT;
        }
    }
    status
}
