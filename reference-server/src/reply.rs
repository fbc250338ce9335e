//! From what came of a request to what is sent. No sockets, no clock.

use protocol::message::{ChunkBody, ChunkForm, Extent, Message, Request, RequestForm, SimpleReply};
use protocol::text::WireString;
use protocol::values::{ChunkType, Command, CommandFlags, ErrorCode, ReplyFlags};

use crate::behaviour::{Behaviour, ChunkOrder, ErrorText};
use crate::distort;
use crate::features::Replies;
use crate::outgoing::{Part, Parts, chunk, is_read};
use crate::store::{Run, push_run};
use crate::transmission::{Failure, Outcome, Transmission, effect_length};

/// Where chunks are cut, in bytes.
const UNIT: u64 = 512;
/// No read is cut into many more chunks than this, however short they should be.
const CHUNKS_AT_MOST: u64 = 512;
/// The length of a long text, in bytes: as long as a string should be at most.
const LONG_TEXT: usize = 256;
/// The shortest hole that gets a chunk of its own, in bytes.
const SHORTEST_HOLE: u64 = 4096;
/// No read is cut into more than about twice as many chunks.
const HOLES_AT_MOST: u64 = 64;

/// The whole answer to a request.
pub(crate) fn answer(terms: &Transmission, request: &Request, outcome: Outcome) -> Parts {
    let chunks = terms.replies != Replies::Simple;
    let failed = matches!(outcome, Outcome::Failed(_) | Outcome::Part { .. });
    let mut parts =
        if chunks { structured(terms, request, outcome) } else { simple(request, outcome) };
    let behaviour = &terms.config.behaviour;
    if chunks && behaviour.done_apart {
        end_apart(request, &mut parts);
    }
    parts.ends = behaviour.closes_after_read_error && !chunks && failed && is_read(request);
    if terms.chunks_stay_compact {
        parts.messages_mut().for_each(compact);
    }
    if let Some(fault) = terms.config.behaviour.reply_fault {
        distort::distort_reply(fault, chunks, request, &mut parts);
    }
    parts
}

/// Makes an extended reply chunk a structured one.
fn compact(message: &mut Message) {
    if let Message::Chunk(chunk) = message
        && !matches!(chunk.body, ChunkBody::BlockStatusExt { .. })
    {
        chunk.form = ChunkForm::Structured;
    }
}

fn simple(request: &Request, outcome: Outcome) -> Parts {
    let mut parts = Parts::default();
    let error = match &outcome {
        Outcome::Failed(failure) | Outcome::Part { failure, .. } => failure.error,
        _ => ErrorCode::OK,
    };
    parts.message(Message::SimpleReply(SimpleReply { error, cookie: request.cookie }));
    if let Outcome::Data { bytes, .. } = outcome {
        parts.list.push(Part::Payload(0..bytes.len()));
        parts.payload = bytes;
    }
    parts
}

fn structured(terms: &Transmission, request: &Request, outcome: Outcome) -> Parts {
    let behaviour = &terms.config.behaviour;
    let mut parts = Parts::default();
    let done = ReplyFlags::DONE;
    match outcome {
        Outcome::Failed(failure) => {
            let inside = effect_length(request) > 0
                && request
                    .offset
                    .checked_add(effect_length(request))
                    .is_some_and(|end| end <= terms.export.size());
            let at = inside.then_some(request.offset);
            parts.message(error(behaviour, request, failure, at));
        }
        Outcome::Part { bytes, runs, failure } => {
            let at = request.offset + bytes.len() as u64;
            content(&mut parts, request, cut(behaviour, request, &bytes, &runs), ReplyFlags::EMPTY);
            parts.payload = bytes;
            parts.message(error(behaviour, request, failure, Some(at)));
        }
        Outcome::Data { bytes, runs } if !bytes.is_empty() => {
            content(&mut parts, request, cut(behaviour, request, &bytes, &runs), done);
            parts.payload = bytes;
        }
        Outcome::Status(contexts) => statuses(&mut parts, request, contexts),
        Outcome::Done if behaviour.simple_success && request.form == RequestForm::Compact => {
            return simple(request, Outcome::Done);
        }
        // A read of nothing has no content chunk: those can't be empty.
        Outcome::Done | Outcome::Data { .. } => {
            parts.message(chunk(request, done, ChunkType::NONE, ChunkBody::Empty));
        }
    }
    parts
}

