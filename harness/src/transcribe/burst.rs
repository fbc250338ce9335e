//! Requests that are sent before the first of their replies comes, and those replies.

use protocol::message::{Message, Request};
use protocol::payload::{Part, Payload};
use protocol::requirements::id;
use protocol::values::{Command, ErrorCode};

use super::content::{Content, Known};
use crate::excuse;

/// A request and how it was answered.
pub(super) struct Exchange {
    /// Its label in the script.
    pub(super) label: String,
    /// The number of its message.
    pub(super) number: u64,
    pub(super) request: Request,
    /// The client was accused of it: right servers may refuse it, or serve it.
    pub(super) unlawful: bool,
    /// What a write sends.
    pub(super) data: Option<Payload>,
    /// The data was not known and something else is sent.
    pub(super) replaced: bool,
    /// The first error that its reply told.
    pub(super) error: Option<ErrorCode>,
    /// What the server was accused of in its reply.
    pub(super) accused: Vec<&'static str>,
    /// Its reply is complete.
    pub(super) answered: bool,
    /// It reaches beyond the export as it was.
    pub(super) beyond: bool,
    /// Comments that stand below it.
    pub(super) remarks: Vec<String>,
}

/// Requests that were in flight together. In the script they are all sent, then all are waited for:
/// another server may answer in another order.
#[derive(Default)]
pub(super) struct Burst {
    pub(super) exchanges: Vec<Exchange>,
    /// A reply has come: what is sent from here on may depend on it.
    pub(super) answered: bool,
}

impl Burst {
    /// The lines of the script. `content` is what the export holds as far as it is known.
    pub(super) fn lines(&self, content: &mut Content) -> Vec<String> {
        let mut lines = Vec::new();
        for exchange in &self.exchanges {
            lines.push(exchange.sent(self.waits_for().count() > 1));
            lines.extend(exchange.remarks.iter().cloned());
        }
        let changes: Vec<&Exchange> =
            self.exchanges.iter().filter(|exchange| exchange.changes()).collect();
        for change in &changes {
            content.set(change.start(), change.end(), Known::Open);
        }
        let several = self.waits_for().count() > 1;
        if several {
            lines.push("any-order {".to_owned());
        }
        lines.extend(self.waits_for().map(|exchange| exchange.reply(several, content)));
        if several {
            lines.push("}".to_owned());
        }
        for change in &changes {
            let alone = changes.iter().filter(|other| other.overlaps(change)).count() == 1;
            if alone && change.answered && change.error.is_none() {
                change.settle(content);
            }
        }
        lines
    }

    fn waits_for(&self) -> impl Iterator<Item = &Exchange> {
        self.exchanges.iter().filter(|exchange| exchange.request.command != Command::DISC)
    }
}

impl Exchange {
    fn start(&self) -> u64 {
        self.request.offset
    }

    /// Where the stretch ends that it is about, in bytes from the start of the export.
    pub(super) fn end(&self) -> u64 {
        self.request.offset.saturating_add(self.request.length)
    }

    /// Whether it changes what the export holds.
    pub(super) fn changes(&self) -> bool {
        matches!(self.request.command, Command::WRITE | Command::TRIM | Command::WRITE_ZEROES)
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.start() < other.end() && other.start() < self.end()
    }

    fn sent(&self, labelled: bool) -> String {
        let mut described = Message::Request(self.request.clone()).describe(self.data.as_ref());
        described.fields.retain(|field| match field.key {
            "form" | "cookie" => false,
            "length" => self.data.is_none() || self.request.status.is_some(),
            _ => true,
        });
        if self.request.command == Command::DISC {
            described.fields.retain(|field| field.key == "flags");
        }
        let line = described.to_string();
        let (head, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let mut line = format!("C: {head}");
        if labelled && self.request.command != Command::DISC {
            line.push_str(&format!(" cookie={}", self.label));
        }
        if !rest.is_empty() {
            line.push_str(&format!(" {rest}"));
        }
        if self.replaced {
            line.push_str("  # what it was is not in the capture's notation");
        }
        line
    }

    fn reply(&self, labelled: bool, content: &Content) -> String {
        let cookie = if labelled { format!(" cookie={}", self.label) } else { String::new() };
        if !self.answered {
            return format!("S: reply _{cookie}  # the capture has no answer");
        }
        if let Some(error) = self.error
            && (self.beyond || excuse::of(error).is_some())
        {
            return format!("S: reply _{cookie}  # {error} in the capture");
        }
        // What was wrong in the capture is never asked for: what is right is, where that is known.
        if let Some(error) = self.error
            && !self.accused.is_empty()
        {
            let right = if error == ErrorCode::ENOTSUP { "ok" } else { "_" };
            return format!(
                "S: reply {right}{cookie}  # {error} in the capture, against the rules"
            );
        }
        if self.accused.contains(&id::TFLAG_READ_ONLY_FAILS_WRITES) {
            return format!("S: reply error{cookie}  # ok in the capture, against the rules");
        }
        if let Some(error) = self.error {
            // Which one is the server's choice; whether it is one, only where nothing was wrong.
            let refused = self.unlawful || (self.changes() && error == ErrorCode::EPERM);
            let right = if refused { "error" } else { "_" };
            return format!("S: reply {right}{cookie}  # {error} in the capture");
        }
        if self.beyond || self.unlawful {
            let why = if self.beyond { "beyond its export" } else { "against the rules" };
            return format!("S: reply _{cookie}  # ok in the capture, {why}");
        }
        let data = if self.request.command == Command::READ && self.request.length > 0 {
            format!(" data={}", content.read(self.request.offset, self.request.length))
        } else {
            String::new()
        };
        format!("S: reply ok{cookie}{data}")
    }

    /// What it wrote can be read from here on.
    fn settle(&self, content: &mut Content) {
        match self.request.command {
            Command::WRITE => {
                if let Some(data) = &self.data {
                    content.write(self.start(), data);
                }
            }
            Command::WRITE_ZEROES => content.set(self.start(), self.end(), Known::Zero),
            _ => {}
        }
    }
}

/// What a script sends in place of data that is only known by its digest: it tells where it belongs.
pub(super) fn sendable(data: &Payload, seed: u16) -> (Payload, bool) {
    let mut replaced = false;
    let parts = data.0.iter().map(|part| match part {
        Part::Digest(_, length) | Part::Any(length) => {
            replaced = true;
            Part::Place(seed, *length)
        }
        known => known.clone(),
    });
    let payload = Payload(parts.collect());
    (payload, replaced)
}
