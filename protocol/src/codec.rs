//! From bytes to messages and back.
//!
//! Decoders are given the bytes that have come and answer one of three things: how many more are
//! needed, a message and how many bytes it took, or what is wrong and where. They keep no state;
//! which message comes next is the session's knowledge.
//!
//! A message whose own length field delimits it never fails to decode: data that does not have the
//! layout of its type comes back raw, so that it can be shown, and [`layout_error`] says why. Only
//! a wrong magic is an error, because the stream can't be followed after it.

use crate::message::{
    Chunk, ChunkBody, ChunkForm, Cookie, ExportInfo, Extent, Greeting, Info, Message, OptionBody,
    OptionReply, OptionRequest, Padding, ReplyBody, Request, RequestForm, SimpleReply,
    StatusPayload,
};
use crate::text::WireString;
use crate::values::{
    ChunkType, ClientFlags, Command, CommandFlags, EXTENDED_REPLY_MAGIC, EXTENDED_REQUEST_MAGIC,
    ErrorCode, HISTORIC_MAGICS, HandshakeFlags, INIT_MAGIC, InfoType, OLDSTYLE_MAGIC, OPTION_MAGIC,
    OPTION_REPLY_MAGIC, OptionType, REQUEST_MAGIC, ReplyFlags, ReplyType, SIMPLE_REPLY_MAGIC,
    STRUCTURED_REPLY_MAGIC, TransmissionFlags,
};

/// How much of a message a decoder may keep; what is longer becomes bulk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Option data and option reply data, in bytes.
    pub option: u32,
    /// Chunk payload other than read data, in bytes. The specification's 2^20 extents in their
    /// 64-bit form need 16 MiB and 8 bytes.
    pub chunk: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { option: 128 << 10, chunk: (16 << 20) + 8 }
    }
}

/// What a decoder found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<T> {
    /// At least this many more bytes are needed; not 0.
    Need(usize),
    /// A message, and how many bytes it took. Its bulk, if any, comes next.
    Ready(T, usize),
}

impl<T> Step<T> {
    /// The same step with the message changed.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Step<U> {
        match self {
            Self::Need(more) => Step::Need(more),
            Self::Ready(message, taken) => Step::Ready(change(message), taken),
        }
    }
}

/// The stream can't be followed: no message that may stand here begins with these bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected {expected}, found magic {found:#0width$x} at byte {at}{}",
    self.looks_like(),
    width = bytes * 2 + 2
)]
pub struct BadMagic {
    /// What should have stood there.
    pub expected: &'static str,
    /// What stood there, in its low bytes.
    pub found: u64,
    /// How many bytes of it were read: 4 or 8.
    pub bytes: usize,
    /// Where, from the start of the message.
    pub at: usize,
}

impl BadMagic {
    /// Whether the magic is one of the three of the past.
    #[must_use]
    pub fn is_historic(&self) -> bool {
        self.bytes == 4 && HISTORIC_MAGICS.iter().any(|magic| u64::from(*magic) == self.found)
    }

    /// What it is, if it is one of the things that are taken for NBD by mistake.
    fn looks_like(&self) -> &'static str {
        // Content type and version of a TLS record.
        match self.found >> (self.bytes * 8).saturating_sub(24) {
            0x16_0300 => ", the beginning of an SSL 3.0 handshake",
            0x16_0301 => ", the beginning of a TLS handshake record of version 1.0",
            0x16_0302 => ", the beginning of a TLS handshake record of version 1.1",
            0x16_0303 => ", the beginning of a TLS handshake record of version 1.2",
            0x15_0300..=0x15_0303 => ", the beginning of a TLS alert",
            _ => "",
        }
    }
}

/// Data does not have the layout that its type demands; the message itself is delimited, so the
/// stream goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} needs {needed} bytes, {promised_by} gives {had}")]
pub struct LayoutError {
    /// The field or structure that did not fit.
    pub what: &'static str,
    /// How many bytes it needs.
    pub needed: u64,
    /// How many bytes there were for it.
    pub had: u64,
    /// Which length field promised them.
    pub promised_by: &'static str,
    /// Where the misfit field begins, from the start of the data.
    pub at: usize,
}

