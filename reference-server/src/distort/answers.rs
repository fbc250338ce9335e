//! Faults in the answers to options: an honest answer goes in, a faulty one comes out.

use protocol::codec::{self, Limits, Step};
use protocol::message::{
    Info, Message, OptionBody, OptionReply, OptionRequest, Padding, ReplyBody,
};
use protocol::text::WireString;
use protocol::values::{InfoType, OptionType, ReplyType, TransmissionFlags};

use super::contexts;
use crate::answer::{Answer, Next, message, refuse};
use crate::distortion::AnswerFault;
use crate::outgoing::{Part, Parts};
use crate::session_end::Ending;

/// Longer than any string may be, in bytes.
const TOO_LONG: usize = 5000;

/// Changes the answer to an option.
pub(crate) fn distort_answer(
    fault: AnswerFault,
    request: &OptionRequest,
    answer: &mut Answer,
    no_zeroes: bool,
) {
    match request.option {
        OptionType::EXPORT_NAME => export_name(fault, answer, no_zeroes),
        option => {
            for message in answer.parts.messages_mut() {
                if let Message::OptionReply(reply) = message {
                    distort_each(fault, reply);
                }
            }
            match option {
                OptionType::ABORT if fault == AnswerFault::AbortWithoutAck => {
                    answer.parts.list.clear()
                }
                OptionType::ABORT
                    if fault == AnswerFault::AbortDataRefused
                        && request.body != OptionBody::Empty =>
                {
                    *answer = refuse(option, ReplyType::ERR_INVALID, "it takes no data");
                }
                OptionType::STARTTLS => starttls(fault, answer),
                OptionType::LIST if fault == AnswerFault::ListUnsupported => {
                    *answer = refuse(option, ReplyType::ERR_UNSUP, "it is unknown");
                }
                OptionType::LIST => list(fault, answer),
                OptionType::INFO | OptionType::GO => info(fault, request, answer),
                OptionType::LIST_META_CONTEXT | OptionType::SET_META_CONTEXT => {
                    contexts::distort(fault, request, answer);
                }
                _ => {}
            }
            general(fault, request, answer);
        }
    }
}

/// Faults that any reply shows.
fn distort_each(fault: AnswerFault, reply: &mut OptionReply) {
    match (fault, &mut reply.body) {
        (AnswerFault::OptionReplyOtherCode, _) => reply.option.0 = reply.option.0.wrapping_add(1),
        (AnswerFault::OptionMessageTooLong, ReplyBody::Message(text)) => {
            *text = WireString(vec![b'a'; TOO_LONG]);
        }
        (AnswerFault::OptionMessageLong, ReplyBody::Message(text)) => {
            *text = WireString(vec![b'a'; 300]);
        }
        (AnswerFault::OptionMessageNotUtf8, ReplyBody::Message(text)) => {
            text.0.extend([0xff, 0xfe])
        }
        (AnswerFault::OptionMessageWithNul, ReplyBody::Message(text)) => text.0.push(0),
        (AnswerFault::AckWithData, body) if reply.reply == ReplyType::ACK => {
            *body = ReplyBody::Raw(b"done".to_vec());
        }
        _ => {}
    }
    if fault == AnswerFault::TlsRequiredAsPolicy && reply.reply == ReplyType::ERR_TLS_REQD {
        reply.reply = ReplyType::ERR_POLICY;
    }
    if fault == AnswerFault::OptionErrorWithoutBit && reply.reply.is_error() {
        reply.reply.0 &= 0x7fff_ffff;
    }
}

