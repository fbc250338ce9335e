//! Bytes of a file through a buffer of bounded size.

use std::io::{self, Read};

/// How much is read at once. Large enough that packets are seldom moved within the buffer.
const CHUNK: usize = 1 << 20;

/// A reader with look-ahead.
pub(super) struct Source<R> {
    reader: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    position: u64,
    at_end: bool,
}

impl<R: Read> Source<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, buffer: vec![0; CHUNK], start: 0, end: 0, position: 0, at_end: false }
    }

    /// Where in the file the first byte of [`Source::data`] is.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// What has been read and not consumed.
    pub(super) fn data(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Reads until `want` bytes are there or the file ends; says whether they are there. The
    /// caller keeps `want` within its limits. Blocks for no more than that, so that a capture can
    /// be followed while it is written.
    pub(super) fn fill(&mut self, want: usize) -> io::Result<bool> {
        if self.end - self.start >= want {
            return Ok(true);
        }
        if self.buffer.len() - self.start < want {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        while self.end - self.start < want && !self.at_end {
            if self.end == self.buffer.len() {
                // Grows with what is there, not with what a file promises.
                let size = (self.buffer.len() * 2).min(want.next_multiple_of(CHUNK));
                self.buffer.resize(size, 0);
            }
            match self.reader.read(&mut self.buffer[self.end..]) {
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
