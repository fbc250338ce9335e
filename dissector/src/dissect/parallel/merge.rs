//! Brings what lanes tell into one order, and numbers the sessions by it.

use std::collections::HashMap;
use std::sync::mpsc::Receiver;

use foldhash::fast::RandomState;

use super::super::{Record, SessionInfo, Sink};
use super::records::{Chunk, Kept, Place, What};

/// The open sessions of a lane by their number in it.
type Sessions = HashMap<u64, SessionInfo, RandomState>;

/// A lane as the merger sees it.
struct Lane {
    chunks: Receiver<Chunk>,
    /// The chunk at hand. Records are told in place, since moving them costs more than looking at them.
    records: Vec<Kept>,
    /// How many of these were told.
    told: usize,
    /// What is not in `records` is of this place or a later one.
    through: Place,
    sessions: Sessions,
}

impl Lane {
    fn new(chunks: Receiver<Chunk>) -> Self {
        Self {
            chunks,
            records: Vec::new(),
            told: 0,
            through: Place::Packet(0),
            sessions: HashMap::default(),
        }
    }

    /// The next record that is at hand.
    fn head(&self) -> Option<&Kept> {
        self.records.get(self.told)
    }

    /// Nothing that the lane has still to tell is of an earlier place.
    fn bound(&self) -> Place {
        self.head().map_or(self.through, |head| place(head, &self.sessions))
    }

    /// Waits for the next chunk.
    fn wait(&mut self) {
        self.told = 0;
        // Before the next one comes, so that its memory can be used again.
        self.records = Vec::new();
        match self.chunks.recv() {
            Ok(Chunk { records, through, window }) => {
                drop(window);
                self.records = records;
                self.through = through;
            }
            // It has panicked, which the scope of the threads hands on.
            Err(_) => self.through = Place::Over,
        }
    }

    /// Tells the sink what is at hand up to this place.
    fn tell<S: Sink>(&mut self, limit: Place, sessions: &mut u64, sink: &mut S) {
        let rest = self.records.get(self.told..).unwrap_or_default();
        for kept in rest {
            if place(kept, &self.sessions) > limit {
                break;
            }
            self.told += 1;
            tell(kept, &mut self.sessions, sessions, sink);
        }
    }
}

/// The place of a record among all lanes: those of connections count by the number of their session.
fn place(record: &Kept, sessions: &Sessions) -> Place {
    match record.place {
        Place::End(mut order) => {
            if let Some(info) = sessions.get(&order.number) {
                order.number = info.number;
            }
            Place::End(order)
        }
        place => place,
    }
}

/// How many sessions there were.
pub(super) enum Merged {
    /// In all.
    All(u64),
    /// Until the sink had enough.
    Enough(u64),
}

/// Tells the sink all records in order.
pub(super) fn run<S: Sink>(chunks: Vec<Receiver<Chunk>>, sink: &mut S) -> Merged {
    let mut lanes: Vec<_> = chunks.into_iter().map(Lane::new).collect();
    let mut sessions = 0;
    while let Some((first, place)) = first_of(&lanes, None)
        && place < Place::Over
    {
        // Up to here the other lanes have nothing to say.
        let limit = first_of(&lanes, Some(first)).map_or(Place::Over, |(_, place)| place);
        let Some(lane) = lanes.get_mut(first) else { break };
        match lane.head() {
            None => lane.wait(),
            Some(_) => lane.tell(limit, &mut sessions, sink),
        }
        if sink.is_done() {
            return Merged::Enough(sessions);
        }
    }
    Merged::All(sessions)
}

/// Which lane has the earliest record, or may have; of those but one.
fn first_of(lanes: &[Lane], but: Option<usize>) -> Option<(usize, Place)> {
    let others = lanes.iter().enumerate().filter(|(index, _)| Some(*index) != but);
    others.map(|(index, lane)| (index, lane.bound())).min_by_key(|(_, place)| *place)
}

fn tell<S: Sink>(kept: &Kept, of_lane: &mut Sessions, sessions: &mut u64, sink: &mut S) {
    let Kept { session, what, place } = kept;
    sink.at_frame(match place {
        Place::Packet(number) => number + 1,
        Place::End(_) | Place::Over => 0,
    });
    if let What::Opened(info) = what {
        *sessions += 1;
        let info = SessionInfo { number: *sessions, ..(**info).clone() };
        sink.record(Record::Opened(&info));
        of_lane.insert(*session, info);
        return;
    }
    if *session == 0 {
        if let What::Problem(note) = what {
            sink.record(Record::Problem(None, note));
        }
        return;
    }
    if let What::Closed(totals) = what {
        if let Some(info) = of_lane.remove(session) {
            sink.record(Record::Closed(&info, totals));
        }
        return;
    }
    // Nothing is told of a session before it has begun, or after it has ended.
    let Some(info) = of_lane.get(session) else { return };
    match what {
        What::Message(seen) => sink.record(Record::Message(info, seen)),
        What::Tls(opened) => sink.record(Record::Tls(info, opened)),
        What::Violation(violation) => sink.record(Record::Violation(info, violation)),
        What::Problem(note) => sink.record(Record::Problem(Some(info), note)),
        What::Ended(ended) => sink.record(Record::Ended(info, *ended)),
        What::Opened(_) | What::Closed(_) => {}
    }
}
