//! One session out of many.

use crate::dissect::{Record, Sink};

/// Hands on what concerns one session, or the file as a whole.
pub struct Only<'a, S: ?Sized> {
    /// Where to.
    inner: &'a mut S,
    session: Option<u64>,
    closed: bool,
}

impl<'a, S: Sink + ?Sized> Only<'a, S> {
    /// Hands on the session with this number; all of them for `None`.
    pub fn new(inner: &'a mut S, session: Option<u64>) -> Self {
        Self { inner, session, closed: false }
    }
}

impl<S: Sink + ?Sized> Sink for Only<'_, S> {
    fn record(&mut self, record: Record<'_>) {
        match (self.session, record.session()) {
            (Some(wanted), Some(number)) if wanted != number => return,
            _ => {}
        }
        self.closed |= self.session.is_some() && matches!(record, Record::Closed(..));
        self.inner.record(record);
    }

    fn wants_messages(&self) -> bool {
        self.inner.wants_messages()
    }

    fn at_frame(&mut self, number: u64) {
        self.inner.at_frame(number);
    }

    fn is_done(&self) -> bool {
        self.closed || self.inner.is_done()
    }
}
