//! What is known of one direction of a connection.

use std::collections::BTreeMap;

use super::history::{History, Print};
use super::sequence::{ORIGIN, expand};

/// A reset this far from what was seen of its direction is none of this connection: a late one of
/// another, or a guess. How far a receiver would look is not known, as its window may be scaled.
const REACH: u64 = 1 << 20;

/// A segment that came too early.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) time_ns: u64,
    pub(super) bytes: Box<[u8]>,
    pub(super) missing: u32,
    /// Up to where the other direction must have been handed on before.
    pub(super) needs: u64,
    pub(super) fin: bool,
    pub(super) print: Print,
    /// It may be damaged, and then comes again.
    pub(super) doubtful: bool,
}

impl Held {
    /// The position behind it, where it begins at `start`.
    pub(super) fn end(&self, start: u64) -> u64 {
        start.saturating_add(self.bytes.len() as u64).saturating_add(u64::from(self.missing))
    }
}

#[derive(Debug, Default)]
pub(super) struct Direction {
    /// Position of the next byte to hand on, if anything is known yet.
    pub(super) next: Option<u64>,
    /// Up to where the other side has acknowledged.
    pub(super) acknowledged: u64,
    pub(super) held: BTreeMap<u64, Held>,
    pub(super) history: History,
    pub(super) ended: bool,
    /// A SYN, or what acknowledges one, has said where the direction begins.
    pub(super) sure: bool,
    /// Something of it was handed on.
    pub(super) begun: bool,
}

impl Direction {
    /// A SYN says that the direction begins with this number, or what acknowledges one does.
    pub(super) fn begins_with(&mut self, sequence: u32) {
        if !self.begun {
            let position = |next| expand(next, sequence);
            self.next = Some(self.next.map_or(ORIGIN + u64::from(sequence), position));
        }
        self.sure = true;
    }

    /// The position of a number; the first one that is seen is taken for the direction's beginning.
    pub(super) fn position(&mut self, sequence: u32) -> u64 {
        expand(*self.next.get_or_insert(ORIGIN + u64::from(sequence)), sequence)
    }

    /// Where a direction begins of which only numbers in its midst were seen: with the lowest one.
    pub(super) fn begins_before(&mut self, position: u64) {
        if !self.sure && !self.begun {
            self.next = self.next.map(|next| next.min(position));
        }
    }

    /// Whether a reset with this number can be one of this connection. Its number says up to where
    /// its sender had come, or what the other side had acknowledged some time ago.
    pub(super) fn is_reset_by(&self, sequence: u32) -> bool {
        self.next.is_none_or(|next| {
            let latest = self.held.last_key_value().map_or(next, |(start, held)| held.end(*start));
            let latest = latest.max(self.acknowledged).max(next);
            let number = expand(next, sequence);
            number.saturating_add(REACH) >= next && number <= latest.saturating_add(REACH)
        })
    }

    /// Whether a reset at this position is one that its receiver obeys at once: it has the number of the
    /// next byte that the receiver waits for.
    pub(super) fn is_exactly_reset_by(&self, start: u64) -> bool {
        let ends = |(at, held): (&u64, &Held)| held.end(*at) + u64::from(held.fin) == start;
        start == self.acknowledged
            || self.next.is_none_or(|next| start == next)
            || self.held.last_key_value().is_some_and(ends)
    }

    /// Whether a segment that may be damaged waits for what its receiver makes of it.
    pub(super) fn awaits(&self, start: u64, held: &Held) -> bool {
        let from = self.next.map_or(start, |next| next.max(start));
        held.doubtful && held.end(start) > from && self.acknowledged <= from
    }

    /// Whether the receiver got bytes that have not been handed on.
    pub(super) fn is_behind(&self) -> bool {
        !self.ended && self.next.is_some_and(|next| self.acknowledged > next)
    }

    /// Whether the next byte is missing although later ones are there.
    pub(super) fn has_hole(&self) -> bool {
        match (self.next, self.held.first_key_value()) {
            (Some(next), Some((start, _))) => *start > next,
            _ => false,
        }
    }
}
