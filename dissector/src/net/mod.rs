//! From a packet to the TCP segment in it.

mod checksum;
mod encapsulation;
mod fragments;
mod link;
mod tunnel;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use etherparse::{IpNumber, LaxIpv4Slice, LaxIpv6Slice, LenSource};

use crate::capture::Packet;

pub use checksum::Checksum;
pub use encapsulation::Tunnel;
pub use fragments::{Fragment, FragmentTrouble, Fragments};

/// A TCP segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Who sent it.
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
    /// Sequence number of its first byte, or of its SYN.
    pub sequence: u32,
    /// What its sender expects next; `None` without the ACK flag.
    pub acknowledgment: Option<u32>,
    /// The identification of its IP packet; 0 where that has none.
    pub id: u16,
    /// Begins a connection.
    pub syn: bool,
    /// Ends its sender's stream after the payload.
    pub fin: bool,
    /// Breaks the connection off.
    pub rst: bool,
    /// Its header, with the options; empty where it is not kept.
    pub header: &'a [u8],
    /// What was captured of the payload.
    pub payload: &'a [u8],
    /// How many bytes of payload came after that on the wire, but were not captured.
    pub missing: u32,
}

impl Segment<'_> {
    /// All but the bytes.
    #[must_use]
    pub fn without_payload(&self) -> Segment<'static> {
        let Self { source, destination, sequence, acknowledgment, id, .. } = *self;
        let Self { syn, fin, rst, missing, .. } = *self;
        let (header, payload): (&[u8], &[u8]) = (&[], &[]);
        Segment {
            source,
            destination,
            sequence,
            acknowledgment,
            id,
            syn,
            fin,
            rst,
            header,
            payload,
            missing,
        }
    }

    /// The TCP checksum as it stands there; 0 where the header is not kept.
    #[must_use]
    pub fn checksum_field(&self) -> u16 {
        self.header
            .get(16..)
            .and_then(|rest| rest.first_chunk())
            .map_or(0, |b| u16::from_be_bytes(*b))
    }

    /// Length of the payload on the wire, in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.payload.len() as u64 + u64::from(self.missing)
    }
}

/// What a packet turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A TCP segment.
    Tcp(Segment<'a>),
    /// A fragment of an IP packet that may hold TCP; see [`Fragments`].
    Fragment(Fragment<'a>),
    /// Nothing of interest: UDP, ARP...
    Other,
    /// A link type that is not understood.
    UnknownLink,
    /// Headers that break their format or were cut off.
    Malformed,
}

/// Finds the TCP segment in a packet.
#[must_use]
pub fn parse<'a>(packet: &Packet<'a>) -> Frame<'a> {
    parse_within(packet, &mut None)
}

/// The same; says what the segment was inside of, on the outside, if it was.
pub fn parse_within<'a>(packet: &Packet<'a>, within: &mut Option<Tunnel>) -> Frame<'a> {
    match link::strip(packet.link, packet.data) {
        Ok(link::Network::Ip(bytes, below)) => {
            // How much of the packet the capture left out; matters where IP does not tell.
            let cut = (packet.original_length as usize).saturating_sub(packet.data.len());
            let frame = ip(bytes, cut, 0, within);
            if below.is_some() {
                *within = below;
            }
            frame
        }
        Ok(link::Network::Other) => Frame::Other,
        Err(link::Trouble::Unknown) => Frame::UnknownLink,
        Err(link::Trouble::Short) => Frame::Malformed,
    }
}

/// Finds the TCP segment in a packet that [`Fragments`] put together.
#[must_use]
pub fn parse_whole(packet: &[u8]) -> Frame<'_> {
    ip(packet, 0, 0, &mut None)
}

