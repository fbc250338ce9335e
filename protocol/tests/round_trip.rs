//! Every message survives both of its forms: bytes (`codec`) and text (`describe` and `build`).

use proptest::collection::vec;
use proptest::prelude::*;

use protocol::build::parse_line;
use protocol::codec::{self, Limits, Step};
use protocol::describe::{self, Value};
use protocol::message::{
    Chunk, ChunkBody, ChunkForm, Cookie, ExportInfo, Extent, Greeting, Info, Message, OptionBody,
    OptionReply, OptionRequest, Padding, ReplyBody, Request, RequestForm, SimpleReply,
    StatusPayload,
};
use protocol::payload::{Part, Payload};
use protocol::text::WireString;
use protocol::values::{
    ChunkType, ClientFlags, Command, CommandFlags, ErrorCode, HandshakeFlags, InfoType, OptionType,
    ReplyFlags, ReplyType, TransmissionFlags,
};

fn text() -> impl Strategy<Value = WireString> {
    prop_oneof![
        "\\PC{0,12}".prop_map(WireString::from),
        vec(any::<u8>(), 0..12).prop_map(WireString),
    ]
}

fn nonempty() -> impl Strategy<Value = WireString> {
    text().prop_filter("not empty", |text| !text.is_empty())
}

fn bytes(least: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), least..least + 12)
}

/// A known value more often than an unknown one.
fn value<T: Copy + std::fmt::Debug + 'static>(
    known: &'static [T],
    unknown: impl Strategy<Value = T>,
) -> impl Strategy<Value = T> {
    prop_oneof![3 => prop::sample::select(known), 1 => unknown]
}

fn option_type() -> impl Strategy<Value = OptionType> {
    value(OptionType::ALL, any::<u32>().prop_map(OptionType))
}

fn reply_type() -> impl Strategy<Value = ReplyType> {
    value(ReplyType::ALL, any::<u32>().prop_map(ReplyType))
}

fn info_type() -> impl Strategy<Value = InfoType> {
    value(InfoType::ALL, any::<u16>().prop_map(InfoType))
}

fn error() -> impl Strategy<Value = ErrorCode> {
    value(ErrorCode::ALL, any::<u32>().prop_map(ErrorCode))
}

fn padding() -> impl Strategy<Value = Padding> {
    let other = vec(1u8.., 124).prop_map(|bytes| {
        let mut tail = Box::new([0; 124]);
        tail.copy_from_slice(&bytes);
        Padding::Other(tail)
    });
    prop_oneof![Just(Padding::Zeroes), other]
}

fn greeting() -> impl Strategy<Value = Greeting> {
    prop_oneof![
        any::<u16>().prop_map(|flags| Greeting::Newstyle { flags: HandshakeFlags(flags) }),
        (any::<u64>(), any::<u16>(), any::<u16>(), padding()).prop_map(
            |(size, flags, handshake, padding)| Greeting::Oldstyle {
                size,
                flags: TransmissionFlags(flags),
                handshake_flags: HandshakeFlags(handshake),
                padding,
            }
        ),
    ]
}

fn export_info() -> impl Strategy<Value = ExportInfo> {
    let padding = prop_oneof![Just(Padding::Absent), padding()];
    (any::<u64>(), any::<u16>(), padding).prop_map(|(size, flags, padding)| ExportInfo {
        size,
        flags: TransmissionFlags(flags),
        padding,
    })
}

/// Options as the decoder gives them: the layout of their type, or raw where it does not hold.
fn option_request() -> impl Strategy<Value = OptionRequest> {
    let well_formed = option_type().prop_flat_map(|option| {
        let body = match option {
            OptionType::EXPORT_NAME => text().prop_map(OptionBody::Name).boxed(),
            OptionType::INFO | OptionType::GO => (text(), vec(info_type(), 0..3))
                .prop_map(|(name, requests)| OptionBody::Info { name, requests })
                .boxed(),
            OptionType::LIST_META_CONTEXT | OptionType::SET_META_CONTEXT => {
                (text(), vec(text(), 0..3))
                    .prop_map(|(export, queries)| OptionBody::Meta { export, queries })
                    .boxed()
            }
            _ => prop_oneof![Just(OptionBody::Empty), bytes(1).prop_map(OptionBody::Raw)].boxed(),
        };
        body.prop_map(move |body| OptionRequest { option, body })
    });
    let any_data = (option_type(), bytes(0)).prop_map(|(option, data)| {
        let raw = OptionRequest { option, body: OptionBody::Raw(data) };
        let Ok(Step::Ready(decoded, _)) =
            codec::option(&Message::Option(raw).to_bytes(), Limits::default())
        else {
            panic!("an option with its own length always decodes");
        };
        decoded
    });
    prop_oneof![well_formed, any_data]
}

