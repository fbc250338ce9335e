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
        (LinkType::LOOP, with(&[0, 0, 0, 2])),
        (LinkType::ETHERNET, with(&[&ethernet[..], &[8, 0]].concat())),
        (LinkType::ETHERNET, with(&[&ethernet[..], &[0x81, 0, 0, 5, 8, 0]].concat())),
        (
            LinkType::ETHERNET,
            with(&[&ethernet[..], &[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6, 8, 0]].concat()),
        ),
        (LinkType::LINUX_SLL, with(&[&sll[..], &[8, 0]].concat())),
        (LinkType::LINUX_SLL2, with(&[&[8, 0][..], &[0; 18]].concat())),
    ] {
        let segment = segment(link, &bytes);
        assert_eq!(segment.payload, b"payload", "{link}");
        assert_eq!(segment.source.to_string(), "10.0.0.1:51234", "{link}");
        assert_eq!(segment.destination.port(), 10809, "{link}");
        assert_eq!((segment.sequence, segment.acknowledgment), (7, Some(9)), "{link}");
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
            Frame::Fragment => "fragment",
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
