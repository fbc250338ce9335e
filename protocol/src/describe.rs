//! A message as a name and named fields: the one form from which the notation, the JSON of
//! `decode` and the comparisons of scripts all come.

use std::borrow::Cow;
use std::fmt;

use crate::message::{
    Chunk, ChunkBody, ChunkForm, ExportInfo, Extent, Greeting, Info, Message, OptionBody,
    OptionReply, OptionRequest, Padding, ReplyBody, Request, RequestForm, Side, SimpleReply,
};
use crate::payload::{Part, Payload};
use crate::text::WireString;
use crate::values::{Command, CommandFlags, HandshakeFlags};

/// The kinds of message, as JSON's `kind` names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The server's first message.
    Greeting,
    /// The client's flags.
    ClientFlags,
    /// An option.
    Option,
    /// A reply to an option.
    OptionReply,
    /// The answer to `NBD_OPT_EXPORT_NAME`.
    ExportInfo,
    /// A compact request.
    Request,
    /// A simple reply.
    SimpleReply,
    /// A chunk of a structured reply.
    Chunk,
    /// An extended request.
    ExtendedRequest,
    /// A chunk of an extended reply.
    ExtendedChunk,
}

impl Kind {
    /// Every kind, in the order of a session.
    pub const ALL: &'static [Self] = &[
        Self::Greeting,
        Self::ClientFlags,
        Self::Option,
        Self::OptionReply,
        Self::ExportInfo,
        Self::Request,
        Self::SimpleReply,
        Self::Chunk,
        Self::ExtendedRequest,
        Self::ExtendedChunk,
    ];

    /// The name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Greeting => "greeting",
            Self::ClientFlags => "client-flags",
            Self::Option => "option",
            Self::OptionReply => "option-reply",
            Self::ExportInfo => "export-info",
            Self::Request => "request",
            Self::SimpleReply => "simple-reply",
            Self::Chunk => "chunk",
            Self::ExtendedRequest => "extended-request",
            Self::ExtendedChunk => "extended-chunk",
        }
    }
}

/// The value of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A number that prints in decimal.
    Int(u64),
    /// A cookie or a digest: a number that prints in hexadecimal.
    Hex(u64),
    /// A word of the specification, such as `NBD_OPT_GO`.
    Name(Cow<'static, str>),
    /// A string of the protocol.
    Text(WireString),
    /// `{A B}`: flags or requests.
    Names(Vec<String>),
    /// `{"a" "b"}`: queries.
    Texts(Vec<WireString>),
    /// `{1 2}`: context ids.
    Ids(Vec<u32>),
    /// `{65536:0 4096:3}`: length and status of each extent.
    Extents(Vec<Extent>),
    /// Bytes.
    Payload(Payload),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn set<T: fmt::Display>(
            f: &mut fmt::Formatter<'_>,
            items: impl IntoIterator<Item = T>,
        ) -> fmt::Result {
            f.write_str("{")?;
            for (index, item) in items.into_iter().enumerate() {
                let space = if index > 0 { " " } else { "" };
                write!(f, "{space}{item}")?;
            }
            f.write_str("}")
        }
        match self {
            Self::Int(n) => write!(f, "{n}"),
            Self::Hex(n) => write!(f, "{n:#x}"),
            Self::Name(name) => f.write_str(name),
            Self::Text(text) => write!(f, "{text}"),
            Self::Names(names) => set(f, names),
            Self::Texts(texts) => set(f, texts),
            Self::Ids(ids) => set(f, ids),
            Self::Extents(extents) => {
                set(f, extents.iter().map(|e| format!("{}:{}", e.length, e.status)))
            }
            Self::Payload(payload) => write!(f, "{payload}"),
        }
    }
}

/// A named field of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The specification's name, in the notation's spelling.
    pub key: &'static str,
    /// Its value.
    pub value: Value,
    /// Where the field's bytes are in the message: first byte and count. A count of 0 means that
    /// the field has no bytes of its own.
    pub at: (u64, u64),
}

