//! Records of known deviations: what a target is known to do wrong, and why. The scenario is still run, and any other
//! finding in it still counts.
//!
//! A record is TOML ([`record`]), as those that are shipped, or has one entry per line ([`lines`]), for `--expect`.

mod entry;
mod lines;
mod record;

use std::sync::Arc;

use entry::Read;
pub use entry::{Deviation, DeviationError};
use include_dir::{Dir, include_dir};

use super::Outcome;
use super::result::TargetRun;
use super::versions::Versions;
use crate::finding::{Finding, Severity};

/// The shipped records, one a peer.
static SHIPPED: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/known");

/// The entries about one target.
#[derive(Debug, Clone, Default)]
pub struct Deviations {
    entries: Vec<Deviation>,
    /// The versions that the record knows; none if it is about all.
    versions: Vec<Arc<Versions>>,
    /// The version of the target, if it is known.
    version: Option<String>,
}

/// How a run differs from a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// The scenario was run and the requirement was kept.
    #[error("{}: `{}` no longer breaks `{}`: the entry can go", .0.at, .0.scenario, .0.requirement)]
    UnexpectedPass(Deviation),
    /// No scenario that was selected has this id.
    #[error("{}: no scenario of this run is called `{}`", .0.at, .0.scenario)]
    NoSuchScenario(Deviation),
}

impl Deviations {
    /// The record that is shipped for a version of a peer; empty if there is none.
    #[must_use]
    pub fn shipped(peer: &str, version: Option<&str>) -> Self {
        let path = format!("{peer}.toml");
        let text = SHIPPED.get_file(&path).and_then(|file| file.contents_utf8()).unwrap_or("");
        // A test reads them all.
        Self::parse(&path, text).unwrap_or_default().of(version)
    }

    /// What it says of one version.
    #[must_use]
    pub fn of(mut self, version: Option<&str>) -> Self {
        self.entries.retain(|entry| entry.is_about(version));
        self.version = version.map(str::to_owned);
        self
    }

    /// Whether somebody has looked at this version: what it does otherwise than the specification is
    /// in the record then, and what is not in the record is new.
    #[must_use]
    pub fn knows(&self, version: &str) -> bool {
        self.versions.is_empty() || self.versions.iter().any(|versions| versions.has(version))
    }

    /// Reads a record: TOML if the path ends in `.toml`, otherwise one entry per line.
    ///
    /// # Errors
    /// An entry that can't be read, or that names an unknown requirement.
    pub fn parse(path: &str, text: &str) -> Result<Self, DeviationError> {
        let Read { entries, examined } = match path.ends_with(".toml") {
            true => record::parse(path, text)?,
            false => lines::parse(path, text)?,
        };
        Ok(Self { entries, versions: examined, version: None })
    }

    /// The entries of two records, of the other one those that are about the same version.
    #[must_use]
    pub fn with(mut self, other: Self) -> Self {
        let other = other.of(self.version.as_deref());
        self.entries.extend(other.entries);
        self.versions.extend(other.versions);
        self
    }