fn general(fault: AnswerFault, request: &OptionRequest, answer: &mut Answer) {
    match fault {
        AnswerFault::OptionTwoFinalReplies if matches!(answer.next, Next::Option) => {
            answer.parts.list.extend(answer.parts.list.last().cloned());
        }
        AnswerFault::OptionReplyOtherMagic => {
            for part in &mut answer.parts.list {
                if let Part::Message(message @ Message::OptionReply(_)) = part {
                    let mut bytes = message.to_bytes();
                    bytes[7] ^= 1;
                    *part = Part::Bytes(bytes);
                }
            }
        }
        AnswerFault::OptionReplyShort => {
            for part in &mut answer.parts.list {
                if let Part::Message(message @ Message::OptionReply(_)) = part {
                    let mut bytes = message.to_bytes();
                    // The length says a byte less than there is.
                    if let Some(low) = bytes.get_mut(19).filter(|low| **low > 0) {
                        *low -= 1;
                        *part = Part::Bytes(bytes);
                    }
                }
            }
        }
        AnswerFault::StructuredAfterExtended if answers(answer, ReplyType::ERR_EXT_HEADER_REQD) => {
            acknowledge(request.option, answer);
        }
        AnswerFault::OptionUnknownCloses if request.option.name().is_none() => {
            *answer = hang_up("an unknown option");
        }
        AnswerFault::PeekAcked if request.option == OptionType::PEEK_EXPORT => {
            acknowledge(request.option, answer);
        }
        AnswerFault::TlsRequiredWithoutTls if answers(answer, ReplyType::ERR_UNSUP) => {
            *answer = refuse(request.option, ReplyType::ERR_TLS_REQD, "this needs TLS");
        }
        AnswerFault::OptionRefusalCloses if is_refusal(answer) => {
            *answer = hang_up("an option that is refused");
        }
        AnswerFault::OptionUnknownAcked if request.option.name().is_none() => {
            acknowledge(request.option, answer);
        }
        _ => {}
    }
}

fn starttls(fault: AnswerFault, answer: &mut Answer) {
    let option = OptionType::STARTTLS;
    match fault {
        AnswerFault::TlsRefused if matches!(answer.next, Next::Tls(_)) => {
            *answer = refuse(option, ReplyType::ERR_POLICY, "there is no TLS today");
        }
        AnswerFault::TlsClosesAfterAck if matches!(answer.next, Next::Tls(_)) => {
            answer.next = Next::Close(Ending::Refused("TLS is not ready".to_owned()));
        }
        AnswerFault::StarttlsUnfit => {
            let body = ReplyBody::Server { name: "tls".into(), description: "".into() };
            answer.parts.list.insert(0, Part::Message(message(option, ReplyType::SERVER, body)));
        }
        AnswerFault::TlsPretended if answers(answer, ReplyType::ERR_POLICY) => {
            acknowledge(option, answer);
        }
        _ => {}
    }
}

/// The answer is an ACK, and nothing comes of it.
fn acknowledge(option: OptionType, answer: &mut Answer) {
    answer.parts = Parts::default();
    answer.parts.message(message(option, ReplyType::ACK, ReplyBody::Empty));
}

/// Whether the answer refuses a known option that it may be asked again.
fn is_refusal(answer: &mut Answer) -> bool {
    answer.parts.messages_mut().any(|message| {
        matches!(message, Message::OptionReply(reply)
            if reply.reply.is_error() && reply.reply != ReplyType::ERR_UNSUP)
    })
}

/// Whether the answer has a reply of this type.
fn answers(answer: &mut Answer, wanted: ReplyType) -> bool {
    answer
        .parts
        .messages_mut()
        .any(|message| matches!(message, Message::OptionReply(reply) if reply.reply == wanted))
}

fn hang_up(why: &str) -> Answer {
    let ending = Ending::Refused(format!("the client asked for {why}"));
    Answer { parts: Parts::default(), next: Next::Close(ending) }
}

fn export_name(fault: AnswerFault, answer: &mut Answer, no_zeroes: bool) {
    let refused = answer.parts.list.is_empty();
    if refused && fault == AnswerFault::ExportNameUnknownAnswered {
        let why = "there is no such export";
        *answer = refuse(OptionType::EXPORT_NAME, ReplyType::ERR_UNKNOWN, why);
        return;
    }
    if fault == AnswerFault::ExportNameCloses {
        *answer = hang_up("an export by its name alone");
        return;
    }
    for part in &mut answer.parts.list {
        let Part::Message(Message::ExportInfo(info)) = part else { continue };
        match fault {
            AnswerFault::ExportNameByteOrder => info.size = info.size.swap_bytes(),
            AnswerFault::NoZeroesIgnored => info.padding = Padding::Zeroes,
            AnswerFault::ExportNameUnpadded => info.padding = Padding::Absent,
            AnswerFault::ExportNamePaddingFilled if !no_zeroes => {
                info.padding = Padding::Other(Box::new([0xff; 124]));
            }
            AnswerFault::ExportNamePaddingShort if !no_zeroes => {
                let mut bytes = Message::ExportInfo(info.clone()).to_bytes();
                bytes.truncate(110);
                *part = Part::Bytes(bytes);
            }
            _ => {}
        }
    }
}