fn option_reply() -> impl Strategy<Value = OptionReply> {
    let info = prop_oneof![
        (any::<u64>(), any::<u16>())
            .prop_map(|(size, flags)| Info::Export { size, flags: TransmissionFlags(flags) }),
        text().prop_map(Info::Name),
        text().prop_map(Info::Description),
        any::<[u32; 3]>().prop_map(|[minimum, preferred, maximum]| Info::BlockSize {
            minimum,
            preferred,
            maximum
        }),
    ];
    let well_formed = prop_oneof![
        (text(), text()).prop_map(|(name, description)| {
            (ReplyType::SERVER, ReplyBody::Server { name, description })
        }),
        info.prop_map(|info| (ReplyType::INFO, ReplyBody::Info(info))),
        (any::<u32>(), text())
            .prop_map(|(id, name)| (ReplyType::META_CONTEXT, ReplyBody::MetaContext { id, name })),
        (any::<u32>(), nonempty()).prop_map(|(bits, message)| {
            (ReplyType(bits | 0x8000_0000), ReplyBody::Message(message))
        }),
        Just((ReplyType::ACK, ReplyBody::Empty)),
    ];
    let any_data = (reply_type(), bytes(0)).prop_map(|(reply, data)| {
        let raw = OptionReply { option: OptionType::GO, reply, body: ReplyBody::Raw(data) };
        let Ok(Step::Ready(decoded, _)) =
            codec::option_reply(&Message::OptionReply(raw).to_bytes(), Limits::default())
        else {
            panic!("an option reply with its own length always decodes");
        };
        (decoded.reply, decoded.body)
    });
    // Information types with data that may or may not have their layout.
    let any_info = (info_type(), bytes(0)).prop_map(|(info, data)| {
        let body = ReplyBody::Raw([&info.0.to_be_bytes()[..], &data].concat());
        let raw = OptionReply { option: OptionType::GO, reply: ReplyType::INFO, body };
        let Ok(Step::Ready(decoded, _)) =
            codec::option_reply(&Message::OptionReply(raw).to_bytes(), Limits::default())
        else {
            panic!("an option reply with its own length always decodes");
        };
        (decoded.reply, decoded.body)
    });
    (option_type(), prop_oneof![well_formed, any_data, any_info])
        .prop_map(|(option, (reply, body))| OptionReply { option, reply, body })
}

fn compact_request() -> impl Strategy<Value = Request> {
    let command = value(Command::ALL, any::<u16>().prop_map(Command));
    let compact = (command, any::<u16>(), any::<u64>(), any::<u64>(), any::<u32>());
    compact.prop_map(|(command, flags, cookie, offset, length)| Request {
        form: RequestForm::Compact,
        flags: CommandFlags(flags),
        command,
        cookie: Cookie(cookie),
        offset,
        length: u64::from(length),
        status: None,
    })
}

fn request() -> impl Strategy<Value = Request> {
    let extended = (compact_request(), any::<u64>()).prop_map(|(request, length)| Request {
        form: RequestForm::Extended,
        length: match request.command {
            // A payload that fits would be decoded as effect length and ids.
            Command::BLOCK_STATUS => length | 1,
            _ => length,
        },
        ..request
    });
    let status = (compact_request(), any::<u64>(), vec(any::<u32>(), 0..4));
    let status = status.prop_map(|(request, effect_length, ids)| Request {
        form: RequestForm::Extended,
        flags: request.flags.with(CommandFlags::PAYLOAD_LEN),
        command: Command::BLOCK_STATUS,
        length: 8 + 4 * ids.len() as u64,
        status: Some(StatusPayload { effect_length, ids }),
        ..request
    });
    prop_oneof![compact_request(), extended, status]
}

