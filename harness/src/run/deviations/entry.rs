//! An entry of a record, and what can be wrong with one.

use std::sync::Arc;

use crate::run::versions::Versions;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deviation {
    /// The scenario's id.
    pub scenario: String,
    /// The requirement's id.
    pub requirement: String,
    /// It shows only sometimes, since it is a race inside the peer.
    pub sometimes: bool,
    /// Why it is so, with the section of the specification and the evidence.
    pub reason: String,
    /// Place of the entry: `qemu-nbd.toml:12`.
    pub at: String,
    /// The versions of the peer that do so; `None` for all.
    pub versions: Option<Arc<Versions>>,
}

impl Deviation {
    /// Whether the entry is about this version; what is not known may be any.
    pub(super) fn is_about(&self, version: Option<&str>) -> bool {
        match (&self.versions, version) {
            (Some(versions), Some(version)) => versions.has(version),
            _ => true,
        }
    }
}

/// What a record says.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) entries: Vec<Deviation>,
    /// The versions that somebody examined; none if it is about all.
    pub(super) examined: Vec<Arc<Versions>>,
}

/// Whether a requirement is one of the specification's.
pub(super) fn in_catalogue(requirement: &str) -> Result<(), String> {
    match protocol::requirements::find(requirement) {
        Some(_) => Ok(()),
        None => Err(format!("`{requirement}` is not in the catalogue")),
    }
}

/// A record that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviationError {
    /// A line of a record with one entry per line.
    #[error("{at}: {message}\nhint: an entry is `SCENARIO REQUIREMENT [sometimes] # reason`")]
    Line {
        /// Path and line.
        at: String,
        /// What is wrong.
        message: String,
    },
    /// A record in TOML.
    #[error(
        "{at}: {message}\nhint: an entry is `[[known]]` with `scenario`, `requirement` and `reason`, and perhaps `versions`, `evidence` and `sometimes = true`"
    )]
    Record {
        /// Path, and the line if it is known.
        at: String,
        /// What is wrong.
        message: String,
    },
}
