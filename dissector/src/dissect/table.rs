//! All connections of a capture.

use std::collections::{HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

use foldhash::fast::RandomState;

use super::flow::{Context, Flow};
use super::{Note, Options, Record, Sink};
use crate::capture::Packet;
use crate::net::{FragmentTrouble, Fragments, Frame, Segment, parse, parse_whole};
use crate::tls::KeyLog;

/// How many connections are followed at once, those included that may turn out not to be NBD.
const MAX_FLOWS: usize = 16_384;
/// How many connections that are over are remembered, so that a late packet of one does not look
/// like a new one.
const MAX_OVER: usize = 4096;
/// What came too early may take this much memory in all connections together, in bytes.
const MAX_HELD: usize = 32 << 20;

/// Both ends of a connection, the same for both directions, in a form that is quick to hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    low: (u128, u16),
    high: (u128, u16),
}

impl Key {
    fn new(segment: &Segment<'_>) -> Self {
        let number = |address: SocketAddr| {
            let ip = match address.ip() {
                // 0a00::/8 is assigned to nobody.
                IpAddr::V4(ip) => u128::from(u32::from(ip)) | 10 << 120,
                IpAddr::V6(ip) => u128::from(ip),
            };
            (ip, address.port())
        };
        let (a, b) = (number(segment.source), number(segment.destination));
        if a < b { Self { low: a, high: b } } else { Self { low: b, high: a } }
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(self.low.0);
        state.write_u128(self.high.0);
        state.write_u32(u32::from(self.low.1) << 16 | u32::from(self.high.1));
    }
}

/// Takes packets, tells records. No I/O.
pub struct Dissector {
    options: Options,
    keys: KeyLog,
    flows: HashMap<Key, Flow, RandomState>,
    over: VecDeque<Key>,
    held: usize,
    sessions: u64,
    last_ns: u64,
    fragments: Fragments,
    unread: Unread,
}

/// Packets that could hold NBD but were not understood.
#[derive(Debug, Default)]
struct Unread {
    unknown_link: u64,
    malformed: u64,
}

impl Dissector {
    /// Begins a capture.
    #[must_use]
    pub fn new(mut options: Options) -> Self {
        Self {
            keys: std::mem::take(&mut options.keys),
            options,
            flows: HashMap::default(),
            over: VecDeque::new(),
            held: 0,
            sessions: 0,
            last_ns: 0,
            fragments: Fragments::default(),
            unread: Unread::default(),
        }
    }

    /// Secrets of TLS, as a key log; for connections that begin after this.
    pub fn secrets(&mut self, log: &[u8]) {
        self.keys.add(log);
    }

    /// How many sessions there have been.
    #[must_use]
    pub fn sessions(&self) -> u64 {
        self.sessions
    }

    /// The next packet.
    pub fn packet<S: Sink>(&mut self, packet: &Packet<'_>, sink: &mut S) {
        self.last_ns = self.last_ns.max(packet.time_ns);
        match parse(packet) {
            Frame::Tcp(segment) => self.segment(packet.time_ns, &segment, sink),
            Frame::Fragment(fragment) => {
                if let Some(whole) = self.fragments.add(packet.time_ns, &fragment) {
                    match parse_whole(&whole) {
                        Frame::Tcp(segment) => self.segment(packet.time_ns, &segment, sink),
                        Frame::Malformed => self.unread.malformed += 1,
                        _ => {}
                    }
                }
            }
            Frame::UnknownLink => self.unread.unknown_link += 1,
            Frame::Malformed => self.unread.malformed += 1,
            Frame::Other => {}
        }
    }