fn extents(limit: u64) -> impl Strategy<Value = Vec<Extent>> {
    let extent = (0..=limit, 0..=limit).prop_map(|(length, status)| Extent { length, status });
    vec(extent, 1..4)
}

fn chunk() -> impl Strategy<Value = Chunk> {
    let u32s = u64::from(u32::MAX);
    let body = prop_oneof![
        Just((ChunkType::NONE, ChunkBody::Empty)),
        (any::<u64>(), 1..=u32s - 8).prop_map(|(offset, length)| {
            (ChunkType::OFFSET_DATA, ChunkBody::Data { offset, length })
        }),
        (any::<u64>(), any::<u32>())
            .prop_map(|(offset, size)| (ChunkType::OFFSET_HOLE, ChunkBody::Hole { offset, size })),
        (any::<u32>(), extents(u32s)).prop_map(|(id, extents)| {
            (ChunkType::BLOCK_STATUS, ChunkBody::BlockStatus { id, extents })
        }),
        (any::<u32>(), any::<u32>(), extents(u64::MAX)).prop_map(|(id, count, extents)| {
            (ChunkType::BLOCK_STATUS_EXT, ChunkBody::BlockStatusExt { id, count, extents })
        }),
        (any::<u16>(), error(), text(), any::<u64>(), bytes(0)).prop_map(
            |(bits, error, message, offset, rest)| {
                let chunk = ChunkType(bits | 0x8000);
                let offset = (chunk == ChunkType::ERROR_OFFSET).then_some(offset);
                (chunk, ChunkBody::Error { error, message, offset, rest })
            }
        ),
        (error(), text(), any::<u64>()).prop_map(|(error, message, offset)| {
            let body = ChunkBody::Error { error, message, offset: Some(offset), rest: Vec::new() };
            (ChunkType::ERROR_OFFSET, body)
        }),
        // Any type with any data: what the decoder makes of it.
        (value(ChunkType::ALL, any::<u16>().prop_map(ChunkType)), bytes(0)).prop_filter_map(
            "content has its own case",
            |(chunk, data)| {
                let raw = Chunk {
                    form: ChunkForm::Structured,
                    flags: ReplyFlags::EMPTY,
                    chunk,
                    cookie: Cookie(0),
                    body: ChunkBody::Raw(data),
                };
                match codec::reply(&Message::Chunk(raw).to_bytes(), Limits::default()) {
                    Ok(Step::Ready(
                        Message::Chunk(Chunk { body: ChunkBody::Data { .. }, .. }),
                        _,
                    )) => None,
                    Ok(Step::Ready(Message::Chunk(decoded), _)) => Some((chunk, decoded.body)),
                    other => panic!("a chunk with its own length always decodes: {other:?}"),
                }
            }
        ),
    ];
    let form = prop_oneof![
        Just(ChunkForm::Structured),
        any::<u64>().prop_map(|offset| ChunkForm::Extended { offset }),
    ];
    (body, form, any::<u16>(), any::<u64>()).prop_map(|((chunk, body), form, flags, cookie)| {
        Chunk { form, flags: ReplyFlags(flags), chunk, cookie: Cookie(cookie), body }
    })
}

/// Any message that a decoder gives under the default limits.
fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        greeting().prop_map(Message::Greeting),
        any::<u32>().prop_map(|flags| Message::ClientFlags(ClientFlags(flags))),
        option_request().prop_map(Message::Option),
        option_reply().prop_map(Message::OptionReply),
        export_info().prop_map(Message::ExportInfo),
        request().prop_map(Message::Request),
        (error(), any::<u64>()).prop_map(|(error, cookie)| {
            Message::SimpleReply(SimpleReply { error, cookie: Cookie(cookie) })
        }),
        chunk().prop_map(Message::Chunk),
    ]
}

