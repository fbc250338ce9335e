//! From a name and named fields to a message: the inverse of [`crate::describe`].
//!
//! A field that is not given has its lawful default, unless nothing can be guessed. Three things
//! that a line may say are not part of a message, because they are lies about it: a `magic` and an
//! announced `length` of its own, and data of another length than the header tells. [`Built`]
//! carries them beside it.

use crate::describe::Value;
use crate::message::{
    Chunk, ChunkBody, ChunkForm, Cookie, ExportInfo, Greeting, Info, Message, OptionBody,
    OptionReply, OptionRequest, Padding, ReplyBody, Request, RequestForm, Side, SimpleReply,
    StatusPayload,
};
use crate::notation::vocabulary::{Head, VariantKind};
use crate::payload::Payload;
use crate::values::{
    ChunkType, ClientFlags, Command, CommandFlags, DEFAULT_MAXIMUM_PAYLOAD, ErrorCode,
    HandshakeFlags, InfoType, OptionType, ReplyFlags, ReplyType, TransmissionFlags,
};

mod constant;
mod error;
mod fields;
#[cfg(test)]
mod tests;

pub use constant::{at, build_line, constant, parse_line};
pub use error::{Blame, BuildError};

use fields::{Data, Fields};

/// What the conversation so far adds to a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Context {
    /// Extended headers are in force: requests and chunks without `form` have them.
    pub extended: bool,
    /// For a request or reply without `cookie`.
    pub cookie: Option<Cookie>,
    /// For an option reply without `option`.
    pub option: Option<OptionType>,
    /// For an extended chunk without `request-offset`.
    pub request_offset: Option<u64>,
    /// The answer to `NBD_OPT_EXPORT_NAME` without `padding` has its 124 zeroes.
    pub padded: bool,
}

/// A message, and what a line says beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The message.
    pub message: Message,
    /// The bulk that follows it. Its length can differ from [`Message::bulk`].
    pub payload: Option<Payload>,
    /// The length that the header announces instead of the true one: of an option, an option reply
    /// or a chunk.
    pub announced_length: Option<u64>,
    /// The magic instead of the lawful one.
    pub magic: Option<u64>,
}

impl Built {
    fn new(message: Message) -> Self {
        Self { message, payload: None, announced_length: None, magic: None }
    }

    /// The message as it goes on the wire, with its own magic and announced length, up to its bulk.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.message.to_bytes();
        if let Some(magic) = self.magic {
            match &self.message {
                Message::Option(_) | Message::OptionReply(_) => {
                    bytes[..8].copy_from_slice(&magic.to_be_bytes());
                }
                _ => bytes[..4].copy_from_slice(&(magic as u32).to_be_bytes()),
            }
        }
        if let Some(length) = self.announced_length {
            let short = (length as u32).to_be_bytes();
            match &self.message {
                Message::Option(_) => bytes[12..16].copy_from_slice(&short),
                Message::OptionReply(_) => bytes[16..20].copy_from_slice(&short),
                Message::Chunk(Chunk { form: ChunkForm::Structured, .. }) => {
                    bytes[16..20].copy_from_slice(&short);
                }
                Message::Chunk(_) => bytes[24..32].copy_from_slice(&length.to_be_bytes()),
                _ => {}
            }
        }
        bytes
    }

    /// Where in the export the first byte of the bulk belongs, for [`Payload::fill`].
    #[must_use]
    pub fn payload_offset(&self) -> u64 {
        match &self.message {
            Message::Request(request) => request.offset,
            Message::Chunk(Chunk { body: ChunkBody::Data { offset, .. }, .. }) => *offset,
            _ => 0,
        }
    }
}

type Result<T> = std::result::Result<T, BuildError>;

