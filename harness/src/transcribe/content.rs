//! What an export holds, as far as a session's own writes tell.

use std::collections::BTreeMap;

use protocol::payload::{Part, Payload};

/// What a stretch reads as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    Zero,
    Fill(u8),
    Place(u16),
    /// Anything.
    Open,
}

/// Stretches by where they begin; what is in none is open.
#[derive(Debug, Default)]
pub(super) struct Content {
    stretches: BTreeMap<u64, (u64, Known)>,
}

impl Content {
    /// From `start` up to `end` it now reads so.
    pub(super) fn set(&mut self, start: u64, end: u64, known: Known) {
        if start >= end {
            return;
        }
        let touched: Vec<(u64, (u64, Known))> = self
            .stretches
            .range(..end)
            .rev()
            .take_while(|(_, (until, _))| *until > start)
            .map(|(from, stretch)| (*from, *stretch))
            .collect();
        for (from, (until, what)) in touched {
            self.stretches.remove(&from);
            if from < start {
                self.stretches.insert(from, (start, what));
            }
            if until > end {
                self.stretches.insert(end, (until, what));
            }
        }
        if known != Known::Open {
            self.stretches.insert(start, (end, known));
        }
    }

    /// A payload that is written at `start`.
    pub(super) fn write(&mut self, start: u64, payload: &Payload) {
        let mut at = start;
        for part in &payload.0 {
            let end = at.saturating_add(part.length());
            let known = match part {
                Part::Zero(_) => Known::Zero,
                Part::Fill(byte, _) => Known::Fill(*byte),
                Part::Place(seed, _) => Known::Place(*seed),
                Part::Hex(_) | Part::Digest(..) | Part::Any(_) => Known::Open,
            };
            self.set(at, end, known);
            at = end;
        }
    }

    /// What a read of this stretch must give.
    pub(super) fn read(&self, start: u64, length: u64) -> Payload {
        let end = start.saturating_add(length);
        let mut parts = Vec::new();
        let mut at = start;
        while at < end {
            let here =
                self.stretches.range(..=at).next_back().filter(|(_, (until, _))| *until > at);
            let (until, known) = match here {
                Some((_, (until, known))) => (*until, *known),
                None => {
                    let next = self.stretches.range(at..).next();
                    (next.map_or(end, |(from, _)| *from), Known::Open)
                }
            };
            let count = until.min(end) - at;
            parts.push(match known {
                Known::Zero => Part::Zero(count),
                Known::Fill(byte) => Part::Fill(byte, count),
                Known::Place(seed) => Part::Place(seed, count),
                Known::Open => Part::Any(count),
            });
            at += count;
        }
        Payload(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_write_cuts_an_earlier_one() {
        let mut content = Content::default();
        content.set(0, 100, Known::Place(1));
        content.set(40, 60, Known::Zero);
        assert_eq!(content.read(30, 40).to_string(), "place(1)*10 ++ zero*20 ++ place(1)*10");
        content.set(50, 200, Known::Open);
        assert_eq!(content.read(0, 70).to_string(), "place(1)*40 ++ zero*10 ++ any*20");
        content.set(60, 64, Known::Fill(7));
        assert_eq!(content.read(50, 20).to_string(), "any*10 ++ fill(0x07)*4 ++ any*6");
    }
}
