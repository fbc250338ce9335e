use super::*;
use crate::capture::LinkType;
use etherparse::PacketBuilder;

fn tcp_v4(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .tcp(51234, 10809, 7, 1024)
        .ack(9)
        .write(&mut out, payload)
        .unwrap();
    out
}

fn tcp_v6(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    PacketBuilder::ipv6([1; 16], [2; 16], 64)
        .tcp(51234, 10809, 7, 1024)
        .write(&mut out, payload)
        .unwrap();
    out
}

fn segment(link: LinkType, data: &[u8]) -> Segment<'_> {
    let original_length = data.len() as u32;
    match parse(&Packet { time_ns: 0, link, data, original_length }) {
        Frame::Tcp(segment) => segment,
        frame => panic!("{frame:?}"),
    }
}

#[test]
fn finds_the_segment_behind_every_link_type() {
    let ip = tcp_v4(b"payload");
    let with = |header: &[u8]| [header, &ip[..]].concat();
    let ethernet = [0; 12];
    let sll = [0; 14];
    for (link, bytes) in [
        (LinkType::RAW, ip.clone()),
        (LinkType::IPV4, ip.clone()),
        (LinkType::NULL, with(&[2, 0, 0, 0])),
        (LinkType::NULL, with(&[0, 0, 0, 2])),
        (LinkType::LOOP, with(&[0, 0, 0, 2])),
        (LinkType::ETHERNET, with(&[&ethernet[..], &[8, 0]].concat())),
        (LinkType::ETHERNET, with(&[&ethernet[..], &[0x81, 0, 0, 5, 8, 0]].concat())),
        (
            LinkType::ETHERNET,
            with(&[&ethernet[..], &[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6, 8, 0]].concat()),
        ),
        (
            LinkType::ETHERNET,
            with(&[&ethernet[..], &[0x91, 0, 0, 5, 0x91, 0, 0, 6, 0x81, 0, 0, 7, 8, 0]].concat()),
        ),
        (LinkType::LINUX_SLL, with(&[&sll[..], &[8, 0]].concat())),
        (LinkType::LINUX_SLL, with(&[&sll[..], &[0x81, 0, 0, 5, 8, 0]].concat())),
        (LinkType::LINUX_SLL2, with(&[&[8, 0][..], &[0; 18]].concat())),
        // VN-Tag, alone and before a VLAN tag.
        (LinkType::ETHERNET, with(&[&ethernet[..], &[0x89, 0x26, 1, 2, 3, 4, 8, 0]].concat())),
        (
            LinkType::ETHERNET,
            with(&[&ethernet[..], &[0x89, 0x26, 1, 2, 3, 4, 0x81, 0, 0, 5, 8, 0]].concat()),
        ),
        // LLC and SNAP behind a length.
        (
            LinkType::ETHERNET,
            with(&[&ethernet[..], &[0, 60, 0xaa, 0xaa, 3, 0, 0, 0, 8, 0]].concat()),
        ),
        // Two MPLS labels; one of a pseudowire, with and without a control word.
        (LinkType::ETHERNET, with(&[&ethernet[..], &MPLS].concat())),
        (LinkType::LINUX_SLL, with(&[&sll[..], &MPLS].concat())),
        (
            LinkType::ETHERNET,
            with(&[&ethernet[..], &PSEUDOWIRE, &[0; 4], &ethernet, &[8, 0]].concat()),
        ),
        (LinkType::ETHERNET, with(&[&ethernet[..], &PSEUDOWIRE, &[2; 12], &[8, 0]].concat())),
        // PPP over Ethernet, and other ways of PPP.
        (LinkType::ETHERNET, with(&[&ethernet[..], &[0x88, 0x64], &PPPOE].concat())),
        (LinkType::PPP_ETHER, with(&PPPOE)),
        (LinkType::PPP, with(&[0xff, 3, 0, 0x21])),
        (LinkType::PPP, with(&[0, 0x21])),
        (LinkType::PPP_HDLC, with(&[0xff, 3, 0x21])),
        (LinkType::PPP_WITH_DIRECTION, with(&[1, 0xff, 3, 0, 0x21])),
        (LinkType::PPP_PPPD, with(&[0, 3, 0, 0x21])),
        (LinkType::CISCO_HDLC, with(&[0x0f, 0, 8, 0])),
        (LinkType::ENC, with(&[2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
        // A prefix of 5 bytes and padding, and then the packet, in both byte orders.
        (LinkType::NFLOG, with(&[2, 0, 0, 1, 9, 0, 10, 0, 1, 2, 3, 4, 5, 0, 0, 0, 67, 0, 9, 0])),
        (LinkType::NFLOG, with(&[2, 0, 0, 1, 0, 9, 0, 10, 1, 2, 3, 4, 5, 0, 0, 0, 0, 67, 0, 9])),
        (LinkType::PKTAP, with(&[&PKTAP[..], &ethernet, &[8, 0]].concat())),
        (LinkType::PKTAP_OLD, with(&[&PKTAP[..], &ethernet, &[8, 0]].concat())),
    ] {
        let segment = segment(link, &bytes);
        assert_eq!(segment.payload, b"payload", "{link}");
        assert_eq!(segment.source.to_string(), "10.0.0.1:51234", "{link}");
        assert_eq!(segment.destination.port(), 10809, "{link}");
        assert_eq!((segment.sequence, segment.acknowledgment), (7, Some(9)), "{link}");
    }
}

const MPLS: [u8; 10] = [0x88, 0x47, 0, 1, 0, 64, 0, 2, 1, 64];
const PSEUDOWIRE: [u8; 6] = [0x88, 0x47, 0, 1, 1, 64];
const PPPOE: [u8; 8] = [0x11, 0, 0, 9, 0, 50, 0, 0x21];
/// Its length, a type, and that Ethernet comes behind it.
const PKTAP: [u8; 16] = [16, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 9, 9, 9, 9];

#[test]
fn says_what_a_segment_was_inside_of_below_ip() {
    let ip = tcp_v4(b"payload");
    for (header, tunnel) in
        [(&MPLS[..], Tunnel::Mpls), (&[&[0x88, 0x64][..], &PPPOE].concat(), Tunnel::Pppoe)]
    {
        let data = [&[0; 12][..], header, &ip].concat();
        let original_length = data.len() as u32;
        let packet = Packet { time_ns: 0, link: LinkType::ETHERNET, data: &data, original_length };
        let mut within = None;
        assert!(matches!(parse_within(&packet, &mut within), Frame::Tcp(_)));
        assert_eq!(within, Some(tunnel));
    }
}

#[test]
fn any_bytes_behind_any_link_type_are_taken() {
    // Lengths of 0, headers without end, one inside of another.
    for link in [0, 1, 9, 12, 50, 51, 101, 104, 108, 109, 113, 149, 166, 204, 228, 239, 258, 276] {
        for fill in [0, 1, 0x11, 0x21, 0x45, 0x81, 0x88, 0xaa, 0xff] {
            for length in 0..80 {
                let data = vec![fill; length];
                let packet =
                    Packet { time_ns: 0, link: LinkType(link), data: &data, original_length: 80 };
                assert!(!matches!(parse(&packet), Frame::Tcp(_)), "{link} {fill} {length}");
            }
        }
    }
}

#[test]
fn reads_ipv6() {
    let ip = tcp_v6(b"payload");
    let segment = segment(LinkType::RAW, &ip);
    assert_eq!(segment.payload, b"payload");
    assert!(segment.source.is_ipv6());
}

#[test]
fn ethernet_padding_is_not_payload() {
    let mut bytes = [&[0; 12][..], &[8, 0], &tcp_v4(b"x")].concat();
    bytes.extend([0; 5]);
    assert_eq!(segment(LinkType::ETHERNET, &bytes).payload, b"x");
}

#[test]
fn a_packet_that_was_cut_short_tells_how_much_is_missing() {
    for bytes in [tcp_v4(&[1; 100]), tcp_v6(&[1; 100])] {
        let segment = segment(LinkType::RAW, &bytes[..bytes.len() - 60]);
        assert_eq!((segment.payload.len(), segment.missing), (40, 60));
    }
}

#[test]
fn a_length_of_zero_means_as_much_as_was_captured() {
    let mut bytes = tcp_v4(&[1; 100]);
    bytes[2..4].fill(0);
    assert_eq!(segment(LinkType::RAW, &bytes).payload.len(), 100);
    let data = &bytes[..bytes.len() - 10];
    let packet =
        Packet { time_ns: 0, link: LinkType::RAW, data, original_length: bytes.len() as u32 };
    let Frame::Tcp(segment) = parse(&packet) else { panic!("not TCP") };
    assert_eq!((segment.payload.len(), segment.missing), (90, 10));
}

#[test]
fn fragments_and_others_are_told_apart() {
    let mut fragment = tcp_v4(b"payload");
    fragment[6] = 0x20; // more fragments
    let mut udp = Vec::new();
    PacketBuilder::ipv4([1; 4], [2; 4], 64).udp(1, 2).write(&mut udp, b"x").unwrap();
    let frame = |link, data: &[u8]| {
        let packet = Packet { time_ns: 0, link, data, original_length: 0 };
        match parse(&packet) {
            Frame::Tcp(_) => "tcp",
            Frame::Fragment(_) => "fragment",
            Frame::Other => "other",
            Frame::UnknownLink => "unknown link",
            Frame::Malformed => "malformed",
        }
    };
    assert_eq!(frame(LinkType::RAW, &fragment), "fragment");
    assert_eq!(frame(LinkType::RAW, &udp), "other");
    assert_eq!(frame(LinkType(147), &udp), "unknown link");
    assert_eq!(frame(LinkType::RAW, &tcp_v4(b"")[..30]), "malformed");
    assert_eq!(frame(LinkType::ETHERNET, &[0; 13]), "malformed");
    assert_eq!(frame(LinkType::ETHERNET, &[0; 14]), "other");
}

/// Cuts an IPv4 packet into fragments with `size` bytes of payload.
fn fragments_v4(packet: &[u8], size: usize) -> Vec<Vec<u8>> {
    let (header, payload) = packet.split_at(20);
    let count = payload.len().div_ceil(size);
    let pieces = payload.chunks(size).enumerate().map(|(index, piece)| {
        let mut out = [header, piece].concat();
        let length = out.len() as u16;
        out[2..4].copy_from_slice(&length.to_be_bytes());
        let more = if index + 1 < count { 0x2000 } else { 0 };
        let place = (index * size / 8) as u16 | more;
        out[6..8].copy_from_slice(&place.to_be_bytes());
        out
    });
    pieces.collect()
}

/// The same for IPv6, with options for the destination before the fragment header and behind it.
fn fragments_v6(packet: &[u8], size: usize) -> Vec<Vec<u8>> {
    let (header, payload) = packet.split_at(40);
    let options = |next: u8| [next, 0, 1, 4, 0, 0, 0, 0];
    let payload = [&options(6)[..], payload].concat();
    let count = payload.len().div_ceil(size);
    let pieces = payload.chunks(size).enumerate().map(|(index, piece)| {
        let place = (index * size) as u16 | u16::from(index + 1 < count);
        let fragment = [&[60, 0][..], &place.to_be_bytes(), &[0, 0, 0, 9]].concat();
        let mut out = [header, &options(44), &fragment, piece].concat();
        out[6] = 60;
        let length = (out.len() - 40) as u16;
        out[4..6].copy_from_slice(&length.to_be_bytes());
        out
    });
    pieces.collect()
}

#[test]
fn fragments_are_put_together() {
    let payload: Vec<u8> = (0..255).collect();
    for (pieces, wanted) in [
        (fragments_v4(&tcp_v4(&payload), 48), 6),
        (fragments_v6(&tcp_v6(&payload), 48), 6),
        (fragments_v6(&tcp_v6(&payload), 200), 2),
    ] {
        assert_eq!(pieces.len(), wanted);
        let mut fragments = Fragments::default();
        let mut whole = None;
        for data in pieces.iter().rev() {
            assert!(whole.is_none());
            let packet = Packet {
                time_ns: 0,
                link: LinkType::RAW,
                data,
                original_length: data.len() as u32,
            };
            let Frame::Fragment(fragment) = parse(&packet) else { panic!("{:?}", parse(&packet)) };
            whole = fragments.add(0, &fragment);
        }
        let whole = whole.unwrap();
        let Frame::Tcp(segment) = parse_whole(&whole) else { panic!("not TCP") };
        assert_eq!(segment.payload, payload);
        assert_eq!((segment.sequence, segment.destination.port()), (7, 10809));
        assert_eq!(fragments.finish(), FragmentTrouble::default());
    }
}

#[test]
fn headers_before_tcp_are_stepped_over() {
    let mut four = tcp_v4(b"payload");
    four.splice(20..20, [1, 1, 1, 0]); // no operation, three times, and the end of options
    four[0] = 0x46;
    let length = four.len() as u16;
    four[2..4].copy_from_slice(&length.to_be_bytes());
    let mut six = tcp_v6(b"payload");
    // Hop by hop, routing, and a fragment header for a whole packet.
    six.splice(40..40, [43, 0, 1, 4, 0, 0, 0, 0, 44, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 1]);
    six[6] = 0;
    let length = (six.len() - 40) as u16;
    six[4..6].copy_from_slice(&length.to_be_bytes());
    for bytes in [four, six] {
        assert_eq!(segment(LinkType::RAW, &bytes).payload, b"payload");
    }
}

proptest::proptest! {
    #[test]
    fn random_packets_do_no_harm(bytes: Vec<u8>, link in 0u32..300, original_length: u32) {
        let _ = parse(&Packet { time_ns: 0, link: LinkType(link), data: &bytes, original_length });
    }

    #[test]
    fn damaged_packets_do_no_harm(
        at in 0usize..60, byte: u8, cut in 0usize..60, six: bool,
    ) {
        let mut bytes = if six { tcp_v6(b"payload") } else { tcp_v4(b"payload") };
        bytes.truncate(bytes.len().saturating_sub(cut));
        if let Some(b) = bytes.get_mut(at) {
            *b = byte;
        }
        let original_length = bytes.len() as u32;
        let _ = parse(&Packet { time_ns: 0, link: LinkType::RAW, data: &bytes, original_length });
    }
}

/// The segment inside of layers of IPv4, and what the outermost one is.
fn within(protocol: u8, before: &[u8], inner: &[u8]) -> (Frame<'static>, Option<Tunnel>) {
    let payload = [before, inner].concat();
    let mut outer = Vec::new();
    PacketBuilder::ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64)
        .write(&mut outer, IpNumber(protocol), &payload)
        .unwrap();
    let data: &'static [u8] = outer.leak();
    let mut tunnel = None;
    let original_length = data.len() as u32;
    let packet = Packet { time_ns: 0, link: LinkType::RAW, data, original_length };
    (parse_within(&packet, &mut tunnel), tunnel)
}

fn udp(port: u16, length: usize) -> Vec<u8> {
    let length = (length as u16 + 8).to_be_bytes();
    [&[0xc0, 0][..], &port.to_be_bytes(), &length, &[0, 0]].concat()
}

#[test]
fn finds_the_segment_inside_of_tunnels() {
    let v4 = tcp_v4(b"payload");
    let v6 = tcp_v6(b"payload");
    let ethernet = [&[0; 12][..], &[8, 0], &v4].concat();
    let tagged = [&[0; 12][..], &[0x81, 0, 0, 5, 0x86, 0xdd], &v6].concat();
    let vxlan = [8, 0, 0, 0, 0, 0, 42, 0];
    let in_udp = |port, before: &[u8], inner: &[u8]| {
        [&udp(port, before.len() + inner.len()), before, inner].concat()
    };
    let erspan = [&[0x10, 0, 0x88, 0xbe, 0, 0, 0, 1][..], &[0x10, 0, 0, 0, 0, 0, 0, 0]].concat();
    let erspan_3 = [&[0x10, 0, 0x22, 0xeb, 0, 0, 0, 1][..], &[0x20; 11], &[1], &[0; 8]].concat();
    for (protocol, before, inner, wanted) in [
        (17, in_udp(4789, &vxlan, &[]), &ethernet, Tunnel::Vxlan),
        (17, in_udp(8472, &vxlan, &[]), &tagged, Tunnel::Vxlan),
        (
            17,
            in_udp(6081, &[2, 0, 0x65, 0x58, 0, 0, 42, 0, 1, 2, 3, 1, 0, 0, 0, 0], &[]),
            &ethernet,
            Tunnel::Geneve,
        ),
        (17, in_udp(6081, &[0, 0, 0x86, 0xdd, 0, 0, 42, 0], &[]), &v6, Tunnel::Geneve),
        (47, vec![0, 0, 8, 0], &v4, Tunnel::Gre),
        (47, vec![0x20, 0, 0x86, 0xdd, 0, 0, 0, 9], &v6, Tunnel::Gre),
        (47, vec![0xb0, 0, 0x65, 0x58, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1], &ethernet, Tunnel::Gre),
        (47, vec![0, 0, 0x88, 0xbe], &ethernet, Tunnel::Erspan),
        (47, erspan, &ethernet, Tunnel::Erspan),
        (47, erspan_3, &tagged, Tunnel::Erspan),
        (4, vec![], &v4, Tunnel::Ip),
        (41, vec![], &v6, Tunnel::Ip),
    ] {
        let (frame, tunnel) = within(protocol, &before, inner);
        let Frame::Tcp(segment) = frame else { panic!("{wanted:?}: {frame:?}") };
        assert_eq!(segment.payload, b"payload", "{wanted:?}");
        assert_eq!(tunnel, Some(wanted));
    }
}

#[test]
fn what_only_looks_like_a_tunnel_is_something_else() {
    let v4 = tcp_v4(b"payload");
    let ethernet = [&[0; 12][..], &[8, 0], &v4].concat();
    for (protocol, before, inner) in [
        // No network's number; another version; a cut header; no IP; another port.
        (17, [udp(4789, 8 + ethernet.len()), vec![0; 8]].concat(), &ethernet[..]),
        (47, vec![0, 1, 8, 0], &v4),
        (47, vec![0x20, 0, 8], &[]),
        (47, vec![0, 0, 8, 0], &[0x60; 20]),
        (17, [udp(4788, 8 + ethernet.len()), vec![8, 0, 0, 0, 0, 0, 1, 0]].concat(), &ethernet),
        (4, vec![], &[0x11; 30]),
    ] {
        let (frame, tunnel) = within(protocol, &before, inner);
        assert_eq!((frame, tunnel), (Frame::Other, None));
    }
    // And as deep as there is a limit.
    let mut packet = v4;
    for _ in 0..5 {
        let mut outer = Vec::new();
        PacketBuilder::ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64)
            .write(&mut outer, IpNumber::IPV4, &packet)
            .unwrap();
        packet = outer;
    }
    let original_length = packet.len() as u32;
    let whole = Packet { time_ns: 0, link: LinkType::RAW, data: &packet, original_length };
    assert_eq!(parse(&whole), Frame::Other);
}
