//! Faults in the replies of the transmission phase: an honest answer goes in, a faulty one comes
//! out.

use protocol::message::{Chunk, ChunkBody, ChunkForm, Message, Request, RequestForm};
use protocol::text::WireString;
use protocol::values::{ChunkType, Command, CommandFlags, ErrorCode, ReplyFlags};

use super::status;
use crate::distortion::ReplyFault;
use crate::outgoing::{Part, Parts, chunk, is_read};

/// Longer than any message may be, in bytes.
const TOO_LONG: usize = 5000;
/// What a read with DF gets in any case, in bytes.
const DF_AT_MOST: u64 = 65_536;
/// How much data comes with a faulty reply to CACHE at most, in bytes.
const CACHE_DATA: u64 = 1 << 20;

/// Changes the answer to a request.
pub(crate) fn distort_reply(
    fault: ReplyFault,
    structured: bool,
    request: &Request,
    parts: &mut Parts,
) {
    for message in parts.messages_mut() {
        match message {
            Message::SimpleReply(reply) => {
                cookie(fault, &mut reply.cookie.0);
                error(fault, &mut reply.error);
            }
            Message::Chunk(chunk) => {
                cookie(fault, &mut chunk.cookie.0);
                if let ChunkBody::Error { error: value, .. } = &mut chunk.body {
                    error(fault, value);
                }
                each_chunk(fault, request, chunk);
                extended(fault, chunk);
            }
            _ => {}
        }
    }
    if structured {
        sequence(fault, request, parts);
    } else if fault == ReplyFault::SimpleErrorWithData && is_read(request) && failed(parts) {
        parts.list.push(Part::Bytes(vec![0; request.length.min(1 << 20) as usize]));
    }
    status::distort(fault, request, parts);
    let hidden = match fault {
        ReplyFault::WriteErrorHidden => Some(Command::WRITE),
        ReplyFault::ZeroesErrorHidden => Some(Command::WRITE_ZEROES),
        ReplyFault::StatusErrorHidden => Some(Command::BLOCK_STATUS),
        _ => None,
    };
    if hidden == Some(request.command) && failed(parts) {
        succeed(structured, request, parts);
    }
    match fault {
        ReplyFault::ExtendedSimpleReply
            if request.form == RequestForm::Extended
                && !is_read(request)
                && request.command != Command::BLOCK_STATUS =>
        {
            simple(request, parts);
        }
        ReplyFault::ReplyTwice => parts.list.extend(parts.list.clone()),
        ReplyFault::ReplyMissing if request.command == Command::FLUSH => parts.list.clear(),
        ReplyFault::ReplyOldMagic => {
            for part in &mut parts.list {
                if let Part::Message(message @ Message::SimpleReply(_)) = part {
                    let mut bytes = message.to_bytes();
                    bytes[..4].copy_from_slice(&0x9674_4668_u32.to_be_bytes());
                    *part = Part::Bytes(bytes);
                }
            }
        }
        _ => {}
    }
}

fn cookie(fault: ReplyFault, cookie: &mut u64) {
    match fault {
        ReplyFault::CookieWrong => *cookie = cookie.wrapping_add(1),
        ReplyFault::CookieSwapped => *cookie = cookie.swap_bytes(),
        ReplyFault::CookieTruncated => *cookie &= 0xffff_ffff,
        _ => {}
    }
}

fn error(fault: ReplyFault, error: &mut ErrorCode) {
    match fault {
        _ if *error == ErrorCode::OK => {}
        ReplyFault::ErrorUnknownValue => *error = ErrorCode(71),
        ReplyFault::ErrorEnomem => *error = ErrorCode::ENOMEM,
        ReplyFault::ErrorEnotsup => *error = ErrorCode::ENOTSUP,
        ReplyFault::ErrorUnexpectedOverflow => *error = ErrorCode::EOVERFLOW,
        _ => {}
    }
}

fn failed(parts: &Parts) -> bool {
    parts.list.iter().any(|part| match part {
        Part::Message(Message::SimpleReply(reply)) => reply.error != ErrorCode::OK,
        Part::Message(Message::Chunk(chunk)) => chunk.chunk.is_error(),
        _ => false,
    })
}