/// The result of a decoder that checks a magic.
pub type Decoded<T> = Result<Step<T>, BadMagic>;

/// Reads big-endian integers; knows where it is.
#[derive(Clone)]
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    promised_by: &'static str,
}

impl<'a> Cursor<'a> {
    fn new(bytes: &'a [u8], promised_by: &'static str) -> Self {
        Self { bytes, at: 0, promised_by }
    }

    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], LayoutError> {
        let taken = self.at.checked_add(count).and_then(|end| self.bytes.get(self.at..end)).ok_or(
            LayoutError {
                what,
                needed: count as u64,
                had: self.left() as u64,
                promised_by: self.promised_by,
                at: self.at,
            },
        )?;
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], LayoutError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N, what)?);
        Ok(out)
    }

    fn u16(&mut self, what: &'static str) -> Result<u16, LayoutError> {
        self.array(what).map(u16::from_be_bytes)
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, LayoutError> {
        self.array(what).map(u32::from_be_bytes)
    }

    fn u64(&mut self, what: &'static str) -> Result<u64, LayoutError> {
        self.array(what).map(u64::from_be_bytes)
    }

    fn string(&mut self, length: usize, what: &'static str) -> Result<WireString, LayoutError> {
        self.take(length, what).map(WireString::from)
    }

    fn rest(&mut self) -> &'a [u8] {
        let rest = &self.bytes[self.at..];
        self.at = self.bytes.len();
        rest
    }

    fn end(&self, what: &'static str) -> Result<(), LayoutError> {
        if self.left() == 0 {
            return Ok(());
        }
        Err(LayoutError {
            what,
            needed: self.at as u64,
            had: self.bytes.len() as u64,
            promised_by: self.promised_by,
            at: self.at,
        })
    }
}

/// The first bytes as an array, or how many are missing.
fn head<const N: usize>(bytes: &[u8]) -> Result<[u8; N], usize> {
    match bytes.first_chunk::<N>() {
        Some(head) => Ok(*head),
        None => Err(N - bytes.len()),
    }
}

macro_rules! head {
    ($bytes:expr, $n:literal) => {
        match head::<$n>($bytes) {
            Ok(head) => head,
            Err(more) => return Ok(Step::Need(more)),
        }
    };
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    (u32::from(be16(bytes, at)) << 16) | u32::from(be16(bytes, at + 2))
}

fn be64(bytes: &[u8], at: usize) -> u64 {
    (u64::from(be32(bytes, at)) << 32) | u64::from(be32(bytes, at + 4))
}

fn padding(bytes: &[u8; 124]) -> Padding {
    if bytes.iter().all(|b| *b == 0) { Padding::Zeroes } else { Padding::Other(Box::new(*bytes)) }
}

/// Decodes the server's first message.
///
/// # Errors
/// The first magic is not `NBDMAGIC`, or the second is neither oldstyle's nor newstyle's. Both are
/// told as soon as the magic has come.
pub fn greeting(bytes: &[u8]) -> Decoded<Greeting> {
    let first = u64::from_be_bytes(head!(bytes, 8));
    if first != INIT_MAGIC {
        return Err(BadMagic { expected: "NBDMAGIC", found: first, bytes: 8, at: 0 });
    }
    let both = head!(bytes, 16);
    match be64(&both, 8) {
        OPTION_MAGIC => {
            let all = head!(bytes, 18);
            let flags = HandshakeFlags(be16(&all, 16));
            Ok(Step::Ready(Greeting::Newstyle { flags }, 18))
        }
        OLDSTYLE_MAGIC => {
            let all = head!(bytes, 152);
            let mut tail = [0; 124];
            tail.copy_from_slice(&all[28..]);
            let greeting = Greeting::Oldstyle {
                size: be64(&all, 16),
                handshake_flags: HandshakeFlags(be16(&all, 24)),
                flags: TransmissionFlags(be16(&all, 26)),
                padding: padding(&tail),
            };
            Ok(Step::Ready(greeting, 152))
        }
        found => {
            Err(BadMagic { expected: "IHAVEOPT or the oldstyle magic", found, bytes: 8, at: 8 })
        }
    }
}

