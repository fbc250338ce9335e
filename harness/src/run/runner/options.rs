//! What a run allows and asks for.

use std::time::Duration;

use super::halt::Limits;
use crate::capture::Captures;
use crate::run::target::Access;
use crate::script::ast::{Replies, Segmentation};

/// What a run allows and asks for.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Scenarios may write to an external target. Servers that the harness starts hold nobody's
    /// data and are always written to.
    pub write: bool,
    /// Hazardous scenarios may run against an external target.
    pub hazard: bool,
    /// How many scenarios at once.
    pub jobs: usize,
    /// How long one wait may take.
    pub timeout: Duration,
    /// Where captures go.
    pub capture: Option<Captures>,
    /// The form of replies that scenarios negotiate when they leave it open.
    pub replies: Replies,
    /// How messages are cut when scenarios leave it open.
    pub segmentation: Segmentation,
    /// How servers are reached.
    pub access: Access,
    /// The command line that a failure's `again` begins with.
    pub again: String,
    /// Outcomes keep what was said.
    pub keep: bool,
    /// When it ends before the last scenario.
    pub limits: Limits,
}
