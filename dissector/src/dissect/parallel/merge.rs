//! Brings what lanes tell into one order, and numbers the sessions by it.

use std::collections::HashMap;
use std::sync::mpsc::Receiver;
use std::vec;

use foldhash::fast::RandomState;

use super::super::{Record, SessionInfo, Sink};
use super::records::{Chunk, Kept, Place, What};

/// A lane as the merger sees it.
struct Lane {
    chunks: Receiver<Chunk>,
    records: vec::IntoIter<Kept>,
    head: Option<Kept>,
    /// What is not in `records` is of this place or a later one.
    through: Place,
    /// The open sessions by their number in the lane.
    sessions: HashMap<u64, SessionInfo, RandomState>,
}

impl Lane {
    fn new(chunks: Receiver<Chunk>) -> Self {
        Self {
            chunks,
            records: Vec::new().into_iter(),
            head: None,
            through: Place::Packet(0),
            sessions: HashMap::default(),
        }
    }

    /// Nothing that the lane has still to tell is of an earlier place.
    fn bound(&self) -> Place {
        self.head.as_ref().map_or(self.through, |head| self.place(head))
    }

    /// The place among all lanes: those of connections count by the number of their session.
    fn place(&self, record: &Kept) -> Place {
        match record.place {
            Place::End(mut order) => {
                if let Some(info) = self.sessions.get(&order.number) {
                    order.number = info.number;
                }
                Place::End(order)
            }
            place => place,
        }
    }

    /// Waits for the next chunk.
    fn wait(&mut self) {
        match self.chunks.recv() {
            Ok(Chunk { records, through, window }) => {
                drop(window);
                self.records = records.into_iter();
                self.through = through;
                self.head = self.records.next();
            }
            // It has panicked, which the scope of the threads hands on.
            Err(_) => self.through = Place::Over,
        }
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
        if lane.head.is_none() {
            lane.wait();
            continue;
        }
        while let Some(head) = &lane.head
            && lane.place(head) <= limit
        {
            if let Some(kept) = std::mem::replace(&mut lane.head, lane.records.next()) {
                tell(kept, lane, &mut sessions, sink);
            }
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

fn tell<S: Sink>(kept: Kept, lane: &mut Lane, sessions: &mut u64, sink: &mut S) {
    let Kept { session, what, place } = kept;
    sink.at_frame(match place {
        Place::Packet(number) => number + 1,
        Place::End(_) | Place::Over => 0,
    });
    if let What::Opened(info) = what {
        *sessions += 1;
        let info = SessionInfo { number: *sessions, ..*info };
        sink.record(Record::Opened(&info));
        lane.sessions.insert(session, info);
        return;
    }
    if session == 0 {
        if let What::Problem(note) = what {
            sink.record(Record::Problem(None, &note));
        }
        return;
    }
    if let What::Closed(totals) = what {
        if let Some(info) = lane.sessions.remove(&session) {
            sink.record(Record::Closed(&info, &totals));
        }
        return;
    }
    // Nothing is told of a session before it has begun, or after it has ended.
    let Some(info) = lane.sessions.get(&session) else { return };
    match what {
        What::Message(seen) => sink.message(info, seen),
        What::Tls(opened) => sink.record(Record::Tls(info, &opened)),
        What::Violation(violation) => sink.record(Record::Violation(info, &violation)),
        What::Problem(note) => sink.record(Record::Problem(Some(info), &note)),
        What::Ended(ended) => sink.record(Record::Ended(info, ended)),
        What::Opened(_) | What::Closed(_) => {}
    }
}
