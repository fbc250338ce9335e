//! What the head of a message says about its frame.

use super::written::Compare;

/// What the judge of a message's head says about its frame.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Verdict {
    /// The number of what it answers.
    pub(super) answers: Option<u64>,
    /// How much bulk follows, in bytes.
    pub(super) bulk: u64,
    /// Where in the export the bulk belongs, in bytes.
    pub(super) at: u64,
    /// What to compare it with.
    pub(super) compare: Option<Compare>,
}
