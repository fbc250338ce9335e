//! A session below each link type and inside each tunnel that is understood: all decode to the same
//! messages, and tshark sees the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use dissector::capture::{Conversation, PacketSink};
use protocol::message::Side;

use super::{json, needed, tshark};

const IPV4: u16 = 0x0800;
const MACS: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];

/// Puts an IP packet below or into something.
type Wrap = fn(&[u8]) -> Vec<u8>;

/// A link type or tunnel: its name, the link type of the file, what a packet of it looks like, and what
/// it is told as, if it is.
struct Row(&'static str, u32, Wrap, Option<&'static str>);

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn after(header: &str, packet: &[u8]) -> Vec<u8> {
    [&hex(header), packet].concat()
}

fn ethernet(kind: u16, packet: &[u8]) -> Vec<u8> {
    [&MACS[..], &kind.to_be_bytes(), packet].concat()
}

fn plain(ip: &[u8]) -> Vec<u8> {
    ethernet(IPV4, ip)
}

fn ip(protocol: u8, packet: &[u8]) -> Vec<u8> {
    let length = ((20 + packet.len()) as u16).to_be_bytes();
    let rest = [0, 1, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    [&[0x45, 0][..], &length, &rest, packet].concat()
}

fn ip6(next: u8, packet: &[u8]) -> Vec<u8> {
    let length = (packet.len() as u16).to_be_bytes();
    let addresses = hex("20010db8000000000000000000000001 20010db8000000000000000000000002");
    [&[0x60, 0, 0, 0][..], &length, &[next, 64], &addresses, packet].concat()
}

fn udp(port: u16, header: &str, packet: &[u8]) -> Vec<u8> {
    let payload = after(header, packet);
    let length = ((8 + payload.len()) as u16).to_be_bytes();
    let udp =
        [&50_000u16.to_be_bytes()[..], &port.to_be_bytes(), &length, &[0, 0], &payload].concat();
    plain(&ip(17, &udp))
}

fn gre(header: &str, packet: &[u8]) -> Vec<u8> {
    plain(&ip(47, &after(header, packet)))
}

/// PPP with the length that PPPoE wants.
fn pppoe(ip: &[u8]) -> Vec<u8> {
    [&hex("1100002a")[..], &((ip.len() + 2) as u16).to_be_bytes(), &[0, 0x21], ip].concat()
}

fn nflog(ip: &[u8]) -> Vec<u8> {
    let attribute = ((4 + ip.len()) as u16).to_le_bytes();
    let padding = vec![0; ip.len().next_multiple_of(4) - ip.len()];
    let header = hex("02000000 08000100 00000300");
    [&header[..], &attribute, &[9, 0], ip, &padding].concat()
}

fn pktap(ip: &[u8]) -> Vec<u8> {
    let mut header = hex("6c000000 01000000 01000000");
    header.extend_from_slice(b"en0");
    header.resize(36, 0);
    header.extend(hex("01000000 02000000 00000000 0e000000"));
    header.resize(108, 0);
    [header, plain(ip)].concat()
}

const ROWS: &[Row] = &[
    Row("Ethernet", 1, plain, None),
    Row("802.1Q", 1, |p| ethernet(0x8100, &after("0005 0800", p)), None),
    Row("802.1ad", 1, |p| ethernet(0x88a8, &after("0005 8100 0006 0800", p)), None),
    Row("SNAP", 1, |p| ethernet(p.len() as u16 + 8, &after("aaaa03 000000 0800", p)), None),
    Row("VN-Tag", 1, |p| ethernet(0x8926, &after("00000001 0800", p)), None),
    Row("MPLS", 1, |p| ethernet(0x8847, &after("00064040 00065140", p)), Some("MPLS")),
    Row("PPPoE", 1, |p| ethernet(0x8864, &pppoe(p)), Some("PPPoE")),
    Row("PPP", 9, |p| after("ff03 0021", p), None),
    Row("PPP, compressed", 9, |p| after("21", p), None),
    Row("PPP in HDLC", 50, |p| after("ff03 0021", p), None),
    Row("PPPoE alone", 51, pppoe, Some("PPPoE")),
    Row("PPP with direction", 204, |p| after("00 ff03 0021", p), None),
    Row("Cisco HDLC", 104, |p| after("0f00 0800", p), None),
    Row("NFLOG", 239, nflog, None),
    Row("PKTAP", 258, pktap, None),
    Row("Linux cooked", 113, |p| after("0000 0001 0006 0200000000010000 0800", p), None),
    Row(
        "Linux cooked 2",
        276,
        |p| after("0800 0000 00000001 0001 00 06 0200000000010000", p),
        None,
    ),
    Row("BSD loopback", 0, |p| after("02000000", p), None),
    Row("OpenBSD loopback", 108, |p| after("00000002", p), None),
    Row("OpenBSD encapsulated", 109, |p| after("02000000 00000000 00000000", p), None),
    Row("raw IP", 101, <[u8]>::to_vec, None),
    Row("raw IPv4", 228, <[u8]>::to_vec, None),
    Row("VXLAN", 1, |p| udp(4789, "0800000000002a00", &plain(p)), Some("VXLAN")),
    Row("Geneve", 1, |p| udp(6081, "0100655800002a00 01020000", &plain(p)), Some("Geneve")),
    Row("Geneve, IP", 1, |p| udp(6081, "0000080000002a00", p), Some("Geneve")),
    Row("GRE", 1, |p| gre("0000 0800", p), Some("GRE")),
    Row("GRE with key", 1, |p| gre("2000 0800 0000002a", p), Some("GRE")),
    Row("GRE, Ethernet", 1, |p| gre("3000 6558 0000002a 00000001", &plain(p)), Some("GRE")),
    Row("GRE over IPv6", 1, |p| ethernet(0x86dd, &ip6(47, &after("0000 0800", p))), Some("GRE")),
    Row("ERSPAN I", 1, |p| gre("0000 88be", &plain(p)), Some("ERSPAN")),
    Row("ERSPAN II", 1, |p| gre("1000 88be 00000001 1001000500000000", &plain(p)), Some("ERSPAN")),
    Row(
        "ERSPAN III",
        1,
        |p| gre("1000 22eb 00000001 200100050000000000000000", &plain(p)),
        Some("ERSPAN"),
    ),
    Row(
        "ERSPAN III with subheader",
        1,
        |p| gre("1000 22eb 00000001 200100050000000000000001 0000000000000000", &plain(p)),
        Some("ERSPAN"),
    ),
    Row("IP in IP", 1, |p| plain(&ip(4, p)), Some("IP in IP")),
    Row("IP in IPv6", 1, |p| ethernet(0x86dd, &ip6(4, p)), Some("IP in IP")),
    Row(
        "two tunnels",
        1,
        |p| gre("0000 6558", &udp(4789, "0800000000002a00", &plain(p))),
        Some("GRE"),
    ),
];

/// What tshark takes for something else by default.
const NOT_FOR_TSHARK: &[Row] = &[
    Row("pppd", 166, |p| after("00 03 0021", p), None),
    Row(
        "pseudowire",
        1,
        |p| ethernet(0x8847, &after("00064140 00000000", &plain(p))),
        Some("MPLS"),
    ),
    Row(
        "pseudowire, no word",
        1,
        |p| ethernet(0x8847, &after("00064140", &plain(p))),
        Some("MPLS"),
    ),
];

#[derive(Default)]
struct Packets(Vec<(u64, Vec<u8>)>);

impl PacketSink for Packets {
    fn packet(&mut self, time_ns: u64, packet: &[u8]) -> io::Result<()> {
        self.0.push((time_ns, packet.to_vec()));
        Ok(())
    }
}

/// The packets of a session, from IP on.
fn session(port: u16) -> Vec<(u64, Vec<u8>)> {
    let [client, server] = [("192.0.2.1", port), ("192.0.2.2", 10809)]
        .map(|(host, port)| (host.parse::<std::net::IpAddr>().unwrap(), port).into());
    let mut talk = Conversation::new(client, server);
    let mut packets = Packets::default();
    let start = 1_000_000_000 * u64::from(port);
    talk.opened(&mut packets, start).unwrap();
    let abort = hex("49484156454f5054 00000002 00000000");
    let ack = hex("0003e889045565a9 00000002 00000001 00000000");
    let said: [(Side, &[u8]); 4] = [
        (Side::Server, b"NBDMAGICIHAVEOPT\x00\x03"),
        (Side::Client, &[0, 0, 0, 3]),
        (Side::Client, &abort),
        (Side::Server, &ack),
    ];
    for (number, (from, bytes)) in (1..).zip(said) {
        talk.data(&mut packets, from, start + 1_000_000 * number, bytes).unwrap();
    }
    for side in [Side::Client, Side::Server] {
        talk.closed(&mut packets, side, start + 9_000_000, false).unwrap();
    }
    packets.0
}

/// A block of pcapng.
fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let padding = vec![0; body.len().next_multiple_of(4) - body.len()];
    let length = (12 + body.len() + padding.len()) as u32;
    [&kind.to_le_bytes()[..], &length.to_le_bytes(), body, &padding, &length.to_le_bytes()].concat()
}