fn ip<'a>(bytes: &'a [u8], cut: usize, depth: u32, within: &mut Option<Tunnel>) -> Frame<'a> {
    let mut id = 0;
    let (source, destination, payload, headers, promised) = match bytes.first().map(|b| b >> 4) {
        Some(4) => {
            let Ok((packet, _)) = LaxIpv4Slice::from_slice(bytes) else {
                return Frame::Malformed;
            };
            let header = packet.header();
            id = header.identification();
            let source = IpAddr::V4(Ipv4Addr::from(header.source()));
            let destination = IpAddr::V4(Ipv4Addr::from(header.destination()));
            let payload = packet.payload().clone();
            let headers = bytes.len() - payload.payload.len();
            (source, destination, payload, headers, usize::from(header.total_len()))
        }
        Some(6) => {
            let Ok((packet, _)) = LaxIpv6Slice::from_slice(bytes) else {
                return Frame::Malformed;
            };
            let header = packet.header();
            let source = IpAddr::V6(Ipv6Addr::from(header.source()));
            let destination = IpAddr::V6(Ipv6Addr::from(header.destination()));
            let payload = packet.payload().clone();
            let headers = bytes.len() - payload.payload.len();
            (source, destination, payload, headers, 40 + usize::from(header.payload_length()))
        }
        _ => return Frame::Malformed,
    };
    if payload.fragmented {
        let fragment = fragment(source, destination, bytes);
        return fragment.map_or(Frame::Malformed, |fragment| match fragment.protocol {
            TCP => Frame::Fragment(fragment),
            // In IPv6 other headers may come before TCP's.
            protocol if source.is_ipv6() && !NOT_TCP.contains(&protocol) => {
                Frame::Fragment(fragment)
            }
            _ => Frame::Other,
        });
    }
    if payload.ip_number != IpNumber::TCP {
        let inside = tunnel::inside(payload.ip_number.0, payload.payload);
        let Some((tunnel, bytes)) = inside.filter(|_| depth < tunnel::DEEPEST) else {
            return Frame::Other;
        };
        return match ip(bytes, cut, depth + 1, within) {
            // What looks like a tunnel may be something else.
            Frame::Malformed => Frame::Other,
            frame => {
                *within = Some(tunnel);
                frame
            }
        };
    }
    // The length in the IP header is 0 where a network card was to cut a large packet up.
    let missing = match (payload.incomplete, payload.len_source) {
        (true, _) => promised.saturating_sub(headers + payload.payload.len()),
        (false, LenSource::Slice) => cut,
        (false, _) => 0,
    };
    tcp(source, destination, id, payload.payload, missing).map_or(Frame::Malformed, Frame::Tcp)
}

/// A segment, of which `missing` bytes were not captured; those may be options.
fn tcp(
    source: IpAddr,
    destination: IpAddr,
    id: u16,
    bytes: &[u8],
    missing: usize,
) -> Option<Segment<'_>> {
    let fixed = bytes.first_chunk::<20>()?;
    #[expect(clippy::indexing_slicing, reason = "places inside the fixed header")]
    let u16_at = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
    let u32_at = |at: usize| u32::from(u16_at(at)) << 16 | u32::from(u16_at(at + 2));
    let length = usize::from(fixed[12] >> 4) * 4;
    let options = length.saturating_sub(bytes.len());
    if length < fixed.len() || options > missing {
        return None;
    }
    let (header, payload) = bytes.split_at(length - options);
    let has = |flag: u8| fixed[13] & flag != 0;
    Some(Segment {
        source: SocketAddr::new(source, u16_at(0)),
        destination: SocketAddr::new(destination, u16_at(2)),
        sequence: u32_at(4),
        acknowledgment: has(0x10).then(|| u32_at(8)),
        id,
        syn: has(0x02),
        fin: has(0x01),
        rst: has(0x04),
        header,
        payload,
        missing: u32::try_from(missing - options).unwrap_or(u32::MAX),
    })
}

const TCP: u8 = IpNumber::TCP.0;
/// UDP, ICMP for IPv6, "no next header".
const NOT_TCP: [u8; 3] = [17, 58, 59];

/// A fragment, from an IP packet that is known to be one.
fn fragment(source: IpAddr, destination: IpAddr, bytes: &[u8]) -> Option<Fragment<'_>> {
    let u16_at = |at: usize| Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
    // What comes after the packet is padding of the link.
    let (begin, promised, protocol, place, more, id) = if source.is_ipv4() {
        let flags = u16_at(6)?;
        let header = usize::from(bytes.first()? & 15) * 4;
        let length = usize::from(u16_at(2)?);
        let id = u32::from(u16_at(4)?);
        (header, length, *bytes.get(9)?, flags & 0x1fff, flags & 0x2000 != 0, id)
    } else {
        let at = fragment_header(bytes)?;
        let flags = u16_at(at + 2)?;
        let id = u32::from(u16_at(at + 4)?) << 16 | u32::from(u16_at(at + 6)?);
        let length = 40 + usize::from(u16_at(4)?);
        (at + 8, length, *bytes.get(at)?, flags >> 3, flags & 1 != 0, id)
    };
    // A piece that was captured in part is of no use.
    let payload = bytes.get(begin..promised)?;
    let offset = usize::from(place) * 8;
    Some(Fragment { source, destination, id, protocol, offset, more, payload })
}

/// Where the fragment header of an IPv6 packet is.
fn fragment_header(bytes: &[u8]) -> Option<usize> {
    let (mut next, mut at) = (*bytes.get(6)?, 40);
    // Each header takes some bytes, so that this ends.
    while next != 44 {
        let length = usize::from(*bytes.get(at + 1)?);
        let size = match next {
            // Options by the hop and for the destination, routing, mobility and the like.
            0 | 43 | 60 | 135 | 139 | 140 => (length + 1) * 8,
            51 => (length + 2) * 4,
            _ => return None,
        };
        next = *bytes.get(at)?;
        at += size;
    }
    Some(at)
}

#[cfg(test)]
mod tests;
