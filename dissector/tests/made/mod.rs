//! Captures with damage, made on purpose: what no program records at will. `make_captures` in
//! `golden.rs` writes them again.

use std::net::SocketAddr;

use dissector::capture::{CaptureReader, CaptureWriter, Conversation, Item, LinkType};
use protocol::build;
use protocol::message::Side;

const START: u64 = 1_800_000_000_000_000_000;
const CLIENT: &str = "192.0.2.1:40000";
const SERVER: &str = "192.0.2.2:10809";

/// A lawful session, but for the read that reaches beyond the export.
const SESSION: &str = "\
S: greeting fixed-newstyle flags={NO_ZEROES}
C: client-flags flags={FIXED_NEWSTYLE NO_ZEROES}
C: NBD_OPT_STRUCTURED_REPLY
S: NBD_REP_ACK option=NBD_OPT_STRUCTURED_REPLY
C: NBD_OPT_GO name=\"disk\" info={NBD_INFO_BLOCK_SIZE}
S: NBD_REP_INFO NBD_INFO_EXPORT option=NBD_OPT_GO size=65536 flags={HAS_FLAGS SEND_FLUSH SEND_DF}
S: NBD_REP_ACK option=NBD_OPT_GO
C: NBD_CMD_READ cookie=0x1 offset=4096 length=512
S: NBD_REPLY_TYPE_OFFSET_DATA cookie=0x1 flags={DONE} offset=4096 data=fill(0x5a)*512
C: NBD_CMD_WRITE cookie=0x2 offset=0 length=2048 data=zero*2048
S: simple-reply ok cookie=0x2
C: NBD_CMD_READ cookie=0x3 offset=65536 length=512
S: NBD_REPLY_TYPE_ERROR cookie=0x3 flags={DONE} error=NBD_EINVAL
C: NBD_CMD_READ cookie=0x4 offset=0 length=1024
S: NBD_REPLY_TYPE_OFFSET_DATA cookie=0x4 flags={} offset=0 data=zero*512
S: NBD_REPLY_TYPE_OFFSET_DATA cookie=0x4 flags={DONE} offset=512 data=fill(0xa5)*512
C: NBD_CMD_DISC cookie=0x5 offset=0 length=0
";

/// A packet: when, and its bytes.
type Packet = (u64, Vec<u8>);

/// A capture that is made.
pub(crate) struct Made {
    pub(crate) name: &'static str,
    link: LinkType,
    packets: Vec<Packet>,
}

impl Made {
    fn new(name: &'static str, link: LinkType, packets: Vec<Packet>) -> Self {
        Self { name, link, packets }
    }

    /// As a pcapng file.
    pub(crate) fn file(&self) -> Vec<u8> {
        let mut file = CaptureWriter::for_link(Vec::new(), self.link).expect("memory");
        for (time_ns, bytes) in &self.packets {
            file.packet(*time_ns, bytes).expect("memory can be written");
        }
        file.into_inner()
    }
}

/// The bytes of a line of the notation.
fn bytes(line: &str) -> (Side, Vec<u8>) {
    let (side, message, payload) = build::parse_line(line).expect("the session is notation");
    let mut bytes = message.to_bytes();
    if let Some(payload) = payload {
        let head = bytes.len();
        bytes.resize(head + payload.length() as usize, 0);
        payload.fill(0, 0, &mut bytes[head..]);
    }
    (side, bytes)
}

/// The session's packets, which begin with an IPv4 header; at most so many bytes in each.
fn packets(segment: usize) -> Vec<Packet> {
    let address = |text: &str| text.parse::<SocketAddr>().expect("it is an address");
    let mut file = CaptureWriter::new(Vec::new()).expect("memory");
    let mut talk = Conversation::new(address(CLIENT), address(SERVER)).segment_size(segment);
    let mut time = START;
    talk.opened(&mut file, time).expect("memory");
    for line in SESSION.lines() {
        time += 1_000_000;
        let (side, bytes) = bytes(line);
        talk.data(&mut file, side, time, &bytes).expect("memory");
    }
    for side in [Side::Client, Side::Server] {
        talk.closed(&mut file, side, time, false).expect("memory");
    }
    let file = file.into_inner();
    let mut reader = CaptureReader::new(&file[..]).expect("it was just written");
    let mut packets = Vec::new();
    while let Some(item) = reader.next_item().expect("it was just written") {
        if let Item::Packet(packet) = item {
            packets.push((packet.time_ns, packet.data.to_vec()));
        }
    }
    packets
}

/// Puts a header before each packet.
fn behind(header: &[u8], packets: Vec<Packet>) -> Vec<Packet> {
    packets.into_iter().map(|(time, bytes)| (time, [header, &bytes].concat())).collect()
}

