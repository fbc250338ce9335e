//! From a packet to the TCP segment in it.

mod link;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use etherparse::{IpNumber, LaxIpv4Slice, LaxIpv6Slice, LenSource, TcpSlice};

use crate::capture::Packet;

/// A TCP segment. Checksums are not looked at: captures on the sending machine have wrong ones,
/// which the network card would have filled in.
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
    /// Begins a connection.
    pub syn: bool,
    /// Ends its sender's stream after the payload.
    pub fin: bool,
    /// Breaks the connection off.
    pub rst: bool,
    /// What was captured of the payload.
    pub payload: &'a [u8],
    /// How many bytes of payload came after that on the wire, but were not captured.
    pub missing: u32,
}

impl Segment<'_> {
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
    /// A fragment of an IP packet.
    Fragment,
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
    match link::strip(packet.link, packet.data) {
        Ok(link::Network::Ip(bytes)) => {
            // How much of the packet the capture left out; matters where IP does not tell.
            let cut = (packet.original_length as usize).saturating_sub(packet.data.len());
            ip(bytes, cut)
        }
        Ok(link::Network::Other) => Frame::Other,
        Err(link::Trouble::Unknown) => Frame::UnknownLink,
        Err(link::Trouble::Short) => Frame::Malformed,
    }
}

fn ip(bytes: &[u8], cut: usize) -> Frame<'_> {
    let (source, destination, payload, headers, promised) = match bytes.first().map(|b| b >> 4) {
        Some(4) => {
            let Ok((packet, _)) = LaxIpv4Slice::from_slice(bytes) else {
                return Frame::Malformed;
            };
            let header = packet.header();
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
        return Frame::Fragment;
    }
    if payload.ip_number != IpNumber::TCP {
        return Frame::Other;
    }
    let Ok(segment) = TcpSlice::from_slice(payload.payload) else {
        return Frame::Malformed;
    };
    // The length in the IP header is 0 where a network card was to cut a large packet up.
    let missing = match (payload.incomplete, payload.len_source) {
        (true, _) => promised.saturating_sub(headers + payload.payload.len()),
        (false, LenSource::Slice) => cut,
        (false, _) => 0,
    };
    Frame::Tcp(Segment {
        source: SocketAddr::new(source, segment.source_port()),
        destination: SocketAddr::new(destination, segment.destination_port()),
        sequence: segment.sequence_number(),
        acknowledgment: segment.ack().then(|| segment.acknowledgment_number()),
        syn: segment.syn(),
        fin: segment.fin(),
        rst: segment.rst(),
        payload: segment.payload(),
        missing: u32::try_from(missing).unwrap_or(u32::MAX),
    })
}

#[cfg(test)]
mod tests;
