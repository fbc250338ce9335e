//! Some messages out of many: `--filter`.

mod expression;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use crate::dissect::{Record, SessionInfo, Sink};
use crate::latency::Latencies;
use crate::session::Seen;
use expression::Subject;

pub use expression::{Expression, FilterError};

/// How many requests are remembered for the latency of their replies. Beyond that the latency of
/// old ones is not known.
const REMEMBERED: usize = 1 << 20;

/// Hands on the messages that an expression wants, the violations of those, and the sessions in
/// which there are any. Problems are handed on all: they say what could not be seen.
pub struct Filter<'a, S: ?Sized> {
    inner: &'a mut S,
    expression: &'a Expression,
    latencies: Latencies,
    /// Sessions that have been told of.
    opened: HashSet<u64>,
    /// The message that was handed on last: session and number.
    shown: (u64, u64),
}

impl<'a, S: Sink + ?Sized> Filter<'a, S> {
    /// Hands on to `inner`.
    pub fn new(inner: &'a mut S, expression: &'a Expression) -> Self {
        Self {
            inner,
            expression,
            latencies: Latencies::new(REMEMBERED),
            opened: HashSet::new(),
            shown: (0, 0),
        }
    }

    fn open(&mut self, info: &SessionInfo) {
        if self.opened.insert(info.number) {
            self.inner.record(Record::Opened(info));
        }
    }

    fn message(&mut self, info: &SessionInfo, seen: &Seen) {
        let latency = if self.expression.asks_latency() {
            self.latencies.of(info.number, seen)
        } else {
            None
        };
        let described = seen.message.describe(seen.payload.as_ref());
        let subject = Subject {
            session: info.number,
            time: seen.time_ns.saturating_sub(info.start_ns),
            latency,
            seen,
            described: &described,
        };
        if self.expression.wants(&subject) {
            self.open(info);
            self.shown = (info.number, seen.number);
            self.inner.record(Record::Message(info, seen));
        }
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
            Record::Ended(info, _) | Record::Tls(info, _) => {
                if self.opened.contains(&info.number) {
                    self.inner.record(record);
                }
            }
            Record::Closed(info, _) => {
                self.latencies.forget(info.number);
                if self.opened.remove(&info.number) {
                    self.inner.record(record);
                }
            }
        }
    }

    fn is_done(&self) -> bool {
        self.inner.is_done()
    }
}
