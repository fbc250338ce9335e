//! TCP reassembly: both directions of a connection, in order, and in causal order between each
//! other.
//!
//! Bytes are handed on in sequence, straight from the packet where nothing is out of order.
//! What comes too early is held. A segment acknowledges what its sender had received when it sent
//! it, so a segment is also held until that has been handed on: a reply is never seen before its
//! request, however the capture shuffled them.
//!
//! Of bytes that came twice the first ones are handed on; where the others differ, that is told.
//!
//! A segment that may be damaged waits: its bytes count once they are acknowledged, and no more once
//! they come again.
//!
//! A SYN says where its direction begins. While one direction's SYN was seen and the other one's was
//! not, nothing is handed on for a while: it may yet come. Without it the lowest number counts.
//!
//! A hole that the receiver has acknowledged was lost by the capture, not by the network, and will
//! not be filled; after a short wait for shuffled packets it becomes a gap. Other holes wait for the
//! retransmission until too much is held.

mod delivery;
mod direction;
mod history;
mod sequence;
#[cfg(test)]
mod tests;

use std::ops::Range;

use protocol::message::Side;

use crate::net::Segment;
pub use delivery::{Aside, Delivery};
use direction::{Direction, Held};
use history::Print;
use sequence::ORIGIN;

/// A connection may hold this many bytes that came too early.
const HELD_BYTES: usize = 8 << 20;
/// ... in this many segments.
const HELD_SEGMENTS: usize = 8192;
/// What a held segment costs besides its bytes, in bytes of memory; roughly.
const HELD_COST: usize = 128;
/// How many packets of a connection must have come after one that shows that the capture lost
/// bytes, until they are given up: packets are rarely shuffled further.
const SHUFFLE: u32 = 32;
/// ... and how much time must have passed, in nanoseconds: a tap may hand on one direction behind
/// the other. What is held meanwhile has a limit.
const BEHIND_NS: u64 = 100_000_000;
/// An acknowledgment further ahead than the largest window is nonsense.
const WINDOW: u64 = 1 << 30;

/// What is known of a segment besides its bytes.
#[derive(Clone, Copy)]
struct Sent {
    print: Print,
    /// Up to where it acknowledges the other direction; 0 where it does not.
    needs: u64,
}

/// A reset that waits for what its sender does.
#[derive(Debug, Clone, Copy)]
struct HeldReset {
    from: Side,
    /// The position of its number.
    start: u64,
    time_ns: u64,
    /// How far the other direction had come.
    told: u64,
}

/// Both directions of a connection.
#[derive(Debug, Default)]
pub struct Reassembly {
    client: Direction,
    server: Direction,
    held_bytes: usize,
    held_segments: usize,
    /// How many packets came since the capture was seen to have lost bytes.
    late: u32,
    /// When the first of them came.
    late_since_ns: u64,
    retransmitted: u64,
    copies: u64,
    reset: bool,
    /// A reset that was not exact: it counts unless its sender goes on.
    held_reset: Option<HeldReset>,
    /// A SYN was seen before anything was handed on.
    opened: bool,
}

impl Reassembly {
    /// For a connection of which nothing has been seen.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many bytes are held because they came too early.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// How much memory that takes, in bytes; roughly.
    #[must_use]
    pub fn held_memory(&self) -> usize {
        self.held_bytes + self.held_segments * HELD_COST
    }

    /// How many segments came with nothing but bytes that had come before. A probe that keeps a
    /// connection alive is none.
    #[must_use]
    pub fn retransmitted(&self) -> u64 {
        self.retransmitted
    }

    /// How many packets with payload were captured more than once, as on two interfaces.
    #[must_use]
    pub fn copies(&self) -> u64 {
        self.copies
    }