/// Makes the message that `side` says with these words and fields.
///
/// # Errors
/// The words name no message, or a field is unknown, missing, of another type or out of range.
pub fn build(
    side: Side,
    head: &str,
    variant: Option<&str>,
    fields: &[(String, Value)],
    context: &Context,
) -> Result<Built> {
    let Some(kind) = Head::find(head) else {
        let help = Head::did_you_mean(head);
        return Err(BuildError::UnknownHead { head: head.to_owned(), help });
    };
    if let Some(speaker) = kind.side()
        && speaker != side
    {
        return Err(BuildError::WrongSide { head: head.to_owned(), side: speaker.name() });
    }
    check_variant(head, kind, variant)?;
    let fields = Fields::new(head, kind, variant, fields)?;
    let mut built = match kind {
        Head::Greeting => greeting(variant.unwrap_or_default(), &fields)?,
        Head::ClientFlags => {
            let flags = ClientFlags(fields.flags("flags")?.unwrap_or(0) as u32);
            Built::new(Message::ClientFlags(flags))
        }
        Head::Option(option) => option_request(option, &fields)?,
        Head::OptionReply(reply) => option_reply(reply, variant, &fields, context)?,
        Head::ExportInfo => export_info(&fields, context)?,
        Head::Request(command) => request(command, &fields, context)?,
        Head::SimpleReply => simple_reply(variant.unwrap_or_default(), &fields, context)?,
        Head::Chunk(chunk) => self::chunk(chunk, &fields, context)?,
        Head::AnyError | Head::Reply | Head::Bytes | Head::End => {
            return Err(BuildError::NotAMessage { head: head.to_owned() });
        }
    };
    built.magic = fields.int("magic")?;
    if !matches!(built.message, Message::Request(_)) {
        built.announced_length = fields.int("length")?;
    }
    Ok(built)
}

fn check_variant(word: &str, head: Head, variant: Option<&str>) -> Result<()> {
    let kind = head.variant();
    match variant {
        Some(variant) if !kind.accepts(variant) => Err(BuildError::UnknownVariant {
            variant: variant.to_owned(),
            wanted: kind.wanted(),
            help: crate::notation::error::did_you_mean(variant, kind.words()),
        }),
        None if matches!(kind, VariantKind::Style | VariantKind::Error) => {
            Err(BuildError::MissingVariant { head: word.to_owned(), wanted: kind.wanted() })
        }
        _ => Ok(()),
    }
}

fn greeting(style: &str, fields: &Fields<'_>) -> Result<Built> {
    let greeting = match style {
        "oldstyle" => Greeting::Oldstyle {
            size: fields.need("size", fields.int("size"))?,
            flags: transmission_flags(fields)?,
            handshake_flags: HandshakeFlags(fields.flags16("handshake-flags")?.unwrap_or(0)),
            padding: fields.padding()?.unwrap_or(Padding::Zeroes),
        },
        _ => {
            let flags = HandshakeFlags(fields.flags16("flags")?.unwrap_or(0));
            let fixed = if style == "newstyle" {
                HandshakeFlags::EMPTY
            } else {
                HandshakeFlags::FIXED_NEWSTYLE
            };
            Greeting::Newstyle { flags: flags.with(fixed) }
        }
    };
    Ok(Built::new(Message::Greeting(greeting)))
}

fn transmission_flags(fields: &Fields<'_>) -> Result<TransmissionFlags> {
    Ok(fields.flags16("flags")?.map_or(TransmissionFlags::HAS_FLAGS, TransmissionFlags))
}

fn export_info(fields: &Fields<'_>, context: &Context) -> Result<Built> {
    let default = if context.padded { Padding::Zeroes } else { Padding::Absent };
    Ok(Built::new(Message::ExportInfo(ExportInfo {
        size: fields.need("size", fields.int("size"))?,
        flags: transmission_flags(fields)?,
        padding: fields.padding()?.unwrap_or(default),
    })))
}