fn list(fault: AnswerFault, answer: &mut Answer) {
    for message in answer.parts.messages_mut() {
        let Message::OptionReply(OptionReply { reply, body, .. }) = message else { continue };
        let ReplyBody::Server { name, description } = body else { continue };
        match fault {
            AnswerFault::ListNameOverrun => {
                let mut data = Vec::new();
                data.extend_from_slice(&1000u32.to_be_bytes());
                data.extend_from_slice(name.as_bytes());
                *body = ReplyBody::Raw(data);
            }
            AnswerFault::ListDetailsNotUtf8 => description.0.extend([0xff, 0xfe]),
            AnswerFault::ListNamesUnusable => name.0.extend_from_slice(b".img"),
            AnswerFault::ListInfoReplies => {
                *reply = ReplyType::INFO;
                *body = ReplyBody::Info(Info::Name(name.clone()));
            }
            _ => {}
        }
    }
}

fn info(fault: AnswerFault, request: &OptionRequest, answer: &mut Answer) {
    let unknown = answers(answer, ReplyType::ERR_UNKNOWN);
    let asked = |wanted: fn(&InfoType) -> bool| match &request.body {
        OptionBody::Info { requests, .. } => requests.iter().any(wanted),
        _ => false,
    };
    let size = Info::Export { size: 1 << 20, flags: TransmissionFlags(1) };
    let export = message(request.option, ReplyType::INFO, ReplyBody::Info(size));
    match fault {
        AnswerFault::InfoUnknownRequestRefused if asked(|info| info.name().is_none()) => {
            let why = "an information request is unknown";
            *answer = refuse(request.option, ReplyType::ERR_INVALID, why);
        }
        AnswerFault::BlockSizeRequiredAnyway if asked(|info| *info == InfoType::BLOCK_SIZE) => {
            let why = "ask for NBD_INFO_BLOCK_SIZE";
            *answer = refuse(request.option, ReplyType::ERR_BLOCK_SIZE_REQD, why);
        }
        AnswerFault::GoAloneUnsupported if request.option == OptionType::GO => {
            *answer = refuse(request.option, ReplyType::ERR_UNSUP, "it is unknown");
        }
        AnswerFault::EmptyNameUnknown if names_nothing(request) => {
            *answer = refuse(request.option, ReplyType::ERR_UNKNOWN, "an export has a name");
        }
        AnswerFault::InfoEnds if request.option == OptionType::INFO && !unknown => {
            answer.next = Next::Close(Ending::Aborted);
        }
        AnswerFault::InfoReplyUnfit if !unknown => {
            let body = ReplyBody::Server { name: "disk".into(), description: "".into() };
            let unfit = message(request.option, ReplyType::SERVER, body);
            answer.parts.list.insert(0, Part::Message(unfit));
        }
        AnswerFault::InfoAfterAck if !unknown => answer.parts.list.rotate_right(1),
        AnswerFault::GoStays if matches!(answer.next, Next::Transmit(_)) => {
            answer.next = Next::Option;
        }
        AnswerFault::BlockSizeInsists
            if !unknown && !asked(|info| *info == InfoType::BLOCK_SIZE) =>
        {
            let why = "ask for NBD_INFO_BLOCK_SIZE";
            *answer = refuse(request.option, ReplyType::ERR_BLOCK_SIZE_REQD, why);
        }
        AnswerFault::InfoShort if !unknown => {
            let body = ReplyBody::Raw(vec![0]);
            let short = message(request.option, ReplyType::INFO, body);
            answer.parts.list.insert(0, Part::Message(short));
        }
        AnswerFault::GoUnknownCloses if unknown => *answer = hang_up("an export that is not there"),
        AnswerFault::GoUnknownAfterInfo if unknown => {
            answer.parts.list.insert(0, Part::Message(export))
        }
        AnswerFault::GoPadded if matches!(answer.next, Next::Transmit(_)) => {
            answer.parts.list.push(Part::Bytes(vec![0; 124]));
        }
        AnswerFault::InfoExportTwice => {
            let first = answer.parts.list.first().cloned();
            if let Some(Part::Message(Message::OptionReply(OptionReply {
                body: ReplyBody::Info(_),
                ..
            }))) = first
            {
                answer.parts.list.extend(first);
                answer.parts.list.rotate_right(1);
            }
        }
        AnswerFault::InfoWithoutExport => answer.parts.list.retain(|part| {
            !matches!(
                part,
                Part::Message(Message::OptionReply(OptionReply {
                    body: ReplyBody::Info(Info::Export { .. }),
                    ..
                }))
            )
        }),
        _ => {}
    }
    for message in answer.parts.messages_mut() {
        if let Message::OptionReply(OptionReply { body: ReplyBody::Info(info), .. }) = message {
            item(fault, request.option, info);
        }
    }
}

