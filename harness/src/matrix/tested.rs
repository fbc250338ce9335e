//! What a run brought, as far as a matrix needs it: from a run, or from the JSON that one wrote.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde::Deserialize;

use crate::finding::Verdict;
use crate::run::milestones::Offer;
use crate::run::result::TargetRun;
use crate::run::{Outcome, SkipKind};
use crate::script::ast::Version;

/// A longer report is not read.
const LIMIT: u64 = 256 << 20;

/// A server that was tested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tested {
    /// Its name.
    pub name: String,
    /// Its version, if known.
    pub version: Option<String>,
    /// What prevented a verdict.
    pub problem: Option<String>,
    /// The scenarios.
    pub scenarios: Vec<Scenario>,
    /// What it offers.
    pub offers: Vec<Offer>,
}

/// How a scenario came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// Its id.
    pub id: String,
    /// Its feature.
    pub feature: String,
    /// The version that brought the feature.
    pub since: Version,
    /// The verdict.
    pub verdict: Verdict,
    /// It failed as a record of known deviations says.
    pub known: bool,
    /// Why it was skipped, as a kind.
    pub skipped: Option<SkipKind>,
    /// Why it was skipped, why there is no verdict, or what was found first.
    pub reason: Option<String>,
    /// The requirement of what was found first.
    pub requirement: Option<String>,
}

impl Scenario {
    /// The scenario and what there is to say of it.
    #[must_use]
    pub fn in_a_line(&self) -> String {
        match self.reason.as_deref().and_then(|reason| reason.lines().next()) {
            Some(reason) => format!("{}: {reason}", self.id),
            None => self.id.clone(),
        }
    }
}

impl From<&TargetRun> for Tested {
    fn from(run: &TargetRun) -> Self {
        Self {
            name: run.name.clone(),
            version: run.version.clone(),
            problem: run.problem.clone(),
            scenarios: run.outcomes.iter().map(Scenario::from).collect(),
            offers: run.offers.clone(),
        }
    }
}

impl From<&Outcome> for Scenario {
    fn from(outcome: &Outcome) -> Self {
        let worst = outcome.findings.iter().max_by_key(|finding| finding.severity());
        let found = worst.map(|finding| match &finding.known {
            Some(known) => format!("{}: {known}", finding.requirement.id),
            None => format!("{}: {}", finding.requirement.id, finding.message),
        });
        Self {
            id: outcome.id.clone(),
            feature: outcome.feature.clone(),
            since: outcome.since,
            verdict: outcome.verdict,
            known: outcome.is_known(),
            skipped: outcome.skipped,
            reason: outcome.reason.clone().or(found),
            requirement: outcome.findings.first().map(|first| first.requirement.id.to_owned()),
        }
    }
}

/// A report that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// It can't be read.
    #[error("can't read {0}: {1}")]
    Unreadable(String, std::io::Error),
    /// It is too long.
    #[error("{0} is longer than {LIMIT} bytes: no report of `run`")]
    TooLong(String),
    /// It is no report of `run`.
    #[error("{0} is not a JSON report of `run`: {1}")]
    Malformed(String, String),
}

/// Reads the report that `run --report json=PATH` wrote: of one target or several.
///
/// # Errors
/// Why it can't be used.
pub fn read(path: &Path) -> Result<Vec<Tested>, ReportError> {
    let shown = path.display().to_string();
    let unreadable = |error| ReportError::Unreadable(shown.clone(), error);
    let mut text = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LIMIT + 1).read_to_end(&mut text))
        .map_err(unreadable)?;
    if text.len() as u64 > LIMIT {
        return Err(ReportError::TooLong(shown));
    }
    parse(&text).map_err(|why| ReportError::Malformed(shown, why))
}

pub(super) fn parse(text: &[u8]) -> Result<Vec<Tested>, String> {
    let value: serde_json::Value =
        serde_json::from_slice(text).map_err(|error| error.to_string())?;
    // Which of the two it is, serde's own choice can't say in words for people.
    let runs = if value.get("runs").is_some() {
        Several::deserialize(value).map(|several| several.runs)
    } else {
        Run::deserialize(value).map(|run| vec![run])
    };
    runs.map_err(|error| error.to_string())?.into_iter().map(Run::tested).collect()
}

#[derive(Deserialize)]
struct Several {
    runs: Vec<Run>,
}

#[derive(Deserialize)]
struct Run {
    target: Target,
    problem: Option<String>,
    scenarios: Vec<ScenarioJson>,
    #[serde(default)]
    offers: Vec<OfferJson>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    version: Option<String>,
}

#[derive(Deserialize)]
struct ScenarioJson {
    id: String,
    since: String,
    feature: String,
    verdict: String,
    #[serde(default)]
    known: bool,
    skipped: Option<String>,
    reason: Option<String>,
    #[serde(default)]
    findings: Vec<FindingJson>,
}

#[derive(Deserialize)]
struct FindingJson {
    requirement: String,
    message: String,
}

#[derive(Deserialize)]
struct OfferJson {
    since: String,
    feature: String,
    #[serde(default)]
    setup: bool,
    offered: Option<bool>,
    evidence: Option<String>,
}

impl Run {
    fn tested(self) -> Result<Tested, String> {
        Ok(Tested {
            name: self.target.name,
            version: self.target.version,
            problem: self.problem,
            scenarios: self
                .scenarios
                .into_iter()
                .map(ScenarioJson::scenario)
                .collect::<Result<_, _>>()?,
            offers: self.offers.into_iter().map(OfferJson::offer).collect::<Result<_, _>>()?,
        })
    }
}

fn version(text: &str) -> Result<Version, String> {
    text.parse().map_err(|error: crate::script::NotAVersion| error.to_string())
}

impl ScenarioJson {
    fn scenario(self) -> Result<Scenario, String> {
        let verdict = Verdict::ALL.into_iter().find(|verdict| verdict.name() == self.verdict);
        let kind = |word: &String| SkipKind::ALL.into_iter().find(|kind| kind.name() == word);
        let found = self.findings.first();
        Ok(Scenario {
            since: version(&self.since)?,
            verdict: verdict.ok_or_else(|| format!("`{}` is not a verdict", self.verdict))?,
            known: self.known,
            skipped: self.skipped.as_ref().and_then(kind),
            reason: self
                .reason
                .or_else(|| found.map(|one| format!("{}: {}", one.requirement, one.message))),
            requirement: found.map(|one| one.requirement.clone()),
            id: self.id,
            feature: self.feature,
        })
    }
}

impl OfferJson {
    fn offer(self) -> Result<Offer, String> {
        Ok(Offer {
            since: version(&self.since)?,
            name: self.feature,
            setup: self.setup,
            hidden: false,
            offered: self.offered,
            evidence: self.evidence,
        })
    }
}
