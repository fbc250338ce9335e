//! One TCP connection: is it NBD, and if so, the session on it.

use std::collections::VecDeque;
use std::net::SocketAddr;

use protocol::message::Side;
use protocol::values::INIT_MAGIC;

use super::before::Before;
use super::doubt::Doubt;
use super::midway::Joined;
use super::secure::Secure;
use super::{Ended, Note, Record, SessionInfo, Sink, Totals};
use crate::net::Segment;
use crate::plural::Plural;
use crate::session::{self, Close, Config, Event, Problem, ProblemKind, Recognize, Session};
use crate::tcp::{Aside, Delivery, Reassembly};
use crate::tls::{Growth, KeyLog};

/// What a flow needs from outside while it takes a segment.
pub(super) struct Context<'a, S> {
    pub(super) sink: &'a mut S,
    /// How many sessions there have been.
    pub(super) sessions: &'a mut u64,
    /// What is told of payloads.
    pub(super) recognize: Recognize,
    /// What TLS can be opened with.
    pub(super) keys: &'a mut KeyLog,
}

/// A connection.
pub(super) struct Flow {
    /// The client's address.
    client: SocketAddr,
    server: SocketAddr,
    start_ns: u64,
    pub(super) last_ns: u64,
    /// Initial sequence numbers, where the handshake was seen.
    initial: [Option<u32>; 2],
    /// Who broke the connection off, and the number up to where it had sent.
    reset: Option<(Side, u32)>,
    /// The connection whose place it took.
    before: Option<Box<Before>>,
    /// What the checksums of both directions were.
    doubts: [Doubt; 2],
    /// Taken out while it hands on.
    reassembly: Option<Box<Reassembly>>,
    state: State,
}

/// The order in which connections are brought to an end when the capture is over: those with a
/// session first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Order {
    /// The session's number, if there is one.
    pub(super) number: u64,
    start_ns: u64,
    ends: (SocketAddr, SocketAddr),
}

enum State {
    /// Not enough has been seen.
    Waiting {
        /// The server's first bytes, up to 8.
        prelude: Vec<u8>,
        /// The port says that it is NBD.
        known: bool,
    },
    Live(Box<Live>),
    /// The session is over, or was none.
    Over,
}

pub(super) struct Live {
    pub(super) info: SessionInfo,
    pub(super) judge: Option<Session>,
    /// Once TLS has begun.
    pub(super) tls: Option<Box<Secure>>,
    /// While it is open what a session is that began before the capture.
    pub(super) joined: Option<Box<Joined>>,
    pub(super) totals: Totals,
    /// Empty; used again and again.
    events: VecDeque<Event>,
}

impl Flow {
    pub(super) fn new(client: SocketAddr, server: SocketAddr, time_ns: u64, known: bool) -> Self {
        Self {
            client,
            server,
            start_ns: time_ns,
            last_ns: time_ns,
            initial: [None; 2],
            reset: None,
            before: None,
            doubts: [Doubt::default(); 2],
            reassembly: Some(Box::default()),
            state: State::Waiting { prelude: Vec::new(), known },
        }
    }

    /// Who sent a segment from this address.
    pub(super) fn side(&self, source: SocketAddr) -> Side {
        if source == self.server { Side::Server } else { Side::Client }
    }

    /// Whether the segment opens another connection between the same addresses.
    pub(super) fn is_replaced_by(&self, segment: &Segment<'_>) -> bool {
        if !segment.syn {
            return false;
        }
        // Without an acknowledgment it comes from whoever connects, who may have been the server
        // of the connection before.
        let opener = if segment.acknowledgment.is_none() { Side::Client } else { Side::Server };
        if self.side(segment.source) != opener {
            return true;
        }
        match self.initial[opener as usize] {
            Some(known) => known != segment.sequence,
            // A connection that was met midway, or whose other half of the handshake was seen.
            None => self.initial == [None; 2],
        }
    }

