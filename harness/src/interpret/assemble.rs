//! A whole reply, in whichever lawful form it came: one simple reply, or chunks up to DONE.

use protocol::message::{ChunkBody, Cookie, Extent, Message, SimpleReply};
use protocol::text::WireString;
use protocol::values::{Command, ErrorCode, ReplyFlags};

use crate::link::Received;
use crate::link::tracker::Pending;

/// The largest reply that is put together, in bytes.
const LIMIT: u64 = 80 << 20;

/// A reply put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The request's cookie.
    pub cookie: Cookie,
    /// `OK`, or the first error.
    pub error: ErrorCode,
    /// The first error's text.
    pub message: WireString,
    /// What was read; bytes that no chunk covered are zero.
    pub data: Vec<u8>,
    /// The stretches of `data` that chunks covered, in order and apart: first byte and end.
    pub covered: Vec<(u64, u64)>,
    /// Where `data` begins in the export.
    pub offset: u64,
    /// The extents of each context, in the order they came.
    pub extents: Vec<(u32, Vec<Extent>)>,
    /// How many messages it took.
    pub messages: usize,
}

/// Whether this message ends the reply to its request.
#[must_use]
pub fn is_last(message: &Message) -> bool {
    match message {
        Message::Chunk(chunk) => chunk.flags.has(ReplyFlags::DONE),
        _ => true,
    }
}

/// Puts a reply together from its messages, which are all there.
#[must_use]
pub fn assemble(cookie: Cookie, request: Option<&Pending>, parts: &[Received]) -> Reply {
    let length = match request {
        Some(Pending { command: Command::READ, length, .. }) => (*length).min(LIMIT),
        _ => 0,
    };
    let offset = request.map_or(0, |request| request.offset);
    let mut reply = Reply {
        cookie,
        error: ErrorCode::OK,
        message: WireString::default(),
        // Zeroed memory costs nothing until it is written to.
        data: vec![0; length as usize],
        covered: Vec::new(),
        offset,
        extents: Vec::new(),
        messages: parts.len(),
    };
    for part in parts {
        match &part.message {
            Message::SimpleReply(SimpleReply { error, .. }) => {
                reply.fail(*error, &WireString::default());
                if *error == ErrorCode::OK && length > 0 {
                    reply.put(offset, &part.bulk);
                }
            }
            Message::Chunk(chunk) => match &chunk.body {
                ChunkBody::Data { offset, .. } => reply.put(*offset, &part.bulk),
                ChunkBody::Hole { offset, size } => reply.cover(*offset, u64::from(*size)),
                ChunkBody::Error { error, message, .. } => reply.fail(*error, message),
                ChunkBody::BlockStatus { id, extents }
                | ChunkBody::BlockStatusExt { id, extents, .. } => {
                    reply.extents.push((*id, extents.clone()));
                }
                ChunkBody::Empty | ChunkBody::Raw(_) | ChunkBody::Bulk(_) => {}
            },
            _ => {}
        }
    }
    reply
}

impl Reply {
    fn fail(&mut self, error: ErrorCode, message: &WireString) {
        if self.error == ErrorCode::OK {
            self.error = error;
            self.message = message.clone();
        }
    }

    /// The stretch of `data` that `length` bytes at `offset` of the export are; what lies outside
    /// the request is the judge's business.
    fn stretch(&self, offset: u64, length: u64) -> (u64, u64) {
        let end = offset.saturating_add(length).saturating_sub(self.offset);
        (offset.saturating_sub(self.offset), end.min(self.data.len() as u64))
    }

    fn put(&mut self, offset: u64, bytes: &[u8]) {
        let (from, to) = self.stretch(offset, bytes.len() as u64);
        if from < to {
            let skip = (self.offset + from).saturating_sub(offset) as usize;
            let count = (to - from) as usize;
            self.data[from as usize..to as usize].copy_from_slice(&bytes[skip..skip + count]);
            self.add_covered(from, to);
        }
    }

    fn cover(&mut self, offset: u64, length: u64) {
        let (from, to) = self.stretch(offset, length);
        if from < to {
            self.add_covered(from, to);
        }
    }

    fn add_covered(&mut self, from: u64, to: u64) {
        self.covered.push((from, to));
        self.covered.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::with_capacity(self.covered.len());
        for (from, to) in self.covered.drain(..) {
            match merged.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => merged.push((from, to)),
            }
        }
        self.covered = merged;
    }

    /// The first byte of `data` that no chunk covered, if any.
    #[must_use]
    pub fn first_uncovered(&self) -> Option<u64> {
        let covered = match self.covered.first() {
            Some((0, to)) => *to,
            _ => 0,
        };
        (covered < self.data.len() as u64).then_some(covered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use protocol::message::{Chunk, ChunkForm};
    use protocol::values::ChunkType;

    fn data(offset: u64, bytes: &'static [u8]) -> Received {
        Received {
            message: Message::Chunk(Chunk {
                form: ChunkForm::Structured,
                flags: ReplyFlags::EMPTY,
                chunk: ChunkType::OFFSET_DATA,
                cookie: Cookie(1),
                body: ChunkBody::Data { offset, length: bytes.len() as u64 },
            }),
            bulk: Bytes::from_static(bytes),
            bulk_offset: offset,
            stream_offset: 0,
            request: None,
        }
    }

    #[test]
    fn chunks_in_any_order_make_one_reply() {
        let request = Pending { command: Command::READ, offset: 10, length: 6 };
        let parts = [data(13, b"def"), data(10, b"abc")];
        let reply = assemble(Cookie(1), Some(&request), &parts);
        assert_eq!(reply.data, b"abcdef");
        assert_eq!(reply.first_uncovered(), None);
        let reply = assemble(Cookie(1), Some(&request), &parts[..1]);
        assert_eq!(reply.first_uncovered(), Some(0));
    }

    #[test]
    fn chunks_outside_the_request_do_no_harm() {
        let request = Pending { command: Command::READ, offset: 10, length: 2 };
        let parts = [data(8, b"abcdef"), data(u64::MAX, b"xy")];
        let reply = assemble(Cookie(1), Some(&request), &parts);
        assert_eq!(reply.data, b"cd");
    }
}
