//! Reads that contradict writes, told only where no other session in the capture may have written.

use std::net::SocketAddr;

use dissector::dissect::{SessionInfo, Totals};
use protocol::describe::Kind;

/// So many are kept until the end of a capture; more are counted.
const KEPT: usize = 1000;
/// In a capture of more sessions nothing is told.
const SESSIONS: usize = 1 << 14;
/// Requests that change nothing.
const HARMLESS: [&str; 5] =
    ["NBD_CMD_READ", "NBD_CMD_FLUSH", "NBD_CMD_CACHE", "NBD_CMD_BLOCK_STATUS", "NBD_CMD_DISC"];

/// What is told once all sessions are known.
#[derive(Default)]
pub(super) struct Contradictions {
    kept: Vec<(u64, String)>,
    more: u64,
    sessions: Vec<Span>,
    /// There were more sessions than are kept.
    crowded: bool,
}

/// When a session was, and with whom.
struct Span {
    number: u64,
    server: SocketAddr,
    start_ns: u64,
    end_ns: u64,
    /// Whether it wrote, or not all of it was seen.
    may_write: bool,
}

impl Span {
    /// Whether this may have changed what `other` reads. A server may have several addresses, and
    /// serve the same from several ports.
    fn may_disturb(&self, other: &Self) -> bool {
        let same =
            self.server.ip() == other.server.ip() || self.server.port() == other.server.port();
        let meet = self.start_ns <= other.end_ns && other.start_ns <= self.end_ns;
        self.number != other.number && self.may_write && same && meet
    }
}

impl Contradictions {
    /// A read of a session contradicts a write.
    pub(super) fn add(&mut self, session: u64, text: &str) {
        if self.kept.len() < KEPT {
            self.kept.push((session, text.to_owned()));
        } else {
            self.more += 1;
        }
    }

    /// A session is over.
    pub(super) fn closed(&mut self, info: &SessionInfo, totals: &Totals) {
        if self.sessions.len() == SESSIONS {
            self.crowded = true;
            return;
        }
        let wrote = totals.counts.by_kind().keys().any(|(kind, name)| {
            let request = [Kind::Request, Kind::ExtendedRequest].contains(kind);
            request && !HARMLESS.contains(&name.as_str())
        });
        self.sessions.push(Span {
            number: info.number,
            server: info.server,
            start_ns: info.start_ns,
            end_ns: totals.end_ns,
            may_write: wrote || totals.problems > 0,
        });
    }

    /// What is to be told, by session, and how many more there are.
    pub(super) fn told(self) -> (Vec<(u64, String)>, u64) {
        let Self { mut kept, more, sessions, crowded } = self;
        kept.retain(|(number, _)| {
            if crowded {
                return false;
            }
            let judged = sessions.iter().find(|span| span.number == *number);
            judged.is_some_and(|span| !sessions.iter().any(|other| other.may_disturb(span)))
        });
        let more = if kept.is_empty() { 0 } else { more };
        (kept, more)
    }
}
