//! A window of a file in memory: what is not looked at is never copied.

use std::fs::File;
use std::io;
use std::ops::{Deref, Range};
use std::sync::Arc;

use memmap2::{Advice, Mmap, MmapOptions};

/// How much of a file is mapped at once; all of it counts as memory in use.
const WINDOW: usize = 8 << 20;

/// A mapped part of a file, kept as long as somebody has it.
#[derive(Debug, Clone)]
pub(crate) struct Mapping(Arc<Mmap>);

impl Mapping {
    /// Where these bytes are in it, if they are.
    pub(crate) fn range_of(&self, bytes: Range<*const u8>) -> Option<Range<usize>> {
        let start = (bytes.start as usize).checked_sub(self.0.as_ptr() as usize)?;
        let end = start + (bytes.end as usize - bytes.start as usize);
        (end <= self.0.len()).then_some(start..end)
    }

    /// Whether it is the very same one.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// The part of a file that is mapped.
pub(super) struct Window {
    file: File,
    map: Option<Mapping>,
}

impl Window {
    pub(super) fn new(file: File) -> Self {
        Self { file, map: None }
    }

    pub(super) fn into_file(self) -> File {
        self.file
    }

    pub(super) fn mapping(&self) -> Option<&Mapping> {
        self.map.as_ref()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.map.as_deref().unwrap_or_default()
    }

    /// Lets the window begin at a position and hold `want` bytes, or what the file has of them;
    /// gives its size.
    pub(super) fn move_to(&mut self, position: u64, want: usize) -> io::Result<usize> {
        // It may have grown, or been cut.
        let length = self.file.metadata()?.len();
        let left = usize::try_from(length.saturating_sub(position)).unwrap_or(usize::MAX);
        let size = left.min(want.max(WINDOW));
        self.map = None; // first, so that there are no more than need be
        if size > 0 {
            self.map = Some(Mapping(Arc::new(self.map(position, size)?)));
        }
        Ok(size)
    }

    #[expect(unsafe_code, reason = "there is no other way to map a file")]
    fn map(&self, position: u64, size: usize) -> io::Result<Mmap> {
        let mut options = MmapOptions::new();
        options.offset(position).len(size);
        // SAFETY: a mapping is sound while nobody changes the file below it. Captures are appended
        // to, which leaves mapped bytes alone; the window lies within the file as it was just now. Who overwrites a capture while it is read may see any mixture of
        // old and new bytes decoded: everything here expects arbitrary bytes, and none is looked at
        // twice for its length. Who cuts it short within the window raises SIGBUS, as with every program
        // that maps; the command turns that into a message.
        let map = unsafe { options.map(&self.file)? };
        // Only makes a file that is not in memory quicker to read.
        let _ = map.advise(Advice::Sequential);
        Ok(map)
    }
}