    /// Whether there is an entry about this scenario and requirement.
    #[must_use]
    pub fn has(&self, scenario: &str, requirement: &str) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.scenario == scenario && entry.requirement == requirement)
    }

    /// Why the peer is known to break a requirement, in whatever scenario.
    #[must_use]
    pub fn of_rule(&self, requirement: &str) -> Option<&str> {
        let entry = self.entries.iter().find(|entry| entry.requirement == requirement);
        entry.map(|entry| entry.reason.as_str())
    }

    /// Marks the findings that are known.
    pub fn mark(&self, outcome: &mut Outcome) {
        for finding in &mut outcome.findings {
            let entry = self.entries.iter().find(|entry| {
                entry.scenario == outcome.id && entry.requirement == finding.requirement.id
            });
            finding.known = entry.map(|entry| entry.reason.clone());
        }
    }

    /// Whether a finding of this severity at this place is recorded at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What the record says and no run shows. Scenarios that were skipped show nothing.
    #[must_use]
    pub fn mismatches(&self, runs: &[TargetRun]) -> Vec<Mismatch> {
        let mut mismatches = Vec::new();
        for entry in &self.entries {
            let mut runs =
                runs.iter().filter(|run| entry.is_about(run.version.as_deref())).peekable();
            if runs.peek().is_none() {
                continue;
            }
            let mut outcomes = runs
                .flat_map(|run| &run.outcomes)
                .filter(|outcome| outcome.id == entry.scenario)
                .peekable();
            if outcomes.peek().is_none() {
                mismatches.push(Mismatch::NoSuchScenario(entry.clone()));
                continue;
            }
            let (mut ran, mut shown) = (false, false);
            for outcome in outcomes {
                ran |= outcome.reason.is_none();
                let breaks = |finding: &Finding| finding.requirement.id == entry.requirement;
                shown |= outcome.findings.iter().any(breaks);
            }
            if ran && !shown && !entry.sometimes {
                mismatches.push(Mismatch::UnexpectedPass(entry.clone()));
            }
        }
        mismatches
    }
}

/// Whether an outcome holds against its target: a failure, or with `strict` a warning, that no
/// record explains.
#[must_use]
pub fn counts(outcome: &Outcome, strict: bool) -> bool {
    outcome.findings.iter().any(|finding| {
        finding.known.is_none() && (strict || finding.severity() == Severity::Failure)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Verdict;

    #[test]
    fn every_shipped_record_can_be_read() {
        for file in SHIPPED.files() {
            let text = file.contents_utf8().unwrap();
            Deviations::parse(&file.path().display().to_string(), text).unwrap();
        }
    }

    /// What ends or hangs a program is told to those who make it, not here; see SECURITY.md.
    #[test]
    fn no_shipped_record_is_about_the_end_of_a_process() {
        let words = ["CVE", "SIG", "Assertion", "assertion", "aborts", "crash", "dies", "for ever"];
        for file in SHIPPED.files() {
            for line in file.contents_utf8().unwrap().lines() {
                let found = words.iter().find(|word| line.contains(**word));
                assert_eq!(found, None, "{}: {line}", file.path().display());
            }
        }
    }

    #[test]
    fn entries_apply_to_their_versions() {
        let text = "examined = \"10.*, 9.*\"\n\
            [[known]]\nscenario = \"a/b\"\nrequirement = \"baseline-read\"\nreason = \"why\"\nversions = \"10.*\"\n\
            [[known]]\nscenario = \"c/d\"\nrequirement = \"baseline-read\"\nreason = \"why\"\n";
        let record = Deviations::parse("x.toml", text).unwrap();
        let about = |version| -> Vec<String> {
            record.clone().of(version).entries.into_iter().map(|entry| entry.at).collect()
        };
        assert_eq!(about(Some("10.0.2")), ["x.toml:2", "x.toml:7"]);
        assert_eq!(about(Some("9.1")), ["x.toml:7"]);
        assert_eq!(about(None), ["x.toml:2", "x.toml:7"]);
        let known = ["10.0.2", "9.2", "11.0.0"].map(|version| record.knows(version));
        assert_eq!(known, [true, true, false]);
        assert!(Deviations::parse("x.expect", "a/b baseline-read # x").unwrap().knows("1"));
    }

    #[test]
    fn what_shows_only_sometimes_need_not_show() {
        let script = crate::scenarios::find(crate::scenarios::SANITY).unwrap();
        let outcome = Outcome { verdict: Verdict::Pass, ..Outcome::new("x", &script, "again") };
        let run = TargetRun { outcomes: vec![outcome], ..TargetRun::new("x") };
        let differs = |word: &str| {
            let text = format!("2.6-base/sanity baseline-read {word} # a race");
            let record = Deviations::parse("x.expect", &text).unwrap();
            record.mismatches(std::slice::from_ref(&run)).len()
        };
        assert_eq!((differs(""), differs("sometimes")), (1, 0));
    }
}
