//! Link-layer headers: what comes before IP.

use super::encapsulation::Tunnel;
use crate::capture::LinkType;

/// What a packet carries.
pub(super) enum Network<'a> {
    /// An IP packet, perhaps with padding after it, and what it was inside of below IP.
    Ip(&'a [u8], Option<Tunnel>),
    /// Something else.
    Other,
}

pub(super) enum Trouble {
    /// The link type is not understood.
    Unknown,
    /// The header is cut off.
    Short,
}

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// 802.1Q, 802.1ad, and what double tags had before there was a standard.
const VLAN: [u16; 3] = [0x8100, 0x88a8, 0x9100];

/// VN-Tag, as of switches that number the ports of virtual machines.
const VN_TAG: u16 = 0x8926;
/// MPLS, unicast and multicast.
const MPLS: [u16; 2] = [0x8847, 0x8848];
/// PPP over Ethernet, once a session is open.
const PPPOE: u16 = 0x8864;
/// Up to this it is no type but the length of what follows (IEEE 802.3).
const LENGTHS: u16 = 1500;
/// IPv4 and IPv6 in PPP.
const PPP_IP: [u16; 2] = [0x0021, 0x0057];
/// So many headers are taken off each other at most.
const DEEPEST: u32 = 16;

/// Takes the link-layer header off.
pub(super) fn strip(link: LinkType, bytes: &[u8]) -> Result<Network<'_>, Trouble> {
    strip_to(link, bytes, 0)
}

fn strip_to(link: LinkType, bytes: &[u8], depth: u32) -> Result<Network<'_>, Trouble> {
    let at = |start: usize| bytes.get(start..).ok_or(Trouble::Short);
    match link {
        LinkType::ETHERNET => by_type(u16_at(bytes, 12)?, at(14)?, depth),
        LinkType::LINUX_SLL => by_type(u16_at(bytes, 14)?, at(16)?, depth),
        LinkType::LINUX_SLL2 => by_type(u16_at(bytes, 0)?, at(20)?, depth),
        LinkType::RAW | LinkType::RAW_OLD | LinkType::IPV4 | LinkType::IPV6 => Ok(if_ip(bytes)),
        // The address family that comes first has a byte order and values that depend on the
        // system; IP's version nibble says all that matters.
        LinkType::NULL | LinkType::LOOP => at(4).map(if_ip),
        LinkType::ENC => at(12).map(if_ip),
        LinkType::PPP | LinkType::PPP_HDLC => ppp(bytes),
        // The direction comes first.
        LinkType::PPP_WITH_DIRECTION => ppp(at(1)?),
        // The direction takes the place of the address.
        LinkType::PPP_PPPD => ppp(at(1)?.strip_prefix(&[0x03]).unwrap_or(at(1)?)),
        LinkType::PPP_ETHER => pppoe(bytes),
        LinkType::CISCO_HDLC => by_type(u16_at(bytes, 2)?, at(4)?, depth),
        LinkType::NFLOG => nflog(bytes),
        LinkType::PKTAP | LinkType::PKTAP_OLD => pktap(bytes, depth),
        _ => Err(Trouble::Unknown),
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16, Trouble> {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk());
    word.map(|word| u16::from_be_bytes(*word)).ok_or(Trouble::Short)
}

fn if_ip(bytes: &[u8]) -> Network<'_> {
    match bytes.first().map(|first| first >> 4) {
        Some(4 | 6) => Network::Ip(bytes, None),
        _ => Network::Other,
    }
}

/// What stands behind an EtherType.
fn by_type(kind: u16, bytes: &[u8], depth: u32) -> Result<Network<'_>, Trouble> {
    let rest = |start: usize| bytes.get(start..).ok_or(Trouble::Short);
    match kind {
        _ if depth > DEEPEST => Ok(Network::Other),
        IPV4 | IPV6 => Ok(Network::Ip(bytes, None)),
        tag if VLAN.contains(&tag) => by_type(u16_at(bytes, 2)?, rest(4)?, depth + 1),
        VN_TAG => by_type(u16_at(bytes, 4)?, rest(6)?, depth + 1),
        PPPOE => pppoe(bytes),
        labels if MPLS.contains(&labels) => mpls(bytes, depth),
        length if length <= LENGTHS => match bytes {
            // SNAP: the type stands behind an organisation.
            [0xaa, 0xaa, 3, 0, 0, 0 | 0xf8, ..] => by_type(u16_at(bytes, 6)?, rest(8)?, depth + 1),
            _ => Ok(Network::Other),
        },
        _ => Ok(Network::Other),
    }
}