/// A message as a name and fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// What kind of message.
    pub kind: Kind,
    /// The first word of the line: `NBD_OPT_GO`, `greeting`, `simple-reply`.
    pub head: Cow<'static, str>,
    /// The second word, where there is one: `NBD_INFO_EXPORT`, `fixed-newstyle`, `ok`.
    pub variant: Option<Cow<'static, str>>,
    /// In the order of the notation.
    pub fields: Vec<Field>,
}

impl Description {
    /// The value of a field.
    #[must_use]
    pub fn field(&self, key: &str) -> Option<&Value> {
        self.fields.iter().find(|field| field.key == key).map(|field| &field.value)
    }

    /// JSON's `name`: the specification's name of the message.
    #[must_use]
    pub fn name(&self) -> &str {
        match (self.kind, &self.variant) {
            (Kind::Greeting | Kind::SimpleReply, Some(variant)) => variant,
            _ => &self.head,
        }
    }

    /// The information type of an `NBD_REP_INFO`: a field on the wire, the second word of the
    /// line.
    #[must_use]
    pub fn info_type(&self) -> Option<&str> {
        match self.kind {
            Kind::OptionReply => self.variant.as_deref(),
            _ => None,
        }
    }
}

/// The line of the notation without its side: `NBD_CMD_READ cookie=0x1 offset=0 length=512`.
impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.head)?;
        if let Some(variant) = &self.variant {
            write!(f, " {variant}")?;
        }
        for field in &self.fields {
            write!(f, " {}={}", field.key, field.value)?;
        }
        Ok(())
    }
}

/// Collects fields.
struct Fields(Vec<Field>);

impl Fields {
    fn add(&mut self, key: &'static str, value: Value, at: usize, count: usize) {
        self.0.push(Field { key, value, at: (at as u64, count as u64) });
    }

    fn int(&mut self, key: &'static str, value: impl Into<u64>, at: usize, count: usize) {
        self.add(key, Value::Int(value.into()), at, count);
    }

    fn text(&mut self, key: &'static str, text: &WireString, at: usize) {
        self.add(key, Value::Text(text.clone()), at, text.len());
    }

    fn raw(&mut self, data: &[u8], at: usize) {
        let payload = Payload(vec![Part::Hex(data.to_vec())]);
        self.add("data", Value::Payload(payload), at, data.len());
    }

    /// The bulk: as it was recognised, or just its length.
    fn bulk(&mut self, payload: Option<&Payload>, length: u64, at: usize) {
        let payload = payload.cloned().unwrap_or_else(|| Payload(vec![Part::Any(length)]));
        self.0.push(Field { key: "data", value: Value::Payload(payload), at: (at as u64, length) });
    }

    fn padding(&mut self, padding: &Padding, at: usize) {
        match padding {
            Padding::Absent => {}
            Padding::Zeroes => {
                self.add("padding", Value::Payload(Payload(vec![Part::Zero(124)])), at, 124);
            }
            Padding::Other(bytes) => {
                let payload = Payload(vec![Part::Hex(bytes.to_vec())]);
                self.add("padding", Value::Payload(payload), at, 124);
            }
        }
    }
}

impl Message {
    /// The message as a name and fields. `payload` describes the bulk that followed, if known.
    #[must_use]
    pub fn describe(&self, payload: Option<&Payload>) -> Description {
        let mut fields = Fields(Vec::with_capacity(8)); // as many as most have, or more
        let (kind, head, variant) = match self {
            Self::Greeting(greeting) => describe_greeting(greeting, &mut fields),
            Self::ClientFlags(flags) => {
                fields.add("flags", Value::Names(flags.names()), 0, 4);
                (Kind::ClientFlags, "client-flags".into(), None)
            }
            Self::Option(option) => describe_option(option, payload, &mut fields),
            Self::OptionReply(reply) => describe_option_reply(reply, payload, &mut fields),
            Self::ExportInfo(ExportInfo { size, flags, padding }) => {
                fields.int("size", *size, 0, 8);
                fields.add("flags", Value::Names(flags.names()), 8, 2);
                fields.padding(padding, 10);
                (Kind::ExportInfo, "export-info".into(), None)
            }
            Self::Request(request) => describe_request(request, payload, &mut fields),
            Self::SimpleReply(SimpleReply { error, cookie }) => {
                fields.add("cookie", Value::Hex(cookie.0), 8, 8);
                if let Some(payload) = payload {
                    fields.bulk(Some(payload), payload.length(), 16);
                }
                (Kind::SimpleReply, "simple-reply".into(), Some(error.label()))
            }
            Self::Chunk(chunk) => describe_chunk(chunk, payload, &mut fields),
        };
        Description { kind, head, variant, fields: fields.0 }
    }
}

