//! All connections of a capture, or a share of them.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::{BuildHasher as _, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

use foldhash::fast::{FixedState, RandomState};

use protocol::values::DEFAULT_PORT;

use super::context::Context;
use super::flow::{Flow, Order};
use super::{Options, Sink};
use crate::net::Segment;
use crate::session::Recognize;
use crate::tls::KeyLog;

/// How many connections are followed at once, those included that may turn out not to be NBD.
const MAX_FLOWS: usize = 8192;
/// How many connections that are over are remembered, so that a late packet of one does not look
/// like a new one.
const MAX_OVER: usize = 4096;
/// What came too early may take this much memory in all connections together, in bytes.
const MAX_HELD: usize = 16 << 20;
/// What is remembered of all sessions together may take this much memory, in bytes.
const MAX_JUDGES: usize = if cfg!(test) { 1 << 20 } else { 128 << 20 };

/// Both ends of a connection, the same for both directions, in a form that is quick to hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    low: (u128, u16),
    high: (u128, u16),
}

impl Key {
    pub(super) fn new(segment: &Segment<'_>) -> Self {
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

    /// Which of so many tables the connection belongs to.
    pub(super) fn share(&self, of: usize) -> usize {
        let share = FixedState::default().hash_one(self) % of.max(1) as u64;
        usize::try_from(share).unwrap_or_default()
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(self.low.0);
        state.write_u128(self.high.0);
        state.write_u32(u32::from(self.low.1) << 16 | u32::from(self.high.1));
    }
}

/// What one table may take.
struct Limits {
    flows: usize,
    over: usize,
    held: usize,
    judges: usize,
}

/// Follows connections: segments in, records out.
pub(super) struct Table {
    ports: Vec<u16>,
    recognize: Recognize,
    keys: KeyLog,
    flows: HashMap<Key, Flow, RandomState>,
    over: VecDeque<Key>,
    /// Connections that wait for secrets of TLS.
    waiting: BTreeSet<Key>,
    held: usize,
    /// How much memory judges take, in bytes.
    judges: usize,
    sessions: u64,
    limits: Limits,
}

impl Table {
    /// One of `share` tables that have the connections of a capture between them.
    pub(super) fn new(options: Options, share: usize) -> Self {
        Self {
            ports: options.ports,
            recognize: options.recognize,
            keys: options.keys,
            flows: HashMap::default(),
            over: VecDeque::new(),
            waiting: BTreeSet::new(),
            held: 0,
            judges: 0,
            sessions: 0,
            limits: Limits {
                flows: MAX_FLOWS / share,
                over: MAX_OVER / share,
                held: MAX_HELD / share,
                judges: MAX_JUDGES / share,
            },
        }
    }

    /// Secrets of TLS, as a key log: for the handshakes that come after this, and for those that
    /// wait for them.
    pub(super) fn secrets(&mut self, log: &[u8]) {
        self.keys.add(log);
    }

    /// What TLS is opened with.
    pub(super) fn keys(&mut self) -> &mut KeyLog {
        &mut self.keys
    }

