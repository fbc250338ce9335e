//! Faults in the answers to `NBD_OPT_LIST_META_CONTEXT` and `NBD_OPT_SET_META_CONTEXT`: an honest
//! answer goes in, a faulty one comes out. What is selected, [`crate::context_options`] knows.

use protocol::message::{Message, OptionBody, OptionReply, OptionRequest, ReplyBody};
use protocol::values::{OptionType, ReplyType};

use crate::answer::{Answer, message, refuse};
use crate::distortion::AnswerFault;
use crate::outgoing::{Part, Parts};

/// Longer than any name may be, in bytes.
const TOO_LONG: usize = 5000;
/// How queries of the namespaces that the server knows begin.
const KNOWN: [&[u8]; 2] = [b"base:", b"qemu:"];

/// Changes the answer to an option about contexts.
pub(super) fn distort(fault: AnswerFault, request: &OptionRequest, answer: &mut Answer) {
    for reply in answer.parts.messages_mut() {
        if let Message::OptionReply(reply) = reply {
            each(fault, reply);
        }
    }
    let OptionRequest { option, body: OptionBody::Meta { queries, .. } } = request else {
        if fault == AnswerFault::ContextMalformedAccepted {
            *answer = acknowledged(request.option);
        }
        return;
    };
    let listing = *option == OptionType::LIST_META_CONTEXT;
    let is = |query: &[u8]| queries.iter().any(|one| one.as_bytes() == query);
    let unknown = queries
        .iter()
        .any(|query| !KNOWN.iter().any(|namespace| query.as_bytes().starts_with(namespace)));
    let none = !answer.parts.messages_mut().any(|reply| {
        matches!(reply, Message::OptionReply(reply) if reply.reply == ReplyType::META_CONTEXT)
    });
    if fault == AnswerFault::ContextIdsEqual {
        for reply in answer.parts.messages_mut() {
            if let Message::OptionReply(OptionReply {
                body: ReplyBody::MetaContext { id, .. }, ..
            }) = reply
                && !listing
            {
                *id = 7;
            }
        }
    }
    match fault {
        AnswerFault::ContextEndMissing if listing => {
            answer.parts.list.pop();
        }
        AnswerFault::ContextListWantsExtended if listing => {
            let why = "ask for extended headers";
            *answer = refuse(*option, ReplyType::ERR_EXT_HEADER_REQD, why);
        }
        AnswerFault::ContextSetWantsExtended if !listing => {
            let why = "ask for extended headers";
            *answer = refuse(*option, ReplyType::ERR_EXT_HEADER_REQD, why);
        }
        AnswerFault::ContextUnknownRefused if unknown => {
            let why = "a namespace is unknown";
            *answer = refuse(*option, ReplyType::ERR_INVALID, why);
        }
        AnswerFault::ContextNoneRefused if listing && none => {
            *answer = refuse(*option, ReplyType::ERR_UNKNOWN, "there is no such context");
        }
        AnswerFault::ContextListEmpty if listing && queries.is_empty() => {
            *answer = acknowledged(*option);
        }
        AnswerFault::ContextListTooBig if listing && queries.is_empty() => {
            *answer = refuse(*option, ReplyType::ERR_TOO_BIG, "there are too many contexts");
        }
        AnswerFault::ContextUnlisted if listing && !queries.is_empty() => {
            *answer = acknowledged(*option);
        }
        AnswerFault::ContextSelectedTwice if !listing => twice(queries.len(), &mut answer.parts),
        AnswerFault::BitmapWildcardUnlisted if listing && is(b"qemu:dirty-bitmap:") => {
            *answer = acknowledged(*option);
        }
        AnswerFault::QemuWildcardUnlisted if listing && is(b"qemu:") => {
            *answer = acknowledged(*option)
        }
        _ => {}
    }
}

/// As many contexts as there were queries.
fn twice(queries: usize, parts: &mut Parts) {
    let ack = parts.list.pop();
    let told = parts.list.len();
    if let (Some(last), 1..) = (parts.list.last().cloned(), told) {
        parts.list.extend(std::iter::repeat_n(last, queries.saturating_sub(told)));
    }
    parts.list.extend(ack);
}

/// Faults that one context shows.
fn each(fault: AnswerFault, OptionReply { option, reply, body }: &mut OptionReply) {
    let ReplyBody::MetaContext { id, name } = body else { return };
    let listing = *option == OptionType::LIST_META_CONTEXT;
    match fault {
        AnswerFault::ContextListId if listing => *id = 7,
        AnswerFault::ContextIdOther if !listing => *id = id.wrapping_add(1),
        AnswerFault::ContextNameBare => name.0.retain(|byte| *byte != b':'),
        AnswerFault::ContextNamespaceEmpty => {
            if let Some(colon) = name.0.iter().position(|byte| *byte == b':') {
                name.0.drain(..colon);
            }
        }
        AnswerFault::ContextNamespaceOther => {
            name.0.splice(..0, *b"acme");
        }
        AnswerFault::ContextNameNotUtf8 => name.0.extend([0xff, 0xfe]),
        AnswerFault::ContextNameTooLong => name.0.resize(TOO_LONG, b'a'),
        AnswerFault::ContextReplyShort => *body = ReplyBody::Raw(vec![0, 1]),
        AnswerFault::ContextReplyUnfit => {
            let name = std::mem::take(name);
            *reply = ReplyType::SERVER;
            *body = ReplyBody::Server { name, description: Default::default() };
        }
        AnswerFault::QemuContextOther if name.as_bytes() == b"qemu:allocation-depth" => {
            *name = "qemu:allocation".into();
        }
        _ => {}
    }
}

fn acknowledged(option: OptionType) -> Answer {
    let ack = message(option, ReplyType::ACK, ReplyBody::Empty);
    Answer {
        parts: Parts { list: vec![Part::Message(ack)], ..Parts::default() },
        ..refuse(option, ReplyType::ERR_INVALID, "")
    }
}
