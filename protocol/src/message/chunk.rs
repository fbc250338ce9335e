//! Chunks of structured and extended replies (sections "Structured reply chunk message" and
//! "Extended reply chunk message").

use super::cookie::Cookie;
use super::extent::Extent;
use super::parts::{
    COOKIE, Count, DATA, Fallback, Grammar, Held, LENGTH, Part, Show, Source, Words, bodies, part,
};
use crate::build::{Context, Data, Fields, Made, at_most};
use crate::cursor::{
    BadMagic, Cursor, Decoded, LayoutError, Limits, Step, be16, be32, be64, first, in_memory, low32,
};
use crate::describe::Kind;
use crate::text::WireString;
use crate::values::{
    ChunkType, EXTENDED_REPLY_MAGIC, ErrorCode, ReplyFlags, STRUCTURED_REPLY_MAGIC,
};

/// The two forms of chunk header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChunkForm {
    /// 20 bytes (section "Structured reply chunk message").
    Structured,
    /// 32 bytes (extension "extended headers").
    Extended {
        /// The request's offset, repeated.
        offset: u64,
    },
}

/// A chunk of a structured or extended reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Which header.
    pub form: ChunkForm,
    /// Reply flags.
    pub flags: ReplyFlags,
    /// What it carries.
    pub chunk: ChunkType,
    /// The request's.
    pub cookie: Cookie,
    /// The payload.
    pub body: ChunkBody,
}

const FLAGS: Part = part("flags").or(Fallback::Blank);
const REQUEST_OFFSET: Part = part("request-offset").on_wire("request offset");
const OFFSET: Part = part("offset");
const CONTEXT: Part = part("id").is("context id");
const ERROR: Part = part("error");
const MESSAGE: Part = part("message").counted(2, "message length").optional();
const AFTER_ERROR: Part = part("data").optional();

bodies! {
    /// The payload of a chunk.
    pub enum ChunkBody of ChunkType {
        /// `NBD_REPLY_TYPE_OFFSET_HOLE`.
        ChunkType::OFFSET_HOLE => Hole {
            /// Where the hole begins, in bytes from the start of the export.
            offset: u64 = OFFSET,
            /// Its size in bytes.
            size: u32 = part("size").is("hole size"),
        };
        /// `NBD_REPLY_TYPE_BLOCK_STATUS`.
        ChunkType::BLOCK_STATUS => BlockStatus {
            /// The context.
            id: u32 = CONTEXT,
            /// Each with a 32-bit length and status; not empty.
            extents: Vec<Extent> = part("extents").on_wire("extent"),
        };
        /// `NBD_REPLY_TYPE_BLOCK_STATUS_EXT`.
        ChunkType::BLOCK_STATUS_EXT => BlockStatusExt {
            /// The context.
            id: u32 = CONTEXT,
            /// The number of extents that the chunk claims.
            count: u32 = part("count").is("extent count").or(Fallback::CountOf("extents")),
            /// Each with a 64-bit length and status; may be empty when `count` lies.
            extents: Vec<Extent> = part("extents").on_wire("extent").wide(),
        };
    } or {
        /// No payload.
        Empty,
        /// `NBD_REPLY_TYPE_OFFSET_DATA`; `length` bytes of data follow as bulk.
        Data {
            /// Where the data belongs, in bytes from the start of the export.
            offset: u64,
            /// How much data, in bytes; not 0.
            length: u64,
        },
        /// Any error chunk whose common fields fit.
        Error {
            /// Why.
            error: ErrorCode,
            /// A text for people; may be empty.
            message: WireString,
            /// Where; only in `NBD_REPLY_TYPE_ERROR_OFFSET`.
            offset: Option<u64>,
            /// What follows; empty in the known types if well-formed.
            rest: Vec<u8>,
        },
        /// Payload of an unknown type, or that does not have its type's layout.
        Raw(Vec<u8>),
        /// As many bytes of payload follow as bulk: more than the decoder was allowed to keep.
        Bulk(u64),
    }
}

impl ChunkBody {
    /// Asks for the parts of an error chunk, known or not.
    fn of_error<S: Source>(chunk: ChunkType, from: &mut S) -> Result<Self, S::Error> {
        Ok(Self::Error {
            error: from.part(&ERROR)?,
            message: from.part(&MESSAGE)?,
            offset: match chunk {
                ChunkType::ERROR_OFFSET => Some(from.part(&OFFSET)?),
                _ => None,
            },
            rest: from.part(&AFTER_ERROR)?,
        })
    }

