//! What was said on a connection, line by line.

use dissector::render::Plural;
use dissector::session::{Seen, Violation};
use protocol::message::Side;

/// How many lines of a conversation are kept from its beginning.
const BEGINNING: usize = 500;
/// How many lines of a conversation are kept in all; then half of those between are dropped.
const LINES: usize = 4_500;

/// A line of the transcript.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Name of the connection; empty for the default one.
    pub conn: String,
    /// The script's line that was being executed, 1-based.
    pub line: usize,
    /// What was said.
    pub said: Said,
}

impl Entry {
    /// The line of the notation; with the connection's name where there are several.
    #[must_use]
    pub fn text(&self, several: bool) -> String {
        match &self.said {
            Said::Message(seen) => {
                let description = seen.describe();
                let conn = if several && !self.conn.is_empty() {
                    format!("@{}", self.conn)
                } else {
                    String::new()
                };
                format!("{}{conn}: {description}", seen.from.letter())
            }
            Said::Bytes(_, text) | Said::Ended(_, text) | Said::Note(text) => text.clone(),
        }
    }
}

/// What a transcript records.
#[derive(Debug, Clone)]
pub enum Said {
    /// A message, as the judge saw it.
    Message(Box<Seen>),
    /// Bytes of this side that are no message, as a line.
    Bytes(Side, String),
    /// This side ended the connection, or its own direction; how, in words: `-- close`.
    Ended(Side, String),
    /// Anything else, in words: `-- shut`.
    Note(String),
}

/// Drops lines between the beginning and the end of a conversation that is too long to be kept.
pub(crate) fn shorten(transcript: &mut Vec<Entry>) {
    if transcript.len() > LINES {
        let end = transcript.len() - (LINES - BEGINNING) / 2;
        let left_out = end - BEGINNING;
        let mut entry = transcript[BEGINNING].clone();
        entry.said =
            Said::Note(format!("-- {} are left out here", Plural(left_out as u64, "line")));
        transcript.splice(BEGINNING..end, [entry]);
    }
}

/// A finding of the judge and the script's line at which it was made.
#[derive(Debug, Clone)]
pub struct Judged {
    /// The violation.
    pub violation: Violation,
    /// The script's line, 1-based.
    pub line: usize,
    /// The connection.
    pub conn: String,
}
