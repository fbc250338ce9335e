//! Servers that refuse what a client must not ask for, and hang up.

use dissector::session::Seen;
use protocol::message::{Message, Side, SimpleReply};
use protocol::notation::ast::MessageLine;
use protocol::requirements::id;
use protocol::values::{Command, ErrorCode, ReplyType};

use super::conn::conn_name;
use super::interpreter::Interpreter;
use super::matching::Candidate;
use super::stop::{Flow, Stop};
use crate::link::{End, Entry, Said};

impl Interpreter<'_> {
    /// Ends a scenario whose server left over what a client must not send, unless a line is about that.
    pub(super) fn refused_and_left(&self, line: &MessageLine, candidate: &Candidate) -> Flow {
        // That one should go on is what such a line is about.
        if line.tags.iter().any(|tag| tag.node == id::EXT_PAYLOAD_CONSUMED) {
            return Ok(());
        }
        self.left_over_wrongs(conn_name(line), candidate)
    }

    /// Who sees a MUST broken may hang up (sections "Termination of the session during option
    /// haggling" and "Terminating the transmission phase"), with or without an answer: what is left of
    /// the scenario can't be played then, and nothing is held against the server. One that serves what
    /// was wrong, or refuses it and answers what was asked after that, has let it pass. Likewise after a
    /// simple READ that failed (section "NBD_CMD_READ").
    pub(super) fn left_over_wrongs(&self, name: &str, candidate: &Candidate) -> Flow {
        let gone = matches!(candidate, Candidate::End(End::Close | End::Notified | End::Reset));
        if !gone || self.tested() == Side::Client {
            return Ok(());
        }
        let Some(conn) = self.conns.get(name) else { return Ok(()) };
        let replies = self.transcript.iter().rev().filter_map(|entry| match &entry.said {
            Said::Message(seen) if entry.conn == name && seen.from == Side::Server => Some(seen),
            _ => None,
        });
        let answered = |wrong: &u64| replies.clone().any(|seen| seen.answers == Some(*wrong));
        if conn.link.wrongs().iter().any(|wrong| !answered(wrong)) {
            return Err(Stop::Left);
        }
        if replies.clone().next().is_some_and(|last| self.is_failed_read(name, last)) {
            return Err(Stop::Left);
        }
        // The latest request or option that was answered.
        let mut latest = 0;
        for seen in replies {
            let refuses = match &seen.message {
                Message::SimpleReply(reply) => reply.error != ErrorCode::OK,
                Message::Chunk(chunk) => chunk.chunk.is_error(),
                Message::OptionReply(reply) if !reply.reply.is_final() => continue,
                // Who does not know an option can't know what is wrong with it.
                Message::OptionReply(reply) => {
                    reply.reply.is_error() && reply.reply != ReplyType::ERR_UNSUP
                }
                _ => return Ok(()),
            };
            if latest > seen.number {
                return Ok(());
            }
            let Some(asked) = seen.answers else { return Ok(()) };
            if refuses && conn.link.wrongs().contains(&asked) {
                return Err(Stop::Left);
            }
            latest = latest.max(asked);
        }
        Ok(())
    }

    /// Whether a simple reply says that a READ failed.
    fn is_failed_read(&self, name: &str, reply: &Seen) -> bool {
        let Message::SimpleReply(SimpleReply { error, .. }) = reply.message else { return false };
        let asks = |entry: &Entry| match &entry.said {
            Said::Message(seen) => {
                entry.conn == name
                    && Some(seen.number) == reply.answers
                    && matches!(&seen.message, Message::Request(asked) if asked.command == Command::READ)
            }
            _ => false,
        };
        error != ErrorCode::OK && self.transcript.iter().any(asks)
    }
}
