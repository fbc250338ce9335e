//! From what came of a request to what is sent. No sockets, no clock.

use protocol::message::{ChunkBody, Extent, Message, Request, RequestForm, SimpleReply};
use protocol::text::WireString;
use protocol::values::{ChunkType, CommandFlags, ErrorCode, ReplyFlags};

use crate::distort;
use crate::features::Replies;
use crate::outgoing::{Part, Parts, chunk};
use crate::store::{Run, push_run};
use crate::transmission::{Failure, Outcome, Transmission};

/// The shortest hole that gets a chunk of its own, in bytes.
const SHORTEST_HOLE: u64 = 4096;
/// No read is cut into more than about twice as many chunks.
const HOLES_AT_MOST: u64 = 64;

/// The whole answer to a request.
pub(crate) fn answer(terms: &Transmission, request: &Request, outcome: Outcome) -> Parts {
    let chunks = terms.replies != Replies::Simple;
    let mut parts =
        if chunks { structured(terms, request, outcome) } else { simple(request, outcome) };
    if let Some(fault) = terms.config.behaviour.reply_fault {
        distort::distort_reply(fault, chunks, request, &mut parts);
    }
    parts
}

fn simple(request: &Request, outcome: Outcome) -> Parts {
    let mut parts = Parts::default();
    let error = match &outcome {
        Outcome::Failed(failure) => failure.error,
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
        Outcome::Failed(Failure { error, why }) => {
            let body = ChunkBody::Error {
                error,
                message: WireString::from(why),
                offset: None,
                rest: Vec::new(),
            };
            parts.message(chunk(request, done, ChunkType::ERROR, body));
        }
        Outcome::Data { bytes, runs } if !bytes.is_empty() => {
            let whole = request.flags.has(CommandFlags::DF);
            let mut pieces = pieces(&runs, whole);
            if !behaviour.holes_in_reads {
                pieces = vec![Run { length: bytes.len() as u64, hole: false }];
            }
            content(&mut parts, request, &pieces);
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

fn content(parts: &mut Parts, request: &Request, pieces: &[Run]) {
    let mut at = 0;
    for (index, piece) in pieces.iter().enumerate() {
        let last = index + 1 == pieces.len();
        let flags = if last { ReplyFlags::DONE } else { ReplyFlags::EMPTY };
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
        at = end;
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
