//! How long after its request a reply was complete.

use std::collections::HashMap;

use crate::session::Seen;

/// Remembers when requests and options came. Beyond its limit the latency of replies to old ones is
/// not known.
pub(crate) struct Latencies {
    /// By session and number.
    asked: HashMap<(u64, u64), u64>,
    limit: usize,
}

impl Latencies {
    /// Remembers up to `limit` requests.
    pub(crate) fn new(limit: usize) -> Self {
        Self { asked: HashMap::new(), limit }
    }

    /// The latency of a reply, in nanoseconds, if its request is known; every message of a session
    /// is to be told.
    pub(crate) fn of(&mut self, session: u64, seen: &Seen) -> Option<u64> {
        let Some(number) = seen.answers else {
            if self.asked.len() >= self.limit {
                self.asked.clear();
            }
            self.asked.insert((session, seen.number), seen.time_ns);
            return None;
        };
        let asked = self.asked.get(&(session, number))?;
        Some(seen.end_ns.saturating_sub(*asked))
    }

    /// The session is over.
    pub(crate) fn forget(&mut self, session: u64) {
        self.asked.retain(|(of, _), _| *of != session);
    }
}
