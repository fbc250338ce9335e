//! Which rule is broken where a line names none: nothing fails for a reason that is not written
//! down.

use std::collections::{BTreeSet, HashMap};

use protocol::codec::BadMagic;
use protocol::message::{
    Message, OptionBody, OptionRequest, Request, RequestForm, Side, SimpleReply,
};
use protocol::notation::ast::{MessageLine, Word};
use protocol::payload::place_of;
use protocol::requirements;
use protocol::requirements::Level;
use protocol::values::{Command, ErrorCode, InfoType, OptionType, ReplyType};

use super::assemble::{Reply, is_last};
use super::conn::{Conn, conn_name};
use super::interpreter::Interpreter;
use super::matching::Candidate;
use crate::finding::Sent;
use crate::link::End;
use crate::link::tracker::Phase;

/// Rules about simple replies, and those that stand in their place where replies come in chunks: a
/// scenario that says `reply` runs in every form.
const IN_CHUNKS: &[(&str, &str)] = &[("read-simple-error-code", "read-error-chunk-required")];

/// The rule that replies repeat the cookies of requests.
const COOKIE: &str = "cookie-echoed";
/// The rule that the chunks of a READ cover it.
const COVERS: &str = "read-structured-covers-request";
/// The rule that requests of any length and place are served where no constraints were asked for...
const BYTES: &str = "size-default-min-1";
/// ...and where they were asked for, and none were told.
const ENFORCED: &str = "size-server-advertises-enforced";
/// What is aligned to this is aligned for every server that does not say otherwise, in bytes.
const PAGE: u64 = 4096;

