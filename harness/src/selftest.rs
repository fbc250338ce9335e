//! The tester tested: the suite is played on the reference server with one deliberate fault at a time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use dissector::session::Rule;
use protocol::message::Side;
use protocol::requirements;
use reference_server::Fault;

use crate::finding::{Severity, Verdict};
use crate::run::runner::{Options, run_target};
use crate::run::target::Target;
use crate::script::ast::{Replies, Script};

/// How many other scenarios are played at a time where the judge could see a fault in any of them.
const BATCH: usize = 10;
/// How long a faulty server may stay silent: it is local, and what it does not say it never will.
const PATIENCE: Duration = Duration::from_millis(700);

/// What became of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Everything that it breaks was named.
    Named,
    /// It was found, but as something else.
    Found,
    /// It breaks a MUST, and there were warnings only.
    OnlyWarned,
    /// Nothing was found.
    Survived,
}

impl Outcome {
    /// As it stands in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Named => "named",
            Self::Found => "found",
            Self::OnlyWarned => "only warned",
            Self::Survived => "survived",
        }
    }
}

/// What was found in a server with a fault.
#[derive(Debug, Clone)]
pub struct Trial {
    /// The fault.
    pub fault: Fault,
    /// What became of it.
    pub outcome: Outcome,
    /// The requirements that were found to be broken, by their ids.
    pub found: BTreeSet<&'static str>,
}

impl Trial {
    /// What the fault breaks and nothing named.
    #[must_use]
    pub fn missed(&self) -> Vec<&'static str> {
        missed(self.fault, &self.found)
    }
}

/// What a fault breaks and nothing in `found` names.
fn missed(fault: Fault, found: &BTreeSet<&'static str>) -> Vec<&'static str> {
    fault.expected().iter().filter(|id| !found.contains(*id)).copied().collect()
}

/// How runs are made that look for faults.
#[must_use]
pub fn options(replies: Replies) -> Options {
    Options { write: true, hazard: true, jobs: 4, timeout: PATIENCE, replies, ..Options::default() }
}

/// The scenarios that could show a fault, the likeliest first: those that check what it breaks, and
/// where the judge checks it, whatever traffic there is.
#[must_use]
pub fn concerned(fault: Fault, all: &[Arc<Script>]) -> Vec<Vec<Arc<Script>>> {
    let judged = |id: &str| Rule::ALL.iter().any(|rule| rule.id() == id);
    let by_judge = fault.expected().iter().any(|id| judged(id));
    let servers = all.iter().filter(|script| script.header.tests == Side::Server).cloned();
    let (direct, others): (Vec<_>, Vec<_>) = servers.partition(|script| {
        let checks = &script.header.checks;
        checks.iter().any(|check| fault.expected().contains(&check.node.as_str()))
    });
    let mut batches = vec![direct];
    if by_judge {
        batches.extend(others.chunks(BATCH).map(<[_]>::to_vec));
    }
    batches.retain(|batch| !batch.is_empty());
    batches
}

/// Plays the scenarios that could show a fault until it is named.
pub async fn test(fault: Fault, all: &[Arc<Script>], outside: bool) -> Trial {
    let mut found = BTreeSet::new();
    let mut failed = false;
    for batch in concerned(fault, all) {
        let (ids, fails) = play(fault, &batch, outside).await;
        found.extend(ids);
        failed |= fails;
        if missed(fault, &found).is_empty() {
            break;
        }
    }
    let is_must = |id: &&str| {
        requirements::find(id).is_some_and(|it| Severity::of(it.level) == Severity::Failure)
    };
    let outcome = if missed(fault, &found).is_empty() {
        Outcome::Named
    } else if found.is_empty() {
        Outcome::Survived
    } else if !failed && fault.expected().iter().any(is_must) {
        Outcome::OnlyWarned
    } else {
        Outcome::Found
    };
    Trial { fault, outcome, found }
}

/// What some scenarios find in a server with a fault, and whether one of them fails.
async fn play(
    fault: Fault,
    scripts: &[Arc<Script>],
    outside: bool,
) -> (BTreeSet<&'static str>, bool) {
    let options = options(Replies::Default);
    let (events, _) = tokio::sync::mpsc::unbounded_channel();
    let mut target = Target::faulty(fault);
    // Kept alive until the run is over.
    let mut instance = None;
    if outside && let Ok(started) = target.start("default", options.access).await {
        target = Target::External {
            name: "self".to_owned(),
            address: started.address.clone(),
            export: started.export.clone(),
            security: None,
            insists: false,
        };
        instance = Some(started);
    }
    let run = run_target(&target, scripts, None, &options, events).await;
    drop(instance);
    let failed = run.outcomes.iter().any(|outcome| outcome.verdict == Verdict::Fail);
    let findings = run.outcomes.iter().flat_map(|outcome| &outcome.findings);
    (findings.map(|finding| finding.requirement.id).collect(), failed)
}
