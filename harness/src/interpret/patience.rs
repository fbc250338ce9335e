//! How long it is worth waiting for a peer that has stayed silent before.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use protocol::requirements::id;
use protocol::values::{Command, OptionType};

use crate::finding::Sent;

/// How many scenarios must have waited in vain for the same thing before the wait is cut.
const SEEN: usize = 3;
/// How many silences in all make a peer one that is known to stay silent: then one for the same
/// cause is enough.
const SEEN_IN_ALL: usize = 9;
/// What a wait is cut to, unless the peer is slower than that when it does answer.
const CUT: Duration = Duration::from_secs(1);
/// What the wait for a close after `NBD_CMD_DISC` is cut to where it decides nothing.
const CUT_FAREWELL: Duration = Duration::from_millis(50);
/// How much longer than the slowest answer so far a cut wait is.
const MARGIN: u32 = 4;

/// How many messages are listened to that have no other limit.
const MESSAGES: u64 = 20_000;
/// How many bytes of such messages.
const BYTES: u64 = 4 << 20;
/// How many messages where the same had no end before.
const MESSAGES_AGAIN: u64 = 500;
/// How many bytes of them.
const BYTES_AGAIN: u64 = 256 << 10;

/// The rules that silence breaks in transmission.
const IN_TRANSMISSION: [&str; 2] = [id::DISC_SERVER_CLOSES, id::REPLY_ONE_PER_REQUEST];

/// What a silence follows, and the rule that it breaks.
pub(crate) type Cause = (Sent, &'static str);

/// A connection that is kept after `NBD_CMD_DISC`.
const STAYING: Cause = (Sent::Request(Command::DISC), id::DISC_SERVER_CLOSES);

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
    /// What was answered without end.
    endless: HashSet<Sent>,
    /// The survey had no answer to any request.
    unserved: bool,
    /// A request was answered.
    served: bool,
    /// Scenarios after whose farewell the peer did not close.
    farewells: usize,
    /// Connections that came about.
    connected: u32,
    /// Those of them that the peer ended before it had said anything.
    turned_away: u32,
    slowest: Duration,
}

impl Known {
    fn is_unserved(&self) -> bool {
        self.unserved && !self.served
    }
}

impl Patience {
    /// How long to wait for what follows this cause, at most `full`.
    pub(crate) fn wait(&self, cause: Cause, full: Duration) -> Duration {
        let known = self.known();
        let seen = known.silences.get(&cause).copied().unwrap_or(0);
        let unserved = known.is_unserved() && IN_TRANSMISSION.contains(&cause.1);
        if unserved || seen >= SEEN || (seen > 0 && known.in_all >= SEEN_IN_ALL) {
            full.min(CUT.max(known.slowest.saturating_mul(MARGIN)))
        } else {
            full
        }
    }

    /// How long to wait in transmission for what is not owed, at most `full`.
    pub(crate) fn idle(&self, full: Duration) -> Duration {
        if self.known().is_unserved() { full.min(CUT) } else { full }
    }

    /// A scenario has waited in vain.
    pub(crate) fn silent(&self, cause: Cause) {
        let mut known = self.known();
        *known.silences.entry(cause).or_default() += 1;
        known.in_all += 1;
    }

    /// The survey has waited in vain, alone with the peer: nobody need do so at such length again.
    pub(crate) fn surveyed(&self, option: OptionType) {
        let cause = (Sent::Option(option), id::OPTION_REPLY_ONE_FINAL);
        *self.known().silences.entry(cause).or_default() += SEEN;
    }

    /// The survey had no answer to any request, alone with the peer.
    pub(crate) fn unserved(&self) {
        self.known().unserved = true;
    }

    /// What was sent was answered without end.
    pub(crate) fn endless(&self, sent: Sent) {
        self.known().endless.insert(sent);
    }

    /// How many messages, and how many bytes of them, are listened to in answer to this: less where
    /// such an answer has had no end before.
    pub(crate) fn hears(&self, sent: Sent) -> (u64, u64) {
        match self.known().endless.contains(&sent) {
            true => (MESSAGES_AGAIN, BYTES_AGAIN),
            false => (MESSAGES, BYTES),
        }
    }

    /// A request was answered.
    pub(crate) fn served(&self) {
        self.known().served = true;
    }

    /// Whether any request was answered.
    pub(crate) fn is_served(&self) -> bool {
        self.known().served
    }

    /// An answer came after this long.
    pub(crate) fn answered(&self, took: Duration) {
        let mut known = self.known();
        known.slowest = known.slowest.max(took);
    }

    /// How long to wait for a close after the farewell that decides nothing, at most `full`.
    pub(crate) fn farewell(&self, full: Duration) -> Duration {
        let known = self.known();
        if known.farewells < SEEN { full } else { full.min(CUT_FAREWELL) }
    }

    /// The peer did not close at the end of a scenario.
    pub(crate) fn stayed_open(&self) {
        self.known().farewells += 1;
    }

    /// The survey has waited in vain for a close after `NBD_CMD_DISC`, alone with the peer.
    pub(crate) fn stays_open(&self) {
        let mut known = self.known();
        known.farewells += SEEN;
        *known.silences.entry(STAYING).or_default() += SEEN;
    }

    /// A connection came about.
    pub(crate) fn connected(&self) {
        self.known().connected += 1;
    }

    /// The peer has ended one before it had said anything.
    pub(crate) fn turned_away(&self) {
        self.known().turned_away += 1;
    }

    /// On how many connections nothing was said before the peer ended them, and of how many.
    pub(crate) fn hung_up(&self) -> (u32, u32) {
        let known = self.known();
        (known.turned_away, known.connected)
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
    fn a_peer_that_answers_no_request_costs_no_full_waits_until_it_does() {
        let patience = Patience::default();
        patience.unserved();
        let disc = (Sent::Request(Command::DISC), "disc-server-closes");
        let waits = [patience.wait(READ, FULL), patience.wait(disc, FULL), patience.idle(FULL)];
        assert_eq!(waits, [CUT; 3]);
        let list = (Sent::Option(OptionType::LIST), "option-reply-one-final");
        assert_eq!(patience.wait(list, FULL), FULL);
        patience.served();
        assert_eq!(patience.wait(READ, FULL), FULL);
    }

    #[test]
    fn an_answer_without_end_is_heard_out_once() {
        let patience = Patience::default();
        let (list, info) = (Sent::Option(OptionType::LIST), Sent::Option(OptionType::INFO));
        patience.endless(list);
        assert_eq!(patience.hears(list), (MESSAGES_AGAIN, BYTES_AGAIN));
        assert_eq!(patience.hears(info), (MESSAGES, BYTES));
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