impl Interpreter<'_> {
    /// The rule that a tag means on this line's connection.
    pub(super) fn meant<'t>(&self, line: &MessageLine, tag: &'t str) -> &'t str {
        let Some(conn) = self.conns.get(conn_name(line)) else { return tag };
        if tag == BYTES && self.asked_for_sizes(conn_name(line)) {
            return ENFORCED;
        }
        let tracker = conn.link.tracker();
        if !tracker.is_structured() && tracker.request_form() == RequestForm::Compact {
            return tag;
        }
        IN_CHUNKS.iter().find(|(simple, _)| *simple == tag).map_or(tag, |(_, chunks)| chunks)
    }

    /// The rule that a tag means where this came, and is not what its line says: not one that the
    /// reply has kept to. A reply that was found by its cookie has it right, whatever else is wrong
    /// with it, unless its data is what another request asked for; and one that covers all that was
    /// asked for does so with whatever data.
    pub(super) fn shown<'t>(
        &self,
        line: &MessageLine,
        tag: &'t str,
        candidate: &Candidate,
    ) -> &'t str {
        match candidate {
            _ if is_other_than_unsup(line, candidate) => UNSUP,
            Candidate::Reply(reply)
                if (tag == COOKIE && !self.is_of_another(reply))
                    || (tag == COVERS
                        && reply.error == ErrorCode::OK
                        && reply.first_uncovered().is_none()) =>
            {
                self.default_rule(line, candidate)
            }
            _ => self.meant(line, tag),
        }
    }

    /// Whether the data of a reply is `place` from where another READ of the scenario begins.
    fn is_of_another(&self, reply: &Reply) -> bool {
        let words = reply.data.chunks_exact(8).filter_map(|word| word.first_chunk::<8>());
        let first = words.map(|word| u64::from_be_bytes(*word)).next();
        let Some((_, belongs)) = first.and_then(place_of) else { return false };
        let read = |request: &Request| {
            let begins_there = request.command == Command::READ && request.offset == belongs;
            begins_there && request.offset != reply.offset
        };
        self.messages().any(|(_, said)| matches!(said, Message::Request(it) if read(it)))
    }

    /// Whether the export was entered by a client that asks for the size constraints.
    fn asked_for_sizes(&self, name: &str) -> bool {
        let asks = |message: &Message| match message {
            Message::Option(OptionRequest { option: OptionType::GO, body }) => {
                matches!(body, OptionBody::Info { requests, .. } if requests.contains(&InfoType::BLOCK_SIZE))
            }
            _ => false,
        };
        self.messages().any(|(conn, said)| conn == name && asks(said))
    }

    /// The rule that a server breaks by refusing a request that is not aligned to whole pages, where
    /// it has served the same command on whole pages, and told of no block size.
    fn enforced(&self, line: &MessageLine, reply: &Reply) -> Option<&'static str> {
        let name = conn_name(line);
        let is_whole = |request: &Request| (request.offset | request.length).is_multiple_of(PAGE);
        let mut asked = HashMap::new();
        let mut served = BTreeSet::new();
        for (_, said) in self.messages().filter(|(conn, _)| *conn == name) {
            let answered = match said {
                Message::Request(request) => {
                    asked.insert(request.cookie, request);
                    continue;
                }
                Message::SimpleReply(SimpleReply { error: ErrorCode::OK, cookie }) => cookie,
                Message::Chunk(chunk) if is_last(said) && !chunk.chunk.is_error() => &chunk.cookie,
                _ => continue,
            };
            let whole = asked.get(answered).filter(|request| is_whole(request));
            served.extend(whole.map(|request| request.command));
        }
        let request = asked.get(&reply.cookie)?;
        let refused = reply.error == ErrorCode::EINVAL && !is_whole(request);
        (refused && served.contains(&request.command)).then(|| self.meant(line, BYTES))
    }

    /// The rule that silence, an end or garbage breaks by itself, where it came instead of what
    /// these lines wait for; `None` where what their tags say is what is broken, or nothing is sure.
    pub(super) fn rule_of_end(
        &self,
        lines: &[&MessageLine],
        candidate: &Candidate,
    ) -> Option<&'static str> {
        let Candidate::End(end) = candidate else { return None };
        let line = lines.first()?;
        let conn = self.conns.get(conn_name(line))?;
        let wants_end = |line: &&MessageLine| matches!(&line.head.node, Word::Name(head) if ENDS.contains(&head.as_str()));
        let mut tags = lines.iter().flat_map(|line| &line.tags).map(|tag| tag.node.as_str());
        let forged = conn.link.is_forged();
        if self.tested() == Side::Client
            && let End::Garbage(magic) = end
            && !forged
        {
            return Some(garbage_of_client(conn, magic));
        }
        if self.tested() == Side::Client || forged {
            return None;
        }
        if lines.iter().all(wants_end) {
            // Whatever the scenario is about, this is what is wrong.
            let stays = matches!(end, End::Timeout) && conn.link.tracker().is_disconnecting();
            return stays.then_some("disc-server-closes");
        }
        match end {
            End::Timeout if tags.any(is_about_silence) => None,
            End::Timeout | End::Stalled(..) => {
                let awaited = conn.selector(line, &self.env).ok()?;
                let (_, rule) = conn.awaited(awaited)?;
                Some(match end {
                    End::Stalled(part, _) => self.layout(conn, part.data.is_some()),
                    _ => rule,
                })
            }
            // Who was wronged may leave, and how a mere wish is turned down is not ours to judge.
            End::Close | End::Notified | End::CutOff(_) | End::Reset => {
                let only_wishes = |tag: &str| {
                    requirements::find(tag).is_some_and(|rule| !rule.level.is_binding())
                };
                // A scenario may use such an option to see whether the server is still in sync.
                let unknown =
                    matches!(conn.link.sent(), Sent::Option(option) if option.name().is_none());
                let keeps = conn.link.has_wronged()
                    || tags.any(|it| (!unknown && is_about_ends(it)) || only_wishes(it));
                (!keeps).then_some("session-no-unjustified-hard-disconnect")
            }
            End::Garbage(_) | End::TooLarge(_) => Some(self.layout(conn, false)),
            End::Endless(_) => Some(endless(conn.link.tracker().phase())),
        }
    }

    /// The rule about the form of what comes next; of its data, if the rest of it is there.
    fn layout(&self, conn: &Conn, data: bool) -> &'static str {
        let tracker = conn.link.tracker();
        match tracker.phase() {
            Phase::Start | Phase::Flags => "handshake-greeting-layout",
            Phase::Haggling => "option-reply-layout",
            Phase::Entering => "opt-export-name-reply-layout",
            Phase::Transmission if tracker.request_form() == RequestForm::Extended => {
                "ext-reply-layout"
            }
            Phase::Transmission if tracker.is_structured() => "structured-chunk-layout",
            Phase::Transmission if data => "simple-reply-read-payload",
            Phase::Transmission => "simple-reply-layout",
        }
    }

    /// The rule that a mismatch on an untagged line breaks.
    pub(super) fn default_rule(&self, line: &MessageLine, candidate: &Candidate) -> &'static str {
        if self.tested() == Side::Client {
            return client_rule(line, candidate);
        }
        let Some(conn) = self.conns.get(conn_name(line)) else {
            return "handshake-greeting-layout";
        };
        let tracker = conn.link.tracker();
        match candidate {
            Candidate::End(End::Close | End::Notified | End::CutOff(_) | End::Reset) => {
                "session-no-unjustified-hard-disconnect"
            }
            Candidate::End(End::Stalled(part, _)) => self.layout(conn, part.data.is_some()),
            Candidate::End(End::Timeout) => match tracker.phase() {
                Phase::Start | Phase::Flags => "handshake-greeting-layout",
                Phase::Haggling => "option-reply-one-final",
                Phase::Entering => "opt-export-name-reply-layout",
                Phase::Transmission if tracker.is_disconnecting() => "disc-server-closes",
                Phase::Transmission => "reply-one-per-request",
            },
            Candidate::End(End::Garbage(_) | End::TooLarge(_)) => self.layout(conn, false),
            Candidate::End(End::Endless(_)) => endless(tracker.phase()),
            Candidate::Reply(reply) => {
                if let Some(rule) = self.enforced(line, reply) {
                    return rule;
                }
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
                    _ if is_other_than_unsup(line, candidate) => UNSUP,
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

/// What an option that a server does not know is answered with.
const UNSUP: &str = "rep-err-unsup-meaning";

/// Whether an option that nobody knows was answered with something else than what that is answered
/// with: whatever the line is about, this is what is wrong.
fn is_other_than_unsup(line: &MessageLine, candidate: &Candidate) -> bool {
    let awaited = matches!(&line.head.node, Word::Name(head) if head == "NBD_REP_ERR_UNSUP");
    let Candidate::Message(received) = candidate else { return false };
    let Message::OptionReply(reply) = &received.message else { return false };
    awaited
        && reply.reply != ReplyType::ERR_UNSUP
        && reply.reply.is_final()
        && reply.option.name().is_none()
}

/// The tags of a line that somebody can break: a permission is nobody's fault.
pub(super) fn blamed(line: &MessageLine) -> impl Iterator<Item = &str> {
    let tags = line.tags.iter().map(|tag| tag.node.as_str());
    tags.filter(|tag| requirements::find(tag).is_none_or(|rule| rule.level != Level::May))
}

/// The heads of lines that wait for an end.
const ENDS: [&str; 5] = ["end", "close", "close-notify", "reset", "timeout"];

/// Rules that are themselves about when connections end, or that something is answered at all.
const ABOUT_ENDS: &[&str] = &[
    "flush-covers-completed-writes",
    "opt-abort-acked",
    "option-reply-one-final",
    "option-unknown-stays-in-sync",
    "read-error-chunk-required",
    "reply-one-per-request",
    "size-32-mib-not-dos",
    "size-server-clean-errors",
    "simple-reply-read-payload",
    "structured-done-last",
];

/// Whether a rule is about ends, so that an end breaks it and no other.
fn is_about_ends(id: &str) -> bool {
    let words = ["disconnect", "close", "session-", "disc-", "tls-"];
    ABOUT_ENDS.contains(&id) || words.iter().any(|word| id.contains(word))
}

/// Rules that silence itself breaks.
const ABOUT_SILENCE: &[&str] = &[
    "opt-abort-acked",
    "option-reply-one-final",
    "reply-one-per-request",
    "simple-reply-read-payload",
    "structured-done-last",
];

/// Whether a rule is about silence, so that silence breaks it and no other.
fn is_about_silence(id: &str) -> bool {
    ABOUT_SILENCE.contains(&id) || id.starts_with("disc-")
}

/// The rule that an answer without end breaks.
fn endless(phase: Phase) -> &'static str {
    match phase {
        Phase::Start | Phase::Flags => "handshake-greeting-layout",
        Phase::Haggling | Phase::Entering => "option-reply-one-final",
        Phase::Transmission => "reply-one-per-request",
    }
}

/// What must hold of a request beyond the end besides that the right error should come: it must not
/// succeed (stance 3 in `protocol/requirements.md`).
pub(super) fn beyond_end(id: &str, command: Option<Command>) -> Option<&'static str> {
    match (id, command) {
        ("write-beyond-end-enospc", _) | ("request-beyond-end-einval", Some(Command::WRITE)) => {
            Some("write-stored")
        }
        ("write-zeroes-beyond-end-enospc", _)
        | ("request-beyond-end-einval", Some(Command::WRITE_ZEROES)) => Some("write-zeroes-stored"),
        ("status-beyond-end-einval" | "ext-status-beyond-end-einval", _) => {
            Some("status-within-export")
        }
        ("request-beyond-end-einval", Some(Command::TRIM)) => Some("trim-confined"),
        ("request-beyond-end-einval", Some(Command::READ)) => Some("baseline-read"),
        _ => None,
    }
}

