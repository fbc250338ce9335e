//! The judge: follows both directions of one NBD connection, names the messages, and says which
//! rules of the specification were broken, by whom.
//!
//! It is sans-io: [`Session::received`] takes the bytes of a direction as they come, in any pieces,
//! and [`Session::next_event`] gives back what became known. The same judge reads captures and sits
//! on live connections.
//!
//! - Bulk payload is never kept: it is recognised piece by piece, and its message is told when the
//!   last byte has come. What is kept is bounded by [`Config::limits`].
//! - It never accuses on a guess. When a direction can't be followed any more (garbage, a hole in
//!   the capture), what depends on it is not judged, on either side. A party is free to hang up
//!   after the other one broke a MUST. Requests of length 0 may be answered in any way.
//! - Rules that take a stimulus, a store or a clock belong to the scenarios, not here. [`NOT_YET`]
//!   lists what could be seen on the wire and is not judged, with reasons. Where the extension
//!   "extended headers" is negotiated, its rules apply; what it leaves as it was is judged by the
//!   base rules.
//!
//! The order in which the two directions are handed in matters: a request before its reply. Whoever
//! plays a side hands in what it sends before it sends it, and what it received before it acts.

mod answers;
mod chunks;
mod commands;
mod context;
mod coverage;
mod cut;
mod event;
mod extended;
mod flight;
mod framing;
mod handshake;
mod info;
mod option_replies;
mod options;
mod progress;
mod requests;
mod resync;
mod rules;
mod status;
mod stream;
mod strings;
mod teardown;
#[cfg(test)]
mod tests;
mod tls;
mod written;

use std::collections::VecDeque;

use protocol::codec::Limits;
use protocol::message::{Message, Side};
use protocol::payload::{Part, Recognizer};
use protocol::values::{HandshakeFlags, TransmissionFlags};

pub use event::{Close, Event, HEAD, Problem, ProblemKind, Seen, Violation};
pub use rules::{COVERED, NOT_YET, Rule};
pub use tls::{Begins, Tls, Unreadable};

use context::Selection;
use flight::Flight;
use options::Options;
use rules::{Finding, Findings};
use stream::{Bulk, Mode, Stream};
use written::{Compare, Written};

/// Where a session is joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Start {
    /// Before its first byte.
    #[default]
    Greeting,
    /// Somewhere in transmission: requests, and the replies to them, are told as they are found, and
    /// nothing is judged.
    Midway,
}

/// What is told of bulk besides its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Recognize {
    /// Nothing, which costs nothing.
    Nothing,
    /// Only where a read contradicts an earlier write: [`ProblemKind::DataDiffers`].
    Contradictions,
    /// Its form: a pattern, or a digest.
    #[default]
    Form,
    /// Its form, and how it begins where that is a digest: [`Seen::head`].
    FormAndHead,
}

/// How a session is followed.
#[derive(Debug, Clone)]
pub struct Config {
    /// How much of a message is kept; what is longer is bulk.
    pub limits: Limits,
    /// Where the session is joined.
    pub start: Start,
    /// What is told of bulk.
    pub recognize: Recognize,
    /// How many requests may be in flight before replies are no longer correlated.
    pub in_flight: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            start: Start::Greeting,
            recognize: Recognize::Form,
            in_flight: 1 << 16,
        }
    }
}

/// How far a session has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// The server's greeting is not complete.
    Greeting,
    /// The client's flags are not complete.
    Flags,
    /// Option haggling.
    Haggling,
    /// Requests and replies.
    Transmission,
}

/// The size constraints that a server advertised, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockSize {
    /// Smallest unit of offset and length.
    pub minimum: u32,
    /// Efficient unit.
    pub preferred: u32,
    /// Largest payload; `0xffffffff` for no limit.
    pub maximum: u32,
}

impl BlockSize {
    /// Whether a client could abide by it (section "Size constraints").
    fn is_lawful(self) -> bool {
        self.minimum.is_power_of_two()
            && self.minimum <= 1 << 16
            && self.preferred.is_power_of_two()
            && self.preferred >= self.minimum.max(512)
            && self.maximum >= self.preferred
    }
}

