//! What was written, to be compared with what is read: a read that contradicts an earlier write is
//! told, though not as a violation, because nobody sees whether something else wrote meanwhile.
//!
//! Of each whole block that a write covers a digest is kept, from the success of the write until
//! anything else may have changed the block. A block that is touched by two writes at once, by half
//! a write, by one that fails, by NBD_CMD_TRIM or NBD_CMD_WRITE_ZEROES, is forgotten. A read counts
//! if it was asked for after the success of the write, and is answered without an error.

use std::collections::hash_map::HashMap;
use std::ops::Range;

use foldhash::fast::RandomState;
use protocol::message::{ChunkBody, Cookie, Message};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// What is compared as one, in bytes.
const BLOCK: u64 = BLOCK_BYTES as u64;
const BLOCK_BYTES: usize = 4096;
/// So many blocks are remembered: all of 64 MiB that are written. Of more every second, fourth and
/// so on is.
const BLOCKS: usize = 1 << 14;
/// So many trims and the like may be in flight; with more nothing is compared any longer.
const WIPES: usize = 64;

/// A block that was written, or is being written.
#[derive(Debug, Clone, Copy, Default)]
struct Block {
    /// How many writes that touch it are in flight.
    pending: u32,
    /// One write covers all of it, and nothing else has touched it since that began.
    alone: bool,
    /// Of its content.
    digest: Option<u64>,
    /// The message that wrote it.
    write: u64,
    /// The message that said so; 0 before that.
    since: u64,
}

/// What a read contradicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Contradiction {
    /// Where in the export the block begins, in bytes.
    pub(super) offset: u64,
    /// The message that wrote it.
    pub(super) write: u64,
}

/// The content that a reply brings, or a part of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Compare {
    pub(super) cookie: Cookie,
    /// The message that asked for it.
    pub(super) read: u64,
    /// The reply is whole with it, and reports no error.
    pub(super) last: bool,
}

/// All blocks.
pub(super) struct Written {
    blocks: HashMap<u64, Block, RandomState>,
    /// One of 2 to this power is remembered.
    sparse: u32,
    wipes: Vec<(u64, u64)>,
    pub(super) doubts: Vec<(Cookie, Contradiction)>,
}

impl Written {
    pub(super) fn new() -> Self {
        Self { blocks: HashMap::default(), sparse: 0, wipes: Vec::new(), doubts: Vec::new() }
    }

    /// How much memory this takes, in bytes; roughly.
    pub(super) fn memory(&self) -> usize {
        self.blocks.capacity() * size_of::<(u64, Block)>()
            + self.doubts.capacity() * size_of::<(Cookie, Contradiction)>()
    }

    fn is_kept(&self, block: u64) -> bool {
        // The upper bits of the product are as good as random.
        let mixed = block.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        mixed & ((1 << self.sparse) - 1) == 0
    }

    /// A write is asked for.
    pub(super) fn begin_write(&mut self, range: Range<u64>) {
        let wiped = self.wipes.iter().any(|(start, end)| *start < range.end && range.start < *end);
        for number in blocks_of(&range) {
            if !self.is_kept(number) {
                continue;
            }
            let whole = range.start <= number * BLOCK && range.end - number * BLOCK >= BLOCK;
            let block = self.blocks.entry(number).or_default();
            block.alone = block.pending == 0 && whole && !wiped;
            block.pending = block.pending.saturating_add(1);
            block.digest = None;
            block.since = 0;
        }
        while self.blocks.len() > BLOCKS {
            self.sparse += 1;
            let mut blocks = std::mem::take(&mut self.blocks);
            blocks.retain(|number, _| self.is_kept(*number));
            self.blocks = blocks;
        }
    }

    /// A write is answered, by message `reply`.
    pub(super) fn end_write(&mut self, range: Range<u64>, ok: bool, write: u64, reply: u64) {
        for number in blocks_of(&range) {
            let Some(block) = self.blocks.get_mut(&number) else { continue };
            block.pending = block.pending.saturating_sub(1);
            if block.pending > 0 {
                continue;
            }
            if ok && block.alone && block.digest.is_some() {
                block.write = write;
                block.since = reply;
            } else {
                self.blocks.remove(&number);
            }
        }
    }

