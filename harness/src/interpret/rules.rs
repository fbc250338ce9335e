//! Which rule is broken where a line names none: nothing fails for a reason that is not written
//! down.

use std::collections::{BTreeSet, HashMap};

use protocol::codec::BadMagic;
use protocol::message::{
    Message, OptionBody, OptionRequest, Request, RequestForm, Side, SimpleReply,
};
use protocol::notation::ast::{MessageLine, Word};
use protocol::payload::place_of;
use protocol::requirements::{self, Level, id};
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
const IN_CHUNKS: &[(&str, &str)] = &[(id::READ_SIMPLE_ERROR_CODE, id::READ_ERROR_CHUNK_REQUIRED)];

/// The rule that replies repeat the cookies of requests.
const COOKIE: &str = id::COOKIE_ECHOED;
/// Rules that only an end or silence breaks: a reply came, whatever is wrong with it.
const BROKEN_BY_NO_REPLY: &[&str] = &[
    id::REPLY_ONE_PER_REQUEST,
    id::SESSION_NO_UNJUSTIFIED_HARD_DISCONNECT,
    id::SIZE_32_MIB_NOT_DOS,
];
/// The rule that the chunks of a READ cover it.
const COVERS: &str = id::READ_STRUCTURED_COVERS_REQUEST;
/// The rule that requests of any length and place are served where no constraints were asked for...
const BYTES: &str = id::SIZE_DEFAULT_MIN_1;
/// ...and where they were asked for, and none were told.
const ENFORCED: &str = id::SIZE_SERVER_ADVERTISES_ENFORCED;
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
    /// with it, unless its data is what another request asked for; one that covers all that was
    /// asked for does so with whatever data, and one that fails need not.
    pub(super) fn shown<'t>(
        &self,
        line: &MessageLine,
        tag: &'t str,
        candidate: &Candidate,
    ) -> &'t str {
        match candidate {
            _ if is_other_than_unsup(line, candidate) && !is_about_tls(tag, candidate) => UNSUP,
            // That is about a reply which succeeds.
            Candidate::Message(received)
                if tag == id::OPT_INFO_EXPORT_REQUIRED
                    && matches!(&received.message, Message::OptionReply(reply)
                        if reply.reply.is_error()) =>
            {
                self.default_rule(line, candidate)
            }
            Candidate::Reply(reply)
                if (tag == COOKIE && !self.is_of_another(reply))
                    || (tag == COVERS
                        && (reply.error != ErrorCode::OK || reply.first_uncovered().is_none()))
                    || BROKEN_BY_NO_REPLY.contains(&tag) =>
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
        if self.setup.leaves_at_unknown
            && matches!(end, End::Close | End::Notified | End::Reset)
            && matches!(conn.link.sent(), Sent::Option(option) if option.name().is_none())
            && !lines.iter().all(wants_end)
        {
            // It does so whatever was said before.
            return Some(id::SESSION_NO_UNJUSTIFIED_HARD_DISCONNECT);
        }
        if self.tested() == Side::Client || forged {
            return None;
        }
        if lines.iter().all(wants_end) {
            // Whatever the scenario is about, this is what is wrong.
            let stays = matches!(end, End::Timeout(_)) && conn.link.tracker().is_disconnecting();
            return stays.then_some(id::DISC_SERVER_CLOSES);
        }
        match end {
            End::Timeout(_) if tags.any(is_about_silence) => None,
            End::Timeout(_) | End::Stalled(..) => {
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
                (!keeps).then_some(id::SESSION_NO_UNJUSTIFIED_HARD_DISCONNECT)
            }
            End::Garbage(_) | End::TooLarge(_) => Some(self.layout(conn, false)),
            End::Endless(_) => Some(endless(conn.link.tracker().phase())),
        }
    }

    /// The rule about the form of what comes next; of its data, if the rest of it is there.
    fn layout(&self, conn: &Conn, data: bool) -> &'static str {
        let tracker = conn.link.tracker();
        match tracker.phase() {
            Phase::Start | Phase::Flags => id::HANDSHAKE_GREETING_LAYOUT,
            Phase::Haggling => id::OPTION_REPLY_LAYOUT,
            Phase::Entering => id::OPT_EXPORT_NAME_REPLY_LAYOUT,
            Phase::Transmission if tracker.request_form() == RequestForm::Extended => {
                id::EXT_REPLY_LAYOUT
            }
            Phase::Transmission if tracker.is_structured() => id::STRUCTURED_CHUNK_LAYOUT,
            Phase::Transmission if data => id::SIMPLE_REPLY_READ_PAYLOAD,
            Phase::Transmission => id::SIMPLE_REPLY_LAYOUT,
        }
    }

    /// The rule that a mismatch on an untagged line breaks.
    pub(super) fn default_rule(&self, line: &MessageLine, candidate: &Candidate) -> &'static str {
        if self.tested() == Side::Client {
            return client_rule(line, candidate);
        }
        let Some(conn) = self.conns.get(conn_name(line)) else {
            return id::HANDSHAKE_GREETING_LAYOUT;
        };
        let tracker = conn.link.tracker();
        match candidate {
            Candidate::End(End::Close | End::Notified | End::CutOff(_) | End::Reset) => {
                id::SESSION_NO_UNJUSTIFIED_HARD_DISCONNECT
            }
            Candidate::End(End::Stalled(part, _)) => self.layout(conn, part.data.is_some()),
            Candidate::End(End::Timeout(_)) => match tracker.phase() {
                Phase::Start | Phase::Flags => id::HANDSHAKE_GREETING_LAYOUT,
                Phase::Haggling => id::OPTION_REPLY_ONE_FINAL,
                Phase::Entering => id::OPT_EXPORT_NAME_REPLY_LAYOUT,
                Phase::Transmission if tracker.is_disconnecting() => id::DISC_SERVER_CLOSES,
                Phase::Transmission => id::REPLY_ONE_PER_REQUEST,
            },
            Candidate::End(End::Garbage(_) | End::TooLarge(_)) => self.layout(conn, false),
            Candidate::End(End::Endless(_)) => endless(tracker.phase()),
            Candidate::Reply(reply) => {
                if let Some(rule) = self.enforced(line, reply) {
                    return rule;
                }
                let command = reply_command(self, line, reply.cookie);
                match command {
                    Some(Command::READ) => id::BASELINE_READ,
                    Some(Command::WRITE) => id::BASELINE_WRITE,
                    Some(Command::FLUSH | Command::TRIM | Command::WRITE_ZEROES) => {
                        id::TFLAG_NOT_UNSUPPORTED
                    }
                    _ => id::REPLY_ONE_PER_REQUEST,
                }
            }
            Candidate::Message(received) => match &received.message {
                Message::OptionReply(reply) => match reply.option {
                    OptionType::INFO | OptionType::GO => id::BASELINE_INFO_GO,
                    OptionType::LIST => id::BASELINE_LIST,
                    OptionType::ABORT => id::OPT_ABORT_ACKED,
                    OptionType::EXPORT_NAME => id::OPT_EXPORT_NAME_REPLY_LAYOUT,
                    _ if is_other_than_unsup(line, candidate) => UNSUP,
                    _ if reply.reply == ReplyType::ERR_UNSUP => id::SESSION_SERVER_ERRORS_OPTIONS,
                    _ => id::OPTION_REPLY_ONE_FINAL,
                },
                Message::Greeting(_) => id::HANDSHAKE_GREETING_LAYOUT,
                Message::ExportInfo(_) => id::OPT_EXPORT_NAME_REFUSAL_CLOSES,
                Message::SimpleReply(_) | Message::Chunk(_) if received.request.is_none() => {
                    id::REPLY_ONE_PER_REQUEST
                }
                _ => id::COOKIE_ECHOED,
            },
        }
    }
}

