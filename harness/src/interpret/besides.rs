//! What a client lawfully does besides what a script is about: commands that the script does not
//! speak of are answered as a plain server answers them.

use protocol::message::{Chunk, ChunkBody, ChunkForm, Extent, Message, Request, RequestForm, Side};
use protocol::notation::ast::{MessageLine, Word};
use protocol::payload::{Part, Payload};
use protocol::values::{ChunkType, Command, ErrorCode, ReplyFlags, TransmissionFlags};

use super::conn::Choice;
use super::events::plain_reply;
use super::host::Host;
use super::interpreter::Interpreter;
use super::matching::Candidate;
use crate::link::{Said, plain};
use crate::script::ast::Statement;

/// The commands that change nothing, so that answering them disturbs no script.
const HARMLESS: [Command; 4] =
    [Command::READ, Command::FLUSH, Command::CACHE, Command::BLOCK_STATUS];

impl Interpreter<'_> {
    /// Answers what came, if it is a harmless request that no line of the script waits for, on a
    /// connection that `-- serve` has opened.
    pub(super) async fn answered_besides(&mut self, name: &str, choice: &Choice) -> bool {
        let Candidate::Message(received) = &choice.candidate else { return false };
        let Message::Request(request) = &received.message else { return false };
        let Some(host) = self.conns.get(name).and_then(|conn| conn.host.clone()) else {
            return false;
        };
        if !HARMLESS.contains(&request.command)
            || speaks_of(&self.script.body, self.setup.side, request.command)
            || self.is_shutting_down(name)
        {
            return false;
        }
        let request = request.clone();
        let limit = self.wait();
        let Some(conn) = self.conns.get_mut(name) else { return false };
        for index in choice.taken.iter().rev() {
            conn.queue.remove(*index);
        }
        let structured = conn.link.tracker().is_structured();
        for message in host.reply(&request, structured) {
            conn.link.send(&message, limit).await;
        }
        self.collect();
        true
    }

    /// Whether the client was told of a shutdown, after which there is only one thing to do.
    fn is_shutting_down(&self, name: &str) -> bool {
        self.transcript.iter().any(|entry| {
            entry.conn == name
                && match &entry.said {
                    Said::Message(seen) => match &seen.message {
                        Message::SimpleReply(reply) => reply.error == ErrorCode::ESHUTDOWN,
                        Message::Chunk(chunk) => matches!(&chunk.body,
                            ChunkBody::Error { error, .. } if *error == ErrorCode::ESHUTDOWN),
                        _ => false,
                    },
                    _ => false,
                }
        })
    }
}

/// Whether a line of the script waits for a command.
fn speaks_of(body: &[Statement], side: Side, command: Command) -> bool {
    let waits = |line: &MessageLine| {
        line.side != side
            && match &line.head.node {
                Word::Name(head) => command.name().is_some_and(|name| *head == name),
                Word::Any | Word::Variable(_) => true,
            }
    };
    crate::script::walk::any_line(body, &mut |line| waits(line))
}

impl Host {
    /// The reply of a plain server whose content is `place(1)`.
    fn reply(&self, request: &Request, structured: bool) -> Vec<protocol::build::Built> {
        let end = request.offset.checked_add(request.length);
        let inside = end.is_some_and(|end| end <= self.size);
        let allowed = match request.command {
            Command::READ => inside,
            Command::FLUSH => self.flags.has(TransmissionFlags::SEND_FLUSH),
            Command::CACHE => inside && self.flags.has(TransmissionFlags::SEND_CACHE),
            _ => inside && request.length > 0 && !self.selected.is_empty(),
        };
        let is_read = request.command == Command::READ;
        if request.command == Command::BLOCK_STATUS && allowed {
            return self.status(request);
        }
        let error = if allowed { "ok" } else { "NBD_EINVAL" };
        let mut data = Payload::default();
        if is_read && allowed && request.length > 0 {
            data = Payload(vec![Part::Place(1, request.length)]);
        }
        let chunks = structured && is_read;
        // The names are known.
        plain_reply(request.cookie, error, &data, request.offset, chunks, request.form)
            .unwrap_or_default()
    }

    /// All of the range is data, in every context.
    fn status(&self, request: &Request) -> Vec<protocol::build::Built> {
        let last = self.selected.last().copied();
        let extents = vec![Extent { length: request.length, status: 0 }];
        let chunk = |id: &u32| {
            let flags = if Some(*id) == last { ReplyFlags::DONE } else { ReplyFlags::EMPTY };
            let extents = extents.clone();
            let (form, chunk, body) = match request.form {
                RequestForm::Compact => (
                    ChunkForm::Structured,
                    ChunkType::BLOCK_STATUS,
                    ChunkBody::BlockStatus { id: *id, extents },
                ),
                RequestForm::Extended => (
                    ChunkForm::Extended { offset: request.offset },
                    ChunkType::BLOCK_STATUS_EXT,
                    ChunkBody::BlockStatusExt { id: *id, count: 1, extents },
                ),
            };
            plain(Message::Chunk(Chunk { form, flags, chunk, cookie: request.cookie, body }))
        };
        self.selected.iter().map(chunk).collect()
    }
}
