//! What the fuzz targets (`dissector/fuzz`) and the property tests have in common: take any bytes,
//! and panic if a promise is broken.

use protocol::message::Side;

use crate::capture::{CaptureReader, Item, MAX_BLOCK, Packet};
use crate::dissect::{Dissector, Options, Record, Sink};
use crate::net::{Fragments, Frame, Segment, parse, parse_whole};
use crate::session::{Close, Config, Session, Start};
use crate::tcp::{Delivery, Reassembly};
use crate::tls::{Connection, Growth, KeyLog, Output};

/// Takes everything and keeps nothing.
struct Nowhere;

impl Sink for Nowhere {
    fn record(&mut self, record: Record<'_>) {
        if let Record::Message(_, seen) = record {
            let _ = seen.describe().to_string();
        }
    }
}

/// A capture file: its packets are dissected.
///
/// # Panics
/// A promise is broken.
pub fn capture(bytes: &[u8]) {
    let Ok(mut reader) = CaptureReader::new(bytes) else { return };
    let mut options = Options::default();
    options.keys.set_growth(Growth::AmongPackets);
    let mut dissector = Dissector::new(options);
    let mut fragments = Fragments::default();
    // A compressed file can be much longer than it looks.
    for _ in 0..100_000 {
        match reader.next_item() {
            Ok(Some(Item::Packet(packet))) => {
                assert!(packet.data.len() <= MAX_BLOCK);
                dissector.packet(&packet, &mut Nowhere);
                if let Frame::Fragment(fragment) = parse(&packet)
                    && let Some(whole) = fragments.add(packet.time_ns, &fragment)
                {
                    let _ = parse_whole(&whole);
                }
                assert!(fragments.held_bytes() <= 16 << 20);
            }
            Ok(Some(Item::TlsKeyLog(log))) => dissector.secrets(log),
            Ok(None) | Err(_) => break,
        }
    }
    dissector.finish(&mut Nowhere);
}

/// Bytes as instructions.
struct Instructions<'a>(&'a [u8]);

impl<'a> Instructions<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn u32(&mut self) -> Option<u32> {
        let (head, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*head))
    }

    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        head
    }
}

/// Segments of one connection, each as a byte of flags, what its numbers are apart from the last
/// ones, a length, and the payload.
///
/// # Panics
/// A promise is broken: more is held than the limit, or bytes come after the end.
pub fn reassembly(bytes: &[u8]) {
    let mut instructions = Instructions(bytes);
    let mut reassembly = Reassembly::new();
    let mut next = [instructions.u32().unwrap_or(0), u32::MAX - 100];
    let mut ended = [false; 2];
    let mut take = |delivery: Delivery<'_>| match delivery {
        Delivery::Data { from, bytes, .. } => {
            assert!(!bytes.is_empty() && !ended[from as usize]);
        }
        Delivery::Gap { from, missing, .. } => {
            assert!(missing > 0 && !ended[from as usize]);
        }
        Delivery::End { from, .. } => ended[from as usize] = true,
        Delivery::Conflict { .. } | Delivery::Reset { .. } | Delivery::Aside { .. } => {}
    };
    while let Some(flags) = instructions.byte() {
        let from = if flags & 1 == 0 { Side::Client } else { Side::Server };
        let (this, other) = (from as usize, from.other() as usize);
        let mut jump = || u32::from(instructions.byte().unwrap_or(128)).wrapping_sub(128);
        let (ahead, acknowledged) = (jump(), jump());
        let far = if flags & 2 == 0 { 1 } else { 1 << 20 };
        let sequence = next[this].wrapping_add(ahead.wrapping_mul(far));
        let length = usize::from(instructions.byte().unwrap_or(0));
        let payload = instructions.bytes(length);
        let segment = Segment {
            source: ([127, 0, 0, 1], 1).into(),
            destination: ([127, 0, 0, 1], 2).into(),
            sequence,
            acknowledgment: (flags & 4 == 0).then(|| next[other].wrapping_add(acknowledged)),
            id: u16::from(flags >> 6),
            syn: flags & 0xf0 == 0x10,
            fin: flags & 0xf0 == 0x20,
            rst: flags & 0xf0 == 0x30,
            header: &[],
            payload,
            missing: if flags & 8 == 0 { 0 } else { ahead & 0xffff },
        };
        next[this] = sequence.wrapping_add(payload.len() as u32);
        reassembly.segment(from, 0, &segment, flags & 0xf0 == 0x40, &mut take);
        assert!(reassembly.held_memory() <= 16 << 20);
    }
    reassembly.finish(0, &mut take);
    assert_eq!(reassembly.held_bytes(), 0);
}

