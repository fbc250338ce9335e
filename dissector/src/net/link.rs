//! Link-layer headers: what comes before IP.

use crate::capture::LinkType;

/// What a packet carries.
pub(super) enum Network<'a> {
    /// An IP packet, perhaps with padding after it.
    Ip(&'a [u8]),
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

/// Takes the link-layer header off.
pub(super) fn strip(link: LinkType, bytes: &[u8]) -> Result<Network<'_>, Trouble> {
    match link {
        LinkType::ETHERNET => by_ether_type(bytes, 12, 14),
        LinkType::LINUX_SLL => by_ether_type(bytes, 14, 16),
        LinkType::LINUX_SLL2 => by_ether_type(bytes, 0, 20),
        LinkType::RAW | LinkType::RAW_OLD | LinkType::IPV4 | LinkType::IPV6 => Ok(if_ip(bytes)),
        // The address family that comes first has a byte order and values that depend on the
        // system; IP's version nibble says all that matters.
        LinkType::NULL | LinkType::LOOP => bytes.get(4..).map(if_ip).ok_or(Trouble::Short),
        _ => Err(Trouble::Unknown),
    }
}

fn if_ip(bytes: &[u8]) -> Network<'_> {
    match bytes.first().map(|first| first >> 4) {
        Some(4 | 6) => Network::Ip(bytes),
        _ => Network::Other,
    }
}

fn by_ether_type(
    bytes: &[u8],
    mut type_at: usize,
    mut header: usize,
) -> Result<Network<'_>, Trouble> {
    // Each tag takes 4 bytes, so that this ends.
    loop {
        let word = bytes.get(type_at..).and_then(|rest| rest.first_chunk::<2>());
        let ether_type = word.map(|word| u16::from_be_bytes(*word)).ok_or(Trouble::Short)?;
        match ether_type {
            IPV4 | IPV6 => return bytes.get(header..).map(Network::Ip).ok_or(Trouble::Short),
            tag if VLAN.contains(&tag) => {
                type_at = header + 2;
                header += 4;
            }
            _ => return Ok(Network::Other),
        }
    }
}
