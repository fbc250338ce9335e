//! A scenario as it was written.

use std::sync::Arc;
use std::time::Duration;

use protocol::message::Side;
use protocol::notation::ast::{Expr, FieldPattern, MessageLine, Op, Span, Spanned};
use protocol::text::WireString;

/// The text of a script and where it came from.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// As shown in messages: `scenarios/2.10-go/block-size.nbd`.
    pub path: String,
    /// The whole text.
    pub text: String,
    /// Where its lines end.
    ends: Vec<usize>,
}

impl Source {
    /// A text, and what it is called in messages.
    #[must_use]
    pub fn new(path: &str, text: &str) -> Self {
        let ends = text.match_indices('\n').map(|(at, _)| at).collect();
        Self { path: path.to_owned(), text: text.to_owned(), ends }
    }

    /// The 1-based number of the line that a byte stands in.
    #[must_use]
    pub fn line_of(&self, at: usize) -> usize {
        1 + self.ends.partition_point(|end| *end < at)
    }
}

/// A version of qemu: `2.10`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Before the dot.
    pub major: u16,
    /// After the dot.
    pub minor: u16,
}

/// A scenario.
#[derive(Debug, Clone, PartialEq)]
pub struct Script {
    /// Path below `scenarios/` without `.nbd`: `2.10-go/block-size`.
    pub id: String,
    /// Where it came from.
    pub source: Arc<Source>,
    /// The `key: value` lines.
    pub header: Header,
    /// The rest.
    pub body: Vec<Statement>,
}

/// The header of a scenario.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// One sentence: what the scenario shows.
    pub title: Spanned<String>,
    /// The qemu version that brought the feature.
    pub since: Spanned<Version>,
    /// The feature, as the summary groups it: `NBD_OPT_GO`.
    pub feature: Spanned<String>,
    /// Who is under test; the harness plays the other side.
    pub tests: Side,
    /// What the peer must offer, or the scenario is skipped: `write`, `structured`, `SEND_TRIM`,
    /// `size>=192KiB`.
    pub needs: Vec<Need>,
    /// The configuration of the peer that is wanted: `default`, `blank`, `read-only`...
    pub export: Option<Spanned<String>>,
    /// The requirements that the scenario's own lines check.
    pub checks: Vec<Spanned<String>>,
    /// What requests are beyond on purpose: words of `BEYOND`.
    pub beyond: Vec<Spanned<String>>,
    /// How long one wait may take; the run's `--timeout` otherwise.
    pub timeout: Option<Duration>,
    /// What kind of care the scenario takes; such a scenario is fenced.
    pub hazard: Option<Spanned<String>>,
    /// For a client under test, what it is told to do: `info`, `read 0 4096`, `list`.
    pub action: Option<Spanned<String>>,
}

impl Header {
    /// Whether there is a need of this name.
    #[must_use]
    pub fn has_need(&self, name: &str) -> bool {
        self.needs.iter().any(|need| need.name.node == name)
    }

    /// Whether the script says that it checks this requirement.
    #[must_use]
    pub fn claims(&self, id: &str) -> bool {
        self.checks.iter().any(|check| check.node == id)
    }
}

/// One need: a word, or a comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct Need {
    /// `write`, `SEND_TRIM`, `size`.
    pub name: Spanned<String>,
    /// `>= 192KiB`.
    pub condition: Option<(Op, Spanned<Expr>)>,
}

/// One statement of the body.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// What it does.
    pub kind: StatementKind,
    /// Where it stands; of a block, its first line.
    pub span: Span,
}

/// What a statement does.
#[derive(Debug, Clone, PartialEq)]
pub enum StatementKind {
    /// `C: ...` or `S: ...`: sent if the harness plays that side, expected otherwise.
    Message(MessageLine),
    /// `-- ...`.
    Event(EventLine),
    /// `[should] check EXPR [tag]`.
    Check {
        /// A failure is a warning.
        should: bool,
        /// What must be true.
        expr: Spanned<Expr>,
        /// Requirement ids that a failure breaks.
        tags: Vec<Spanned<String>>,
    },
    /// `any-order { }`: each statement is satisfied by one of the next messages.
    AnyOrder(Vec<Statement>),
    /// `either { } or { } or warn ID { }`.
    Either(Vec<Branch>),
    /// `maybe { }`: nothing happens if the first line does not match.
    Maybe(Vec<Statement>),
    /// `repeat N..M { }`: while the first line matches, at least N and at most M times.
    Repeat {
        /// At least this often.
        least: Spanned<Expr>,
        /// At most this often; `None` for no limit.
        most: Option<Spanned<Expr>>,
        /// What is repeated.
        body: Vec<Statement>,
    },
    /// `until LINE { }`: the body until the line matches.
    Until {
        /// The line that ends it.
        line: MessageLine,
        /// What comes before.
        body: Vec<Statement>,
    },
    /// `for x in ... { }`.
    For {
        /// The variable.
        variable: Spanned<String>,
        /// What it goes through.
        items: Items,
        /// Done with each.
        body: Vec<Statement>,
    },
    /// `given $x { }`: only if `x` was captured.
    Given {
        /// The variable.
        variable: Spanned<String>,
        /// Done if so.
        body: Vec<Statement>,
    },
}

/// A branch of `either`.
#[derive(Debug, Clone, PartialEq)]
pub struct Branch {
    /// `warn ID`: tolerated, and reported as a warning about this requirement.
    pub warn: Option<Spanned<String>>,
    /// Decided by its first line, which is a received one.
    pub body: Vec<Statement>,
}