/// The IPv4 header's checksum is filled in.
fn checked(mut packet: Vec<u8>) -> Vec<u8> {
    packet[10..12].fill(0);
    let sum: u32 = packet[..20].chunks(2).map(|b| u32::from(b[0]) << 8 | u32::from(b[1])).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    packet[10..12].copy_from_slice(&(!(sum as u16 + (sum >> 16) as u16)).to_be_bytes());
    packet
}

/// Cuts packets that are longer into IPv4 fragments of so many bytes (a multiple of 8), the last
/// one first.
fn fragmented(packets: Vec<Packet>, size: usize) -> Vec<Packet> {
    let mut all = Vec::new();
    for (time, packet) in packets {
        let (header, payload) = packet.split_at(20);
        if payload.len() <= size {
            all.push((time, packet));
            continue;
        }
        for (index, piece) in payload.chunks(size).enumerate().rev() {
            let mut fragment = [header, piece].concat();
            let length = fragment.len() as u16;
            fragment[2..4].copy_from_slice(&length.to_be_bytes());
            let more = u16::from((index + 1) * size < payload.len()) << 13;
            let offset = (index * size / 8) as u16 | more;
            fragment[6..8].copy_from_slice(&offset.to_be_bytes());
            all.push((time, checked(fragment)));
        }
    }
    all
}

/// Where the packet is that carries these bytes at its end.
fn position(packets: &[Packet], line: &str) -> usize {
    let (_, wanted) = bytes(line);
    let ends = |(_, packet): &Packet| packet.ends_with(&wanted);
    packets.iter().position(ends).expect("a packet of its own carries the message")
}

/// All of them.
pub(crate) fn captures() -> Vec<Made> {
    const WHOLE: usize = 64_000;
    let ethernet = [&[2; 6][..], &[4; 6]].concat();
    let vlan = [&ethernet[..], &[0x81, 0, 0, 5, 8, 0]].concat();
    let qinq = [&ethernet[..], &[0x88, 0xa8, 0, 7, 0x81, 0, 0, 5, 8, 0]].concat();
    let cooked = [&[8, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 6][..], &[2; 6], &[0; 2]].concat();
    let whole = packets(WHOLE);
    let small = packets(500);
    let read = position(
        &whole,
        "S: NBD_REPLY_TYPE_OFFSET_DATA cookie=0x1 flags={DONE} offset=4096 data=fill(0x5a)*512",
    );
    let write = position(&whole, "S: simple-reply ok cookie=0x2");
    let go = position(&whole, "S: NBD_REP_ACK option=NBD_OPT_GO");

    // The reply to the first read; the client is still judged.
    let mut loss = whole.clone();
    loss.remove(read);
    // The middle of a write.
    let mut holes = small.clone();
    let middle = small.iter().position(|(_, packet)| packet[40..] == [0; 500]).expect("zeroes");
    holes.remove(middle + 1);
    // The same bytes again, and others in their place, with the same checksum: another offset.
    let mut overlap = whole.clone();
    let mut other = whole[read].clone();
    other.1[40 + 24..40 + 28].rotate_left(2);
    overlap.insert(read + 1, other);
    overlap.insert(read + 1, whole[read].clone());
    // A segment is damaged on its way to the capture, and sent again.
    let mut damaged = whole.clone();
    let mut wrong = whole[read].clone();
    wrong.1[40 + 15] ^= 0x40; // in the cookie
    damaged.insert(read, wrong);
    // Neighbours change places.
    let mut shuffled = small.clone();
    for at in (4..small.len() - 5).step_by(3) {
        shuffled.swap(at, at + 1);
    }
    vec![
        Made::new("vlan", LinkType::ETHERNET, behind(&vlan, whole.clone())),
        Made::new("qinq-shuffled", LinkType::ETHERNET, behind(&qinq, shuffled)),
        Made::new("cooked-v2", LinkType::LINUX_SLL2, behind(&cooked, whole.clone())),
        Made::new("fragments", LinkType::RAW, fragmented(whole.clone(), 256)),
        Made::new("reply-lost", LinkType::RAW, loss),
        Made::new("payload-lost", LinkType::RAW, holes),
        Made::new("mid-session", LinkType::RAW, whole[go + 1..].to_vec()),
        Made::new("greeting-lost", LinkType::RAW, whole[4..].to_vec()),
        Made::new("overlap", LinkType::RAW, overlap),
        Made::new("damaged", LinkType::RAW, damaged),
        Made::new("cut-off", LinkType::RAW, whole[..write].to_vec()),
    ]
}
