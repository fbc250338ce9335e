//! One TCP connection: is it NBD, and if so, the session on it.

use std::net::SocketAddr;

use protocol::message::{Both, Side};
use protocol::values::INIT_MAGIC;

use super::checksums::Checksums;
use super::context::Context;
use super::live::Live;
use super::replaced::Replaced;
use super::{Note, Record, SessionInfo, Sink};
use crate::net::Segment;
use crate::session::Session;
use crate::tcp::{Delivery, Reassembly};
use crate::tls::Growth;

/// A connection.
pub(super) struct Flow {
    /// The client's address.
    client: SocketAddr,
    server: SocketAddr,
    start_ns: u64,
    pub(super) last_ns: u64,
    /// Initial sequence numbers, where the handshake was seen.
    initial: Both<Option<u32>>,
    /// Who broke the connection off, and the number up to where it had sent.
    reset: Option<(Side, u32)>,
    /// The connection whose place it took.
    replaced: Option<Box<Replaced>>,
    /// A SYN that may begin another connection, and when it came.
    held_syn: Option<Box<(u64, Segment<'static>)>>,
    /// What the checksums of both directions were.
    checksums: Both<Checksums>,
    /// Taken out while it hands on.
    reassembly: Option<Box<Reassembly>>,
    state: State,
    /// What the judge's memory is counted as, in bytes.
    judge_memory: usize,
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

impl Flow {
    pub(super) fn new(client: SocketAddr, server: SocketAddr, time_ns: u64, known: bool) -> Self {
        Self {
            client,
            server,
            start_ns: time_ns,
            last_ns: time_ns,
            initial: Both::default(),
            reset: None,
            replaced: None,
            held_syn: None,
            checksums: Both::default(),
            reassembly: Some(Box::default()),
            state: State::Waiting { prelude: Vec::new(), known },
            judge_memory: 0,
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
        match self.initial[opener] {
            Some(known) => known != segment.sequence,
            // A connection that was met midway, or whose other half of the handshake was seen.
            None => self.initial == Both::default(),
        }
    }

    /// Holds a SYN back that would replace a session that goes on: it counts once it is answered.
    /// A stray one is not (RFC 5961), and the session goes on.
    pub(super) fn holds(&mut self, time_ns: u64, segment: &Segment<'_>) -> bool {
        let opens = segment.syn && segment.acknowledgment.is_none() && segment.length() == 0;
        let holds = opens && self.is_live() && self.is_replaced_by(segment);
        if holds {
            self.held_syn = Some(Box::new((time_ns, segment.without_payload())));
        }
        holds
    }

    /// Gives the SYN that was held back, if a segment shows that it began another connection.
    pub(super) fn confirmed(
        &mut self,
        segment: &Segment<'_>,
    ) -> Option<Box<(u64, Segment<'static>)>> {
        let (_, syn) = &**self.held_syn.as_ref()?;
        let next = syn.sequence.wrapping_add(1);
        let goes_on = match segment.source == syn.source {
            true => !segment.syn && segment.sequence == next,
            false => segment.syn && segment.acknowledgment == Some(next),
        };
        if goes_on { self.held_syn.take() } else { None }
    }

    /// Takes the place of another connection that may go on all the same.
    pub(super) fn replaces(&mut self, old: &Self) {
        if let Some(reassembly) = &old.reassembly
            && old.client == self.client
        {
            let next = Both::new(reassembly.next(Side::Client), reassembly.next(Side::Server));
            self.replaced = Some(Box::new(Replaced { next, told: false }));
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
        let Some(before) = &mut self.replaced else { return false };
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

    /// What the judge's memory was counted as when this was asked last, and what it is now, in bytes.
    pub(super) fn count_judge(&mut self) -> (usize, usize) {
        let now = match &self.state {
            State::Live(live) => live.judge_memory(),
            _ => 0,
        };
        (std::mem::replace(&mut self.judge_memory, now), now)
    }

    /// What the judge's memory was counted as, in bytes.
    pub(super) fn counted_judge(&self) -> usize {
        self.judge_memory
    }

    /// Lets the judge forget what takes most memory.
    pub(super) fn free_judge<S: Sink>(&mut self, context: &mut Context<'_, S>) {
        if let State::Live(live) = &mut self.state {
            live.free_judge(context);
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
            self.initial[from] = Some(segment.sequence);
        }
        let Some(mut taken) = self.reassembly.take_if(|taken| !taken.is_over()) else {
            return;
        };
        let mut checksums = self.checksums[from];
        let judge = self.judge();
        let bulk = judge.map_or(0, |judge| judge.bulk(from));
        let doubtful = checksums.are_doubtful(segment, bulk, || {
            judge.is_some_and(|judge| judge.makes_sense(from, segment.payload))
        });
        self.checksums[from] = checksums;
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
        let length = u32::try_from(segment.payload.len()).unwrap_or(u32::MAX);
        let end = segment.sequence.wrapping_add(length);
        let later = end.wrapping_sub(number).cast_signed() > 0;
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
            State::Live(live) => live.judge_of_plain(),
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
        if let Some(mut taken) = self.reassembly.take() {
            taken.over(&mut |delivery| self.deliver(&delivery, context));
            self.reassembly = Some(taken);
        }
        // A server that accepts a connection and stays silent is worth telling.
        if matches!(self.state, State::Waiting { known: true, .. })
            && self.initial[Side::Server].is_some()
        {
            self.open(None, true, context);
        }
        if let State::Live(mut live) = std::mem::replace(&mut self.state, State::Over) {
            if let Some(reassembly) = &self.reassembly {
                live.totals.retransmitted = reassembly.retransmitted();
                live.totals.copies = reassembly.copies();
            }
            live.tell_copies(context.sink);
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
        let [client, server] = self.initial.as_array().map(|number| number.is_some());
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
        let mut live = Box::new(Live::new(info, whole, context.recognize));
        context.sink.record(Record::Opened(&live.info));
        if !prelude.is_empty() {
            let early = Delivery::Data {
                from: Side::Server,
                time_ns: self.start_ns,
                bytes: &prelude,
                informed: false,
            };
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
