//! What was found against the party under test.

use protocol::message::{Message, Side};
use protocol::requirements::{Level, Requirement, id};
use protocol::values::{Command, OptionType, ReplyType};

/// A rule that was broken, where, and how it was seen.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The rule.
    pub requirement: &'static Requirement,
    /// Who broke it.
    pub party: Side,
    /// What happened, in a line.
    pub message: String,
    /// The script's path and line: `scenarios/2.10-go/block-size.nbd:18`.
    pub at: String,
    /// What was expected, what came, and the bytes; for people.
    pub detail: Detail,
    /// Why the failure is known, if a record of known deviations names it.
    pub known: Option<String>,
}

impl Finding {
    /// How bad it is: what the level of the rule says, and nothing else.
    #[must_use]
    pub fn severity(&self) -> Severity {
        Severity::of(self.requirement.level)
    }
}

/// Whether a rule is about how a client ends a session.
#[must_use]
pub fn is_about_leaving(rule: &Requirement) -> bool {
    [id::SESSION_CLIENT_QUITS_SOFTLY, id::SESSION_NO_UNJUSTIFIED_HARD_DISCONNECT].contains(&rule.id)
}

/// Whether a finding fails its scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// A SHOULD was not kept.
    Warning,
    /// A MUST was broken.
    Failure,
}

impl Severity {
    /// What breaking a rule of this level amounts to.
    #[must_use]
    pub fn of(level: Level) -> Self {
        if level.is_binding() { Self::Failure } else { Self::Warning }
    }
}

/// The evidence of a finding.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Detail {
    /// Lines of the notation that would have been right; any one of them.
    pub expected: Vec<String>,
    /// The line that came, or how the wait ended.
    pub received: String,
    /// The type of the reply to an option that came, if it was one.
    pub reply: Option<ReplyType>,
    /// What was answered, and how, where that is what is wrong: `NBD_CMD_FLUSH with NBD_EINVAL`.
    pub answer: Option<String>,
    /// In what form it showed: a message, silence, the end of a connection...
    pub event: EventKind,
    /// The last message that the harness had sent before, or the one that is answered.
    pub sent: Sent,
    /// Whether it was the judge who saw it, not a line of the script.
    pub judged: bool,
    /// The part of `received` that is wrong: first byte, length, and what is wrong with it.
    pub mark: Option<(usize, usize, String)>,
    /// The bytes of the wrong part and where they stood.
    pub bytes: Option<String>,
    /// The lines before, the oldest first.
    pub after: Vec<String>,
}

/// In what form a breach showed. Close, reset, time-out, death and garbage are different things.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// A message that is wrong, or another one than was due.
    #[default]
    Message,
    /// A reply whose data is not what it must be.
    Content,
    /// A check of the script on what came before.
    Check,
    /// Nothing came in time.
    Timeout,
    /// A part of a message came, and then nothing.
    Stalled,
    /// The connection was closed between messages.
    Close,
    /// The connection was closed in the middle of a message.
    CutOff,
    /// The connection was reset.
    Reset,
    /// What came is no message.
    Garbage,
    /// A message that is larger than the harness takes in.
    Oversized,
    /// The process ended.
    Death,
    /// No connection came about.
    Refused,
    /// A TLS handshake did not go as it must.
    Handshake,
}

impl EventKind {
    /// The word in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Content => "content",
            Self::Check => "check",
            Self::Timeout => "timeout",
            Self::Stalled => "stalled",
            Self::Close => "close",
            Self::CutOff => "cut-off",
            Self::Reset => "reset",
            Self::Garbage => "garbage",
            Self::Oversized => "oversized",
            Self::Death => "death",
            Self::Refused => "refused",
            Self::Handshake => "handshake",
        }
    }

    /// Whether it is the end of a connection, or nothing at all, not a message.
    #[must_use]
    pub const fn is_end(self) -> bool {
        !matches!(self, Self::Message | Self::Content | Self::Check)
    }
}