/// The error chunk that ends a reply; `at` is where the error is, within the request.
fn error(
    behaviour: &Behaviour,
    request: &Request,
    Failure { error, why }: Failure,
    at: Option<u64>,
) -> Message {
    let by_offset = behaviour.errors_by_offset && request.command != Command::FLUSH;
    let offset = at.filter(|_| by_offset);
    let message = match behaviour.chunk_error_text {
        ErrorText::Why => WireString::from(why),
        ErrorText::None => WireString::default(),
        ErrorText::Long => WireString(vec![b'e'; LONG_TEXT]),
    };
    let kind = if offset.is_some() { ChunkType::ERROR_OFFSET } else { ChunkType::ERROR };
    let body = ChunkBody::Error { error, message, offset, rest: Vec::new() };
    chunk(request, ReplyFlags::DONE, kind, body)
}

/// Ends a structured reply with a chunk that says nothing else.
fn end_apart(request: &Request, parts: &mut Parts) {
    let last = parts.messages_mut().last();
    if let Some(Message::Chunk(last)) = last
        && last.chunk != ChunkType::NONE
    {
        last.flags = last.flags.without(ReplyFlags::DONE);
        parts.message(chunk(request, ReplyFlags::DONE, ChunkType::NONE, ChunkBody::Empty));
    }
}

/// A piece of what was read: where it begins in it, and what it is.
type Piece = (u64, Run);

/// What was read as its chunks will show it, in the order in which they are sent.
fn cut(behaviour: &Behaviour, request: &Request, bytes: &[u8], runs: &[Run]) -> Vec<Piece> {
    let whole = request.flags.has(CommandFlags::DF);
    let found;
    let mut runs = runs;
    if behaviour.finds_zeroes {
        found = zeroes(request.offset, bytes);
        runs = &found;
    }
    let mut pieces = pieces(runs, whole);
    if !behaviour.holes_in_reads && !bytes.is_empty() {
        pieces = vec![Run { length: bytes.len() as u64, hole: false }];
    }
    let mut at = 0;
    let mut all: Vec<Piece> = Vec::new();
    let scale = (bytes.len() as u64 / CHUNKS_AT_MOST / UNIT).max(1);
    let mut lengths = behaviour.chunk_lengths.iter().cycle().map(|length| length * scale);
    for mut piece in pieces {
        while !whole && piece.length > 0 {
            let length = match piece.hole {
                true if behaviour.splits_holes => SHORTEST_HOLE * scale,
                true => u64::MAX,
                false => lengths.next().unwrap_or(u64::MAX),
            };
            // Chunks end at multiples of the unit.
            let begun = (request.offset + at) % UNIT;
            let length = piece.length.min(length.saturating_sub(begun));
            if length == piece.length {
                break;
            }
            all.push((at, Run { length, ..piece }));
            at += length;
            piece.length -= length;
        }
        all.push((at, piece));
        at += piece.length;
    }
    match behaviour.chunk_order {
        ChunkOrder::Ascending => {}
        ChunkOrder::Reversed => all.reverse(),
        ChunkOrder::EvenFirst => {
            let (even, odd): (Vec<_>, Vec<_>) =
                all.into_iter().enumerate().partition(|(index, _)| index % 2 == 0);
            all = even.into_iter().chain(odd).map(|(_, piece)| piece).collect();
        }
    }
    all
}

/// Which of the bytes are zeroes, by blocks of the export.
fn zeroes(offset: u64, bytes: &[u8]) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut rest = bytes;
    let mut at = offset;
    while !rest.is_empty() {
        let length = ((UNIT - at % UNIT) as usize).min(rest.len());
        let (block, later) = rest.split_at(length);
        push_run(&mut runs, length as u64, block.iter().all(|byte| *byte == 0));
        at += length as u64;
        rest = later;
    }
    runs
}

