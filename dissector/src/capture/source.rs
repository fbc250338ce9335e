//! Bytes of a file through a buffer or window of bounded size.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};

use super::compressed::{Broken, Compression, Decompressed};
use super::map::{Mapping, Window};

/// How much is read at once. Small enough to stay in the processor's cache, large enough that
/// packets are seldom moved within the buffer.
const CHUNK: usize = 256 << 10;
/// How many lines of the cache the headers of a packet take.
const AHEAD: usize = 3;
/// Files from this size on are mapped instead of read.
const MAP_FROM: u64 = 1 << 20;

/// Where a capture comes from.
pub struct Input<'a>(Origin<'a>);

enum Origin<'a> {
    Reader(Box<dyn Read + Send + 'a>),
    File(File),
}

impl Input<'_> {
    /// A file, to be read from its beginning. A large one is mapped into memory, a window at a
    /// time: it may grow meanwhile, but whoever cuts it short while it is read raises SIGBUS in this
    /// process.
    ///
    /// # Errors
    /// What kind of file it is can't be found out.
    pub fn file(file: File) -> io::Result<Self> {
        Self::map_from(file, MAP_FROM)
    }

    /// A file that is mapped from this size on.
    pub(crate) fn map_from(file: File, size: u64) -> io::Result<Self> {
        let about = file.metadata()?;
        Ok(Self(if about.is_file() && about.len() >= size {
            Origin::File(file)
        } else {
            Origin::Reader(Box::new(file))
        }))
    }
}

impl<'a, R: Read + Send + 'a> From<R> for Input<'a> {
    fn from(reader: R) -> Self {
        Self(Origin::Reader(Box::new(reader)))
    }
}

enum Bytes<'a> {
    Read { reader: Box<dyn Read + Send + 'a>, buffer: Vec<u8> },
    Decompressed { reader: Box<Decompressed<'a>>, buffer: Vec<u8> },
    Mapped(Window),
}

/// A reader with look-ahead.
pub(super) struct Source<'a> {
    bytes: Bytes<'a>,
    start: usize,
    end: usize,
    position: u64,
    at_end: bool,
}

impl<'a> Source<'a> {
    pub(super) fn new(input: Input<'a>) -> Self {
        let bytes = match input.0 {
            Origin::Reader(reader) => Bytes::Read { reader, buffer: vec![0; CHUNK] },
            Origin::File(file) => Bytes::Mapped(Window::new(file)),
        };
        Self { bytes, start: 0, end: 0, position: 0, at_end: false }
    }

    /// The same bytes without their compression, of which only one layer is taken off. Nothing may
    /// have been consumed; positions are those in what comes out.
    pub(super) fn decompress(self, by: Compression) -> io::Result<Self> {
        let head = self.data().to_vec();
        let inner: Box<dyn Read + Send + 'a> = match self.bytes {
            Bytes::Read { reader, .. } => Box::new(io::Cursor::new(head).chain(reader)),
            Bytes::Decompressed { reader, .. } => Box::new(io::Cursor::new(head).chain(reader)),
            Bytes::Mapped(window) => {
                let mut file = window.into_file();
                file.seek(SeekFrom::Start(0))?;
                Box::new(file)
            }
        };
        let reader = Box::new(Decompressed::new(inner, by));
        let bytes = Bytes::Decompressed { reader, buffer: vec![0; CHUNK] };
        Ok(Self { bytes, start: 0, end: 0, position: 0, at_end: false })
    }

    /// Whether the bytes ended because their compressed form is damaged.
    pub(super) fn broken(&self) -> Option<Broken> {
        match &self.bytes {
            Bytes::Decompressed { reader, .. } => reader.broken(),
            _ => None,
        }
    }

    /// What [`Source::data`] is a part of, if it is mapped.
    pub(super) fn mapping(&self) -> Option<&Mapping> {
        match &self.bytes {
            Bytes::Mapped(window) => window.mapping(),
            _ => None,
        }
    }

    /// Where in the file the first byte of [`Source::data`] is.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// What has been read and not consumed.
    pub(super) fn data(&self) -> &[u8] {
        let all = match &self.bytes {
            Bytes::Read { buffer, .. } | Bytes::Decompressed { buffer, .. } => &buffer[..],
            Bytes::Mapped(window) => window.bytes(),
        };
        all.get(self.start..self.end).unwrap_or_default()
    }

    /// Says that bytes from this place in [`Source::data`] on will be looked at soon. Whoever jumps
    /// over payloads waits for memory at every landing otherwise.
    pub(super) fn prefetch(&self, at: usize) {
        prefetch(self.data().get(at..).unwrap_or_default(), AHEAD);
    }

    /// Reads until `want` bytes are there or the file ends; says whether they are there. The
    /// caller keeps `want` within its limits. Blocks for no more than that, so that a capture can
    /// be followed while it is written.
    pub(super) fn fill(&mut self, want: usize) -> io::Result<bool> {
        if self.end - self.start >= want {
            return Ok(true);
        }
        let (reader, buffer): (&mut dyn Read, _) = match &mut self.bytes {
            Bytes::Read { reader, buffer } => (reader, buffer),
            Bytes::Decompressed { reader, buffer } => (reader, buffer),
            Bytes::Mapped(window) => {
                self.end = window.move_to(self.position, want)?;
                self.start = 0;
                return Ok(self.end >= want);
            }
        };
        if buffer.len() - self.start < want {
            buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        while self.end - self.start < want && !self.at_end {
            if self.end == buffer.len() {
                // Grows with what is there, not with what a file promises.
                let size = (buffer.len() * 2).min(want.next_multiple_of(CHUNK));
                buffer.resize(size, 0);
            }
            match reader.read(buffer.get_mut(self.end..).unwrap_or_default()) {
                Ok(0) => self.at_end = true,
                Ok(count) => self.end += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.end - self.start >= want)
    }

    /// Drops bytes of [`Source::data`].
    pub(super) fn consume(&mut self, count: usize) {
        let count = count.min(self.end - self.start);
        self.start += count;
        self.position += count as u64;
    }

    /// Drops bytes that need not be in the buffer; says whether the file had that many.
    pub(super) fn skip(&mut self, mut count: u64) -> io::Result<bool> {
        while count > 0 {
            if !self.fill(1)? {
                return Ok(false);
            }
            let now = usize::try_from(count).unwrap_or(usize::MAX).min(self.end - self.start);
            self.consume(now);
            count -= now as u64;
        }
        Ok(true)
    }
}

/// Has the processor fetch the beginning of these bytes while it does other things: so many lines
/// of its cache.
#[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables, reason = "only a hint"))]
#[inline]
pub(crate) fn prefetch(bytes: &[u8], lines: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in 0..lines {
        if let Some(byte) = bytes.get(line * 64) {
            hint(byte);
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "the stable library has no safe form of this instruction")]
fn hint(byte: &u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: the instruction changes nothing but the cache, and every x86-64 has it.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(byte).cast()) }
}