/// What a decoder gives for data that is longer than it may keep.
fn bulky() -> impl Strategy<Value = Message> {
    prop_oneof![
        (option_type(), any::<u32>()).prop_map(|(option, length)| {
            Message::Option(OptionRequest { option, body: OptionBody::Bulk(length) })
        }),
        (option_type(), reply_type(), any::<u32>()).prop_map(|(option, reply, length)| {
            Message::OptionReply(OptionReply { option, reply, body: ReplyBody::Bulk(length) })
        }),
        (chunk(), any::<u32>()).prop_map(|(chunk, length)| {
            let kind =
                if chunk.chunk == ChunkType::OFFSET_DATA { ChunkType(9) } else { chunk.chunk };
            let body = ChunkBody::Bulk(u64::from(length).min(u64::from(u32::MAX) - 8));
            Message::Chunk(Chunk { chunk: kind, body, ..chunk })
        }),
    ]
}

/// A payload of one or two parts with this length in all; never only `hex`, which for data without
/// layout means that it was kept.
fn payload_of(length: u64) -> impl Strategy<Value = Payload> {
    let first = prop_oneof![Just(0), Just(length), 0..=length];
    (first, any::<u8>(), any::<u16>(), any::<u64>(), 0usize..4, bytes(0)).prop_map(
        move |(first, byte, seed, digest, choice, mut hex)| {
            let mut parts = vec![match choice {
                0 => Part::Zero(first),
                1 => Part::Fill(byte, first),
                2 => Part::Place(seed, first),
                _ => Part::Digest(digest, first),
            }];
            let rest = length - first;
            if rest > 0 {
                hex.truncate(rest as usize);
                let rest = rest - hex.len() as u64;
                parts.extend((!hex.is_empty()).then_some(Part::Hex(hex)));
                parts.push(Part::Any(rest));
            }
            Payload(parts)
        },
    )
}

/// A message and its bulk.
fn message_with_payload() -> impl Strategy<Value = (Message, Option<Payload>)> {
    prop_oneof![4 => message(), 1 => bulky()].prop_flat_map(|message| {
        let length = message.bulk();
        let is_data = !matches!(message, Message::SimpleReply(_));
        let payload = match length {
            // The data of a read is known to whoever knows the request.
            0 if !is_data => prop::option::of(payload_of(4096)).boxed(),
            0 if matches!(
                message,
                Message::Option(OptionRequest { body: OptionBody::Bulk(_), .. })
                    | Message::OptionReply(OptionReply { body: ReplyBody::Bulk(_), .. })
                    | Message::Chunk(Chunk { body: ChunkBody::Bulk(_), .. })
            ) =>
            {
                Just(Some(Payload(vec![Part::Zero(0)]))).boxed()
            }
            0 => Just(None).boxed(),
            length => payload_of(length).prop_map(Some).boxed(),
        };
        (Just(message), payload)
    })
}