    /// The capture is over: everything that is still open is brought to an end.
    pub fn finish<S: Sink>(&mut self, sink: &mut S) {
        // In the order of their beginning, as far as it is known.
        let mut flows: Vec<_> = std::mem::take(&mut self.flows).into_values().collect();
        flows.sort_by_key(Flow::order);
        let recognize = self.options.recognize;
        let mut context =
            Context { sink, sessions: &mut self.sessions, recognize, keys: &self.keys };
        for mut flow in flows {
            flow.finish(&mut context);
        }
        self.over.clear();
        self.held = 0;
        let Unread { unknown_link, malformed } = std::mem::take(&mut self.unread);
        let FragmentTrouble { lost, conflicts } = self.fragments.finish();
        for (count, kind, text) in [
            (
                lost,
                "ip-fragments",
                "IP fragments were left out: others of their packets are missing",
            ),
            (
                conflicts,
                "ip-fragments-differ",
                "IP packets have fragments that overlap and differ; the bytes that came first count",
            ),
            (unknown_link, "unknown-link-type", "packets have a link type that is not understood"),
            (malformed, "malformed-packets", "packets have headers that can't be read"),
        ] {
            if count > 0 {
                let note = Note { kind, time_ns: self.last_ns, text: format!("{count} {text}") };
                sink.record(Record::Problem(None, &note));
            }
        }
    }

    fn segment<S: Sink>(&mut self, time_ns: u64, segment: &Segment<'_>, sink: &mut S) {
        let recognize = self.options.recognize;
        let key = Key::new(segment);
        let replaced = match self.flows.get(&key) {
            Some(flow) => flow.is_replaced_by(segment),
            None => true,
        };
        if replaced {
            let Some(flow) = self.new_flow(time_ns, segment) else {
                return;
            };
            if self.flows.len() >= MAX_FLOWS {
                self.make_room(sink);
            }
            if let Some(mut old) = self.flows.insert(key, flow) {
                self.held -= old.held_bytes();
                old.finish(&mut Context {
                    sink,
                    sessions: &mut self.sessions,
                    recognize,
                    keys: &self.keys,
                });
            }
        }
        let Some(flow) = self.flows.get_mut(&key) else {
            return;
        };
        let was_over = flow.is_over();
        let held = flow.held_bytes();
        let mut context =
            Context { sink, sessions: &mut self.sessions, recognize, keys: &self.keys };
        flow.segment(time_ns, segment, &mut context);
        self.held = self.held - held + flow.held_bytes();
        if self.held > MAX_HELD {
            self.held -= flow.held_bytes();
            flow.give_up(&mut context);
            self.held += flow.held_bytes();
        }
        if flow.is_over() && !was_over {
            self.over.push_back(key);
            if self.over.len() > MAX_OVER
                && let Some(oldest) = self.over.pop_front()
                && self.flows.get(&oldest).is_some_and(Flow::is_over)
            {
                self.flows.remove(&oldest);
            }
        }
    }

    /// A connection to follow, if this packet shows one that may be NBD.
    fn new_flow(&self, time_ns: u64, segment: &Segment<'_>) -> Option<Flow> {
        let (source, destination) = (segment.source, segment.destination);
        let from_server = Flow::new(destination, source, time_ns, self.is_nbd(source));
        let from_client = Flow::new(source, destination, time_ns, self.is_nbd(destination));
        match (segment.syn, segment.acknowledgment) {
            (true, None) => Some(from_client),
            (true, Some(_)) => Some(from_server),
            (false, _) if segment.payload.is_empty() => None,
            (false, _) if segment.payload.starts_with(b"NBDMAGIC") => Some(from_server),
            (false, _) if self.is_nbd(destination) => Some(from_client),
            (false, _) if self.is_nbd(source) => Some(from_server),
            (false, _) => None,
        }
    }

    fn is_nbd(&self, address: SocketAddr) -> bool {
        self.options.is_nbd_port(address.port())
    }

    /// Forgets connections that are over, and if those are few, an eighth of all: those that were
    /// quiet longest.
    fn make_room<S: Sink>(&mut self, sink: &mut S) {
        self.flows.retain(|_, flow| !flow.is_over());
        self.over.clear();
        if self.flows.len() < MAX_FLOWS - MAX_FLOWS / 8 {
            return;
        }
        let mut by_age: Vec<_> =
            self.flows.iter().map(|(key, flow)| (flow.last_ns, flow.order(), *key)).collect();
        by_age.sort_unstable();
        let recognize = self.options.recognize;
        let mut context =
            Context { sink, sessions: &mut self.sessions, recognize, keys: &self.keys };
        for (.., key) in by_age.into_iter().take(MAX_FLOWS / 8) {
            if let Some(mut flow) = self.flows.remove(&key) {
                self.held -= flow.held_bytes();
                flow.forget(&mut context);
            }
        }
    }
}
