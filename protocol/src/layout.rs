//! Where on the wire the parts of a message are: [`crate::codec`] with names. The parts cover each
//! byte of the encoded message once, in order; its bulk comes after them.

use crate::describe::Value;
use crate::message::{
    Chunk, ChunkBody, ChunkForm, ExportInfo, Greeting, Info, Message, OptionBody, OptionReply,
    OptionRequest, Padding, ReplyBody, Request, RequestForm, SimpleReply,
};
use crate::payload::{self, Payload};
use crate::text::WireString;
use crate::values::{
    EXTENDED_REPLY_MAGIC, EXTENDED_REQUEST_MAGIC, OLDSTYLE_MAGIC, OPTION_REPLY_MAGIC,
    REQUEST_MAGIC, SIMPLE_REPLY_MAGIC, STRUCTURED_REPLY_MAGIC,
};

/// A field of the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What it is, in the words of the specification.
    pub name: &'static str,
    /// Where it begins, in bytes from the start of the message.
    pub start: u64,
    /// Its length in bytes; not 0.
    pub length: u64,
    /// What it says.
    pub value: Value,
}

/// Puts one part behind the other.
#[derive(Default)]
struct Parts(Vec<Part>);

impl Parts {
    fn end(&self) -> u64 {
        self.0.last().map_or(0, |part| part.start + part.length)
    }

    fn add(&mut self, name: &'static str, length: usize, value: Value) {
        if length > 0 {
            let start = self.end();
            self.0.push(Part { name, start, length: length as u64, value });
        }
    }

    fn int(&mut self, name: &'static str, length: usize, value: impl Into<u64>) {
        self.add(name, length, Value::Int(value.into()));
    }

    fn hex(&mut self, name: &'static str, length: usize, value: impl Into<u64>) {
        self.add(name, length, Value::Hex(value.into()));
    }

    fn word(&mut self, name: &'static str, length: usize, word: impl ToString) {
        self.add(name, length, Value::Name(word.to_string().into()));
    }

    fn text(&mut self, name: &'static str, text: &WireString) {
        self.add(name, text.len(), Value::Text(text.clone()));
    }

    fn counted(&mut self, length_name: &'static str, name: &'static str, text: &WireString) {
        self.int(length_name, 4, text.len() as u64);
        self.text(name, text);
    }

    fn bytes(&mut self, name: &'static str, bytes: &[u8]) {
        let payload = Payload(vec![payload::Part::Hex(bytes.to_vec())]);
        self.add(name, bytes.len(), Value::Payload(payload));
    }

    fn padding(&mut self, padding: &Padding) {
        let zeroes = || Value::Payload(Payload(vec![payload::Part::Zero(124)]));
        match padding {
            Padding::Absent => {}
            Padding::Zeroes => self.add("padding", 124, zeroes()),
            Padding::Other(bytes) => self.bytes("padding", &bytes[..]),
        }
    }
}

impl Message {
    /// The parts of the encoded message, in order, without its bulk.
    #[must_use]
    pub fn layout(&self) -> Vec<Part> {
        let mut parts = Parts::default();
        match self {
            Self::Greeting(greeting) => lay_greeting(greeting, &mut parts),
            Self::ClientFlags(flags) => parts.add("flags", 4, Value::Names(flags.names())),
            Self::Option(OptionRequest { option, body }) => {
                parts.word("magic", 8, "IHAVEOPT");
                parts.word("option", 4, option);
                parts.int("length", 4, body_length(self, 16));
                lay_option(body, &mut parts);
            }
            Self::OptionReply(OptionReply { option, reply, body }) => {
                parts.hex("magic", 8, OPTION_REPLY_MAGIC);
                parts.word("option", 4, option);
                parts.word("reply type", 4, reply);
                parts.int("length", 4, body_length(self, 20));
                lay_reply(body, &mut parts);
            }
            Self::ExportInfo(ExportInfo { size, flags, padding }) => {
                parts.int("size", 8, *size);
                parts.add("flags", 2, Value::Names(flags.names()));
                parts.padding(padding);
            }
            Self::Request(request) => lay_request(request, &mut parts),
            Self::SimpleReply(SimpleReply { error, cookie }) => {
                parts.hex("magic", 4, SIMPLE_REPLY_MAGIC);
                parts.word("error", 4, error);
                parts.hex("cookie", 8, cookie.0);
            }
            Self::Chunk(chunk) => lay_chunk(chunk, self, &mut parts),
        }
        parts.0
    }
}

/// What the length field of a message says, whose header has so many bytes.
fn body_length(message: &Message, header: u64) -> u64 {
    (message.to_bytes().len() as u64).saturating_sub(header).saturating_add(message.bulk())
}

