//! Structured (and extended) replies, chunk by chunk (sections "Structured reply chunk message" and
//! "Structured reply types").

use std::ops::Range;

use protocol::message::{Chunk, ChunkBody, ChunkForm, Side};
use protocol::values::{ChunkType, Command, CommandFlags, ErrorCode, ReplyFlags};

use crate::plural::Plural;

use super::commands::{self, Payload};
use super::extended::{check_count, check_request_offset, fits_32_bits};
use super::flight::{Answered, InFlight, Match};
use super::judge::Session;
use super::progress::Progress;
use super::replies::Last;
use super::rules::{Findings, Rule};
use super::status::check_count_limit;
use super::strings;
use super::verdict::Verdict;

impl Session {
    pub(super) fn chunk(&mut self, chunk: &Chunk, found: &mut Findings) -> Verdict {
        self.replies.set(Last::Chunk);
        let (bulk, at) = match &chunk.body {
            ChunkBody::Data { offset, length } => (*length, *offset),
            ChunkBody::Bulk(length) => (*length, 0),
            _ => (0, 0),
        };
        self.check_magic(chunk, found);
        check_chunk_flags(chunk, found);
        check_layout(chunk, found);
        self.check_limit(chunk, found);
        let done = chunk.flags.has(ReplyFlags::DONE);
        let request = match self.flight.find(chunk.cookie) {
            Match::None => {
                self.check_error_chunk(chunk, None, found);
                self.answers_nobody(chunk.cookie, Answered::Chunks, found);
                return Verdict { bulk, at, ..Verdict::default() };
            }
            // Which of the requests is answered can't be told.
            Match::Several(_) => {
                self.forget_written();
                self.check_error_chunk(chunk, None, found);
                if done {
                    self.flight.answer(chunk.cookie, Answered::Chunks);
                }
                return Verdict { bulk, at, ..Verdict::default() };
            }
            Match::One(request) => request,
        };
        let mut progress = request.progress.take();
        let request = InFlight { progress: None, wanted: request.wanted.take(), ..*request };
        let mut state = progress.take().unwrap_or_else(|| self.flight.progress());
        let answers = request.number;
        check_request_offset(chunk, &request, found);
        self.check_chunk(chunk, &request, &mut state, found);
        state.broken |= found.any_binding();
        let ok = !state.failed() && !state.broken;
        let compare = self.comparison(&request, chunk.cookie, done, ok);
        if done {
            self.check_whole(&request, &state, found);
            self.changed(&request, ok);
            self.flight.answer(chunk.cookie, Answered::Chunks);
            self.flight.recycle(state);
        } else if let Match::One(slot) = self.flight.find(chunk.cookie) {
            slot.progress = Some(state);
            slot.wanted = request.wanted;
        }
        Verdict { answers, bulk, at, compare }
    }

    /// Whether this form of reply may be used.
    fn check_magic(&self, chunk: &Chunk, found: &mut Findings) {
        if !self.knows_negotiation() {
            return;
        }
        let negotiated = &self.negotiated;
        match chunk.form {
            // "Structured reply chunk message": not unless it was negotiated.
            ChunkForm::Structured if !negotiated.structured && !negotiated.extended => {
                let text = "a structured reply, though structured replies were not negotiated";
                found.server(Rule::SimpleOnlyWithoutStructured, "", text);
            }
            // "Reserved Magic values": only as the extension describes.
            // "Extended reply chunk message": with extended headers every reply is extended.
            ChunkForm::Structured if negotiated.extended => {
                let text = "a structured reply, though extended headers were negotiated";
                return found.server(Rule::ExtAllRepliesExtended, "", text);
            }
            ChunkForm::Extended { .. } if !negotiated.extended => {
                let text = "an extended reply, though extended headers were not negotiated";
                return found.server(Rule::MagicExtended, "form", text);
            }
            _ => {}
        }
        match chunk.chunk {
            // NBD_REPLY_TYPE_BLOCK_STATUS: only without extended headers...
            ChunkType::BLOCK_STATUS if negotiated.extended => {
                let text = "NBD_REPLY_TYPE_BLOCK_STATUS, though extended headers were negotiated";
                found.server(Rule::ExtStatusCompactOnly, "", text);
            }
            // ... NBD_REPLY_TYPE_BLOCK_STATUS_EXT: only with them.
            ChunkType::BLOCK_STATUS_EXT if !negotiated.extended => {
                let text =
                    "NBD_REPLY_TYPE_BLOCK_STATUS_EXT, though extended headers were not negotiated";
                found.server(Rule::ExtStatusNeedsNegotiation, "", text);
            }
            _ => {}
        }
    }