/// What transmission was entered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// Size in bytes.
    pub size: u64,
    /// What the export can do.
    pub flags: TransmissionFlags,
    /// The advertised constraints, if any.
    pub block_size: Option<BlockSize>,
    /// Whether the client asked for them, and so knows what they mean.
    pub asked_block_size: bool,
}

/// What the client negotiated, in the current state of TLS.
#[derive(Debug, Clone, Default)]
struct Negotiated {
    structured: bool,
    extended: bool,
    /// Structured replies were agreed before STARTTLS, which undid that.
    structured_before_tls: bool,
    /// The same for extended headers.
    extended_before_tls: bool,
    /// The contexts in force; `None` when that is not known.
    selection: Option<Selection>,
}

/// How the client said that it ends the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Farewell {
    Abort,
    Disc(protocol::message::Cookie),
}

/// What the judge of a message's head says about its frame.
#[derive(Debug, Clone, Copy, Default)]
struct Verdict {
    /// The number of what it answers.
    answers: Option<u64>,
    /// How much bulk follows, in bytes.
    bulk: u64,
    /// Where in the export the bulk belongs, in bytes.
    at: u64,
    /// What to compare it with.
    compare: Option<Compare>,
}

/// Events to be fetched, and what numbers messages.
#[derive(Default)]
struct Output {
    events: VecDeque<Event>,
    messages: u64,
    last: [u64; 2],
    /// Whether a party broke a MUST: the other one may hang up.
    broke: [bool; 2],
    now_ns: u64,
}

impl Output {
    /// The number of the next message to be complete.
    fn next_number(&self) -> u64 {
        self.messages + 1
    }

    fn message(&mut self, mut seen: Seen, findings: Findings) {
        self.messages += 1;
        let (number, time_ns) = (self.messages, seen.end_ns);
        seen.number = number;
        self.last[seen.from as usize] = number;
        self.events.push_back(Event::Message(seen));
        for finding in findings.0 {
            self.violation(finding, number, time_ns);
        }
    }

    fn violation(&mut self, finding: Finding, message: u64, time_ns: u64) {
        let Finding { rule, party, field, text } = finding;
        let requirement = rule.requirement();
        self.broke[party as usize] |= requirement.level.is_binding();
        let violation = Violation { message, time_ns, requirement, party, text, field };
        self.events.push_back(Event::Violation(violation));
    }

    /// Accuses `party` of something that is not a message of its own.
    fn accuse(&mut self, rule: Rule, party: Side, text: impl Into<String>) {
        let finding = Finding { rule, party, field: None, text: text.into() };
        self.violation(finding, self.last[party as usize], self.now_ns);
    }
}

/// Follows both directions of one connection.
pub struct Session {
    config: Config,
    streams: [Stream; 2],
    out: Output,
    phase: Phase,
    tls: bool,
    greeting: Option<HandshakeFlags>,
    client_flags: Option<protocol::values::ClientFlags>,
    options: Options,
    negotiated: Negotiated,
    export: Option<Export>,
    flight: Flight,
    replies: answers::Replies,
    farewell: Option<Farewell>,
    /// What was written, where reads are compared with it.
    written: Option<Box<Written>>,
    /// When each side was heard last.
    heard_ns: [u64; 2],
    /// Who is known to have received all that the other side has sent so far.
    informed: [bool; 2],
    /// What is not known of the message that is being judged.
    unknown: &'static [&'static str],
    /// The server said that it shuts down, and the client has not been accused of going on.
    shuts_down: bool,
}

