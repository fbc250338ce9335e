//! What the dissector is asked for, and what it tells.

use std::net::SocketAddr;

use protocol::message::{Both, Side};

use super::counts::Counts;
use crate::capture::ReadError;
use crate::session::{Close, Recognize, Seen, Violation};
use crate::tls::{KeyLog, Parameters};

/// What to look for.
#[derive(Debug, Clone)]
pub struct Options {
    /// TCP ports of NBD servers besides 10809. On other ports a session is recognised by the
    /// server's greeting.
    pub ports: Vec<u16>,
    /// What is told of payloads; just their length is faster.
    pub recognize: Recognize,
    /// Secrets that TLS is opened with, besides those that the capture holds.
    pub keys: KeyLog,
}

impl Default for Options {
    fn default() -> Self {
        Self { ports: Vec::new(), recognize: Recognize::Form, keys: KeyLog::default() }
    }
}

/// A session: one TCP connection that carries NBD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionInfo {
    /// Counts from 1 in the order of first appearance.
    pub number: u64,
    /// The client's address.
    pub client: SocketAddr,
    /// The server's address.
    pub server: SocketAddr,
    /// When its first packet was captured, in nanoseconds since 1970 (UTC).
    pub start_ns: u64,
}

/// What an observer should know besides messages and violations: what could not be seen, or not
/// be understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// A word for programs: `gap`, `cut-file`.
    pub kind: &'static str,
    /// When, in nanoseconds since 1970 (UTC).
    pub time_ns: u64,
    /// One line for people; begins with the kind where it is an event of the notation: `gap 1448
    /// bytes from the server`.
    pub text: String,
}

/// What a session or a whole capture comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Sessions in the capture; 1 for a session.
    pub sessions: u64,
    /// Messages of the client and of the server.
    pub messages: Both<u64>,
    /// Bytes of the client's and of the server's stream.
    pub bytes: Both<u64>,
    /// How many violations bind (MUST, MUST NOT).
    pub violations: u64,
    /// How many do not (SHOULD, SHOULD NOT).
    pub warnings: u64,
    /// How many problems; that a server was silent is none.
    pub problems: u64,
    /// Bytes that were judged.
    pub judged: u64,
    /// Bytes that could not be: missing, inside TLS that was not opened, or not followed; and those of
    /// which it is not known what they answer.
    pub unjudged: u64,
    /// How many packets came with nothing but bytes that had come before.
    pub retransmitted: u64,
    /// How many packets with payload were captured more than once.
    pub copies: u64,
    /// Time of the first packet.
    pub start_ns: u64,
    /// Time of the last packet.
    pub end_ns: u64,
    /// How many messages of each kind and name.
    pub counts: Counts,
}

impl Totals {
    /// Adds those of another session or capture.
    pub fn add(&mut self, other: &Self) {
        for side in [Side::Client, Side::Server] {
            self.messages[side] += other.messages[side];
            self.bytes[side] = self.bytes[side].saturating_add(other.bytes[side]);
        }
        if self.sessions == 0 {
            self.start_ns = other.start_ns;
        }
        self.sessions += other.sessions;
        self.violations += other.violations;
        self.warnings += other.warnings;
        self.problems += other.problems;
        self.judged = self.judged.saturating_add(other.judged);
        self.unjudged = self.unjudged.saturating_add(other.unjudged);
        self.retransmitted += other.retransmitted;
        self.copies += other.copies;
        self.start_ns = self.start_ns.min(other.start_ns);
        self.end_ns = self.end_ns.max(other.end_ns);
        self.counts.add(&other.counts);
    }
}

/// How a direction of a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Whose bytes end.
    pub from: Side,
    /// When, in nanoseconds since 1970 (UTC).
    pub time_ns: u64,
    /// In order or not.
    pub how: Close,
}

/// TLS is open: what follows was inside of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TlsOpened {
    /// When, in nanoseconds since 1970 (UTC).
    pub time_ns: u64,
    /// Version and cipher suite.
    pub parameters: Parameters,
}

/// What the dissector tells, in the order in which it became known.
#[derive(Debug, Clone, Copy)]
pub enum Record<'a> {
    /// A session begins.
    Opened(&'a SessionInfo),
    /// A message is complete.
    Message(&'a SessionInfo, &'a Seen),
    /// The messages that follow were inside TLS.
    Tls(&'a SessionInfo, &'a TlsOpened),
    /// A rule was broken.
    Violation(&'a SessionInfo, &'a Violation),
    /// Something could not be seen or understood; without a session it concerns the file.
    Problem(Option<&'a SessionInfo>, &'a Note),
    /// A side closes its direction, or resets both.
    Ended(&'a SessionInfo, Ended),
    /// A session is over, or the capture is.
    Closed(&'a SessionInfo, &'a Totals),
}

impl Record<'_> {
    /// The number of the session that it is about.
    #[must_use]
    pub fn session(&self) -> Option<u64> {
        match self {
            Self::Opened(info)
            | Self::Message(info, _)
            | Self::Tls(info, _)
            | Self::Violation(info, _)
            | Self::Ended(info, _)
            | Self::Closed(info, _) => Some(info.number),
            Self::Problem(info, _) => info.map(|info| info.number),
        }
    }
}

/// Takes records: a renderer, a counter, a test.
pub trait Sink {
    /// The next record.
    fn record(&mut self, record: Record<'_>);

    /// The records that follow became known with the packet of this number, which counts from 1 as
    /// other tools do; with 0 at the end of the capture.
    fn at_frame(&mut self, _number: u64) {}

    /// The next record, which is a message. Who keeps messages may keep this one.
    fn message(&mut self, session: &SessionInfo, seen: Seen) {
        self.record(Record::Message(session, &seen));
    }

    /// Whether it matters if messages come at all; all else comes in any case.
    fn wants_messages(&self) -> bool {
        true
    }

    /// Whether no more records are wanted, as when the reader of a pipe has gone.
    fn is_done(&self) -> bool {
        false
    }
}

/// What reading a capture came to.
pub(super) struct End {
    /// How many sessions there were.
    pub(super) sessions: u64,
    /// The time of the last packet.
    pub(super) last_ns: u64,
    /// Whether it was read to its end, or as far as the sink wanted.
    pub(super) result: Result<(), ReadError>,
}
