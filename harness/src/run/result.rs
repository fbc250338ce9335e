//! How a target comes out, and what happens meanwhile.

use std::time::{Duration, SystemTime};

use super::Outcome;
use super::milestones::Offer;

/// What happens during a run, as it happens.
#[derive(Debug, Clone)]
pub enum Event {
    /// A scenario has begun.
    Started {
        /// Its id.
        id: String,
    },
    /// A scenario has come to its end.
    Done(Box<Outcome>),
    /// Something that people want to know while they wait.
    Note(String),
}

/// How a target came out.
#[derive(Debug, Clone)]
pub struct TargetRun {
    /// Its name.
    pub name: String,
    /// Its version, if known.
    pub version: Option<String>,
    /// Where it listened, if that is one place.
    pub address: Option<String>,
    /// What prevented a verdict: unreachable, not started, dead at the end.
    pub problem: Option<String>,
    /// That is: the server stopped answering while it was asked what it offers. A scenario that it
    /// stopped at fails, and says so.
    pub stopped: bool,
    /// Each scenario, by id.
    pub outcomes: Vec<Outcome>,
    /// What a server was seen to offer; empty for clients.
    pub offers: Vec<Offer>,
    /// When it began.
    pub started: SystemTime,
    /// How long it all took.
    pub duration: Duration,
}

impl TargetRun {
    /// Of a target that was not tested, and why.
    #[must_use]
    pub fn unplayed(name: &str, problem: &str) -> Self {
        Self { problem: Some(problem.to_owned()), ..Self::new(name) }
    }

    /// Of a target of which nothing is known yet.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: None,
            address: None,
            problem: None,
            stopped: false,
            outcomes: Vec::new(),
            offers: Vec::new(),
            started: SystemTime::now(),
            duration: Duration::ZERO,
        }
    }
}
