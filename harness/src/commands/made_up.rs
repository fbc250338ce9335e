//! What `explore` and `differ` are told of the sessions that they make up, and where their scripts go.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::CommandError;
use super::runtime::{any_seed, long};
use crate::explore::Limits;
use crate::script::ast::Script;

/// Which sessions are made up, and how many.
#[derive(Debug, clap::Args)]
pub(super) struct MadeUpArgs {
    /// How long to look, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    pub(super) time: f64,
    /// Stop after this many sessions
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    sessions: Option<u64>,
    /// Which sessions to make up: the same number makes the same sessions
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Only lawful sessions: nothing that a server must refuse
    #[arg(long)]
    lawful: bool,
}

impl MadeUpArgs {
    /// Refuses times that are none, or longer than a week.
    pub(super) fn check(&self) -> Result<(), CommandError> {
        long("--time", self.time).map(drop)
    }

    /// The same as limits, with a seed if none was asked for. `folder` is where scripts are saved.
    pub(super) fn limits(&self, failures: Option<u32>, folder: &Path) -> Limits {
        Limits {
            time: Duration::from_secs_f64(self.time),
            sessions: self.sessions,
            failures: failures.map(|most| most as usize),
            seed: self.seed.unwrap_or_else(any_seed),
            folder: folder.to_owned(),
            lawful: self.lawful,
            until: None,
        }
    }
}

/// Writes a script where its path says, in this folder; gives the path.
pub(super) fn save_script(folder: &Path, script: &Script, text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(&script.source.path);
    let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, text));
    written.map_err(|error| format!("can't write {}: {error}", path.display()))?;
    Ok(path)
}
