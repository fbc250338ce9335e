//! The bytes of a live connection as the TCP packets that could have carried them.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};

use etherparse::{
    IpFragOffset, IpHeaders, IpNumber, Ipv4Header, Ipv6Header, PacketBuilder, TcpHeader,
    TcpOptionElement,
};
use protocol::message::Side;

use super::CaptureWriter;
use crate::net::Segment;

/// The payload of the largest packet, in bytes: as much as segmentation offload shows in a capture
/// on the machine itself, rounded down.
const SEGMENT: usize = 64_000;
/// After this many bytes one way the other side acknowledges, lest the window look full.
const ACKNOWLEDGE_AFTER: u32 = 1 << 20;
/// 2^14 times 65,535 bytes: a window of nearly 1 GiB, the largest there is.
const WINDOW_SCALE: u8 = 14;

/// How far acknowledgments stay behind where it is not known what a side has received, in bytes: more
/// than a kernel keeps for a program.
const BEHIND: u32 = 256 << 20;
/// The most that is stepped over at once, in bytes: a quarter of the numbers there are.
const LOST: u64 = 1 << 30;

/// Takes packets that begin with an IP header.
pub trait PacketSink {
    /// The next packet; `time_ns` counts from 1970 (UTC).
    ///
    /// # Errors
    /// It can't be taken, as when writing fails.
    fn packet(&mut self, time_ns: u64, packet: &[u8]) -> io::Result<()>;

    /// Takes what the next packet would say, and says so, if that is enough: a packet costs a copy of
    /// its payload and a checksum of it.
    fn unpacked(&mut self, _time_ns: u64, _segment: &Segment<'_>) -> bool {
        false
    }
}

impl<W: Write> PacketSink for CaptureWriter<W> {
    fn packet(&mut self, time_ns: u64, packet: &[u8]) -> io::Result<()> {
        CaptureWriter::packet(self, time_ns, packet)
    }
}

/// Turns the bytes of one connection into packets. Both addresses should be of one family; if not,
/// the IPv4 one is shown as an IPv6 address. For a unix socket, make addresses up.
#[derive(Debug, Clone)]
pub struct Conversation {
    client: End,
    server: End,
    segment: usize,
    /// It is not known what a side had received when it sent.
    overheard: bool,
    /// The packet that is being made.
    made: Vec<u8>,
}

#[derive(Debug, Clone)]
struct End {
    address: SocketAddr,
    /// Sequence number of the next byte it sends.
    next: u32,
    /// Up to where it has acknowledged the other's bytes.
    acknowledged: u32,
    closed: bool,
    packets: u16,
}

/// What a packet does besides carrying bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Syn,
    Push,
    None,
    Fin,
    Reset,
}

impl Conversation {
    /// For a connection between these addresses.
    #[must_use]
    pub fn new(client: SocketAddr, server: SocketAddr) -> Self {
        let (client, server) = if client.is_ipv4() == server.is_ipv4() {
            (client, server)
        } else {
            (as_ipv6(client), as_ipv6(server))
        };
        // Any initial numbers would do; these differ between connections, as tools expect.
        let seed = u32::from(client.port()) << 16 | u32::from(server.port());
        let end = |address, next| End { address, next, acknowledged: 0, closed: false, packets: 0 };
        Self {
            client: end(client, seed),
            server: end(server, seed.wrapping_mul(2_654_435_761)),
            segment: SEGMENT,
            overheard: false,
            made: Vec::new(),
        }
    }

    /// For who stands between both sides: bytes that it has seen may not have reached the other side
    /// yet. Acknowledgments then say nothing of the latest bytes, as a judge takes them for what
    /// their sender knew.
    #[must_use]
    pub fn overheard(mut self) -> Self {
        self.overheard = true;
        self
    }

    /// Packets carry at most so many bytes (1 to 64,000), as on a network: 1448 on Ethernet.
    #[must_use]
    pub fn segment_size(mut self, bytes: usize) -> Self {
        self.segment = bytes.clamp(1, SEGMENT);
        self
    }

    /// Writes the handshake that opens the connection.
    ///
    /// # Errors
    /// Writing fails.
    pub fn opened(&mut self, to: &mut (impl PacketSink + ?Sized), time_ns: u64) -> io::Result<()> {
        self.packet(to, Side::Client, time_ns, Mark::Syn, &[])?;
        self.packet(to, Side::Server, time_ns, Mark::Syn, &[])?;
        self.packet(to, Side::Client, time_ns, Mark::None, &[])
    }