/// Decodes the client's flags.
#[must_use]
pub fn client_flags(bytes: &[u8]) -> Step<ClientFlags> {
    match head::<4>(bytes) {
        Ok(flags) => Step::Ready(ClientFlags(u32::from_be_bytes(flags)), 4),
        Err(more) => Step::Need(more),
    }
}

/// Decodes an option and its data.
///
/// # Errors
/// The magic is not `IHAVEOPT`.
pub fn option(bytes: &[u8], limits: Limits) -> Decoded<OptionRequest> {
    let magic = u64::from_be_bytes(head!(bytes, 8));
    if magic != OPTION_MAGIC {
        return Err(BadMagic { expected: "IHAVEOPT", found: magic, bytes: 8, at: 0 });
    }
    let header = head!(bytes, 16);
    let option = OptionType(be32(&header, 8));
    let length = be32(&header, 12);
    if length > limits.option {
        return Ok(Step::Ready(OptionRequest { option, body: OptionBody::Bulk(length) }, 16));
    }
    let total = 16 + length as usize;
    let Some(data) = bytes.get(16..total) else {
        return Ok(Step::Need(total - bytes.len()));
    };
    let body = option_body(option, data).unwrap_or_else(|_| OptionBody::Raw(data.to_vec()));
    Ok(Step::Ready(OptionRequest { option, body }, total))
}

fn option_body(option: OptionType, data: &[u8]) -> Result<OptionBody, LayoutError> {
    let mut cursor = Cursor::new(data, "option length");
    match option {
        OptionType::EXPORT_NAME => Ok(OptionBody::Name(WireString::from(data))),
        OptionType::INFO | OptionType::GO => {
            let length = cursor.u32("name length")?;
            let name = cursor.string(length as usize, "export name")?;
            let count = cursor.u16("number of information requests")?;
            let mut requests = Vec::with_capacity(usize::from(count).min(data.len() / 2));
            for _ in 0..count {
                requests.push(InfoType(cursor.u16("information request")?));
            }
            cursor.end("NBD_OPT_INFO or NBD_OPT_GO data")?;
            Ok(OptionBody::Info { name, requests })
        }
        OptionType::LIST_META_CONTEXT | OptionType::SET_META_CONTEXT => {
            let length = cursor.u32("export name length")?;
            let export = cursor.string(length as usize, "export name")?;
            let count = cursor.u32("number of queries")?;
            let mut queries = Vec::with_capacity((count as usize).min(data.len() / 4));
            for _ in 0..count {
                let length = cursor.u32("query length")?;
                queries.push(cursor.string(length as usize, "query")?);
            }
            cursor.end("metadata context option data")?;
            Ok(OptionBody::Meta { export, queries })
        }
        _ if data.is_empty() => Ok(OptionBody::Empty),
        OptionType::ABORT
        | OptionType::LIST
        | OptionType::STARTTLS
        | OptionType::STRUCTURED_REPLY
        | OptionType::EXTENDED_HEADERS => {
            cursor.end("option without data").map(|()| OptionBody::Empty)
        }
        _ => Ok(OptionBody::Raw(data.to_vec())),
    }
}

/// Decodes a reply to an option.
///
/// # Errors
/// The magic is not that of option replies.
pub fn option_reply(bytes: &[u8], limits: Limits) -> Decoded<OptionReply> {
    let magic = u64::from_be_bytes(head!(bytes, 8));
    if magic != OPTION_REPLY_MAGIC {
        return Err(BadMagic { expected: "the option reply magic", found: magic, bytes: 8, at: 0 });
    }
    let header = head!(bytes, 20);
    let option = OptionType(be32(&header, 8));
    let reply = ReplyType(be32(&header, 12));
    let length = be32(&header, 16);
    if length > limits.option {
        return Ok(Step::Ready(OptionReply { option, reply, body: ReplyBody::Bulk(length) }, 20));
    }
    let total = 20 + length as usize;
    let Some(data) = bytes.get(20..total) else {
        return Ok(Step::Need(total - bytes.len()));
    };
    let body = reply_body(reply, data).unwrap_or_else(|_| ReplyBody::Raw(data.to_vec()));
    Ok(Step::Ready(OptionReply { option, reply, body }, total))
}