impl Session {
    /// A session of which nothing has been seen.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let flight = Flight::new(config.in_flight);
        let start = config.start;
        let compares = config.recognize == Recognize::Contradictions;
        let mut session = Self {
            config,
            streams: [Stream::default(), Stream::default()],
            out: Output::default(),
            phase: Phase::Greeting,
            tls: false,
            greeting: None,
            client_flags: None,
            options: Options::default(),
            negotiated: Negotiated { selection: Some(Selection::default()), ..Default::default() },
            export: None,
            flight,
            replies: answers::Replies::default(),
            farewell: None,
            written: compares.then(|| Box::new(Written::new())),
            heard_ns: [0; 2],
            informed: [false; 2],
            unknown: &[],
            shuts_down: false,
        };
        if start == Start::Midway {
            session.phase = Phase::Transmission;
            session.negotiated.selection = None;
            session.resync(Side::Client);
            session.resync(Side::Server);
        }
        session
    }

    /// Bytes that `from` sent, in order, seen at `time_ns`. Fetch the events between calls, and
    /// hand in pieces of moderate size (64 KiB): each message in the piece is an event in memory.
    /// Gives how many bytes at the end of the piece are TLS, which was agreed in the piece.
    pub fn received(&mut self, from: Side, time_ns: u64, bytes: &[u8]) -> usize {
        self.out.now_ns = time_ns;
        self.heard_ns[from as usize] = time_ns;
        self.informed[from.other() as usize] = false;
        let stream = self.stream(from);
        if stream.closed.is_some() {
            return 0;
        }
        // What was unread of another kind is counted off when TLS is agreed.
        let before = if matches!(stream.mode, Mode::Tls) { stream.unread } else { 0 };
        self.follow(from, time_ns, bytes);
        match self.stream(from) {
            Stream { mode: Mode::Tls, unread, .. } => {
                bytes.len().min(unread.saturating_sub(before) as usize)
            }
            _ => 0,
        }
    }

    /// What `from` sends next, or its end, it sent after it had received all that the other side has
    /// sent so far: TCP acknowledged it. To be called before [`Session::received`]; without it
    /// nobody is accused of going on as if nothing had been said.
    pub fn is_informed(&mut self, from: Side) {
        self.informed[from as usize] = true;
    }

    /// `from` will send no more.
    pub fn closed(&mut self, from: Side, time_ns: u64, how: Close) {
        self.out.now_ns = time_ns;
        if self.stream(from).closed.is_none() {
            self.close(from, how);
        }
    }

    /// A hole: `missing` bytes of `from` were not captured. Inside of bulk the session is followed
    /// over the hole; elsewhere from the next message on that can be found, which is no longer
    /// judged.
    pub fn gap(&mut self, from: Side, time_ns: u64, missing: u64) {
        self.out.now_ns = time_ns;
        if self.stream(from).closed.is_none() && missing > 0 {
            self.skip(from, missing);
        }
    }

    /// How far the session has come.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether `side` broke a MUST or MUST NOT so far.
    #[must_use]
    pub fn broke(&self, side: Side) -> bool {
        self.out.broke[side as usize]
    }

    /// What transmission was entered with, if that was seen.
    #[must_use]
    pub fn export(&self) -> Option<&Export> {
        self.export.as_ref()
    }

    /// How many of the next bytes of `from` are payload, as far as is known: none of them says
    /// anything that is judged.
    #[must_use]
    pub fn bulk(&self, from: Side) -> u64 {
        match &self.streams[from as usize].mode {
            // What is compared is judged.
            Mode::Bulk(bulk) if bulk.contents.is_none() => bulk.left,
            _ => 0,
        }
    }

    /// The oldest event that was not fetched.
    pub fn next_event(&mut self) -> Option<Event> {
        self.out.events.pop_front()
    }

    /// All events that were not fetched, for an empty buffer, which is used for the next ones.
    pub fn swap_events(&mut self, buffer: &mut VecDeque<Event>) {
        std::mem::swap(&mut self.out.events, buffer);
    }

    /// No more will be seen: tells what is outstanding.
    pub fn finish(&mut self) {
        self.outstanding();
    }

    fn stream(&mut self, side: Side) -> &mut Stream {
        &mut self.streams[side as usize]
    }

    /// Whether everything that `side` said so far is known. What a side says when that is not so is
    /// told, as far as it is found, and not judged.
    fn follows(&self, side: Side) -> bool {
        !self.streams[side as usize].is_lost()
    }

    /// Judges a message whose head is complete, and tells it unless bulk follows.
    fn head(&mut self, from: Side, began_ns: u64, message: Message, taken: usize) {
        let mut found = Findings::default();
        let verdict = match &message {
            Message::Greeting(greeting) => self.greeting(greeting, &mut found),
            Message::ClientFlags(flags) => self.client_flags(*flags, &mut found),
            Message::Option(option) => self.option(option, &mut found),
            Message::OptionReply(reply) => self.option_reply(reply, &mut found),
            Message::ExportInfo(info) => self.export_info(info, &mut found),
            Message::Request(request) => self.request(request, &mut found),
            Message::SimpleReply(reply) => self.simple_reply(reply, &mut found),
            Message::Chunk(chunk) => self.chunk(chunk, &mut found),
        };
        // Who is not known in full is not judged, nor who answers requests that may be missing.
        let answers = from == Side::Server && self.phase == Phase::Transmission;
        if self.is_patchy(from) || answers && self.is_patchy(Side::Client) {
            found.0.clear();
        }
        for finding in &found.0 {
            let binding = finding.rule.requirement().level.is_binding();
            self.out.broke[finding.party as usize] |= binding;
        }
        let seen = Seen {
            number: 0,
            time_ns: began_ns,
            end_ns: self.out.now_ns,
            from,
            offset: self.streams[from as usize].offset,
            length: (taken as u64).saturating_add(verdict.bulk),
            tls: self.tls,
            message,
            payload: None,
            head: None,
            answers: verdict.answers,
            unknown: self.unknown,
        };
        if verdict.bulk == 0 || !self.stream(from).has_messages() {
            self.stream(from).offset += seen.length;
            let hole = verdict.compare.and_then(|_| written::hole(&seen.message));
            self.out.message(seen, found);
            if let Some(compare) = verdict.compare {
                self.compare_hole(hole, compare);
            }
            return;
        }
        let recognizer = match self.config.recognize {
            Recognize::Nothing | Recognize::Contradictions => None,
            Recognize::Form | Recognize::FormAndHead => Some(Recognizer::new(verdict.at)),
        };
        let (left, total) = (verdict.bulk, verdict.bulk);
        let contents = self.contents(&seen.message, verdict.at, verdict.compare);
        self.stream(from).mode =
            Mode::Bulk(Bulk { seen, findings: found, left, total, recognizer, contents });
    }

    /// Tells a message whose bulk is complete, or cut off.
    fn tail(&mut self, from: Side, bulk: Bulk) {
        let Bulk { mut seen, findings, left, total, recognizer, contents } = bulk;
        seen.end_ns = self.out.now_ns;
        seen.length -= left;
        if self.config.recognize == Recognize::FormAndHead {
            seen.head =
                recognizer.as_ref().map(|it| it.head().iter().copied().take(HEAD).collect());
        }
        let payload = Bulk::payload(recognizer, total - left);
        if !matches!(payload.0[..], [Part::Digest(..)]) {
            seen.head = None;
        }
        seen.payload = Some(payload);
        let stream = self.stream(from);
        stream.offset += seen.length;
        let number = self.out.next_number();
        match &seen.message {
            Message::Request(request) => self.flight.numbered(request.cookie, number),
            Message::Option(_) => self.options.numbered(number),
            _ => {}
        }
        self.out.message(seen, findings);
        if left == 0
            && let Some(contents) = contents
        {
            self.contents_end(&contents);
        }
    }

    fn problem(&mut self, kind: ProblemKind, from: Side, text: impl Into<String>) {
        use ProblemKind::{Ambiguous, Lost, Resumed};
        if self.stream(from).quiet && matches!(kind, Ambiguous | Lost | Resumed) {
            return;
        }
        let time_ns = self.out.now_ns;
        let offset = self.stream(from).position();
        let problem = Problem { kind, from, time_ns, offset, text: text.into() };
        self.out.events.push_back(Event::Problem(problem));
    }

    fn is_patchy(&self, side: Side) -> bool {
        self.streams[side as usize].patchy
    }

    /// `from` can't be followed from here on, or not until a message is found.
    fn lose(&mut self, from: Side, kind: ProblemKind, text: impl Into<String>) {
        if self.stream(from).has_messages() {
            self.problem(kind, from, text);
            if kind == ProblemKind::Ambiguous || self.is_patchy(from) {
                self.stream(from).untold = kind == ProblemKind::Ambiguous;
                return self.resync(from);
            }
            let stream = self.stream(from);
            stream.unread += stream.buffer.len() as u64;
            stream.buffer = Vec::new();
            stream.mode = Mode::Lost;
            if from == Side::Server {
                self.flight.clear();
            }
        }
    }
}
