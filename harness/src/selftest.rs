//! The tester tested: the suite is played on the reference server, or the reference client, with one
//! deliberate fault at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use dissector::session::Rule;
use protocol::message::Side;
use protocol::requirements;
use reference_server::{ClientFault, Fault};

use crate::finding::{Severity, Verdict};
use crate::peer::quoted;
use crate::run::clients::{ClientTarget, run_client};
use crate::run::plain::Plain;
use crate::run::result::TargetRun;
use crate::run::runner::{Options, run_target};
use crate::run::target::Target;
use crate::script::ast::{Replies, Script};

/// A deliberate fault of either party.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AnyFault {
    /// Of the reference server.
    Server(Fault),
    /// Of the reference client.
    Client(ClientFault),
}

impl AnyFault {
    /// Every fault of a party, in the order of a session.
    #[must_use]
    pub fn all(side: Side) -> Vec<Self> {
        match side {
            Side::Server => Fault::ALL.iter().copied().map(Self::Server).collect(),
            Side::Client => ClientFault::ALL.iter().copied().map(Self::Client).collect(),
        }
    }

    /// The areas of the protocol that the faults of a party are in.
    #[must_use]
    pub const fn areas(side: Side) -> &'static [&'static str] {
        match side {
            Side::Server => Fault::AREAS,
            Side::Client => ClientFault::AREAS,
        }
    }

    /// Whose fault it is.
    #[must_use]
    pub const fn side(self) -> Side {
        match self {
            Self::Server(_) => Side::Server,
            Self::Client(_) => Side::Client,
        }
    }

    /// The area of the protocol that it is in.
    #[must_use]
    pub const fn area(self) -> &'static str {
        match self {
            Self::Server(fault) => fault.area(),
            Self::Client(fault) => fault.area(),
        }
    }

    /// The name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Server(fault) => fault.name(),
            Self::Client(fault) => fault.name(),
        }
    }

    /// What the party does, as the rest of a sentence that begins with the party.
    #[must_use]
    pub const fn summary(self) -> &'static str {
        match self {
            Self::Server(fault) => fault.summary(),
            Self::Client(fault) => fault.summary(),
        }
    }

    /// The requirements that it must be seen to break.
    #[must_use]
    pub const fn expected(self) -> &'static [&'static str] {
        match self {
            Self::Server(fault) => fault.expected(),
            Self::Client(fault) => fault.expected(),
        }
    }
}

impl fmt::Display for AnyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How many other scenarios are played at a time where the judge could see a fault in any of them.
const BATCH: usize = 10;
/// How long a faulty party may stay silent: it is local, and what it does not say it never will.
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
    /// Nothing was found in a server of which nbdcheck knows nothing, and nothing could be.
    NotVisible,
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
            Self::NotVisible => "not visible",
        }
    }
}

/// What was found in a party with a fault.
#[derive(Debug, Clone)]
pub struct Trial {
    /// The fault.
    pub fault: AnyFault,
    /// What became of it.
    pub outcome: Outcome,
    /// The requirements that were found to be broken, by their ids.
    pub found: BTreeSet<&'static str>,
}

impl Trial {
    /// Why nobody could see the fault, if nobody could.
    #[must_use]
    pub fn why_not_visible(&self) -> Option<&'static str> {
        let not_visible = self.outcome == Outcome::NotVisible;
        not_visible.then(|| why_not_visible(self.fault)).flatten()
    }

    /// What the fault breaks and nothing named.
    #[must_use]
    pub fn missed(&self) -> Vec<&'static str> {
        missed(self.fault, &self.found)
    }
}

/// Faults that only those can tell from lawful behaviour who set the server up, and why.
const NOT_VISIBLE: [(Fault, &str); 8] = [
    (Fault::GoUnknownServed, "a server may serve an export of any name"),
    (Fault::TlsOnlyServed, "nobody else knows which exports are for TLS only"),
    (Fault::ReadErrorHidden, "nobody else knows what its device can't read"),
    (Fault::WriteNotStored, "an export may keep nothing, as null devices do"),
    (Fault::StatusHolesHidden, "a server need not know of its holes"),
    (Fault::BitmapAllDirty, "nobody else knows what was written before"),
    (Fault::BitmapInverted, "nobody else knows what was written before"),
    (Fault::BitmapWritesUnmarked, "a bitmap that is not recording may be exported"),
];

fn why_not_visible(fault: AnyFault) -> Option<&'static str> {
    let mut all = NOT_VISIBLE.iter();
    all.find(|(hidden, _)| AnyFault::Server(*hidden) == fault).map(|(_, why)| *why)
}

