//! What is sent, before it becomes bytes.

use std::ops::Range;

use protocol::message::{Chunk, ChunkBody, ChunkForm, Message, Request, RequestForm};
use protocol::values::{ChunkType, Command, ReplyFlags};

/// A piece of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// A message up to its bulk.
    Message(Message),
    /// A stretch of the answer's payload.
    Payload(Range<usize>),
    /// Bytes that are no message: only faults send them.
    Bytes(Vec<u8>),
}

/// Everything that is sent for one option or request, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) list: Vec<Part>,
    pub(crate) payload: Vec<u8>,
    /// Whether nothing follows it.
    pub(crate) ends: bool,
}

impl Parts {
    pub(crate) fn message(&mut self, message: Message) {
        self.list.push(Part::Message(message));
    }

    /// The messages, for changing them.
    pub(crate) fn messages_mut(&mut self) -> impl Iterator<Item = &mut Message> {
        self.list.iter_mut().filter_map(|part| match part {
            Part::Message(message) => Some(message),
            _ => None,
        })
    }

    /// The bytes of a part; `scratch` is used for those of messages.
    pub(crate) fn bytes<'a>(&'a self, part: &'a Part, scratch: &'a mut Vec<u8>) -> &'a [u8] {
        match part {
            Part::Message(message) => {
                scratch.clear();
                message.encode(scratch);
                scratch
            }
            Part::Payload(range) => self.payload.get(range.clone()).unwrap_or_default(),
            Part::Bytes(bytes) => bytes,
        }
    }

    /// All bytes in one piece.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut scratch = Vec::new();
        for part in &self.list {
            out.extend_from_slice(self.bytes(part, &mut scratch));
        }
        out
    }
}

/// A chunk of the reply to a request, in the form of the request.
pub(crate) fn chunk(
    request: &Request,
    flags: ReplyFlags,
    chunk: ChunkType,
    body: ChunkBody,
) -> Message {
    let form = match request.form {
        RequestForm::Compact => ChunkForm::Structured,
        RequestForm::Extended => ChunkForm::Extended { offset: request.offset },
    };
    Message::Chunk(Chunk { form, flags, chunk, cookie: request.cookie, body })
}

/// Whether a request is a read that the reply carries data for.
pub(crate) fn is_read(request: &Request) -> bool {
    request.command == Command::READ
}