/// Both directions of a session, in pieces: a byte of kind, a length, the bytes.
///
/// # Panics
/// A promise is broken: bytes belong to two messages, or to none although nothing is amiss.
pub fn session(bytes: &[u8]) {
    let mut instructions = Instructions(bytes);
    let start = match instructions.byte() {
        Some(0x01) => Start::Midway,
        _ => Start::Greeting,
    };
    let mut session = Session::new(Config { start, ..Config::default() });
    let mut offsets = [0; 2];
    while let Some(kind) = instructions.byte() {
        let from = if kind & 1 == 0 { Side::Client } else { Side::Server };
        let length = usize::from(instructions.byte().unwrap_or(0));
        match kind >> 1 {
            1 => session.gap(from, 0, length as u64),
            2 => session.closed(from, 0, Close::End),
            3 => session.closed(from, 0, Close::Reset),
            _ => {
                session.received(from, 0, instructions.bytes(length));
            }
        }
        while let Some(event) = session.next_event() {
            if let crate::session::Event::Message(seen) = event {
                assert!(seen.offset >= offsets[seen.from as usize], "{seen:?}");
                offsets[seen.from as usize] = seen.offset + seen.length;
                let _ = seen.describe().to_string();
            }
        }
    }
    session.finish();
    while session.next_event().is_some() {}
}

/// Both directions of a TLS connection: the length of a key log (two bytes, little-endian), the log,
/// and pieces: a byte of side, two of length, the bytes.
///
/// # Panics
/// A promise is broken: more comes out than went in, or anything after a direction was given up.
pub fn tls(bytes: &[u8]) {
    fn piece<'a>(instructions: &mut Instructions<'a>) -> &'a [u8] {
        let low = usize::from(instructions.byte().unwrap_or(0));
        let high = usize::from(instructions.byte().unwrap_or(0));
        instructions.bytes(high << 8 | low)
    }
    let mut instructions = Instructions(bytes);
    let (mut keys, log) = (KeyLog::default(), piece(&mut instructions));
    // They are there from the start, or come when they are waited for.
    let late = log.len() % 2 == 1;
    if late {
        keys.set_growth(Growth::AnyTime);
    } else {
        keys.add(log);
    }
    let mut connection = Connection::new();
    let (mut given, mut taken, mut stopped) = ([0; 2], [0; 2], [false; 2]);
    while let Some(kind) = instructions.byte() {
        let from = if kind & 1 == 0 { Side::Client } else { Side::Server };
        let side = from as usize;
        let mut input = piece(&mut instructions);
        if kind == 0xff {
            connection.gap(from);
            stopped[side] = true;
            continue;
        }
        given[side] += input.len();
        loop {
            let Some(output) = connection.next(from, &mut input, &mut keys) else {
                if !connection.is_waiting() {
                    break;
                }
                keys.add(log);
                if connection.awaits_secrets(&mut keys) {
                    connection.give_up();
                }
                continue;
            };
            assert!(!stopped[side], "{output:?} after the end");
            match output {
                Output::Data(data) => {
                    assert!(!data.is_empty());
                    taken[side] += data.len();
                }
                Output::Stopped(_) => stopped[side] = true,
                Output::Opened(_) | Output::CloseNotify | Output::Alert(_) => {}
            }
        }
        assert!(input.is_empty());
        assert!(taken[side] <= given[side]);
    }
    let _ = connection.sealed();
}

