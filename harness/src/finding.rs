//! What was found against the party under test.

use protocol::message::Side;
use protocol::requirements::{Level, Requirement};

/// A rule that was broken, where, and how it was seen.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The rule.
    pub requirement: &'static Requirement,
    /// How bad it is: `Must` or `Should`; the rule's own level, or less where the script says
    /// `should` or `warn`.
    pub severity: Severity,
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
    /// Whether `received` is the end of a connection, or nothing at all, not a message.
    pub is_end: bool,
    /// The part of `received` that is wrong: first byte, length, and what is wrong with it.
    pub mark: Option<(usize, usize, String)>,
    /// The bytes of the wrong part and where they stood.
    pub bytes: Option<String>,
    /// The lines before, the oldest first.
    pub after: Vec<String>,
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