fn reply_body(reply: ReplyType, data: &[u8]) -> Result<ReplyBody, LayoutError> {
    let mut cursor = Cursor::new(data, "reply length");
    match reply {
        ReplyType::ACK => cursor.end("NBD_REP_ACK").map(|()| ReplyBody::Empty),
        ReplyType::SERVER => {
            let length = cursor.u32("name length")?;
            let name = cursor.string(length as usize, "export name")?;
            Ok(ReplyBody::Server { name, description: cursor.rest().into() })
        }
        ReplyType::INFO => {
            let info = InfoType(cursor.u16("information type")?);
            let data = &data[2..];
            Ok(ReplyBody::Info(
                info_body(info, data).unwrap_or_else(|_| Info::Raw { info, data: data.to_vec() }),
            ))
        }
        ReplyType::META_CONTEXT => {
            let id = cursor.u32("context id")?;
            Ok(ReplyBody::MetaContext { id, name: cursor.rest().into() })
        }
        _ if data.is_empty() => Ok(ReplyBody::Empty),
        reply if reply.is_error() => Ok(ReplyBody::Message(data.into())),
        _ => Ok(ReplyBody::Raw(data.to_vec())),
    }
}

fn info_body(info: InfoType, data: &[u8]) -> Result<Info, LayoutError> {
    let mut cursor = Cursor::new(data, "reply length");
    let item = match info {
        InfoType::EXPORT => Info::Export {
            size: cursor.u64("export size")?,
            flags: TransmissionFlags(cursor.u16("transmission flags")?),
        },
        InfoType::NAME => Info::Name(cursor.rest().into()),
        InfoType::DESCRIPTION => Info::Description(cursor.rest().into()),
        InfoType::BLOCK_SIZE => Info::BlockSize {
            minimum: cursor.u32("minimum block size")?,
            preferred: cursor.u32("preferred block size")?,
            maximum: cursor.u32("maximum payload")?,
        },
        _ => Info::Raw { info, data: cursor.rest().to_vec() },
    };
    cursor.end(info.name().unwrap_or("information"))?;
    Ok(item)
}

/// Decodes the answer to `NBD_OPT_EXPORT_NAME`; `no_zeroes` tells whether both sides agreed to
/// leave out the padding.
#[must_use]
pub fn export_info(bytes: &[u8], no_zeroes: bool) -> Step<ExportInfo> {
    let total = if no_zeroes { 10 } else { 134 };
    let Some(all) = bytes.get(..total) else {
        return Step::Need(total - bytes.len());
    };
    let padding = match all[10..].first_chunk::<124>() {
        Some(tail) => padding(tail),
        None => Padding::Absent,
    };
    let info = ExportInfo { size: be64(all, 0), flags: TransmissionFlags(be16(all, 8)), padding };
    Step::Ready(info, total)
}

