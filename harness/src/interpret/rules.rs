//! Which rule is broken where a line names none: nothing fails for a reason that is not written
//! down.

use protocol::message::{Message, RequestForm, Side};
use protocol::notation::ast::{MessageLine, Word};
use protocol::values::{Command, OptionType, ReplyType};

use super::matching::Candidate;
use super::{Interpreter, conn_name};
use crate::link::End;
use crate::link::tracker::Phase;

/// Rules about simple replies, and those that stand in their place where replies come in chunks: a
/// scenario that says `reply` runs in every form.
const IN_CHUNKS: &[(&str, &str)] = &[("read-simple-error-code", "read-error-chunk-required")];

impl Interpreter<'_> {
    /// The rule that a tag means on this line's connection.
    pub(super) fn meant<'t>(&self, line: &MessageLine, tag: &'t str) -> &'t str {
        let Some(conn) = self.conns.get(conn_name(line)) else { return tag };
        let tracker = conn.link.tracker();
        if !tracker.is_structured() && tracker.request_form() == RequestForm::Compact {
            return tag;
        }
        IN_CHUNKS.iter().find(|(simple, _)| *simple == tag).map_or(tag, |(_, chunks)| chunks)
    }

    /// The rule that a mismatch on an untagged line breaks.
    pub(super) fn default_rule(&self, line: &MessageLine, candidate: &Candidate) -> &'static str {
        if self.tested() == Side::Client {
            return client_rule(line);
        }
        let Some(conn) = self.conns.get(conn_name(line)) else {
            return "handshake-greeting-layout";
        };
        let tracker = conn.link.tracker();
        match candidate {
            Candidate::End(End::Close | End::Notified | End::CutOff(_) | End::Reset) => {
                "session-no-unjustified-hard-disconnect"
            }
            Candidate::End(End::Timeout | End::Stalled(..)) => match tracker.phase() {
                Phase::Start | Phase::Flags => "handshake-greeting-layout",
                Phase::Haggling => "option-reply-one-final",
                Phase::Entering => "opt-export-name-reply-layout",
                Phase::Transmission if tracker.is_disconnecting() => "disc-server-closes",
                Phase::Transmission => "reply-one-per-request",
            },
            Candidate::End(End::Garbage(_) | End::TooLarge(_)) => match tracker.phase() {
                Phase::Start | Phase::Flags => "handshake-greeting-layout",
                Phase::Haggling | Phase::Entering => "option-reply-layout",
                Phase::Transmission if tracker.request_form() == RequestForm::Extended => {
                    "ext-reply-layout"
                }
                Phase::Transmission if tracker.is_structured() => "structured-chunk-layout",
                Phase::Transmission => "simple-reply-layout",
            },
            Candidate::Reply(reply) => {
                let command = reply_command(self, line, reply.cookie);
                match command {
                    Some(Command::READ) => "baseline-read",
                    Some(Command::WRITE) => "baseline-write",
                    Some(Command::FLUSH | Command::TRIM | Command::WRITE_ZEROES) => {
                        "tflag-not-unsupported"
                    }
                    _ => "reply-one-per-request",
                }
            }
            Candidate::Message(received) => match &received.message {
                Message::OptionReply(reply) => match reply.option {
                    OptionType::INFO | OptionType::GO => "baseline-info-go",
                    OptionType::LIST => "baseline-list",
                    OptionType::ABORT => "opt-abort-acked",
                    _ if reply.reply == ReplyType::ERR_UNSUP => "session-server-errors-options",
                    _ => "option-reply-one-final",
                },
                Message::Greeting(_) => "handshake-greeting-layout",
                Message::ExportInfo(_) => "opt-export-name-refusal-closes",
                Message::SimpleReply(_) | Message::Chunk(_) if received.request.is_none() => {
                    "reply-one-per-request"
                }
                _ => "cookie-echoed",
            },
        }
    }
}

fn reply_command(
    interpreter: &Interpreter<'_>,
    line: &MessageLine,
    cookie: protocol::message::Cookie,
) -> Option<Command> {
    let conn = interpreter.conns.get(conn_name(line))?;
    let received = conn
        .queue
        .iter()
        .find(|received| crate::link::tracker::reply_cookie(&received.message) == Some(cookie))?;
    received.request.as_ref().map(|request| request.command)
}

/// What a client failed to do.
fn client_rule(line: &MessageLine) -> &'static str {
    let Word::Name(head) = &line.head.node else { return "baseline-info-go" };
    match head.as_str() {
        "client-flags" => "handshake-client-flags-width",
        "NBD_OPT_ABORT" => "session-client-quits-softly",
        "NBD_CMD_DISC" => "baseline-disc",
        "NBD_CMD_READ" => "baseline-read",
        "NBD_CMD_WRITE" => "baseline-write",
        "NBD_OPT_LIST" => "baseline-list",
        "NBD_OPT_EXPORT_NAME" => "opt-go-fallback",
        _ => "baseline-info-go",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_have_known_counterparts() {
        for (simple, chunks) in IN_CHUNKS {
            assert!(protocol::requirements::find(simple).is_some(), "{simple}");
            assert!(protocol::requirements::find(chunks).is_some(), "{chunks}");
        }
    }
}
