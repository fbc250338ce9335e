//! Every number of the protocol that has a name, declared once.
//!
//! Each type is a newtype over the wire integer: known values print under the specification's
//! name, unknown ones keep their number (`NBD_OPT_0x4e424421`) and survive a round trip.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// `NBDMAGIC`, the first 8 bytes of every server (section "Handshake").
pub const INIT_MAGIC: u64 = 0x4e42_444d_4147_4943;
/// The second magic of the oldstyle greeting (section "Oldstyle negotiation").
pub const OLDSTYLE_MAGIC: u64 = 0x0000_4202_8186_1253;
/// `IHAVEOPT`: second magic of the newstyle greeting, first of every option.
pub const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
/// First 8 bytes of every option reply (section "Fixed newstyle negotiation").
pub const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
/// `NBD_REQUEST_MAGIC`.
pub const REQUEST_MAGIC: u32 = 0x2560_9513;
/// `NBD_EXTENDED_REQUEST_MAGIC` (extension "extended headers").
pub const EXTENDED_REQUEST_MAGIC: u32 = 0x21e4_1c71;
/// `NBD_SIMPLE_REPLY_MAGIC`.
pub const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
/// `NBD_STRUCTURED_REPLY_MAGIC`.
pub const STRUCTURED_REPLY_MAGIC: u32 = 0x668e_33ef;
/// `NBD_EXTENDED_REPLY_MAGIC` (extension "extended headers").
pub const EXTENDED_REPLY_MAGIC: u32 = 0x6e8a_278c;
/// Magics of the past that must never be seen (section "Reserved Magic values").
pub const HISTORIC_MAGICS: [u32; 3] = [0x1256_0953, 0x9674_4668, 0x2560_9514];

/// The port that IANA reserved for newstyle NBD.
pub const DEFAULT_PORT: u16 = 10809;
/// The longest string that the protocol allows, in bytes (section "Conventions").
pub const STRING_LIMIT: usize = 4096;
/// The string length that should not be exceeded, in bytes (section "Conventions").
pub const STRING_SOFT_LIMIT: usize = 256;
/// The largest payload that every peer should take, in bytes (section "Size constraints").
pub const DEFAULT_MAXIMUM_PAYLOAD: u32 = 1 << 25;
/// The number of extents that a status chunk should not exceed.
pub const EXTENT_LIMIT: usize = 1 << 20;

/// A text that names no value of the asked kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {wanted}")]
pub struct UnknownName {
    /// What was given.
    pub text: String,
    /// What kind of name was expected, with its article: "an option type".
    pub wanted: &'static str,
}

/// Reads `0x1f` or `31`.
#[must_use]
pub fn parse_number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// From the number on the wire and back.
macro_rules! raw {
    ($type:ty, $int:ty) => {
        impl From<$int> for $type {
            fn from(raw: $int) -> Self {
                Self(raw)
            }
        }

        impl From<$type> for $int {
            fn from(value: $type) -> Self {
                value.0
            }
        }
    };
}