/// What a fault breaks and nothing in `found` names.
fn missed(fault: AnyFault, found: &BTreeSet<&'static str>) -> Vec<&'static str> {
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
pub fn concerned(fault: AnyFault, all: &[Arc<Script>]) -> Vec<Vec<Arc<Script>>> {
    let judged = |id: &str| Rule::ALL.iter().any(|rule| rule.id() == id);
    let by_judge = fault.expected().iter().any(|id| judged(id));
    let of_side = all.iter().filter(|script| script.header.tests == fault.side()).cloned();
    let (direct, others): (Vec<_>, Vec<_>) = of_side.partition(|script| {
        let checks = &script.header.checks;
        checks.iter().any(|check| fault.expected().contains(&check.node.as_str()))
    });
    // A client does what it likes in plain sessions, and the judge listens.
    let (plain, others): (Vec<_>, Vec<_>) =
        others.into_iter().partition(|script| Plain::is_one(script));
    let mut batches = vec![direct];
    if by_judge {
        batches.push(plain);
        batches.extend(others.chunks(BATCH).map(<[_]>::to_vec));
    }
    batches.retain(|batch| !batch.is_empty());
    batches
}

/// How a faulty party is started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Means {
    /// Inside this program.
    #[default]
    Inside,
    /// As one that nbdcheck knows nothing of: a server that runs already, and for clients a command:
    /// the path of nbdcheck.
    Outside(String),
}

/// Plays the scenarios that could show a fault until it is named.
pub async fn test(fault: AnyFault, all: &[Arc<Script>], means: &Means) -> Trial {
    let mut found = BTreeSet::new();
    let mut failed = false;
    for batch in concerned(fault, all) {
        let (ids, fails) = match fault {
            AnyFault::Server(fault) => play(fault, &batch, *means != Means::Inside).await,
            AnyFault::Client(fault) => play_client(fault, &batch, means).await,
        };
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
    } else if found.is_empty() && *means != Means::Inside && why_not_visible(fault).is_some() {
        Outcome::NotVisible
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
    let target = Target::faulty(fault);
    if !outside {
        return run(&target, scripts).await;
    }
    // Whoever runs a server by hand sets it up for what is tested.
    let mut by_configuration: BTreeMap<&str, Vec<Arc<Script>>> = BTreeMap::new();
    for script in scripts {
        let configuration =
            script.header.export.as_ref().map_or("default", |export| export.node.as_str());
        by_configuration.entry(configuration).or_default().push(script.clone());
    }
    let (mut found, mut failed) = (BTreeSet::new(), false);
    for (configuration, scripts) in by_configuration {
        let access = options(Replies::Default).access;
        // Kept alive until the run is over.
        let Ok(started) = target.start(configuration, access).await else { continue };
        let external = Target::External {
            name: "self".to_owned(),
            address: started.address.clone(),
            export: started.export.clone(),
            security: started.security.clone().map(Box::new),
            insists: false,
        };
        let (ids, fails) = run(&external, &scripts).await;
        found.extend(ids);
        failed |= fails;
        drop(started);
    }
    (found, failed)
}

async fn run(target: &Target, scripts: &[Arc<Script>]) -> (BTreeSet<&'static str>, bool) {
    let (events, _) = tokio::sync::mpsc::unbounded_channel();
    outcome(&run_target(target, scripts, None, &options(Replies::Default), events).await)
}

/// The same of a client.
async fn play_client(
    fault: ClientFault,
    scripts: &[Arc<Script>],
    means: &Means,
) -> (BTreeSet<&'static str>, bool) {
    let (events, _) = tokio::sync::mpsc::unbounded_channel();
    let client = match means {
        Means::Inside => ClientTarget::Faulty(fault),
        Means::Outside(program) => ClientTarget::Command(format!(
            "{} client --fault {fault} {{action}} {{uri}} --offset {{offset}} --length {{length}} --file {{file}}",
            quoted(program)
        )),
    };
    outcome(&run_client(&client, scripts, &options(Replies::Default), events).await)
}

/// The requirements that a run finds broken, and whether a scenario fails.
fn outcome(run: &TargetRun) -> (BTreeSet<&'static str>, bool) {
    let failed = run.outcomes.iter().any(|outcome| outcome.verdict == Verdict::Fail);
    let findings = run.outcomes.iter().flat_map(|outcome| &outcome.findings);
    (findings.map(|finding| finding.requirement.id).collect(), failed)
}