/// Chunks of these pieces; the last has the flags.
fn content(parts: &mut Parts, request: &Request, pieces: Vec<Piece>, last_flags: ReplyFlags) {
    let last = pieces.len().saturating_sub(1);
    for (index, (at, piece)) in pieces.into_iter().enumerate() {
        let flags = if index == last { last_flags } else { ReplyFlags::EMPTY };
        let offset = request.offset.wrapping_add(at);
        let end = at + piece.length;
        if piece.hole {
            // A read's length fits 32 bits, so each part of it does.
            let size = u32::try_from(piece.length).unwrap_or(u32::MAX);
            let body = ChunkBody::Hole { offset, size };
            parts.message(chunk(request, flags, ChunkType::OFFSET_HOLE, body));
        } else {
            let body = ChunkBody::Data { offset, length: piece.length };
            parts.message(chunk(request, flags, ChunkType::OFFSET_DATA, body));
            parts.list.push(Part::Payload(at as usize..end as usize));
        }
    }
}

/// A chunk for each context.
fn statuses(parts: &mut Parts, request: &Request, contexts: Vec<(u32, Vec<Extent>)>) {
    let last = contexts.len().saturating_sub(1);
    for (index, (id, extents)) in contexts.into_iter().enumerate() {
        let flags = if index == last { ReplyFlags::DONE } else { ReplyFlags::EMPTY };
        let (kind, body) = match request.form {
            RequestForm::Compact => {
                (ChunkType::BLOCK_STATUS, ChunkBody::BlockStatus { id, extents })
            }
            RequestForm::Extended => {
                let count = u32::try_from(extents.len()).unwrap_or(u32::MAX);
                let body = ChunkBody::BlockStatusExt { id, count, extents };
                (ChunkType::BLOCK_STATUS_EXT, body)
            }
        };
        parts.message(chunk(request, flags, kind, body));
    }
}

/// The runs of a read as its chunks will show them: in one piece if it must be `whole`, else
/// without holes that are not worth a chunk.
fn pieces(runs: &[Run], whole: bool) -> Vec<Run> {
    let total: u64 = runs.iter().map(|run| run.length).sum();
    if whole && runs.len() > 1 {
        return vec![Run { length: total, hole: false }];
    }
    let least = SHORTEST_HOLE.max(total / HOLES_AT_MOST).min(total);
    let mut out = Vec::new();
    for run in runs {
        push_run(&mut out, run.length, run.hole && run.length >= least);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn runs(list: &[(u64, bool)]) -> Vec<Run> {
        list.iter().map(|(length, hole)| Run { length: *length, hole: *hole }).collect()
    }

    #[test]
    fn short_holes_go_with_their_data() {
        let seen = runs(&[(4096, false), (512, true), (4096, false), (65_536, true)]);
        assert_eq!(pieces(&seen, false), runs(&[(8704, false), (65_536, true)]));
    }

    #[test]
    fn an_unfragmented_read_of_both_is_data() {
        let seen = runs(&[(65_536, true), (65_536, false)]);
        assert_eq!(pieces(&seen, true), runs(&[(131_072, false)]));
        assert_eq!(pieces(&runs(&[(512, true)]), true), runs(&[(512, true)]));
    }

    proptest! {
        #[test]
        fn pieces_cover_the_read_in_few_chunks(list: Vec<(u16, bool)>, whole: bool) {
            let mut seen = Vec::new();
            for (length, hole) in list {
                push_run(&mut seen, u64::from(length), hole);
            }
            let made = pieces(&seen, whole);
            let total = |runs: &[Run]| runs.iter().map(|run| run.length).sum::<u64>();
            prop_assert_eq!(total(&made), total(&seen));
            prop_assert!(made.len() as u64 <= 2 * HOLES_AT_MOST + 1);
        }
    }
}
