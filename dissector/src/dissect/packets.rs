//! From packets to TCP segments; what has to be told of packets that are none.

use super::{Note, Record, Sink};
use crate::capture::Packet;
use crate::net::{FragmentTrouble, Fragments, Frame, Segment, parse, parse_whole};

/// Takes packets, gives segments.
#[derive(Default)]
pub(super) struct Packets {
    fragments: Fragments,
    last_ns: u64,
    unknown_link: u64,
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
            Frame::UnknownLink => self.unknown_link += 1,
            Frame::Malformed => self.malformed += 1,
            Frame::Other => {}
        }
    }

    /// The capture is over: tells what could hold NBD but was not understood.
    pub(super) fn finish<S: Sink + ?Sized>(&mut self, sink: &mut S) {
        let FragmentTrouble { lost, conflicts } = self.fragments.finish();
        let unknown_link = std::mem::take(&mut self.unknown_link);
        let malformed = std::mem::take(&mut self.malformed);
        for (count, kind, text) in [
            (
                lost,
                "ip-fragments",
                "IP fragments were left out: others of their packets are missing",
            ),
            (
                conflicts,
                "ip-fragments-differ",
                "IP packets have fragments that overlap and differ; the bytes that came first count",
            ),
            (unknown_link, "unknown-link-type", "packets have a link type that is not understood"),
            (malformed, "malformed-packets", "packets have headers that can't be read"),
        ] {
            if count > 0 {
                let note = Note { kind, time_ns: self.last_ns, text: format!("{count} {text}") };
                sink.record(Record::Problem(None, &note));
            }
        }
    }
}
