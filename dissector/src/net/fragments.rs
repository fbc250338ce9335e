//! IP fragments put together again.
//!
//! Of bytes that came twice the first ones are taken. What is kept is bounded; packets that can't be
//! completed are forgotten, the oldest first.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::ops::Range;

/// How many packets may wait for fragments; each has at most 64 KiB.
const PACKETS: usize = 128;
/// How many packets that are complete are kept, to know copies of their fragments: a capture may see
/// each of them twice.
const COMPLETE: usize = 8;
/// A packet in more pieces than this is none that a network makes.
const PIECES: usize = 1024;
/// How long a packet may wait, in nanoseconds of the capture ("reassembly timeout", RFC 8200: 60
/// seconds).
const WAIT_NS: u64 = 60_000_000_000;
/// The longest payload of an IP packet, in bytes.
const LONGEST: usize = 65_535;

/// A fragment of an IP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment<'a> {
    /// Who sent it.
    pub source: IpAddr,
    /// To whom.
    pub destination: IpAddr,
    /// What the fragments of a packet have in common.
    pub id: u32,
    /// The protocol of the payload; in IPv6 the next header.
    pub protocol: u8,
    /// Where it belongs in the packet's payload, in bytes.
    pub offset: usize,
    /// Whether others come behind it.
    pub more: bool,
    /// What it carries.
    pub payload: &'a [u8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    source: IpAddr,
    destination: IpAddr,
    id: u32,
    protocol: u8,
}

#[derive(Debug, Default)]
struct Pending {
    began_ns: u64,
    bytes: Vec<u8>,
    /// What has come, in order, neither touching nor overlapping.
    came: Vec<(usize, usize)>,
    /// How long the payload is, once the last fragment has come.
    length: Option<usize>,
    fragments: u64,
    conflict: bool,
}

/// What was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FragmentTrouble {
    /// Fragments of packets that were not completed.
    pub lost: u64,
    /// Packets that were completed of fragments that overlap and differ.
    pub conflicts: u64,
}

/// Packets that wait for fragments.
#[derive(Debug, Default)]
pub struct Fragments {
    pending: HashMap<Key, Pending>,
    /// In the order of their beginning; may name some that are complete.
    order: VecDeque<(Key, u64)>,
    /// The last packets that were completed, with their payloads.
    complete: VecDeque<(Key, Vec<u8>)>,
    trouble: FragmentTrouble,
}

impl Fragments {
    /// Takes a fragment; gives back the packet that it completes, as one with a plain header.
    pub fn add(&mut self, time_ns: u64, fragment: &Fragment<'_>) -> Option<Vec<u8>> {
        let Fragment { source, destination, id, protocol, offset, more, payload } = *fragment;
        self.forget_old(time_ns);
        let key = Key { source, destination, id, protocol };
        let end = offset + payload.len();
        if end > LONGEST {
            self.trouble.lost += 1;
            return None;
        }
        if !self.pending.contains_key(&key) {
            if self.is_copy(&key, fragment) {
                return None;
            }
            if self.pending.len() == PACKETS {
                self.forget_oldest();
            }
            self.order.push_back((key, time_ns));
        }
        let pending = self.pending.entry(key).or_default();
        if pending.fragments == 0 {
            pending.began_ns = time_ns;
        }
        pending.fragments += 1;
        pending.put(offset, payload);
        if !more {
            // The last one says how long it is; another last one that says otherwise is a conflict.
            pending.conflict |= pending.length.is_some_and(|length| length != end);
            pending.length.get_or_insert(end);
        }
        if let Some(length) = pending.length
            && pending.came.first().is_some_and(|(start, end)| *start == 0 && *end >= length)
        {
            let mut pending = self.pending.remove(&key)?;
            self.trouble.conflicts += u64::from(pending.conflict);
            pending.bytes.truncate(length);
            let whole = packet(&key, &pending.bytes);
            if self.complete.len() == COMPLETE {
                self.complete.pop_front();
            }
            self.complete.push_back((key, pending.bytes));
            return Some(whole);
        }
        if pending.came.len() > PIECES {
            self.forget(&key);
        }
        None
    }

    /// What was wrong; what is still incomplete counts as lost.
    pub fn finish(&mut self) -> FragmentTrouble {
        while self.forget_oldest() {}
        self.complete.clear();
        std::mem::take(&mut self.trouble)
    }

