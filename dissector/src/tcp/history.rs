//! What was handed on not long ago, to tell a retransmission from other bytes in the same place.
//!
//! Of each segment only the beginning is kept: messages begin there, a head fits, and bulk data need
//! not be read for it. What is kept costs: it is mostly not in the processor's cache.

use std::collections::VecDeque;
use std::ops::Range;

use crate::net::Segment;

/// How much of a segment is kept, in bytes.
const KEPT: usize = 32;
/// How many segments of a direction are remembered.
const SEGMENTS: usize = 32;

#[derive(Debug, Clone, Copy)]
struct Sample {
    start: u64,
    print: Print,
    length: u8,
    bytes: [u8; KEPT],
}

/// What tells a packet that was captured twice from one that was sent twice: who sends again, sends
/// another packet of IP.
#[derive(Debug, Clone, Copy)]
pub(super) struct Print {
    pub(super) time_ns: u64,
    acknowledgment: u32,
    /// Of TCP: it covers the options, in which times stand.
    checksum: u16,
    /// That of the IP packet; 0 where there is none.
    id: u16,
}

/// Where IP packets have no number, the same one is captured twice within less than this, and sent
/// twice within more, in nanoseconds.
const SAME_PACKET: u64 = 1_000_000;

impl Print {
    pub(super) fn of(time_ns: u64, segment: &Segment<'_>) -> Self {
        Self {
            time_ns,
            acknowledgment: segment.acknowledgment.unwrap_or(0),
            checksum: segment.checksum_field(),
            id: segment.id,
        }
    }

    /// Whether both are of the same packet, as far as can be said.
    pub(super) fn is_copy_of(self, other: Self) -> bool {
        let known = self.checksum != 0 || self.id != 0;
        known
            && self.checksum == other.checksum
            && self.acknowledgment == other.acknowledgment
            && self.id == other.id
            && (self.id != 0 || self.time_ns.abs_diff(other.time_ns) < SAME_PACKET)
    }
}

/// The last segments of a direction.
#[derive(Debug, Default)]
pub(super) struct History(VecDeque<Sample>);

impl History {
    /// Bytes were handed on that begin at this position, from the packet with this print.
    #[expect(clippy::cast_possible_truncation, reason = "what is kept is shorter than 256 bytes")]
    pub(super) fn remember(&mut self, start: u64, print: Print, bytes: &[u8]) {
        let mut sample = Sample { start, print, length: KEPT as u8, bytes: [0; KEPT] };
        match bytes.first_chunk() {
            Some(head) => sample.bytes = *head,
            None => {
                sample.length = bytes.len() as u8;
                sample.bytes.iter_mut().zip(bytes).for_each(|(to, byte)| *to = *byte);
            }
        }
        if self.0.len() == SEGMENTS {
            self.0.pop_front();
        }
        self.0.push_back(sample);
    }

    /// Whether the packet with this print, which begins at this position, was handed on before.
    pub(super) fn has(&self, start: u64, print: Print) -> bool {
        let mut latest = self.0.iter().rev();
        latest.any(|sample| sample.start == start && print.is_copy_of(sample.print))
    }

    /// Whether bytes at this position differ from what is remembered of them.
    pub(super) fn differs(&self, start: u64, bytes: &[u8]) -> bool {
        let end = start.saturating_add(bytes.len() as u64);
        self.0.iter().any(|sample| {
            let known = sample.bytes.get(..sample.length.into()).unwrap_or_default();
            let (from, to) = (start.max(sample.start), end.min(sample.start + known.len() as u64));
            from < to && part(bytes, start, from..to) != part(known, sample.start, from..to)
        })
    }
}

/// The bytes at these positions, of bytes that begin at `start`.
fn part(bytes: &[u8], start: u64, positions: Range<u64>) -> Option<&[u8]> {
    let place = |position: u64| usize::try_from(position.checked_sub(start)?).ok();
    bytes.get(place(positions.start)?..place(positions.end)?)
}
