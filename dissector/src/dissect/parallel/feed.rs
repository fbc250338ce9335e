//! From packets to batches of segments for the lanes.

use std::ops::Range;
use std::sync::mpsc::SyncSender;

use super::super::packets::Packets;
use super::super::table::Key;
use crate::capture::{CaptureReader, Item, Mapping, ReadError};
use crate::net::Segment;

/// How many packets make a batch, at most; few in tests, so that small captures take several.
const BATCH: u64 = if cfg!(test) { 3 } else { 2048 };

/// What a lane is given to do.
pub(super) struct Batch {
    /// What the payloads are parts of.
    window: Option<Mapping>,
    pub(super) work: Vec<Work>,
    /// The number of the next batch's first packet.
    pub(super) through: u64,
}

/// Something to do.
pub(super) enum Work {
    /// A segment.
    Segment(Piece),
    /// Secrets of TLS, as a key log.
    Secrets(Box<[u8]>),
}

/// A segment of TCP, with its payload apart.
pub(super) struct Piece {
    /// The number of its packet.
    pub(super) packet: u64,
    pub(super) time_ns: u64,
    /// Without payload.
    segment: Segment<'static>,
    payload: Payload,
}

enum Payload {
    /// In the window.
    Mapped(Range<usize>),
    /// Put together from fragments.
    Whole(Box<[u8]>),
}

impl Batch {
    /// A segment with its payload.
    pub(super) fn segment<'a>(&'a self, piece: &'a Piece) -> Segment<'a> {
        let payload = match &piece.payload {
            Payload::Mapped(range) => self.window.as_deref().and_then(|w| w.get(range.clone())),
            Payload::Whole(bytes) => Some(&bytes[..]),
        };
        Segment { payload: payload.unwrap_or_default(), ..piece.segment }
    }
}

/// Batches in the making, one for each lane.
struct Feed {
    lanes: Vec<SyncSender<Batch>>,
    window: Option<Mapping>,
    work: Vec<Vec<Work>>,
    /// The number of the next packet.
    next: u64,
    /// The number of the first one of the batches.
    first: u64,
}

/// The lanes have ended: nobody wants to know more.
struct Gone;

/// Hands all packets to the lanes. Gives the time of the last one, and why there are no more.
pub(super) fn run(
    capture: &mut CaptureReader<'_>,
    packets: &mut Packets,
    lanes: Vec<SyncSender<Batch>>,
) -> (u64, Result<(), ReadError>) {
    let work = lanes.iter().map(|_| Vec::new()).collect();
    let mut feed = Feed { lanes, window: None, work, next: 0, first: 0 };
    let mut last_ns = 0;
    let result = loop {
        let mut found = None;
        match capture.next_item() {
            Ok(Some(Item::Packet(packet))) => {
                last_ns = packet.time_ns;
                let data = packet.data.as_ptr_range();
                packets.segment(&packet, |segment| {
                    let bytes = segment.payload.as_ptr_range();
                    let inside = data.start <= bytes.start && bytes.end <= data.end;
                    let copy = (!inside).then(|| segment.payload.into());
                    found = Some((segment.without_payload(), bytes, copy));
                });
            }
            Ok(Some(Item::TlsKeyLog(log))) => feed.secrets(log),
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
        if let Some((segment, bytes, copy)) = found {
            let window = capture.mapping();
            if feed.enter(window).is_err() {
                return (last_ns, Ok(()));
            }
            let mapped = window.and_then(|window| window.range_of(bytes)).unwrap_or_default();
            let payload = copy.map_or(Payload::Mapped(mapped), Payload::Whole);
            feed.segment(last_ns, segment, payload);
        }
    };
    let _ = feed.hand_on(); // who has gone will not miss it
    (last_ns, result)
}

impl Feed {
    /// What comes next lies in this window.
    fn enter(&mut self, window: Option<&Mapping>) -> Result<(), Gone> {
        let same = match (&self.window, window) {
            (Some(old), Some(new)) => old.is(new),
            (None, None) => true,
            _ => false,
        };
        if !same || self.next - self.first >= BATCH {
            self.hand_on()?;
            self.window = window.cloned();
        }
        Ok(())
    }

    fn segment(&mut self, time_ns: u64, segment: Segment<'static>, payload: Payload) {
        let lane = Key::new(&segment).share(self.lanes.len());
        let piece = Piece { packet: self.next, time_ns, segment, payload };
        self.work[lane].push(Work::Segment(piece));
        self.next += 1;
    }

    /// Secrets are for all.
    fn secrets(&mut self, log: &[u8]) {
        for work in &mut self.work {
            work.push(Work::Secrets(log.into()));
        }
    }

    /// Hands the batches on.
    fn hand_on(&mut self) -> Result<(), Gone> {
        self.first = self.next;
        for (lane, work) in self.lanes.iter().zip(&mut self.work) {
            let next = Vec::with_capacity(work.len());
            let work = std::mem::replace(work, next);
            let batch = Batch { window: self.window.clone(), work, through: self.next };
            lane.send(batch).map_err(|_| Gone)?;
        }
        Ok(())
    }
}
