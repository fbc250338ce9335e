use std::io::{self, Read, Write as _};
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
fn read<'a>(file: impl Into<Input<'a>>) -> (Vec<String>, String) {
    let mut items = Vec::new();
    let mut reader = match CaptureReader::new(file) {
        Ok(reader) => reader,
        Err(error) => return (items, error.to_string()),
    };
    loop {
        match reader.next_item() {
            Ok(Some(Item::Packet(packet))) => {
                let data = match packet.data {
                    // Millions of bytes are quicker to compare so.
                    long if long.len() > 4096 => format!("{:x}", xxhash_rust::xxh3::xxh3_128(long)),
                    data => format!("{:?}", String::from_utf8_lossy(data)),
                };
                let Packet { time_ns, link, original_length, .. } = packet;
                items.push(format!("{time_ns} {link} {data} of {original_length}"));
            }
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
        epb(7, 5, b"of an interface that nobody described"),
        block(4, &[&half(1), &half(12), &[127, 0, 0, 1], b"localhost"]),
        block(2, &[&half(0), &half(0), &word(0), &word(6), &word(3), &word(4), b"old"]),
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
    8589934592 undescribed interface "" of 0
    6000 raw IP "old" of 4
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
    insta::assert_snapshot!(end(b"hello world, hello world"), @"
    not a pcap or pcapng file
    hint: `editcap -F pcapng FILE NEW` converts what Wireshark reads: ERF and others
    ");
    insta::assert_snapshot!(end(&gzip(b"BZh91AY")), @"
    not a pcap or pcapng file
    hint: it is compressed by bzip2: bzip2 -dc FILE | nbdcheck decode -
    ");
    for (begins, named) in [
        (&b"snoop\0\0\0\0\0\0\x02"[..], "snoop"),
        (b"GMBU", "Network Monitor"),
        (b"\xaa\xaa\xaa\xaa", "5Views"),
        (b"\xfd7zXZ\0", "xz -dc"),
        (b"\x04\x22\x4d\x18", "lz4 -dc"),
        (b"PK\x03\x04", "unzip -p"),
    ] {
        assert!(end(&[begins, &[0; 40]].concat()).contains(named), "{named}");
        assert!(end(begins).contains(named), "{named}");
    }
    insta::assert_snapshot!(end(&zstandard(b"")), @"the file is empty");
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

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstandard(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

type Compress = fn(&[u8]) -> Vec<u8>;

#[test]
fn compressed_files_are_read_as_they_are() {
    for plain in [pcap(0xa1b2_c3d4, false), pcapng(true)] {
        for compress in [gzip as Compress, zstandard] {
            let file = compress(&plain);
            assert_eq!(read(&file[..]), read(&plain[..]));
            assert_eq!(read(Slow(&file)), read(&plain[..]));
            // In several members or frames, as parallel compressors write.
            let (one, two) = plain.split_at(50);
            let pieces = [compress(one), compress(two)].concat();
            assert_eq!(read(&pieces[..]), read(&plain[..]));
        }
    }
    // A frame to be skipped.
    let plain = pcapng(false);
    let skipped = [&zstandard(&plain)[..], b"\x50\x2a\x4d\x18\x02\0\0\0ab"].concat();
    assert_eq!(read(&skipped[..]), read(&plain[..]));
    // What pzstd writes begins with one.
    let skipped = [b"\x53\x2a\x4d\x18\x02\0\0\0ab", &zstandard(&plain)[..]].concat();
    assert_eq!(read(&skipped[..]), read(&plain[..]));
}

// `gzip -d` takes such a file.
#[test]
fn zeroes_may_follow_the_members_of_a_gzip_file() {
    let plain = pcapng(false);
    for zeroes in [1, 511, 300_000] {
        let file = [gzip(&plain), vec![0; zeroes]].concat();
        assert_eq!(read(&file[..]), read(&plain[..]));
        assert_eq!(read(Slow(&file)), read(&plain[..]));
    }
    let file = [&gzip(&plain)[..], b"\0\0what is this doing here?"].concat();
    let (items, end) = read(&file[..]);
    assert_eq!(items, read(&plain[..]).0);
    assert!(end.contains("corrupt"), "{end}");
}

#[test]
fn compressed_files_are_unpacked_once_only() {
    let file = gzip(&gzip(&pcap(0xa1b2_c3d4, false)));
    assert!(read(&file[..]).1.starts_with("not a pcap or pcapng file"));
}

#[test]
fn compressed_files_cut_off_or_damaged_give_what_came_before() {
    let plain = pcapng(false);
    let (all, _) = read(&plain[..]);
    for compress in [gzip as Compress, zstandard] {
        let file = compress(&plain);
        for length in (4..file.len() - 1).rev().step_by(5) {
            let (items, end) = read(&file[..length]);
            assert!(all.starts_with(&items));
            // The gzip trailer and a checksum come after all data.
            assert!(end.contains("cut off"), "{length} of {}: {end}", file.len());
        }
        for at in (4..file.len()).step_by(7) {
            let mut file = file.clone();
            file[at] ^= 0x55;
            read(&file[..]);
        }
    }
    let mut file = gzip(&plain);
    let last = file.len() - 8;
    file[last] ^= 1; // the checksum
    let (items, end) = read(&file[..]);
    assert_eq!(items, all);
    insta::assert_snapshot!(end, @"the file is corrupt at byte 472: its compressed data make no sense; bytes are those of the capture inside");
}

#[test]
fn a_zstandard_window_has_a_limit() {
    // A frame header that asks for 2 GiB.
    let (items, end) = read(&b"\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00"[..]);
    assert_eq!(items, Vec::<String>::new());
    insta::assert_snapshot!(end, @"
    not a pcap or pcapng file that can be decompressed in little memory
    hint: zstdcat --memory=2048MB FILE | nbdcheck decode -
    ");
}

#[test]
fn large_files_are_mapped_window_by_window() {
    let mut file = pcap(0xa1b2_c3d4, false);
    let record = |index: u32| {
        let length = 40_000 + index * 7;
        let words = [1_700_000_000 + index, 0, length, length].map(u32::to_le_bytes).concat();
        [words, index.to_le_bytes().repeat(length as usize / 4 + 1)[..length as usize].to_vec()]
            .concat()
    };
    for index in 0..450 {
        file.extend(record(index));
    }
    let path = std::env::temp_dir().join(format!("nbdcheck-mapped-{}", std::process::id()));
    for (name, bytes) in [
        ("whole", &file[..]),
        ("cut", &file[..file.len() - 100]),
        ("packed", &gzip(&file)[..]),
        ("small", &file[..5000]),
    ] {
        let path = path.with_extension(name);
        std::fs::write(&path, bytes).unwrap();
        let mapped = read(Input::file(std::fs::File::open(&path).unwrap()).unwrap());
        std::fs::remove_file(&path).unwrap();
        let buffered = read(bytes);
        assert!(mapped == buffered, "{name}: {} and {}", mapped.1, buffered.1);
    }
}

#[test]
fn a_mapped_file_may_grow() {
    let mut whole = pcap(0xa1b2_c3d4, false);
    while whole.len() < 2 << 20 {
        let words = [1_700_000_000, 0, 60_000, 60_000].map(u32::to_le_bytes).concat();
        whole.extend([words, vec![7; 60_000]].concat());
    }
    let path = std::env::temp_dir().join(format!("nbdcheck-grows-{}", std::process::id()));
    let half = whole.len() / 2;
    std::fs::write(&path, &whole[..half]).unwrap();
    let mut reader =
        CaptureReader::new(Input::file(std::fs::File::open(&path).unwrap()).unwrap()).unwrap();
    assert!(reader.next_item().unwrap().is_some());
    let mut appended = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    appended.write_all(&whole[half..]).unwrap();
    std::fs::remove_file(&path).unwrap();
    while reader.next_item().unwrap().is_some() {}
    assert_eq!(reader.position(), whole.len() as u64);
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
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

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

    #[test]
    fn damaged_compressed_files_do_no_harm(
        zstd: bool,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let plain = pcapng(false);
        let mut file = if zstd { zstandard(&plain) } else { gzip(&plain) };
        for (at, byte) in damage {
            *at.get_mut(&mut file) = byte;
        }
        let _ = read(&file[..]);
    }
}

/// A block with both its lengths.
fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32 + 12).to_le_bytes();
    [&kind.to_le_bytes()[..], &length, body, &length].concat()
}

#[test]
fn packets_that_were_lost_are_counted_from_packets_and_statistics() {
    let section =
        block(0x0a0d_0d0a, &[&[0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0][..], &[0xff; 8]].concat());
    let interface = block(1, &[101, 0, 0, 0, 0, 0, 0, 0]);
    // Interface, time, both lengths, 5 bytes and padding, then a comment and `epb_dropcount`.
    let packet = |lost: u8| {
        let fixed = [&[0; 12][..], &[5, 0, 0, 0, 5, 0, 0, 0], &[1, 2, 3, 4, 5, 0, 0, 0]].concat();
        let options = [
            &[1, 0, 3, 0, b'a', b'b', b'c', 0][..],
            &[4, 0, 8, 0, lost, 0, 0, 0, 0, 0, 0, 0],
            &[0; 4],
        ];
        block(6, &[fixed, options.concat()].concat())
    };
    let statistics = |lost: u8, system: u8| {
        let option = |code: u8, value: u8| [code, 0, 8, 0, value, 0, 0, 0, 0, 0, 0, 0];
        block(5, &[&[0; 12][..], &option(5, lost), &option(7, system), &[0; 4]].concat())
    };
    let dropped = |blocks: &[&[u8]]| {
        let file = blocks.concat();
        let mut reader = CaptureReader::new(&file[..]).unwrap();
        while reader.next_item().unwrap().is_some() {}
        reader.dropped()
    };
    let (two, three, none) = (&packet(2)[..], &packet(3)[..], &packet(0)[..]);
    assert_eq!(dropped(&[&section, &interface, none]), 0);
    assert_eq!(dropped(&[&section, &interface, two, three]), 5);
    // The latest statistics count, and tell of the same ones.
    let (first, last) = (&statistics(1, 1)[..], &statistics(4, 2)[..]);
    assert_eq!(dropped(&[&section, &interface, two, first, three, last]), 6);
    assert_eq!(dropped(&[&section, &interface, two, &section, &interface, three]), 5);
}