    /// Writes bytes that one side sent. Bytes after that side closed are left out.
    ///
    /// # Errors
    /// Writing fails.
    pub fn data(
        &mut self,
        to: &mut (impl PacketSink + ?Sized),
        from: Side,
        time_ns: u64,
        bytes: &[u8],
    ) -> io::Result<()> {
        if self.end(from).closed {
            return Ok(());
        }
        let mut segments = bytes.chunks(self.segment).peekable();
        while let Some(segment) = segments.next() {
            let mark = if segments.peek().is_none() { Mark::Push } else { Mark::None };
            self.packet(to, from, time_ns, mark, segment)?;
            let unacknowledged =
                self.end(from).next.wrapping_sub(self.end(from.other()).acknowledged);
            let due = ACKNOWLEDGE_AFTER + if self.overheard { BEHIND } else { 0 };
            if unacknowledged >= due && !self.end(from.other()).closed {
                self.packet(to, from.other(), time_ns, Mark::None, &[])?;
            }
        }
        Ok(())
    }

    /// Writes the end of what one side sends: a FIN, or a reset that also ends the other side.
    ///
    /// # Errors
    /// Writing fails.
    pub fn closed(
        &mut self,
        to: &mut (impl PacketSink + ?Sized),
        side: Side,
        time_ns: u64,
        reset: bool,
    ) -> io::Result<()> {
        let over = self.client.closed && self.server.closed;
        if over || (self.end(side).closed && !reset) {
            return Ok(());
        }
        if reset {
            self.packet(to, side, time_ns, Mark::Reset, &[])?;
            self.client.closed = true;
            self.server.closed = true;
            return Ok(());
        }
        self.packet(to, side, time_ns, Mark::Fin, &[])?;
        self.end_mut(side).closed = true;
        if self.client.closed && self.server.closed {
            // Nothing more can be said of what a side knew.
            self.overheard = false;
        }
        // The other side's kernel acknowledges at once.
        if !self.overheard {
            self.packet(to, side.other(), time_ns, Mark::None, &[])?;
        }
        Ok(())
    }

    /// Steps over bytes that one side sent and that are not there to be written: a capture that lost
    /// packets looks so. Of more than 1 GiB at once only so much shows, as numbers wrap.
    ///
    /// # Errors
    /// Writing fails.
    pub fn lost(
        &mut self,
        to: &mut (impl PacketSink + ?Sized),
        from: Side,
        time_ns: u64,
        bytes: u64,
    ) -> io::Result<()> {
        let other = from.other();
        if bytes == 0 || self.end(from).closed {
            return Ok(());
        }
        let sent = self.end_mut(from);
        sent.next = sent.next.wrapping_add(bytes.min(LOST) as u32);
        // Without an acknowledgment readers take it for bytes that may yet be sent again.
        let overheard = std::mem::take(&mut self.overheard);
        let written = match self.end(other).closed {
            true => Ok(()),
            false => self.packet(to, other, time_ns, Mark::None, &[]),
        };
        self.overheard = overheard;
        written
    }

