//! What was handed on not long ago, to tell a retransmission from other bytes in the same place.
//!
//! Of each segment only the beginning is kept: messages begin there, a head fits, and bulk data need
//! not be read for it. What is kept costs: it is mostly not in the processor's cache.

use std::collections::VecDeque;

/// How much of a segment is kept, in bytes.
const KEPT: usize = 32;
/// How many segments of a direction are remembered.
const SEGMENTS: usize = 32;

#[derive(Debug, Clone, Copy)]
struct Sample {
    start: u64,
    length: u8,
    bytes: [u8; KEPT],
}

/// The last segments of a direction.
#[derive(Debug, Default)]
pub(super) struct History(VecDeque<Sample>);

impl History {
    /// Bytes were handed on that begin at this position.
    pub(super) fn remember(&mut self, start: u64, bytes: &[u8]) {
        let length = bytes.len().min(KEPT);
        let mut sample = Sample { start, length: length as u8, bytes: [0; KEPT] };
        match bytes.first_chunk() {
            Some(head) => sample.bytes = *head,
            None => sample.bytes[..length].copy_from_slice(bytes),
        }
        if self.0.len() == SEGMENTS {
            self.0.pop_front();
        }
        self.0.push_back(sample);
    }

    /// Whether bytes at this position differ from what is remembered of them.
    pub(super) fn differs(&self, start: u64, bytes: &[u8]) -> bool {
        let end = start.saturating_add(bytes.len() as u64);
        self.0.iter().any(|sample| {
            let known = &sample.bytes[..usize::from(sample.length)];
            let (from, to) = (start.max(sample.start), end.min(sample.start + known.len() as u64));
            from < to
                && bytes[(from - start) as usize..(to - start) as usize]
                    != known[(from - sample.start) as usize..(to - sample.start) as usize]
        })
    }
}