fn option_request(option: OptionType, fields: &Fields<'_>) -> Result<Built> {
    let mut payload = None;
    let body = match (fields.data(u64::from(u32::MAX))?, option) {
        (Some(data), _) => {
            for key in ["name", "info", "queries"] {
                fields.refuse(key, "`data` is the whole data of the option")?;
            }
            match data {
                Data::Raw(bytes) => OptionBody::Raw(bytes),
                Data::Bulk(bulk) => {
                    let length = bulk.length() as u32;
                    payload = Some(bulk);
                    OptionBody::Bulk(length)
                }
            }
        }
        (None, OptionType::EXPORT_NAME) => {
            OptionBody::Name(fields.need("name", fields.text("name"))?)
        }
        (None, OptionType::INFO | OptionType::GO) => OptionBody::Info {
            name: fields.need("name", fields.text("name"))?,
            requests: fields.infos("info")?.unwrap_or_default(),
        },
        (None, OptionType::LIST_META_CONTEXT | OptionType::SET_META_CONTEXT) => OptionBody::Meta {
            export: fields.need("name", fields.text("name"))?,
            queries: fields.texts("queries")?.unwrap_or_default(),
        },
        (None, _) => OptionBody::Empty,
    };
    let message = Message::Option(OptionRequest { option, body });
    Ok(Built { payload, ..Built::new(message) })
}

fn option_reply(
    reply: ReplyType,
    variant: Option<&str>,
    fields: &Fields<'_>,
    context: &Context,
) -> Result<Built> {
    let option = fields.option("option").map(|option| option.or(context.option));
    let option = fields.need("option", option)?;
    let mut payload = None;
    let info = variant.and_then(|word| word.parse::<InfoType>().ok());
    let body = match (fields.data(u64::from(u32::MAX))?, info) {
        (Some(data), info) => {
            const KEYS: &[&str] = &[
                "name",
                "description",
                "size",
                "flags",
                "minimum",
                "preferred",
                "maximum",
                "id",
                "message",
            ];
            for key in KEYS {
                fields.refuse(key, "`data` is the whole data of the reply")?;
            }
            match (data, info) {
                (Data::Raw(data), Some(info)) => ReplyBody::Info(Info::Raw { info, data }),
                (Data::Raw(data), None) => ReplyBody::Raw(data),
                (Data::Bulk(_), Some(_)) => {
                    let why = "after an information type only `hex` can stand";
                    return Err(BuildError::Conflict { key: "data".to_owned(), why });
                }
                (Data::Bulk(bulk), None) => {
                    let length = bulk.length() as u32;
                    payload = Some(bulk);
                    ReplyBody::Bulk(length)
                }
            }
        }
        (None, Some(info)) => ReplyBody::Info(self::info(info, fields)?),
        (None, None) => reply_body(reply, fields)?,
    };
    let message = Message::OptionReply(OptionReply { option, reply, body });
    Ok(Built { payload, ..Built::new(message) })
}

fn info(info: InfoType, fields: &Fields<'_>) -> Result<Info> {
    Ok(match info {
        InfoType::EXPORT => Info::Export {
            size: fields.need("size", fields.int("size"))?,
            flags: transmission_flags(fields)?,
        },
        InfoType::NAME => Info::Name(fields.need("name", fields.text("name"))?),
        InfoType::DESCRIPTION => {
            Info::Description(fields.need("description", fields.text("description"))?)
        }
        InfoType::BLOCK_SIZE => Info::BlockSize {
            minimum: fields.u32("minimum")?.unwrap_or(1),
            preferred: fields.u32("preferred")?.unwrap_or(4096),
            maximum: fields.u32("maximum")?.unwrap_or(DEFAULT_MAXIMUM_PAYLOAD),
        },
        _ => Info::Raw { info, data: Vec::new() },
    })
}