/// Decodes a request, compact or extended by its magic. The payload of a write is bulk.
///
/// # Errors
/// The magic is neither request's.
pub fn request(bytes: &[u8], limits: Limits) -> Decoded<Request> {
    let magic = u32::from_be_bytes(head!(bytes, 4));
    let (form, size) = match magic {
        REQUEST_MAGIC => (RequestForm::Compact, 28),
        EXTENDED_REQUEST_MAGIC => (RequestForm::Extended, 32),
        _ => {
            let found = u64::from(magic);
            return Err(BadMagic { expected: "a request magic", found, bytes: 4, at: 0 });
        }
    };
    let Some(header) = bytes.get(..size) else {
        return Ok(Step::Need(size - bytes.len()));
    };
    let mut request = Request {
        form,
        flags: CommandFlags(be16(header, 4)),
        command: Command(be16(header, 6)),
        cookie: Cookie(be64(header, 8)),
        offset: be64(header, 16),
        length: match form {
            RequestForm::Compact => u64::from(be32(header, 24)),
            RequestForm::Extended => be64(header, 24),
        },
        status: None,
    };
    let payload = request.payload_length();
    if request.command == Command::BLOCK_STATUS
        && payload >= 8
        && payload.is_multiple_of(4)
        && payload <= u64::from(limits.option)
    {
        let total = size + payload as usize;
        let Some(data) = bytes.get(size..total) else {
            return Ok(Step::Need(total - bytes.len()));
        };
        request.status = Some(StatusPayload {
            effect_length: be64(data, 0),
            ids: data[8..].chunks_exact(4).map(|id| be32(id, 0)).collect(),
        });
        return Ok(Step::Ready(request, total));
    }
    Ok(Step::Ready(request, size))
}

/// Decodes a reply of the transmission phase, simple, structured or extended by its magic:
/// [`Message::SimpleReply`] or [`Message::Chunk`]. Read data is bulk.
///
/// # Errors
/// The magic is none of the three.
pub fn reply(bytes: &[u8], limits: Limits) -> Decoded<Message> {
    let magic = u32::from_be_bytes(head!(bytes, 4));
    let (size, extended) = match magic {
        SIMPLE_REPLY_MAGIC => {
            let header = head!(bytes, 16);
            let reply = SimpleReply {
                error: ErrorCode(be32(&header, 4)),
                cookie: Cookie(be64(&header, 8)),
            };
            return Ok(Step::Ready(Message::SimpleReply(reply), 16));
        }
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
        Ok(Step::Ready(Message::Chunk(chunk), taken))
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
    let total = size + length as usize;
    let Some(data) = bytes.get(size..total) else {
        return Ok(Step::Need(total - bytes.len()));
    };
    ready(chunk_body(chunk, data).unwrap_or_else(|_| ChunkBody::Raw(data.to_vec())), total)
}

fn chunk_body(chunk: ChunkType, data: &[u8]) -> Result<ChunkBody, LayoutError> {
    let mut cursor = Cursor::new(data, "chunk length");
    match chunk {
        ChunkType::NONE => cursor.end("NBD_REPLY_TYPE_NONE").map(|()| ChunkBody::Empty),
        ChunkType::OFFSET_DATA => Err(LayoutError {
            what: "NBD_REPLY_TYPE_OFFSET_DATA",
            needed: 9,
            had: data.len() as u64,
            promised_by: "chunk length",
            at: 0,
        }),
        ChunkType::OFFSET_HOLE => {
            let body =
                ChunkBody::Hole { offset: cursor.u64("offset")?, size: cursor.u32("hole size")? };
            cursor.end("NBD_REPLY_TYPE_OFFSET_HOLE").map(|()| body)
        }
        ChunkType::BLOCK_STATUS => {
            let id = cursor.u32("context id")?;
            let mut extents = Vec::with_capacity(cursor.left() / 8);
            loop {
                extents.push(Extent {
                    length: u64::from(cursor.u32("extent length")?),
                    status: u64::from(cursor.u32("extent status")?),
                });
                if cursor.left() == 0 {
                    return Ok(ChunkBody::BlockStatus { id, extents });
                }
            }
        }
        ChunkType::BLOCK_STATUS_EXT => {
            let id = cursor.u32("context id")?;
            let count = cursor.u32("extent count")?;
            let mut extents = Vec::with_capacity(cursor.left() / 16);
            while cursor.left() > 0 {
                extents.push(Extent {
                    length: cursor.u64("extent length")?,
                    status: cursor.u64("extent status")?,
                });
            }
            Ok(ChunkBody::BlockStatusExt { id, count, extents })
        }
        chunk if chunk.is_error() => {
            let error = ErrorCode(cursor.u32("error")?);
            let length = cursor.u16("message length")?;
            let message = cursor.string(usize::from(length), "message")?;
            let offset = match chunk {
                ChunkType::ERROR_OFFSET => Some(cursor.u64("offset")?),
                _ => None,
            };
            Ok(ChunkBody::Error { error, message, offset, rest: cursor.rest().to_vec() })
        }
        _ if data.is_empty() => Ok(ChunkBody::Empty),
        _ => Ok(ChunkBody::Raw(data.to_vec())),
    }
}

/// Why the data of a message came back raw although its type has a layout; `None` where the
/// layout holds or the type is unknown.
#[must_use]
pub fn layout_error(message: &Message) -> Option<LayoutError> {
    match message {
        Message::Option(OptionRequest { option, body: OptionBody::Raw(data) }) => {
            option_body(*option, data).err()
        }
        Message::OptionReply(OptionReply { reply, body: ReplyBody::Raw(data), .. }) => {
            reply_body(*reply, data).err()
        }
        Message::OptionReply(OptionReply {
            body: ReplyBody::Info(Info::Raw { info, data }),
            ..
        }) => info_body(*info, data).err(),
        Message::Chunk(Chunk { chunk, body: ChunkBody::Raw(data), .. }) => {
            chunk_body(*chunk, data).err()
        }
        _ => None,
    }
}

fn put16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn put32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn put64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn put_padding(out: &mut Vec<u8>, padding: &Padding) {
    match padding {
        Padding::Absent => {}
        Padding::Zeroes => out.extend_from_slice(&[0; 124]),
        Padding::Other(bytes) => out.extend_from_slice(&bytes[..]),
    }
}

/// A counted string. Lengths are those of memory, so below 2^32 in practice; a longer one is cut.
fn put_string(out: &mut Vec<u8>, text: &WireString) {
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    put32(out, length);
    out.extend_from_slice(&text.as_bytes()[..length as usize]);
}

impl OptionBody {
    /// Appends the data of the option, without its length; nothing for bulk.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Empty | Self::Bulk(_) => {}
            Self::Name(name) => out.extend_from_slice(name.as_bytes()),
            Self::Info { name, requests } => {
                put_string(out, name);
                put16(out, u16::try_from(requests.len()).unwrap_or(u16::MAX));
                requests.iter().for_each(|info| put16(out, info.0));
            }
            Self::Meta { export, queries } => {
                put_string(out, export);
                put32(out, u32::try_from(queries.len()).unwrap_or(u32::MAX));
                queries.iter().for_each(|query| put_string(out, query));
            }
            Self::Raw(data) => out.extend_from_slice(data),
        }
    }
}

