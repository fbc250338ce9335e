//! The notation: a line a message, so that the output is a script.
//!
//! What is no message is a comment, but for problems and the ends of directions.

use std::fmt;
use std::io::Write;

use protocol::digits::decimal;
use protocol::message::{ChunkBody, Message, Side};
use protocol::values::ErrorCode;

use super::time::{Seconds, Utc};
use super::{Out, Plural, Renderer};
use crate::dissect::{Note, Record, SessionInfo, Sink};
use crate::latency::Latencies;
use crate::session::{Close, Seen, Violation};
use crate::tls::Parameters;

/// How the time of a message is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimeFormat {
    /// Since the session's first packet, in seconds.
    #[default]
    Relative,
    /// The date and time of day, in UTC.
    Absolute,
    /// Since the message before, in seconds.
    Delta,
}

/// What lines look like.
#[derive(Debug, Clone, Copy, Default)]
pub struct TextOptions {
    /// How times are told.
    pub time: TimeFormat,
    /// Tell how long after its request each reply was complete, and with which packet each message
    /// was.
    pub latency: bool,
    /// Tell how payloads begin that print as a digest, where that was looked at.
    pub begins: bool,
    /// Colour lines by party, errors and violations.
    pub colour: bool,
}

/// How many requests are remembered for the latency of their replies.
const REMEMBERED: usize = 1 << 16;

/// Writes the notation.
pub struct TextRenderer<W> {
    out: Out<W>,
    options: TextOptions,
    latencies: Latencies,
    /// The line of a message being made; used again.
    buffer: Vec<u8>,
    /// When the last message came.
    last_ns: u64,
    /// Session and number of the last message.
    last: (u64, u64),
    begun: bool,
    /// The packet that is told of; 0 at the end of the capture.
    frame: u64,
}

impl<W: Write> TextRenderer<W> {
    /// Writes to this.
    pub fn new(writer: W) -> Self {
        Self::with_options(writer, TextOptions::default())
    }

    /// Writes to this, lines of this kind.
    pub fn with_options(writer: W, options: TextOptions) -> Self {
        Self {
            out: Out::new(writer),
            options,
            latencies: Latencies::new(REMEMBERED),
            buffer: Vec::new(),
            last_ns: 0,
            last: (0, 0),
            begun: false,
            frame: 0,
        }
    }

    pub(super) fn out(&mut self) -> &mut Out<W> {
        &mut self.out
    }

    fn line(&mut self, line: impl fmt::Display) {
        self.coloured("", line);
    }

    /// A line in a colour, if colours are wanted: the parameters of an SGR sequence.
    fn coloured(&mut self, colour: &str, line: impl fmt::Display) {
        if self.options.colour && !colour.is_empty() {
            self.out.write(|writer| writeln!(writer, "\x1b[{colour}m{line}\x1b[0m"));
        } else {
            self.out.write(|writer| writeln!(writer, "{line}"));
        }
    }

    /// The time of a message, as it is to be told.
    fn time(&mut self, info: &SessionInfo, time_ns: u64) -> String {
        let mut text = Vec::new();
        self.append_time(&mut text, info, time_ns);
        String::from_utf8(text).unwrap_or_default()
    }

    fn append_time(&mut self, out: &mut Vec<u8>, info: &SessionInfo, time_ns: u64) {
        let before = std::mem::replace(&mut self.last_ns, time_ns);
        let since = match self.options.time {
            TimeFormat::Relative => info.start_ns,
            TimeFormat::Delta => before,
            TimeFormat::Absolute => {
                // Writing to memory does not fail.
                let _ = write!(out, "{}", Utc(time_ns));
                return;
            }
        };
        out.push(b'+');
        Seconds(time_ns.saturating_sub(since)).append(out);
    }

    /// With which packet a message was complete, and how long after its request.
    fn append_latency(&mut self, out: &mut Vec<u8>, info: &SessionInfo, seen: &Seen) {
        if self.frame > 0 {
            out.extend_from_slice(b" frame ");
            decimal(out, self.frame);
        }
        if let Some(latency) = self.latencies.of(info.number, seen) {
            out.extend_from_slice(b" after ");
            Seconds(latency).append(out);
        }
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
        self.last_ns = info.start_ns;
        let SessionInfo { number, client, server, start_ns } = info;
        self.line(format_args!("# session {number}: {client} -> {server}, {} UTC", Utc(*start_ns)));
    }