/// What kind of message the harness had sent last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sent {
    /// Nothing yet: the peer had the first word.
    #[default]
    Nothing,
    /// The client's flags.
    ClientFlags,
    /// An option.
    Option(OptionType),
    /// A request.
    Request(Command),
    /// The server's greeting.
    Greeting,
    /// A reply to an option.
    OptionReply(OptionType),
    /// The answer to `NBD_OPT_EXPORT_NAME`.
    ExportInfo,
    /// A reply to a request, or a part of one.
    Reply,
    /// Bytes that are no message.
    Bytes,
}

impl Sent {
    /// The kind of a message.
    #[must_use]
    pub fn of(message: &Message) -> Self {
        match message {
            Message::Greeting(_) => Self::Greeting,
            Message::ClientFlags(_) => Self::ClientFlags,
            Message::Option(request) => Self::Option(request.option),
            Message::OptionReply(reply) => Self::OptionReply(reply.option),
            Message::ExportInfo(_) => Self::ExportInfo,
            Message::Request(request) => Self::Request(request.command),
            Message::SimpleReply(_) | Message::Chunk(_) => Self::Reply,
        }
    }
}

impl Sent {
    /// The same for all that have no name: which number it was does not matter.
    #[must_use]
    pub fn kind(self) -> Self {
        match self {
            Self::Option(option) if option.name().is_none() => Self::Option(UNKNOWN_OPTION),
            Self::OptionReply(option) if option.name().is_none() => {
                Self::OptionReply(UNKNOWN_OPTION)
            }
            Self::Request(command) if command.name().is_none() => Self::Request(UNKNOWN_COMMAND),
            named => named,
        }
    }

    /// Whether it says goodbye.
    #[must_use]
    pub fn is_farewell(self) -> bool {
        matches!(self, Self::Request(Command::DISC))
    }

    /// When it was: `after NBD_CMD_TRIM`.
    #[must_use]
    pub fn occasion(self) -> String {
        match self {
            Self::Nothing => "before anything was said".to_owned(),
            Self::ClientFlags => "after the client flags".to_owned(),
            Self::Option(option) if option.name().is_none() => {
                format!("on an option that it does not know ({option})")
            }
            Self::Request(command) if command.name().is_none() => {
                format!("on a command that it does not know ({command})")
            }
            Self::Greeting => "after the greeting".to_owned(),
            Self::ExportInfo => "after the export's information".to_owned(),
            Self::Bytes => "on bytes that are not a message".to_owned(),
            Self::Option(_) | Self::Request(_) | Self::OptionReply(_) | Self::Reply => {
                format!("after {self}")
            }
        }
    }
}

/// Stands for all options without a name.
const UNKNOWN_OPTION: OptionType = OptionType(u32::MAX);
/// Stands for all commands without a name.
const UNKNOWN_COMMAND: Command = Command(u16::MAX);

impl std::fmt::Display for Sent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::ClientFlags => f.write_str("client-flags"),
            Self::Option(option) if option.name().is_none() => {
                write!(f, "{option}: an option that it does not know")
            }
            Self::Option(option) => write!(f, "{option}"),
            Self::Request(command) if command.name().is_none() => {
                write!(f, "{command}: a command that it does not know")
            }
            Self::Request(command) => write!(f, "{command}"),
            Self::Greeting => f.write_str("greeting"),
            Self::OptionReply(option) => write!(f, "a reply to {option}"),
            Self::ExportInfo => f.write_str("export-info"),
            Self::Reply => f.write_str("a reply"),
            Self::Bytes => f.write_str("bytes that are not a message"),
        }
    }
}

/// How a scenario came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Nothing found.
    Pass,
    /// Only SHOULD-level findings.
    Warn,
    /// At least one MUST-level finding.
    Fail,
    /// Not run: the peer does not offer what it needs, or it would write.
    Skip,
    /// No verdict.
    Error,
}

impl Verdict {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Pass, Self::Warn, Self::Fail, Self::Skip, Self::Error];

    /// What these findings of a scenario that came to its end make of it.
    #[must_use]
    pub fn of(findings: &[Finding]) -> Self {
        match findings.iter().map(Finding::severity).max() {
            Some(Severity::Failure) => Self::Fail,
            Some(Severity::Warning) => Self::Warn,
            None => Self::Pass,
        }
    }

    /// The contract's word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Skip => "skip",
            Self::Error => "error",
        }
    }
}