/// Faults that one chunk shows.
fn each_chunk(fault: ReplyFault, request: &Request, chunk: &mut Chunk) {
    match (fault, &mut chunk.body) {
        (ReplyFault::ChunkSpareFlag, _) => chunk.flags.0 |= 1 << 3,
        (ReplyFault::DoneMissing, _) => chunk.flags = ReplyFlags::EMPTY,
        (ReplyFault::DoneTwice, _) => chunk.flags = ReplyFlags::DONE,
        (ReplyFault::ChunkNoneWithData, body @ ChunkBody::Empty) => {
            *body = ChunkBody::Raw(request.offset.to_be_bytes().to_vec());
        }
        (ReplyFault::ChunkTypeUnfit, body @ ChunkBody::Empty)
            if request.command == Command::WRITE =>
        {
            chunk.chunk = ChunkType::OFFSET_HOLE;
            *body = ChunkBody::Hole { offset: request.offset, size: request.length.max(1) as u32 };
        }
        (ReplyFault::ChunkHoleLength, body @ ChunkBody::Hole { .. }) => {
            let mut data = Vec::new();
            body.encode(&mut data);
            data.extend_from_slice(&[0; 4]);
            *body = ChunkBody::Raw(data);
        }
        (
            ReplyFault::ChunkOffsetRelative,
            ChunkBody::Data { offset, .. } | ChunkBody::Hole { offset, .. },
        ) => *offset = offset.wrapping_sub(request.offset),
        (ReplyFault::ExtendedUnasked, _) if chunk.form == ChunkForm::Structured => {
            chunk.form = ChunkForm::Extended { offset: request.offset };
        }
        (ReplyFault::ErrorOffsetShort, body @ ChunkBody::Error { .. })
            if chunk.chunk == ChunkType::ERROR_OFFSET =>
        {
            // The error, no message, and 2 of the 8 bytes of the offset.
            let mut data = Vec::new();
            body.encode(&mut data);
            data.truncate(4);
            data.extend([0; 4]);
            *body = ChunkBody::Raw(data);
        }
        (ReplyFault::ErrorOffsetOutside, ChunkBody::Error { offset: Some(offset), .. }) => {
            *offset = offset.wrapping_add(1 << 40);
        }
        (ReplyFault::ExtendedStatusUnasked, ChunkBody::BlockStatus { id, extents }) => {
            let (id, extents) = (*id, std::mem::take(extents));
            chunk.chunk = ChunkType::BLOCK_STATUS_EXT;
            let count = extents.len() as u32;
            chunk.body = ChunkBody::BlockStatusExt { id, count, extents };
        }
        (ReplyFault::ErrorChunkZero, ChunkBody::Error { error, .. }) => *error = ErrorCode::OK,
        (ReplyFault::ErrorChunkMessageTooLong, ChunkBody::Error { message, .. }) => {
            *message = WireString(vec![b'a'; TOO_LONG]);
        }
        (ReplyFault::ErrorChunkMessageOverrun, body @ ChunkBody::Error { .. }) => {
            let mut data = Vec::new();
            body.encode(&mut data);
            data[4..6].copy_from_slice(&u16::MAX.to_be_bytes());
            *body = ChunkBody::Raw(data);
        }
        (ReplyFault::ErrorChunkShort, body @ ChunkBody::Error { .. }) => {
            let mut data = Vec::new();
            body.encode(&mut data);
            data.truncate(4);
            *body = ChunkBody::Raw(data);
        }
        _ => {}
    }
}

/// Faults that only an extended chunk shows.
fn extended(fault: ReplyFault, chunk: &mut Chunk) {
    let ChunkForm::Extended { offset } = &mut chunk.form else { return };
    match (fault, &mut chunk.body) {
        (ReplyFault::ExtendedOffsetZero, _) => *offset = 0,
        (ReplyFault::ExtendedCompactChunks, body)
            if !matches!(body, ChunkBody::BlockStatusExt { .. }) =>
        {
            chunk.form = ChunkForm::Structured;
        }
        (ReplyFault::ExtendedStatusCompact, body) => {
            if let ChunkBody::BlockStatusExt { id, extents, .. } = body {
                let (id, extents) = (*id, std::mem::take(extents));
                *body = ChunkBody::BlockStatus { id, extents };
                chunk.chunk = ChunkType::BLOCK_STATUS;
            }
        }
        (ReplyFault::ExtendedStatusCount, ChunkBody::BlockStatusExt { count, .. }) => {
            *count = count.saturating_add(1);
        }
        (ReplyFault::ExtendedStatusNone, ChunkBody::BlockStatusExt { count, extents, .. }) => {
            *count = 0;
            extents.clear();
        }
        (ReplyFault::ExtendedStatusLength, body @ ChunkBody::BlockStatusExt { .. }) => {
            let mut data = Vec::new();
            body.encode(&mut data);
            data.extend_from_slice(&[0; 2]);
            *body = ChunkBody::Raw(data);
        }
        (ReplyFault::ExtendedStatusUpper, ChunkBody::BlockStatusExt { extents, .. }) => {
            extents.iter_mut().for_each(|extent| extent.status |= 1 << 32);
        }
        (ReplyFault::ExtendedStatusEmpty, ChunkBody::BlockStatusExt { extents, .. }) => {
            extents.iter_mut().take(1).for_each(|extent| extent.length = 0);
        }
        _ => {}
    }
}

