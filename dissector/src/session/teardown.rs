//! How a session ends (sections "Termination of the session during option haggling" and
//! "Terminating the transmission phase").

use protocol::message::{ChunkForm, Message, Request, RequestForm, Side};
use protocol::values::{
    CommandFlags, EXTENDED_REPLY_MAGIC, OLDSTYLE_MAGIC, OptionType, SIMPLE_REPLY_MAGIC,
    STRUCTURED_REPLY_MAGIC,
};

use crate::plural::Plural;

use super::commands::{self, Payload};
use super::event::{Close, ProblemKind};
use super::judge::Session;
use super::phase::Phase;
use super::rules::Rule;
use super::stream::{Mode, Stream};

/// How long a server may be silent with requests in flight before a client that hangs up may have
/// had cause, in nanoseconds.
const PATIENCE: u64 = 1_000_000_000;

/// A client that has said and heard more messages than that in haggling may look like an attack.
const PATIENT_WITH: u64 = 64;

/// A server that is silent for so long with requests in flight is told of, in nanoseconds.
const SILENCE: u64 = 500_000_000;

impl Session {
    /// The server is heard, or ends: tells how long it was silent before.
    pub(super) fn silence(&mut self, now_ns: u64) {
        let server = Side::Server;
        let open = self.flight.open() as u64;
        let closed = self.streams[server].closed.is_some();
        if !self.config.silences || open == 0 || closed || !self.follows(server) {
            return;
        }
        let since = self.heard_ns[server].max(self.asked_ns);
        let silence = now_ns.saturating_sub(since);
        if silence >= SILENCE {
            let (silence, requests) = (silence / 1_000_000, Plural(open, "request"));
            let text = format!("the server was silent for {silence} ms with {requests} in flight");
            self.problem(ProblemKind::Silence, server, text);
        }
    }

    /// `from` has ended its direction.
    pub(super) fn close(&mut self, from: Side, how: Close) {
        let other_closed = self.streams[from.other()].closed.is_some();
        // Who was wronged may hang up, and so may who was hung up on.
        let excused = other_closed || self.out.broke[from.other()];
        let in_order = how == Close::End && !excused;
        let in_payload = matches!(self.stream(from).mode, Mode::Bulk(_));
        let whole = |stream: &Stream| matches!(stream.mode, Mode::Head) && stream.buffer.is_empty();
        let all_whole = self.streams.iter().all(whole);
        self.cut_off(from, in_order);
        if from == Side::Client && !excused {
            self.client_leaves();
            if !in_payload {
                self.client_hangs_up();
            }
        }
        if from == Side::Server && !excused && all_whole {
            self.server_leaves(how);
        }
        self.stream(from).closed = Some(how);
    }

    /// A message that is not complete when its direction ends.
    fn cut_off(&mut self, from: Side, blame: bool) {
        let stream = self.stream(from);
        match std::mem::take(&mut stream.mode) {
            Mode::Bulk(bulk) => {
                let name = bulk.seen.message.describe(None).head;
                let (left, total) = (bulk.left, bulk.total);
                let write = matches!(
                    &bulk.seen.message,
                    Message::Request(Request { command, form, flags, .. })
                        // Without PAYLOAD_LEN an extended write announces no payload.
                        if commands::payload(*command) == Payload::Request
                            && (*form == RequestForm::Compact
                                || flags.has(CommandFlags::PAYLOAD_LEN))
                );
                let rule = match &bulk.seen.message {
                    // NBD_CMD_WRITE: the request is followed by length bytes of data.
                    _ if write => Some(Rule::WritePayload),
                    message => self.rule_of_cut(message),
                };
                self.tail(from, bulk);
                let came = total - left;
                let text = format!("{name} is cut off: {came} of {total} bytes came");
                if blame
                    && !self.is_patchy(from)
                    && let Some(rule) = rule
                {
                    self.out.accuse(rule, from, format!("{text}{}", excuse(rule)));
                }
                self.problem(ProblemKind::CutOff, from, text);
            }
            Mode::Tls => {
                let bytes = self.stream(from).unread;
                self.stream(from).mode = Mode::Tls;
                if bytes > 0 {
                    let bytes = Plural(bytes, "byte");
                    let text = format!("{bytes} inside TLS {} not opened", bytes.were());
                    self.problem(ProblemKind::Encrypted, from, text);
                }
            }
            Mode::Resync => {
                let stream = self.stream(from);
                stream.unread += std::mem::take(&mut stream.buffer).len() as u64;
                stream.mode = Mode::Resync;
                let unread = stream.unread;
                if std::mem::take(&mut stream.untold) && unread > 0 {
                    let name = from.name();
                    let text = format!("the last {unread} bytes of the {name} can't be followed");
                    self.problem(ProblemKind::Lost, from, text);
                }
            }
            mode => self.stream(from).mode = mode,
        }
        let blame = blame && !self.is_patchy(from);
        let buffer = std::mem::take(&mut self.stream(from).buffer);
        if buffer.is_empty() {
            return;
        }
        let bytes = buffer.len();
        if blame && from == Side::Server && self.phase == Phase::Greeting {
            // "Oldstyle negotiation": 152 bytes; "Newstyle negotiation": 18 bytes.
            let oldstyle = buffer.get(8..16) == Some(&OLDSTYLE_MAGIC.to_be_bytes()[..]);
            let (rule, whole) = if oldstyle {
                (Rule::OldstyleGreetingLayout, 152)
            } else {
                (Rule::GreetingLayout, 18)
            };
            let text = format!("the greeting ends after {bytes} of {whole} bytes");
            self.out.accuse(rule, from, text);
        }
        if blame
            && from == Side::Server
            && matches!(self.stream(from).mode, Mode::Head)
            && let Some(rule) = self.rule_of_cut_head(&buffer)
        {
            let text = format!("the server closes after {bytes} bytes of a reply");
            self.out.accuse(rule, from, text);
        }
        let text = match bytes {
            1 => format!("the last byte of the {} is not a whole message", from.name()),
            _ => format!("the last {bytes} bytes of the {} are not a whole message", from.name()),
        };
        self.problem(ProblemKind::CutOff, from, text);
        self.stream(from).unread += bytes as u64;
    }