    fn end(&self, side: Side) -> &End {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    fn end_mut(&mut self, side: Side) -> &mut End {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// Up to where a packet acknowledges the other side's bytes.
    fn acknowledges(&self, source: &End, other: &End, mark: Mark, empty: bool) -> u32 {
        // Nothing is overheard before the handshake is over.
        let opening = mark == Mark::Syn || (source.packets == 1 && empty);
        if !self.overheard || opening {
            return other.next;
        }
        let sure = other.next.wrapping_sub(BEHIND);
        let is_later = sure.wrapping_sub(source.acknowledged).cast_signed() > 0;
        if is_later { sure } else { source.acknowledged }
    }

    fn packet(
        &mut self,
        to: &mut (impl PacketSink + ?Sized),
        from: Side,
        time_ns: u64,
        mark: Mark,
        payload: &[u8],
    ) -> io::Result<()> {
        let (source, destination) = (self.end(from).clone(), self.end(from.other()).clone());
        let acknowledged = self.acknowledges(&source, &destination, mark, payload.is_empty());
        let has_id = source.address.is_ipv4() && destination.address.is_ipv4();
        let segment = Segment {
            source: source.address,
            destination: destination.address,
            sequence: source.next,
            acknowledgment: (mark != Mark::Syn || from == Side::Server).then_some(acknowledged),
            id: if has_id { source.packets } else { 0 },
            syn: mark == Mark::Syn,
            fin: mark == Mark::Fin,
            rst: mark == Mark::Reset,
            header: &[],
            payload,
            missing: 0,
        };
        if !to.unpacked(time_ns, &segment) {
            self.write_packet(to, time_ns, mark, &source, &segment)?;
        }
        let sent = self.end_mut(from);
        let marks = u32::from(matches!(mark, Mark::Syn | Mark::Fin));
        sent.next = sent
            .next
            .wrapping_add(u32::try_from(payload.len()).unwrap_or_default())
            .wrapping_add(marks);
        sent.acknowledged = acknowledged;
        sent.packets = sent.packets.wrapping_add(1);
        Ok(())
    }

    fn write_packet(
        &mut self,
        to: &mut (impl PacketSink + ?Sized),
        time_ns: u64,
        mark: Mark,
        source: &End,
        segment: &Segment<'_>,
    ) -> io::Result<()> {
        let Segment { destination, payload, .. } = *segment;
        let mut tcp =
            TcpHeader::new(source.address.port(), destination.port(), source.next, u16::MAX);
        tcp.psh = mark == Mark::Push;
        (tcp.fin, tcp.rst, tcp.syn) = (segment.fin, segment.rst, segment.syn);
        tcp.ack = segment.acknowledgment.is_some();
        tcp.acknowledgment_number = segment.acknowledgment.unwrap_or_default();
        if tcp.syn {
            tcp.set_options(&[
                TcpOptionElement::MaximumSegmentSize(
                    u16::try_from(self.segment).unwrap_or(u16::MAX),
                ),
                TcpOptionElement::Noop,
                TcpOptionElement::WindowScale(WINDOW_SCALE),
            ])
            .map_err(io::Error::other)?;
        }
        let builder = PacketBuilder::ip(headers(source, destination));
        let builder = builder.tcp_header(tcp);
        let mut packet = std::mem::take(&mut self.made);
        packet.clear();
        packet.reserve(builder.size(payload.len()));
        builder.write(&mut packet, payload).map_err(io::Error::other)?;
        let taken = to.packet(time_ns, &packet);
        self.made = packet;
        taken
    }
}

fn as_ipv6(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(IpAddr::V6(ip.to_ipv6_mapped()), address.port()),
        IpAddr::V6(_) => address,
    }
}

/// The builder fills lengths and checksums in.
fn headers(source: &End, destination: SocketAddr) -> IpHeaders {
    match (source.address.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => IpHeaders::Ipv4(
            Ipv4Header {
                identification: source.packets,
                dont_fragment: true,
                fragment_offset: IpFragOffset::ZERO,
                time_to_live: 64,
                protocol: IpNumber::TCP,
                source: from.octets(),
                destination: to.octets(),
                ..Ipv4Header::default()
            },
            Default::default(),
        ),
        (from, to) => {
            let octets = |ip: IpAddr| match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
                IpAddr::V6(ip) => ip.octets(),
            };
            IpHeaders::Ipv6(
                Ipv6Header {
                    next_header: IpNumber::TCP,
                    hop_limit: 64,
                    source: octets(from),
                    destination: octets(to),
                    ..Ipv6Header::default()
                },
                Default::default(),
            )
        }
    }
}

/// A pcapng file of one connection.
pub struct ConnectionWriter<W> {
    file: CaptureWriter<W>,
    conversation: Conversation,
}

impl<W: Write> ConnectionWriter<W> {
    /// Begins a file for a connection between these addresses; see [`Conversation::new`].
    ///
    /// # Errors
    /// Writing fails.
    pub fn new(out: W, client: SocketAddr, server: SocketAddr) -> io::Result<Self> {
        let file = CaptureWriter::new(out)?;
        Ok(Self { file, conversation: Conversation::new(client, server) })
    }

    /// See [`Conversation::segment_size`].
    #[must_use]
    pub fn segment_size(mut self, bytes: usize) -> Self {
        self.conversation = self.conversation.segment_size(bytes);
        self
    }

    /// The connection was opened. Times count from 1970 (UTC) and should not go back.
    ///
    /// # Errors
    /// Writing fails.
    pub fn opened(&mut self, time_ns: u64) -> io::Result<()> {
        self.conversation.opened(&mut self.file, time_ns)
    }

    /// One side sent bytes.
    ///
    /// # Errors
    /// Writing fails.
    pub fn data(&mut self, from: Side, time_ns: u64, bytes: &[u8]) -> io::Result<()> {
        self.conversation.data(&mut self.file, from, time_ns, bytes)
    }

    /// One side closed what it sends, or reset the connection.
    ///
    /// # Errors
    /// Writing fails.
    pub fn closed(&mut self, side: Side, time_ns: u64, reset: bool) -> io::Result<()> {
        self.conversation.closed(&mut self.file, side, time_ns, reset)
    }

    /// TLS secrets of the connection; see [`CaptureWriter::tls_key_log`].
    ///
    /// # Errors
    /// Writing fails.
    pub fn tls_key_log(&mut self, lines: &str) -> io::Result<()> {
        self.file.tls_key_log(lines)
    }

    /// Hands on what is buffered and gives the writer back.
    ///
    /// # Errors
    /// Writing fails.
    pub fn finish(mut self) -> io::Result<W> {
        self.file.flush()?;
        Ok(self.file.into_inner())
    }
}