    fn message(&mut self, info: &SessionInfo, seen: &Seen) {
        self.last.1 = seen.number;
        let colour = match seen.from {
            _ if !self.options.colour => None,
            Side::Server if is_error(&seen.message) => Some("31"),
            Side::Server => Some("32"),
            Side::Client => Some("36"),
        };
        let mut line = std::mem::take(&mut self.buffer);
        line.clear();
        // Writing to memory does not fail.
        if let Some(colour) = colour {
            let _ = write!(line, "\x1b[{colour}m");
        }
        line.extend_from_slice(match seen.from {
            Side::Client => b"C: ",
            Side::Server => b"S: ",
        });
        seen.describe().append(&mut line);
        line.extend_from_slice(b"  # ");
        self.append_time(&mut line, info, seen.time_ns);
        line.extend_from_slice(b" @");
        decimal(&mut line, seen.offset);
        if self.options.latency {
            self.append_latency(&mut line, info, seen);
        }
        if let Some(head) = seen.head.as_deref().filter(|_| self.options.begins) {
            let _ = write!(line, "{}", Head(head));
        }
        line.extend_from_slice(if colour.is_some() { b"\x1b[0m\n" } else { b"\n" });
        self.out.write(|writer| writer.write_all(&line));
        self.buffer = line;
    }

    fn violation(&mut self, info: &SessionInfo, violation: &Violation) {
        let Violation { requirement, party, text, message, time_ns, offset, .. } = violation;
        let (level, id, party) = (requirement.level, requirement.id, party.name());
        let place =
            if *message == self.last.1 { String::new() } else { format!(" (message {message})") };
        let time = match self.options.time {
            TimeFormat::Absolute => Utc(*time_ns).to_string(),
            // It is that of a message, or the end of one.
            _ => format!("+{}", Seconds(time_ns.saturating_sub(info.start_ns))),
        };
        let frame = match self.frame {
            0 => String::new(),
            number => format!(" frame {number}"),
        };
        self.coloured(
            "1;31",
            format_args!("# ! {level} {party} [{id}] {text}{place}  # {time} @{offset}{frame}"),
        );
    }

    fn problem(&mut self, info: Option<&SessionInfo>, note: &Note) {
        let Note { kind, text, time_ns } = note;
        match info {
            Some(info) => {
                let time = self.time(info, *time_ns);
                self.coloured("33", format_args!("-- {kind}: {text}  # {time}"));
            }
            None => self.coloured("33", format_args!("-- {kind}: {text}")),
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
            Record::Tls(info, opened) => {
                self.enter(info);
                let time = self.time(info, opened.time_ns);
                let Parameters { version, suite } = opened.parameters;
                self.line(format_args!("-- tls {version} opened  # {time} {suite}"));
            }
            Record::Violation(info, violation) => {
                self.enter(info);
                self.violation(info, violation);
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
                let time = self.time(info, end.time_ns);
                self.line(format_args!("{}: {how}  # {time}", end.from.letter()));
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

    fn at_frame(&mut self, number: u64) {
        self.frame = number;
    }

    fn is_done(&self) -> bool {
        self.out.is_broken()
    }
}

/// How a payload begins.
struct Head<'a>(&'a [u8]);

impl fmt::Display for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(" begins")?;
        self.0.iter().try_for_each(|byte| write!(f, " {byte:02x}"))
    }
}

/// Whether a reply says that something failed.
fn is_error(message: &Message) -> bool {
    match message {
        Message::OptionReply(reply) => reply.reply.is_error(),
        Message::SimpleReply(reply) => reply.error != ErrorCode::OK,
        Message::Chunk(chunk) => matches!(chunk.body, ChunkBody::Error { .. }),
        _ => false,
    }
}

impl<W: Write> Renderer for TextRenderer<W> {
    fn finish(&mut self) -> std::io::Result<()> {
        self.out.finish()
    }
}