/// What an option that a server does not know is answered with.
const UNSUP: &str = id::REP_ERR_UNSUP_MEANING;

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

/// Whether a rule is about TLS, and TLS is what the reply asks for.
fn is_about_tls(tag: &str, candidate: &Candidate) -> bool {
    let Candidate::Message(received) = candidate else { return false };
    let Message::OptionReply(reply) = &received.message else { return false };
    reply.reply == ReplyType::ERR_TLS_REQD && tag.starts_with("tls-")
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
    id::FLUSH_COVERS_COMPLETED_WRITES,
    id::OPT_ABORT_ACKED,
    id::OPTION_REPLY_ONE_FINAL,
    id::OPTION_UNKNOWN_STAYS_IN_SYNC,
    id::READ_ERROR_CHUNK_REQUIRED,
    id::REPLY_ONE_PER_REQUEST,
    id::SIZE_32_MIB_NOT_DOS,
    id::SIZE_SERVER_CLEAN_ERRORS,
    id::SIMPLE_REPLY_READ_PAYLOAD,
    id::STRUCTURED_DONE_LAST,
];

/// Whether a rule is about ends, so that an end breaks it and no other.
fn is_about_ends(id: &str) -> bool {
    let words = ["disconnect", "close", "session-", "disc-", "tls-"];
    ABOUT_ENDS.contains(&id) || words.iter().any(|word| id.contains(word))
}

