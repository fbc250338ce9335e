//! Which bytes of a read were sent.

use std::ops::Range;

/// How many separate runs are kept.
const LIMIT: usize = 1 << 12;

/// A set of bytes, as sorted runs that do not touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Coverage {
    runs: Vec<Range<u64>>,
    /// More runs came than are kept: nothing can be said.
    overflow: bool,
}

impl Coverage {
    /// Adds bytes; gives back the first run that has some of them already.
    pub(super) fn add(&mut self, new: Range<u64>) -> Option<Range<u64>> {
        if self.overflow || new.is_empty() {
            return None;
        }
        // Mostly the chunks come in order.
        match self.runs.last_mut() {
            Some(last) if last.end == new.start => {
                last.end = new.end;
                return None;
            }
            Some(last) if last.end > new.start => {}
            _ => {
                self.push(self.runs.len(), new);
                return None;
            }
        }
        let at = self.runs.partition_point(|run| run.end < new.start);
        let later = self.runs.iter().skip(at);
        let touching = later.take_while(|run| run.start <= new.end).count();
        let touched = self.runs.get(at..at + touching).unwrap_or_default();
        let overlap =
            touched.iter().find(|run| run.start < new.end && new.start < run.end).cloned();
        match touched {
            [] => self.push(at, new),
            [first, ..] => {
                let end = touched.last().map_or(new.end, |last| last.end.max(new.end));
                let merged = first.start.min(new.start)..end;
                self.runs.splice(at..at + touching, [merged]);
            }
        }
        overlap
    }

    fn push(&mut self, at: usize, new: Range<u64>) {
        if self.runs.len() < LIMIT {
            self.runs.insert(at, new);
        } else {
            self.overflow = true;
        }
    }

    /// The first byte of `wanted` that is missing, as far as can be said.
    pub(super) fn first_missing(&self, wanted: Range<u64>) -> Option<u64> {
        if self.overflow || wanted.is_empty() {
            return None;
        }
        let run = self.runs.iter().find(|run| run.end > wanted.start);
        match run {
            Some(run) if run.start <= wanted.start && run.end >= wanted.end => None,
            Some(run) if run.start <= wanted.start => Some(run.end),
            _ => Some(wanted.start),
        }
    }

    /// How many bytes of memory it keeps for later use.
    pub(super) fn capacity(&self) -> usize {
        self.runs.capacity()
    }

    pub(super) fn clear(&mut self) {
        self.runs.clear();
        self.overflow = false;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn finds_overlap_and_the_first_missing_byte() {
        let mut coverage = Coverage::default();
        assert_eq!(coverage.add(512..1024), None);
        assert_eq!(coverage.add(2048..4096), None);
        assert_eq!(coverage.add(0..512), None);
        assert_eq!(coverage.first_missing(0..4096), Some(1024));
        assert_eq!(coverage.add(1000..1500), Some(0..1024));
        assert_eq!(coverage.add(1500..2048), None);
        assert_eq!(coverage.first_missing(0..4096), None);
        assert_eq!(coverage.first_missing(0..4097), Some(4096));
    }

    proptest! {
        #[test]
        fn agrees_with_a_map_of_bytes(ranges: Vec<(u8, u8)>) {
            let mut map = [false; 512];
            let mut coverage = Coverage::default();
            for (start, length) in ranges {
                let range = usize::from(start)..usize::from(start) + usize::from(length);
                let taken = map[range.clone()].contains(&true);
                let overlap = coverage.add(range.start as u64..range.end as u64);
                prop_assert_eq!(overlap.is_some(), taken);
                map[range].fill(true);
            }
            let missing = map.iter().position(|covered| !covered).map(|at| at as u64);
            prop_assert_eq!(coverage.first_missing(0..512), missing);
        }
    }
}
