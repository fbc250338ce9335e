//! A session while it lasts: what reassembly delivers goes to the judge, and what that has to tell
//! to the sink.

use std::collections::VecDeque;

use protocol::message::Side;

use super::awaiting_secrets::AwaitingSecrets;
use super::channel::{Channel, Input, Step};
use super::context::Context;
use super::{Ended, Note, Record, SessionInfo, Sink, TlsOpened, Totals};
use crate::plural::Plural;
use crate::session::{Close, Config, Event, Problem, ProblemKind, Recognize, Session, Start, Tls};
use crate::tcp::{Aside, Delivery};

/// A session.
pub(super) struct Live {
    pub(super) info: SessionInfo,
    judge: Session,
    channel: Channel,
    pub(super) totals: Totals,
    /// Empty; used again and again.
    events: VecDeque<Event>,
}

impl Live {
    /// A session; `whole`: it is seen from its beginning.
    pub(super) fn new(info: SessionInfo, whole: bool, recognize: Recognize) -> Self {
        let start = if whole { Start::Greeting } else { Start::Midway };
        let totals = Totals {
            sessions: 1,
            start_ns: info.start_ns,
            end_ns: info.start_ns,
            ..Totals::default()
        };
        Self {
            judge: Session::new(Config { recognize, start, silences: true, ..Config::default() }),
            channel: Channel::new(whole, info.start_ns),
            info,
            totals,
            events: VecDeque::new(),
        }
    }

    /// The judge, where it is given the bytes as they come.
    pub(super) fn judge_of_plain(&self) -> Option<&Session> {
        self.channel.is_plain().then_some(&self.judge)
    }

    /// Whether it stands still until secrets come.
    pub(super) fn awaits_secrets(&self) -> bool {
        self.channel.awaits_secrets()
    }

    /// How much memory is taken by what waits for secrets, in bytes.
    pub(super) fn held_memory(&self) -> usize {
        self.channel.held_memory()
    }

    /// How much memory the judge takes, in bytes; roughly.
    pub(super) fn judge_memory(&self) -> usize {
        self.judge.memory()
    }

    /// Lets the judge forget what takes most memory.
    pub(super) fn free_judge<S: Sink>(&mut self, context: &mut Context<'_, S>) {
        self.judge.free_memory();
        self.drain(None, context.sink);
    }

    /// Goes on if the secrets have come that it waits for, or the wait has been long enough.
    pub(super) fn resume<S: Sink>(&mut self, now_ns: u64, context: &mut Context<'_, S>) {
        let waited = self.channel.resume(now_ns, context.keys);
        self.go_on(waited, context);
    }

    /// Waits no longer.
    pub(super) fn stop_waiting<S: Sink>(&mut self, context: &mut Context<'_, S>) {
        let waited = self.channel.stop_waiting(context.keys);
        self.go_on(waited, context);
    }

    fn go_on<S: Sink>(&mut self, waited: Option<AwaitingSecrets>, context: &mut Context<'_, S>) {
        if let Some(mut waited) = waited {
            waited.release(|delivery| self.take(delivery, context));
        }
    }

    pub(super) fn deliver<S: Sink>(
        &mut self,
        delivery: &Delivery<'_>,
        context: &mut Context<'_, S>,
    ) {
        if let Delivery::Data { from, bytes, .. } = delivery {
            self.totals.bytes[*from] += bytes.len() as u64;
        }
        if self.channel.awaits_secrets() {
            self.resume(delivery.time_ns(), context);
        }
        if !self.channel.keeps(delivery) {
            self.take(delivery, context);
        }
    }

