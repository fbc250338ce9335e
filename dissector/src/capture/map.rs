//! A window of a file in memory: what is not looked at is never copied.

use std::fs::File;
use std::io;

use memmap2::{Advice, Mmap, MmapOptions};

/// How much of a file is mapped at once; all of it counts as memory in use.
const WINDOW: usize = 8 << 20;

/// The part of a file that is mapped.
pub(super) struct Window {
    file: File,
    /// As far as is known: a capture may grow while it is read.
    length: u64,
    map: Option<Mmap>,
}

impl Window {
    pub(super) fn new(file: File) -> Self {
        Self { file, length: 0, map: None }
    }

    pub(super) fn into_file(self) -> File {
        self.file
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.map.as_deref().unwrap_or_default()
    }

    /// Lets the window begin at a position and hold `want` bytes, or what the file has of them;
    /// gives its size.
    pub(super) fn move_to(&mut self, position: u64, want: usize) -> io::Result<usize> {
        let wanted = position.saturating_add(want as u64);
        if wanted > self.length {
            self.length = self.file.metadata()?.len();
        }
        let left = usize::try_from(self.length.saturating_sub(position)).unwrap_or(usize::MAX);
        let size = left.min(want.max(WINDOW));
        self.map = None; // first, so that there are never two
        if size > 0 {
            self.map = Some(self.map(position, size)?);
        }
        Ok(size)
    }

    #[expect(unsafe_code, reason = "there is no other way to map a file")]
    fn map(&self, position: u64, size: usize) -> io::Result<Mmap> {
        let mut options = MmapOptions::new();
        options.offset(position).len(size);
        // SAFETY: a mapping is sound while nobody changes the file below it. Captures are appended
        // to, which leaves mapped bytes alone; `length` is that of the file just now, so that the
        // window lies within it. Who overwrites a capture while it is read may see any mixture of
        // old and new bytes decoded: everything here expects arbitrary bytes, and none is looked at
        // twice for its length. Who cuts it short raises SIGBUS, as with every program that maps.
        let map = unsafe { options.map(&self.file)? };
        // Only makes a file that is not in memory quicker to read.
        let _ = map.advise(Advice::Sequential);
        Ok(map)
    }
}