/// RFC 3032: labels up to the last one, and then IP, or Ethernet of a pseudowire.
fn mpls(mut bytes: &[u8], depth: u32) -> Result<Network<'_>, Trouble> {
    loop {
        let (label, rest) = bytes.split_first_chunk::<4>().ok_or(Trouble::Short)?;
        bytes = rest;
        if label[2] & 1 == 1 {
            break;
        }
    }
    let inside = |bytes| match strip_to(LinkType::ETHERNET, bytes, depth + 1) {
        Ok(Network::Ip(ip, _)) if is_ip(ip) => Some(ip),
        _ => None,
    };
    let found = match bytes.first().map(|first| first >> 4) {
        Some(4 | 6) => Some(bytes),
        // RFC 4448: a control word, where there is one, begins with zeroes.
        Some(0) => bytes.get(4..).and_then(inside).or_else(|| inside(bytes)),
        _ => inside(bytes),
    };
    Ok(found.map_or(Network::Other, |ip| Network::Ip(ip, Some(Tunnel::Mpls))))
}

fn is_ip(bytes: &[u8]) -> bool {
    matches!(if_ip(bytes), Network::Ip(..))
}

/// RFC 2516: six bytes, and then PPP.
fn pppoe(bytes: &[u8]) -> Result<Network<'_>, Trouble> {
    // Version and type 1; other codes are of discovery.
    let [0x11, 0, ..] = bytes else { return Ok(Network::Other) };
    match ppp(bytes.get(6..).ok_or(Trouble::Short)?)? {
        Network::Ip(ip, _) => Ok(Network::Ip(ip, Some(Tunnel::Pppoe))),
        Network::Other => Ok(Network::Other),
    }
}

/// RFC 1661 and 1662: address and control may be left out, and the protocol may be one byte.
fn ppp(bytes: &[u8]) -> Result<Network<'_>, Trouble> {
    let bytes = bytes.strip_prefix(&[0xff, 0x03]).unwrap_or(bytes);
    let (protocol, start) = match *bytes.first().ok_or(Trouble::Short)? {
        short if short & 1 == 1 => (u16::from(short), 1),
        _ => (u16_at(bytes, 0)?, 2),
    };
    match bytes.get(start..) {
        Some(ip) if PPP_IP.contains(&protocol) => Ok(if_ip(ip)),
        _ => Ok(Network::Other),
    }
}

/// What Linux's netfilter logs: attributes, of which one is the packet. Their numbers are in the
/// byte order of the machine that captured.
fn nflog(bytes: &[u8]) -> Result<Network<'_>, Trouble> {
    const PAYLOAD: u16 = 9;
    let attributes = bytes.get(4..).ok_or(Trouble::Short)?;
    let payload = |read: fn([u8; 2]) -> u16| {
        let mut rest = attributes;
        // Each takes 4 bytes at least, so that this ends.
        while let [a, b, c, d, ..] = *rest {
            let (length, kind) = (usize::from(read([a, b])), read([c, d]) & 0x7fff);
            if length < 4 {
                return None;
            }
            if kind == PAYLOAD {
                return rest.get(4..rest.len().min(length));
            }
            rest = rest.get(length.next_multiple_of(4)..)?;
        }
        None
    };
    let found = payload(u16::from_le_bytes).filter(|ip| is_ip(ip));
    let found = found.or_else(|| payload(u16::from_be_bytes));
    Ok(found.map_or(Network::Other, if_ip))
}

/// What Apple's systems put before packets: its length, and what comes behind it.
fn pktap(bytes: &[u8], depth: u32) -> Result<Network<'_>, Trouble> {
    let word = |at: usize| bytes.get(at..).and_then(|rest| rest.first_chunk::<4>());
    let read = |at: usize| word(at).map(|word| u32::from_le_bytes(*word)).ok_or(Trouble::Short);
    let (length, link) = (read(0)? as usize, LinkType(read(8)?));
    // The older number is free for anybody's use.
    if !(12..=4096).contains(&length) {
        return Err(Trouble::Unknown);
    }
    let inside = bytes.get(length..).ok_or(Trouble::Short)?;
    match depth {
        0 => strip_to(link, inside, 1),
        // One inside of another is nonsense.
        _ => Ok(Network::Other),
    }
}
