//! Reading a capture file, whichever its format.

use super::compressed::{Broken, Compression};
use super::foreign;
use super::item::{Item, ReadError};
use super::map::Mapping;
use super::pcap::Pcap;
use super::pcapng::PcapNg;
use super::source::{Input, Source};

enum Format {
    Pcap(Pcap),
    PcapNg(PcapNg),
}

/// Reads packets from a file of either format, found out by its first bytes; it may be compressed
/// by gzip or Zstandard.
pub struct CaptureReader<'a> {
    source: Source<'a>,
    format: Format,
    /// How much of the source the last item took.
    last: usize,
}

impl<'a> CaptureReader<'a> {
    /// Reads the head of the file.
    ///
    /// # Errors
    /// It can't be read, is empty, is no capture, or ends within its head.
    pub fn new(input: impl Into<Input<'a>>) -> Result<Self, ReadError> {
        let mut source = Source::new(input.into());
        let mut magic = magic(&mut source)?;
        if let Some(compression) = Compression::of(magic) {
            source = source.decompress(compression)?;
            magic = self::magic(&mut source)?;
        }
        let format = match magic {
            [0x0a, 0x0d, 0x0d, 0x0a] => Format::PcapNg(PcapNg::default()),
            [0xa1, 0xb2, ..] | [_, _, 0xb2, 0xa1] => {
                Format::Pcap(Pcap::new(&mut source).map_err(|error| or_broken(&source, error))?)
            }
            _ => return Err(ReadError::NotACapture { hint: foreign::hint(&mut source)? }),
        };
        let mut this = Self { source, format, last: 0 };
        if let Format::PcapNg(format) = &mut this.format {
            // The first block must make sense, or it is some other file with the same first bytes.
            let head = format.check_head(&mut this.source);
            head.map_err(|error| or_broken(&this.source, error))?;
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
        let next = match &mut self.format {
            Format::Pcap(format) => format.next_record(&mut self.source),
            Format::PcapNg(format) => format.next_record(&mut self.source),
        };
        let whole = match next {
            Ok(Some(whole)) => whole,
            // Compressed data may break off between two packets.
            Ok(None) => return broken(&self.source).map_or(Ok(None), Err),
            Err(error) => return Err(or_broken(&self.source, error)),
        };
        self.last = whole;
        // Where the next packet begins was asked for one packet ago; it tells where it ends, and the
        // one after it begins.
        let next = self.source.data().get(whole..).unwrap_or_default();
        let length = match &self.format {
            Format::Pcap(format) => format.length(next),
            Format::PcapNg(format) => format.length(next),
        };
        self.source.prefetch((whole + length).saturating_sub(4));
        let bytes = self.source.data().get(..whole).unwrap_or_default();
        let at = self.source.position();
        match &mut self.format {
            Format::Pcap(format) => Ok(Some(format.item(bytes))),
            Format::PcapNg(format) => format.item(bytes, at).map(Some),
        }
    }

    /// What the last packet's bytes are a part of, where the file is mapped.
    pub(crate) fn mapping(&self) -> Option<&Mapping> {
        self.source.mapping()
    }

    /// Whether secrets of TLS may be among the packets.
    #[must_use]
    pub fn may_hold_secrets(&self) -> bool {
        matches!(self.format, Format::PcapNg(_))
    }

    /// How many packets the capture says were lost while it was made, as far as it has been read.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        match &self.format {
            Format::Pcap(_) => 0,
            Format::PcapNg(format) => format.dropped(),
        }
    }

    /// How many bytes of the capture have been read and decoded.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.source.position()
    }
}

fn magic(source: &mut Source<'_>) -> Result<[u8; 4], ReadError> {
    source.fill(4)?;
    match *source.data() {
        [a, b, c, d, ..] => Ok([a, b, c, d]),
        [] => Err(or_broken(source, ReadError::Empty)),
        _ => Err(or_broken(source, ReadError::NotACapture { hint: "" })),
    }
}

/// What is wrong with the compressed form of a file.
fn broken(source: &Source<'_>) -> Option<ReadError> {
    let at = source.position();
    source.broken().map(|broken| match broken {
        Broken::Cut => ReadError::Cut { at, what: "its compressed data" },
        Broken::Corrupt => ReadError::Corrupt {
            at,
            what: "its compressed data make no sense; bytes are those of the capture inside",
        },
        Broken::TooLarge => ReadError::NotACapture {
            hint: " that can be decompressed in little memory\n\
                   hint: zstdcat --memory=2048MB FILE | nbdcheck decode -",
        },
    })
}

/// An end that is due to the file's compressed form is put down to that.
fn or_broken(source: &Source<'_>, error: ReadError) -> ReadError {
    match error {
        ReadError::Cut { .. } | ReadError::Empty | ReadError::NotACapture { .. } => {
            broken(source).unwrap_or(error)
        }
        _ => error,
    }
}