    /// "Structured reply types": the variable part is no larger than the advertised maximum.
    fn check_limit(&self, chunk: &Chunk, found: &mut Findings) {
        if !fits_32_bits(chunk, found) {
            return;
        }
        let Some(size) = self.export.as_ref().and_then(|export| export.block_size) else { return };
        let variable = match &chunk.body {
            ChunkBody::Data { length, .. } => *length,
            ChunkBody::BlockStatus { extents, .. } => extents.len() as u64 * 8,
            ChunkBody::BlockStatusExt { extents, .. } => extents.len() as u64 * 16,
            ChunkBody::Bulk(length) if chunk.chunk == ChunkType::BLOCK_STATUS => {
                length.saturating_sub(4)
            }
            ChunkBody::Bulk(length) if chunk.chunk == ChunkType::BLOCK_STATUS_EXT => {
                length.saturating_sub(8)
            }
            ChunkBody::Error { message, .. } => message.len() as u64,
            _ => return,
        };
        if size.maximum != u32::MAX && variable > u64::from(size.maximum) {
            let text = format!("{variable} bytes are more than maximum={}", size.maximum);
            found.server(Rule::VariablePartLimit, "", text);
        }
    }

    /// The chunk as a part of the reply to `request`.
    fn check_chunk(
        &mut self,
        chunk: &Chunk,
        request: &InFlight,
        state: &mut Progress,
        found: &mut Findings,
    ) {
        self.check_error_chunk(chunk, Some(request), found);
        if !check_fits(chunk, request.command, found) {
            return;
        }
        match &chunk.body {
            ChunkBody::Data { offset, length } => {
                check_content(*offset, *length, request, state, found);
            }
            ChunkBody::Hole { offset, size } => {
                check_content(*offset, u64::from(*size), request, state, found);
            }
            ChunkBody::BlockStatus { id, extents }
            | ChunkBody::BlockStatusExt { id, extents, .. } => {
                self.check_status(chunk.chunk, *id, extents, request, state, found);
            }
            ChunkBody::Error { error, offset, .. } => {
                check_error(chunk.chunk, *error, *offset, request, state, found);
            }
            // An error that can't be read is one all the same; of a status that is too long to be
            // kept nothing is known.
            ChunkBody::Raw(_) | ChunkBody::Bulk(_) | ChunkBody::Empty => {
                state.other_error |= chunk.chunk.is_error();
                state.broken |= matches!(chunk.body, ChunkBody::Bulk(_));
            }
        }
    }

    /// What an error chunk says, whatever it answers.
    fn check_error_chunk(
        &mut self,
        chunk: &Chunk,
        request: Option<&InFlight>,
        found: &mut Findings,
    ) {
        let ChunkBody::Error { error, message, .. } = &chunk.body else { return };
        // NBD_REPLY_TYPE_ERROR: the error is not 0.
        if *error == ErrorCode::OK {
            found.server(Rule::ErrorNonzero, "error", "an error chunk with error 0");
        }
        self.check_error_value(*error, request, "error", found);
        // NBD_REPLY_TYPE_ERROR: the message is at most 4096 bytes long.
        let limit = Rule::ErrorMessageLimit;
        let (utf8, nul) = (Rule::StringUtf8, Rule::StringNoNul);
        strings::check_as(utf8, nul, limit, message, Side::Server, "message", found);
    }

    /// The reply is complete.
    fn check_whole(&self, request: &InFlight, state: &Progress, found: &mut Findings) {
        if state.failed() || state.broken || request.faulty || request.is_unspecified() {
            return;
        }
        match commands::payload(request.command) {
            // NBD_CMD_READ: without an error the chunks cover the whole range.
            Payload::Reply => {
                let wanted = request.offset..request.end();
                if let Some(at) = state.content.first_missing(wanted) {
                    let text = format!("the reply is complete, and byte {at} was not sent");
                    found.server(Rule::ReadCoversRequest, "flags", text);
                }
            }
            Payload::Status => self.check_contexts_complete(request, state, found),
            _ => self.check_read_only(request, found),
        }
    }
}

