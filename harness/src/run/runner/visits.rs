//! Who is at a server at the same time as who.

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use protocol::values::OptionType;

use crate::finding::{EventKind, Sent};

/// A rule, in what form its breach showed, and after what.
pub(super) type Cause = (&'static str, EventKind, Sent);

/// Counts those who use a server.
#[derive(Debug, Default)]
pub(super) struct Visits {
    present: AtomicU64,
    begun: AtomicU64,
    /// What was seen without anybody else there.
    alone: Mutex<HashSet<Cause>>,
    /// The options that the survey got no answer to.
    silent: BTreeSet<OptionType>,
    /// Nor did it get one to a request.
    unserved: bool,
}

/// One of them; the visit ends when it is dropped.
pub(super) struct Visit<'v> {
    visits: &'v Visits,
    met: bool,
    number: u64,
}

impl Visits {
    /// To a server that left the survey without an answer to these options, or to requests.
    pub(super) fn to(silent: BTreeSet<OptionType>, unserved: bool) -> Self {
        Self { silent, unserved, ..Self::default() }
    }

    /// Somebody comes.
    pub(super) fn begin(&self) -> Visit<'_> {
        let met = self.present.fetch_add(1, Ordering::SeqCst) > 0;
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        Visit { visits: self, met, number }
    }

    /// Whether all of these were seen without anybody else there: they are the server's own.
    pub(super) fn is_known(&self, causes: &[Cause]) -> bool {
        let alone = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |cause: &Cause| match cause {
            (_, EventKind::Timeout, Sent::Option(option)) if self.silent.contains(option) => true,
            (_, EventKind::Timeout | EventKind::Stalled, Sent::Request(_)) if self.unserved => true,
            cause => alone.contains(cause),
        };
        !causes.is_empty() && causes.iter().all(known)
    }

    /// These were.
    pub(super) fn learn(&self, causes: Vec<Cause>) {
        self.alone.lock().unwrap_or_else(PoisonError::into_inner).extend(causes);
    }
}

impl Visit<'_> {
    /// Whether others were there in the meantime.
    pub(super) fn has_met_others(&self) -> bool {
        self.met || self.visits.begun.load(Ordering::SeqCst) != self.number
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.visits.present.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_survey_got_no_answer_to_is_nobody_elses_doing() {
        let visits = Visits::to(BTreeSet::from([OptionType::LIST]), false);
        let silence = |option| ("baseline-list", EventKind::Timeout, Sent::Option(option));
        assert!(visits.is_known(&[silence(OptionType::LIST)]));
        assert!(!visits.is_known(&[silence(OptionType::LIST), silence(OptionType::INFO)]));
        assert!(!visits.is_known(&[]));
    }

    #[test]
    fn who_overlaps_has_met() {
        let visits = Visits::default();
        let first = visits.begin();
        assert!(!first.has_met_others());
        let second = visits.begin();
        assert!(first.has_met_others() && second.has_met_others());
        drop(first);
        assert!(second.has_met_others());
        drop(second);
        assert!(!visits.begin().has_met_others());
    }
}