    /// After a farewell the client may be gone, and a server may close then.
    fn may_have_left(&self) -> bool {
        self.farewell.is_some() || !self.follows(Side::Client)
    }

    /// The layout that a reply breaks whose end does not come, though its server closes in order; `None`
    /// where that may have a cause.
    fn rule_of_cut(&self, message: &Message) -> Option<Rule> {
        match message {
            _ if self.may_have_left() => None,
            Message::OptionReply(_) => Some(Rule::OptionReplyLayout),
            Message::Chunk(chunk) => match chunk.form {
                ChunkForm::Structured => Some(Rule::StructuredChunkLayout),
                ChunkForm::Extended { .. } => Some(Rule::ExtReplyLayout),
            },
            Message::SimpleReply(_) if !self.replies.is_doubtful() => Some(Rule::SimpleReadPayload),
            _ => None,
        }
    }

    /// The same of a reply whose head is not complete.
    fn rule_of_cut_head(&self, head: &[u8]) -> Option<Rule> {
        if self.may_have_left() || self.replies.is_doubtful() {
            return None;
        }
        let magic = u32::from_be_bytes(*head.first_chunk::<4>()?);
        match self.phase {
            // NBD_OPT_EXPORT_NAME has an answer of its own.
            Phase::Haggling if self.options.front() != Some(OptionType::EXPORT_NAME) => {
                Some(Rule::OptionReplyLayout)
            }
            Phase::Transmission if magic == SIMPLE_REPLY_MAGIC => Some(Rule::SimpleReplyLayout),
            Phase::Transmission if magic == STRUCTURED_REPLY_MAGIC => {
                Some(Rule::StructuredChunkLayout)
            }
            Phase::Transmission if magic == EXTENDED_REPLY_MAGIC => Some(Rule::ExtReplyLayout),
            _ => None,
        }
    }

    /// The client ends its direction without cause: a hard disconnect, unless it said so.
    fn client_leaves(&mut self) {
        // Before its flags nothing has begun that could be aborted: probes do just that.
        let haggling = self.phase == Phase::Haggling;
        let follows = self.follows(Side::Client) && self.follows(Side::Server);
        let encrypted = self.expects_tls();
        // A client whose option is not answered can't send another one.
        let waiting = self.options.count() > 0;
        // Without fixed newstyle there is no NBD_OPT_ABORT.
        let can_abort = self.fixed() == Some(true);
        if haggling && follows && !encrypted && !waiting && can_abort && self.farewell.is_none() {
            // A client that just does not want to go on uses NBD_OPT_ABORT.
            let text = "the client closes during haggling without NBD_OPT_ABORT";
            self.out.accuse(Rule::ClientQuitsSoftly, Side::Client, text);
        }
    }

