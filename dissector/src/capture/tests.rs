use std::io::{self, Read};
use std::net::SocketAddr;

use proptest::prelude::*;
use protocol::message::Side;

use super::*;
use crate::net::{Frame, parse};

/// A pcap file of two packets in some byte order and resolution.
fn pcap(magic: u32, big_endian: bool) -> Vec<u8> {
    let word = |n: u32| if big_endian { n.to_be_bytes() } else { n.to_le_bytes() };
    let half = |n: u16| if big_endian { n.to_be_bytes() } else { n.to_le_bytes() };
    let mut file = word(magic).to_vec();
    file.extend([half(2), half(4)].concat());
    for n in [0, 0, 262_144, 101] {
        file.extend(word(n));
    }
    for (fraction, bytes) in [(7, &b"one"[..]), (8, b"two!")] {
        let length = bytes.len() as u32;
        for n in [1_700_000_000, fraction, length, length + 1] {
            file.extend(word(n));
        }
        file.extend(bytes);
    }
    file
}

/// Everything in a file, as text, and how it ended.
fn read(file: impl Read) -> (Vec<String>, String) {
    let mut items = Vec::new();
    let mut reader = match CaptureReader::new(file) {
        Ok(reader) => reader,
        Err(error) => return (items, error.to_string()),
    };
    loop {
        match reader.next_item() {
            Ok(Some(Item::Packet(packet))) => items.push(format!(
                "{} {} {:?} of {}",
                packet.time_ns,
                packet.link,
                String::from_utf8_lossy(packet.data),
                packet.original_length
            )),
            Ok(Some(Item::TlsKeyLog(log))) => {
                items.push(format!("secrets {:?}", String::from_utf8_lossy(log)));
            }
            Ok(None) => return (items, "end".to_owned()),
            Err(error) => return (items, error.to_string()),
        }
    }
}

#[test]
fn reads_pcap_in_both_byte_orders_and_resolutions() {
    for (magic, unit) in [(0xa1b2_c3d4, 1000), (0xa1b2_3c4d, 1)] {
        for big_endian in [false, true] {
            let (items, end) = read(&pcap(magic, big_endian)[..]);
            let base = 1_700_000_000_000_000_000_u64;
            let wanted = [
                format!("{} raw IP \"one\" of 4", base + 7 * unit),
                format!("{} raw IP \"two!\" of 5", base + 8 * unit),
            ];
            assert_eq!((&items[..], &end[..]), (&wanted[..], "end"), "{magic:#x} {big_endian}");
        }
    }
}

/// Gives one byte at a time.
struct Slow<'a>(&'a [u8]);

impl Read for Slow<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match (self.0.split_first(), out.first_mut()) {
            (Some((first, rest)), Some(out)) => {
                *out = *first;
                self.0 = rest;
                Ok(1)
            }
            _ => Ok(0),
        }
    }
}

#[test]
fn a_slow_reader_gives_the_same() {
    let file = pcap(0xa1b2_c3d4, false);
    assert_eq!(read(Slow(&file)), read(&file[..]));
    let file = pcapng(false);
    assert_eq!(read(Slow(&file)), read(&file[..]));
}