    /// Something else than a write is asked for that may change the range. Gives whether there are
    /// too many of these.
    pub(super) fn begin_wipe(&mut self, range: Range<u64>) -> bool {
        self.blocks.retain(|number, block| {
            let start = number * BLOCK;
            if start >= range.end || range.start.saturating_sub(start) >= BLOCK {
                return true;
            }
            block.alone = false;
            block.pending > 0
        });
        self.wipes.push((range.start, range.end));
        self.wipes.len() > WIPES
    }

    pub(super) fn end_wipe(&mut self, range: &Range<u64>) {
        if let Some(at) = self.wipes.iter().position(|wipe| *wipe == (range.start, range.end)) {
            self.wipes.swap_remove(at);
        }
    }

    /// What a read that was message `read` may be compared with.
    fn known(&self, number: u64, read: u64) -> Option<Block> {
        // Where the read was asked for before the write succeeded, either content is right.
        let block = self.blocks.get(&number)?;
        (block.since != 0 && block.since < read).then_some(*block)
    }

    fn compare(&mut self, number: u64, read: u64, digest: u64) -> Option<Contradiction> {
        let block = self.known(number, read)?;
        if block.digest == Some(digest) {
            return None;
        }
        // Told once.
        self.blocks.remove(&number);
        Some(Contradiction { offset: number * BLOCK, write: block.write })
    }

    /// A read finds zeroes.
    pub(super) fn compare_zeroes(
        &mut self,
        range: &Range<u64>,
        read: u64,
    ) -> Option<Contradiction> {
        let zeroes = xxh3_64(&[0; BLOCK_BYTES]);
        let start = range.start.div_ceil(BLOCK);
        let whole = start..range.end / BLOCK;
        let mut numbers: Vec<u64> =
            self.blocks.keys().copied().filter(|number| whole.contains(number)).collect();
        numbers.sort_unstable();
        let mut all = numbers.into_iter();
        all.find_map(|number| self.compare(number, read, zeroes))
    }

    /// What the reply with this cookie is in doubt about.
    pub(super) fn take_doubt(&mut self, cookie: Cookie) -> Option<Contradiction> {
        let at = self.doubts.iter().position(|(doubt, _)| *doubt == cookie)?;
        Some(self.doubts.swap_remove(at).1)
    }
}

/// The blocks that a range touches.
fn blocks_of(range: &Range<u64>) -> Range<u64> {
    range.start / BLOCK..range.end.div_ceil(BLOCK)
}

/// Content while it passes.
pub(super) struct Contents {
    /// Where in the export the next byte belongs.
    pub(super) at: u64,
    /// The reply that it is part of; `None` for what is written.
    pub(super) compare: Option<Compare>,
    /// Of the block so far, if it is of interest.
    pub(super) digest: Option<Xxh3>,
    pub(super) found: Option<Contradiction>,
}

impl Contents {
    pub(super) fn update(&mut self, mut bytes: &[u8], written: &mut Written) {
        while !bytes.is_empty() {
            let inside = self.at % BLOCK;
            let number = self.at / BLOCK;
            if inside == 0 {
                let wanted = match self.compare {
                    Some(Compare { read, .. }) => written.known(number, read).is_some(),
                    None => written.blocks.get(&number).is_some_and(|block| block.alone),
                };
                self.digest = wanted.then(Xxh3::new);
            }
            let left = usize::try_from(BLOCK - inside).unwrap_or(BLOCK_BYTES);
            let count = bytes.len().min(left);
            let (now, later) = bytes.split_at(count);
            bytes = later;
            let Some(next) = self.at.checked_add(count as u64) else { return };
            self.at = next;
            let Some(digest) = &mut self.digest else { continue };
            digest.update(now);
            if next.is_multiple_of(BLOCK) {
                let digest = digest.digest();
                self.digest = None;
                match self.compare {
                    Some(Compare { read, .. }) => {
                        let found = written.compare(number, read, digest);
                        self.found = self.found.or(found);
                    }
                    None => {
                        if let Some(block) = written.blocks.get_mut(&number)
                            && block.alone
                        {
                            block.digest = Some(digest);
                        }
                    }
                }
            }
        }
    }
}

/// The hole that a message tells of.
pub(super) fn hole(message: &Message) -> Option<(u64, u32)> {
    match message {
        Message::Chunk(chunk) => match chunk.body {
            ChunkBody::Hole { offset, size } => Some((offset, size)),
            _ => None,
        },
        _ => None,
    }
}
