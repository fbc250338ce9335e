//! A mapped file decoded by several threads: one reads packets, lanes follow connections, and the
//! caller's brings records back into the order of the packets. What comes out does not depend on the
//! number of lanes, but for limits, which they share.
//!
//! ```text
//!            batches          chunks
//!          +---------> lane ---------+
//!   reader |                         +--> merge --> sink
//!          +---------> lane ---------+
//! ```
//!
//! Every channel is bounded. Nobody waits in a circle: each lane gets a part of every batch, even an
//! empty one, and tells how far it has come; the merger waits for the lane that is furthest behind.

mod feed;
mod lane;
mod merge;
mod records;
#[cfg(test)]
mod tests;

use std::num::NonZero;
use std::sync::mpsc::sync_channel;
use std::thread;

use super::packets::Packets;
use super::record::End;
use super::table::Table;
use super::{Options, Sink};
use crate::capture::CaptureReader;
use merge::Merged;
use records::Keeper;

/// Beyond this many lanes the reader is what takes longest.
const MAX_LANES: usize = 8;
/// How many batches may wait for a lane. Each may keep a window of the file in memory.
const BATCHES: usize = 1;
/// How many chunks of records may wait for the merger.
const CHUNKS: usize = 2;

/// How many lanes this machine has use for; 0 where threads are of no use.
pub(super) fn lanes() -> usize {
    match thread::available_parallelism().map_or(1, NonZero::get) {
        1 => 0,
        // One reads.
        cores => (cores - 1).min(MAX_LANES),
    }
}

/// Decodes all packets of a mapped capture.
pub(super) fn decode<S: Sink>(
    capture: &mut CaptureReader<'_>,
    options: Options,
    lanes: usize,
    sink: &mut S,
) -> End {
    let messages = sink.wants_messages();
    let mut packets = Packets::default();
    let (sessions, read) = thread::scope(|scope| {
        let (mut batches, mut chunks) = (Vec::new(), Vec::new());
        for _ in 0..lanes {
            let (batch, taken) = sync_channel(BATCHES);
            let (chunk, merged) = sync_channel(CHUNKS);
            batches.push(batch);
            chunks.push(merged);
            let table = Table::new(options.clone(), lanes);
            scope.spawn(move || lane::run(table, &taken, Keeper::new(chunk, messages)));
        }
        let reader = scope.spawn(|| feed::run(capture, &mut packets, batches));
        let sessions = merge::run(chunks, sink);
        (sessions, reader.join())
    });
    let (last_ns, result) = read.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    match sessions {
        Merged::All(sessions) => {
            sink.at_frame(0);
            packets.finish(sink);
            End { sessions, last_ns, result }
        }
        Merged::Enough(sessions) => End { sessions, last_ns, result: Ok(()) },
    }
}