/// A pcapng file: two sections of unlike byte order would be one call each.
fn pcapng(big_endian: bool) -> Vec<u8> {
    let word = |n: u32| if big_endian { n.to_be_bytes() } else { n.to_le_bytes() };
    let half = |n: u16| if big_endian { n.to_be_bytes() } else { n.to_le_bytes() };
    let block = |kind: u32, body: &[&[u8]]| {
        let mut body = body.concat();
        body.resize(body.len().next_multiple_of(4), 0);
        let length = word(body.len() as u32 + 12);
        [&word(kind)[..], &length, &body, &length].concat()
    };
    let resolution = |value: u8| [&half(9)[..], &half(1), &[value, 0, 0, 0]].concat();
    let offset = |seconds: u64| {
        let bytes = if big_endian { seconds.to_be_bytes() } else { seconds.to_le_bytes() };
        [&half(14)[..], &half(8), &bytes].concat()
    };
    let epb = |interface: u32, time: u64, bytes: &[u8]| {
        let length = word(bytes.len() as u32);
        let time = [word((time >> 32) as u32), word(time as u32)].concat();
        block(6, &[&word(interface), &time, &length, &length, bytes])
    };
    [
        block(0x0a0d_0d0a, &[&word(0x1a2b_3c4d), &half(1), &half(0), &[0xff; 8]]),
        block(1, &[&half(101), &half(0), &word(0)]),
        block(1, &[&half(1), &half(0), &word(0), &resolution(9), &[0; 4]]),
        block(1, &[&half(113), &half(0), &word(0), &resolution(0x80 | 10), &offset(2), &[0; 4]]),
        epb(0, 5, b"micro"),
        epb(1, 1 << 33, b"nano"),
        block(0x7777_7777, &[b"unknown block"]),
        epb(2, 512, b"half a second"),
        block(3, &[&word(9), b"no time!!"]),
        block(10, &[&word(0x544c_534b), &word(7), b"CLIENT\n"]),
    ]
    .concat()
}