impl ReplyBody {
    /// Appends the data of the reply, without its length; nothing for bulk.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Empty | Self::Bulk(_) => {}
            Self::Message(message) => out.extend_from_slice(message.as_bytes()),
            Self::Server { name, description } => {
                put_string(out, name);
                out.extend_from_slice(description.as_bytes());
            }
            Self::Info(info) => {
                put16(out, info.info_type().0);
                match info {
                    Info::Export { size, flags } => {
                        put64(out, *size);
                        put16(out, flags.0);
                    }
                    Info::Name(text) | Info::Description(text) => {
                        out.extend_from_slice(text.as_bytes());
                    }
                    Info::BlockSize { minimum, preferred, maximum } => {
                        for size in [minimum, preferred, maximum] {
                            put32(out, *size);
                        }
                    }
                    Info::Raw { data, .. } => out.extend_from_slice(data),
                }
            }
            Self::MetaContext { id, name } => {
                put32(out, *id);
                out.extend_from_slice(name.as_bytes());
            }
            Self::Raw(data) => out.extend_from_slice(data),
        }
    }
}

impl ChunkBody {
    /// Appends the payload of the chunk, without its length and bulk.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Empty | Self::Bulk(_) => {}
            Self::Data { offset, .. } => put64(out, *offset),
            Self::Hole { offset, size } => {
                put64(out, *offset);
                put32(out, *size);
            }
            Self::BlockStatus { id, extents } => {
                put32(out, *id);
                for extent in extents {
                    put32(out, extent.length as u32);
                    put32(out, extent.status as u32);
                }
            }
            Self::BlockStatusExt { id, count, extents } => {
                put32(out, *id);
                put32(out, *count);
                for extent in extents {
                    put64(out, extent.length);
                    put64(out, extent.status);
                }
            }
            Self::Error { error, message, offset, rest } => {
                put32(out, error.0);
                let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
                put16(out, length);
                out.extend_from_slice(&message.as_bytes()[..usize::from(length)]);
                if let Some(offset) = offset {
                    put64(out, *offset);
                }
                out.extend_from_slice(rest);
            }
            Self::Raw(data) => out.extend_from_slice(data),
        }
    }
}

