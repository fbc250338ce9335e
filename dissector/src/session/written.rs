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
use protocol::message::{ChunkBody, Cookie, Message, Side};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::commands::{self, CommandRow, Payload};
use super::flight::InFlight;
use super::{ProblemKind, Session};

/// What is compared as one, in bytes.
const BLOCK: u64 = 4096;
/// So many blocks are remembered: all of 64 MiB that are written. Of more every second, fourth and
/// so on is.
const BLOCKS: usize = 1 << 14;
/// What is written at once, in bytes; more is not compared.
const LONGEST_WRITE: u64 = 1 << 28;
/// So many trims and the like may be in flight; with more nothing is compared any longer.
const WIPES: usize = 64;
/// So many replies in pieces may be in doubt at once.
const DOUBTS: usize = 64;

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
struct Contradiction {
    /// Where in the export the block begins, in bytes.
    offset: u64,
    /// The message that wrote it.
    write: u64,
}

/// The content that a reply brings, or a part of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Compare {
    cookie: Cookie,
    /// The message that asked for it.
    read: u64,
    /// The reply is whole with it, and reports no error.
    last: bool,
}

/// All blocks.
pub(super) struct Written {
    blocks: HashMap<u64, Block, RandomState>,
    /// One of 2 to this power is remembered.
    sparse: u32,
    wipes: Vec<(u64, u64)>,
    doubts: Vec<(Cookie, Contradiction)>,
}

impl Written {
    pub(super) fn new() -> Self {
        Self { blocks: HashMap::default(), sparse: 0, wipes: Vec::new(), doubts: Vec::new() }
    }

    fn is_kept(&self, block: u64) -> bool {
        // The upper bits of the product are as good as random.
        let mixed = block.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        mixed & ((1 << self.sparse) - 1) == 0
    }

    /// A write is asked for.
    fn begin_write(&mut self, range: Range<u64>) {
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
    fn end_write(&mut self, range: Range<u64>, ok: bool, write: u64, reply: u64) {
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
    fn begin_wipe(&mut self, range: Range<u64>) -> bool {
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

    fn end_wipe(&mut self, range: &Range<u64>) {
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
    fn compare_zeroes(&mut self, range: &Range<u64>, read: u64) -> Option<Contradiction> {
        let zeroes = xxh3_64(&[0; BLOCK as usize]);
        let start = range.start.div_ceil(BLOCK);
        let whole = start..range.end / BLOCK;
        let mut numbers: Vec<u64> =
            self.blocks.keys().copied().filter(|number| whole.contains(number)).collect();
        numbers.sort_unstable();
        let mut all = numbers.into_iter();
        all.find_map(|number| self.compare(number, read, zeroes))
    }

    /// What the reply with this cookie is in doubt about.
    fn take_doubt(&mut self, cookie: Cookie) -> Option<Contradiction> {
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
    at: u64,
    /// The reply that it is part of; `None` for what is written.
    compare: Option<Compare>,
    /// Of the block so far, if it is of interest.
    digest: Option<Xxh3>,
    found: Option<Contradiction>,
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
            let count = bytes.len().min((BLOCK - inside) as usize);
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

impl Session {
    /// From here on nothing that is read is compared with what was written: something that the
    /// session was told may not be what the parties saw.
    pub fn forget_written(&mut self) {
        self.written = None;
    }

    /// What is compared, unless something was not seen.
    fn comparable(&mut self) -> Option<&mut Written> {
        if self.written.is_some() {
            let sides = [Side::Client, Side::Server];
            let all = sides.into_iter().all(|side| self.follows(side) && !self.is_patchy(side));
            if !all || self.flight.is_incomplete() {
                self.written = None;
            }
        }
        self.written.as_deref_mut()
    }

    /// A request that will be answered.
    pub(super) fn changes(&mut self, request: &InFlight) {
        let Some(written) = self.comparable() else { return };
        let InFlight { command, offset, length, .. } = *request;
        let Some(end) = offset.checked_add(length) else { return self.forget_written() };
        let too_many = match commands::row(command) {
            // Nobody knows what it does.
            None => true,
            Some(row) if !row.may_write() => false,
            Some(row) if is_compared(row, length) => {
                written.begin_write(offset..end);
                false
            }
            Some(_) => written.begin_wipe(offset..end),
        };
        if too_many {
            self.forget_written();
        }
    }

    /// A request is answered, with success or not.
    pub(super) fn changed(&mut self, request: &InFlight, ok: bool) {
        let reply = self.out.next_number();
        let Some(written) = self.comparable() else { return };
        let range = request.offset..request.end();
        match commands::row(request.command) {
            Some(row) if is_compared(row, request.length) => {
                let write = request.number.unwrap_or(0);
                written.end_write(range, ok && write != 0, write, reply);
            }
            Some(row) if row.may_write() => written.end_wipe(&range),
            _ => {}
        }
    }

    /// A part of the reply to `request`; `whole`: it is the last one, `ok`: nothing is wrong so far.
    pub(super) fn comparison(
        &mut self,
        request: &InFlight,
        cookie: Cookie,
        whole: bool,
        ok: bool,
    ) -> Option<Compare> {
        let written = self.comparable()?;
        if commands::payload(request.command) != Payload::Reply {
            return None;
        }
        if !ok {
            written.take_doubt(cookie);
            return None;
        }
        Some(Compare { cookie, read: request.number?, last: whole })
    }

    /// What to make of the bulk of a message.
    pub(super) fn contents(
        &mut self,
        message: &Message,
        at: u64,
        compare: Option<Compare>,
    ) -> Option<Box<Contents>> {
        self.written.as_ref()?;
        let writes = matches!(message, Message::Request(it) if commands::payload(it.command) == Payload::Request);
        (writes || compare.is_some())
            .then(|| Box::new(Contents { at, compare, digest: None, found: None }))
    }

    /// A reply without bulk was told.
    pub(super) fn compare_hole(&mut self, body: Option<(u64, u32)>, compare: Compare) {
        let Some(written) = self.comparable() else { return };
        let found = body.and_then(|(offset, size)| {
            let range = offset..offset.checked_add(u64::from(size))?;
            written.compare_zeroes(&range, compare.read)
        });
        self.compared(compare, found);
    }

    /// A message whose bulk was compared was told.
    pub(super) fn contents_end(&mut self, contents: &Contents) {
        if let Some(compare) = contents.compare {
            self.compared(compare, contents.found);
        }
    }

    fn compared(&mut self, compare: Compare, found: Option<Contradiction>) {
        let Compare { cookie, read, last } = compare;
        let message = self.out.messages;
        let Some(written) = self.comparable() else { return };
        if !last {
            if let Some(found) = found
                && written.doubts.len() < DOUBTS
            {
                written.doubts.push((cookie, found));
            }
            return;
        }
        let doubt = written.take_doubt(cookie);
        if let Some(Contradiction { offset, write }) = doubt.or(found) {
            let text = format!(
                "message {message}, the data that message {read} read, differs from the write at \
                 message {write}, from block offset={offset} on (write-stored, unless something \
                 that was not seen wrote as well)"
            );
            self.problem(ProblemKind::DataDiffers, Side::Server, text);
        }
    }
}

/// Whether what a command writes is compared with what is read.
fn is_compared(row: &CommandRow, length: u64) -> bool {
    row.payload == Payload::Request && length <= LONGEST_WRITE
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
