//! Prints what is found, while it is found.

use std::fmt;
use std::io::{self, Write};

use dissector::dissect::{Record, Sink, Totals};
use dissector::render::{Plural, Seconds};
use dissector::session::ProblemKind;

use super::others::Contradictions;
use super::report::Collected;

/// What a read that contradicts a write is told as.
const DATA_DIFFERS: &str = ProblemKind::DataDiffers.name();

/// Prints a line for each violation, and one for each problem elsewhere.
pub(crate) struct Findings<'a, W> {
    /// What each line begins with.
    prefix: String,
    out: W,
    /// For problems.
    talk: Box<dyn Write + Send + 'a>,
    error: Option<io::Error>,
    totals: Found,
    contradictions: Contradictions,
    /// The packet that is told of; 0 at the end of the capture.
    frame: u64,
    /// For reports.
    collected: Option<&'a mut Collected>,
}

/// What the findings come to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found(Totals);

impl Found {
    /// How many MUSTs were broken.
    pub(crate) fn violations(&self) -> u64 {
        self.0.violations
    }

    /// How many SHOULDs were broken, and other warnings.
    pub(crate) fn warnings(&self) -> u64 {
        self.0.warnings
    }

    /// How many bytes were judged.
    pub(crate) fn judged(&self) -> u64 {
        self.0.judged
    }

    /// Adds those of another capture.
    pub(crate) fn add(&mut self, other: &Self) {
        self.0.add(&other.0);
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Totals { sessions, violations, warnings, messages, unjudged, .. } = &self.0;
        write!(
            f,
            "{}, {}: {}, {}",
            Plural(*sessions, "session"),
            Plural(messages.iter().sum(), "message"),
            Plural(*violations, "violation"),
            Plural(*warnings, "warning"),
        )?;
        match unjudged {
            0 => Ok(()),
            bytes => write!(f, "; {} could not be judged", Plural(*bytes, "byte")),
        }
    }
}

impl<'a, W: Write> Findings<'a, W> {
    /// Findings are printed to `out`, problems to `talk`; `file` names the capture.
    pub(crate) fn new(file: &str, out: W, talk: impl Write + Send + 'a) -> Self {
        let prefix = if file.is_empty() { String::new() } else { format!("{file}: ") };
        Self {
            prefix,
            out,
            talk: Box::new(talk),
            error: None,
            totals: Found::default(),
            contradictions: Contradictions::default(),
            frame: 0,
            collected: None,
        }
    }

    /// Keeps what is found for reports, too.
    pub(super) fn collect(mut self, collected: Option<&'a mut Collected>) -> Self {
        self.collected = collected;
        self
    }

    /// What they come to.
    pub(crate) fn totals(&self) -> &Found {
        &self.totals
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        if self.error.is_none() {
            self.error = writeln!(self.out, "{}{line}", self.prefix).err();
        }
    }

    /// Tells what can only be told once all sessions are known.
    pub(crate) fn tell_contradictions(&mut self) {
        let (told, more) = std::mem::take(&mut self.contradictions).told();
        self.totals.0.warnings += told.len() as u64 + more;
        for (session, text) in told {
            self.line(format_args!("session {session}: data-differs: {text}"));
        }
        if more > 0 {
            self.line(format_args!("data-differs: {} like these", Plural(more, "more read")));
        }
    }

    /// Hands on what was printed; gives the first error, if there was one.
    pub(crate) fn flush(&mut self) -> Option<io::Error> {
        let error = self.error.take().or_else(|| self.out.flush().err());
        // Nothing is lost but talk if that fails.
        let _ = self.talk.flush();
        error
    }
}

impl<W: Write> Sink for Findings<'_, W> {
    fn record(&mut self, record: Record<'_>) {
        match record {
            Record::Violation(info, violation) => {
                let requirement = violation.requirement;
                let frame = (self.frame > 0).then_some(self.frame);
                if let Some(collected) = &mut self.collected {
                    collected.add(info, violation, frame);
                }
                let frame = frame.map(|number| format!("frame {number}, ")).unwrap_or_default();
                self.line(format_args!(
                    "session {} message {} {} {} {}: {} ({frame}+{} s, byte {})",
                    info.number,
                    violation.message,
                    violation.party.name(),
                    requirement.level,
                    requirement.id,
                    violation.text,
                    Seconds(violation.time_ns.saturating_sub(info.start_ns)),
                    violation.offset,
                ));
            }
            // What could not be seen limits what the verdict means.
            Record::Problem(Some(info), note) if note.kind == DATA_DIFFERS => {
                self.contradictions.add(info.number, &note.text);
            }
            Record::Problem(info, note) => {
                let session = info.map(|info| format!("session {}: ", info.number));
                let (prefix, session) = (&self.prefix, session.unwrap_or_default());
                // Nothing is lost but talk if that fails.
                let _ = writeln!(self.talk, "{prefix}{session}{}: {}", note.kind, note.text);
            }
            Record::Closed(info, totals) => {
                self.contradictions.closed(info, totals);
                if let Some(collected) = &mut self.collected {
                    collected.closed(info, totals);
                }
                self.totals.0.add(totals);
            }
            Record::Opened(_) | Record::Message(..) | Record::Tls(..) | Record::Ended(..) => {}
        }
    }

    fn at_frame(&mut self, number: u64) {
        self.frame = number;
    }

    fn wants_messages(&self) -> bool {
        false
    }

    fn is_done(&self) -> bool {
        self.error.is_some()
    }
}
