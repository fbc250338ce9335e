//! How long after its request a reply was complete.

use std::collections::HashMap;

use crate::session::Seen;

/// A packet that is older than the one before by more than this was captured by another clock, or
/// by one that was set, in nanoseconds. Packets are shuffled by less.
pub(crate) const STEP: u64 = 500_000_000;

/// How long something took, in nanoseconds; `None` where the clock stepped back meanwhile.
pub(crate) fn between(start_ns: u64, end_ns: u64) -> Option<u64> {
    let back = start_ns.saturating_sub(end_ns);
    (back <= STEP).then(|| end_ns.saturating_sub(start_ns))
}

/// Remembers when requests and options came. Beyond its limit the latency of replies to old ones is
/// not known.
pub(crate) struct Latencies {
    /// By session and number.
    asked: HashMap<u64, HashMap<u64, u64>>,
    /// How many these are.
    count: usize,
    limit: usize,
}

impl Latencies {
    /// Remembers up to `limit` requests.
    pub(crate) fn new(limit: usize) -> Self {
        Self { asked: HashMap::new(), count: 0, limit }
    }

    /// The latency of a reply, in nanoseconds, if its request is known; every message of a session
    /// is to be told.
    pub(crate) fn of(&mut self, session: u64, seen: &Seen) -> Option<u64> {
        let Some(number) = seen.answers else {
            if self.count >= self.limit {
                self.asked.clear();
                self.count = 0;
            }
            let old = self.asked.entry(session).or_default().insert(seen.number, seen.time_ns);
            self.count += usize::from(old.is_none());
            return None;
        };
        let asked = self.asked.get(&session)?.get(&number)?;
        between(*asked, seen.end_ns)
    }

    /// The session is over.
    pub(crate) fn forget(&mut self, session: u64) {
        self.count -= self.asked.remove(&session).map_or(0, |asked| asked.len());
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