type Words = (Kind, Cow<'static, str>, Option<Cow<'static, str>>);

fn describe_greeting(greeting: &Greeting, fields: &mut Fields) -> Words {
    let style = match greeting {
        Greeting::Oldstyle { size, flags, handshake_flags, padding } => {
            fields.int("size", *size, 16, 8);
            if *handshake_flags != HandshakeFlags::EMPTY {
                fields.add("handshake-flags", Value::Names(handshake_flags.names()), 24, 2);
            }
            fields.add("flags", Value::Names(flags.names()), 26, 2);
            if *padding != Padding::Zeroes {
                fields.padding(padding, 28);
            }
            "oldstyle"
        }
        Greeting::Newstyle { flags } => {
            let rest = flags.without(HandshakeFlags::FIXED_NEWSTYLE);
            fields.add("flags", Value::Names(rest.names()), 16, 2);
            if flags.has(HandshakeFlags::FIXED_NEWSTYLE) { "fixed-newstyle" } else { "newstyle" }
        }
    };
    (Kind::Greeting, "greeting".into(), Some(style.into()))
}

fn describe_option(
    OptionRequest { option, body }: &OptionRequest,
    payload: Option<&Payload>,
    fields: &mut Fields,
) -> Words {
    match body {
        OptionBody::Empty => {}
        OptionBody::Name(name) => fields.text("name", name, 16),
        OptionBody::Info { name, requests } => {
            fields.text("name", name, 20);
            let names = requests.iter().map(ToString::to_string).collect();
            fields.add("info", Value::Names(names), 22 + name.len(), 2 * requests.len());
        }
        OptionBody::Meta { export, queries } => {
            fields.text("name", export, 20);
            let size = queries.iter().map(|query| 4 + query.len()).sum();
            fields.add("queries", Value::Texts(queries.clone()), 24 + export.len(), size);
        }
        OptionBody::Raw(data) => fields.raw(data, 16),
        OptionBody::Bulk(length) => fields.bulk(payload, u64::from(*length), 16),
    }
    (Kind::Option, option.label(), None)
}

fn describe_option_reply(
    OptionReply { option, reply, body }: &OptionReply,
    payload: Option<&Payload>,
    fields: &mut Fields,
) -> Words {
    fields.add("option", Value::Name(option.label()), 8, 4);
    let mut variant = None;
    match body {
        ReplyBody::Empty => {}
        ReplyBody::Message(message) => fields.text("message", message, 20),
        ReplyBody::Server { name, description } => {
            fields.text("name", name, 24);
            if !description.is_empty() {
                fields.text("description", description, 24 + name.len());
            }
        }
        ReplyBody::Info(info) => {
            variant = Some(info.info_type().label());
            match info {
                Info::Export { size, flags } => {
                    fields.int("size", *size, 22, 8);
                    fields.add("flags", Value::Names(flags.names()), 30, 2);
                }
                Info::Name(name) => fields.text("name", name, 22),
                Info::Description(text) => fields.text("description", text, 22),
                Info::BlockSize { minimum, preferred, maximum } => {
                    fields.int("minimum", *minimum, 22, 4);
                    fields.int("preferred", *preferred, 26, 4);
                    fields.int("maximum", *maximum, 30, 4);
                }
                Info::Raw { data, .. } => fields.raw(data, 22),
            }
        }
        ReplyBody::MetaContext { id, name } => {
            fields.int("id", *id, 20, 4);
            fields.text("name", name, 24);
        }
        ReplyBody::Raw(data) => fields.raw(data, 20),
        ReplyBody::Bulk(length) => fields.bulk(payload, u64::from(*length), 20),
    }
    (Kind::OptionReply, reply.label(), variant)
}

