//! A stretch of an export and its status.

/// A stretch of an export with one status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Length in bytes.
    pub length: u64,
    /// Meaning depends on the context.
    pub status: u64,
}
