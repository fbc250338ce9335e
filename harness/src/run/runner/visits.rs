//! Who is at a server at the same time as who.

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use protocol::values::OptionType;

use crate::finding::{EventKind, Sent};
use crate::run::survey::Capabilities;

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
    /// It saw that connections stay after `NBD_CMD_DISC`.
    stays_open: bool,
}

/// One of them; the visit ends when it is dropped.
pub(super) struct Visit<'v> {
    visits: &'v Visits,
    met: bool,
    number: u64,
}

impl Visits {
    /// To a server that the survey has shown to be like this.
    pub(super) fn to(known: &Capabilities) -> Self {
        let Capabilities { silent, unserved, stays_open, .. } = known;
        let (unserved, stays_open) = (*unserved, *stays_open);
        Self { silent: silent.clone(), unserved, stays_open, ..Self::default() }
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
            (_, EventKind::Timeout, sent) if self.stays_open && sent.is_farewell() => true,
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
    use protocol::values::Command;

    use super::*;

    #[test]
    fn what_the_survey_got_no_answer_to_is_nobody_elses_doing() {
        let silent = BTreeSet::from([OptionType::LIST]);
        let known = Capabilities { silent, stays_open: true, ..Capabilities::default() };
        let visits = Visits::to(&known);
        let disc = Sent::Request(Command::DISC);
        assert!(visits.is_known(&[("disc-server-closes", EventKind::Timeout, disc)]));
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