fn reply_body(reply: ReplyType, fields: &Fields<'_>) -> Result<ReplyBody> {
    Ok(match reply {
        ReplyType::SERVER => ReplyBody::Server {
            name: fields.need("name", fields.text("name"))?,
            description: fields.text("description")?.unwrap_or_default(),
        },
        ReplyType::INFO => {
            let wanted = VariantKind::Info.wanted();
            return Err(BuildError::MissingVariant { head: reply.to_string(), wanted });
        }
        ReplyType::META_CONTEXT => ReplyBody::MetaContext {
            id: fields.need("id", fields.u32("id"))?,
            name: fields.need("name", fields.text("name"))?,
        },
        reply if reply.is_error() => match fields.text("message")? {
            Some(message) if !message.is_empty() => ReplyBody::Message(message),
            _ => ReplyBody::Empty,
        },
        _ => ReplyBody::Empty,
    })
}

fn cookie(fields: &Fields<'_>, context: &Context) -> Result<Cookie> {
    let cookie = fields.int("cookie").map(|cookie| cookie.map(Cookie).or(context.cookie));
    fields.need("cookie", cookie)
}

fn request(command: Command, fields: &Fields<'_>, context: &Context) -> Result<Built> {
    let extended = fields.extended()?.unwrap_or(context.extended);
    let mut flags = CommandFlags(fields.flags16("flags")?.unwrap_or(0));
    let payload = fields.payload("data")?;
    let status = status_payload(fields)?;
    // A write that spells everything out means it: some clients leave PAYLOAD_LEN out.
    let literal =
        command == Command::WRITE && ["form", "flags", "length"].iter().all(|key| fields.has(key));
    if extended && !literal && (payload.is_some() || status.is_some()) {
        flags = flags.with(CommandFlags::PAYLOAD_LEN);
    }
    if !extended && command != Command::WRITE {
        fields.refuse("data", "only a write has a payload in the compact form")?;
        fields.refuse("effect-length", "only an extended request carries it")?;
    }
    let default = match (&payload, &status, command) {
        (Some(payload), ..) => Some(payload.length()),
        (None, Some(status), _) => Some(8 + 4 * status.ids.len() as u64),
        (
            None,
            None,
            Command::READ
            | Command::WRITE
            | Command::TRIM
            | Command::CACHE
            | Command::WRITE_ZEROES
            | Command::BLOCK_STATUS,
        ) => None,
        _ => Some(0),
    };
    let missing = if command == Command::WRITE { "data" } else { "length" };
    let length = fields.int("length").map(|length| length.or(default));
    let length = fields.need(missing, length)?;
    let limit = u64::from(u32::MAX);
    if !extended && length > limit {
        return Err(BuildError::TooLarge { key: "length".to_owned(), value: length, limit });
    }
    let request = Request {
        form: if extended { RequestForm::Extended } else { RequestForm::Compact },
        flags,
        command,
        cookie: cookie(fields, context)?,
        offset: fields.int("offset")?.unwrap_or(0),
        length,
        status,
    };
    if request.payload_length() > 0 && payload.is_none() && request.status.is_none() {
        return fields.need("data", Ok(None));
    }
    Ok(Built { payload, ..Built::new(Message::Request(request)) })
}

/// The payload of `NBD_CMD_BLOCK_STATUS`, if the line gives one.
fn status_payload(fields: &Fields<'_>) -> Result<Option<StatusPayload>> {
    let ids = fields.ids("ids")?;
    if ids.is_none() && !fields.has("effect-length") {
        return Ok(None);
    }
    fields.refuse("data", "`effect-length` and `ids` are the whole payload")?;
    let effect_length = fields.need("effect-length", fields.int("effect-length"))?;
    Ok(Some(StatusPayload { effect_length, ids: ids.unwrap_or_default() }))
}

fn simple_reply(error: &str, fields: &Fields<'_>, context: &Context) -> Result<Built> {
    // The second word was checked to be an error value.
    let error = error.parse().unwrap_or(ErrorCode::OK);
    let message = Message::SimpleReply(SimpleReply { error, cookie: cookie(fields, context)? });
    Ok(Built { payload: fields.payload("data")?, ..Built::new(message) })
}

