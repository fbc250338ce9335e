//! What can go wrong for a client: the way, the server's word, the server's misbehaviour.

use std::io;

use protocol::codec::{BadMagic, LayoutError};
use protocol::message::Cookie;
use protocol::requirements::id;
use protocol::text::WireString;
use protocol::values::{ChunkType, Command, ErrorCode, OptionType, ReplyType, STRING_LIMIT};

use crate::export::BadExport;
use crate::wire::ReadError;

/// Why something that a client wanted did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// No connection.
    #[error("can't connect to `{address}`: {error}")]
    Connect {
        /// Where to.
        address: String,
        /// Why not.
        error: String,
    },
    /// The stream failed.
    #[error("the connection failed: {error}")]
    Lost {
        /// The kind of failure: a reset, a broken pipe.
        kind: io::ErrorKind,
        /// The system's words.
        error: String,
    },
    /// The stream ended where the server owed something.
    #[error("the server hung up instead of {0}")]
    Closed(&'static str),
    /// The server owed something for too long.
    #[error("waited too long for {0}")]
    TimedOut(&'static str),
    /// The server did not hang up at `NBD_CMD_DISC`; all that was asked for before has come.
    #[error("the server does not hang up at NBD_CMD_DISC")]
    StaysOpen,
    /// The server refused an option.
    #[error("{option}: {error}{}", colon(message))]
    Refused {
        /// The option.
        option: OptionType,
        /// The server's answer.
        error: ReplyType,
        /// The server's words; may be empty.
        message: WireString,
    },
    /// The server failed a request.
    #[error("{command}: {error}{}", colon(message))]
    Failed {
        /// The command.
        command: Command,
        /// Why. A value that the specification does not know counts as `NBD_EINVAL`.
        error: ErrorCode,
        /// The value as it came.
        received: ErrorCode,
        /// The server's words; may be empty.
        message: WireString,
    },
    /// The server broke a rule. The connection is given up.
    #[error("the server misbehaved: {0}")]
    Misbehaved(#[from] Violation),
    /// The server has not offered what this takes.
    #[error("the server does not offer {0}")]
    NotOffered(&'static str),
    /// What was asked for would break a rule that binds clients.
    #[error("{0}")]
    Misuse(&'static str),
    /// Something lawful that this client can't do with.
    #[error("this client can't cope with {0}")]
    CantCope(&'static str),
    /// The TLS handshake failed. The connection is given up.
    #[error("the TLS handshake failed: {0}")]
    Tls(String),
    /// TLS is wanted, and can't be had with what was given.
    #[error("{0}")]
    BadTls(String),
}

fn colon(message: &WireString) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

/// A rule that a server broke, as far as a client notices.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// What came is no message.
    #[error(transparent)]
    Magic(#[from] BadMagic),
    /// The stream ended inside a message.
    #[error("the stream ended inside a message")]
    Cut,
    /// A message does not have its type's layout.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The reserved bytes after the export's details are not zero.
    #[error("reserved bytes are not zero")]
    Padding,
    /// Bytes in the clear after the ACK of STARTTLS.
    #[error("bytes in the clear after NBD_OPT_STARTTLS was acknowledged")]
    PlainAfterAck,
    /// A reply to another option than the one that was sent.
    #[error("a reply to {found} while {sent} was sent")]
    OtherOption {
        /// The option that was sent.
        sent: OptionType,
        /// The option in the reply.
        found: OptionType,
    },
    /// A kind of reply that the option does not have.
    #[error("{reply} does not answer {option}")]
    UnfitReply {
        /// The option.
        option: OptionType,
        /// The reply.
        reply: ReplyType,
    },
    /// More replies to one option than anybody needs.
    #[error("the replies to {0} take no end")]
    EndlessReplies(OptionType),
    /// An ACK of INFO or GO without size and flags.
    #[error("{0} was acknowledged without NBD_INFO_EXPORT")]
    NoExportInfo(OptionType),
    /// Size constraints that break their rules.
    #[error("{0}")]
    BlockSizes(BadExport),
    /// A string that is too long, not UTF-8, or has a zero byte.
    #[error("a string of {0} bytes breaks the rules for strings")]
    Text(usize),
    /// The transmission flags lack HAS_FLAGS.
    #[error("HAS_FLAGS is not set")]
    HasFlags,
    /// A reply whose cookie no request in flight has.
    #[error("no request in flight has the cookie {:#x}", .0.0)]
    UnknownCookie(Cookie),
    /// A chunk although structured replies were not agreed.
    #[error("a structured reply, which was not agreed")]
    Unasked,
    /// An extended chunk although extended headers were not agreed.
    #[error("an extended reply, which was not agreed")]
    ExtendedUnasked,
    /// A structured chunk although extended headers were agreed.
    #[error("a structured reply under extended headers")]
    NotExtended,
    /// A simple reply although extended headers were agreed.
    #[error("a simple reply under extended headers")]
    SimpleUnderExtended,
    /// An extended chunk that repeats another offset than the request's.
    #[error("a reply with the offset {found} to a request with the offset {sent}")]
    OtherOffset {
        /// The request's.
        sent: u64,
        /// The reply's.
        found: u64,
    },
    /// GO is not supported although extended headers were agreed, which leave no other way.
    #[error("NBD_OPT_GO is not supported, though extended headers were agreed")]
    NoWayIn,
    /// A simple reply to READ although structured replies were agreed.
    #[error("a simple reply to a structured read")]
    SimpleToStructuredRead,
    /// A chunk that the command does not have.
    #[error("{chunk} does not answer {command}")]
    UnfitChunk {
        /// The command.
        command: Command,
        /// The chunk.
        chunk: ChunkType,
    },
    /// Content outside the range of the read.
    #[error("content of {length} bytes at {offset} is outside the read")]
    OutOfBounds {
        /// Where the content begins.
        offset: u64,
        /// How long it is.
        length: u64,
    },
    /// Content that has come before.
    #[error("content of {length} bytes at {offset} overlaps earlier content")]
    Overlap {
        /// Where the content begins.
        offset: u64,
        /// How long it is.
        length: u64,
    },
    /// A hole or data chunk of no length.
    #[error("{0} without content")]
    EmptyContent(ChunkType),
    /// A successful read whose content is not complete.
    #[error("the read was answered but for {missing} bytes")]
    Incomplete {
        /// How much did not come, in bytes.
        missing: u64,
    },
    /// Content in more pieces than anybody needs.
    #[error("a read in too many pieces")]
    TooManyPieces,
    /// More than one content chunk for a read with DF.
    #[error("a read with DF was fragmented")]
    Fragmented,
    /// NONE without DONE.
    #[error("NBD_REPLY_TYPE_NONE without DONE")]
    NoneNotDone,
    /// A success of BLOCK_STATUS in a simple reply.
    #[error("a simple reply to NBD_CMD_BLOCK_STATUS")]
    SimpleStatus,
    /// Two selected contexts with one id.
    #[error("two metadata contexts have the id {0:#x}")]
    ContextIdTwice(u32),
    /// Status of a context that was not selected, or a second time.
    #[error("status of the context {0:#x}, which was not selected or has come before")]
    ContextUnexpected(u32),
    /// A reply without the status of a selected context.
    #[error("no status of the context {0:#x}")]
    ContextMissing(u32),
    /// An extent of no length, or no extent at all.
    #[error("an extent of no length, or none at all")]
    EmptyExtent,
    /// Several extents, or a long one, although one within the request was asked for.
    #[error("more than one extent within the request, though REQ_ONE was set")]
    MoreThanOneExtent,
    /// An extent after the one that reaches the end of the request.
    #[error("an extent behind the end of the request")]
    ExtentAfterEnd,
    /// An extent that reaches beyond the export.
    #[error("an extent reaches beyond the export")]
    ExtentBeyondExport,
    /// A compact status chunk under extended headers.
    #[error("NBD_REPLY_TYPE_BLOCK_STATUS under extended headers")]
    CompactStatus,
    /// An extended status chunk without extended headers.
    #[error("NBD_REPLY_TYPE_BLOCK_STATUS_EXT without extended headers")]
    ExtendedStatus,
    /// An extended status chunk that miscounts its extents.
    #[error("a status chunk says that it has {count} extents, and has {found}")]
    ExtentCount {
        /// What it says.
        count: u32,
        /// How many there are.
        found: usize,
    },
    /// An extended extent of no length, or no extent at all.
    #[error("an extended extent of no length, or none at all")]
    EmptyExtendedExtent,
    /// A status of more than 32 bits in a context that has not so many.
    #[error("the status {0:#x} in a context of 32 bits")]
    LongStatus(u64),
    /// More extents than anybody needs.
    #[error("the extents take no end")]
    TooManyExtents,
    /// An error chunk that says there is no error.
    #[error("an error chunk with the error value 0")]
    ErrorZero,
}

impl Violation {
    /// The requirement of the catalogue that was broken.
    #[must_use]
    pub fn requirement(&self) -> &'static str {
        match self {
            Self::Magic(magic) if magic.is_historic() => id::MAGIC_HISTORIC_NOT_USED,
            Self::Magic(_) | Self::Unasked => id::REPLY_SIMPLE_ONLY_WITHOUT_STRUCTURED,
            Self::ExtendedUnasked => id::MAGIC_EXTENDED_ONLY_NEGOTIATED,
            Self::NotExtended => id::EXT_ALL_REPLIES_EXTENDED,
            Self::SimpleUnderExtended => id::EXT_NO_SIMPLE_REPLY,
            Self::OtherOffset { .. } => id::EXT_REPLY_OFFSET_MATCHES,
            Self::NoWayIn => id::EXT_GO_NOT_UNSUP,
            Self::CompactStatus => id::EXT_BLOCK_STATUS_COMPACT_ONLY,
            Self::ExtendedStatus => id::EXT_BLOCK_STATUS_EXT_NEEDS_NEGOTIATION,
            Self::ExtentCount { count: 0, .. } => id::EXT_BLOCK_STATUS_EXT_COUNT_NONZERO,
            Self::ExtentCount { .. } => id::EXT_BLOCK_STATUS_EXT_COUNT,
            Self::EmptyExtendedExtent => id::EXT_BLOCK_STATUS_EXT_EXTENT_NONZERO,
            Self::LongStatus(_) => id::EXT_BLOCK_STATUS_EXT_UPPER_ZERO,
            Self::Cut => id::SESSION_NO_UNJUSTIFIED_HARD_DISCONNECT,
            Self::Layout(_) => id::OPTION_REPLY_LAYOUT,
            Self::Padding => id::OPT_EXPORT_NAME_PADDING_ZERO,
            Self::PlainAfterAck => id::TLS_NO_PLAINTEXT_AFTER_ACK,
            Self::OtherOption { .. } => id::OPTION_REPLY_ECHOES_OPTION,
            Self::UnfitReply { .. } | Self::EndlessReplies(_) => id::REP_TYPE_FITS_OPTION,
            Self::NoExportInfo(_) => id::OPT_INFO_EXPORT_REQUIRED,
            Self::BlockSizes(BadExport::Minimum(_)) => id::BLOCK_SIZE_MIN_POWER_OF_2,
            Self::BlockSizes(BadExport::Preferred { .. }) => id::BLOCK_SIZE_PREFERRED_LOWER_BOUND,
            Self::BlockSizes(_) => id::BLOCK_SIZE_MAX_LOWER_BOUND,
            Self::Text(_) => id::STRING_HARD_LIMIT_4096,
            Self::HasFlags => id::TFLAG_HAS_FLAGS,
            Self::UnknownCookie(_) => id::COOKIE_ECHOED,
            Self::SimpleToStructuredRead => id::READ_STRUCTURED_NO_SIMPLE,
            Self::UnfitChunk { .. } => id::CHUNK_TYPE_FITS_COMMAND,
            Self::OutOfBounds { .. } => id::CHUNK_CONTENT_IN_BOUNDS,
            Self::Overlap { .. } => id::CHUNK_CONTENT_NO_OVERLAP,
            Self::EmptyContent(ChunkType::OFFSET_HOLE) => id::CHUNK_OFFSET_HOLE_NONZERO,
            Self::EmptyContent(_) => id::CHUNK_OFFSET_DATA_LENGTH,
            Self::Incomplete { .. } => id::READ_STRUCTURED_COVERS_REQUEST,
            Self::TooManyPieces => id::STRUCTURED_FEW_CHUNKS,
            Self::Fragmented => id::READ_DF_ONE_CONTENT_CHUNK,
            Self::NoneNotDone => id::CHUNK_NONE_DONE,
            Self::ErrorZero => id::CHUNK_ERROR_NONZERO,
            Self::SimpleStatus => id::STATUS_REPLY_STRUCTURED,
            Self::ContextIdTwice(_) => id::OPT_SET_META_UNIQUE_IDS,
            Self::ContextUnexpected(_) | Self::ContextMissing(_) => {
                id::STATUS_ONE_CHUNK_PER_CONTEXT
            }
            Self::EmptyExtent => id::STATUS_EXTENT_NONZERO,
            Self::MoreThanOneExtent => id::STATUS_REQ_ONE_SINGLE_EXTENT,
            Self::ExtentAfterEnd => id::STATUS_SUM_BEFORE_LAST,
            Self::ExtentBeyondExport => id::STATUS_WITHIN_EXPORT,
            Self::TooManyExtents => id::STATUS_NEIGHBOURS_DIFFER,
        }
    }
}

impl From<ReadError> for ClientError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Cut => Violation::Cut.into(),
            ReadError::Magic(magic) => Violation::Magic(magic).into(),
            ReadError::Io(error) => error.into(),
        }
    }
}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> Self {
        Self::Lost { kind: error.kind(), error: error.to_string() }
    }
}

/// A text must be a string of the protocol (section "Conventions").
pub(crate) fn text(text: WireString) -> Result<String, ClientError> {
    match text.to_str() {
        Some(valid) if text.len() <= STRING_LIMIT && !valid.contains('\0') => Ok(valid.to_owned()),
        _ => Err(Violation::Text(text.len()).into()),
    }
}