macro_rules! values {
    (
        $(#[$doc:meta])*
        $type:ident($int:ty), $wanted:literal, $prefix:literal;
        $($(#[$vdoc:meta])* $constant:ident = $value:expr, $name:literal;)*
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $type(pub $int);

        impl $type {
            $($(#[$vdoc])* pub const $constant: Self = Self($value);)*

            /// Every value that the specification names, in its order.
            pub const ALL: &'static [Self] = &[$(Self::$constant),*];

            /// The specification's name, if it has one.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$constant => Some($name),)*
                    _ => None,
                }
            }

            /// What it prints as; costs nothing where there is a name.
            #[must_use]
            pub fn label(self) -> Cow<'static, str> {
                self.name().map_or_else(|| Cow::Owned(self.to_string()), Cow::Borrowed)
            }
        }

        raw!($type, $int);

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.name() {
                    Some(name) => f.pad(name),
                    None => f.pad(&format!(concat!($prefix, "{:#x}"), self.0)),
                }
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $type {
            type Err = UnknownName;

            /// Takes the specification's name, or its prefix followed by a number.
            fn from_str(text: &str) -> Result<Self, UnknownName> {
                match text {
                    $($name => return Ok(Self::$constant),)*
                    _ => {}
                }
                text.strip_prefix($prefix)
                    .and_then(parse_number)
                    .and_then(|n| <$int>::try_from(n).ok())
                    .map(Self)
                    .ok_or_else(|| UnknownName { text: text.to_owned(), wanted: $wanted })
            }
        }
    };
}

values! {
    /// What a client asks for during haggling (section "Option types").
    OptionType(u32), "an option type", "NBD_OPT_";
    /// Enter transmission on the named export; no reply header, no error reply.
    EXPORT_NAME = 1, "NBD_OPT_EXPORT_NAME";
    /// End the session softly.
    ABORT = 2, "NBD_OPT_ABORT";
    /// List the exports.
    LIST = 3, "NBD_OPT_LIST";
    /// Withdrawn; not in use.
    PEEK_EXPORT = 4, "NBD_OPT_PEEK_EXPORT";
    /// Upgrade the connection to TLS.
    STARTTLS = 5, "NBD_OPT_STARTTLS";
    /// Details about one export.
    INFO = 6, "NBD_OPT_INFO";
    /// Details about one export, then transmission.
    GO = 7, "NBD_OPT_GO";
    /// Negotiate structured replies.
    STRUCTURED_REPLY = 8, "NBD_OPT_STRUCTURED_REPLY";
    /// List metadata contexts.
    LIST_META_CONTEXT = 9, "NBD_OPT_LIST_META_CONTEXT";
    /// Select metadata contexts.
    SET_META_CONTEXT = 10, "NBD_OPT_SET_META_CONTEXT";
    /// Negotiate extended headers (extension "extended headers").
    EXTENDED_HEADERS = 11, "NBD_OPT_EXTENDED_HEADERS";
}

values! {
    /// How a server answers an option (section "Option reply types"); bit 31 marks errors.
    ReplyType(u32), "an option reply type", "NBD_REP_";
    /// The option is done.
    ACK = 1, "NBD_REP_ACK";
    /// One export of a list.
    SERVER = 2, "NBD_REP_SERVER";
    /// One item of information about an export.
    INFO = 3, "NBD_REP_INFO";
    /// One metadata context.
    META_CONTEXT = 4, "NBD_REP_META_CONTEXT";
    /// The option is unknown.
    ERR_UNSUP = 0x8000_0001, "NBD_REP_ERR_UNSUP";
    /// Known and well-formed, but forbidden here.
    ERR_POLICY = 0x8000_0002, "NBD_REP_ERR_POLICY";
    /// Known, but wrong in syntax or semantics.
    ERR_INVALID = 0x8000_0003, "NBD_REP_ERR_INVALID";
    /// Not available on this platform or in this build.
    ERR_PLATFORM = 0x8000_0004, "NBD_REP_ERR_PLATFORM";
    /// TLS must be started first.
    ERR_TLS_REQD = 0x8000_0005, "NBD_REP_ERR_TLS_REQD";
    /// The export is not available.
    ERR_UNKNOWN = 0x8000_0006, "NBD_REP_ERR_UNKNOWN";
    /// The server is shutting down.
    ERR_SHUTDOWN = 0x8000_0007, "NBD_REP_ERR_SHUTDOWN";
    /// The client must ask for the block size first.
    ERR_BLOCK_SIZE_REQD = 0x8000_0008, "NBD_REP_ERR_BLOCK_SIZE_REQD";
    /// The request or its reply is too large.
    ERR_TOO_BIG = 0x8000_0009, "NBD_REP_ERR_TOO_BIG";
    /// Extended headers must be negotiated first, or are already and can't be undone.
    ERR_EXT_HEADER_REQD = 0x8000_000a, "NBD_REP_ERR_EXT_HEADER_REQD";
}

impl ReplyType {
    /// Whether bit 31 is set: the option failed.
    #[must_use]
    pub const fn is_error(self) -> bool {
        self.0 & 0x8000_0000 != 0
    }

    /// Whether this reply ends the answer to its option: an ACK or any error.
    #[must_use]
    pub const fn is_final(self) -> bool {
        self.is_error() || self.0 == Self::ACK.0
    }
}

values! {
    /// What an `NBD_REP_INFO` tells (section "Option reply types", `NBD_REP_INFO`).
    InfoType(u16), "an information type", "NBD_INFO_";
    /// Size and transmission flags.
    EXPORT = 0, "NBD_INFO_EXPORT";
    /// The canonical name.
    NAME = 1, "NBD_INFO_NAME";
    /// A description for people.
    DESCRIPTION = 2, "NBD_INFO_DESCRIPTION";
    /// The size constraints.
    BLOCK_SIZE = 3, "NBD_INFO_BLOCK_SIZE";
}

values! {
    /// What a client asks for in transmission (section "Request types").
    Command(u16), "a command", "NBD_CMD_";
    /// Read `length` bytes from `offset`.
    READ = 0, "NBD_CMD_READ";
    /// Write the payload at `offset`.
    WRITE = 1, "NBD_CMD_WRITE";
    /// End the session; no reply.
    DISC = 2, "NBD_CMD_DISC";
    /// Make answered writes stable.
    FLUSH = 3, "NBD_CMD_FLUSH";
    /// The range is no longer needed.
    TRIM = 4, "NBD_CMD_TRIM";
    /// The range will be wanted soon.
    CACHE = 5, "NBD_CMD_CACHE";
    /// Make the range read as zeroes.
    WRITE_ZEROES = 6, "NBD_CMD_WRITE_ZEROES";
    /// Ask for the metadata of a range.
    BLOCK_STATUS = 7, "NBD_CMD_BLOCK_STATUS";
    /// Of an experimental extension.
    RESIZE = 8, "NBD_CMD_RESIZE";
}

values! {
    /// What a structured or extended chunk carries (section "Structured reply types").
    ChunkType(u16), "a structured reply type", "NBD_REPLY_TYPE_";
    /// Nothing; always last.
    NONE = 0, "NBD_REPLY_TYPE_NONE";
    /// Data of a part of the read.
    OFFSET_DATA = 1, "NBD_REPLY_TYPE_OFFSET_DATA";
    /// A part of the read that is all zeroes.
    OFFSET_HOLE = 2, "NBD_REPLY_TYPE_OFFSET_HOLE";
    /// Extents of one metadata context.
    BLOCK_STATUS = 5, "NBD_REPLY_TYPE_BLOCK_STATUS";
    /// The same with 64-bit extents (extension "extended headers").
    BLOCK_STATUS_EXT = 6, "NBD_REPLY_TYPE_BLOCK_STATUS_EXT";
    /// The request failed.
    ERROR = 0x8001, "NBD_REPLY_TYPE_ERROR";
    /// The request failed at an offset.
    ERROR_OFFSET = 0x8002, "NBD_REPLY_TYPE_ERROR_OFFSET";
}

impl ChunkType {
    /// Whether bit 15 is set: an error chunk, known or not.
    #[must_use]
    pub const fn is_error(self) -> bool {
        self.0 & 0x8000 != 0
    }

    /// Whether the chunk carries content of a read.
    #[must_use]
    pub const fn is_content(self) -> bool {
        matches!(self, Self::OFFSET_DATA | Self::OFFSET_HOLE)
    }
}

values! {
    /// Why a request failed (section "Error values"). The numbers are those of Linux.
    ErrorCode(u32), "an error value", "NBD_E";
    /// No error.
    OK = 0, "ok";
    /// Operation not permitted.
    EPERM = 1, "NBD_EPERM";
    /// Input/output error.
    EIO = 5, "NBD_EIO";
    /// Cannot allocate memory.
    ENOMEM = 12, "NBD_ENOMEM";
    /// Invalid argument.
    EINVAL = 22, "NBD_EINVAL";
    /// No space left on device.
    ENOSPC = 28, "NBD_ENOSPC";
    /// Value too large.
    EOVERFLOW = 75, "NBD_EOVERFLOW";
    /// Operation not supported.
    ENOTSUP = 95, "NBD_ENOTSUP";
    /// The server is being shut down.
    ESHUTDOWN = 108, "NBD_ESHUTDOWN";
}

macro_rules! flags {
    (
        $(#[$doc:meta])*
        $type:ident($int:ty);
        $($(#[$fdoc:meta])* $constant:ident = $bit:expr;)*
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $type(pub $int);

        impl $type {
            $($(#[$fdoc])* pub const $constant: Self = Self(1 << $bit);)*

            /// No flag.
            pub const EMPTY: Self = Self(0);

            /// Every flag that the specification names, with its name, in order of bits.
            pub const ALL: &'static [(Self, &'static str)] =
                &[$((Self::$constant, stringify!($constant))),*];

            /// Whether all bits of `other` are set here.
            #[must_use]
            pub const fn has(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// These flags and those of `other`.
            #[must_use]
            pub const fn with(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// These flags less those of `other`.
            #[must_use]
            pub const fn without(self, other: Self) -> Self {
                Self(self.0 & !other.0)
            }

            /// The bits that no name of the specification covers.
            #[must_use]
            pub const fn unknown(self) -> Self {
                Self(self.0 $(& !(1 << $bit))*)
            }

            /// The names of the set flags in order of bits; each unknown bit as a hexadecimal
            /// mask.
            #[must_use]
            pub fn names(self) -> Vec<String> {
                let mut names: Vec<String> = Self::ALL
                    .iter()
                    .filter(|(flag, _)| self.has(*flag))
                    .map(|(_, name)| (*name).to_owned())
                    .collect();
                let unknown = self.unknown().0;
                names.extend(
                    (0..<$int>::BITS)
                        .map(|bit| unknown & (1 << bit))
                        .filter(|mask| *mask != 0)
                        .map(|mask| format!("{mask:#x}")),
                );
                names
            }
        }

        impl FromStr for $type {
            type Err = UnknownName;

            /// Takes one flag's name, or a number as a mask.
            fn from_str(text: &str) -> Result<Self, UnknownName> {
                Self::ALL
                    .iter()
                    .find(|(_, name)| *name == text)
                    .map(|(flag, _)| *flag)
                    .or_else(|| {
                        parse_number(text).and_then(|n| <$int>::try_from(n).ok()).map(Self)
                    })
                    .ok_or_else(|| UnknownName {
                        text: text.to_owned(),
                        wanted: concat!("one of the ", stringify!($type)),
                    })
            }
        }

        raw!($type, $int);

        impl std::ops::BitOr for $type {
            type Output = Self;
            fn bitor(self, other: Self) -> Self {
                self.with(other)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{{{}}}", self.names().join(" "))
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

flags! {
    /// `NBD_FLAG_*` of the greeting (section "Handshake flags").
    HandshakeFlags(u16);
    /// The server supports fixed newstyle.
    FIXED_NEWSTYLE = 0;
    /// The server can leave out the 124 zeroes after `NBD_OPT_EXPORT_NAME`.
    NO_ZEROES = 1;
}

flags! {
    /// `NBD_FLAG_C_*`, the client's answer to the greeting (section "Client flags").
    ClientFlags(u32);
    /// The client supports fixed newstyle.
    FIXED_NEWSTYLE = 0;
    /// The client wants no zeroes after `NBD_OPT_EXPORT_NAME`.
    NO_ZEROES = 1;
}

flags! {
    /// `NBD_FLAG_*` of an export (section "Transmission flags").
    TransmissionFlags(u16);
    /// Always set.
    HAS_FLAGS = 0;
    /// The export can't be written.
    READ_ONLY = 1;
    /// `NBD_CMD_FLUSH` is supported.
    SEND_FLUSH = 2;
    /// `NBD_CMD_FLAG_FUA` is supported.
    SEND_FUA = 3;
    /// The medium rotates.
    ROTATIONAL = 4;
    /// `NBD_CMD_TRIM` is supported.
    SEND_TRIM = 5;
    /// `NBD_CMD_WRITE_ZEROES` is supported.
    SEND_WRITE_ZEROES = 6;
    /// `NBD_CMD_FLAG_DF` is supported.
    SEND_DF = 7;
    /// The export can be used over several connections.
    CAN_MULTI_CONN = 8;
    /// Of an experimental extension.
    SEND_RESIZE = 9;
    /// `NBD_CMD_CACHE` is supported.
    SEND_CACHE = 10;
    /// `NBD_CMD_FLAG_FAST_ZERO` is supported.
    SEND_FAST_ZERO = 11;
    /// `NBD_CMD_BLOCK_STATUS` takes a payload (extension "extended headers").
    BLOCK_STATUS_PAYLOAD = 12;
}

flags! {
    /// `NBD_CMD_FLAG_*` of a request (section "Command flags").
    CommandFlags(u16);
    /// Force unit access: stable before the reply.
    FUA = 0;
    /// Do not make a hole of the zeroes.
    NO_HOLE = 1;
    /// Do not fragment the reply.
    DF = 2;
    /// Only one extent is wanted.
    REQ_ONE = 3;
    /// Fail rather than be slow.
    FAST_ZERO = 4;
    /// `length` counts a payload (extension "extended headers").
    PAYLOAD_LEN = 5;
}

flags! {
    /// `NBD_REPLY_FLAG_*` of a chunk (section "Structured reply flags").
    ReplyFlags(u16);
    /// The last chunk of the reply.
    DONE = 0;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_values_keep_their_number() {
        assert_eq!(OptionType(0x4e42_4421).to_string(), "NBD_OPT_0x4e424421");
        assert_eq!("NBD_OPT_0x4e424421".parse(), Ok(OptionType(0x4e42_4421)));
        assert_eq!(ErrorCode(9999).to_string(), "NBD_E0x270f");
        assert_eq!("NBD_E0x270f".parse(), Ok(ErrorCode(9999)));
        assert!("NBD_REPLY_TYPE_0x10000".parse::<ChunkType>().is_err());
    }

    #[test]
    fn flags_print_names_and_unknown_bits() {
        let flags = TransmissionFlags(0x8003);
        assert_eq!(flags.to_string(), "{HAS_FLAGS READ_ONLY 0x8000}");
        assert_eq!(flags.unknown(), TransmissionFlags(0x8000));
    }

    #[test]
    fn every_named_value_reads_back() {
        for option in OptionType::ALL {
            assert_eq!(option.to_string().parse(), Ok(*option));
        }
        for error in ErrorCode::ALL {
            assert_eq!(error.to_string().parse(), Ok(*error));
        }
    }
}