/// Decodes with the decoder that the message's kind calls for.
fn decode(like: &Message, bytes: &[u8], limits: Limits) -> Step<Message> {
    match like {
        Message::Greeting(_) => codec::greeting(bytes).map(|step| step.map(Message::Greeting)),
        Message::ClientFlags(_) => Ok(codec::client_flags(bytes).map(Message::ClientFlags)),
        Message::Option(_) => codec::option(bytes, limits).map(|step| step.map(Message::Option)),
        Message::OptionReply(_) => {
            codec::option_reply(bytes, limits).map(|step| step.map(Message::OptionReply))
        }
        Message::ExportInfo(info) => {
            let no_zeroes = info.padding == Padding::Absent;
            Ok(codec::export_info(bytes, no_zeroes).map(Message::ExportInfo))
        }
        Message::Request(_) => codec::request(bytes, limits).map(|step| step.map(Message::Request)),
        Message::SimpleReply(_) | Message::Chunk(_) => codec::reply(bytes, limits),
    }
    .expect("the magic is right")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn what_is_encoded_decodes_to_the_same(message in message()) {
        let bytes = message.to_bytes();
        let decoded = decode(&message, &bytes, Limits::default());
        prop_assert_eq!(decoded, Step::Ready(message, bytes.len()));
    }

    #[test]
    fn a_message_cut_short_needs_more_and_never_too_much(message in message()) {
        let bytes = message.to_bytes();
        for cut in 0..bytes.len() {
            match decode(&message, &bytes[..cut], Limits::default()) {
                Step::Need(more) => prop_assert!(more > 0 && cut + more <= bytes.len()),
                Step::Ready(..) => prop_assert!(false, "{cut} bytes of {message:?}"),
            }
        }
    }

    #[test]
    fn data_beyond_the_limit_is_bulk(message in bulky()) {
        prop_assume!(message.bulk() > 0);
        let bytes = message.to_bytes();
        let decoded = decode(&message, &bytes, Limits { option: 0, chunk: 0 });
        prop_assert_eq!(decoded, Step::Ready(message, bytes.len()));
    }

    #[test]
    fn decoders_never_panic(mut bytes: Vec<u8>, magic in 0usize..9, no_zeroes: bool) {
        let magics: [&[u8]; 9] = [
            b"", b"NBDMAGIC", b"NBDMAGICIHAVEOPT", b"IHAVEOPT", &[0, 3, 0xe8, 0x89, 4, 0x55, 0x65, 0xa9],
            &[0x25, 0x60, 0x95, 0x13], &[0x21, 0xe4, 0x1c, 0x71], &[0x66, 0x8e, 0x33, 0xef],
            &[0x6e, 0x8a, 0x27, 0x8c],
        ];
        bytes.splice(0..0, magics[magic].iter().copied());
        for limits in [Limits::default(), Limits { option: 8, chunk: 8 }] {
            let _ = codec::option(&bytes, limits);
            let _ = codec::option_reply(&bytes, limits);
            let _ = codec::request(&bytes, limits);
            let _ = codec::reply(&bytes, limits);
        }
        let _ = codec::greeting(&bytes);
        let _ = codec::client_flags(&bytes);
        let _ = codec::export_info(&bytes, no_zeroes);
    }

    #[test]
    fn what_is_printed_reads_back_as_the_same((message, payload) in message_with_payload()) {
        let line = describe::line(message.side(), &message.describe(payload.as_ref()));
        match parse_line(&line) {
            Ok(read) => prop_assert_eq!(read, (message.side(), message, payload), "{}", line),
            Err(error) => prop_assert!(false, "{line}\n{error:?}"),
        }
    }

    #[test]
    fn a_printed_line_is_canonical((message, payload) in message_with_payload()) {
        let line = describe::line(message.side(), &message.describe(payload.as_ref()));
        let read = protocol::notation::parser::parse_line(&line).unwrap();
        prop_assert_eq!(read.to_string(), line);
    }

    #[test]
    fn what_is_appended_is_what_is_displayed((message, payload) in message_with_payload()) {
        let described = message.describe(payload.as_ref());
        let mut appended = Vec::new();
        described.append(&mut appended);
        prop_assert_eq!(String::from_utf8_lossy(&appended), described.to_string());
    }

    #[test]
    fn parts_cover_each_byte_of_a_message_once(message in prop_oneof![message(), bulky()]) {
        let bytes = message.to_bytes();
        let mut at = 0;
        for part in message.layout() {
            prop_assert_eq!(part.start, at, "{:?}", part);
            prop_assert!(part.length > 0, "{:?}", part);
            at += part.length;
            let piece = &bytes[part.start as usize..at as usize];
            match part.value {
                Value::Int(number) | Value::Hex(number) => {
                    let read = piece.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
                    prop_assert_eq!(read, number, "{}", part.name);
                }
                Value::Text(text) => prop_assert_eq!(piece, text.as_bytes()),
                _ => {}
            }
        }
        prop_assert_eq!(at, bytes.len() as u64);
    }

    #[test]
    fn fields_begin_and_end_where_parts_do(message in prop_oneof![message(), bulky()]) {
        let parts = message.layout();
        let edges: Vec<u64> =
            parts.iter().map(|part| part.start + part.length).chain([0]).collect();
        for field in message.describe(None).fields {
            let (start, length) = field.at;
            prop_assert!(length == 0 || edges.contains(&start), "{field:?} in {parts:?}");
            let is_bulk = start + length > edges.iter().copied().max().unwrap_or(0);
            prop_assert!(is_bulk || length == 0 || edges.contains(&(start + length)), "{field:?}");
        }
    }
}
