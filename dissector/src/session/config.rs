//! How a session is followed.

use protocol::codec::Limits;

/// Where a session is joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Start {
    /// Before its first byte.
    #[default]
    Greeting,
    /// Somewhere in transmission: requests, and the replies to them, are told as they are found, and
    /// nothing is judged.
    Midway,
}

/// What is told of bulk besides its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Recognize {
    /// Nothing, which costs nothing.
    Nothing,
    /// Only where a read contradicts an earlier write: [`ProblemKind::DataDiffers`].
    Contradictions,
    /// Its form: a pattern, or a digest.
    #[default]
    Form,
    /// Its form, and how it begins where that is a digest: [`Seen::head`].
    FormAndHead,
}

/// How a session is followed.
#[derive(Debug, Clone)]
pub struct Config {
    /// How much of a message is kept; what is longer is bulk.
    pub limits: Limits,
    /// Where the session is joined.
    pub start: Start,
    /// What is told of bulk.
    pub recognize: Recognize,
    /// How many requests may be in flight before replies are no longer correlated.
    pub in_flight: usize,
    /// Whether it is told when a server is silent for long with requests in flight.
    pub silences: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            start: Start::Greeting,
            recognize: Recognize::Form,
            in_flight: 1 << 16,
            silences: false,
        }
    }
}