/// "Structured reply flags".
fn check_chunk_flags(chunk: &Chunk, found: &mut Findings) {
    // The server sets no other flags.
    let others = chunk.flags.unknown();
    if others != ReplyFlags::EMPTY {
        found.server(Rule::ReplyFlagsNoOthers, "flags", format!("unknown reply flags {others}"));
    }
    // NBD_REPLY_FLAG_DONE is always set on NBD_REPLY_TYPE_NONE.
    if chunk.chunk == ChunkType::NONE && !chunk.flags.has(ReplyFlags::DONE) {
        found.server(Rule::NoneDone, "flags", "NBD_REPLY_TYPE_NONE without DONE");
    }
}

/// "Structured reply types": how long each payload is.
fn check_layout(chunk: &Chunk, found: &mut Findings) {
    // NBD_REPLY_TYPE_OFFSET_HOLE: the size is not 0.
    if let ChunkBody::Hole { size: 0, .. } = &chunk.body {
        found.server(Rule::HoleNonzero, "size", "a hole of size=0");
    }
    if let ChunkBody::BlockStatusExt { count, extents, .. } = &chunk.body {
        return check_count(*count, extents.len(), found);
    }
    let (length, data): (u64, &[u8]) = match &chunk.body {
        ChunkBody::Raw(data) => (data.len() as u64, data),
        ChunkBody::Bulk(length) => (*length, &[]),
        _ => return,
    };
    let kind = chunk.chunk;
    let (rule, wanted) = match kind {
        ChunkType::NONE => (Rule::NoneEmpty, "none"),
        ChunkType::OFFSET_DATA => (Rule::DataLength, "at least 9"),
        ChunkType::OFFSET_HOLE => (Rule::HoleLength, "12"),
        // Too long to be kept.
        ChunkType::BLOCK_STATUS if data.is_empty() && length % 8 == 4 && length > 4 => {
            return check_count_limit(length / 8, "data", found);
        }
        ChunkType::BLOCK_STATUS_EXT if data.is_empty() && length % 16 == 8 => {
            return check_count_limit(length / 16, "data", found);
        }
        ChunkType::BLOCK_STATUS if length == 4 => (Rule::StatusAtLeastOne, "an extent"),
        ChunkType::BLOCK_STATUS => (Rule::StatusLength, "4 and a multiple of 8"),
        ChunkType::BLOCK_STATUS_EXT => (Rule::ExtStatusLength, "8 and a multiple of 16"),
        ChunkType::ERROR if length < 6 => (Rule::ErrorLength, "at least 6"),
        ChunkType::ERROR_OFFSET if length < 14 => (Rule::ErrorOffsetLength, "at least 14"),
        // Every error chunk begins with an error, the message's length and the message.
        kind if kind.is_error() && length < 6 => (Rule::ErrorCommonFields, "at least 6"),
        // The message fits into the payload, with what follows it.
        kind if kind.is_error() && !data.is_empty() => (Rule::ErrorMessageFits, "its message"),
        _ => return,
    };
    let length = Plural(length, "byte");
    found.server(rule, "data", format!("{kind} with {length} of payload, not {wanted}"));
}

/// "Structured reply types": each type belongs to its commands.
fn check_fits(chunk: &Chunk, command: Command, found: &mut Findings) -> bool {
    let kind = chunk.chunk;
    // Nothing is said about commands that nobody defined.
    let Some(row) = commands::row(command) else { return false };
    let fits = match kind {
        ChunkType::OFFSET_DATA | ChunkType::OFFSET_HOLE => row.payload == Payload::Reply,
        ChunkType::BLOCK_STATUS | ChunkType::BLOCK_STATUS_EXT => row.payload == Payload::Status,
        ChunkType::ERROR_OFFSET => row.has_range(),
        ChunkType::NONE => true,
        // Clients cope with errors of unknown types, and not with anything else.
        kind => kind.is_error(),
    };
    if !fits {
        let text = format!("{kind} in answer to {command}");
        found.server(Rule::ChunkTypeFits, "", text);
    }
    fits
}

