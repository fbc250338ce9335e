//! The metadata contexts that a client has selected.

use protocol::text::WireString;

/// How many selected contexts are followed.
pub(super) const LIMIT: usize = 1024;

/// What is known about the status of a context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    BaseAllocation,
    /// Any other context of the namespace `base`, whose status has 32 bits.
    OtherBase,
    DirtyBitmap,
    AllocationDepth,
    Unknown,
}

/// A selected context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) id: u32,
    pub(super) meaning: Meaning,
}

/// The contexts that NBD_OPT_SET_META_CONTEXT selected.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Selection {
    /// The export for which; `None` when that was not seen.
    pub(super) export: Option<WireString>,
    pub(super) contexts: Vec<Context>,
}

impl Selection {
    /// Whether anything is selected.
    pub(super) fn is_some(&self) -> bool {
        !self.contexts.is_empty()
    }
}