/// Faults in the order and number of chunks.
fn sequence(fault: ReplyFault, request: &Request, parts: &mut Parts) {
    let none = |flags| Part::Message(chunk(request, flags, ChunkType::NONE, ChunkBody::Empty));
    match fault {
        ReplyFault::ChunkAfterDone => parts.list.push(none(ReplyFlags::DONE)),
        ReplyFault::ChunkNoneNotLast => parts.list.insert(0, none(ReplyFlags::EMPTY)),
        ReplyFault::CacheWithData if request.command == Command::CACHE && !failed(parts) => {
            let length = request.length.clamp(1, CACHE_DATA);
            let body = ChunkBody::Data { offset: request.offset, length };
            parts.list.clear();
            parts.message(chunk(request, ReplyFlags::DONE, ChunkType::OFFSET_DATA, body));
            parts.list.push(Part::Bytes(vec![0; length as usize]));
        }
        ReplyFault::SimpleReadError if is_read(request) && failed(parts) => simple(request, parts),
        ReplyFault::SimpleToStructuredRead if is_read(request) => simple(request, parts),
        ReplyFault::ErrorsSimple
            if !is_read(request)
                && request.command != Command::BLOCK_STATUS
                && request.form == RequestForm::Compact
                && failed(parts) =>
        {
            simple(request, parts);
        }
        ReplyFault::ErrorChunkTwice | ReplyFault::ErrorOffsetTwice if failed(parts) => {
            again(parts, |_| {});
        }
        ReplyFault::ErrorsMixed if is_read(request) && failed(parts) => again(parts, |chunk| {
            chunk.chunk = ChunkType::ERROR;
            if let ChunkBody::Error { offset, .. } = &mut chunk.body {
                *offset = None;
            }
        }),
        ReplyFault::ContentAfterError if is_read(request) && failed(parts) => {
            content_after_error(request, parts);
        }
        _ if !is_read(request) || failed(parts) || request.length < 2 => {}
        _ => content(fault, request, parts),
    }
}

/// Faults in the content chunks of a read.
fn content(fault: ReplyFault, request: &Request, parts: &mut Parts) {
    match fault {
        ReplyFault::ChunkHoleForData if !request.flags.has(CommandFlags::DF) => {
            hole(request, parts);
        }
        ReplyFault::DfErrorWithData
            if request.flags.has(CommandFlags::DF) && request.length > DF_AT_MOST =>
        {
            let offset = request.offset;
            let (error, message) = (ErrorCode::EOVERFLOW, WireString::default());
            let body = ChunkBody::Hole { offset, size: 512 };
            parts.list.clear();
            parts.message(chunk(request, ReplyFlags::EMPTY, ChunkType::OFFSET_HOLE, body));
            let rest = Vec::new();
            let body = ChunkBody::Error { error, message, offset: None, rest };
            parts.message(chunk(request, ReplyFlags::DONE, ChunkType::ERROR, body));
        }
        ReplyFault::ChunksOverlap => {
            split(request, parts);
            // One byte more at the front of the second chunk.
            change_data(parts, 1, |offset, range| {
                *offset = offset.wrapping_sub(1);
                range.start -= 1;
            });
        }
        ReplyFault::ChunkOutOfBounds => {
            let body =
                ChunkBody::Hole { offset: request.offset.wrapping_add(request.length), size: 512 };
            let extra = chunk(request, ReplyFlags::EMPTY, ChunkType::OFFSET_HOLE, body);
            parts.list.insert(0, Part::Message(extra));
        }
        ReplyFault::ChunkDataEmpty => {
            let body = ChunkBody::Raw(request.offset.to_be_bytes().to_vec());
            let extra = chunk(request, ReplyFlags::EMPTY, ChunkType::OFFSET_DATA, body);
            parts.list.insert(0, Part::Message(extra));
        }
        ReplyFault::ChunkHoleEmpty => {
            let body = ChunkBody::Hole { offset: request.offset, size: 0 };
            let extra = chunk(request, ReplyFlags::EMPTY, ChunkType::OFFSET_HOLE, body);
            parts.list.insert(0, Part::Message(extra));
        }
        ReplyFault::ReadShort => {
            split(request, parts);
            change_data(parts, 1, |_, range| range.end -= 1);
        }
        ReplyFault::DfHole if request.flags.has(CommandFlags::DF) => hole(request, parts),
        ReplyFault::ChunksOdd if request.length > 2000 && !request.flags.has(CommandFlags::DF) => {
            split_at(request, parts, 1000);
        }
        ReplyFault::DfFragmented if request.flags.has(CommandFlags::DF) => split(request, parts),
        ReplyFault::DoneTwice => {
            split(request, parts);
            for message in parts.messages_mut() {
                if let Message::Chunk(chunk) = message {
                    chunk.flags = ReplyFlags::DONE;
                }
            }
        }
        _ => {}
    }
}