    /// Takes the place of another connection that may go on all the same.
    pub(super) fn replaces(&mut self, old: &Self) {
        if let Some(reassembly) = &old.reassembly
            && old.client == self.client
        {
            let next = [Side::Client, Side::Server].map(|side| reassembly.next(side));
            self.before = Some(Box::new(Before { next, told: false }));
        }
    }

    /// Whether a segment is one of the connection whose place this one took.
    fn is_of_another<S: Sink>(
        &mut self,
        from: Side,
        time_ns: u64,
        segment: &Segment<'_>,
        sink: &mut S,
    ) -> bool {
        let Some(before) = &mut self.before else { return false };
        let takes = before.takes(from, segment);
        if takes && !before.told && !segment.payload.is_empty() {
            before.told = true;
            let (client, server) = (self.client, self.server);
            let text = format!(
                "two connections at once between {client} and {server}, perhaps in two VLANs; the \
                 first is not followed any more"
            );
            let note = Note { kind: "same-addresses", time_ns, text };
            sink.record(Record::Problem(None, &note));
        }
        takes
    }

    pub(super) fn held_bytes(&self) -> usize {
        let early = self.reassembly.as_ref().map_or(0, |reassembly| reassembly.held_memory());
        match &self.state {
            State::Live(live) => early + live.held_memory(),
            _ => early,
        }
    }

    /// Whether it stands still until secrets come.
    pub(super) fn awaits_secrets(&self) -> bool {
        matches!(&self.state, State::Live(live) if live.awaits_secrets())
    }

    /// Goes on if the secrets have come that it waits for, or the wait has been long enough.
    pub(super) fn resume<S: Sink>(&mut self, now_ns: u64, context: &mut Context<'_, S>) {
        if let State::Live(live) = &mut self.state {
            live.resume(now_ns, context);
            self.end(context);
        }
    }

    /// Ends if the connection is over, and nothing is waited for that may still come.
    fn end<S: Sink>(&mut self, context: &mut Context<'_, S>) {
        let over = self.reassembly.as_ref().is_some_and(|reassembly| reassembly.is_over());
        if over && !(self.awaits_secrets() && context.keys.growth() == Growth::AnyTime) {
            self.finish(context);
        }
        if self.is_over() {
            self.reassembly = None; // drops what is held
        }
    }

