//! How the playing of a scenario ends.

use std::collections::BTreeSet;

use super::eval::EvalError;
use crate::finding::Finding;
use crate::link::Entry;

/// How a scenario was played.
#[derive(Debug)]
pub struct Played {
    /// How it ended.
    pub end: Ending,
    /// What was found against the party under test.
    pub findings: Vec<Finding>,
    /// The requirements whose lines were reached.
    pub exercised: BTreeSet<&'static str>,
    /// What was said, of all connections, in order.
    pub transcript: Vec<Entry>,
}

/// How the playing of a scenario ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// At the last line, or at a finding that made going on pointless.
    Done,
    /// The peer does not offer what the scenario needs; the reason quotes the evidence.
    Skipped(String),
    /// What the peer does shows nothing of what the scenario is about; the reason says what it is.
    Unfit(String),
    /// There is no verdict.
    Error(String),
}

/// Why playing stops before the last line.
#[derive(Debug)]
pub(super) enum Stop {
    /// A finding was made.
    Failed,
    /// The peer left, as it may: what is left of the scenario can't be played.
    Left,
    /// See [`Ending::Skipped`].
    Skip(String),
    /// See [`Ending::Unfit`].
    Unfit(String),
    /// See [`Ending::Error`].
    Error(String),
}

impl From<EvalError> for Stop {
    fn from(error: EvalError) -> Self {
        Self::Error(error.message)
    }
}

pub(super) type Flow = Result<(), Stop>;