/// All of a read as a hole.
fn hole(request: &Request, parts: &mut Parts) {
    let size = u32::try_from(request.length).unwrap_or(u32::MAX);
    let body = ChunkBody::Hole { offset: request.offset, size };
    parts.list.clear();
    parts.message(chunk(request, ReplyFlags::DONE, ChunkType::OFFSET_HOLE, body));
}

/// Sends a hole where an error was just reported.
fn content_after_error(request: &Request, parts: &mut Parts) {
    let Some(Part::Message(Message::Chunk(last))) = parts.list.last_mut() else { return };
    let ChunkBody::Error { offset: Some(at), .. } = last.body else { return };
    last.flags = ReplyFlags::EMPTY;
    let end = request.offset.saturating_add(request.length);
    let size = u32::try_from(end.saturating_sub(at).clamp(1, 512)).unwrap_or(1);
    let body = ChunkBody::Hole { offset: at, size };
    parts.message(chunk(request, ReplyFlags::DONE, ChunkType::OFFSET_HOLE, body));
}

/// Sends the last chunk twice, the second time changed.
fn again(parts: &mut Parts, change: impl FnOnce(&mut Chunk)) {
    if let Some(Part::Message(Message::Chunk(last))) = parts.list.last_mut() {
        let mut second = last.clone();
        last.flags = ReplyFlags::EMPTY;
        change(&mut second);
        parts.message(Message::Chunk(second));
    }
}

/// Reports success.
fn succeed(structured: bool, request: &Request, parts: &mut Parts) {
    parts.list.clear();
    if structured {
        parts.message(chunk(request, ReplyFlags::DONE, ChunkType::NONE, ChunkBody::Empty));
    } else {
        let (error, cookie) = (ErrorCode::OK, request.cookie);
        parts.message(Message::SimpleReply(protocol::message::SimpleReply { error, cookie }));
    }
}

/// The simple reply that says the same.
fn simple(request: &Request, parts: &mut Parts) {
    let mut error = ErrorCode::OK;
    for message in parts.messages_mut() {
        if let Message::Chunk(Chunk { body: ChunkBody::Error { error: value, .. }, .. }) = message {
            error = *value;
        }
    }
    let reply = protocol::message::SimpleReply { error, cookie: request.cookie };
    parts.list = vec![Part::Message(Message::SimpleReply(reply))];
    if error == ErrorCode::OK && is_read(request) {
        parts.payload.resize(request.length as usize, 0);
        parts.list.push(Part::Payload(0..request.length as usize));
    }
}

/// A successful read as two data chunks of about the same length.
fn split(request: &Request, parts: &mut Parts) {
    split_at(request, parts, (request.length as usize).div_ceil(2));
}

/// A successful read as two data chunks, the first of so many bytes.
fn split_at(request: &Request, parts: &mut Parts, half: usize) {
    let length = request.length as usize;
    parts.payload.resize(length, 0);
    parts.list.clear();
    for (range, flags) in [(0..half, ReplyFlags::EMPTY), (half..length, ReplyFlags::DONE)] {
        let offset = request.offset.wrapping_add(range.start as u64);
        let body = ChunkBody::Data { offset, length: range.len() as u64 };
        parts.message(chunk(request, flags, ChunkType::OFFSET_DATA, body));
        parts.list.push(Part::Payload(range));
    }
}

/// Changes one data chunk's offset and bytes; its length follows.
fn change_data(
    parts: &mut Parts,
    index: usize,
    change: impl FnOnce(&mut u64, &mut std::ops::Range<usize>),
) {
    if let Some(
        [
            Part::Message(Message::Chunk(Chunk {
                body: ChunkBody::Data { offset, length }, ..
            })),
            Part::Payload(range),
        ],
    ) = parts.list.get_mut(2 * index..2 * index + 2)
    {
        change(offset, range);
        *length = range.len() as u64;
    }
}
