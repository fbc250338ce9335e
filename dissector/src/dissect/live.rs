//! A session while it lasts: what reassembly delivers goes to the judge, and what that has to tell
//! to the sink.

use std::collections::VecDeque;

use protocol::message::Side;

use super::flow::Context;
use super::midway::Joined;
use super::secure::Secure;
use super::{Ended, Note, Record, SessionInfo, Sink, Totals};
use crate::plural::Plural;
use crate::session::{Close, Config, Event, Problem, ProblemKind, Recognize, Session, Start};
use crate::tcp::{Aside, Delivery};

/// A session.
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
            info,
            judge: Some(Session::new(Config { recognize, start, ..Config::default() })),
            tls: None,
            joined: (!whole).then(Box::default),
            totals,
            events: VecDeque::new(),
        }
    }

    pub(super) fn deliver<S: Sink>(
        &mut self,
        delivery: &Delivery<'_>,
        context: &mut Context<'_, S>,
    ) {
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
                if let Some(judge) = &mut self.judge {
                    judge.forget_written();
                }
                return self.note(context.sink, Note { kind: "overlap", time_ns, text });
            }
            Delivery::Aside { from, what, .. } => {
                return self.note(context.sink, aside(from, time_ns, what));
            }
            Delivery::Data { .. } | Delivery::Gap { .. } => None,
        };
        if let Delivery::Data { from, informed: true, .. }
        | Delivery::End { from, informed: true, .. } = *delivery
            && let Some(judge) = &mut self.judge
        {
            judge.is_informed(from);
        }
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
                        let rest = Delivery::Data { from, time_ns, bytes, informed: false };
                        self.deliver_tls(&rest, context);
                    }
                }
                Delivery::Gap { from, missing, cut: true, .. } => judge.cut(from, time_ns, missing),
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
