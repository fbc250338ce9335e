//! Records of known deviations: what a target is known to do wrong, and why.
//!
//! One entry a line: `SCENARIO REQUIREMENT [sometimes] # reason`. The scenario is still run; any
//! other finding in it still counts. `sometimes` is for a race inside the peer: that it did not show
//! is no difference from the record. A line `# version: PATTERN` says which versions of the peer the
//! entries after it are about: `1.32*`, `>=1.38 <1.44`, `3.24*, 3.26*`.

use std::sync::Arc;

use include_dir::{Dir, include_dir};

use super::Outcome;
use super::runner::TargetRun;
use super::versions::Versions;
use crate::finding::{Finding, Severity};

/// The shipped records, one a peer.
static SHIPPED: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/known");

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deviation {
    /// The scenario's id.
    pub scenario: String,
    /// The requirement's id.
    pub requirement: String,
    /// It shows only sometimes, since it is a race inside the peer.
    pub sometimes: bool,
    /// Why it is so, with the section of the specification and the evidence.
    pub reason: String,
    /// Where the entry stands: `qemu-nbd.expect:12`.
    pub at: String,
    /// The versions of the peer that do so; `None` for all.
    pub versions: Option<Arc<Versions>>,
}

impl Deviation {
    /// Whether the entry is about this version; what is not known may be any.
    fn is_about(&self, version: Option<&str>) -> bool {
        match (&self.versions, version) {
            (Some(versions), Some(version)) => versions.has(version),
            _ => true,
        }
    }
}

/// The entries about one target.
#[derive(Debug, Clone, Default)]
pub struct Deviations {
    entries: Vec<Deviation>,
    /// The versions that the record knows; none if it is about all.
    versions: Vec<Arc<Versions>>,
    /// The version of the target, if it is known.
    version: Option<String>,
}

/// An entry that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {message}\nhint: an entry is `SCENARIO REQUIREMENT [sometimes] # reason`")]
pub struct DeviationError {
    /// Path and line.
    pub at: String,
    /// What is wrong.
    pub message: String,
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
        let path = format!("{peer}.expect");
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

    /// Reads a record.
    ///
    /// # Errors
    /// A line that is no entry, or names an unknown requirement.
    pub fn parse(path: &str, text: &str) -> Result<Self, DeviationError> {
        let mut entries = Vec::new();
        let mut all_versions = Vec::new();
        let mut versions: Option<Arc<Versions>> = None;
        for (index, line) in text.lines().enumerate() {
            let at = format!("{path}:{}", index + 1);
            let fail = |message: String| DeviationError { at: at.clone(), message };
            let line = line.trim();
            if let Some(pattern) = line.strip_prefix("# version:") {
                let these = Arc::new(pattern.parse::<Versions>().map_err(fail)?);
                all_versions.push(these.clone());
                versions = Some(these);
                continue;
            }
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (entry, reason) =
                line.split_once('#').ok_or_else(|| fail("a reason is missing".to_owned()))?;
            let words: Vec<&str> = entry.split_whitespace().collect();
            let (scenario, requirement, sometimes) = match words[..] {
                [scenario, requirement] => (scenario, requirement, false),
                [scenario, requirement, "sometimes"] => (scenario, requirement, true),
                [_, _, word] => {
                    return Err(fail(format!("expected `sometimes` or `#`, not `{word}`")));
                }
                _ => {
                    let count = words.len();
                    return Err(fail(format!(
                        "there are {count} words before the reason instead of 2"
                    )));
                }
            };
            if protocol::requirements::find(requirement).is_none() {
                return Err(fail(format!("`{requirement}` is not in the catalogue")));
            }
            if reason.trim().is_empty() {
                return Err(fail("a reason is missing".to_owned()));
            }
            entries.push(Deviation {
                scenario: scenario.to_owned(),
                requirement: requirement.to_owned(),
                sometimes,
                reason: reason.trim().to_owned(),
                at,
                versions: versions.clone(),
            });
        }
        Ok(Self { entries, versions: all_versions, version: None })
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
        let text = "# version: 10.*\na/b baseline-read  # says why\n# version: 9.*\nc/d baseline-read # x\n";
        let record = Deviations::parse("x.expect", text).unwrap();
        let about = |version| -> Vec<String> {
            record.clone().of(version).entries.into_iter().map(|entry| entry.at).collect()
        };
        assert_eq!(about(Some("10.0.2")), ["x.expect:2"]);
        assert_eq!(about(Some("11.0.0")), [""; 0]);
        assert_eq!(about(None), ["x.expect:2", "x.expect:4"]);
        let known = ["10.0.2", "9.2", "11.0.0"].map(|version| record.knows(version));
        assert_eq!(known, [true, true, false]);
        assert!(Deviations::parse("x.expect", "a/b baseline-read # x").unwrap().knows("1"));
    }

    #[test]
    fn what_shows_only_sometimes_need_not_show() {
        let script = crate::scenarios::find(super::super::runner::SANITY).unwrap();
        let outcome = Outcome { verdict: Verdict::Pass, ..Outcome::new("x", &script, "again") };
        let run = TargetRun { outcomes: vec![outcome], ..TargetRun::new("x") };
        let differs = |word: &str| {
            let text = format!("2.6-base/sanity baseline-read {word} # a race");
            let record = Deviations::parse("x.expect", &text).unwrap();
            record.mismatches(std::slice::from_ref(&run)).len()
        };
        assert_eq!((differs(""), differs("sometimes")), (1, 0));
    }

    #[test]
    fn an_entry_needs_a_reason_and_a_known_requirement() {
        let error = |text| Deviations::parse("x.expect", text).unwrap_err().to_string();
        insta::assert_snapshot!(error("a/b baseline-read"), @r"
        x.expect:1: a reason is missing
        hint: an entry is `SCENARIO REQUIREMENT [sometimes] # reason`
        ");
        insta::assert_snapshot!(error("a/b baseline-read often # why"), @r"
        x.expect:1: expected `sometimes` or `#`, not `often`
        hint: an entry is `SCENARIO REQUIREMENT [sometimes] # reason`
        ");
        insta::assert_snapshot!(error("a/b baseline-reed # why"), @r"
        x.expect:1: `baseline-reed` is not in the catalogue
        hint: an entry is `SCENARIO REQUIREMENT [sometimes] # reason`
        ");
    }
}
