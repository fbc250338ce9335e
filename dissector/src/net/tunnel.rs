//! Packets inside of packets: what mirrors of clouds and switches deliver, and tunnels.

use super::encapsulation::Tunnel;
use super::link::{self, Network};
use crate::capture::LinkType;

/// So deep packets are looked for inside of each other.
pub(super) const DEEPEST: u32 = 4;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// Transparent Ethernet bridging.
const ETHERNET: u16 = 0x6558;
const ERSPAN: u16 = 0x88be;
const ERSPAN_3: u16 = 0x22eb;

/// The registered port, and the one that Linux took before.
const VXLAN_PORTS: [u16; 2] = [4789, 8472];
const GENEVE_PORT: u16 = 6081;

/// The IP packet inside of a payload of IP, if there is one.
pub(super) fn inside(protocol: u8, payload: &[u8]) -> Option<(Tunnel, &[u8])> {
    match protocol {
        4 | 41 => is_ip(payload).then_some((Tunnel::Ip, payload)),
        17 => in_udp(payload),
        47 => in_gre(payload),
        _ => None,
    }
}

fn is_ip(bytes: &[u8]) -> bool {
    matches!(bytes.first().map(|first| first >> 4), Some(4 | 6))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// What an EtherType says that it is.
fn of_type(kind: u16, bytes: &[u8]) -> Option<&[u8]> {
    match kind {
        IPV4 | IPV6 => is_ip(bytes).then_some(bytes),
        ETHERNET => match link::strip(LinkType::ETHERNET, bytes) {
            Ok(Network::Ip(bytes, _)) if is_ip(bytes) => Some(bytes),
            _ => None,
        },
        _ => None,
    }
}

fn in_udp(datagram: &[u8]) -> Option<(Tunnel, &[u8])> {
    let port = u16_at(datagram, 2)?;
    let payload = datagram.get(8..)?;
    let first = *payload.first()?;
    if VXLAN_PORTS.contains(&port) {
        // The flag that says that a network's number is valid.
        let valid = first & 0x08 != 0;
        let inner = of_type(ETHERNET, payload.get(8..)?)?;
        return valid.then_some((Tunnel::Vxlan, inner));
    }
    if port == GENEVE_PORT {
        let version = first >> 6;
        let options = usize::from(first & 0x3f) * 4;
        let inner = of_type(u16_at(payload, 2)?, payload.get(8 + options..)?)?;
        return (version == 0).then_some((Tunnel::Geneve, inner));
    }
    None
}

fn in_gre(packet: &[u8]) -> Option<(Tunnel, &[u8])> {
    let flags = u16_at(packet, 0)?;
    let kind = u16_at(packet, 2)?;
    // Version 0, no routing.
    if flags & 0x4007 != 0 {
        return None;
    }
    // Checksum, key, sequence number.
    let fields = [0x8000, 0x2000, 0x1000].iter().filter(|flag| flags & **flag != 0).count();
    let payload = packet.get(4 + fields * 4..)?;
    let header = match kind {
        // Type I has neither a sequence number nor a header.
        ERSPAN if flags & 0x1000 == 0 => 0,
        ERSPAN => 8,
        // The last bit says whether 8 more bytes come.
        ERSPAN_3 => 12 + usize::from(payload.get(11)? & 1) * 8,
        _ => return Some((Tunnel::Gre, of_type(kind, payload)?)),
    };
    Some((Tunnel::Erspan, of_type(ETHERNET, payload.get(header..)?)?))
}
