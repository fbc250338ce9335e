//! Records that wait to be told.

use std::sync::mpsc::SyncSender;

use super::super::flow::Order;
use super::super::{Ended, Note, Record, SessionInfo, Sink, TlsOpened, Totals};
use crate::capture::Mapping;
use crate::session::{Seen, Violation};

/// How many records are handed on at once; few in tests.
const CHUNK: usize = if cfg!(test) { 2 } else { 512 };

/// When a record was made. Lanes share no packet and no connection, so that two of them never have
/// the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// With the packet of this number.
    Packet(u64),
    /// After the last packet, when this connection was brought to an end.
    End(Order),
    /// After everything.
    Over,
}

/// A record, and the number that its session has in its lane.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) place: Place,
    /// 0 for none.
    pub(super) session: u64,
    pub(super) what: What,
}

/// The records of [`Record`], owned.
#[derive(Debug)]
pub(super) enum What {
    Opened(Box<SessionInfo>),
    Message(Seen),
    Tls(TlsOpened),
    Violation(Violation),
    Problem(Note),
    Ended(Ended),
    Closed(Box<Totals>),
}

/// Records of a lane, and how far it has come.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) records: Vec<Kept>,
    /// No record of an earlier place will follow.
    pub(super) through: Place,
    /// A window that the lane is done with. Giving it back to the system takes a while, and the
    /// merger's thread mostly has less to do.
    pub(super) window: Option<Mapping>,
}

/// Keeps what a lane tells, and hands it on in chunks.
pub(super) struct Keeper {
    pub(super) place: Place,
    records: Vec<Kept>,
    chunks: SyncSender<Chunk>,
    messages: bool,
    /// Nobody takes any more.
    unwanted: bool,
}

impl Keeper {
    /// Hands on to this; `messages`: these as well.
    pub(super) fn new(chunks: SyncSender<Chunk>, messages: bool) -> Self {
        Self { place: Place::Packet(0), records: Vec::new(), chunks, messages, unwanted: false }
    }

    fn keep(&mut self, session: u64, what: What) {
        self.records.push(Kept { place: self.place, session, what });
        if self.records.len() >= CHUNK {
            self.hand_on(
                match self.place {
                    // Of connections only the merger knows the order.
                    Place::End(_) => Place::Packet(u64::MAX),
                    place => place,
                },
                None,
            );
        }
    }

    /// Hands on what there is, and a window that is done with; what follows is of this place or a later one.
    pub(super) fn hand_on(&mut self, through: Place, window: Option<Mapping>) {
        let next = Vec::with_capacity(self.records.len());
        let records = std::mem::replace(&mut self.records, next);
        self.unwanted |= self.chunks.send(Chunk { records, through, window }).is_err();
    }
}

impl Sink for Keeper {
    fn record(&mut self, record: Record<'_>) {
        let session = record.session().unwrap_or(0);
        let what = match record {
            Record::Opened(info) => What::Opened(Box::new(info.clone())),
            Record::Message(_, seen) => What::Message(seen.clone()),
            Record::Tls(_, opened) => What::Tls(*opened),
            Record::Violation(_, violation) => What::Violation(violation.clone()),
            Record::Problem(_, note) => What::Problem(note.clone()),
            Record::Ended(_, ended) => What::Ended(ended),
            Record::Closed(_, totals) => What::Closed(Box::new(totals.clone())),
        };
        self.keep(session, what);
    }

    fn message(&mut self, session: &SessionInfo, seen: Seen) {
        if self.messages {
            self.keep(session.number, What::Message(seen));
        }
    }

    fn is_done(&self) -> bool {
        self.unwanted
    }
}