fn lay_greeting(greeting: &Greeting, parts: &mut Parts) {
    parts.word("magic", 8, "NBDMAGIC");
    match greeting {
        Greeting::Oldstyle { size, flags, handshake_flags, padding } => {
            parts.hex("magic", 8, OLDSTYLE_MAGIC);
            parts.int("size", 8, *size);
            parts.add("handshake flags", 2, Value::Names(handshake_flags.names()));
            parts.add("flags", 2, Value::Names(flags.names()));
            parts.padding(padding);
        }
        Greeting::Newstyle { flags } => {
            parts.word("magic", 8, "IHAVEOPT");
            parts.add("flags", 2, Value::Names(flags.names()));
        }
    }
}

fn lay_option(body: &OptionBody, parts: &mut Parts) {
    match body {
        OptionBody::Empty | OptionBody::Bulk(_) => {}
        OptionBody::Name(name) => parts.text("name", name),
        OptionBody::Info { name, requests } => {
            parts.counted("name length", "name", name);
            parts.int("number of information requests", 2, requests.len() as u64);
            requests.iter().for_each(|info| parts.word("information request", 2, info));
        }
        OptionBody::Meta { export, queries } => {
            parts.counted("name length", "name", export);
            parts.int("number of queries", 4, queries.len() as u64);
            queries.iter().for_each(|query| parts.counted("query length", "query", query));
        }
        OptionBody::Raw(data) => parts.bytes("data", data),
    }
}

fn lay_reply(body: &ReplyBody, parts: &mut Parts) {
    match body {
        ReplyBody::Empty | ReplyBody::Bulk(_) => {}
        ReplyBody::Message(message) => parts.text("message", message),
        ReplyBody::Server { name, description } => {
            parts.counted("name length", "name", name);
            parts.text("description", description);
        }
        ReplyBody::Info(info) => {
            parts.word("information type", 2, info.info_type());
            match info {
                Info::Export { size, flags } => {
                    parts.int("size", 8, *size);
                    parts.add("flags", 2, Value::Names(flags.names()));
                }
                Info::Name(name) => parts.text("name", name),
                Info::Description(text) => parts.text("description", text),
                Info::BlockSize { minimum, preferred, maximum } => {
                    parts.int("minimum", 4, *minimum);
                    parts.int("preferred", 4, *preferred);
                    parts.int("maximum", 4, *maximum);
                }
                Info::Raw { data, .. } => parts.bytes("data", data),
            }
        }
        ReplyBody::MetaContext { id, name } => {
            parts.int("id", 4, *id);
            parts.text("name", name);
        }
        ReplyBody::Raw(data) => parts.bytes("data", data),
    }
}

fn lay_request(request: &Request, parts: &mut Parts) {
    let (magic, length) = match request.form {
        RequestForm::Compact => (REQUEST_MAGIC, 4),
        RequestForm::Extended => (EXTENDED_REQUEST_MAGIC, 8),
    };
    parts.hex("magic", 4, magic);
    parts.add("flags", 2, Value::Names(request.flags.names()));
    parts.word("type", 2, request.command);
    parts.hex("cookie", 8, request.cookie.0);
    parts.int("offset", 8, request.offset);
    parts.int("length", length, request.length);
    if let Some(status) = &request.status {
        parts.int("effect length", 8, status.effect_length);
        status.ids.iter().for_each(|id| parts.int("id", 4, *id));
    }
}

fn lay_chunk(chunk: &Chunk, message: &Message, parts: &mut Parts) {
    let extended = matches!(chunk.form, ChunkForm::Extended { .. });
    parts.hex("magic", 4, if extended { EXTENDED_REPLY_MAGIC } else { STRUCTURED_REPLY_MAGIC });
    parts.add("flags", 2, Value::Names(chunk.flags.names()));
    parts.word("type", 2, chunk.chunk);
    parts.hex("cookie", 8, chunk.cookie.0);
    match chunk.form {
        ChunkForm::Structured => parts.int("length", 4, body_length(message, 20)),
        ChunkForm::Extended { offset } => {
            parts.int("request offset", 8, offset);
            parts.int("length", 8, body_length(message, 32));
        }
    }
    let extents = |extents: &[_], size, parts: &mut Parts| {
        for extent in extents {
            parts.add("extent", size, Value::Extents(vec![*extent]));
        }
    };
    match &chunk.body {
        ChunkBody::Empty | ChunkBody::Bulk(_) => {}
        ChunkBody::Data { offset, .. } => parts.int("offset", 8, *offset),
        ChunkBody::Hole { offset, size } => {
            parts.int("offset", 8, *offset);
            parts.int("size", 4, *size);
        }
        ChunkBody::BlockStatus { id, extents: list } => {
            parts.int("id", 4, *id);
            extents(list, 8, parts);
        }
        ChunkBody::BlockStatusExt { id, count, extents: list } => {
            parts.int("id", 4, *id);
            parts.int("count", 4, *count);
            extents(list, 16, parts);
        }
        ChunkBody::Error { error, message, offset, rest } => {
            parts.word("error", 4, error);
            parts.int("message length", 2, message.len() as u64);
            parts.text("message", message);
            if let Some(offset) = offset {
                parts.int("offset", 8, *offset);
            }
            parts.bytes("data", rest);
        }
        ChunkBody::Raw(data) => parts.bytes("data", data),
    }
}