/// Packets, each as a byte of link type, a length and the bytes.
pub fn packets(bytes: &[u8]) {
    let mut instructions = Instructions(bytes);
    let mut dissector = Dissector::new(Options::default());
    while let Some(link) = instructions.byte() {
        let length = usize::from(instructions.byte().unwrap_or(0));
        let data = instructions.bytes(length);
        let (link, original_length) = (crate::capture::LinkType(link.into()), data.len() as u32);
        dissector.packet(&Packet { time_ns: 0, link, data, original_length }, &mut Nowhere);
    }
    dissector.finish(&mut Nowhere);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SEEDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds");

    /// The committed seeds of a target.
    fn seeds(target: &str) -> Vec<Vec<u8>> {
        let folder = std::path::Path::new(SEEDS).join(target);
        let files = std::fs::read_dir(folder).expect("the seeds are there");
        let mut seeds: Vec<_> = files
            .map(|file| std::fs::read(file.expect("it can be listed").path()))
            .map(|seed| seed.expect("a seed can be read"))
            .collect();
        seeds.sort();
        assert!(!seeds.is_empty());
        seeds
    }

    #[test]
    fn seeds_break_no_promise() {
        seeds("capture").iter().for_each(|seed| capture(seed));
        seeds("reassembly").iter().for_each(|seed| reassembly(seed));
        seeds("session").iter().for_each(|seed| session(seed));
        seeds("tls").iter().for_each(|seed| tls(seed));
    }

    /// Both directions of a small connection as the target wants them.
    fn tls_seed(cipher: &'static str) -> Vec<u8> {
        use crate::tls::tests::{Choice, say};
        let said = [(Side::Client, vec![1; 28]), (Side::Server, vec![2; 60])];
        let (talk, log) = say(Choice::new(cipher), &said);
        let length = |bytes: &[u8]| (bytes.len() as u16).to_le_bytes();
        let mut seed = [&length(&log)[..], &log].concat();
        for (from, bytes) in talk {
            seed.push(from as u8);
            seed.extend(length(&bytes));
            seed.extend(bytes);
        }
        seed
    }

    #[test]
    #[ignore = "writes the seeds of the target for TLS again"]
    fn make_tls_seeds() {
        let folder = std::path::Path::new(SEEDS).join("tls");
        std::fs::create_dir_all(&folder).expect("it can be made");
        for cipher in ["TLS_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256", "AES128-SHA"] {
            std::fs::write(folder.join(cipher), tls_seed(cipher)).expect("it can be written");
        }
    }

    /// Bytes that were changed, put in and taken out.
    fn damage(seed: &[u8], changes: &[(prop::sample::Index, u8, u8)]) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for (at, byte, how) in changes {
            let at = at.index(bytes.len().max(1)).min(bytes.len());
            match how % 4 {
                0 => bytes.insert(at, *byte),
                1 if at < bytes.len() => {
                    bytes.remove(at);
                }
                2 => bytes.truncate(bytes.len() - (bytes.len() - at) / 4),
                _ if at < bytes.len() => bytes[at] = *byte,
                _ => {}
            }
        }
        bytes
    }

    fn changes() -> impl Strategy<Value = Vec<(prop::sample::Index, u8, u8)>> {
        prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..16), 0..30)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

        #[test]
        fn captures_break_no_promise(which: prop::sample::Index, changes in changes()) {
            capture(&damage(which.get::<Vec<u8>>(&seeds("capture")), &changes));
        }

        #[test]
        fn reassembly_breaks_no_promise(which: prop::sample::Index, changes in changes()) {
            reassembly(&damage(which.get::<Vec<u8>>(&seeds("reassembly")), &changes));
        }

        #[test]
        fn any_segments_break_no_promise(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            reassembly(&bytes);
            session(&bytes);
            packets(&bytes);
            tls(&bytes);
        }

        #[test]
        fn sessions_break_no_promise(which: prop::sample::Index, changes in changes()) {
            session(&damage(which.get::<Vec<u8>>(&seeds("session")), &changes));
        }

        #[test]
        fn tls_breaks_no_promise(which: prop::sample::Index, changes in changes()) {
            tls(&damage(which.get::<Vec<u8>>(&seeds("tls")), &changes));
        }
    }
}
