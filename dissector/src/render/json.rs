//! An object a line; its form is a contract with users' programs.

mod message;
mod value;

use std::collections::BTreeMap;
use std::io::Write;

use message::Around;

use super::{Out, Renderer};
use crate::dissect::{Record, SessionInfo, Sink, Totals};
use crate::latency::Latencies;
use crate::session::Close;

/// A line that is not of a message. Numbers that a double can't hold for sure (above 2^53) are strings
/// in hexadecimal, but for times.
#[derive(serde::Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Line<'a> {
    Session {
        session: u64,
        client: String,
        server: String,
        /// Nanoseconds since 1970, as all times.
        start_ns: u64,
    },
    Tls {
        session: u64,
        time_ns: u64,
        version: String,
        suite: String,
    },
    Violation {
        session: u64,
        message: u64,
        requirement: &'static str,
        level: &'static str,
        party: &'static str,
        text: &'a str,
        time_ns: u64,
        frame: Option<u64>,
        /// Where the message begins in its sender's bytes; for an end, how far the party's had come.
        offset: u64,
    },
    Problem {
        /// Null for what concerns the file.
        session: Option<u64>,
        kind: &'static str,
        time_ns: u64,
        text: &'a str,
        frame: Option<u64>,
    },
    Close {
        session: u64,
        time_ns: u64,
        from: &'static str,
        how: &'static str,
    },
    Summary {
        sessions: u64,
        messages: u64,
        /// Of every level.
        violations: u64,
        /// Those of them that are SHOULD or SHOULD NOT.
        warnings: u64,
        problems: u64,
        /// Bytes that were judged.
        judged: u64,
        /// Bytes that could not be.
        unjudged: u64,
        counts: BTreeMap<String, u64>,
    },
}

/// Writes JSON lines.
pub struct JsonRenderer<W> {
    out: Out<W>,
    totals: Totals,
    /// The line being made; used again, as `text` is.
    buffer: Vec<u8>,
    text: Vec<u8>,
    latencies: Latencies,
    /// The packet that is told of.
    frame: Option<u64>,
}

/// How many requests are remembered for the latency of their replies, at least.
const REMEMBERED: usize = 1 << 16;

impl<W: Write> JsonRenderer<W> {
    /// Writes to this.
    pub fn new(writer: W) -> Self {
        let (buffer, text) = (Vec::new(), Vec::new());
        Self {
            out: Out::new(writer),
            totals: Totals::default(),
            buffer,
            text,
            latencies: Latencies::new(REMEMBERED),
            frame: None,
        }
    }

    fn line(&mut self, line: &Line<'_>) {
        let Self { out, buffer, .. } = self;
        out.write(|writer| {
            buffer.clear();
            super::harmless::write(&mut *buffer, line)?;
            buffer.push(b'\n');
            writer.write_all(buffer)
        });
    }

    /// Gives the writer back.
    pub fn into_inner(self) -> W {
        self.out.writer
    }
}

impl<W: Write> Sink for JsonRenderer<W> {
    fn record(&mut self, record: Record<'_>) {
        match record {
            Record::Opened(SessionInfo { number, client, server, start_ns }) => {
                self.line(&Line::Session {
                    session: *number,
                    client: client.to_string(),
                    server: server.to_string(),
                    start_ns: *start_ns,
                });
            }
            Record::Message(info, seen) => {
                let latency_ns = self.latencies.of(info.number, seen);
                let around = Around { session: info.number, frame: self.frame, latency_ns };
                let Self { out, buffer, text, .. } = self;
                buffer.clear();
                message::write(buffer, text, &around, seen);
                out.write(|writer| writer.write_all(buffer));
            }
            Record::Tls(info, opened) => self.line(&Line::Tls {
                session: info.number,
                time_ns: opened.time_ns,
                version: opened.parameters.version.to_string(),
                suite: opened.parameters.suite.to_string(),
            }),
            Record::Violation(info, violation) => self.line(&Line::Violation {
                session: info.number,
                message: violation.message,
                requirement: violation.requirement.id,
                level: violation.requirement.level.name(),
                party: violation.party.name(),
                text: &violation.text,
                time_ns: violation.time_ns,
                frame: self.frame,
                offset: violation.offset,
            }),
            Record::Problem(info, note) => {
                if info.is_none() {
                    self.totals.problems += 1;
                }
                self.line(&Line::Problem {
                    session: info.map(|info| info.number),
                    kind: note.kind,
                    time_ns: note.time_ns,
                    text: &note.text,
                    frame: self.frame,
                });
            }
            Record::Ended(info, end) => self.line(&Line::Close {
                session: info.number,
                time_ns: end.time_ns,
                from: end.from.name(),
                how: match end.how {
                    Close::End => "end",
                    Close::Reset => "reset",
                },
            }),
            Record::Closed(_, totals) => self.totals.add(totals),
        }
    }

    fn at_frame(&mut self, number: u64) {
        self.frame = (number > 0).then_some(number);
    }

    fn is_done(&self) -> bool {
        self.out.is_broken()
    }
}

impl<W: Write> Renderer for JsonRenderer<W> {
    fn finish(&mut self) -> std::io::Result<()> {
        let totals = std::mem::take(&mut self.totals);
        self.line(&Line::Summary {
            sessions: totals.sessions,
            messages: totals.messages.iter().sum(),
            violations: totals.violations + totals.warnings,
            warnings: totals.warnings,
            problems: totals.problems,
            judged: totals.judged,
            unjudged: totals.unjudged,
            counts: totals.counts.by_text(),
        });
        self.out.finish()
    }
}
