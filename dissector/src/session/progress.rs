//! What the chunks of a reply told so far.

use std::ops::Range;

use super::coverage::Coverage;

/// How many content chunks, error offsets and context ids of one reply are kept.
const LIMIT: usize = 1024;

/// A reply of several chunks, as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Content that was sent.
    pub(super) content: Coverage,
    /// The content chunks, one by one; at most [`LIMIT`].
    pieces: Vec<Range<u64>>,
    /// How many content chunks came.
    pub(super) content_chunks: u64,
    /// The offsets of errors; at most [`LIMIT`].
    pub(super) error_offsets: Vec<u64>,
    /// An error chunk without offset came.
    pub(super) error: bool,
    /// An error chunk with offset came.
    pub(super) error_offset: bool,
    /// An error chunk of an unknown type, or one that can't be read, came.
    pub(super) other_error: bool,
    /// NBD_EOVERFLOW came.
    pub(super) overflow: bool,
    /// The contexts whose status came; at most [`LIMIT`].
    pub(super) contexts: Vec<u32>,
    /// A chunk broke a MUST: what is incomplete because of that is not told again.
    pub(super) broken: bool,
}

impl Progress {
    /// Whether an error chunk came.
    pub(super) fn failed(&self) -> bool {
        self.error || self.error_offset || self.other_error
    }

    /// A content chunk; gives back what it overlaps.
    pub(super) fn add_content(&mut self, range: Range<u64>) -> Option<Range<u64>> {
        self.content_chunks += 1;
        if self.pieces.len() < LIMIT {
            self.pieces.push(range.clone());
        }
        self.content.add(range)
    }

    /// The content chunk that holds this offset.
    pub(super) fn piece(&self, offset: u64) -> Option<&Range<u64>> {
        self.pieces.iter().find(|piece| piece.contains(&offset))
    }

    /// The offset of an error.
    pub(super) fn add_error_offset(&mut self, offset: u64) {
        self.error_offset = true;
        if self.error_offsets.len() < LIMIT {
            self.error_offsets.push(offset);
        }
    }

    /// The status of a context.
    pub(super) fn add_context(&mut self, id: u32) {
        if self.contexts.len() < LIMIT {
            self.contexts.push(id);
        }
    }

    /// Whether it is worth keeping for later use.
    pub(super) fn is_small(&self) -> bool {
        self.content.capacity() + self.pieces.capacity() <= 256
    }

    pub(super) fn clear(&mut self) {
        let Self { content, pieces, error_offsets, contexts, .. } = std::mem::take(self);
        *self = Self { content, pieces, error_offsets, contexts, ..Self::default() };
        self.content.clear();
        self.pieces.clear();
        self.error_offsets.clear();
        self.contexts.clear();
    }
}