    pub(super) fn is_live(&self) -> bool {
        matches!(self.state, State::Live(_))
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    pub(super) fn segment<S: Sink>(
        &mut self,
        time_ns: u64,
        segment: &Segment<'_>,
        context: &mut Context<'_, S>,
    ) {
        self.last_ns = self.last_ns.max(time_ns);
        let from = self.side(segment.source);
        if self.is_of_another(from, time_ns, segment, context.sink) {
            return;
        }
        if self.is_over() {
            return self.after_reset(from, time_ns, segment, context.sink);
        }
        if segment.syn {
            self.initial[from as usize] = Some(segment.sequence);
        }
        let Some(mut taken) = self.reassembly.take_if(|taken| !taken.is_over()) else {
            return;
        };
        let mut doubt = self.doubts[from as usize];
        let judge = self.judge();
        let bulk = judge.map_or(0, |judge| judge.bulk(from));
        let doubtful = doubt.of(segment, bulk, || {
            judge.is_some_and(|judge| judge.makes_sense(from, segment.payload))
        });
        self.doubts[from as usize] = doubt;
        taken.segment(from, time_ns, segment, doubtful, &mut |delivery| {
            self.deliver(&delivery, context);
        });
        let over = taken.is_over();
        self.reassembly = Some(taken);
        if over && segment.rst && matches!(self.state, State::Live(_)) {
            self.reset = Some((from, segment.sequence));
        }
        self.end(context);
    }

    /// Who broke a session off and goes on all the same did not break it off, or reuses its port:
    /// that is told once.
    fn after_reset<S: Sink>(
        &mut self,
        from: Side,
        time_ns: u64,
        segment: &Segment<'_>,
        sink: &mut S,
    ) {
        let Some((side, number)) = self.reset else { return };
        let end = segment.sequence.wrapping_add(segment.payload.len() as u32);
        let later = end.wrapping_sub(number) as i32 > 0;
        if from == side && later && !segment.rst && !segment.payload.is_empty() {
            self.reset = None;
            let (name, address) = (from.name(), segment.source);
            let text =
                format!("the {name} {address} sends bytes after a RST of its own; not followed");
            let note = Note { kind: "after-reset", time_ns, text };
            sink.record(Record::Problem(None, &note));
        }
    }

    /// The judge, where it is given the bytes as they come.
    fn judge(&self) -> Option<&Session> {
        match &self.state {
            State::Live(live) if live.tls.is_none() => live.judge.as_ref(),
            _ => None,
        }
    }

    /// Gives up waiting for what is missing, to free memory.
    pub(super) fn give_up<S: Sink>(&mut self, context: &mut Context<'_, S>) {
        let Some(mut taken) = self.reassembly.take() else {
            return;
        };
        let last_ns = self.last_ns;
        taken.finish(last_ns, &mut |delivery| self.deliver(&delivery, context));
        self.reassembly = Some(taken);
        if let State::Live(live) = &mut self.state {
            live.stop_waiting(context);
        }
    }

    /// The capture is over, or the connection is.
    pub(super) fn finish<S: Sink>(&mut self, context: &mut Context<'_, S>) {
        if self.is_over() {
            return;
        }
        self.give_up(context);
        // A server that accepts a connection and stays silent is worth telling.
        if matches!(self.state, State::Waiting { known: true, .. })
            && self.initial[Side::Server as usize].is_some()
        {
            self.open(None, true, context);
        }
        if let State::Live(mut live) = std::mem::replace(&mut self.state, State::Over) {
            live.totals.retransmitted = self.reassembly.as_ref().map_or(0, |r| r.retransmitted());
            live.finish(context.sink);
        }
    }

    /// For an order that does not depend on a hash.
    pub(super) fn order(&self) -> Order {
        let number = match &self.state {
            State::Live(live) => live.info.number,
            _ => u64::MAX,
        };
        Order { number, start_ns: self.start_ns, ends: (self.client, self.server) }
    }

    /// Ends the session because there are too many connections to follow.
    pub(super) fn forget<S: Sink>(&mut self, context: &mut Context<'_, S>) {
        if let State::Live(live) = &mut self.state {
            live.note(
                context.sink,
                Note {
                    kind: "forgotten",
                    time_ns: self.last_ns,
                    text: "too many connections at once; this one is no longer followed".to_owned(),
                },
            );
        }
        self.finish(context);
    }

    fn deliver<S: Sink>(&mut self, delivery: &Delivery<'_>, context: &mut Context<'_, S>) {
        match &mut self.state {
            State::Over => {}
            State::Live(live) => live.deliver(delivery, context),
            State::Waiting { .. } => self.decide(delivery, context),
        }
    }

    /// Finds out whether the connection carries NBD. A server speaks first.
    fn decide<S: Sink>(&mut self, delivery: &Delivery<'_>, context: &mut Context<'_, S>) {
        let State::Waiting { prelude, known } = &mut self.state else {
            return;
        };
        // Only the server's SYN says where its bytes begin; the client's is not missed: the server
        // acknowledges it. Where the client's alone was seen, the server's first bytes were missed.
        let [client, server] = self.initial.map(|number| number.is_some());
        let gap = matches!(delivery, Delivery::Gap { from: Side::Server, .. });
        let from_start = server || client && gap;
        match start(prelude, *known, from_start, delivery) {
            Start::Unclear => {}
            Start::Not => self.state = State::Over,
            Start::Whole => self.open(Some(delivery), true, context),
            Start::Midway => self.open(Some(delivery), false, context),
        }
    }

    /// Begins a session with what has been kept, and the delivery that showed what it is.
    fn open<S: Sink>(
        &mut self,
        delivery: Option<&Delivery<'_>>,
        whole: bool,
        context: &mut Context<'_, S>,
    ) {
        let prelude = match &mut self.state {
            State::Waiting { prelude, .. } => std::mem::take(prelude),
            _ => Vec::new(),
        };
        *context.sessions += 1;
        let info = SessionInfo {
            number: *context.sessions,
            client: self.client,
            server: self.server,
            start_ns: self.start_ns,
        };
        let totals = Totals {
            sessions: 1,
            start_ns: self.start_ns,
            end_ns: self.start_ns,
            ..Totals::default()
        };
        let start = if whole { session::Start::Greeting } else { session::Start::Midway };
        let recognize = context.recognize;
        let judge = Some(Session::new(Config { recognize, start, ..Config::default() }));
        let joined = (!whole).then(Box::default);
        let events = VecDeque::new();
        let mut live = Box::new(Live { info, judge, tls: None, joined, totals, events });
        context.sink.record(Record::Opened(&live.info));
        if !prelude.is_empty() {
            let early =
                Delivery::Data { from: Side::Server, time_ns: self.start_ns, bytes: &prelude };
            live.deliver(&early, context);
        }
        if let Some(delivery) = delivery {
            live.deliver(delivery, context);
        }
        self.state = State::Live(live);
    }
}

/// What the first bytes of a connection say.
enum Start {
    /// More must be seen; what has been is kept in the prelude.
    Unclear,
    /// It is not NBD.
    Not,
    /// NBD, from the first byte.
    Whole,
    /// NBD, but the session began before the capture.
    Midway,
}

fn start(prelude: &mut Vec<u8>, known: bool, from_start: bool, delivery: &Delivery<'_>) -> Start {
    let magic = INIT_MAGIC.to_be_bytes();
    match delivery {
        // A refused connection is no session.
        Delivery::Reset { .. } => Start::Not,
        Delivery::Conflict { .. } | Delivery::Aside { .. } => Start::Unclear,
        _ if known && from_start => Start::Whole,
        Delivery::Data { from: Side::Server, bytes, .. } => {
            let seen: Vec<u8> = prelude.iter().chain(*bytes).copied().take(magic.len()).collect();
            match magic.starts_with(&seen) {
                true if seen.len() == magic.len() => Start::Whole,
                true => {
                    *prelude = seen;
                    Start::Unclear
                }
                false if known => Start::Midway,
                false => Start::Not,
            }
        }
        _ if known => Start::Midway,
        _ => Start::Not,
    }
}

impl Live {
    fn deliver<S: Sink>(&mut self, delivery: &Delivery<'_>, context: &mut Context<'_, S>) {
        if let Delivery::Data { from, bytes, .. } = delivery {
            self.totals.bytes[*from as usize] += bytes.len() as u64;
        }
        if !self.hold(delivery, context) {
            self.take(delivery, context);
        }
    }

