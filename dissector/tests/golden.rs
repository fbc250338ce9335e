//! Captures of real programs, and made ones with damage, decode to the text that is kept beside
//! them.

mod made;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use dissector::capture::{CaptureReader, Item, LinkType, Packet};
use dissector::dissect::{Dissector, Options, Record, Sink, dissect};
use dissector::net::{Frame, parse};
use dissector::render::{Renderer as _, TextRenderer};
use proptest::prelude::*;
use proptest::sample::Index;
use protocol::build;
use protocol::describe::line;
use protocol::notation::parser;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden")
}

/// Every capture: its folder, its name without extension, its path.
fn captures() -> Vec<(PathBuf, String, PathBuf)> {
    let mut found = Vec::new();
    for folder in ["qemu", "recorded", "tls", "made"] {
        let folder = golden().join(folder);
        let entries = fs::read_dir(&folder).expect("the folder of golden captures is there");
        for entry in entries {
            let path = entry.expect("the folder can be read").path();
            let extension = path.extension().and_then(|extension| extension.to_str());
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            if let (Some("pcap" | "pcapng"), Some(stem)) = (extension, stem) {
                found.push((folder.clone(), stem.to_owned(), path.clone()));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty());
    found
}

/// With the secrets beside a capture; most have theirs inside.
fn options(path: &Path) -> Options {
    let mut options = Options::default();
    if let Ok(log) = fs::read(path.with_extension("keylog")) {
        assert!(options.keys.add(&log) > 0, "{}: no secrets", path.display());
    }
    options
}

fn decode(path: &Path) -> String {
    let file = File::open(path).expect("a capture can be opened");
    let mut renderer = TextRenderer::new(Vec::new());
    let sessions = dissect(file, options(path), &mut renderer).expect("a capture can be read");
    renderer.finish().expect("memory can be written");
    assert!(sessions > 0, "{}: no sessions", path.display());
    String::from_utf8(renderer.into_inner()).expect("the notation is UTF-8")
}

#[test]
fn captures_decode_to_their_text() {
    for (folder, name, path) in captures() {
        insta::with_settings!({
            snapshot_path => folder,
            prepend_module_to_snapshot => false,
            omit_expression => true,
            description => format!("nbdcheck decode {name}"),
        }, {
            insta::assert_snapshot!(name, decode(&path));
        });
    }
}

#[test]
fn every_decoded_line_is_a_line_of_the_notation() {
    for (_, name, path) in captures() {
        for line in decode(&path).lines() {
            if !line.starts_with("C:") && !line.starts_with("S:") {
                assert!(line.is_empty() || line.starts_with('#') || line.starts_with("-- "));
                continue;
            }
            let parsed = match parser::parse_line(line) {
                Ok(parsed) => parsed,
                Err(error) => panic!("{name}: {line}\n{error:?}"),
            };
            let message = line.split("  # +").next().unwrap_or_default();
            assert_eq!(parsed.to_string(), message, "{name}");
        }
    }
}

#[test]
fn made_captures_are_those_that_are_made() {
    for made in made::captures() {
        let path = golden().join("made").join(made.name).with_extension("pcapng");
        let kept = fs::read(&path).unwrap_or_default();
        assert!(kept == made.file(), "{}: make it again (golden/README.md)", path.display());
    }
}

#[test]
#[ignore = "writes golden/made again"]
fn make_captures() {
    for made in made::captures() {
        let path = golden().join("made").join(made.name).with_extension("pcapng");
        fs::write(path, made.file()).expect("the folder is there");
    }
}

/// Reads every line again.
struct ReadAgain;

impl Sink for ReadAgain {
    fn record(&mut self, record: Record<'_>) {
        let Record::Message(info, seen) = record else { return };
        let line = line(seen.from, &seen.message.describe(seen.payload.as_ref()));
        match build::parse_line(&line) {
            Ok(read) => {
                let wanted = (seen.from, seen.message.clone(), seen.payload.clone());
                assert_eq!(read, wanted, "session {}: {line}", info.number);
            }
            Err(error) => panic!("session {}: {line}\n{error:?}", info.number),
        }
    }
}

#[test]
fn every_decoded_line_reads_back_as_the_same_message() {
    for (_, name, path) in captures() {
        println!("{name}");
        let file = File::open(&path).expect("a capture can be opened");
        dissect(file, options(&path), &mut ReadAgain).expect("a capture can be read");
    }
}

/// Adds up messages.
#[derive(Default)]
struct Coverage {
    /// Up to where messages came, of each session.
    covered: HashMap<u64, protocol::message::Both<u64>>,
    /// Sessions whose bytes are counted outside of TLS.
    tls: HashSet<u64>,
    /// Sessions with bytes between messages.
    holes: HashSet<u64>,
}

impl Sink for Coverage {
    fn record(&mut self, record: Record<'_>) {
        match record {
            Record::Message(info, seen) => {
                let covered = self.covered.entry(info.number).or_default();
                let covered = &mut covered[seen.from];
                assert!(seen.offset >= *covered, "session {}: {seen:?}", info.number);
                if seen.offset > *covered {
                    self.holes.insert(info.number);
                }
                *covered = seen.offset + seen.length;
            }
            Record::Tls(info, _) => {
                self.covered.remove(&info.number); // offsets begin again
                self.tls.insert(info.number);
            }
            Record::Closed(info, totals) if self.holes.contains(&info.number) => {
                assert!(totals.problems > 0, "{info:?}");
            }
            Record::Closed(info, totals)
                if totals.problems == 0 && !self.tls.contains(&info.number) =>
            {
                assert_eq!(self.covered.get(&info.number), Some(&totals.bytes), "{info:?}");
            }
            _ => {}
        }
    }
}

#[test]
fn every_byte_belongs_to_one_message() {
    for (_, name, path) in captures() {
        println!("{name}");
        let file = File::open(&path).expect("a capture can be opened");
        dissect(file, options(&path), &mut Coverage::default()).expect("it can be read");
    }
}

/// Takes everything and keeps nothing.
struct Nowhere;

impl Sink for Nowhere {
    fn record(&mut self, record: Record<'_>) {
        if let Record::Message(_, seen) = record {
            let _ = seen.message.describe(seen.payload.as_ref()).to_string();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    /// Wrong bytes, also in payloads, and a cut at the end.
    #[test]
    fn damaged_captures_do_no_harm(
        which: Index,
        damage in prop::collection::vec((any::<Index>(), any::<u8>()), 1..40),
        cut: Option<Index>,
    ) {
        let captures = captures();
        let (.., path) = which.get(&captures);
        let mut file = fs::read(path).expect("a capture can be read");
        for (at, byte) in damage {
            *at.get_mut(&mut file) = byte;
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len()));
        }
        let _ = dissect(&file[..], Options::default(), &mut Nowhere);
    }
}

/// The packets of a capture, and all secrets.
fn packets(path: &Path) -> (Vec<(u64, LinkType, Vec<u8>)>, Options) {
    let file = File::open(path).expect("a capture can be opened");
    let mut reader = CaptureReader::new(file).expect("a capture can be read");
    let (mut packets, mut options) = (Vec::new(), options(path));
    while let Some(item) = reader.next_item().expect("a capture can be read") {
        match item {
            Item::Packet(packet) => {
                packets.push((packet.time_ns, packet.link, packet.data.to_vec()));
            }
            Item::TlsKeyLog(log) => {
                options.keys.add(log);
            }
        }
    }
    (packets, options)
}

/// Which rules were broken, by whom.
#[derive(Default)]
struct Broken(BTreeSet<(&'static str, &'static str)>);

impl Sink for Broken {
    fn record(&mut self, record: Record<'_>) {
        if let Record::Violation(_, violation) = record {
            self.0.insert((violation.party.name(), violation.requirement.id));
        }
    }
}

/// What is told of packets of which the capture has so many bytes each.
fn broken<'a>(
    packets: impl IntoIterator<Item = &'a (u64, LinkType, Vec<u8>)>,
    kept: usize,
    options: &Options,
) -> Broken {
    let mut dissector = Dissector::new(options.clone());
    let mut broken = Broken::default();
    for (time_ns, link, data) in packets {
        let (time_ns, link, original_length) = (*time_ns, *link, data.len() as u32);
        let data = &data[..data.len().min(kept)];
        dissector.packet(&Packet { time_ns, link, data, original_length }, &mut broken);
    }
    dissector.finish(&mut broken);
    broken
}

/// Whether a packet comes from a server of NBD.
fn is_of_server((time_ns, link, data): &(u64, LinkType, Vec<u8>)) -> bool {
    let (time_ns, link, original_length) = (*time_ns, *link, data.len() as u32);
    let packet = Packet { time_ns, link, data, original_length };
    matches!(parse(&packet), Frame::Tcp(segment) if segment.source.port() == 10809)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Packets that are captured in part, one direction that comes late, and a clock that is set, are
    /// nobody's fault.
    #[test]
    fn a_poor_capture_accuses_nobody(
        which: Index,
        kept in prop_oneof![Just(usize::MAX), 40usize..160, 160usize..2000],
        late: Option<(bool, u64)>,
        clock: Option<(Index, i32)>,
        lost in prop::collection::vec(any::<Index>(), 0..3),
    ) {
        let mut captures = captures();
        captures.retain(|(_, name, _)| !["damaged", "overlap"].contains(&name.as_str()));
        let (_, name, path) = which.get(&captures);
        let (whole, options) = packets(path);
        let mut poor = whole.clone();
        if let Some((server, by_ns)) = late {
            for packet in poor.iter_mut().filter(|packet| is_of_server(packet) == server) {
                packet.0 += by_ns % 50_000_000;
            }
            poor.sort_by_key(|packet| packet.0);
        }
        if let Some((at, by_ns)) = clock {
            let at = at.index(poor.len());
            for packet in &mut poor[at..] {
                packet.0 = packet.0.saturating_add_signed(i64::from(by_ns));
            }
        }
        for at in lost {
            poor.remove(at.index(poor.len()));
        }
        let before = broken(&whole, usize::MAX, &options);
        let after = broken(&poor, kept, &options);
        let new: Vec<_> = after.0.difference(&before.0).collect();
        prop_assert!(new.is_empty(), "{}: {:?}", name, new);
    }

    /// Packets that the capture lost, shows twice or out of order, and a beginning or an end that it
    /// has not, are nobody's fault.
    #[test]
    fn damage_to_a_capture_accuses_nobody(
        which: Index,
        lost in prop::collection::vec(any::<Index>(), 0..4),
        repeated in prop::collection::vec(any::<Index>(), 0..4),
        swapped in prop::collection::vec(any::<Index>(), 0..4),
        part: Option<(Index, Index)>,
    ) {
        let mut captures = captures();
        // Where copies of a segment differ, only their order tells which one the receiver took.
        captures.retain(|(_, name, _)| !["damaged", "overlap"].contains(&name.as_str()));
        let (_, name, path) = which.get(&captures);
        let (whole, options) = packets(path);
        let mut damaged: Vec<_> = whole.iter().collect();
        if let Some((from, to)) = part {
            let (from, to) = (from.index(damaged.len()), to.index(damaged.len()));
            damaged = damaged[from.min(to)..=from.max(to)].to_vec();
        }
        for at in repeated {
            let at = at.index(damaged.len());
            damaged.insert(at, damaged[at]);
        }
        for at in swapped {
            let (at, count) = (at.index(damaged.len()), damaged.len());
            damaged.swap(at, (at + 1) % count);
        }
        for at in lost {
            if !damaged.is_empty() {
                damaged.remove(at.index(damaged.len()));
            }
        }
        let before = broken(&whole, usize::MAX, &options);
        let after = broken(damaged, usize::MAX, &options);
        let new: Vec<_> = after.0.difference(&before.0).collect();
        prop_assert!(new.is_empty(), "{}: {:?}", name, new);
    }
}

/// Collects what is wrong.
struct Findings {
    name: String,
    lines: Vec<String>,
}

impl Sink for Findings {
    fn record(&mut self, record: Record<'_>) {
        let name = &self.name;
        match record {
            Record::Violation(info, violation) => self.lines.push(format!(
                "{name} session {} message {}: {} {} {}: {}",
                info.number,
                violation.message,
                violation.party.name(),
                violation.requirement.level,
                violation.requirement.id,
                violation.text,
            )),
            Record::Problem(info, note) => self.lines.push(format!(
                "{name} session {}: {}: {}",
                info.map_or(0, |info| info.number),
                note.kind,
                note.text
            )),
            _ => {}
        }
    }
}

#[test]
fn findings_are_those_that_were_checked_against_the_specification() {
    let mut findings = Findings { name: String::new(), lines: Vec::new() };
    for (_, name, path) in captures() {
        findings.name = name;
        let file = File::open(&path).expect("a capture can be opened");
        dissect(file, options(&path), &mut findings).expect("a capture can be read");
    }
    insta::with_settings!({
        snapshot_path => golden(),
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!("findings", findings.lines.join("\n"));
    });
}
