//! From packets to TCP segments; what has to be told of packets that are none.

use std::collections::BTreeMap;
use std::fmt;

use super::{Note, Record, Sink};
use crate::capture::{LinkType, Packet};
use crate::latency::STEP;
use crate::net::{FragmentTrouble, Fragments, Frame, Segment, Tunnel, parse_whole, parse_within};
use crate::plural::Plural;

/// How many link types are told by their numbers.
const LINKS: usize = 8;

/// Takes packets, gives segments.
#[derive(Default)]
pub(super) struct Packets {
    fragments: Fragments,
    last_ns: u64,
    clock: Clock,
    unknown_link: Unknown,
    malformed: u64,
    /// Packets of interfaces that the capture does not describe.
    undescribed: u64,
    /// Segments that came inside of something.
    within: BTreeMap<Tunnel, u64>,
    cut: Cut,
}

impl Packets {
    /// Hands on the segment that a packet holds, or completes.
    pub(super) fn segment(&mut self, packet: &Packet<'_>, to: impl FnOnce(&Segment<'_>)) {
        self.last_ns = self.last_ns.max(packet.time_ns);
        self.clock.tick(packet.time_ns);
        let mut within = None;
        match parse_within(packet, &mut within) {
            Frame::Tcp(segment) => {
                if let Some(tunnel) = within {
                    *self.within.entry(tunnel).or_default() += 1;
                }
                if segment.missing > 0 {
                    self.cut.add(packet, &segment);
                }
                to(&segment);
            }
            Frame::Fragment(fragment) => {
                if let Some(whole) = self.fragments.add(packet.time_ns, &fragment) {
                    match parse_whole(&whole) {
                        Frame::Tcp(segment) => to(&segment),
                        Frame::Malformed => self.malformed += 1,
                        _ => {}
                    }
                }
            }
            Frame::UnknownLink if packet.link == LinkType::UNDESCRIBED => self.undescribed += 1,
            Frame::UnknownLink => self.unknown_link.add(packet.link),
            Frame::Malformed => self.malformed += 1,
            Frame::Other => {}
        }
    }

    /// The capture is over: tells what could hold NBD but was not understood.
    pub(super) fn finish<S: Sink + ?Sized>(&mut self, sink: &mut S) {
        let FragmentTrouble { lost, conflicts } = self.fragments.finish();
        let malformed = std::mem::take(&mut self.malformed);
        let clock = std::mem::take(&mut self.clock);
        let cut = std::mem::take(&mut self.cut);
        let undescribed = std::mem::take(&mut self.undescribed);
        let undescribed_text = |count| {
            let packets = Plural(count, "packet");
            let each = if count == 1 { "its interface" } else { "their interfaces" };
            format!(
                "{packets} {} left out: {each} {} not described",
                packets.were(),
                packets.were()
            )
        };
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
            (clock.steps, "clock", clock.to_string()),
            (cut.packets, "cut-packets", cut.to_string()),
            (undescribed, "undescribed-interface", undescribed_text(undescribed)),
            (malformed, "malformed-packets", malformed_text(malformed)),
        ];
        self.unknown_link = Unknown::default();
        for (tunnel, count) in std::mem::take(&mut self.within) {
            let text = format!("{} of TCP came inside {}", Plural(count, "packet"), tunnel.name());
            let note = Note { kind: "encapsulation", time_ns: self.last_ns, text };
            sink.record(Record::Problem(None, &note));
        }
        for (count, kind, text) in notes {
            if count > 0 {
                let note = Note { kind, time_ns: self.last_ns, text };
                sink.record(Record::Problem(None, &note));
            }
        }
    }
}

/// The longest header of a message of transmission, with where its data belongs, in bytes.
const MESSAGE_HEADER: usize = 40;

/// Packets of TCP of which the capture kept only the beginning.
#[derive(Default)]
struct Cut {
    packets: u64,
    /// How much was kept of each, at most.
    kept: usize,
    /// How long the headers up to TCP's were, at most.
    headers: usize,
}

impl Cut {
    fn add(&mut self, packet: &Packet<'_>, segment: &Segment<'_>) {
        self.packets += 1;
        self.kept = self.kept.max(packet.data.len());
        self.headers = self.headers.max(packet.data.len() - segment.payload.len());
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { packets, kept, headers } = *self;
        let packets = Plural(packets, "packet");
        let enough = headers + MESSAGE_HEADER;
        write!(f, "{packets} {} cut at {kept} bytes", packets.were())?;
        if kept < enough {
            write!(f, "; {enough} would show the message header that a packet begins with")?;
        }
        f.write_str("; only whole packets show those in the midst of one")
    }
}

/// The times of packets.
#[derive(Default)]
struct Clock {
    last_ns: u64,
    /// How often it stepped back, and the longest step in nanoseconds.
    steps: u64,
    longest: u64,
}

impl Clock {
    fn tick(&mut self, time_ns: u64) {
        let back = self.last_ns.saturating_sub(time_ns);
        self.last_ns = time_ns;
        if back > STEP {
            self.steps += 1;
            self.longest = self.longest.max(back);
        }
    }
}

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { steps, longest, .. } = self;
        let seconds = *longest as f64 / 1e9;
        match steps {
            1 => write!(f, "the clock steps back by {seconds:.6} s")?,
            _ => write!(f, "the clock steps back {steps} times, by up to {seconds:.6} s")?,
        }
        f.write_str("; latencies across that are not known")
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
            let name = LinkType(*link).to_string();
            if !name.starts_with("link type") {
                write!(f, " ({name})")?;
            }
        }
        if self.more > 0 { f.write_str(", ...") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_steps_back_is_told_and_shuffled_packets_are_not() {
        let mut clock = Clock::default();
        let second = 1_000_000_000;
        for time_ns in [5 * second, 6 * second, 5 * second + second / 2, 9 * second, 7 * second] {
            clock.tick(time_ns);
        }
        let told = "the clock steps back by 2.000000 s; latencies across that are not known";
        assert_eq!(clock.to_string(), told);
        clock.tick(second);
        let told = "the clock steps back 2 times, by up to 6.000000 s; latencies across that are \
                    not known";
        assert_eq!(clock.to_string(), told);
    }

    #[test]
    fn link_types_that_are_not_understood_are_named_and_their_number_is_limited() {
        let mut unknown = Unknown::default();
        unknown.add(LinkType(127));
        let wireless = "1 packet has a link type that is not understood: 127 (802.11)";
        assert_eq!(unknown.to_string(), wireless);
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