    pub(super) fn take<S: Sink>(&mut self, delivery: &Delivery<'_>, context: &mut Context<'_, S>) {
        let time_ns = delivery.time_ns();
        self.totals.end_ns = self.totals.end_ns.max(time_ns);
        let ended = match *delivery {
            Delivery::End { from, .. } => Some(Ended { from, time_ns, how: Close::End }),
            Delivery::Reset { from, .. } => Some(Ended { from, time_ns, how: Close::Reset }),
            Delivery::Conflict { from, length, .. } => {
                let text = format!(
                    "{} of the {} came again and {}; the first ones count",
                    Plural(length, "byte"),
                    from.name(),
                    if length == 1 { "differs" } else { "differ" },
                );
                return self.note(context.sink, Note { kind: "overlap", time_ns, text });
            }
            Delivery::Aside { from, what, .. } => {
                return self.note(context.sink, aside(from, time_ns, what));
            }
            Delivery::Data { .. } | Delivery::Gap { .. } => None,
        };
        self.meet_tls(delivery);
        if self.is_midway_tls(delivery, context.sink) {
            // its records are only counted
        } else if self.tls.is_some() {
            self.deliver_tls(delivery, context);
        } else if let Some(judge) = &mut self.judge {
            match *delivery {
                Delivery::Data { from, bytes, .. } => {
                    let rest = judge.received(from, time_ns, bytes);
                    if judge.expects_tls() {
                        self.begin_tls(false);
                        let bytes = &bytes[bytes.len() - rest..];
                        self.drain(None, context.sink);
                        self.deliver_tls(&Delivery::Data { from, time_ns, bytes }, context);
                    }
                }
                Delivery::Gap { from, missing, .. } => judge.gap(from, time_ns, missing),
                Delivery::Conflict { .. } | Delivery::Aside { .. } => {}
                Delivery::End { from, .. } => judge.closed(from, time_ns, Close::End),
                Delivery::Reset { from, .. } => judge.closed(from, time_ns, Close::Reset),
            }
        }
        self.drain(ended, context.sink);
    }

