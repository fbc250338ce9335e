//! The notation: a line a message, so that the output is a script.
//!
//! What is no message is a comment, but for problems and the ends of directions.

use std::fmt;
use std::io::Write;

use super::time::{Seconds, Utc};
use super::{Out, Plural, Renderer};
use crate::dissect::{Note, Record, SessionInfo, Sink};
use crate::session::{Close, Seen, Violation};

/// Writes the notation.
pub struct TextRenderer<W> {
    out: Out<W>,
    /// Session and number of the last message.
    last: (u64, u64),
    begun: bool,
}

impl<W: Write> TextRenderer<W> {
    /// Writes to this.
    pub fn new(writer: W) -> Self {
        Self { out: Out::new(writer), last: (0, 0), begun: false }
    }

    fn line(&mut self, line: impl fmt::Display) {
        self.out.write(|writer| writeln!(writer, "{line}"));
    }

    /// A heading where the lines change to another session.
    fn enter(&mut self, info: &SessionInfo) {
        if self.last.0 != info.number {
            self.last = (info.number, 0);
            self.line(format_args!("\n# session {}, continued", info.number));
        }
    }

    fn opened(&mut self, info: &SessionInfo) {
        if self.begun {
            self.line("");
        }
        self.begun = true;
        self.last = (info.number, 0);
        let SessionInfo { number, client, server, start_ns } = info;
        self.line(format_args!("# session {number}: {client} -> {server}, {} UTC", Utc(*start_ns)));
    }

    fn message(&mut self, info: &SessionInfo, seen: &Seen) {
        self.last.1 = seen.number;
        let description = seen.message.describe(seen.payload.as_ref());
        self.line(format_args!(
            "{}: {description}  # +{} @{}",
            seen.from.letter(),
            Seconds(seen.time_ns.saturating_sub(info.start_ns)),
            seen.offset
        ));
    }

    fn violation(&mut self, violation: &Violation) {
        let Violation { requirement, party, text, message, .. } = violation;
        let (level, id, party) = (requirement.level, requirement.id, party.name());
        if *message == self.last.1 {
            self.line(format_args!("# ! {level} {party} [{id}] {text}"));
        } else {
            self.line(format_args!("# ! {level} {party} [{id}] {text} (message {message})"));
        }
    }

    fn problem(&mut self, info: Option<&SessionInfo>, note: &Note) {
        let Note { kind, text, time_ns } = note;
        match info {
            Some(info) => {
                let time = Seconds(time_ns.saturating_sub(info.start_ns));
                self.line(format_args!("-- {kind}: {text}  # +{time}"));
            }
            None => self.line(format_args!("-- {kind}: {text}")),
        }
    }

    /// Gives the writer back.
    pub fn into_inner(self) -> W {
        self.out.writer
    }
}

impl<W: Write> Sink for TextRenderer<W> {
    fn record(&mut self, record: Record<'_>) {
        match record {
            Record::Opened(info) => self.opened(info),
            Record::Message(info, seen) => {
                self.enter(info);
                self.message(info, seen);
            }
            Record::Violation(info, violation) => {
                self.enter(info);
                self.violation(violation);
            }
            Record::Problem(info, note) => {
                if let Some(info) = info {
                    self.enter(info);
                }
                self.problem(info, note);
            }
            Record::Ended(info, end) => {
                self.enter(info);
                let how = match end.how {
                    Close::End => "close",
                    Close::Reset => "reset",
                };
                let time = Seconds(end.time_ns.saturating_sub(info.start_ns));
                self.line(format_args!("{}: {how}  # +{time}", end.from.letter()));
            }
            Record::Closed(info, totals) => {
                self.enter(info);
                let messages: u64 = totals.messages.iter().sum();
                self.line(format_args!(
                    "# session {} ends: {}, {}, {}, {}",
                    info.number,
                    Plural(messages, "message"),
                    Plural(totals.violations, "violation"),
                    Plural(totals.warnings, "warning"),
                    Plural(totals.problems, "problem"),
                ));
            }
        }
    }

    fn is_done(&self) -> bool {
        self.out.is_broken()
    }
}

impl<W: Write> Renderer for TextRenderer<W> {
    fn finish(&mut self) -> std::io::Result<()> {
        self.out.finish()
    }
}