fn describe_request(request: &Request, payload: Option<&Payload>, fields: &mut Fields) -> Words {
    let (kind, length_size) = match request.form {
        RequestForm::Compact => (Kind::Request, 4),
        RequestForm::Extended => (Kind::ExtendedRequest, 8),
    };
    let header = 24 + length_size;
    if request.form == RequestForm::Extended {
        fields.add("form", Value::Name("extended".into()), 0, 4);
    }
    fields.add("cookie", Value::Hex(request.cookie.0), 8, 8);
    // An extended write without PAYLOAD_LEN tells so, even with no flag at all: it is a fault.
    let faulty = request.form == RequestForm::Extended
        && request.command == Command::WRITE
        && !request.flags.has(CommandFlags::PAYLOAD_LEN);
    if request.flags.0 != 0 || faulty {
        fields.add("flags", Value::Names(request.flags.names()), 4, 2);
    }
    fields.int("offset", request.offset, 16, 8);
    fields.int("length", request.length, 24, length_size);
    if let Some(status) = &request.status {
        fields.int("effect-length", status.effect_length, header, 8);
        fields.add("ids", Value::Ids(status.ids.clone()), header + 8, 4 * status.ids.len());
    } else if request.payload_length() > 0 {
        fields.bulk(payload, request.payload_length(), header);
    }
    (kind, request.command.label(), None)
}

fn describe_chunk(chunk: &Chunk, payload: Option<&Payload>, fields: &mut Fields) -> Words {
    let (kind, header) = match chunk.form {
        ChunkForm::Structured => (Kind::Chunk, 20),
        ChunkForm::Extended { .. } => (Kind::ExtendedChunk, 32),
    };
    if let ChunkForm::Extended { .. } = chunk.form {
        fields.add("form", Value::Name("extended".into()), 0, 4);
    }
    fields.add("cookie", Value::Hex(chunk.cookie.0), 8, 8);
    fields.add("flags", Value::Names(chunk.flags.names()), 4, 2);
    if let ChunkForm::Extended { offset } = chunk.form {
        fields.int("request-offset", offset, 16, 8);
    }
    match &chunk.body {
        ChunkBody::Empty => {}
        ChunkBody::Data { offset, length } => {
            fields.int("offset", *offset, header, 8);
            fields.bulk(payload, *length, header + 8);
        }
        ChunkBody::Hole { offset, size } => {
            fields.int("offset", *offset, header, 8);
            fields.int("size", *size, header + 8, 4);
        }
        ChunkBody::BlockStatus { id, extents } => {
            fields.int("id", *id, header, 4);
            fields.add("extents", Value::Extents(extents.clone()), header + 4, 8 * extents.len());
        }
        ChunkBody::BlockStatusExt { id, count, extents } => {
            fields.int("id", *id, header, 4);
            fields.int("count", *count, header + 4, 4);
            fields.add("extents", Value::Extents(extents.clone()), header + 8, 16 * extents.len());
        }
        ChunkBody::Error { error, message, offset, rest } => {
            fields.add("error", Value::Name(error.label()), header, 4);
            let mut at = header + 6 + message.len();
            if !message.is_empty() {
                fields.text("message", message, header + 6);
            }
            if let Some(offset) = offset {
                fields.int("offset", *offset, at, 8);
                at += 8;
            }
            if !rest.is_empty() {
                fields.raw(rest, at);
            }
        }
        ChunkBody::Raw(data) => fields.raw(data, header),
        ChunkBody::Bulk(length) => fields.bulk(payload, *length, header),
    }
    (kind, chunk.chunk.label(), None)
}

/// A line of the notation: the side's letter and the message.
#[must_use]
pub fn line(side: Side, description: &Description) -> String {
    format!("{}: {description}", side.letter())
}