    /// How many bytes are kept.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let pending = self.pending.values().map(|pending| pending.bytes.capacity());
        let complete = self.complete.iter().map(|(_, bytes)| bytes.capacity());
        pending.chain(complete).sum()
    }

    /// Whether a fragment says the same as a packet that is complete did.
    fn is_copy(&self, key: &Key, fragment: &Fragment<'_>) -> bool {
        let Fragment { offset, more, payload, .. } = *fragment;
        let end = offset + payload.len();
        self.complete.iter().any(|(known, bytes)| {
            known == key && bytes.get(offset..end) == Some(payload) && more == (end < bytes.len())
        })
    }

    fn forget(&mut self, key: &Key) {
        if let Some(pending) = self.pending.remove(key) {
            self.trouble.lost += pending.fragments;
        }
    }

    fn forget_oldest(&mut self) -> bool {
        while let Some((key, began_ns)) = self.order.pop_front() {
            if self.pending.get(&key).is_some_and(|pending| pending.began_ns == began_ns) {
                self.forget(&key);
                return true;
            }
        }
        false
    }

    /// Forgets those that waited too long, and of the order what is complete.
    fn forget_old(&mut self, time_ns: u64) {
        while let Some((key, began_ns)) = self.order.front() {
            let waits = self.pending.get(key).is_some_and(|p| p.began_ns == *began_ns);
            if waits && time_ns.saturating_sub(*began_ns) <= WAIT_NS {
                // Complete ones behind it stay few: there are no more than that.
                if self.order.len() > 4 * PACKETS {
                    let pending = &self.pending;
                    self.order.retain(|(key, began_ns)| {
                        pending.get(key).is_some_and(|p| p.began_ns == *began_ns)
                    });
                }
                return;
            }
            let key = *key;
            self.order.pop_front();
            if waits {
                self.forget(&key);
            }
        }
    }
}

impl Pending {
    /// Writes what is new of a piece, and compares what is not.
    fn put(&mut self, offset: usize, piece: &[u8]) {
        let end = offset + piece.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        let mut at = offset;
        let mut merged = (offset, end);
        let mut came = Vec::with_capacity(self.came.len() + 1);
        for &(from, to) in &self.came {
            if to < offset || from > end {
                came.push((from, to));
                continue;
            }
            merged = (merged.0.min(from), merged.1.max(to));
            // New up to this range, known within it.
            if from > at {
                write(&mut self.bytes, at..from, offset, piece);
            }
            let (known, until) = (from.max(offset), to.min(end));
            if known < until {
                let new = piece.get(known - offset..until - offset);
                self.conflict |= self.bytes.get(known..until) != new;
            }
            at = at.max(to);
        }
        if at < end {
            write(&mut self.bytes, at..end, offset, piece);
        }
        if !piece.is_empty() || self.came.is_empty() {
            came.push(merged);
            came.sort_unstable();
            self.came = came;
        }
    }
}

/// Writes a stretch of a piece that begins at `offset`.
fn write(bytes: &mut [u8], stretch: Range<usize>, offset: usize, piece: &[u8]) {
    let new = piece.get(stretch.start - offset..stretch.end - offset);
    if let (Some(place), Some(new)) = (bytes.get_mut(stretch), new) {
        place.copy_from_slice(new);
    }
}