    /// Asks for the parts of any chunk but of data.
    fn of<S: Source>(chunk: ChunkType, from: &mut S) -> Result<Option<Self>, S::Error> {
        if chunk.is_error() {
            Self::of_error(chunk, from).map(Some)
        } else {
            Self::of_type(chunk, from)
        }
    }

    /// Appends the payload of the chunk, without its length and bulk.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.show(out);
    }

    fn show(&self, to: &mut impl Show) {
        match self {
            Self::Data { offset, length } => {
                to.part(&OFFSET, offset);
                to.bulk(*length);
            }
            Self::Error { error, message, offset, rest } => {
                to.part(&ERROR, error);
                to.part(&MESSAGE, message);
                if let Some(offset) = offset {
                    to.part(&OFFSET, offset);
                }
                to.part(&AFTER_ERROR, rest);
            }
            Self::Raw(data) => to.part(&DATA, data),
            Self::Bulk(length) => to.bulk(*length),
            _ => self.show_parts(to),
        }
    }
}

impl Chunk {
    pub(super) fn show(&self, to: &mut impl Show) {
        let mut length = Count::default();
        self.body.show(&mut length);
        let extended = matches!(self.form, ChunkForm::Extended { .. });
        to.form(if extended { EXTENDED_REPLY_MAGIC } else { STRUCTURED_REPLY_MAGIC }, extended);
        to.part(&FLAGS, &self.flags);
        to.word("type", &self.chunk.0.to_be_bytes(), self.chunk);
        to.part(&COOKIE, &self.cookie);
        match self.form {
            ChunkForm::Structured => to.part(&LENGTH, &low32(length.0)),
            ChunkForm::Extended { offset } => {
                to.part(&REQUEST_OFFSET, &offset);
                to.part(&LENGTH, &length.0);
            }
        }
        self.body.show(to);
    }

    pub(super) fn words(&self) -> Words {
        let kind = match self.form {
            ChunkForm::Structured => Kind::Chunk,
            ChunkForm::Extended { .. } => Kind::ExtendedChunk,
        };
        Words(kind, self.chunk.label(), None)
    }
}

/// Decodes a chunk, structured or extended by its magic. Read data is bulk.
///
/// # Errors
/// The magic is neither of the two.
#[inline]
pub(crate) fn decode(bytes: &[u8], limits: Limits) -> Decoded<Chunk> {
    let magic = u32::from_be_bytes(first!(bytes, 4));
    let (size, extended) = match magic {
        STRUCTURED_REPLY_MAGIC => (20, false),
        EXTENDED_REPLY_MAGIC => (32, true),
        _ => {
            let found = u64::from(magic);
            return Err(BadMagic { expected: "a reply magic", found, bytes: 4, at: 0 });
        }
    };
    let Some(header) = bytes.get(..size) else {
        return Ok(Step::Need(size - bytes.len()));
    };
    let chunk = ChunkType(be16(header, 6));
    let (form, length) = if extended {
        (ChunkForm::Extended { offset: be64(header, 16) }, be64(header, 24))
    } else {
        (ChunkForm::Structured, u64::from(be32(header, 16)))
    };
    let ready = |body, taken| {
        let chunk = Chunk {
            form,
            flags: ReplyFlags(be16(header, 4)),
            chunk,
            cookie: Cookie(be64(header, 8)),
            body,
        };
        Ok(Step::Ready(chunk, taken))
    };
    if chunk == ChunkType::OFFSET_DATA && length > 8 {
        return match bytes.get(size..size + 8) {
            Some(offset) => {
                ready(ChunkBody::Data { offset: be64(offset, 0), length: length - 8 }, size + 8)
            }
            None => Ok(Step::Need(size + 8 - bytes.len())),
        };
    }
    if length > u64::from(limits.chunk) {
        return ready(ChunkBody::Bulk(length), size);
    }
    let total = size + in_memory(length);
    let Some(data) = bytes.get(size..total) else {
        return Ok(Step::Need(total - bytes.len()));
    };
    ready(body(chunk, data).unwrap_or_else(|_| ChunkBody::Raw(data.to_vec())), total)
}

