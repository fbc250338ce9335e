//! Capture files: reading pcap and pcapng, writing pcapng.
//!
//! Reading streams through a buffer of bounded size, whatever the file's size, and never trusts a
//! length that the file gives. Large files are mapped, a window at a time; compressed ones are taken
//! out as they are read.

mod compressed;
mod connection;
mod foreign;
mod item;
mod map;
mod order;
mod pcap;
mod pcapng;
mod reader;
mod source;
mod writer;

#[cfg(test)]
mod tests;

pub use connection::{ConnectionWriter, Conversation, PacketSink};
pub use item::{Item, MAX_BLOCK, Packet, ReadError};
pub(crate) use map::Mapping;
pub use reader::CaptureReader;
pub use source::Input;
pub(crate) use source::prefetch;
pub use writer::CaptureWriter;

use std::fmt;

/// The link-layer header that packets begin with, as <https://www.tcpdump.org/linktypes.html>
/// numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LinkType(pub u32);

impl LinkType {
    /// That of an interface which a pcapng does not describe. No file has this number.
    pub const UNDESCRIBED: Self = Self(u32::MAX);
    /// BSD loopback; the address family in the byte order of the machine that captured.
    pub const NULL: Self = Self(0);
    /// Ethernet.
    pub const ETHERNET: Self = Self(1);
    /// PPP.
    pub const PPP: Self = Self(9);
    /// PPP in HDLC-like frames.
    pub const PPP_HDLC: Self = Self(50);
    /// PPP over Ethernet, without Ethernet.
    pub const PPP_ETHER: Self = Self(51);
    /// Cisco's HDLC.
    pub const CISCO_HDLC: Self = Self(104);
    /// OpenBSD's encapsulating interface (IPsec).
    pub const ENC: Self = Self(109);
    /// What Apple's systems used before [`LinkType::PKTAP`] had a number.
    pub const PKTAP_OLD: Self = Self(149);
    /// PPP as pppd sees it.
    pub const PPP_PPPD: Self = Self(166);
    /// PPP behind a byte that says who sent it.
    pub const PPP_WITH_DIRECTION: Self = Self(204);
    /// Packets that Linux's netfilter logged.
    pub const NFLOG: Self = Self(239);
    /// Packets of Apple's systems, with what is known of their process.
    pub const PKTAP: Self = Self(258);
    /// Raw IP, as older BSDs number it in files.
    pub const RAW_OLD: Self = Self(12);
    /// Raw IP; IPv4 or IPv6 by the first nibble.
    pub const RAW: Self = Self(101);
    /// OpenBSD loopback; the address family in network byte order.
    pub const LOOP: Self = Self(108);
    /// Linux cooked capture, version 1.
    pub const LINUX_SLL: Self = Self(113);
    /// Raw IPv4.
    pub const IPV4: Self = Self(228);
    /// Raw IPv6.
    pub const IPV6: Self = Self(229);
    /// Linux cooked capture, version 2 (`tcpdump -i any` of today).
    pub const LINUX_SLL2: Self = Self(276);
}

impl fmt::Display for LinkType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::UNDESCRIBED => "undescribed interface",
            Self::NULL => "BSD loopback",
            Self::ETHERNET => "Ethernet",
            Self::RAW | Self::RAW_OLD => "raw IP",
            Self::LOOP => "OpenBSD loopback",
            Self::LINUX_SLL => "Linux cooked v1",
            Self::IPV4 => "raw IPv4",
            Self::IPV6 => "raw IPv6",
            Self::LINUX_SLL2 => "Linux cooked v2",
            Self::PPP | Self::PPP_HDLC | Self::PPP_PPPD | Self::PPP_WITH_DIRECTION => "PPP",
            Self::PPP_ETHER => "PPPoE",
            Self::CISCO_HDLC => "Cisco HDLC",
            Self::ENC => "OpenBSD enc",
            Self::NFLOG => "NFLOG",
            Self::PKTAP | Self::PKTAP_OLD => "PKTAP",
            // Those that are not understood, and may be met.
            Self(105 | 119 | 127 | 163) => "802.11",
            Self(187 | 201 | 254) => "Bluetooth",
            Self(186 | 189 | 220 | 249 | 292..=295) => "USB",
            Self(195 | 215 | 230 | 283) => "802.15.4",
            Self(247) => "InfiniBand",
            Self(253) => "netlink",
            Self(271) => "vsock",
            Self(number) => return write!(f, "link type {number}"),
        };
        f.write_str(name)
    }
}