/// What a loop goes through.
#[derive(Debug, Clone, PartialEq)]
pub enum Items {
    /// `a, b, c`.
    List(Vec<Spanned<Expr>>),
    /// `N..M`, M included.
    Range(Spanned<Expr>, Spanned<Expr>),
}

/// `-- EVENT [@conn]`.
#[derive(Debug, Clone, PartialEq)]
pub struct EventLine {
    /// What happens.
    pub event: Event,
    /// To which connection.
    pub conn: Option<Spanned<String>>,
    /// The requirements that it checks; only `tls`, `serve` and `judge` have any.
    pub tags: Vec<Spanned<String>>,
    /// Where it stands.
    pub span: Span,
}

/// How far `-- to` goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Replies {
    /// Whatever the axis says; simple by default.
    #[default]
    Default,
    /// Structured replies are negotiated.
    Structured,
    /// Extended headers are negotiated.
    Extended,
}

/// How messages are cut into segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Segmentation {
    /// One write a message.
    #[default]
    Whole,
    /// One write a byte.
    Bytewise,
    /// Messages are held back and written together before the next wait.
    Coalesced,
}

/// By what the parties of a TLS session know each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TlsKind {
    /// By certificates.
    X509,
    /// By a key that both have.
    Psk,
}

impl TlsKind {
    /// The word in scripts and axes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::X509 => "x509",
            Self::Psk => "psk",
        }
    }
}

/// What is unusual about the harness's side of a TLS handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsTwist {
    /// `no-certificate`: it shows none, though it is asked.
    NoCertificate,
    /// `wrong-ca`: its certificate is of an authority that the peer does not know.
    WrongCa,
    /// `expired`: its certificate is no longer valid.
    Expired,
    /// `other-host`: its certificate is for another host.
    OtherHost,
    /// `wrong-key`: it has another key than the peer.
    WrongKey,
    /// `unknown-user`: it names a user whom the peer does not know.
    UnknownUser,
    /// `only-tls12`: it speaks TLS 1.2 alone.
    OnlyTls12,
    /// `only-tls13`: it speaks TLS 1.3 alone.
    OnlyTls13,
}

impl TlsTwist {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::NoCertificate,
        Self::WrongCa,
        Self::Expired,
        Self::OtherHost,
        Self::WrongKey,
        Self::UnknownUser,
        Self::OnlyTls12,
        Self::OnlyTls13,
    ];

    /// The word in scripts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoCertificate => "no-certificate",
            Self::WrongCa => "wrong-ca",
            Self::Expired => "expired",
            Self::OtherHost => "other-host",
            Self::WrongKey => "wrong-key",
            Self::UnknownUser => "unknown-user",
            Self::OnlyTls12 => "only-tls12",
            Self::OnlyTls13 => "only-tls13",
        }
    }
}

/// How a TLS handshake must come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsOutcome {
    /// It succeeds.
    Succeeds,
    /// `fail`: it fails.
    Fails,
    /// `may-fail`: either; after a failure nothing more is sent.
    Either,
}

/// A TLS handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// How it must come out.
    pub outcome: TlsOutcome,
    /// By what the parties know each other; `None` for whatever the peer does.
    pub kind: Option<TlsKind>,
    /// What is unusual.
    pub twists: Vec<TlsTwist>,
}

/// What `-- serve` offers to a client under test.
#[derive(Debug, Clone, PartialEq)]
pub struct Serve {
    /// `may-leave`: a client that leaves without entering does no harm to the scenario.
    pub may_leave: bool,
    /// What must be negotiated; by default simple replies alone can be.
    pub replies: Replies,
    /// `may-structured`: whoever asks for structured replies has them, and nobody need.
    pub may_structured: bool,
    /// The metadata contexts that can be selected; `None` where the server has never heard of any.
    pub contexts: Option<Vec<WireString>>,
    /// What the export is like: see [`Serve::FIELDS`].
    pub fields: Vec<FieldPattern>,
}

impl Serve {
    /// The fields: size and transmission flags of the export, the constraints that it advertises,
    /// and the id of its first context (the others follow).
    pub const FIELDS: [&'static str; 6] =
        ["size", "flags", "minimum", "preferred", "maximum", "id"];
}

/// What happens to a connection.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// `connect`: opened, nothing said. (As server: a client has connected.)
    Connect,
    /// `to haggling`: greeting and flags exchanged, fixed newstyle.
    ToHaggling,
    /// `to transmission [structured|extended] [with "CONTEXT"...]`: and an export entered, with
    /// these metadata contexts selected.
    ToTransmission(Replies, Vec<WireString>),
    /// `serve [may-leave] [may-structured|structured|extended] [with "CONTEXT"...|with nothing] FIELD...`: the server's part up to where a
    /// client has entered the export, whatever lawful way it takes.
    Serve(Serve),
    /// `judge [size=N]`: the reference server serves the client on any number of connections,
    /// whatever it does, until it ends; the judge hears them all.
    Judge(Vec<FieldPattern>),
    /// `tls [fail|may-fail] [x509|psk] ...`: the TLS handshake after an acknowledged STARTTLS.
    Tls(Tls),
    /// `close`: the harness closes its end, orderly.
    Close,
    /// `shut`: the harness ends its direction only (half-close).
    Shut,
    /// `reset`: the harness resets the connection.
    Reset,
    /// `pause DUR`.
    Pause(Duration),
    /// `send whole|bytewise|coalesced`: from here on.
    Send(Segmentation),
    /// `fence`: proves that nothing more comes: a harmless option whose reply must come next.
    Fence,
}
