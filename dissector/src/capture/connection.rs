//! The bytes of a live connection as the TCP packets that could have carried them.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};

use etherparse::{
    IpFragOffset, IpHeaders, IpNumber, Ipv4Header, Ipv6Header, PacketBuilder, TcpHeader,
    TcpOptionElement,
};
use protocol::message::Side;

use super::CaptureWriter;

/// The payload of the largest packet, in bytes: as much as segmentation offload shows in a capture
/// on the machine itself, rounded down.
const SEGMENT: usize = 64_000;
/// After this many bytes one way the other side acknowledges, lest the window look full.
const ACKNOWLEDGE_AFTER: u32 = 1 << 20;
/// 2^14 times 65,535 bytes: a window of nearly 1 GiB, the largest there is.
const WINDOW_SCALE: u8 = 14;

/// Turns the bytes of one connection into packets. Both addresses should be of one family; if not,
/// the IPv4 one is shown as an IPv6 address. For a unix socket, make addresses up.
#[derive(Debug, Clone)]
pub struct Conversation {
    client: End,
    server: End,
    segment: usize,
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
        }
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
    pub fn opened<W: Write>(&mut self, to: &mut CaptureWriter<W>, time_ns: u64) -> io::Result<()> {
        self.packet(to, Side::Client, time_ns, Mark::Syn, &[])?;
        self.packet(to, Side::Server, time_ns, Mark::Syn, &[])?;
        self.packet(to, Side::Client, time_ns, Mark::None, &[])
    }

    /// Writes bytes that one side sent. Bytes after that side closed are left out.
    ///
    /// # Errors
    /// Writing fails.
    pub fn data<W: Write>(
        &mut self,
        to: &mut CaptureWriter<W>,
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
            if unacknowledged >= ACKNOWLEDGE_AFTER && !self.end(from.other()).closed {
                self.packet(to, from.other(), time_ns, Mark::None, &[])?;
            }
        }
        Ok(())
    }

    /// Writes the end of what one side sends: a FIN, or a reset that also ends the other side.
    ///
    /// # Errors
    /// Writing fails.
    pub fn closed<W: Write>(
        &mut self,
        to: &mut CaptureWriter<W>,
        side: Side,
        time_ns: u64,
        reset: bool,
    ) -> io::Result<()> {
        if self.end(side).closed {
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
        // The other side's kernel acknowledges at once.
        self.packet(to, side.other(), time_ns, Mark::None, &[])
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

    fn packet<W: Write>(
        &mut self,
        to: &mut CaptureWriter<W>,
        from: Side,
        time_ns: u64,
        mark: Mark,
        payload: &[u8],
    ) -> io::Result<()> {
        let (source, destination) = (self.end(from).clone(), self.end(from.other()).clone());
        let mut tcp = TcpHeader::new(
            source.address.port(),
            destination.address.port(),
            source.next,
            u16::MAX,
        );
        tcp.psh = mark == Mark::Push;
        tcp.fin = mark == Mark::Fin;
        tcp.rst = mark == Mark::Reset;
        tcp.syn = mark == Mark::Syn;
        tcp.ack = !(mark == Mark::Syn && from == Side::Client);
        if tcp.ack {
            tcp.acknowledgment_number = destination.next;
        }
        if tcp.syn {
            tcp.set_options(&[
                TcpOptionElement::MaximumSegmentSize(self.segment as u16),
                TcpOptionElement::Noop,
                TcpOptionElement::WindowScale(WINDOW_SCALE),
            ])
            .map_err(io::Error::other)?;
        }
        let builder = PacketBuilder::ip(headers(&source, destination.address));
        let builder = builder.tcp_header(tcp);
        let mut packet = Vec::with_capacity(builder.size(payload.len()));
        builder.write(&mut packet, payload).map_err(io::Error::other)?;
        to.packet(time_ns, &packet)?;

        let sent = self.end_mut(from);
        let marks = u32::from(matches!(mark, Mark::Syn | Mark::Fin));
        sent.next = sent.next.wrapping_add(payload.len() as u32).wrapping_add(marks);
        sent.acknowledged = destination.next;
        sent.packets = sent.packets.wrapping_add(1);
        Ok(())
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
