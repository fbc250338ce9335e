//! The messages of the protocol as values.
//!
//! A message holds everything but bulk payload: the data of a write, of a read's answer, and data
//! that no layout describes and that is too large to keep. Bulk follows the message on the wire,
//! [`Message::bulk`] tells how much, and whoever moves the bytes decides what to do with them: so
//! a 32 MiB write costs a decoder 28 bytes.

use crate::text::WireString;
use crate::values::{
    ChunkType, ClientFlags, Command, CommandFlags, ErrorCode, HandshakeFlags, InfoType, OptionType,
    ReplyFlags, ReplyType, TransmissionFlags,
};

/// Who sent a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// The party that connected.
    Client,
    /// The party that serves exports.
    Server,
}

impl Side {
    /// The other party.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }

    /// `client` or `server`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }

    /// `C` or `S`, as in the specification's examples.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::Client => 'C',
            Self::Server => 'S',
        }
    }
}

/// The value that ties replies to a request (section "Transmission"); opaque to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cookie(pub u64);

/// The reserved bytes after the oldstyle greeting and the answer to `NBD_OPT_EXPORT_NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Padding {
    /// Not sent (no-zeroes was agreed).
    Absent,
    /// 124 zeroes.
    Zeroes,
    /// 124 bytes, some not zero.
    Other(Box<[u8; 124]>),
}

/// The first message of a server (section "Handshake").
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Greeting {
    /// Everything at once: the session is in transmission afterwards.
    Oldstyle {
        /// Size of the export in bytes.
        size: u64,
        /// Lower half of the flags.
        flags: TransmissionFlags,
        /// Upper half of the flags, where no flag may be set.
        handshake_flags: HandshakeFlags,
        /// The reserved tail; never absent.
        padding: Padding,
    },
    /// Newstyle, fixed or not.
    Newstyle {
        /// What the server can do during the handshake.
        flags: HandshakeFlags,
    },
}

/// An option and its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionRequest {
    /// Which option.
    pub option: OptionType,
    /// Its data.
    pub body: OptionBody,
}

/// The data of an option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OptionBody {
    /// No data. The lawful form of ABORT, LIST, STARTTLS, STRUCTURED_REPLY, EXTENDED_HEADERS.
    Empty,
    /// The name in EXPORT_NAME.
    Name(WireString),
    /// INFO and GO.
    Info {
        /// The export; empty for the default one.
        name: WireString,
        /// The items asked for.
        requests: Vec<InfoType>,
    },
    /// LIST_META_CONTEXT and SET_META_CONTEXT.
    Meta {
        /// The export; empty for the default one.
        export: WireString,
        /// Each with a namespace and a colon, if well-formed.
        queries: Vec<WireString>,
    },
    /// Data of an unknown option, or that does not have its option's layout.
    Raw(Vec<u8>),
    /// As many bytes of data follow as bulk: more than the decoder was allowed to keep.
    Bulk(u32),
}

/// One reply to an option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionReply {
    /// The option that is answered.
    pub option: OptionType,
    /// The kind of reply.
    pub reply: ReplyType,
    /// Its data.
    pub body: ReplyBody,
}

/// The data of an option reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplyBody {
    /// No data.
    Empty,
    /// The text in an error reply; not empty.
    Message(WireString),
    /// `NBD_REP_SERVER`.
    Server {
        /// Name of the export.
        name: WireString,
        /// What follows the name; may be empty.
        description: WireString,
    },
    /// `NBD_REP_INFO`.
    Info(Info),
    /// `NBD_REP_META_CONTEXT`.
    MetaContext {
        /// The id that status chunks will carry.
        id: u32,
        /// Namespace, colon, leaf.
        name: WireString,
    },
    /// Data of an unknown reply type, or that does not have its type's layout.
    Raw(Vec<u8>),
    /// As many bytes of data follow as bulk: more than the decoder was allowed to keep.
    Bulk(u32),
}

/// An item of information about an export (section "Option reply types", `NBD_REP_INFO`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Info {
    /// `NBD_INFO_EXPORT`.
    Export {
        /// Size in bytes.
        size: u64,
        /// What can be done with the export.
        flags: TransmissionFlags,
    },
    /// `NBD_INFO_NAME`.
    Name(WireString),
    /// `NBD_INFO_DESCRIPTION`.
    Description(WireString),
    /// `NBD_INFO_BLOCK_SIZE`.
    BlockSize {
        /// Smallest unit of offset and length, in bytes; a power of 2 up to 65,536.
        minimum: u32,
        /// Unit that is efficient, in bytes; a power of 2, at least 512.
        preferred: u32,
        /// Largest payload in bytes; `0xffffffff` for no limit.
        maximum: u32,
    },
    /// An unknown type, or data that does not have its type's layout.
    Raw {
        /// The type.
        info: InfoType,
        /// What follows the type.
        data: Vec<u8>,
    },
}

