//! What a capture file holds, and why it can't be read.

use std::io;

use super::LinkType;

/// The largest packet or block that is kept, in bytes. Larger blocks that are no packets are
/// skipped; a larger packet means that the file is corrupt.
pub const MAX_BLOCK: usize = 16 << 20;

/// A captured packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// When, in nanoseconds since 1970 (UTC).
    pub time_ns: u64,
    /// What `data` begins with.
    pub link: LinkType,
    /// What was captured of it.
    pub data: &'a [u8],
    /// How long it was on the wire, in bytes; more than `data` where the capture cut it short.
    pub original_length: u32,
}

/// What a capture file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'a> {
    /// A packet.
    Packet(Packet<'a>),
    /// A TLS key log inside the file (pcapng's decryption secrets block).
    TlsKeyLog(&'a [u8]),
}

/// Why a file can't be read, or can't be read further.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Reading failed.
    #[error("can't read the capture: {0}")]
    Io(#[from] io::Error),
    /// The file has no bytes.
    #[error("the file is empty")]
    Empty,
    /// The file is something else.
    #[error("not a pcap or pcapng file{hint}")]
    NotACapture {
        /// What it seems to be, and what to do; starts with a line break, or is empty.
        hint: &'static str,
    },
    /// The file ends within a packet, as when the capture was killed; everything before is good.
    #[error("the file is cut off within {what} at byte {at}")]
    Cut {
        /// Where the incomplete thing begins, in bytes from the start of the file.
        at: u64,
        /// What it is.
        what: &'static str,
    },
    /// The file breaks its format; everything before is good.
    #[error("the file is corrupt at byte {at}: {what}")]
    Corrupt {
        /// Where, in bytes from the start of the file.
        at: u64,
        /// What is wrong.
        what: &'static str,
    },
}

impl ReadError {
    /// Whether packets before the error were good, so that what was read has a meaning.
    #[must_use]
    pub const fn is_partial(&self) -> bool {
        matches!(self, Self::Cut { .. } | Self::Corrupt { .. })
    }
}