    /// Whether a connection waits for secrets.
    pub(super) fn awaits_secrets(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Goes on with connections whose secrets have come, or that have waited long enough.
    pub(super) fn resume<S: Sink>(&mut self, now_ns: u64, sink: &mut S) {
        for key in std::mem::take(&mut self.waiting) {
            if let Some(flow) = self.flows.get_mut(&key) {
                let held = flow.held_bytes();
                let Self { sessions, keys, .. } = self;
                let recognize = self.recognize;
                flow.resume(now_ns, &mut Context { sink, sessions, recognize, keys });
                self.held = self.held - held + flow.held_bytes();
                let (before, now) = flow.count_judge();
                self.judges = self.judges.saturating_sub(before) + now;
                self.settle(key, false);
            }
        }
    }

    /// How many sessions there have been.
    pub(super) fn sessions(&self) -> u64 {
        self.sessions
    }

    /// The capture is over: everything that is still open is brought to an end, in the order of
    /// [`Order`]; `next` is told before each connection.
    pub(super) fn finish<S: Sink>(&mut self, sink: &mut S, mut next: impl FnMut(&mut S, Order)) {
        let mut flows: Vec<_> = std::mem::take(&mut self.flows).into_values().collect();
        flows.sort_by_cached_key(Flow::order);
        let Self { sessions, keys, recognize, .. } = self;
        for mut flow in flows {
            next(sink, flow.order());
            flow.finish(&mut Context { sink, sessions, recognize: *recognize, keys });
        }
        self.over.clear();
        self.waiting.clear();
        self.held = 0;
    }

    /// The next segment.
    pub(super) fn segment<S: Sink>(&mut self, time_ns: u64, segment: &Segment<'_>, sink: &mut S) {
        let key = Key::new(segment);
        if let Some(flow) = self.flows.get_mut(&key) {
            if flow.holds(time_ns, segment) {
                return;
            }
            if let Some((time_ns, syn)) = flow.confirmed(segment).map(|held| *held) {
                self.follow(key, time_ns, &syn, sink);
            }
        }
        self.follow(key, time_ns, segment, sink);
    }

    fn follow<S: Sink>(&mut self, key: Key, time_ns: u64, segment: &Segment<'_>, sink: &mut S) {
        let flow = match self.flows.get_mut(&key) {
            Some(flow) if !flow.is_replaced_by(segment) => flow,
            _ => {
                self.begin(key, time_ns, segment, sink);
                let Some(flow) = self.flows.get_mut(&key) else { return };
                flow
            }
        };
        let was_over = flow.is_over();
        let held = flow.held_bytes();
        let Self { sessions, keys, .. } = self;
        let mut context = Context { sink, sessions, recognize: self.recognize, keys };
        flow.segment(time_ns, segment, &mut context);
        self.held = self.held - held + flow.held_bytes();
        let (before, now) = flow.count_judge();
        self.judges = self.judges.saturating_sub(before) + now;
        let changed = flow.is_over() != was_over || flow.awaits_secrets();
        if self.judges > self.limits.judges {
            self.free_judges(sink);
        }
        if self.held > self.limits.held {
            return self.free_memory(key, was_over, sink);
        }
        if changed || !self.waiting.is_empty() {
            self.settle(key, was_over);
        }
    }

    /// Judges remember too much: those that remember most forget.
    fn free_judges<S: Sink>(&mut self, sink: &mut S) {
        while self.judges > self.limits.judges {
            // Of equals the one that began last, whatever the order of the table.
            let most =
                self.flows.values_mut().max_by_key(|flow| (flow.counted_judge(), flow.order()));
            let Some(flow) = most.filter(|flow| flow.counted_judge() > 0) else { return };
            let Self { sessions, keys, .. } = self;
            flow.free_judge(&mut Context { sink, sessions, recognize: self.recognize, keys });
            let (before, now) = flow.count_judge();
            self.judges = self.judges.saturating_sub(before) + now;
            if now >= before {
                return;
            }
        }
    }

    /// Connections hold too much: they wait for secrets no longer, and if that is not enough, this one
    /// does not wait for bytes that are missing.
    fn free_memory<S: Sink>(&mut self, key: Key, was_over: bool, sink: &mut S) {
        self.resume(u64::MAX, sink);
        if self.held > self.limits.held
            && let Some(flow) = self.flows.get_mut(&key)
        {
            self.held -= flow.held_bytes();
            let Self { sessions, keys, .. } = self;
            flow.give_up(&mut Context { sink, sessions, recognize: self.recognize, keys });
            self.held += flow.held_bytes();
        }
        self.settle(key, was_over);
    }

    /// Remembers that a connection is over, or waits for secrets.
    fn settle(&mut self, key: Key, was_over: bool) {
        let Some(flow) = self.flows.get(&key) else { return };
        if flow.awaits_secrets() {
            self.waiting.insert(key);
        } else {
            self.waiting.remove(&key);
        }
        if flow.is_over() && !was_over {
            self.over.push_back(key);
            if self.over.len() > self.limits.over
                && let Some(oldest) = self.over.pop_front()
                && self.flows.get(&oldest).is_some_and(Flow::is_over)
            {
                self.flows.remove(&oldest);
            }
        }
    }

    /// Begins to follow a connection, if this packet shows one that may be NBD, in the place of an
    /// older one between the same addresses.
    fn begin<S: Sink>(&mut self, key: Key, time_ns: u64, segment: &Segment<'_>, sink: &mut S) {
        let Some(mut flow) = self.new_flow(time_ns, segment) else { return };
        if let Some(old) = self.flows.get(&key) {
            flow.replaces(old);
        }
        if self.flows.len() >= self.limits.flows {
            self.make_room(sink);
        }
        if let Some(mut old) = self.flows.insert(key, flow) {
            self.held -= old.held_bytes();
            self.judges = self.judges.saturating_sub(old.counted_judge());
            let Self { sessions, keys, .. } = self;
            old.finish(&mut Context { sink, sessions, recognize: self.recognize, keys });
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
        address.port() == DEFAULT_PORT || self.ports.contains(&address.port())
    }

    /// Forgets connections that are over, and if those are few, an eighth of all: first those that
    /// are not known to be NBD, then those that were quiet longest.
    fn make_room<S: Sink>(&mut self, sink: &mut S) {
        self.flows.retain(|_, flow| !flow.is_over());
        self.over.clear();
        let limit = self.limits.flows;
        if self.flows.len() < limit - limit / 8 {
            return;
        }
        let age = |(key, flow): (&Key, &Flow)| (flow.is_live(), flow.last_ns, flow.order(), *key);
        let mut by_age: Vec<_> = self.flows.iter().map(age).collect();
        by_age.sort_unstable();
        let Self { sessions, keys, .. } = self;
        let mut context = Context { sink, sessions, recognize: self.recognize, keys };
        for (.., key) in by_age.into_iter().take(limit / 8) {
            self.waiting.remove(&key);
            if let Some(mut flow) = self.flows.remove(&key) {
                self.held -= flow.held_bytes();
                self.judges = self.judges.saturating_sub(flow.counted_judge());
                flow.forget(&mut context);
            }
        }
    }
}
