//! What becomes of data that was written to an export.

/// What becomes of data that was written, and whether data stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// It was not tried, or could not be.
    Unknown(String),
    /// It reads back: on the same connection, on another one, on a later one.
    Yes,
    /// What is read is neither what was written nor what an empty or immutable device shows: that
    /// is for scenarios to name.
    Wrong(String),
    /// The same block reads differently though nothing was written.
    Changes(String),
    /// Writes succeed and have no effect.
    Nothing(String),
    /// It is gone when the connection is.
    Private(String),
    /// Other connections do not see it, as they need not without `CAN_MULTI_CONN`; later ones do.
    Apart(String),
}

impl Default for Kept {
    fn default() -> Self {
        Self::Unknown("the server was not asked".to_owned())
    }
}
