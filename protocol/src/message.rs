//! The messages of the protocol as values, a file for each family.
//!
//! A message holds everything but bulk payload: the data of a write, of a read's answer, and data
//! that no layout describes and that is too large to keep. Bulk follows the message on the wire,
//! [`Message::bulk`] tells how much, and whoever moves the bytes decides what to do with them: so
//! a 32 MiB write costs a decoder 28 bytes.
//!
//! The file of a family has its types and the one list of their parts (see `parts.rs`), from which
//! the bytes, the layout, the description, the grammar of a line and its building come, and the
//! decoder, beside them.

use crate::describe::{Description, Kind, WirePart};
use crate::payload::Payload;
use crate::values::{ClientFlags, Command, OptionType};

pub(crate) mod chunk;
mod cookie;
mod extent;
pub(crate) mod greeting;
mod held;
pub(crate) mod info;
pub(crate) mod option;
pub(crate) mod option_reply;
mod padding;
pub(crate) mod parts;
pub(crate) mod request;
mod side;
pub(crate) mod simple_reply;

pub use chunk::{Chunk, ChunkBody, ChunkForm};
pub use cookie::Cookie;
pub use extent::Extent;
pub use greeting::{ExportInfo, Greeting};
pub use info::Info;
pub use option::{OptionBody, OptionRequest};
pub use option_reply::{OptionReply, ReplyBody};
pub use padding::Padding;
pub use request::{Request, RequestForm, StatusPayload};
pub use side::{Both, Side};
pub use simple_reply::SimpleReply;

use parts::{Describer, Layout, Lies, Show, Words};

/// Any message of either side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// The server's first.
    Greeting(Greeting),
    /// The client's answer to a newstyle greeting.
    ClientFlags(ClientFlags),
    /// An option.
    Option(OptionRequest),
    /// A reply to an option.
    OptionReply(OptionReply),
    /// The answer to `NBD_OPT_EXPORT_NAME`.
    ExportInfo(ExportInfo),
    /// A request.
    Request(Request),
    /// A simple reply.
    SimpleReply(SimpleReply),
    /// A chunk of a structured or extended reply.
    Chunk(Chunk),
}

impl Message {
    /// How many bytes follow the message on the wire as bulk. For a simple reply this is 0: the
    /// data of a read is known to whoever knows the request.
    #[must_use]
    pub fn bulk(&self) -> u64 {
        match self {
            Self::Option(OptionRequest { body: OptionBody::Bulk(length), .. })
            | Self::OptionReply(OptionReply { body: ReplyBody::Bulk(length), .. }) => {
                u64::from(*length)
            }
            Self::Request(request) if request.status.is_none() => request.payload_length(),
            Self::Chunk(Chunk {
                body: ChunkBody::Data { length, .. } | ChunkBody::Bulk(length),
                ..
            }) => *length,
            _ => 0,
        }
    }

    /// Whether a client takes leave by it: `NBD_CMD_DISC` or `NBD_OPT_ABORT`.
    #[must_use]
    pub fn is_farewell(&self) -> bool {
        match self {
            Self::Request(request) => request.command == Command::DISC,
            Self::Option(option) => option.option == OptionType::ABORT,
            _ => false,
        }
    }

    /// Who sends such a message.
    #[must_use]
    pub fn side(&self) -> Side {
        match self {
            Self::ClientFlags(_) | Self::Option(_) | Self::Request(_) => Side::Client,
            Self::Greeting(_)
            | Self::OptionReply(_)
            | Self::ExportInfo(_)
            | Self::SimpleReply(_)
            | Self::Chunk(_) => Side::Server,
        }
    }

    fn show(&self, to: &mut impl Show) {
        match self {
            Self::Greeting(greeting) => greeting.show(to),
            Self::ClientFlags(flags) => greeting::show_client_flags(*flags, to),
            Self::Option(option) => option.show(to),
            Self::OptionReply(reply) => reply.show(to),
            Self::ExportInfo(info) => info.show(to),
            Self::Request(request) => request.show(to),
            Self::SimpleReply(reply) => reply.show(to),
            Self::Chunk(chunk) => chunk.show(to),
        }
    }

    /// Appends the message as it stands on the wire, up to its bulk.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.show(out);
    }

    /// The message as it stands on the wire, up to its bulk.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }

    /// The message as it stands on the wire, up to its bulk, with another magic and another length
    /// in its header, where it has them.
    pub(crate) fn to_lying_bytes(&self, magic: Option<u64>, length: Option<u64>) -> Vec<u8> {
        let mut lies = Lies { out: Vec::new(), magic, length };
        self.show(&mut lies);
        lies.out
    }

    /// The fields of the encoded message, in order: each byte is in one of them. Its bulk comes
    /// after them.
    #[must_use]
    pub fn layout(&self) -> Vec<WirePart> {
        let mut layout = Layout::default();
        self.show(&mut layout);
        layout.0
    }

    /// The message as a name and fields. `payload` describes the bulk that followed, if known.
    #[must_use]
    pub fn describe(&self, payload: Option<&Payload>) -> Description {
        let mut fields = Describer::new(payload);
        self.show(&mut fields);
        if let (Self::SimpleReply(_), Some(payload)) = (self, payload) {
            fields.bulk(payload.length());
        }
        let mut fields = fields.found;
        let Words(kind, head, variant) = match self {
            Self::Greeting(greeting) => greeting.words(&mut fields),
            Self::ClientFlags(_) => Words(Kind::ClientFlags, "client-flags".into(), None),
            Self::Option(option) => option.words(),
            Self::OptionReply(reply) => reply.words(),
            Self::ExportInfo(_) => Words(Kind::ExportInfo, "export-info".into(), None),
            Self::Request(request) => request.words(),
            Self::SimpleReply(reply) => reply.words(),
            Self::Chunk(chunk) => chunk.words(),
        };
        Description { kind, head, variant, fields }
    }
}
