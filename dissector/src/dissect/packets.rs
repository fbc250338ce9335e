//! From packets to TCP segments; what has to be told of packets that are none.

use std::collections::BTreeMap;
use std::fmt;

use super::{Note, Record, Sink};
use crate::capture::{LinkType, Packet};
use crate::net::{FragmentTrouble, Fragments, Frame, Segment, parse, parse_whole};
use crate::plural::Plural;

/// How many link types are told by their numbers.
const LINKS: usize = 8;

/// Takes packets, gives segments.
#[derive(Default)]
pub(super) struct Packets {
    fragments: Fragments,
    last_ns: u64,
    unknown_link: Unknown,
    malformed: u64,
}

impl Packets {
    /// Hands on the segment that a packet holds, or completes.
    pub(super) fn segment(&mut self, packet: &Packet<'_>, to: impl FnOnce(&Segment<'_>)) {
        self.last_ns = self.last_ns.max(packet.time_ns);
        match parse(packet) {
            Frame::Tcp(segment) => to(&segment),
            Frame::Fragment(fragment) => {
                if let Some(whole) = self.fragments.add(packet.time_ns, &fragment) {
                    match parse_whole(&whole) {
                        Frame::Tcp(segment) => to(&segment),
                        Frame::Malformed => self.malformed += 1,
                        _ => {}
                    }
                }
            }
            Frame::UnknownLink => self.unknown_link.add(packet.link),
            Frame::Malformed => self.malformed += 1,
            Frame::Other => {}
        }
    }

    /// The capture is over: tells what could hold NBD but was not understood.
    pub(super) fn finish<S: Sink + ?Sized>(&mut self, sink: &mut S) {
        let FragmentTrouble { lost, conflicts } = self.fragments.finish();
        let malformed = std::mem::take(&mut self.malformed);
        let fragments = |lost| {
            let (fragments, packets) = (
                Plural(lost, "IP fragment"),
                if lost == 1 { "its packet" } else { "their packets" },
            );
            format!("{fragments} {} left out: others of {packets} are missing", fragments.were())
        };
        let differ = |conflicts| {
            let packets = Plural(conflicts, "IP packet");
            format!(
                "{packets} {} fragments that overlap and differ; the bytes that came first count",
                packets.have()
            )
        };
        let malformed_text = |count| {
            let packets = Plural(count, "packet");
            format!("{packets} {} headers that can't be read", packets.have())
        };
        let notes = [
            (lost, "ip-fragments", fragments(lost)),
            (conflicts, "ip-fragments-differ", differ(conflicts)),
            (self.unknown_link.count(), "unknown-link-type", self.unknown_link.to_string()),
            (malformed, "malformed-packets", malformed_text(malformed)),
        ];
        self.unknown_link = Unknown::default();
        for (count, kind, text) in notes {
            if count > 0 {
                let note = Note { kind, time_ns: self.last_ns, text };
                sink.record(Record::Problem(None, &note));
            }
        }
    }
}

/// Packets of link types that are not understood.
#[derive(Default)]
struct Unknown {
    /// How many of each of the first types.
    counts: BTreeMap<u32, u64>,
    /// Those of other types.
    more: u64,
}

impl Unknown {
    fn add(&mut self, LinkType(link): LinkType) {
        if self.counts.len() < LINKS || self.counts.contains_key(&link) {
            *self.counts.entry(link).or_default() += 1;
        } else {
            self.more += 1;
        }
    }

    fn count(&self) -> u64 {
        self.counts.values().sum::<u64>() + self.more
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let packets = Plural(self.count(), "packet");
        write!(f, "{packets} {} a link type that is not understood: ", packets.have())?;
        for (index, link) in self.counts.keys().enumerate() {
            write!(f, "{}{link}", if index > 0 { ", " } else { "" })?;
        }
        if self.more > 0 { f.write_str(", ...") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_types_that_are_not_understood_are_named_and_their_number_is_limited() {
        let mut unknown = Unknown::default();
        unknown.add(LinkType(999));
        let one = "1 packet has a link type that is not understood: 999";
        assert_eq!(unknown.to_string(), one);
        for link in [999, 147].into_iter().chain(1000..1100) {
            unknown.add(LinkType(link));
        }
        let many = "103 packets have a link type that is not understood: \
                    147, 999, 1000, 1001, 1002, 1003, 1004, 1005, ...";
        assert_eq!(unknown.to_string(), many);
    }
}
