//! What asking brings: facts, and why there are none.

use std::fmt;
use std::time::Duration;

use crate::link::{End, seconds};

/// What the survey knows of one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact<T> {
    /// It is known; with the line of the server that shows it.
    Known(T, String),
    /// The server refuses; with the line that does.
    Refused(String),
    /// It is not known; with the reason.
    Unknown(String),
}

impl<T> Fact<T> {
    /// The value, if it is known.
    #[must_use]
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value, _) => Some(value),
            Self::Refused(_) | Self::Unknown(_) => None,
        }
    }
}

impl<T> Default for Fact<T> {
    fn default() -> Self {
        Self::Unknown("the server was not asked".to_owned())
    }
}

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// There is no connection.
    Unreachable(String),
    /// Nothing came for so long.
    Silent(Duration),
    /// The connection ended, or the server sent bytes that are not a message.
    Ended(End),
    /// The connection ended before the server had said anything.
    TurnedAway(End),
    /// What came is no answer to the question.
    Unexpected(String),
    /// More came than is listened to.
    Flood,
    /// The handshake of TLS failed.
    NoTls(String),
    /// There is no way to ask.
    NoWay(&'static str),
    /// The survey has taken as long as it may.
    NoTime,
}

impl NoAnswer {
    /// Nothing came, or a part of the answer and then nothing. A server that is slow, and sends on, is
    /// not silent.
    pub(super) fn is_silence(&self) -> bool {
        match self {
            Self::Silent(_) => true,
            Self::Ended(End::Stalled(part, _)) => !part.trickles,
            _ => false,
        }
    }
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) | Self::NoTls(why) => f.write_str(why),
            Self::Silent(limit) => write!(f, "no answer within {}", seconds(*limit)),
            Self::Ended(end) | Self::TurnedAway(end) => write!(f, "no answer, {}", ending(*end)),
            Self::Unexpected(line) => write!(f, "no answer, but {line}"),
            Self::Flood => f.write_str("no end of what the server says"),
            Self::NoWay(why) => f.write_str(why),
            Self::NoTime => f.write_str("not asked: the questions took too long"),
        }
    }
}

/// How a wait ended, after a comma.
pub(super) fn ending(end: End) -> String {
    match end {
        End::Close | End::Notified => "the server closed the connection".to_owned(),
        End::CutOff(part) => {
            format!("the server closed the connection in the middle of a message: {part}")
        }
        End::Reset => "the server reset the connection".to_owned(),
        End::Timeout(waited) => format!("nothing came for {}", seconds(waited)),
        End::Stalled(part, waited) if part.trickles => format!("{part} within {}", seconds(waited)),
        End::Stalled(part, waited) => format!("{part}, then nothing for {}", seconds(waited)),
        End::Garbage(magic) => format!("the server sent bytes that are not a message: {magic}"),
        End::Endless(_) => "no end of what the server says".to_owned(),
        End::TooLarge(bytes) => format!("a message with {bytes} bytes of payload came"),
    }
}

/// Why there is nothing to test.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// There is no connection.
    #[error("{0}")]
    Unreachable(String),
    /// There is a connection, and nothing is said on it.
    #[error(
        "no greeting comes from {address} within {}: it does not speak NBD, or is busy",
        seconds(*.limit)
    )]
    NoGreeting {
        /// Where it listens.
        address: String,
        /// How long it was waited for.
        limit: Duration,
    },
    /// The connection ends before a greeting.
    #[error("no greeting comes from {address}: {how}")]
    Closed {
        /// Where it listens.
        address: String,
        /// How it ended.
        how: String,
    },
    /// It answered once, and can't be reached any more.
    #[error(
        "the server can't be reached any more after one session: {why}\nhint: it must keep running after a client disconnects (qemu-nbd: `-t`); if it died, `--server 'CMD'` shows why"
    )]
    OneSession {
        /// What it was asked last.
        last: &'static str,
        /// How it is known.
        why: String,
    },
    /// It answered for a while, and can't be reached any more.
    #[error("the server stopped answering after the survey; last asked for: {last}; {why}")]
    Gone {
        /// What it was asked last.
        last: &'static str,
        /// How it is known.
        why: String,
    },
    /// TLS is a must and can't be had.
    #[error("{0}")]
    NoTls(String),
    /// The export can't be entered.
    #[error("{0}")]
    Export(String),
}

impl Trouble {
    /// What a server was asked last that had answered before, and answers no more.
    #[must_use]
    pub fn last(&self) -> Option<&'static str> {
        match self {
            Self::OneSession { last, .. } | Self::Gone { last, .. } => Some(last),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::Part;

    #[test]
    fn a_server_that_stops_amid_an_answer_is_silent_and_one_that_trickles_is_not() {
        let limit = Duration::from_secs(5);
        let stalled = |trickles| {
            let part = Part { came: 16, of: 20, data: None, trickles };
            NoAnswer::Ended(End::Stalled(part, limit))
        };
        assert!(NoAnswer::Silent(limit).is_silence());
        assert!(stalled(false).is_silence());
        assert!(!stalled(true).is_silence());
        assert!(!NoAnswer::Ended(End::Close).is_silence());
    }
}
