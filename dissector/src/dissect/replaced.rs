//! What is left of a connection whose place another one took, between the same addresses.
//!
//! Mostly that is nothing: a port is used again. But two VLANs may have the same addresses, and a
//! capture of both has two connections at once. Tags do not tell them apart for sure, as the two
//! directions of one connection may pass different VLANs, and so may copies of a packet; the
//! numbers do. The connection that came first is no longer followed, which is told, and leaves the
//! other one alone.

use protocol::message::{Both, Side};

use crate::net::Segment;

/// The numbers with which a connection would go on.
pub(super) struct Replaced {
    /// What each side would send next, if that is known.
    pub(super) next: Both<Option<u32>>,
    pub(super) told: bool,
}

impl Replaced {
    /// Whether a segment goes on exactly where the connection was.
    pub(super) fn takes(&mut self, from: Side, segment: &Segment<'_>) -> bool {
        if segment.syn && segment.acknowledgment.is_none() {
            return false; // begins the other one
        }
        let fits = match self.next[from] {
            Some(next) => next == segment.sequence,
            // The answer to its SYN.
            None => {
                segment.acknowledgment.is_some()
                    && segment.acknowledgment == self.next[from.other()]
            }
        };
        if fits {
            let flags = u32::from(segment.syn) + u32::from(segment.fin);
            let length = u32::try_from(segment.length()).unwrap_or(u32::MAX).wrapping_add(flags);
            self.next[from] = Some(segment.sequence.wrapping_add(length));
        }
        fits
    }
}