/// Writes a file with a session and an interface for each row.
fn write<'a>(path: &Path, rows: impl Iterator<Item = &'a Row>) {
    let mut file = block(0x0a0d_0d0a, &hex("4d3c2b1a 0100 0000 ffffffffffffffff"));
    for (interface, Row(_, link, wrap, _)) in (0..).zip(rows) {
        // Times are in nanoseconds.
        let option = hex("0900 0100 09000000 00000000");
        file.extend(block(1, &[&link.to_le_bytes()[..], &[0; 4], &option].concat()));
        for (time_ns, packet) in session(FIRST_PORT + interface as u16) {
            let packet = wrap(&packet);
            let length = (packet.len() as u32).to_le_bytes();
            let times = [(time_ns >> 32) as u32, time_ns as u32].map(u32::to_le_bytes).concat();
            let interface = u32::to_le_bytes(interface);
            file.extend(block(6, &[&interface, &times[..], &length, &length, &packet].concat()));
        }
    }
    std::fs::write(path, file).unwrap();
}

/// The client's port of the first row; the next one's is one more.
const FIRST_PORT: u16 = 40_000;

#[test]
fn a_session_is_the_same_below_and_inside_of_everything() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("all.pcapng");
    write(&path, ROWS.iter().chain(NOT_FOR_TSHARK));
    let lines = json(&path);
    let texts = |session: usize| {
        let of_it = lines.iter().filter(move |line| {
            line["type"] == "message" && line["session"].as_u64() == Some(session as u64)
        });
        of_it.map(|line| line["text"].as_str().unwrap()).collect::<Vec<_>>()
    };
    let wanted = texts(1);
    assert_eq!(wanted.len(), 4, "{wanted:?}");
    for (index, row) in ROWS.iter().chain(NOT_FOR_TSHARK).enumerate() {
        assert_eq!(texts(index + 1), wanted, "{}", row.0);
    }
    // And nothing else is told than what they came inside of.
    let mut wanted = BTreeMap::new();
    for name in ROWS.iter().chain(NOT_FOR_TSHARK).filter_map(|row| row.3) {
        *wanted.entry(name).or_insert(0) += session(FIRST_PORT).len();
    }
    let wanted: BTreeSet<_> = wanted
        .into_iter()
        .map(|(name, count)| format!("{count} packets of TCP came inside {name}"))
        .collect();
    let told = lines.iter().filter(|line| line["type"] == "problem" || line["type"] == "violation");
    let told: BTreeSet<_> = told.map(|line| line["text"].as_str().unwrap().to_owned()).collect();
    assert_eq!(told, wanted);
}

#[test]
fn tshark_sees_the_same_bytes_below_and_inside_of_everything() {
    if !needed::here(&["tshark"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("all.pcapng");
    write(&path, ROWS.iter());
    let fields = ["-Y", "tcp.len > 0", "-T", "fields", "-e", "frame.interface_id"];
    let all = tshark(&path, &[&fields[..], &["-e", "tcp.srcport", "-e", "tcp.payload"]].concat());
    let mut seen = vec![Vec::new(); ROWS.len()];
    for line in all.lines() {
        let [interface, port, bytes] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        seen[interface.parse::<usize>().unwrap()].push((port == "10809", bytes));
    }
    assert_eq!(seen[0].len(), 4, "{all}");
    for (row, packets) in ROWS.iter().zip(&seen) {
        assert_eq!(*packets, seen[0], "{}", row.0);
    }
}
