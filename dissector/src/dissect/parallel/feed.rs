//! From packets to batches of segments for the lanes.
//!
//! What passes from one processor to another costs more than what stays, so that a segment is
//! brought down to few bytes here.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::mpsc::SyncSender;

use super::super::packets::Packets;
use super::super::table::Key;
use crate::capture::{CaptureReader, Item, Mapping, ReadError, prefetch};
use crate::net::Segment;

/// How many packets make a batch, at most; few in tests, so that small captures take several.
const BATCH: u32 = if cfg!(test) { 3 } else { 2048 };
/// How many pairs of addresses are remembered while a batch is made.
const RECENT: usize = 8;

/// Who sent a segment, to whom.
type Ends = (SocketAddr, SocketAddr);

/// What a lane is given to do.
#[derive(Default)]
pub(super) struct Batch {
    /// What payloads are parts of.
    pub(super) window: Option<Mapping>,
    /// What [`Piece::ends`] counts in. The same pair may be there more than once.
    ends: Vec<Ends>,
    /// Payloads that were put together from fragments.
    whole: Vec<Box<[u8]>>,
    /// The number of the first packet, from 0.
    first: u64,
    /// The number of the next batch's first packet.
    pub(super) through: u64,
    pub(super) work: Vec<Work>,
}

/// Something to do.
pub(super) enum Work {
    /// A segment.
    Segment(Piece),
    /// Secrets of TLS, as a key log.
    Secrets(Box<[u8]>),
}

/// A segment of TCP.
pub(super) struct Piece {
    pub(super) time_ns: u64,
    /// How many packets after the batch's first one.
    packet: u32,
    sequence: u32,
    acknowledgment: u32,
    missing: u32,
    /// Where the payload begins in the window; or which one of those put together it is.
    payload: u32,
    length: u32,
    /// Which ones of the batch's addresses.
    ends: u16,
    /// That of the IP packet.
    id: u16,
    /// How long the header is, which is before the payload.
    header: u8,
    marks: Marks,
}

/// What a segment is besides its numbers, in few bits.
#[derive(Clone, Copy)]
struct Marks(u8);

impl Marks {
    const ACKNOWLEDGES: Self = Self(1);
    const SYN: Self = Self(2);
    const FIN: Self = Self(4);
    const RST: Self = Self(8);
    /// The payload was put together from fragments.
    const WHOLE: Self = Self(16);

    fn of(segment: &Segment<'_>, whole: bool) -> Self {
        let marks = [
            (segment.acknowledgment.is_some(), Self::ACKNOWLEDGES),
            (segment.syn, Self::SYN),
            (segment.fin, Self::FIN),
            (segment.rst, Self::RST),
            (whole, Self::WHOLE),
        ];
        Self(marks.iter().map(|(is, mark)| if *is { mark.0 } else { 0 }).sum())
    }

    fn has(self, mark: Self) -> bool {
        self.0 & mark.0 != 0
    }
}

impl Batch {
    /// The number of a segment's packet.
    pub(super) fn packet(&self, piece: &Piece) -> u64 {
        self.first + u64::from(piece.packet)
    }

    /// A segment with its payload.
    pub(super) fn segment(&self, piece: &Piece) -> Option<Segment<'_>> {
        let marks = piece.marks;
        let (source, destination) = *self.ends.get(usize::from(piece.ends))?;
        Some(Segment {
            source,
            destination,
            sequence: piece.sequence,
            acknowledgment: marks.has(Marks::ACKNOWLEDGES).then_some(piece.acknowledgment),
            id: piece.id,
            syn: marks.has(Marks::SYN),
            fin: marks.has(Marks::FIN),
            rst: marks.has(Marks::RST),
            header: self.header(piece),
            payload: self.payload(piece)?,
            missing: piece.missing,
        })
    }

    /// The header of a segment; none where it was put together.
    fn header(&self, piece: &Piece) -> &[u8] {
        let end = piece.payload as usize;
        let range = end.saturating_sub(usize::from(piece.header))..end;
        match piece.marks.has(Marks::WHOLE) {
            true => &[],
            false => self.window.as_deref().and_then(|bytes| bytes.get(range)).unwrap_or_default(),
        }
    }

    /// Says that the header of a segment and what comes behind it will be looked at soon.
    pub(super) fn prefetch(&self, piece: &Piece) {
        let start = (piece.payload as usize).saturating_sub(usize::from(piece.header));
        let window = self.window.as_deref().unwrap_or_default();
        prefetch(window.get(start..).unwrap_or_default(), 2);
    }

    /// The payload of a segment.
    fn payload(&self, piece: &Piece) -> Option<&[u8]> {
        let at = piece.payload as usize;
        if piece.marks.has(Marks::WHOLE) {
            return self.whole.get(at).map(|bytes| &**bytes);
        }
        self.window.as_deref().unwrap_or_default().get(at..at + piece.length as usize)
    }
}