    /// Whether both sides have ended, or one has reset the connection.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.reset || (self.client.ended && self.server.ended)
    }

    /// The number of the next byte of a direction, if anything of it has been seen.
    #[must_use]
    pub fn next(&self, side: Side) -> Option<u32> {
        self.direction(side).next.map(sequence::number)
    }

    fn direction(&self, side: Side) -> &Direction {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    fn direction_mut(&mut self, side: Side) -> &mut Direction {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// The next packet of the connection; `doubtful`: it may be damaged.
    pub fn segment(
        &mut self,
        from: Side,
        time_ns: u64,
        segment: &Segment<'_>,
        doubtful: bool,
        to: &mut impl FnMut(Delivery<'_>),
    ) {
        let sequence = segment.sequence.wrapping_add(u32::from(segment.syn));
        if segment.rst && !self.direction(from).is_reset_by(sequence) {
            return to(Delivery::Aside { from, time_ns, what: Aside::StrayReset });
        }
        if doubtful && (segment.rst || segment.syn) {
            return to(Delivery::Aside { from, time_ns, what: Aside::Damaged(segment.length()) });
        }
        if segment.syn {
            self.opened |= !self.client.begun && !self.server.begun;
            self.direction_mut(from).begins_with(sequence);
        }
        let opening = self.is_opening();
        let direction = self.direction_mut(from);
        let start = direction.position(sequence);
        let end = start.saturating_add(segment.length());
        if opening && !segment.rst {
            direction.begins_before(start);
        }
        let unsure = opening && !direction.sure;
        let mut needs = 0;
        if let Some(acknowledgment) = segment.acknowledgment {
            let other = self.direction_mut(from.other());
            if segment.syn && !other.sure {
                other.begins_with(acknowledgment);
            }
            let position = other.position(acknowledgment);
            if opening {
                other.begins_before(position);
            }
            if position <= other.next.unwrap_or(ORIGIN).saturating_add(WINDOW) {
                if !doubtful {
                    other.acknowledged = other.acknowledged.max(position);
                }
                needs = position;
            }
        }
        if segment.rst {
            let reset = HeldReset { from, start, time_ns, told: self.next_of(from.other()) };
            // RFC 5961: one that is not exact may be anybody's, and is not obeyed at once.
            match self.direction(from).is_exactly_reset_by(start) {
                _ if self.reset => {}
                true => self.break_off(reset, to),
                false => self.held_reset = Some(reset),
            }
            return;
        }
        if !doubtful && self.outlives_reset(from, start..end, needs) {
            to(Delivery::Aside { from, time_ns, what: Aside::StrayReset });
        }
        let opening = self.is_opening();
        let next = self.direction(from).next.unwrap_or(start);
        // A probe that keeps the connection alive repeats the last byte, or sends any.
        let probe = segment.length() <= 1 && end == next && !unsure;
        let print = Print::of(time_ns, segment);
        if segment.length() > 0 && end <= next && !probe && !unsure {
            let copy = self.direction(from).history.has(start, print);
            self.came_again(copy);
        }
        if probe && !segment.fin {
            // Tells nothing but its acknowledgment.
        } else if doubtful && end <= next {
            to(Delivery::Aside { from, time_ns, what: Aside::Damaged(segment.length()) });
        } else if start <= next && !opening && !doubtful && self.is_satisfied(from, needs) {
            self.hand_on(from, Sent { print, needs }, start, segment.payload, segment.missing, to);
            if segment.fin {
                self.end(from, Sent { print, needs }, end, to);
            }
        } else if !self.direction(from).ended && (end > next || (segment.fin && end == next)) {
            let held = Held {
                time_ns,
                bytes: segment.payload.into(),
                missing: segment.missing,
                needs,
                fin: segment.fin,
                print,
                doubtful,
            };
            self.hold(from, start, held, to);
        }
        self.drain(to);
        self.give_up_if_due(time_ns, to);
    }

    /// Nothing more comes: a reset that was not exact counts after all.
    pub fn over(&mut self, to: &mut impl FnMut(Delivery<'_>)) {
        if let Some(reset) = self.held_reset.take()
            && !self.is_over()
        {
            self.break_off(reset, to);
        }
    }

    /// Whether a segment shows that a reset was none: nobody speaks after a reset of its own.
    fn outlives_reset(&mut self, from: Side, bytes: Range<u64>, needs: u64) -> bool {
        let speaks = |reset: &HeldReset| {
            let later = !bytes.is_empty() && bytes.end > reset.start;
            reset.from == from && (later || needs > reset.told)
        };
        self.held_reset.take_if(|reset| speaks(reset)).is_some()
    }

    fn break_off(&mut self, reset: HeldReset, to: &mut impl FnMut(Delivery<'_>)) {
        let HeldReset { from, start, time_ns, .. } = reset;
        // Up to its number its sender has sent everything.
        let direction = self.direction_mut(from);
        direction.acknowledged = direction.acknowledged.max(start);
        self.finish(time_ns, to);
        self.reset = true;
        to(Delivery::Reset { from, time_ns });
    }

    /// The position of the next byte of a direction, or 0.
    fn next_of(&self, side: Side) -> u64 {
        self.direction(side).next.unwrap_or_default()
    }

    /// Hands on everything that is held, with gaps where bytes are missing.
    pub fn finish(&mut self, time_ns: u64, to: &mut impl FnMut(Delivery<'_>)) {
        while self.give_up(time_ns, to) {}
    }

    /// Whether a SYN was seen, and where the other direction begins is not known yet.
    fn is_opening(&self) -> bool {
        self.opened && !(self.client.sure && self.server.sure)
    }

    /// Whether who acknowledges up to `needs` has received all that was handed on of the other side.
    fn is_informed(&self, from: Side, needs: u64) -> bool {
        self.direction(from.other()).next.is_some_and(|next| needs >= next)
    }

    /// Whether what a segment acknowledges has been handed on.
    fn is_satisfied(&self, from: Side, needs: u64) -> bool {
        let other = self.direction(from.other());
        other.ended || other.next.is_none_or(|next| needs <= next)
    }

    /// Hands on what is new of a segment that starts at or before the next byte.
    fn hand_on(
        &mut self,
        from: Side,
        sent: Sent,
        start: u64,
        bytes: &[u8],
        missing: u32,
        to: &mut impl FnMut(Delivery<'_>),
    ) {
        let Sent { print, needs } = sent;
        let time_ns = print.time_ns;
        let informed = self.is_informed(from, needs);
        let direction = self.direction_mut(from);
        let next = direction.next.unwrap_or(start);
        if direction.ended {
            return;
        }
        let captured = start.saturating_add(bytes.len() as u64);
        let end = captured.saturating_add(u64::from(missing));
        direction.next = Some(next.max(end));
        direction.begun |= end > next;
        let known = usize::try_from(next.saturating_sub(start)).unwrap_or(usize::MAX);
        let again = bytes.get(..known).unwrap_or(bytes);
        let conflict = !again.is_empty() && direction.history.differs(start, again);
        let new = bytes.get(known..).unwrap_or_default();
        if !new.is_empty() {
            direction.history.remember(next.max(start), print, new);
        }
        if conflict {
            to(Delivery::Conflict { from, time_ns, length: again.len() as u64 });
        }
        if !new.is_empty() {
            to(Delivery::Data { from, time_ns, bytes: new, informed });
        }
        let lost = end.saturating_sub(captured.max(next));
        if lost > 0 {
            to(Delivery::Gap { from, time_ns, missing: lost, cut: true });
        }
    }

    fn end(&mut self, from: Side, sent: Sent, at: u64, to: &mut impl FnMut(Delivery<'_>)) {
        let time_ns = sent.print.time_ns;
        let informed = self.is_informed(from, sent.needs);
        let direction = self.direction_mut(from);
        if direction.ended || direction.next != Some(at) {
            return;
        }
        direction.ended = true;
        direction.begun = true;
        direction.next = Some(at + 1); // a FIN takes a number
        // What is beyond the end is nonsense.
        let nonsense = std::mem::take(&mut direction.held);
        self.held_segments -= nonsense.len();
        self.held_bytes -= nonsense.values().map(|held| held.bytes.len()).sum::<usize>();
        to(Delivery::End { from, time_ns, informed });
    }

    /// Keeps a segment. Of bytes that are held already the first ones are kept, and it is told if
    /// they differ; but those that may be damaged make way.
    fn hold(&mut self, from: Side, start: u64, mut held: Held, to: &mut impl FnMut(Delivery<'_>)) {
        let (time_ns, size) = (held.time_ns, held.bytes.len());
        let mut rest = None;
        let old = self.direction(from).held.get(&start);
        if let Some(copy) = old.filter(|_| size > 0).map(|old| held.print.is_copy_of(old.print)) {
            self.came_again(copy);
        }
        if let Some(old) = self.direction(from).held.get(&start) {
            let both = size.min(old.bytes.len());
            match (old.doubtful, held.doubtful) {
                (_, true) => {
                    let what = Aside::Damaged(held.end(0));
                    return to(Delivery::Aside { from, time_ns, what });
                }
                (true, false) => {
                    let what = Aside::Damaged(old.end(0));
                    to(Delivery::Aside { from, time_ns: old.time_ns, what });
                    let later = Box::from(old.bytes.get(both..).unwrap_or_default());
                    rest = (both < old.bytes.len()).then_some(Held { bytes: later, ..*old });
                }
                (false, false) => {
                    let (new, known) = (held.bytes.get_mut(..both), old.bytes.get(..both));
                    if let (Some(new), Some(known)) = (new, known)
                        && new != known
                    {
                        to(Delivery::Conflict { from, time_ns, length: size as u64 });
                        new.copy_from_slice(known);
                    }
                    // Of two segments that start alike the longer one says more.
                    if old.bytes.len() >= size && (old.fin || !held.fin) {
                        return;
                    }
                }
            }
        }
        self.insert(from, start, held);
        let later = start.saturating_add(size as u64);
        if let Some(rest) = rest
            && size > 0
            && !self.direction(from).held.contains_key(&later)
        {
            self.insert(from, later, rest);
        }
    }

    /// A packet came with nothing but bytes that had come before; `copy`: it was captured twice.
    fn came_again(&mut self, copy: bool) {
        match copy {
            true => self.copies += 1,
            false => self.retransmitted += 1,
        }
    }

    fn insert(&mut self, from: Side, start: u64, held: Held) {
        self.held_bytes += held.bytes.len();
        self.held_segments += 1;
        if let Some(old) = self.direction_mut(from).held.insert(start, held) {
            self.forget(&old);
        }
    }

    /// A segment is held no longer.
    fn forget(&mut self, held: &Held) {
        self.held_bytes -= held.bytes.len();
        self.held_segments -= 1;
    }

    /// The first segment of a direction that can be handed on. One that waits for its receiver is
    /// passed over, as there are few of those.
    fn ready(&self, side: Side) -> Option<u64> {
        let direction = self.direction(side);
        let next = direction.next?;
        let mut early = direction.held.range(..=next).take(4);
        let ready = early.find(|(start, held)| {
            self.is_satisfied(side, held.needs) && !direction.awaits(**start, held)
        });
        ready.map(|(start, _)| *start)
    }

    /// Hands on what can be.
    fn drain(&mut self, to: &mut impl FnMut(Delivery<'_>)) {
        while self.held_segments > 0 && !self.is_opening() {
            let mut sides = [Side::Client, Side::Server].into_iter();
            let ready = sides.find_map(|side| Some(side).zip(self.ready(side)));
            let Some((from, start)) = ready else { return };
            let Some(held) = self.direction_mut(from).held.remove(&start) else { return };
            self.forget(&held);
            if held.doubtful && Some(held.end(start)) <= self.direction(from).next {
                // Its bytes came again.
                let what = Aside::Damaged(held.end(0));
                to(Delivery::Aside { from, time_ns: held.time_ns, what });
                continue;
            }
            let Held { print, needs, .. } = held;
            self.hand_on(from, Sent { print, needs }, start, &held.bytes, held.missing, to);
            if held.fin {
                self.end(from, Sent { print, needs }, held.end(start), to);
            }
        }
    }

    fn give_up_if_due(&mut self, time_ns: u64, to: &mut impl FnMut(Delivery<'_>)) {
        let waits = self.is_opening() || self.client.is_behind() || self.server.is_behind();
        if self.held_segments == 0 || !waits {
            self.late = 0;
        } else {
            if self.late == 0 {
                self.late_since_ns = time_ns;
            }
            self.late = self.late.saturating_add(1);
            let waited = time_ns.saturating_sub(self.late_since_ns);
            if self.late > SHUFFLE && waited >= BEHIND_NS {
                self.give_up(time_ns, to);
            }
        }
        while (self.held_bytes > HELD_BYTES || self.held_segments > HELD_SEGMENTS)
            && self.give_up(time_ns, to)
        {}
    }

    /// Declares one hole lost, and hands on what that frees. Says whether there was one.
    pub(crate) fn give_up(&mut self, time_ns: u64, to: &mut impl FnMut(Delivery<'_>)) -> bool {
        const SIDES: [Side; 2] = [Side::Client, Side::Server];
        if self.is_opening() {
            self.opened = false;
            self.drain(to);
            return true;
        }
        // What was neither acknowledged nor sent again does not count.
        let waiting = SIDES.into_iter().find_map(|side| {
            let direction = self.direction(side);
            let (start, held) = direction.held.first_key_value()?;
            let due = Some(*start) <= direction.next && direction.awaits(*start, held);
            due.then_some((side, *start))
        });
        if let Some((from, start)) = waiting {
            if let Some(held) = self.direction_mut(from).held.remove(&start) {
                self.forget(&held);
                let what = Aside::Damaged(held.end(0));
                to(Delivery::Aside { from, time_ns: held.time_ns, what });
            }
            self.drain(to);
            return true;
        }
        // Bytes that the receiver has had are lost for sure: those first.
        let lost = |side: &Side| {
            let direction = self.direction(*side);
            direction.is_behind() && (direction.held.is_empty() || direction.has_hole())
        };
        let hole = |side: &Side| self.direction(*side).has_hole();
        let side = SIDES.into_iter().find(lost).or_else(|| SIDES.into_iter().find(hole));
        if let Some(side) = side {
            self.skip(side, time_ns, to);
        } else {
            // Each direction waits for the other: the numbers contradict themselves.
            let waits = |side: &Side| !self.direction(*side).held.is_empty();
            let Some(side) = SIDES.into_iter().find(waits) else {
                return false;
            };
            if let Some(mut first) = self.direction_mut(side).held.first_entry() {
                first.get_mut().needs = 0;
            }
        }
        self.drain(to);
        true
    }

    /// Steps over the hole at the next byte of a direction.
    fn skip(&mut self, side: Side, time_ns: u64, to: &mut impl FnMut(Delivery<'_>)) {
        let direction = self.direction_mut(side);
        let next = direction.next.unwrap_or(ORIGIN);
        let held = direction.held.first_key_value().map(|(start, _)| *start);
        let target = match held {
            Some(start) if direction.is_behind() => start.min(direction.acknowledged),
            Some(start) => start,
            None => direction.acknowledged,
        };
        direction.next = Some(target);
        direction.begun = true;
        let missing = target.saturating_sub(next);
        if missing == 1 && held.is_none() {
            // One number that was acknowledged and after which nothing came is the FIN's.
            direction.ended = true;
            to(Delivery::End { from: side, time_ns, informed: false });
        } else {
            to(Delivery::Gap { from: side, time_ns, missing, cut: false });
        }
    }
}
