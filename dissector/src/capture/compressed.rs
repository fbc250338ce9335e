//! Captures inside gzip or Zstandard, taken out as they are read.

use std::io::{self, BufRead as _, BufReader, Read};

use flate2::bufread::GzDecoder;
use ruzstd::decoding::errors::FrameDecoderError;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// Memory for what a Zstandard file may refer back to: enough for `zstd -19`. A file made with
/// `--long` may want more.
const WINDOW: u64 = 32 << 20;

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Zstandard,
}

impl Compression {
    /// By a file's first bytes.
    pub(super) fn of(head: [u8; 4]) -> Option<Self> {
        match head {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            // A file may begin with a frame that holds no data, as those of pzstd do.
            [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Some(Self::Zstandard),
            _ => None,
        }
    }
}

/// Why a compressed file ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// It ends within its data.
    Cut,
    /// Its data make no sense.
    Corrupt,
    /// Taking it out needs too much memory.
    TooLarge,
}

/// Remembers how reading ended: a decoder's errors do not tell the file's end from nonsense.
struct Watched<'a> {
    inner: Box<dyn Read + Send + 'a>,
    ended: bool,
    error: Option<io::Error>,
}

impl Read for Watched<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self.inner.read(out) {
            Ok(0) if !out.is_empty() => {
                self.ended = true;
                Ok(0)
            }
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                let kind = error.kind();
                self.error = Some(error);
                Err(kind.into())
            }
            result => result,
        }
    }
}

#[expect(clippy::large_enum_variant, reason = "there is one for a file")]
enum Decoder<'a> {
    Gzip(Gzip<'a>),
    Zstandard(Zstandard<'a>),
}

/// What is inside. Where the data are damaged it ends, and says so when asked.
pub(super) struct Decompressed<'a> {
    decoder: Decoder<'a>,
    broken: Option<Broken>,
}

impl<'a> Decompressed<'a> {
    pub(super) fn new(inner: Box<dyn Read + Send + 'a>, by: Compression) -> Self {
        let inner = Watched { inner, ended: false, error: None };
        let decoder = match by {
            Compression::Gzip => {
                Decoder::Gzip(Gzip::Within(Box::new(GzDecoder::new(reader(inner)))))
            }
            Compression::Zstandard => Decoder::Zstandard(Zstandard {
                reader: reader(inner),
                decoder: {
                    let mut decoder = FrameDecoder::new();
                    decoder.set_max_window_size(WINDOW);
                    decoder
                },
                within: false,
            }),
        };
        Self { decoder, broken: None }
    }

    pub(super) fn broken(&self) -> Option<Broken> {
        self.broken
    }
}

impl Read for Decompressed<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.broken.is_some() {
            return Ok(0);
        }
        let (result, watched) = match &mut self.decoder {
            Decoder::Gzip(decoder) => (decoder.take_out(out), decoder.reader()),
            Decoder::Zstandard(decoder) => (decoder.take_out(out), Some(decoder.reader.get_mut())),
        };
        let (error, ended) =
            watched.map_or((None, false), |watched| (watched.error.take(), watched.ended));
        match (result, error) {
            (Err(_), Some(error)) => Err(error),
            (Err(why), None) => {
                let cut = why == Broken::Corrupt && ended;
                self.broken = Some(if cut { Broken::Cut } else { why });
                Ok(0)
            }
            (Ok(count), _) => Ok(count),
        }
    }
}

fn reader(inner: Watched<'_>) -> BufReader<Watched<'_>> {
    BufReader::with_capacity(128 << 10, inner)
}

/// The members of a file, one after the other.
enum Gzip<'a> {
    Within(Box<GzDecoder<BufReader<Watched<'a>>>>),
    /// Behind the last one.
    Over(BufReader<Watched<'a>>),
    /// While one becomes the other.
    Between,
}

impl<'a> Gzip<'a> {
    fn take_out(&mut self, out: &mut [u8]) -> Result<usize, Broken> {
        while let Self::Within(decoder) = self {
            let count = decoder.read(out).map_err(|_| Broken::Corrupt)?;
            if count > 0 || out.is_empty() {
                return Ok(count);
            }
            self.next_member()?;
        }
        Ok(0)
    }

    /// Steps over the end of a member. After the last one zeroes may fill a block, as on tapes.
    fn next_member(&mut self) -> Result<(), Broken> {
        let Self::Within(decoder) = std::mem::replace(self, Self::Between) else { return Ok(()) };
        let mut reader = decoder.into_inner();
        let more = loop {
            let bytes = match reader.fill_buf() {
                Ok(bytes) => bytes,
                Err(_) => {
                    *self = Self::Over(reader);
                    return Err(Broken::Corrupt);
                }
            };
            let zeroes = bytes.iter().take_while(|byte| **byte == 0).count();
            if zeroes < bytes.len() || zeroes == 0 {
                let more = zeroes < bytes.len();
                reader.consume(zeroes);
                break more;
            }
            reader.consume(zeroes);
        };
        *self =
            if more { Self::Within(Box::new(GzDecoder::new(reader))) } else { Self::Over(reader) };
        Ok(())
    }

    fn reader(&mut self) -> Option<&mut Watched<'a>> {
        match self {
            Self::Within(decoder) => Some(decoder.get_mut().get_mut()),
            Self::Over(reader) => Some(reader.get_mut()),
            Self::Between => None,
        }
    }
}

/// The frames of a file, one after the other.
struct Zstandard<'a> {
    reader: BufReader<Watched<'a>>,
    decoder: FrameDecoder,
    /// In a frame, of which something may be left.
    within: bool,
}

impl Zstandard<'_> {
    fn take_out(&mut self, out: &mut [u8]) -> Result<usize, Broken> {
        loop {
            if !self.within && !self.next_frame()? {
                return Ok(0);
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                self.decoder
                    .decode_blocks(&mut self.reader, BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(|_| Broken::Corrupt)?;
            }
            let count = self.decoder.read(out).map_err(|_| Broken::Corrupt)?;
            if count > 0 || out.is_empty() {
                return Ok(count);
            }
            self.within = false;
        }
    }

    /// Begins the next frame; says whether there is one.
    fn next_frame(&mut self) -> Result<bool, Broken> {
        use ruzstd::decoding::errors::ReadFrameHeaderError::SkipFrame;
        loop {
            if self.reader.fill_buf().map_err(|_| Broken::Corrupt)?.is_empty() {
                return Ok(false);
            }
            match self.decoder.reset(&mut self.reader) {
                Ok(()) => {}
                // Holds what is no data of the file.
                Err(FrameDecoderError::ReadFrameHeaderError(SkipFrame { length, .. })) => {
                    let length = u64::from(length);
                    let skipped = io::copy(&mut (&mut self.reader).take(length), &mut io::sink());
                    match skipped {
                        Ok(skipped) if skipped == length => continue,
                        _ => return Err(Broken::Corrupt),
                    }
                }
                Err(FrameDecoderError::WindowSizeTooBig { .. }) => return Err(Broken::TooLarge),
                Err(_) => return Err(Broken::Corrupt),
            }
            self.within = true;
            return Ok(true);
        }
    }
}