impl Info {
    /// The type of this item.
    #[must_use]
    pub fn info_type(&self) -> InfoType {
        match self {
            Self::Export { .. } => InfoType::EXPORT,
            Self::Name(_) => InfoType::NAME,
            Self::Description(_) => InfoType::DESCRIPTION,
            Self::BlockSize { .. } => InfoType::BLOCK_SIZE,
            Self::Raw { info, .. } => *info,
        }
    }
}

/// The answer to `NBD_OPT_EXPORT_NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportInfo {
    /// Size in bytes.
    pub size: u64,
    /// What can be done with the export.
    pub flags: TransmissionFlags,
    /// The reserved tail.
    pub padding: Padding,
}

/// The two forms of request header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RequestForm {
    /// 28 bytes, 32-bit length.
    Compact,
    /// 32 bytes, 64-bit length (extension "extended headers").
    Extended,
}

/// A request (section "Request message").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Which header.
    pub form: RequestForm,
    /// Command flags.
    pub flags: CommandFlags,
    /// What to do.
    pub command: Command,
    /// Ties replies to this request.
    pub cookie: Cookie,
    /// Where, in bytes from the start of the export.
    pub offset: u64,
    /// How much, in bytes; below 2^32 in the compact form.
    pub length: u64,
    /// The payload form of `NBD_CMD_BLOCK_STATUS`, which is small; `None` for everything else.
    pub status: Option<StatusPayload>,
}

impl Request {
    /// A request without flags at offset 0 and of length 0, as `NBD_CMD_DISC` and `NBD_CMD_FLUSH` are.
    #[must_use]
    pub const fn bare(form: RequestForm, command: Command, cookie: Cookie) -> Self {
        Self {
            form,
            flags: CommandFlags::EMPTY,
            command,
            cookie,
            offset: 0,
            length: 0,
            status: None,
        }
    }

    /// How many bytes of payload follow the header, whatever their form.
    ///
    /// An extended write has its payload also where the client left out `PAYLOAD_LEN`, which it
    /// must not (`ext-write-payload-flag`): the clients of qemu 8.2 to 10.0 do, and servers put up
    /// with it.
    #[must_use]
    pub fn payload_length(&self) -> u64 {
        let carries = self.command == Command::WRITE
            || (self.form == RequestForm::Extended && self.flags.has(CommandFlags::PAYLOAD_LEN));
        if carries { self.length } else { 0 }
    }
}

/// What `NBD_CMD_BLOCK_STATUS` carries with `PAYLOAD_LEN` (extension "extended headers").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusPayload {
    /// How much of the export is asked about, in bytes.
    pub effect_length: u64,
    /// The contexts that are wanted.
    pub ids: Vec<u32>,
}

/// A simple reply (section "Simple reply message"). The data of a successful read is bulk, whose
/// length only the request tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimpleReply {
    /// `ErrorCode::OK` or why the request failed.
    pub error: ErrorCode,
    /// The request's.
    pub cookie: Cookie,
}

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

/// The payload of a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChunkBody {
    /// No payload.
    Empty,
    /// `NBD_REPLY_TYPE_OFFSET_DATA`; `length` bytes of data follow as bulk.
    Data {
        /// Where the data belongs, in bytes from the start of the export.
        offset: u64,
        /// How much data, in bytes; not 0.
        length: u64,
    },
    /// `NBD_REPLY_TYPE_OFFSET_HOLE`.
    Hole {
        /// Where the hole begins, in bytes from the start of the export.
        offset: u64,
        /// Its size in bytes.
        size: u32,
    },
    /// `NBD_REPLY_TYPE_BLOCK_STATUS`.
    BlockStatus {
        /// The context.
        id: u32,
        /// Each with a 32-bit length and status; not empty.
        extents: Vec<Extent>,
    },
    /// `NBD_REPLY_TYPE_BLOCK_STATUS_EXT`.
    BlockStatusExt {
        /// The context.
        id: u32,
        /// The number of extents that the chunk claims.
        count: u32,
        /// Each with a 64-bit length and status; may be empty when `count` lies.
        extents: Vec<Extent>,
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

/// A stretch of an export with one status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Length in bytes.
    pub length: u64,
    /// Meaning depends on the context.
    pub status: u64,
}

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
}
