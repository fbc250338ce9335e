//! Reading a capture file, whichever its format.

use std::io::{self, Read};

use super::LinkType;
use super::pcap::Pcap;
use super::pcapng::PcapNg;
use super::source::Source;

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

enum Format {
    Pcap(Pcap),
    PcapNg(PcapNg),
}

/// Reads packets from a file of either format, found out by its first bytes.
pub struct CaptureReader<R> {
    source: Source<R>,
    format: Format,
    /// How much of the source the last item took.
    last: usize,
}

impl<R: Read> CaptureReader<R> {
    /// Reads the head of the file.
    ///
    /// # Errors
    /// It can't be read, is empty, is no capture, or ends within its head.
    pub fn new(reader: R) -> Result<Self, ReadError> {
        let mut source = Source::new(reader);
        if !source.fill(4)? {
            return Err(match source.data() {
                [] => ReadError::Empty,
                _ => ReadError::NotACapture { hint: "" },
            });
        }
        let magic = [source.data()[0], source.data()[1], source.data()[2], source.data()[3]];
        let format = match magic {
            [0x0a, 0x0d, 0x0d, 0x0a] => Format::PcapNg(PcapNg::default()),
            [0xa1, 0xb2, ..] | [_, _, 0xb2, 0xa1] => Format::Pcap(Pcap::new(&mut source)?),
            [0x1f, 0x8b, ..] => {
                let hint = "; it is compressed\nhint: gunzip -c FILE | nbdcheck decode -";
                return Err(ReadError::NotACapture { hint });
            }
            [0x28, 0xb5, 0x2f, 0xfd] => {
                let hint = "; it is compressed\nhint: zstdcat FILE | nbdcheck decode -";
                return Err(ReadError::NotACapture { hint });
            }
            _ => return Err(ReadError::NotACapture { hint: "" }),
        };
        let mut this = Self { source, format, last: 0 };
        if let Format::PcapNg(format) = &mut this.format {
            // The first block must make sense, or it is some other file with the same first bytes.
            format.check_head(&mut this.source)?;
        }
        Ok(this)
    }

    /// The next packet or secret; `None` at the end of the file. After an error, the file can't be
    /// read further.
    ///
    /// # Errors
    /// Reading fails, the file is cut off or corrupt.
    pub fn next_item(&mut self) -> Result<Option<Item<'_>>, ReadError> {
        self.source.consume(std::mem::take(&mut self.last));
        match &mut self.format {
            Format::Pcap(format) => format.next_item(&mut self.source, &mut self.last),
            Format::PcapNg(format) => format.next_item(&mut self.source, &mut self.last),
        }
    }

    /// How many bytes of the file have been read and decoded.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.source.position()
    }
}