pub(super) fn reply_command(
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

/// The rule that bytes of a client break that are no message.
fn garbage_of_client(conn: &Conn, magic: &BadMagic) -> &'static str {
    let tracker = conn.link.tracker();
    match tracker.phase() {
        _ if magic.is_tls_handshake() => "tls-via-starttls-upgrade",
        Phase::Start | Phase::Flags => "handshake-client-flags-width",
        Phase::Haggling | Phase::Entering => "option-request-layout",
        Phase::Transmission if tracker.request_form() == RequestForm::Extended => {
            "ext-request-layout"
        }
        Phase::Transmission => "request-layout",
    }
}

/// What a client failed to do.
fn client_rule(line: &MessageLine, candidate: &Candidate) -> &'static str {
    let Word::Name(head) = &line.head.node else { return "baseline-info-go" };
    let leaves = matches!(candidate, Candidate::End(End::Close | End::Notified | End::Reset));
    match head.as_str() {
        "NBD_CMD_DISC" if leaves => "session-no-unjustified-hard-disconnect",
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
    fn rules_about_ends_exist() {
        for id in ABOUT_ENDS.iter().chain(ABOUT_SILENCE) {
            assert!(requirements::find(id).is_some(), "{id}");
        }
    }

    #[test]
    fn rules_have_known_counterparts() {
        for (simple, chunks) in IN_CHUNKS {
            assert!(requirements::find(simple).is_some(), "{simple}");
            assert!(requirements::find(chunks).is_some(), "{chunks}");
        }
    }
}
