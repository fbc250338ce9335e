//! Reports: one stream of outcomes feeds the terminal and every file.

pub mod json;
pub mod junit;
pub mod progress;
pub mod terminal;

use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::run::runner::TargetRun;

/// A file that a run leaves behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// In which format.
    pub format: Format,
    /// Where; `-` for standard output.
    pub path: PathBuf,
}

/// The formats of reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The contract's JSON.
    Json,
    /// JUnit XML, as CI systems read it.
    Junit,
}

impl FromStr for Report {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (format, path) =
            text.split_once('=').ok_or("expected FORMAT=PATH, such as json=out.json")?;
        let format = match format {
            "json" => Format::Json,
            "junit" => Format::Junit,
            other => return Err(format!("`{other}` is no format: there are json and junit")),
        };
        if path.is_empty() {
            return Err("a path is missing".to_owned());
        }
        Ok(Self { format, path: PathBuf::from(path) })
    }
}

impl Report {
    /// Writes the report.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&self, runs: &[TargetRun]) -> io::Result<()> {
        let text = match self.format {
            Format::Json => json::render(runs)?,
            Format::Junit => junit::render(runs)?,
        };
        if self.path == Path::new("-") {
            use io::Write as _;
            return io::stdout().write_all(text.as_bytes());
        }
        if let Some(parent) = self.path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&self.path, text)
    }
}
