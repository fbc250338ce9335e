//! How long it is worth waiting for a peer that has stayed silent before.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use protocol::values::OptionType;

use crate::finding::Sent;

/// How many scenarios must have waited in vain for the same thing before the wait is cut.
const SEEN: usize = 3;
/// How many silences in all make a peer one that is known to stay silent: then one for the same
/// cause is enough.
const SEEN_IN_ALL: usize = 9;
/// What a wait is cut to, unless the peer is slower than that when it does answer.
const CUT: Duration = Duration::from_secs(1);
/// What the wait for a close after `NBD_CMD_DISC` is cut to at the end of a scenario: it decides
/// nothing.
const CUT_FAREWELL: Duration = Duration::from_millis(50);
/// How much longer than the slowest answer so far a cut wait is.
const MARGIN: u32 = 4;

/// What a silence follows, and the rule that it breaks.
pub(crate) type Cause = (Sent, &'static str);

/// What a run has learnt about waiting for its peer. A peer that leaves one kind of message
/// unanswered in scenario after scenario costs the full wait a few times only.
#[derive(Debug, Default)]
pub struct Patience {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    silences: HashMap<Cause, usize>,
    in_all: usize,
    /// Scenarios after whose farewell the peer did not close.
    farewells: usize,
    slowest: Duration,
}

impl Patience {
    /// How long to wait for what follows this cause, at most `full`.
    pub(crate) fn wait(&self, cause: Cause, full: Duration) -> Duration {
        let known = self.known();
        let seen = known.silences.get(&cause).copied().unwrap_or(0);
        if seen >= SEEN || (seen > 0 && known.in_all >= SEEN_IN_ALL) {
            full.min(CUT.max(known.slowest.saturating_mul(MARGIN)))
        } else {
            full
        }
    }

    /// A scenario has waited in vain.
    pub(crate) fn silent(&self, cause: Cause) {
        let mut known = self.known();
        *known.silences.entry(cause).or_default() += 1;
        known.in_all += 1;
    }

    /// The survey has waited in vain, alone with the peer: nobody need do so at such length again.
    pub(crate) fn surveyed(&self, option: OptionType) {
        let cause = (Sent::Option(option), "option-reply-one-final");
        *self.known().silences.entry(cause).or_default() += SEEN;
    }

    /// An answer came after this long.
    pub(crate) fn answered(&self, took: Duration) {
        let mut known = self.known();
        known.slowest = known.slowest.max(took);
    }

    /// How long to wait for the close at the end of a scenario, at most `full`.
    pub(crate) fn farewell(&self, full: Duration) -> Duration {
        let known = self.known();
        if known.farewells < SEEN { full } else { full.min(CUT_FAREWELL.max(known.slowest)) }
    }

    /// The peer did not close at the end of a scenario.
    pub(crate) fn stayed_open(&self) {
        self.known().farewells += 1;
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        // Numbers are whole, whoever panicked with the lock.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use protocol::values::Command;

    use super::*;

    const FULL: Duration = Duration::from_secs(5);
    const READ: Cause = (Sent::Request(Command::READ), "reply-one-per-request");
    const WRITE: Cause = (Sent::Request(Command::WRITE), "reply-one-per-request");

    #[test]
    fn the_same_silence_three_times_cuts_its_wait_and_no_other() {
        let patience = Patience::default();
        for _ in 0..SEEN {
            assert_eq!(patience.wait(READ, FULL), FULL);
            patience.silent(READ);
        }
        assert_eq!(patience.wait(READ, FULL), CUT);
        assert_eq!(patience.wait(WRITE, FULL), FULL);
        assert_eq!(patience.wait(READ, CUT / 2), CUT / 2);
    }

    #[test]
    fn what_the_survey_got_no_answer_to_costs_no_more_full_waits() {
        let patience = Patience::default();
        patience.surveyed(OptionType::LIST);
        let list = (Sent::Option(OptionType::LIST), "option-reply-one-final");
        assert_eq!(patience.wait(list, FULL), CUT);
        let info = (Sent::Option(OptionType::INFO), "option-reply-one-final");
        assert_eq!(patience.wait(info, FULL), FULL);
    }

    #[test]
    fn a_peer_that_is_slow_keeps_its_time() {
        let patience = Patience::default();
        patience.answered(Duration::from_millis(900));
        (0..SEEN).for_each(|_| patience.silent(READ));
        assert_eq!(patience.wait(READ, FULL), Duration::from_millis(3600));
        patience.answered(Duration::from_secs(3));
        assert_eq!(patience.wait(READ, FULL), FULL);
    }

    #[test]
    fn a_peer_that_is_silent_all_over_costs_each_cause_once() {
        let patience = Patience::default();
        (0..SEEN_IN_ALL).for_each(|_| patience.silent(READ));
        assert_eq!(patience.wait(WRITE, FULL), FULL);
        patience.silent(WRITE);
        assert_eq!(patience.wait(WRITE, FULL), CUT);
    }
}
