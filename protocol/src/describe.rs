//! A message as a name and named fields: the one form from which the notation, the JSON of
//! `decode` and the comparisons of scripts all come.

use std::borrow::Cow;
use std::fmt;
use std::io::Write as _;

use crate::digits::{decimal, hexadecimal};
use crate::message::{Extent, Side};
use crate::payload::Payload;
use crate::text::WireString;

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

impl Value {
    /// Appends what `Display` writes, without its detours.
    pub fn append(&self, out: &mut Vec<u8>) {
        match self {
            Self::Int(n) => decimal(out, *n),
            Self::Hex(n) => hexadecimal(out, *n),
            Self::Name(name) => out.extend_from_slice(name.as_bytes()),
            Self::Payload(payload) => payload.append(out),
            Self::Names(names) => {
                out.push(b'{');
                for (index, name) in names.iter().enumerate() {
                    out.extend_from_slice(if index > 0 { b" " } else { b"" });
                    out.extend_from_slice(name.as_bytes());
                }
                out.push(b'}');
            }
            Self::Text(_) | Self::Texts(_) | Self::Ids(_) | Self::Extents(_) => {
                // Writing to memory does not fail.
                let _ = write!(out, "{self}");
            }
        }
    }
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

    /// Appends what `Display` writes, without its detours.
    pub fn append(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.head.as_bytes());
        if let Some(variant) = &self.variant {
            out.push(b' ');
            out.extend_from_slice(variant.as_bytes());
        }
        for field in &self.fields {
            out.push(b' ');
            out.extend_from_slice(field.key.as_bytes());
            out.push(b'=');
            field.value.append(out);
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

/// A field of the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WirePart {
    /// What it is, in the words of the specification.
    pub name: &'static str,
    /// Where it begins, in bytes from the start of the message.
    pub start: u64,
    /// Its length in bytes; not 0.
    pub length: u64,
    /// What it says.
    pub value: Value,
}

/// A line of the notation: the side's letter and the message.
#[must_use]
pub fn line(side: Side, description: &Description) -> String {
    format!("{}: {description}", side.letter())
}