pub(crate) fn body(chunk: ChunkType, data: &[u8]) -> Result<ChunkBody, LayoutError> {
    let mut from = Cursor::new(data, "chunk length");
    match chunk {
        ChunkType::NONE => return from.end("NBD_REPLY_TYPE_NONE").map(|()| ChunkBody::Empty),
        // With data it does not come here.
        ChunkType::OFFSET_DATA => return from.short("NBD_REPLY_TYPE_OFFSET_DATA", 9),
        _ => {}
    }
    match ChunkBody::of(chunk, &mut from)? {
        Some(body) => from.end(chunk.name().unwrap_or("chunk")).map(|()| body),
        None if data.is_empty() => Ok(ChunkBody::Empty),
        None => Ok(ChunkBody::Raw(data.to_vec())),
    }
}

/// The fields that the payload of a chunk gives to a line.
fn own(chunk: ChunkType) -> Grammar {
    match chunk {
        ChunkType::OFFSET_DATA => Grammar::of(|own| own.part::<u64>(&OFFSET)),
        _ => Grammar::of(|own| ChunkBody::of(chunk, own)),
    }
}

/// The fields of a line about this chunk.
pub(crate) fn fields(chunk: ChunkType) -> Grammar {
    let mut fields = Grammar::default();
    fields.form();
    fields.add_part::<Cookie>(&COOKIE);
    fields.add_part::<ReplyFlags>(&FLAGS);
    fields.add_part::<u64>(&REQUEST_OFFSET);
    fields.extend(own(chunk));
    fields.data_and_lies(Some(u64::KIND), u32::KIND);
    fields
}

/// What a line about this chunk says.
pub(crate) fn build(chunk: ChunkType, fields: &mut Fields<'_>, context: &Context) -> Made<Chunk> {
    let form = if fields.extended()?.unwrap_or(context.extended) {
        ChunkForm::Extended { offset: fields.part_or(&REQUEST_OFFSET, context.request_offset)? }
    } else {
        fields.refuse(REQUEST_OFFSET.key, "only an extended chunk has it")?;
        ChunkForm::Structured
    };
    let default = if chunk == ChunkType::NONE { ReplyFlags::DONE } else { ReplyFlags::EMPTY };
    let flags = fields.find(&FLAGS)?.unwrap_or(default);
    let cookie = fields.part_or(&COOKIE, context.cookie)?;
    let limit = match form {
        ChunkForm::Structured => u64::from(u32::MAX) - 8,
        ChunkForm::Extended { .. } => u64::MAX - 8,
    };
    let (body, payload) = match chunk {
        ChunkType::OFFSET_DATA => build_data(fields, limit)?,
        _ => build_body(chunk, fields, limit)?,
    };
    Ok((Chunk { form, flags, chunk, cookie, body }, payload))
}

const WHOLE: &str = "`data` is the whole payload of the chunk";

/// The payload of `NBD_REPLY_TYPE_OFFSET_DATA`.
fn build_data(fields: &mut Fields<'_>, limit: u64) -> Made<ChunkBody> {
    let Some(offset) = fields.find(&OFFSET)? else {
        return match fields.data(limit)? {
            // More than 8 bytes would have an offset, and data.
            Some(Data::Raw(bytes)) if bytes.len() <= 8 => Ok((ChunkBody::Raw(bytes), None)),
            _ => Err(fields.missing(OFFSET.key)),
        };
    };
    let Some(data) = fields.payload()? else { return Err(fields.missing(DATA.key)) };
    let length = at_most(DATA.key, data.length(), limit)?;
    Ok((ChunkBody::Data { offset, length }, Some(data)))
}

/// The payload of any other chunk.
fn build_body(chunk: ChunkType, fields: &mut Fields<'_>, limit: u64) -> Made<ChunkBody> {
    if chunk.is_error() && fields.has(ERROR.key) {
        return Ok((ChunkBody::of_error(chunk, fields)?, None));
    }
    Ok(match fields.whole_data(&own(chunk), limit, WHOLE)? {
        Some(Data::Raw(bytes)) => (ChunkBody::Raw(bytes), None),
        Some(Data::Bulk(bulk)) => (ChunkBody::Bulk(bulk.length()), Some(bulk)),
        None => (ChunkBody::of(chunk, fields)?.unwrap_or(ChunkBody::Empty), None),
    })
}