/// A content chunk of a read.
fn check_content(
    offset: u64,
    length: u64,
    request: &InFlight,
    state: &mut Progress,
    found: &mut Findings,
) {
    if length == 0 || request.is_unspecified() {
        return;
    }
    let end = offset.checked_add(length);
    let wanted = request.offset..request.end();
    // It lies within the bounds of the request.
    let Some(end) = end.filter(|end| offset >= wanted.start && *end <= wanted.end) else {
        let Range { start, end } = wanted;
        let length = Plural(length, "byte");
        let text = format!("offset={offset} and {length} are outside of {start}..{end}");
        return found.server(Rule::ContentInBounds, "offset", text);
    };
    // NBD_CMD_READ: content comes before an error for the same offset.
    if let Some(at) = state.error_offsets.iter().find(|at| (offset..end).contains(at)) {
        let text = format!("content for offset {at}, for which an error was sent before");
        found.server(Rule::ContentBeforeError, "offset", text);
    }
    // It does not overlap any earlier content chunk.
    if let Some(Range { start, end }) = state.add_content(offset..end) {
        let length = Plural(length, "byte");
        let text = format!("offset={offset} and {length} overlap {start}..{end}");
        found.server(Rule::ContentNoOverlap, "offset", text);
    }
    if request.flags.has(CommandFlags::DF) {
        // NBD_CMD_READ: with DF at most one content chunk...
        if state.content_chunks == 2 {
            let text = "a second content chunk, though DF is set";
            found.server(Rule::DfOneContent, "", text);
        }
        // ... and none with NBD_EOVERFLOW.
        if state.overflow {
            let text = "content after NBD_EOVERFLOW, though DF is set";
            found.server(Rule::DfEoverflowNoContent, "", text);
        }
    }
    // NBD_CMD_READ: cut at multiples of 512 where possible; not at the ends of the request.
    let cut = |at: u64, border: u64| !at.is_multiple_of(512) && at != border;
    if cut(offset, wanted.start) || cut(end, wanted.end) {
        let text = format!("{offset}..{end} is not cut at multiples of 512");
        found.server(Rule::ChunksMultipleOf512, "offset", text);
    }
}

/// An error chunk of a known request.
fn check_error(
    kind: ChunkType,
    error: ErrorCode,
    offset: Option<u64>,
    request: &InFlight,
    state: &mut Progress,
    found: &mut Findings,
) {
    if kind == ChunkType::ERROR && state.error {
        // NBD_REPLY_TYPE_ERROR: should be used once.
        found.server(Rule::ErrorOnce, "", "a second NBD_REPLY_TYPE_ERROR in one reply");
    }
    state.error |= kind == ChunkType::ERROR;
    state.other_error |= kind != ChunkType::ERROR && offset.is_none();
    let mixed_before = state.error_offset;
    if let Some(offset) = offset {
        check_error_offset(offset, request, state, found);
    }
    let read = commands::payload(request.command) == Payload::Reply;
    // NBD_CMD_READ: errors with and without offset should not be mixed.
    let mixes = match kind {
        ChunkType::ERROR => mixed_before,
        ChunkType::ERROR_OFFSET => state.error,
        _ => false,
    };
    if read && mixes {
        let text = "errors with and without offset in one reply";
        found.server(Rule::ErrorsNotMixed, "", text);
    }
    if error == ErrorCode::EOVERFLOW && read && request.flags.has(CommandFlags::DF) {
        // NBD_CMD_READ: a DF read that is refused as too large has no content.
        if state.content_chunks > 0 {
            let text = "NBD_EOVERFLOW after content, though DF is set";
            found.server(Rule::DfEoverflowNoContent, "error", text);
        }
        state.overflow = true;
    }
}

/// NBD_REPLY_TYPE_ERROR_OFFSET: where the error is.
fn check_error_offset(offset: u64, request: &InFlight, state: &mut Progress, found: &mut Findings) {
    let wanted = request.offset..request.end();
    if !wanted.contains(&offset) && !request.is_unspecified() {
        // It lies within the request.
        let Range { start, end } = wanted;
        let text = format!("offset={offset} is outside of {start}..{end}");
        found.server(Rule::ErrorOffsetInBounds, "offset", text);
    } else if state.error_offsets.contains(&offset) {
        // The same offset should not be repeated.
        let text = format!("offset={offset} is described more than once");
        found.server(Rule::ErrorOffsetNoRepeat, "offset", text);
    } else if let Some(piece) = state.piece(offset)
        && let Some(other) = state.error_offsets.iter().find(|other| piece.contains(other))
    {
        // At most one offset should lie within a content chunk.
        let text = format!("offset={offset} is in the same content chunk as {other}");
        found.server(Rule::ErrorOffsetOnePerContent, "offset", text);
    }
    state.add_error_offset(offset);
}