    /// The server ends its direction between messages. If it knows all that the client has said, it
    /// should have answered it.
    fn server_leaves(&mut self, how: Close) {
        let [client, server] = [Side::Client, Side::Server];
        let known = self.follows(client) && self.follows(server) && !self.expects_tls();
        if !known || !self.informed[server] {
            return;
        }
        match self.phase {
            Phase::Haggling if how == Close::End => self.server_ignores_option(),
            Phase::Transmission => self.server_ignores_requests(how),
            _ => {}
        }
    }

    fn server_ignores_option(&mut self) {
        let (count, Some(option)) = (self.options.count(), self.options.front()) else { return };
        let (rule, text) = match option {
            _ if count > 1 => return,
            // NBD_OPT_ABORT: the server replies with NBD_REP_ACK.
            OptionType::ABORT => (Rule::AbortAcked, "NBD_OPT_ABORT".to_owned()),
            // It can't be refused, and a server may take much for an attack.
            OptionType::EXPORT_NAME => return,
            _ if self.fixed() != Some(true) || self.out.messages > PATIENT_WITH => return,
            // "Termination of the session during option haggling": errors until the client leaves.
            _ => (Rule::ServerErrorsOptions, option.to_string()),
        };
        let text = format!("the server closes without a reply to {text}");
        self.out.accuse(rule, Side::Server, text);
    }

    fn server_ignores_requests(&mut self, how: Close) {
        let open = self.flight.open();
        if open == 0 || self.flight.is_incomplete() || self.may_have_left() {
            return;
        }
        // "Terminating the transmission phase": on a shutdown it should wait for requests in flight.
        // Nothing else lets a server go that was not wronged.
        let does = if how == Close::End { "closes" } else { "resets the connection" };
        let requests = Plural(open as u64, "request");
        let text = format!("the server {does} with {requests} in flight");
        self.out.accuse(Rule::ShutdownWaits, Side::Server, text);
    }

    /// "Terminating the transmission phase": a client that was not wronged ends it by NBD_CMD_DISC.
    fn client_hangs_up(&mut self) {
        let known = [Side::Client, Side::Server]
            .into_iter()
            .all(|side| self.follows(side) && !self.is_patchy(side));
        // "Oldstyle negotiation": who does not like what it hears simply goes.
        let unheard = self.out.last[Side::Client] == 0;
        let left = self.farewell.is_some() || unheard;
        if self.phase != Phase::Transmission || !known || left {
            return;
        }
        let open = self.flight.open();
        let silence = self.out.now_ns.saturating_sub(self.heard_ns[Side::Server]);
        // Nobody knows whether a server that says nothing would ever have answered.
        if open > 0 && silence > PATIENCE {
            return;
        }
        let text = match open {
            0 => "the client closes without NBD_CMD_DISC".to_owned(),
            1 => "the client closes without NBD_CMD_DISC, and a request is in flight".to_owned(),
            _ => {
                format!("the client closes without NBD_CMD_DISC, and {open} requests are in flight")
            }
        };
        self.out.accuse(Rule::NoHardDisconnect, Side::Client, text);
    }

    /// Nothing more will be seen.
    pub(super) fn outstanding(&mut self) {
        for side in [Side::Client, Side::Server] {
            if self.stream(side).closed.is_none() {
                self.cut_off(side, false);
            }
        }
        let open = self.flight.open();
        if open > 0 && self.follows(Side::Server) {
            let oldest = self
                .flight
                .oldest()
                .map_or_else(String::new, |number| format!("; the first is message {number}"));
            let requests = Plural(open as u64, "request");
            let text = format!("{requests} {} never answered in full{oldest}", requests.were());
            self.problem(ProblemKind::Unanswered, Side::Server, text);
        }
        let open = self.options.count();
        if open > 0 && self.phase < Phase::Transmission {
            let oldest = self
                .options
                .oldest()
                .map_or_else(String::new, |number| format!("; the first is message {number}"));
            let options = Plural(open as u64, "option");
            let text = format!("{options} {} no final reply{oldest}", options.have());
            self.problem(ProblemKind::Unanswered, Side::Server, text);
        }
    }
}

/// What would excuse who cuts a message off so, for people.
fn excuse(rule: Rule) -> &'static str {
    match rule {
        // NBD_CMD_READ: a server that fails to read after the header of a simple reply MUST hang up, and
        // nobody sees whether it did.
        Rule::SimpleReadPayload => ", which only a read that failed after the header would excuse",
        _ => "",
    }
}
