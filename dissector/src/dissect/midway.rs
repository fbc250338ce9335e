//! Sessions that began before the capture: what they are shows only after a while.

use super::live::Live;
use super::{Note, Sink};
use crate::plural::Plural;
use crate::tcp::Delivery;
use crate::tls::Midway;

/// A session that is met midway, as long as no message of NBD was found in it.
#[derive(Default)]
pub(super) struct Joined {
    records: Midway,
    /// It is inside TLS.
    is_tls: bool,
}

impl Live {
    /// Whether a session that began before the capture is found to be inside TLS: then what is
    /// delivered is not for the judge, but for the ends of directions.
    pub(super) fn is_midway_tls<S: Sink>(&mut self, delivery: &Delivery<'_>, sink: &mut S) -> bool {
        let Some(joined) = &mut self.joined else { return false };
        match *delivery {
            Delivery::Data { from, bytes, .. } => joined.records.take(from, bytes),
            Delivery::Gap { from, .. } => joined.records.gap(from),
            _ => return false,
        }
        if !joined.is_tls && joined.records.is_tls() {
            joined.is_tls = true;
            self.note_midway(
                sink,
                "the session began before the capture, inside TLS; records are counted, and the \
                 handshake is missing that would name their keys",
            );
            return true;
        }
        joined.is_tls
    }

    /// A message was found in a session that began before the capture, or it ends without.
    pub(super) fn is_midway_nbd<S: Sink>(&mut self, sink: &mut S) {
        if self.joined.as_ref().is_some_and(|joined| !joined.is_tls) {
            self.joined = None;
            self.note_midway(
                sink,
                "the session began before the capture; requests and the replies to them are \
                 decoded, and not judged",
            );
        }
    }

    /// Nothing more will come.
    pub(super) fn finish_midway<S: Sink>(&mut self, sink: &mut S) {
        self.is_midway_nbd(sink);
        if let Some(joined) = self.joined.take() {
            let records = Plural(joined.records.records(), "record");
            let text = format!("tls, no handshake: {records} not opened");
            self.note(sink, Note { kind: "encrypted", time_ns: self.totals.end_ns, text });
        }
    }

    fn note_midway<S: Sink>(&mut self, sink: &mut S, text: &str) {
        let time_ns = self.info.start_ns;
        self.note(sink, Note { kind: "mid-session", time_ns, text: text.to_owned() });
    }
}
