//! Waiting for secrets.

/// Whether secrets are waited for that were not there when they were needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Wait {
    /// They were not needed yet.
    #[default]
    NotYet,
    /// The connection stands still.
    Now,
    Over,
}