/// The whole packet, with a header that says no more than is needed.
fn packet(key: &Key, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(40 + payload.len());
    match (key.source, key.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            // A length of 0 means as long as it is: with the header it may be too long for the
            // field.
            bytes.extend([0x45, 0, 0, 0, 0, 0, 0, 0, 64, key.protocol, 0, 0]);
            bytes.extend(source.octets());
            bytes.extend(destination.octets());
        }
        (source, destination) => {
            let octets = |ip: IpAddr| match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
                IpAddr::V6(ip) => ip.octets(),
            };
            bytes.extend([0x60, 0, 0, 0]);
            // Fragments have offsets of 16 bits.
            bytes.extend(u16::try_from(payload.len()).unwrap_or(u16::MAX).to_be_bytes());
            bytes.extend([key.protocol, 64]);
            bytes.extend(octets(source));
            bytes.extend(octets(destination));
        }
    }
    bytes.extend_from_slice(payload);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    fn fragment(id: u32, offset: usize, more: bool, payload: &[u8]) -> Fragment<'_> {
        Fragment { source: A, destination: B, id, protocol: 6, offset, more, payload }
    }

    fn payload(packet: Option<Vec<u8>>) -> Option<Vec<u8>> {
        packet.map(|packet| packet[20..].to_vec())
    }

    #[test]
    fn fragments_come_in_any_order() {
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]] {
            let mut fragments = Fragments::default();
            let pieces: [(usize, bool, &[u8]); 3] =
                [(0, true, b"abcdefgh"), (8, true, b"ijklmnop"), (16, false, b"q")];
            let mut got = None;
            for at in order {
                let (offset, more, bytes) = pieces[at];
                // Those of another packet do not get mixed up.
                assert_eq!(fragments.add(0, &fragment(2, offset, true, b"XXXXXXXX")), None);
                got = got.or(payload(fragments.add(0, &fragment(1, offset, more, bytes))));
            }
            assert_eq!(got.as_deref(), Some(&b"abcdefghijklmnopq"[..]));
            let trouble = fragments.finish();
            assert_eq!(trouble, FragmentTrouble { lost: 3, conflicts: 0 });
            assert_eq!(fragments.held_bytes(), 0);
        }
    }

    #[test]
    fn of_bytes_that_came_twice_the_first_are_taken() {
        for (second, conflicts) in [(&b"efghijkl"[..], 0), (b"EFGHIJKL", 1)] {
            let mut fragments = Fragments::default();
            assert_eq!(fragments.add(0, &fragment(1, 0, true, b"abcdefgh")), None);
            assert_eq!(fragments.add(0, &fragment(1, 4, true, second)), None);
            let whole = payload(fragments.add(0, &fragment(1, 12, false, b"mn"))).unwrap();
            assert_eq!(&whole[..8], b"abcdefgh");
            assert_eq!(&whole[8..12], &second[4..]);
            assert_eq!(fragments.finish(), FragmentTrouble { lost: 0, conflicts });
        }
    }

    #[test]
    fn copies_of_fragments_are_no_loss() {
        let pieces: [(usize, bool, &[u8]); 2] = [(0, true, b"abcdefgh"), (8, false, b"ij")];
        for order in [&[0, 0, 1, 1][..], &[0, 1, 0, 1], &[1, 1, 0, 0, 1]] {
            let mut fragments = Fragments::default();
            let mut whole = 0;
            for at in order {
                let (offset, more, bytes) = pieces[*at];
                whole += usize::from(fragments.add(0, &fragment(1, offset, more, bytes)).is_some());
            }
            assert_eq!(whole, 1, "{order:?}");
            // Another packet with the same number is none.
            assert_eq!(fragments.add(0, &fragment(1, 0, true, b"ABCDEFGH")), None);
            assert!(fragments.add(0, &fragment(1, 8, false, b"ij")).is_some());
            assert_eq!(fragments.finish(), FragmentTrouble::default());
            assert_eq!(fragments.held_bytes(), 0);
        }
    }

    #[test]
    fn old_and_too_many_packets_are_forgotten() {
        let mut fragments = Fragments::default();
        fragments.add(0, &fragment(1, 0, true, b"abcdefgh"));
        assert_eq!(fragments.add(WAIT_NS + 1, &fragment(1, 8, false, b"i")), None);
        for id in 0..2000 {
            assert_eq!(fragments.add(WAIT_NS + 1, &fragment(id, 60_000, true, b"abcdefgh")), None);
            assert!(fragments.held_bytes() <= PACKETS * (LONGEST + 1));
        }
        assert!(fragments.order.len() <= 5 * PACKETS);
        assert_eq!(fragments.finish().lost, 2002);
    }

    proptest! {
        /// Whatever comes, what comes out is made of bytes that came, and memory is bounded.
        #[test]
        fn nonsense_does_no_harm(
            pieces in prop::collection::vec(
                (0u32..3, 0usize..40, any::<bool>(), 0usize..40, any::<u8>()), 0..200),
        ) {
            let mut fragments = Fragments::default();
            for (time, (id, offset, more, length, byte)) in pieces.into_iter().enumerate() {
                let bytes = vec![byte | 1; length];
                let piece = fragment(id, offset * 8, more, &bytes);
                if let Some(whole) = payload(fragments.add(time as u64, &piece)) {
                    prop_assert!(!whole.contains(&0));
                }
                prop_assert!(fragments.held_bytes() <= (3 + COMPLETE) * 2048);
            }
            fragments.finish();
            prop_assert_eq!(fragments.held_bytes(), 0);
        }

        /// However a payload is cut, repeated and shuffled, it comes out whole.
        #[test]
        fn every_cut_comes_out_whole(
            bytes in prop::collection::vec(any::<u8>(), 1..600),
            cuts in prop::collection::vec(1usize..9, 1..80),
            seed in any::<prop::sample::Index>(),
        ) {
            let mut pieces = Vec::new();
            let (mut at, mut cut) = (0, cuts.iter().cycle());
            while at < bytes.len() {
                let end = (at + cut.next().unwrap_or(&1) * 8).min(bytes.len());
                pieces.push((at, end));
                at = end;
            }
            let first = seed.index(pieces.len());
            pieces.rotate_left(first);
            pieces.insert(0, pieces[pieces.len() - 1]);
            let mut fragments = Fragments::default();
            let mut got = None;
            for (at, end) in pieces {
                let piece = fragment(7, at, end < bytes.len(), &bytes[at..end]);
                got = got.or(payload(fragments.add(0, &piece)));
            }
            prop_assert_eq!(got, Some(bytes));
            prop_assert_eq!(fragments.finish().conflicts, 0);
        }
    }
}