/// Rules that silence itself breaks.
const ABOUT_SILENCE: &[&str] = &[
    id::OPT_ABORT_ACKED,
    id::OPTION_REPLY_ONE_FINAL,
    id::REPLY_ONE_PER_REQUEST,
    id::SIMPLE_REPLY_READ_PAYLOAD,
    id::STRUCTURED_DONE_LAST,
];

/// Whether a rule is about silence, so that silence breaks it and no other.
fn is_about_silence(id: &str) -> bool {
    ABOUT_SILENCE.contains(&id) || id.starts_with("disc-")
}

/// The rule that an answer without end breaks.
fn endless(phase: Phase) -> &'static str {
    match phase {
        Phase::Start | Phase::Flags => id::HANDSHAKE_GREETING_LAYOUT,
        Phase::Haggling | Phase::Entering => id::OPTION_REPLY_ONE_FINAL,
        Phase::Transmission => id::REPLY_ONE_PER_REQUEST,
    }
}

/// What must hold of a request beyond the end besides that the right error should come: it must not
/// succeed (stance 3 in `protocol/requirements.md`). A BLOCK_STATUS may, with extents that lie within
/// the export: the judge looks at these.
pub(super) fn beyond_end(id: &str, command: Option<Command>) -> Option<&'static str> {
    match (id, command) {
        (id::WRITE_BEYOND_END_ENOSPC, _)
        | (id::REQUEST_BEYOND_END_EINVAL, Some(Command::WRITE)) => Some(id::WRITE_STORED),
        (id::WRITE_ZEROES_BEYOND_END_ENOSPC, _)
        | (id::REQUEST_BEYOND_END_EINVAL, Some(Command::WRITE_ZEROES)) => {
            Some(id::WRITE_ZEROES_STORED)
        }
        (id::REQUEST_BEYOND_END_EINVAL, Some(Command::TRIM)) => Some(id::TRIM_CONFINED),
        (id::REQUEST_BEYOND_END_EINVAL, Some(Command::READ)) => Some(id::BASELINE_READ),
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
        _ if magic.is_tls_handshake() => id::TLS_VIA_STARTTLS_UPGRADE,
        Phase::Start | Phase::Flags => id::HANDSHAKE_CLIENT_FLAGS_WIDTH,
        Phase::Haggling | Phase::Entering => id::OPTION_REQUEST_LAYOUT,
        Phase::Transmission if tracker.request_form() == RequestForm::Extended => {
            id::EXT_REQUEST_LAYOUT
        }
        Phase::Transmission => id::REQUEST_LAYOUT,
    }
}

/// What a client failed to do.
fn client_rule(line: &MessageLine, candidate: &Candidate) -> &'static str {
    let Word::Name(head) = &line.head.node else { return id::BASELINE_INFO_GO };
    let leaves = matches!(candidate, Candidate::End(End::Close | End::Notified | End::Reset));
    match head.as_str() {
        "NBD_CMD_DISC" if leaves => id::SESSION_NO_UNJUSTIFIED_HARD_DISCONNECT,
        "client-flags" => id::HANDSHAKE_CLIENT_FLAGS_WIDTH,
        "NBD_OPT_ABORT" => id::SESSION_CLIENT_QUITS_SOFTLY,
        "NBD_CMD_DISC" => id::BASELINE_DISC,
        "NBD_CMD_READ" => id::BASELINE_READ,
        "NBD_CMD_WRITE" => id::BASELINE_WRITE,
        "NBD_OPT_LIST" => id::BASELINE_LIST,
        "NBD_OPT_EXPORT_NAME" => id::OPT_GO_FALLBACK,
        _ => id::BASELINE_INFO_GO,
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
