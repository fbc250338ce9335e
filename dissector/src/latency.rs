//! How long after its request a reply was complete.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::session::Seen;

/// A packet that is older than the one before by more than this was captured by another clock, or
/// by one that was set, in nanoseconds. Packets are shuffled by less.
pub(crate) const STEP: u64 = 500_000_000;

/// How long something took, in nanoseconds; `None` where the clock stepped back meanwhile.
pub(crate) fn between(start_ns: u64, end_ns: u64) -> Option<u64> {
    let back = start_ns.saturating_sub(end_ns);
    (back <= STEP).then(|| end_ns.saturating_sub(start_ns))
}

/// Remembers when requests and options came: as many of the latest as its limit says at least, and
/// twice as many at most. The latency of replies to older ones is not known.
pub(crate) struct Latencies {
    /// By session and number.
    recent: Asked,
    /// Those before.
    older: Asked,
    limit: usize,
}

type Asked = HashMap<(u64, u64), u64, RandomState>;

impl Latencies {
    /// Remembers the last `limit` requests.
    pub(crate) fn new(limit: usize) -> Self {
        Self { recent: Asked::default(), older: Asked::default(), limit }
    }

    /// The latency of a reply, in nanoseconds, if its request is known; every message of a session
    /// is to be told.
    pub(crate) fn of(&mut self, session: u64, seen: &Seen) -> Option<u64> {
        let Some(number) = seen.answers else {
            if self.recent.len() >= self.limit {
                // Its memory is used again.
                std::mem::swap(&mut self.recent, &mut self.older);
                self.recent.clear();
            }
            self.recent.insert((session, seen.number), seen.time_ns);
            return None;
        };
        let key = (session, number);
        let asked = self.recent.get(&key).or_else(|| self.older.get(&key))?;
        between(*asked, seen.end_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_stepped_back_gives_no_latency() {
        assert_eq!(between(5, 9), Some(4));
        // Shuffled packets.
        assert_eq!(between(9, 5), Some(0));
        assert_eq!(between(2_000_000_000, 5), None);
    }
}
