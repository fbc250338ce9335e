//! The judge of one connection: its state, and what becomes of each message.

use std::collections::VecDeque;

use protocol::message::{Both, Message, Side};
use protocol::payload::{Part, Recognizer};
use protocol::values::{ClientFlags, HandshakeFlags};

use super::config::{Config, Recognize, Start};
use super::event::{Close, Event, HEAD, Problem, ProblemKind, Seen};
use super::export::Export;
use super::flight::Flight;
use super::haggling::Options;
use super::output::Output;
use super::phase::{Farewell, Negotiated, Phase};
use super::replies::Replies;
use super::rules::Findings;
use super::selection::Selection;
use super::stream::{Bulk, Mode, Stream};
use super::written::{Written, hole};

/// Follows both directions of one connection.
pub struct Session {
    pub(super) config: Config,
    pub(super) streams: Both<Stream>,
    pub(super) out: Output,
    pub(super) phase: Phase,
    pub(super) tls: bool,
    pub(super) greeting: Option<HandshakeFlags>,
    pub(super) client_flags: Option<ClientFlags>,
    pub(super) options: Options,
    pub(super) negotiated: Negotiated,
    pub(super) export: Option<Export>,
    pub(super) flight: Flight,
    pub(super) replies: Replies,
    pub(super) farewell: Option<Farewell>,
    /// What was written, where reads are compared with it.
    pub(super) written: Option<Box<Written>>,
    /// When each side was heard last.
    pub(super) heard_ns: Both<u64>,
    /// Who is known to have received all that the other side has sent so far.
    pub(super) informed: Both<bool>,
    /// What is not known of the message that is being judged.
    pub(super) unknown: &'static [&'static str],
    /// The server said that it shuts down, and the client has not been accused of going on.
    pub(super) shuts_down: bool,
    /// When requests were in flight last where there had been none.
    pub(super) asked_ns: u64,
    /// The client set flags over which the server closes, and it has not said anything since.
    pub(super) must_close: bool,
    /// Bytes that were judged, and those that could not be.
    pub(super) judged: u64,
    pub(super) unjudged: u64,
    /// The last request of the client was a write: its data may be longer than it says, or shorter.
    pub(super) wrote: bool,
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
            streams: Both::default(),
            out: Output::default(),
            phase: Phase::Greeting,
            tls: false,
            greeting: None,
            client_flags: None,
            options: Options::default(),
            negotiated: Negotiated { selection: Some(Selection::default()), ..Default::default() },
            export: None,
            flight,
            replies: Replies::default(),
            farewell: None,
            written: compares.then(|| Box::new(Written::new())),
            heard_ns: Both::default(),
            informed: Both::default(),
            unknown: &[],
            shuts_down: false,
            asked_ns: 0,
            must_close: false,
            judged: 0,
            unjudged: 0,
            wrote: false,
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
        if from == Side::Server {
            self.silence(time_ns);
        }
        self.heard_ns[from] = time_ns;
        self.informed[from.other()] = false;
        let stream = self.stream(from);
        if stream.closed.is_some() {
            return 0;
        }
        // What was unread of another kind is counted off when TLS is agreed.
        let secret = matches!(stream.mode, Mode::Tls);
        let before = if secret { stream.unread } else { 0 };
        let idle = self.flight.open() == 0;
        self.follow(from, time_ns, bytes);
        if idle && self.flight.open() > 0 {
            self.asked_ns = time_ns;
        }
        let tls = match self.stream(from) {
            Stream { mode: Mode::Tls, unread, .. } => {
                let new = usize::try_from(unread.saturating_sub(before)).unwrap_or(usize::MAX);
                bytes.len().min(new)
            }
            _ => 0,
        };
        let lost = self.streams[from].is_lost()
            || matches!(self.streams[from].mode, Mode::Resync)
            || from == Side::Server && self.is_patchy(Side::Client);
        let unjudged = if lost { bytes.len() } else { tls };
        self.judged += (bytes.len() - unjudged) as u64;
        // Where TLS has just been agreed, what is of it may come again, opened.
        self.unjudged += if lost || secret { unjudged as u64 } else { 0 };
        tls
    }

    /// How many bytes were judged, and how many could not be: missing, inside TLS that was not opened,
    /// or such that it is not known what they are or answer.
    #[must_use]
    pub fn judged(&self) -> (u64, u64) {
        (self.judged, self.unjudged)
    }

    /// What `from` sends next, or its end, it sent after it had received all that the other side has
    /// sent so far: TCP acknowledged it. To be called before [`Session::received`]; without it
    /// nobody is accused of going on as if nothing had been said.
    pub fn is_informed(&mut self, from: Side) {
        self.informed[from] = true;
    }

    /// `from` will send no more.
    pub fn closed(&mut self, from: Side, time_ns: u64, how: Close) {
        self.out.now_ns = time_ns;
        self.out.positions[from] = self.stream(from).position();
        if from == Side::Server {
            self.silence(time_ns);
        }
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
            self.unjudged += missing;
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
        self.out.broke[side]
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
        match &self.streams[from].mode {
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

    /// How much memory is taken by what is remembered of the session, in bytes; roughly.
    #[must_use]
    pub fn memory(&self) -> usize {
        let buffers = self.streams.iter().map(|stream| stream.buffer.capacity()).sum::<usize>();
        let written = self.written.as_ref().map_or(0, |written| written.memory());
        self.flight.memory() + written + buffers
    }

    /// Forgets what takes most memory. From here on reads are not compared with writes any more, and if
    /// requests are forgotten, replies are not told from those that answer nothing.
    pub fn free_memory(&mut self) {
        let written = self.written.take().map_or(0, |written| written.memory());
        if written < self.flight.memory() {
            let told = self.flight.is_incomplete();
            self.flight.clear();
            if told {
                return;
            }
            let text = "the sessions take too much memory together; replies are no longer \
                        correlated in this one";
            self.problem(ProblemKind::Limit, Side::Client, text);
        }
    }

    /// No more will be seen: tells what is outstanding.
    pub fn finish(&mut self) {
        self.outstanding();
    }

    /// The next message of `from` begins so many bytes later.
    fn advance(&mut self, from: Side, bytes: u64) {
        let stream = &mut self.streams[from];
        stream.offset += bytes;
        self.out.positions[from] = stream.offset;
    }

    pub(super) fn stream(&mut self, side: Side) -> &mut Stream {
        &mut self.streams[side]
    }

    /// Whether everything that `side` said so far is known. What a side says when that is not so is
    /// told, as far as it is found, and not judged.
    pub(super) fn follows(&self, side: Side) -> bool {
        !self.streams[side].is_lost()
    }

    /// Judges a message whose head is complete, and tells it unless bulk follows.
    pub(super) fn head(&mut self, from: Side, began_ns: u64, message: Message, taken: usize) {
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
            self.out.broke[finding.party] |= binding;
        }
        let seen = Seen {
            number: 0,
            time_ns: began_ns,
            end_ns: self.out.now_ns,
            from,
            offset: self.streams[from].offset,
            length: (taken as u64).saturating_add(verdict.bulk),
            tls: self.tls,
            message,
            payload: None,
            head: None,
            answers: verdict.answers,
            unknown: self.unknown,
        };
        if verdict.bulk == 0 || !self.stream(from).has_messages() {
            self.advance(from, seen.length);
            let hole = verdict.compare.and_then(|_| hole(&seen.message));
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
    pub(super) fn tail(&mut self, from: Side, bulk: Bulk) {
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
        self.advance(from, seen.length);
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

    pub(super) fn problem(&mut self, kind: ProblemKind, from: Side, text: impl Into<String>) {
        use ProblemKind::{Ambiguous, Lost, Resumed};
        if self.stream(from).quiet && matches!(kind, Ambiguous | Lost | Resumed) {
            return;
        }
        let time_ns = self.out.now_ns;
        let offset = self.stream(from).position();
        let problem = Problem { kind, from, time_ns, offset, text: text.into() };
        self.out.events.push_back(Event::Problem(problem));
    }

    pub(super) fn is_patchy(&self, side: Side) -> bool {
        self.streams[side].patchy
    }

    /// `from` can't be followed from here on, or not until a message is found.
    pub(super) fn lose(&mut self, from: Side, kind: ProblemKind, text: impl Into<String>) {
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
