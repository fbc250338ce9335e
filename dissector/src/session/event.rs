//! What a session tells.

use protocol::describe::Description;
use protocol::message::{Message, Side};
use protocol::payload::Payload;
use protocol::requirements::Requirement;

/// How a direction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Close {
    /// In order: FIN, end of file, or TLS's close.
    End,
    /// By a reset: bytes may have been lost.
    Reset,
}

/// Something that a session has to tell, in the order in which it became known. The violations of a
/// message follow the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A message is complete, with all its bulk.
    Message(Seen),
    /// A party broke a rule.
    Violation(Violation),
    /// Something that is nobody's fault, or can't be judged.
    Problem(Problem),
}

/// How much is kept of bulk that only a digest describes, where that is asked for: in bytes.
pub const HEAD: usize = 16;

/// A message as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Counts the messages of the session from 1, both directions together, in the order in which
    /// they were complete.
    pub number: u64,
    /// When its first byte was seen.
    pub time_ns: u64,
    /// When its last byte was seen.
    pub end_ns: u64,
    /// Who sent it.
    pub from: Side,
    /// Where it begins in that direction's bytes; inside TLS these count from 0 again.
    pub offset: u64,
    /// Its length in bytes, with its bulk.
    pub length: u64,
    /// Whether it came inside TLS.
    pub tls: bool,
    /// The message without its bulk.
    pub message: Message,
    /// The bulk: recognised, or just its length where that was not asked for or bytes are missing.
    /// When the message was cut off, only what came.
    pub payload: Option<Payload>,
    /// The first bytes of bulk that is told by a digest, at most [`HEAD`]; `None` where that was not
    /// asked for.
    pub head: Option<Box<[u8]>>,
    /// The number of the request or option that it answers. `None` also when that one was not
    /// complete yet.
    pub answers: Option<u64>,
    /// The keys of what is not known of it, since the capture cut its packet short.
    pub unknown: &'static [&'static str],
}

impl Seen {
    /// What it says, without what is not known.
    #[must_use]
    pub fn describe(&self) -> Description {
        let mut description = self.message.describe(self.payload.as_ref());
        if !self.unknown.is_empty() {
            description.fields.retain(|field| !self.unknown.contains(&field.key));
        }
        description
    }
}

/// A rule that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The number of the message that breaks it. For what is not a message (garbage, a close): the
    /// number of the party's last message, 0 if it sent none.
    pub message: u64,
    /// When it became evident.
    pub time_ns: u64,
    /// Where the message begins in the bytes of who sent it; for what is not a message, how far the
    /// party's bytes had come.
    pub offset: u64,
    /// What was broken.
    pub requirement: &'static Requirement,
    /// Who broke it.
    pub party: Side,
    /// What is wrong, in one line, in the words of the notation.
    pub text: String,
    /// The field to mark: a key of [`Message::describe`].
    pub field: Option<&'static str>,
}

/// The kinds of problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProblemKind {
    /// Bytes are missing from the capture.
    Gap,
    /// A direction can't be followed any more: garbage, or a hole where a message begins.
    Lost,
    /// After that, messages have been found again; they are told and not judged.
    Resumed,
    /// A direction can't be followed because two readings are possible.
    Ambiguous,
    /// Bytes inside TLS that were not opened.
    Encrypted,
    /// Something of TLS itself: an alert, an end that is not authentic.
    Tls,
    /// A message was cut off by the end of its direction.
    CutOff,
    /// Requests or options that got no answer.
    Unanswered,
    /// A server was silent for long, with requests in flight.
    Silence,
    /// A read contradicts an earlier write of the session, which may have a cause that is not in the
    /// session. Only told with [`Recognize::Contradictions`](super::Recognize::Contradictions).
    DataDiffers,
    /// A limit of the judge was reached; it follows and no longer correlates.
    Limit,
}

impl ProblemKind {
    /// The name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gap => "gap",
            Self::Lost => "lost",
            Self::Resumed => "resumed",
            Self::Ambiguous => "ambiguous",
            Self::Encrypted => "encrypted",
            Self::Tls => "tls",
            Self::CutOff => "cut-off",
            Self::Unanswered => "unanswered",
            Self::Silence => "silence",
            Self::DataDiffers => "data-differs",
            Self::Limit => "limit",
        }
    }
}

/// Something that can't be judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What kind.
    pub kind: ProblemKind,
    /// In which direction; for unanswered messages, whose answer is missing.
    pub from: Side,
    /// When it became evident.
    pub time_ns: u64,
    /// Where in that direction's bytes.
    pub offset: u64,
    /// One line.
    pub text: String,
}
