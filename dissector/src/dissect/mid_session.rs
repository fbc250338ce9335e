//! Sessions that began before the capture: what they are shows only after a while.

use super::Note;
use crate::plural::Plural;
use crate::tcp::Delivery;
use crate::tls::RecordSearch;

/// A session that is met in its midst, as long as no message of NBD was found in it.
#[derive(Default)]
pub(super) struct MidSession {
    records: RecordSearch,
    /// It is inside TLS.
    is_tls: bool,
}

/// What a delivery says about such a session.
pub(super) enum Met {
    /// Nothing new: it is for the judge.
    Open,
    /// It is inside TLS: what is delivered is not for the judge.
    Inside,
    /// The same, and that is told for the first time.
    FoundInside(&'static str),
}

impl MidSession {
    /// Looks for records of TLS.
    pub(super) fn take(&mut self, delivery: &Delivery<'_>) -> Met {
        match *delivery {
            Delivery::Data { from, bytes, .. } => self.records.take(from, bytes),
            Delivery::Gap { from, .. } => self.records.gap(from),
            _ => return Met::Open,
        }
        if self.is_tls {
            return Met::Inside;
        }
        if !self.records.is_tls() {
            return Met::Open;
        }
        self.is_tls = true;
        Met::FoundInside(
            "the session began before the capture, inside TLS; records are counted, and the \
             handshake is missing that would name their keys",
        )
    }

    /// Whether it is found to be inside TLS.
    pub(super) fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// What is told of one that stayed inside TLS.
    pub(super) fn ended(&self, time_ns: u64) -> Note {
        let records = Plural(self.records.records(), "record");
        let text = format!("tls, no handshake: {records} not opened");
        Note { kind: "encrypted", time_ns, text }
    }
}
