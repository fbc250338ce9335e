//! How long after its request a reply was complete.

use std::collections::HashMap;

use crate::session::Seen;

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
        Some(seen.end_ns.saturating_sub(*asked))
    }

    /// The session is over.
    pub(crate) fn forget(&mut self, session: u64) {
        self.count -= self.asked.remove(&session).map_or(0, |asked| asked.len());
    }
}