    fn take<S: Sink>(&mut self, delivery: &Delivery<'_>, context: &mut Context<'_, S>) {
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
                self.judge.forget_written();
                return self.note(context.sink, Note { kind: "overlap", time_ns, text });
            }
            Delivery::Aside { from, what, .. } => {
                return self.note(context.sink, aside(from, time_ns, what));
            }
            Delivery::Data { .. } | Delivery::Gap { .. } => None,
        };
        if let Delivery::Data { from, informed: true, .. }
        | Delivery::End { from, informed: true, .. } = *delivery
        {
            self.judge.is_informed(from);
        }
        let mut input = Input::new(*delivery);
        while let Some(step) = self.channel.next(&mut input, context.keys, &self.judge) {
            if let Step::Plain { from, bytes } = step {
                let rest = self.judge.received(from, time_ns, bytes);
                if self.channel.is_plain() {
                    if !self.judge.expects_tls() {
                        break;
                    }
                    self.channel.begin_tls();
                    input.put_back(rest);
                }
            } else if let Some(told) = judged(step, &mut self.judge, time_ns) {
                self.tell(told, context.sink);
            }
            if ended.is_none() {
                self.drain(None, context.sink);
            }
        }
        self.channel.keep_rest(&input);
        self.drain(ended, context.sink);
    }

    /// Hands on what the judge has to tell. The end of a direction comes after what it cut off and
    /// before what is wrong with it.
    fn drain<S: Sink>(&mut self, mut ended: Option<Ended>, sink: &mut S) {
        let mut events = std::mem::take(&mut self.events);
        self.judge.swap_events(&mut events);
        if self.channel.may_be_tls() && (ended.is_some() || events.iter().any(is_found)) {
            self.is_nbd(sink);
        }
        for event in &events {
            if let Event::Message(seen) = event {
                self.totals.messages[seen.from] += 1;
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
                Event::Problem(Problem { kind: ProblemKind::Silence, time_ns, text, .. }) => {
                    // All of it was seen.
                    let note = Note { kind: ProblemKind::Silence.name(), time_ns, text };
                    sink.record(Record::Problem(Some(&self.info), &note));
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

    /// A session that began before the capture is no TLS, if that was open.
    fn is_nbd<S: Sink>(&mut self, sink: &mut S) {
        if let Some(note) = self.channel.is_nbd() {
            self.note(sink, note);
        }
    }

    fn tell<S: Sink>(&mut self, told: Told, sink: &mut S) {
        match told {
            Told::Note(note) => self.note(sink, note),
            Told::Opened(opened) => {
                self.drain(None, sink);
                sink.record(Record::Tls(&self.info, &opened));
            }
        }
    }

    /// Packets that were captured more than once are told at the end.
    pub(super) fn tell_copies<S: Sink>(&mut self, sink: &mut S) {
        let copies = self.totals.copies;
        if copies > 0 {
            let packets = Plural(copies, "packet");
            let text = format!(
                "{packets} {} captured twice, as on two interfaces; the copies do not count",
                packets.were()
            );
            self.note(sink, Note { kind: "copies", time_ns: self.totals.end_ns, text });
        }
    }

    pub(super) fn finish<S: Sink>(&mut self, sink: &mut S) {
        self.is_nbd(sink);
        let time_ns = self.totals.end_ns;
        while let Some(step) = self.channel.next_at_end(time_ns) {
            if let Some(told) = judged(step, &mut self.judge, time_ns) {
                self.tell(told, sink);
            }
        }
        self.judge.finish();
        self.drain(None, sink);
        (self.totals.judged, self.totals.unjudged) = self.judge.judged();
        self.totals.unjudged += self.channel.unopened();
        sink.record(Record::Closed(&self.info, &self.totals));
    }
}

/// What is told besides what the judge tells.
enum Told {
    Note(Note),
    Opened(TlsOpened),
}

/// Hands a step to the judge, if it is for the judge.
fn judged(step: Step<'_>, judge: &mut Session, time_ns: u64) -> Option<Told> {
    match step {
        Step::Plain { from, bytes } => {
            judge.received(from, time_ns, bytes);
        }
        Step::Gap { from, missing, cut: true } => judge.cut(from, time_ns, missing),
        Step::Gap { from, missing, cut: false } => judge.gap(from, time_ns, missing),
        Step::Closed { from, how } => judge.closed(from, time_ns, how),
        Step::Tls(event) => judge.tls(time_ns, event),
        Step::Opened(opened) => {
            judge.tls(time_ns, Tls::Opened);
            return Some(Told::Opened(opened));
        }
        Step::Note(note) => return Some(Told::Note(note)),
        Step::Nothing => {}
    }
    None
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