#[test]
fn reads_pcapng_with_several_interfaces_and_sections() {
    let file = [pcapng(false), pcapng(true)].concat();
    let (items, end) = read(&file[..]);
    assert_eq!(end, "end");
    let (first, second) = items.split_at(items.len() / 2);
    assert_eq!(first, second);
    insta::assert_snapshot!(first.join("\n"), @r#"
    5000 raw IP "micro" of 5
    8589934592 Ethernet "nano" of 4
    2500000000 Linux cooked v1 "half a second" of 13
    2500000000 raw IP "no time!!" of 9
    secrets "CLIENT\n"
    "#);
}

#[test]
fn a_file_cut_off_gives_what_came_before() {
    for whole in [pcap(0xa1b2_c3d4, false), pcapng(false)] {
        let (all, _) = read(&whole[..]);
        for length in 0..whole.len() {
            let (items, end) = read(&whole[..length]);
            assert!(all.starts_with(&items));
            assert_ne!(items.len(), all.len() + 1);
            assert!(
                end == "end" || end.contains("cut off") || length < 24,
                "{length} of {}: {end}",
                whole.len()
            );
        }
    }
    let file = pcap(0xa1b2_c3d4, false);
    let (items, end) = read(&file[..file.len() - 1]);
    assert_eq!(items.len(), 1);
    insta::assert_snapshot!(end, @"the file is cut off within a packet at byte 43");
}

#[test]
fn what_is_no_capture_is_told() {
    let end = |file: &[u8]| read(file).1;
    insta::assert_snapshot!(end(b""), @"the file is empty");
    insta::assert_snapshot!(end(b"hello world, hello world"), @"not a pcap or pcapng file");
    insta::assert_snapshot!(end(b"\x1f\x8b\x08\x00"), @"
    not a pcap or pcapng file; it is compressed
    hint: gunzip -c FILE | nbdcheck decode -
    ");
    insta::assert_snapshot!(end(b"\x0a\x0d\x0d\x0aabcdefgh"), @"not a pcap or pcapng file");
}

#[test]
fn an_impossible_length_does_not_allocate() {
    let mut file = pcap(0xa1b2_c3d4, false);
    file[32..36].copy_from_slice(&u32::MAX.to_le_bytes());
    insta::assert_snapshot!(
        read(&file[..]).1,
        @"the file is corrupt at byte 24: a packet has an impossible length"
    );
    let mut file = pcapng(false);
    file[4..8].copy_from_slice(&3u32.to_le_bytes());
    insta::assert_snapshot!(
        read(&file[..]).1,
        @"the file is corrupt at byte 0: a block has an impossible length"
    );
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn conversation(client: &str, server: &str) -> Vec<u8> {
    let mut writer = ConnectionWriter::new(Vec::new(), address(client), address(server)).unwrap();
    writer.opened(1_700_000_000_000_000_000).unwrap();
    writer.tls_key_log("CLIENT_RANDOM 00 11\n").unwrap();
    writer.data(Side::Server, 1_700_000_000_000_000_001, b"NBDMAGIC").unwrap();
    writer.data(Side::Client, 1_700_000_000_000_000_002, &[7; 200_000]).unwrap();
    writer.data(Side::Server, 1_700_000_000_000_000_003, b"bye").unwrap();
    writer.closed(Side::Client, 1_700_000_000_000_000_004, false).unwrap();
    writer.closed(Side::Server, 1_700_000_000_000_000_005, false).unwrap();
    writer.data(Side::Server, 1_700_000_000_000_000_006, b"too late").unwrap();
    writer.finish().unwrap()
}

#[test]
fn what_is_written_is_read_again() {
    let file = conversation("127.0.0.1:51234", "127.0.0.1:10809");
    let mut reader = CaptureReader::new(&file[..]).unwrap();
    let mut lines = Vec::new();
    while let Some(item) = reader.next_item().unwrap() {
        let Item::Packet(packet) = item else {
            lines.push("secrets".to_owned());
            continue;
        };
        let Frame::Tcp(segment) = parse(&packet) else { panic!("no TCP") };
        let letters: String = [(segment.syn, 'S'), (segment.fin, 'F'), (segment.rst, 'R')]
            .into_iter()
            .filter_map(|(set, letter)| set.then_some(letter))
            .collect();
        lines.push(format!(
            "+{} from {} {letters} {} bytes",
            packet.time_ns - 1_700_000_000_000_000_000,
            segment.source.port(),
            segment.payload.len()
        ));
    }
    insta::assert_snapshot!(lines.join("\n"), @"
    +0 from 51234 S 0 bytes
    +0 from 10809 S 0 bytes
    +0 from 51234  0 bytes
    secrets
    +1 from 10809  8 bytes
    +2 from 51234  64000 bytes
    +2 from 51234  64000 bytes
    +2 from 51234  64000 bytes
    +2 from 51234  8000 bytes
    +3 from 10809  3 bytes
    +4 from 51234 F 0 bytes
    +4 from 10809  0 bytes
    +5 from 10809 F 0 bytes
    +5 from 51234  0 bytes
    ");
}

#[test]
fn both_families_have_right_checksums() {
    for (client, server) in [
        ("127.0.0.1:51234", "127.0.0.1:10809"),
        ("[::1]:51234", "[::1]:10809"),
        ("127.0.0.1:51234", "[::1]:10809"),
    ] {
        let file = conversation(client, server);
        let mut reader = CaptureReader::new(&file[..]).unwrap();
        while let Some(item) = reader.next_item().unwrap() {
            let Item::Packet(packet) = item else { continue };
            let sliced = etherparse::SlicedPacket::from_ip(packet.data).unwrap();
            let Some(etherparse::TransportSlice::Tcp(tcp)) = sliced.transport else {
                panic!("no TCP")
            };
            let (source, sum) = match sliced.net.unwrap() {
                etherparse::NetSlice::Ipv4(ip) => (
                    ip.header().source_addr().into(),
                    tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination()),
                ),
                etherparse::NetSlice::Ipv6(ip) => (
                    std::net::IpAddr::from(ip.header().source_addr()),
                    tcp.calc_checksum_ipv6(ip.header().source(), ip.header().destination()),
                ),
                etherparse::NetSlice::Arp(_) => panic!("no IP"),
            };
            assert_eq!(tcp.checksum(), sum.unwrap());
            assert_eq!(source.is_ipv6(), client.starts_with('[') || server.starts_with('['));
        }
    }
}

proptest! {
    #[test]
    fn random_bytes_do_no_harm(head in 0usize..4, bytes: Vec<u8>) {
        let heads: [&[u8]; 4] = [b"", b"\xa1\xb2\xc3\xd4", b"\x4d\x3c\xb2\xa1", b"\x0a\x0d\x0d\x0a"];
        read(&[heads[head], &bytes].concat()[..]);
    }

    #[test]
    fn damaged_files_do_no_harm(ng: bool, at: prop::sample::Index, byte: u8) {
        let mut file = if ng { pcapng(false) } else { pcap(0xa1b2_c3d4, false) };
        *at.get_mut(&mut file) = byte;
        let _ = read(&file[..]);
    }
}