/// A payload before it is known what it is a part of.
enum Payload {
    /// Bytes of the packet.
    Inside(Range<*const u8>),
    /// Put together from fragments.
    Whole(Box<[u8]>),
}

/// Batches in the making, one for each lane.
struct Feed {
    lanes: Vec<(SyncSender<Batch>, Batch)>,
    window: Option<Mapping>,
    /// Lane and place of pairs of addresses, and which of these is replaced next.
    recent: Vec<(Ends, usize, u16)>,
    oldest: usize,
    /// How many segments the batches have.
    count: u32,
    /// The number of the packet that comes next, from 0; packets that hold no segment count too.
    next: u64,
    /// That of the batches' first one.
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
    let mut feed = Feed {
        lanes: lanes.into_iter().map(|lane| (lane, Batch::default())).collect(),
        window: None,
        recent: Vec::new(),
        oldest: 0,
        count: 0,
        next: 0,
        first: 0,
    };
    let mut last_ns = 0;
    let result = loop {
        let (mut found, mut is_packet) = (None, false);
        match capture.next_item() {
            Ok(Some(Item::Packet(packet))) => {
                last_ns = packet.time_ns;
                is_packet = true;
                let data = packet.data.as_ptr_range();
                packets.segment(&packet, |segment| {
                    let bytes = segment.payload.as_ptr_range();
                    let inside = data.start <= bytes.start && bytes.end <= data.end;
                    let payload = match inside {
                        true => Payload::Inside(bytes),
                        false => Payload::Whole(segment.payload.into()),
                    };
                    // At most 60.
                    let header = u8::try_from(segment.header.len()).unwrap_or(u8::MAX);
                    found = Some((segment.without_payload(), header, payload));
                });
            }
            Ok(Some(Item::TlsKeyLog(log))) => feed.secrets(log),
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
        if let Some((segment, header, payload)) = found {
            if feed.enter(capture.mapping()).is_err() {
                return (last_ns, Ok(()));
            }
            feed.segment(last_ns, &segment, header, payload);
        }
        feed.next += u64::from(is_packet);
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
        if !same || self.count == BATCH {
            self.hand_on()?;
            self.window = window.cloned();
        }
        Ok(())
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "windows are a few MiB, batches a few thousand packets"
    )]
    fn segment(&mut self, time_ns: u64, segment: &Segment<'_>, header: u8, payload: Payload) {
        let (lane, ends) = self.ends((segment.source, segment.destination), segment);
        let Some((_, batch)) = self.lanes.get_mut(lane) else { return };
        let (payload, length, whole) = match payload {
            Payload::Inside(bytes) => {
                let range = self.window.as_ref().and_then(|window| window.range_of(bytes));
                let range = range.unwrap_or_default();
                (range.start as u32, range.len() as u32, false)
            }
            Payload::Whole(bytes) => {
                batch.whole.push(bytes);
                (batch.whole.len() as u32 - 1, 0, true)
            }
        };
        let Segment { sequence, acknowledgment, id, missing, .. } = *segment;
        batch.work.push(Work::Segment(Piece {
            time_ns,
            packet: u32::try_from(self.next - self.first).unwrap_or(u32::MAX),
            sequence,
            acknowledgment: acknowledgment.unwrap_or(0),
            missing,
            payload,
            length,
            ends,
            id,
            header,
            marks: Marks::of(segment, whole),
        }));
        self.count += 1;
    }

    /// The lane of a connection, and the place of its addresses in that lane's batch.
    fn ends(&mut self, ends: Ends, segment: &Segment<'_>) -> (usize, u16) {
        if let Some((_, lane, place)) = self.recent.iter().find(|(known, ..)| *known == ends) {
            return (*lane, *place);
        }
        let lane = Key::new(segment).share(self.lanes.len());
        let mut place = 0;
        if let Some((_, batch)) = self.lanes.get_mut(lane) {
            // Fewer than packets.
            place = u16::try_from(batch.ends.len()).unwrap_or(u16::MAX);
            batch.ends.push(ends);
        }
        if self.recent.len() < RECENT {
            self.recent.push((ends, lane, place));
        } else if let Some(oldest) = self.recent.get_mut(self.oldest) {
            *oldest = (ends, lane, place);
            self.oldest = (self.oldest + 1) % RECENT;
        }
        (lane, place)
    }

    /// Secrets are for all.
    fn secrets(&mut self, log: &[u8]) {
        for (_, batch) in &mut self.lanes {
            batch.work.push(Work::Secrets(log.into()));
        }
    }

    /// Hands the batches on.
    fn hand_on(&mut self) -> Result<(), Gone> {
        let first = self.next;
        for (lane, batch) in &mut self.lanes {
            let work = Vec::with_capacity(batch.work.len());
            let mut batch = std::mem::replace(batch, Batch { work, first, ..Batch::default() });
            batch.window = self.window.clone();
            batch.through = first;
            lane.send(batch).map_err(|_| Gone)?;
        }
        self.recent.clear();
        self.oldest = 0;
        self.count = 0;
        self.first = first;
        Ok(())
    }
}