    /// Hands on what the judge has to tell. The end of a direction comes after what it cut off and
    /// before what is wrong with it.
    pub(super) fn drain<S: Sink>(&mut self, mut ended: Option<Ended>, sink: &mut S) {
        let mut events = std::mem::take(&mut self.events);
        if let Some(judge) = &mut self.judge {
            judge.swap_events(&mut events);
        }
        if self.joined.is_some() && (ended.is_some() || events.iter().any(is_found)) {
            self.is_midway_nbd(sink);
        }
        for event in &events {
            if let Event::Message(seen) = event {
                self.totals.messages[seen.from as usize] += 1;
                self.totals.counts.count(&seen.message);
            }
        }
        if !sink.wants_messages() {
            // Here and not below: what is dropped in place need not be moved.
            events.retain(|event| !matches!(event, Event::Message(_)));
        }
        for event in events.drain(..) {
            match event {
                Event::Message(seen) => sink.message(&self.info, seen),
                Event::Violation(violation) => {
                    if let Some(ended) = ended.take() {
                        sink.record(Record::Ended(&self.info, ended));
                    }
                    if violation.requirement.level.is_binding() {
                        self.totals.violations += 1;
                    } else {
                        self.totals.warnings += 1;
                    }
                    sink.record(Record::Violation(&self.info, &violation));
                }
                Event::Problem(Problem { kind, time_ns, text, .. }) => {
                    self.note(sink, Note { kind: kind.name(), time_ns, text });
                }
            }
        }
        self.events = events;
        if let Some(ended) = ended {
            sink.record(Record::Ended(&self.info, ended));
        }
    }

    pub(super) fn note<S: Sink>(&mut self, sink: &mut S, note: Note) {
        self.totals.problems += 1;
        sink.record(Record::Problem(Some(&self.info), &note));
    }

    fn finish<S: Sink>(&mut self, sink: &mut S) {
        self.finish_midway(sink);
        self.finish_tls(self.totals.end_ns);
        if let Some(judge) = &mut self.judge {
            judge.finish();
        }
        self.drain(None, sink);
        sink.record(Record::Closed(&self.info, &self.totals));
    }
}

/// What is told of a packet that does not count.
fn aside(from: Side, time_ns: u64, what: Aside) -> Note {
    let name = from.name();
    match what {
        Aside::StrayReset => Note {
            kind: "stray-reset",
            time_ns,
            text: format!("a RST of the {name} is far from the bytes it sends, and is ignored"),
        },
        Aside::Damaged(length) => Note {
            kind: "bad-checksum",
            time_ns,
            text: format!(
                "{} of the {name} came with a wrong TCP checksum, and {} not count",
                Plural(length, "byte"),
                if length == 1 { "does" } else { "do" },
            ),
        },
    }
}

/// Whether a message was found.
fn is_found(event: &Event) -> bool {
    match event {
        Event::Message(_) => true,
        Event::Problem(problem) => problem.kind == ProblemKind::Resumed,
        Event::Violation(_) => false,
    }
}