impl Message {
    /// Appends the message as it stands on the wire, up to its bulk.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Greeting(Greeting::Newstyle { flags }) => {
                put64(out, INIT_MAGIC);
                put64(out, OPTION_MAGIC);
                put16(out, flags.0);
            }
            Self::Greeting(Greeting::Oldstyle { size, flags, handshake_flags, padding }) => {
                put64(out, INIT_MAGIC);
                put64(out, OLDSTYLE_MAGIC);
                put64(out, *size);
                put16(out, handshake_flags.0);
                put16(out, flags.0);
                put_padding(out, padding);
            }
            Self::ClientFlags(flags) => put32(out, flags.0),
            Self::Option(OptionRequest { option, body }) => {
                let mut data = Vec::new();
                body.encode(&mut data);
                put64(out, OPTION_MAGIC);
                put32(out, option.0);
                put32(out, data.len() as u32 + self.bulk() as u32);
                out.extend_from_slice(&data);
            }
            Self::OptionReply(OptionReply { option, reply, body }) => {
                let mut data = Vec::new();
                body.encode(&mut data);
                put64(out, OPTION_REPLY_MAGIC);
                put32(out, option.0);
                put32(out, reply.0);
                put32(out, data.len() as u32 + self.bulk() as u32);
                out.extend_from_slice(&data);
            }
            Self::ExportInfo(ExportInfo { size, flags, padding }) => {
                put64(out, *size);
                put16(out, flags.0);
                put_padding(out, padding);
            }
            Self::Request(request) => {
                let extended = request.form == RequestForm::Extended;
                put32(out, if extended { EXTENDED_REQUEST_MAGIC } else { REQUEST_MAGIC });
                put16(out, request.flags.0);
                put16(out, request.command.0);
                put64(out, request.cookie.0);
                put64(out, request.offset);
                match request.form {
                    RequestForm::Compact => put32(out, request.length as u32),
                    RequestForm::Extended => put64(out, request.length),
                }
                if let Some(status) = &request.status {
                    put64(out, status.effect_length);
                    status.ids.iter().for_each(|id| put32(out, *id));
                }
            }
            Self::SimpleReply(SimpleReply { error, cookie }) => {
                put32(out, SIMPLE_REPLY_MAGIC);
                put32(out, error.0);
                put64(out, cookie.0);
            }
            Self::Chunk(Chunk { form, flags, chunk, cookie, body }) => {
                let mut data = Vec::new();
                body.encode(&mut data);
                let length = data.len() as u64 + self.bulk();
                let extended = matches!(form, ChunkForm::Extended { .. });
                put32(out, if extended { EXTENDED_REPLY_MAGIC } else { STRUCTURED_REPLY_MAGIC });
                put16(out, flags.0);
                put16(out, chunk.0);
                put64(out, cookie.0);
                match form {
                    ChunkForm::Structured => put32(out, length as u32),
                    ChunkForm::Extended { offset } => {
                        put64(out, *offset);
                        put64(out, length);
                    }
                }
                out.extend_from_slice(&data);
            }
        }
    }

    /// The message as it stands on the wire, up to its bulk.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }
}