fn chunk(chunk: ChunkType, fields: &Fields<'_>, context: &Context) -> Result<Built> {
    let form = if fields.extended()?.unwrap_or(context.extended) {
        let offset = fields.int("request-offset").map(|offset| offset.or(context.request_offset));
        ChunkForm::Extended { offset: fields.need("request-offset", offset)? }
    } else {
        fields.refuse("request-offset", "only an extended chunk has it")?;
        ChunkForm::Structured
    };
    let default = if chunk == ChunkType::NONE { ReplyFlags::DONE } else { ReplyFlags::EMPTY };
    let flags = fields.flags16("flags")?.map_or(default, ReplyFlags);
    let cookie = cookie(fields, context)?;
    let (body, payload) = chunk_body(chunk, form, fields)?;
    let message = Message::Chunk(Chunk { form, flags, chunk, cookie, body });
    Ok(Built { payload, ..Built::new(message) })
}

fn chunk_body(
    chunk: ChunkType,
    form: ChunkForm,
    fields: &Fields<'_>,
) -> Result<(ChunkBody, Option<Payload>)> {
    let limit = match form {
        ChunkForm::Structured => u64::from(u32::MAX) - 8,
        ChunkForm::Extended { .. } => u64::MAX - 8,
    };
    if chunk == ChunkType::OFFSET_DATA
        && let Some(offset) = fields.int("offset")?
    {
        let data = fields.need("data", fields.payload("data"))?;
        let length = data.length();
        if length > limit {
            return Err(BuildError::TooLarge { key: "data".to_owned(), value: length, limit });
        }
        return Ok((ChunkBody::Data { offset, length }, Some(data)));
    }
    let is_error = chunk.is_error() && fields.has("error");
    if let Some(data) = fields.data(limit)?
        && !is_error
    {
        for key in ["offset", "size", "id", "count", "extents", "message"] {
            fields.refuse(key, "`data` is the whole payload of the chunk")?;
        }
        // Without an offset there is no room for data: more than 8 bytes would have one.
        return match data {
            Data::Raw(bytes) if chunk != ChunkType::OFFSET_DATA || bytes.len() <= 8 => {
                Ok((ChunkBody::Raw(bytes), None))
            }
            Data::Bulk(bulk) if chunk != ChunkType::OFFSET_DATA => {
                Ok((ChunkBody::Bulk(bulk.length()), Some(bulk)))
            }
            _ => fields.need("offset", Ok(None)),
        };
    }
    let body = match chunk {
        ChunkType::OFFSET_DATA => return fields.need("offset", Ok(None)),
        ChunkType::OFFSET_HOLE => ChunkBody::Hole {
            offset: fields.need("offset", fields.int("offset"))?,
            size: fields.need("size", fields.u32("size"))?,
        },
        ChunkType::BLOCK_STATUS => ChunkBody::BlockStatus {
            id: fields.need("id", fields.u32("id"))?,
            extents: fields.need("extents", fields.extents("extents", u64::from(u32::MAX)))?,
        },
        ChunkType::BLOCK_STATUS_EXT => {
            let extents = fields.need("extents", fields.extents("extents", u64::MAX))?;
            let count = u32::try_from(extents.len()).unwrap_or(u32::MAX);
            ChunkBody::BlockStatusExt {
                id: fields.need("id", fields.u32("id"))?,
                count: fields.u32("count")?.unwrap_or(count),
                extents,
            }
        }
        chunk if chunk.is_error() => ChunkBody::Error {
            error: fields.need("error", fields.error("error"))?,
            message: fields.text("message")?.unwrap_or_default(),
            offset: match chunk {
                ChunkType::ERROR_OFFSET => Some(fields.need("offset", fields.int("offset"))?),
                _ => None,
            },
            rest: match fields.data(limit)? {
                None => Vec::new(),
                Some(Data::Raw(bytes)) => bytes,
                Some(Data::Bulk(_)) => {
                    let why = "after an error only `hex` can stand";
                    return Err(BuildError::Conflict { key: "data".to_owned(), why });
                }
            },
        },
        _ => ChunkBody::Empty,
    };
    Ok((body, None))
}
