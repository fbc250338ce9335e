//! What is counted of a session.

use std::collections::{BTreeMap, HashMap};

use hdrhistogram::Histogram;
use protocol::message::{ChunkBody, Message, Request};
use protocol::values::{Command, ErrorCode, ReplyFlags};

use super::Timeline;
use crate::latency::between;
use crate::session::Seen;

/// How many requests without a complete reply are remembered for each session.
pub const REMEMBERED: usize = 1 << 16;
/// How many of the slowest requests are kept.
const SLOWEST: usize = 5;
/// So many commands have statistics of their own; more a hostile client makes up.
const COMMANDS: usize = 32;
/// Longer latencies count as this one, in nanoseconds: an hour.
const LONGEST: u64 = 3_600_000_000_000;

/// One command of a session.
#[derive(Debug, Clone)]
pub struct CommandStats {
    /// Requests.
    pub count: u64,
    /// What they asked for, in bytes.
    pub bytes: u64,
    /// Those that were answered with an error.
    pub errors: u64,
    /// Those whose complete reply was seen.
    pub answered: u64,
    /// Requests that begin where the one before of this command ends.
    pub sequential: u64,
    /// From the first byte of the request to the last of the reply, in nanoseconds, to two digits.
    pub latency: Histogram<u64>,
    /// The longest latency, exactly.
    longest: u64,
    /// Where the last one ended.
    next: Option<u64>,
}

impl Default for CommandStats {
    fn default() -> Self {
        // The bounds are constant and lawful.
        let latency = Histogram::new_with_bounds(1, LONGEST, 2).expect("lawful bounds");
        Self {
            count: 0,
            bytes: 0,
            errors: 0,
            answered: 0,
            sequential: 0,
            latency,
            longest: 0,
            next: None,
        }
    }
}

impl CommandStats {
    /// The latency within which this part of the requests was answered, in nanoseconds: to two
    /// digits, for 1 exactly. 0 if none was answered.
    #[must_use]
    pub fn percentile(&self, part: f64) -> u64 {
        // The histogram tells the upper edge of a bucket.
        if part >= 1.0 {
            self.longest
        } else {
            self.latency.value_at_quantile(part).min(self.longest)
        }
    }
}

/// One of the slowest requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slow {
    /// In nanoseconds.
    pub latency_ns: u64,
    /// The number of the request.
    pub message: u64,
    /// Its line.
    pub text: String,
}

struct Waiting {
    since: u64,
    request: Request,
    unknown: &'static [&'static str],
    failed: bool,
}

/// One session.
#[derive(Default)]
pub struct SessionStats {
    /// By the command's number.
    pub commands: BTreeMap<Command, CommandStats>,
    /// Requests of further commands.
    pub left_out: u64,
    /// Requests without a complete reply, over time.
    pub depth: Timeline,
    /// The slowest first.
    pub slowest: Vec<Slow>,
    waiting: HashMap<u64, Waiting>,
}

impl SessionStats {
    pub(super) fn message(&mut self, start_ns: u64, seen: &Seen) {
        match &seen.message {
            Message::Request(request) if request.command != Command::DISC => {
                self.request(start_ns, seen, request);
            }
            Message::SimpleReply(reply) => {
                self.reply(start_ns, seen, reply.error != ErrorCode::OK, true);
            }
            Message::Chunk(chunk) => {
                let failed = matches!(chunk.body, ChunkBody::Error { .. });
                self.reply(start_ns, seen, failed, chunk.flags.has(ReplyFlags::DONE));
            }
            _ => {}
        }
    }

    fn request(&mut self, start_ns: u64, seen: &Seen, request: &Request) {
        let length = request.status.as_ref().map_or(request.length, |s| s.effect_length);
        if self.commands.len() >= COMMANDS && !self.commands.contains_key(&request.command) {
            self.left_out += 1;
            return;
        }
        let stats = self.commands.entry(request.command).or_default();
        stats.count += 1;
        stats.bytes = stats.bytes.saturating_add(length);
        if stats.next.replace(request.offset.saturating_add(length)) == Some(request.offset) {
            stats.sequential += 1;
        }
        if self.waiting.len() < REMEMBERED {
            let (since, unknown) = (seen.time_ns, seen.unknown);
            let waiting = Waiting { since, request: request.clone(), unknown, failed: false };
            self.waiting.insert(seen.number, waiting);
            self.deepen(seen.time_ns.saturating_sub(start_ns));
        }
    }

    fn reply(&mut self, start_ns: u64, seen: &Seen, failed: bool, done: bool) {
        let Some(number) = seen.answers else { return };
        let Some(waiting) = self.waiting.get_mut(&number) else { return };
        waiting.failed |= failed;
        if !done {
            return;
        }
        let Some(waiting) = self.waiting.remove(&number) else { return };
        self.deepen(seen.end_ns.saturating_sub(start_ns));
        let latency = between(waiting.since, seen.end_ns);
        let Some(stats) = self.commands.get_mut(&waiting.request.command) else { return };
        stats.answered += 1;
        stats.errors += u64::from(waiting.failed);
        let Some(latency) = latency else { return };
        stats.latency.saturating_record(latency.clamp(1, LONGEST));
        stats.longest = stats.longest.max(latency);
        self.rank(latency, number, &waiting);
    }

    fn deepen(&mut self, time: u64) {
        self.depth.set(time, u32::try_from(self.waiting.len()).unwrap_or(u32::MAX));
    }

    fn rank(&mut self, latency_ns: u64, message: u64, waiting: &Waiting) {
        let place = self.slowest.partition_point(|slow| slow.latency_ns >= latency_ns);
        if place < SLOWEST {
            let mut described = Message::Request(waiting.request.clone()).describe(None);
            described.fields.retain(|field| !waiting.unknown.contains(&field.key));
            let text = described.to_string();
            self.slowest.insert(place, Slow { latency_ns, message, text });
            self.slowest.truncate(SLOWEST);
        }
    }
}
