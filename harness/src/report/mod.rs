//! Reports: one stream of outcomes feeds the terminal and every file.

pub mod announce;
pub mod begun;
pub mod causes;
pub mod digest;
pub mod file;
pub mod html;
pub mod json;
pub mod junit;
pub mod markdown;
pub mod probe;
pub mod progress;
pub mod skips;
pub mod tap;
pub mod terminal;
#[cfg(test)]
pub(crate) mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::run::result::TargetRun;

/// A file that a command leaves behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report<F = Format> {
    /// In which format.
    pub format: F,
    /// Where; `-` for standard output.
    pub path: PathBuf,
}

/// The formats of a run's reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The contract's JSON.
    Json,
    /// JUnit XML, as CI systems read it.
    Junit,
    /// TAP, version 13.
    Tap,
    /// One HTML file.
    Html,
    /// Markdown.
    Markdown,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "json" => Ok(Self::Json),
            "junit" => Ok(Self::Junit),
            "tap" => Ok(Self::Tap),
            "html" => Ok(Self::Html),
            "markdown" => Ok(Self::Markdown),
            other => {
                Err(format!("`{other}` is not a format: use json, junit, tap, html or markdown"))
            }
        }
    }
}

impl<F: FromStr<Err = String>> FromStr for Report<F> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (format, path) =
            text.split_once('=').ok_or("expected FORMAT=PATH, such as json=out.json")?;
        let format = format.parse()?;
        if path.is_empty() {
            return Err("a path is missing".to_owned());
        }
        Ok(Self { format, path: PathBuf::from(path) })
    }
}

impl Report {
    /// Writes the report of a run.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&self, runs: &[TargetRun]) -> io::Result<()> {
        self.put(&match self.format {
            Format::Json => json::render(runs)?,
            Format::Junit => junit::render(runs)?,
            Format::Tap => tap::render(runs),
            Format::Html => html::render(runs),
            Format::Markdown => markdown::render(runs),
        })
    }
}

impl<F> Report<F> {
    /// Whether it goes to standard output.
    #[must_use]
    pub fn is_stdout(&self) -> bool {
        self.path == Path::new("-")
    }

    /// Puts a text where the report belongs. A reader of standard output that has gone is no error.
    ///
    /// # Errors
    /// What the system says.
    pub fn put(&self, text: &str) -> io::Result<()> {
        if self.is_stdout() {
            return crate::output::print_bytes(text.as_bytes());
        }
        file::write(&self.path, text.as_bytes())
    }
}

/// Whether reports can be written, before anything is done for them.
///
/// # Errors
/// The first that can't, and why; or two that go to one place.
pub fn check<F>(reports: &[Report<F>]) -> Result<(), String> {
    let mut places = Vec::new();
    for report in reports {
        let shown = report.path.display();
        let place = if report.is_stdout() {
            Some(report.path.clone())
        } else {
            file::check(&report.path).map_err(|error| format!("can't write {shown}: {error}"))?;
            file::place(&report.path)
        };
        if place.is_some() && places.contains(&place) {
            let shown =
                if report.is_stdout() { "standard output".into() } else { shown.to_string() };
            return Err(format!("two reports go to {shown}"));
        }
        places.push(place);
    }
    Ok(())
}
