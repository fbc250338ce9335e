//! Some messages out of many: `--filter`.

mod error;
mod expression;
mod fields;
mod read;
#[cfg(test)]
mod tests;
mod units;
mod values;

use std::collections::{HashMap, HashSet};

use protocol::message::{Message, Side};
use protocol::values::ReplyFlags;

use crate::dissect::{Ended, Record, SessionInfo, Sink, TlsOpened};
use crate::latency::Latencies;
use crate::session::Seen;
use expression::Subject;

pub use error::FilterError;
pub use expression::Expression;
pub use fields::fields;

/// How many requests are remembered for the latency of their replies, at least, and how many that
/// were chosen.
const REMEMBERED: usize = 1 << 19;

/// Hands on the messages that an expression wants, the violations of those, and of the sessions in
/// which there are any what is about them as a whole: their beginning, where TLS was opened, the ends
/// of their directions, and what they come to. Problems are handed on all: they say what could not be
/// seen.
pub struct Filter<'a, S: ?Sized> {
    inner: &'a mut S,
    expression: &'a Expression,
    latencies: Latencies,
    /// Sessions that have been told of.
    opened: HashSet<u64>,
    /// What there is to tell of others once something in them is wanted. Of each it is little: TLS
    /// is opened once and two directions end.
    unopened: HashMap<u64, Vec<Whole>>,
    /// The message that was handed on last: session and number.
    shown: (u64, u64),
    /// Where requests are chosen: those without a whole answer, by session.
    chosen: Option<HashMap<u64, HashSet<u64>>>,
}

/// What is about a session as a whole.
enum Whole {
    Tls(TlsOpened),
    Ended(Ended),
}

impl Whole {
    fn record<'a>(&'a self, info: &'a SessionInfo) -> Record<'a> {
        match self {
            Self::Tls(opened) => Record::Tls(info, opened),
            Self::Ended(ended) => Record::Ended(info, *ended),
        }
    }
}

impl<'a, S: Sink + ?Sized> Filter<'a, S> {
    /// Hands on to `inner`.
    pub fn new(inner: &'a mut S, expression: &'a Expression) -> Self {
        Self {
            inner,
            expression,
            latencies: Latencies::new(REMEMBERED),
            opened: HashSet::new(),
            unopened: HashMap::new(),
            shown: (0, 0),
            chosen: None,
        }
    }

    /// The same, but the expression chooses requests and options only, and what answers one that is
    /// chosen is handed on with it.
    pub fn of_requests(inner: &'a mut S, expression: &'a Expression) -> Self {
        Self { chosen: Some(HashMap::new()), ..Self::new(inner, expression) }
    }

    fn open(&mut self, info: &SessionInfo) {
        if self.opened.insert(info.number) {
            self.inner.record(Record::Opened(info));
            for whole in self.unopened.remove(&info.number).unwrap_or_default() {
                self.inner.record(whole.record(info));
            }
        }
    }

    fn whole(&mut self, info: &SessionInfo, whole: Whole) {
        if self.opened.contains(&info.number) {
            self.inner.record(whole.record(info));
        } else {
            self.unopened.entry(info.number).or_default().push(whole);
        }
    }

    /// Whether a message is wanted because of what it answers; `None` where that does not matter.
    fn answers_chosen(&mut self, info: &SessionInfo, seen: &Seen) -> Option<bool> {
        let (chosen, answered) = (self.chosen.as_mut()?, seen.answers?);
        let Some(chosen) = chosen.get_mut(&info.number) else { return Some(false) };
        Some(if is_last(&seen.message) {
            chosen.remove(&answered)
        } else {
            chosen.contains(&answered)
        })
    }

    /// Whether the expression wants a message.
    fn wants(&mut self, info: &SessionInfo, seen: &Seen) -> bool {
        let latency = if self.expression.asks_latency() {
            self.latencies.of(info.number, seen)
        } else {
            None
        };
        let described = seen.describe();
        let subject = Subject {
            session: info.number,
            time: seen.time_ns.saturating_sub(info.start_ns),
            latency,
            seen,
            described: &described,
        };
        self.expression.wants(&subject)
    }

    fn message(&mut self, info: &SessionInfo, seen: &Seen) {
        let wanted = match self.answers_chosen(info, seen) {
            Some(wanted) => wanted,
            None => self.wants(info, seen),
        };
        if !wanted {
            return;
        }
        if let Some(chosen) = &mut self.chosen
            && seen.from == Side::Client
        {
            let chosen = chosen.entry(info.number).or_default();
            if chosen.len() >= REMEMBERED {
                chosen.clear();
            }
            chosen.insert(seen.number);
        }
        self.open(info);
        self.shown = (info.number, seen.number);
        self.inner.record(Record::Message(info, seen));
    }
}

/// Whether a reply is the last one to its request or option.
fn is_last(message: &Message) -> bool {
    match message {
        Message::OptionReply(reply) => reply.reply.is_final(),
        Message::Chunk(chunk) => chunk.flags.has(ReplyFlags::DONE),
        _ => true,
    }
}

impl<S: Sink + ?Sized> Sink for Filter<'_, S> {
    fn record(&mut self, record: Record<'_>) {
        match record {
            Record::Opened(_) => {}
            Record::Message(info, seen) => self.message(info, seen),
            Record::Violation(info, violation) => {
                if self.shown == (info.number, violation.message) {
                    self.inner.record(record);
                }
            }
            Record::Problem(info, _) => {
                if let Some(info) = info {
                    self.open(info);
                }
                self.inner.record(record);
            }
            Record::Ended(info, ended) => self.whole(info, Whole::Ended(ended)),
            Record::Tls(info, opened) => self.whole(info, Whole::Tls(*opened)),
            Record::Closed(info, _) => {
                if let Some(chosen) = &mut self.chosen {
                    chosen.remove(&info.number);
                }
                self.unopened.remove(&info.number);
                if self.opened.remove(&info.number) {
                    self.inner.record(record);
                }
            }
        }
    }

    fn at_frame(&mut self, number: u64) {
        self.inner.at_frame(number);
    }

    fn is_done(&self) -> bool {
        self.inner.is_done()
    }
}