/// Whether INFO or GO is about the export without a name.
fn names_nothing(request: &OptionRequest) -> bool {
    matches!(&request.body, OptionBody::Info { name, .. } if name.is_empty())
}

/// Faults in one item of information.
fn item(fault: AnswerFault, option: OptionType, info: &mut Info) {
    match (fault, &mut *info) {
        (AnswerFault::InfoGoDiffer, Info::Export { size, .. }) if option == OptionType::GO => {
            *size = size.saturating_sub(512);
        }
        (AnswerFault::StatusPayloadFlag, Info::Export { flags, .. }) => {
            *flags = *flags | TransmissionFlags::BLOCK_STATUS_PAYLOAD;
        }
        (AnswerFault::InfoExportLength, Info::Export { size, flags }) => {
            let mut data = size.to_be_bytes().to_vec();
            data.extend_from_slice(&flags.0.to_be_bytes());
            data.extend_from_slice(&[0; 2]);
            *info = Info::Raw { info: InfoType::EXPORT, data };
        }
        (AnswerFault::InfoBlockSizeLength, Info::BlockSize { minimum, preferred, .. }) => {
            let data = [minimum.to_be_bytes(), preferred.to_be_bytes()].concat();
            *info = Info::Raw { info: InfoType::BLOCK_SIZE, data };
        }
        (AnswerFault::InfoNameDiffers, Info::Name(name)) => name.0.push(b'!'),
        (AnswerFault::InfoDescriptionDiffers, Info::Description(text)) => text.0.push(b'!'),
        (AnswerFault::BlockSizeMinimumOdd, Info::BlockSize { minimum, .. }) => *minimum = 1000,
        (AnswerFault::BlockSizeMinimumHuge, Info::BlockSize { minimum, preferred, .. }) => {
            *minimum = 1 << 17;
            *preferred = 1 << 17;
        }
        (AnswerFault::InfoSizeOdd, Info::Export { size, .. }) => *size = size.saturating_sub(1),
        (AnswerFault::BlockSizeMaximumTiny, Info::BlockSize { maximum, .. }) => *maximum = 65_536,
        (AnswerFault::BlockSizePreferredOdd, Info::BlockSize { preferred, .. }) => {
            *preferred = 5000
        }
        (AnswerFault::BlockSizePreferredSmall, Info::BlockSize { preferred, .. }) => {
            *preferred = 256
        }
        (AnswerFault::BlockSizeMaximumSmall, Info::BlockSize { preferred, maximum, .. }) => {
            *maximum = *preferred / 2;
        }
        _ => {}
    }
}

/// The name and requests of INFO or GO data, whatever follows them.
pub(crate) fn lenient_info(data: &[u8]) -> (WireString, Vec<InfoType>) {
    let all = (0..=data.len()).rev().map(|end| {
        let body = OptionBody::Raw(data[..end].to_vec());
        let bytes = Message::Option(OptionRequest { option: OptionType::INFO, body }).to_bytes();
        match codec::option(&bytes, Limits::default()) {
            Ok(Step::Ready(OptionRequest { body: OptionBody::Info { name, requests }, .. }, _)) => {
                Some((name, requests))
            }
            _ => None,
        }
    });
    // Data is bounded by the option limit, and only the fault comes here: slow is fine.
    all.take(TOO_LONG).flatten().next().unwrap_or_default()
}
