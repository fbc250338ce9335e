//! Answers to options: what is sent, and what comes after it. No sockets, no clock.

use protocol::message::{Message, OptionBody, OptionReply, OptionRequest, ReplyBody};
use protocol::text::WireString;
use protocol::values::{OptionType, ReplyType, STRING_LIMIT};

use crate::outgoing::Parts;
use crate::session_end::Ending;
use crate::tls::Acceptor;
use crate::transmission::Transmission;

/// The answer to an option, and what comes after it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) parts: Parts,
    pub(crate) next: Next,
}

/// What comes after an answer.
#[derive(Debug)]
pub(crate) enum Next {
    /// Another option.
    Option,
    /// The TLS handshake, and then another option.
    Tls(Acceptor),
    /// The end.
    Close(Ending),
    /// Transmission.
    Transmit(Box<Transmission>),
}

/// A name must be a string of the protocol (section "Conventions").
pub(crate) fn check_name(name: &WireString, limit: usize) -> Result<(), &'static str> {
    match name.to_str() {
        _ if name.len() > STRING_LIMIT => Err("an export name has at most 4096 bytes"),
        _ if name.len() > limit => Err("the export name is too long for this server"),
        None => Err("an export name is UTF-8"),
        Some(text) if text.contains('\0') => Err("an export name has no zero byte"),
        Some(_) => Ok(()),
    }
}

/// Whether a client must not send such an option: it is malformed, has data where there must be none,
/// or a name that is not a string of the protocol.
pub(crate) fn is_wrong(request: &OptionRequest) -> bool {
    match &request.body {
        OptionBody::Empty => false,
        OptionBody::Name(name)
        | OptionBody::Info { name, .. }
        | OptionBody::Meta { export: name, .. } => check_name(name, STRING_LIMIT).is_err(),
        OptionBody::Raw(_) | OptionBody::Bulk(_) => request.option.name().is_some(),
    }
}

/// A name for a message, printable and short.
pub(crate) fn shortened(name: &WireString) -> String {
    /// In bytes, so that a whole message stays within the length that strings should have.
    const LIMIT: usize = 160;
    let printed = name.to_string();
    match printed.char_indices().map(|(at, _)| at).take_while(|at| *at <= LIMIT).last() {
        Some(end) if printed.len() > LIMIT => format!("{}...", &printed[..end]),
        _ => printed,
    }
}

pub(crate) fn message(option: OptionType, reply: ReplyType, body: ReplyBody) -> Message {
    Message::OptionReply(OptionReply { option, reply, body })
}

pub(crate) fn reply(option: OptionType, reply: ReplyType, body: ReplyBody) -> Answer {
    let mut parts = Parts::default();
    parts.message(message(option, reply, body));
    Answer { parts, next: Next::Option }
}

pub(crate) fn refuse(option: OptionType, error: ReplyType, why: &str) -> Answer {
    reply(option, error, ReplyBody::Message(why.into()))
}

/// Hangs up, because the client asked for something.
pub(crate) fn close(why: &str) -> Answer {
    let ending = Ending::Refused(format!("the client asked for {why}"));
    Answer { parts: Parts::default(), next: Next::Close(ending) }
}
