//! How a wait ends without a message.

use std::io;
use std::time::Duration;

use dissector::render::Plural;
use protocol::codec::BadMagic;

/// How a wait ended without a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The peer closed in an orderly way, between messages.
    Close,
    /// The peer ended TLS by its `close_notify`, between messages.
    Notified,
    /// The peer closed in the middle of a message.
    CutOff(Part),
    /// The peer reset the connection.
    Reset,
    /// Nothing came for as long as it was waited.
    Timeout(Duration),
    /// A part of a message came, and then nothing for as long as it was waited.
    Stalled(Part, Duration),
    /// What came can't be the next message.
    Garbage(BadMagic),
    /// The message is larger than the harness takes in.
    TooLarge(u64),
    /// So many messages, and no end of what they answer.
    Endless(u64),
}

/// A time in seconds, to the millisecond: `5 s`, `0.25 s`.
pub(crate) fn seconds(waited: Duration) -> String {
    format!("{} s", (waited.as_secs_f64() * 1000.0).round() / 1000.0)
}

/// What came of a message that did not come whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// How many of its bytes came.
    pub came: u64,
    /// How many it has, as far as what came tells.
    pub of: u64,
    /// How many of these are data, if that is known.
    pub data: Option<u64>,
    /// Some of it came late in the wait: it trickles.
    pub trickles: bool,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { came, of, data, .. } = self;
        let of_bytes = Plural(*of, "byte");
        match data {
            Some(data) if *data > 0 => {
                let there = came.saturating_sub(of.saturating_sub(*data));
                let announced = Plural(*data, "byte");
                write!(
                    f,
                    "announced {announced} of data, {there} came ({came} of {of_bytes} of the message)"
                )
            }
            _ => write!(f, "{came} of {of_bytes} came"),
        }
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Close => f.write_str("close: the peer closed the connection"),
            Self::Notified => f.write_str("close: the peer ended TLS and closed the connection"),
            Self::CutOff(part) => {
                write!(f, "close: the peer closed in the middle of a message: {part}")
            }
            Self::Reset => f.write_str("reset: the peer reset the connection"),
            Self::Timeout(waited) => write!(f, "timeout: nothing for {}", seconds(*waited)),
            Self::Stalled(part, waited) => {
                let seconds = seconds(*waited);
                match part.trickles {
                    true => write!(f, "timeout: {part} within {seconds}"),
                    false => write!(f, "timeout: {part}, then nothing for {seconds}"),
                }
            }
            Self::Garbage(magic) => write!(f, "garbage: {magic}"),
            Self::TooLarge(bytes) => write!(f, "a message with {bytes} bytes of payload"),
            Self::Endless(messages) => {
                write!(f, "no end: {} came, and no end of the answer", Plural(*messages, "message"))
            }
        }
    }
}

/// What an error of a read means for the connection, and what to note.
pub(super) fn end_of(error: &io::Error) -> (End, String) {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            (End::Close, "-- the peer closes without ending TLS".to_owned())
        }
        // An alert, or bytes that are no TLS: nothing more can be read.
        io::ErrorKind::InvalidData => (End::Close, format!("-- the peer breaks TLS off: {error}")),
        _ => (End::Reset, "-- the peer resets".to_owned()),
    }
}
