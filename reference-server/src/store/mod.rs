//! Where the bytes of an export live: in memory or in a sparse file.

mod file;
mod file_extents;
mod group_sync;
mod memory;
mod padded;

use std::fmt;
use std::io;

pub use file::FileStore;
pub use memory::{DEFAULT_MEMORY_LIMIT, MemoryStore, PAGE_SIZE};
pub use padded::PaddedStore;

/// A stretch of a store that is stored, or reads as zeroes because nothing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Length in bytes; not 0.
    pub length: u64,
    /// Whether nothing is stored there.
    pub hole: bool,
}

/// Appends a run; neighbours of one kind become one.
pub fn push_run(runs: &mut Vec<Run>, length: u64, hole: bool) {
    match runs.last_mut() {
        _ if length == 0 => {}
        Some(last) if last.hole == hole => last.length += length,
        _ => runs.push(Run { length, hole }),
    }
}

/// A stretch of a store that is of one kind, as far as that is known without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Length in bytes; not 0.
    pub length: u64,
    /// Whether nothing is stored there.
    pub hole: bool,
    /// Whether it is known to read as zeroes.
    pub zero: bool,
    /// The layer that decides what is read: 1 for the store itself, 2 for the one behind it and so
    /// on, 0 where none has anything.
    pub depth: u32,
}

/// Storage of an export. Calls may block and may come from many threads at once; ranges have been
/// checked against [`Store::size`] by the caller, and a store gives an error for those that were
/// not. An overlap of calls that run at once is as if they had run one after the other, for
/// stores that say so ([`MemoryStore`]), or whatever the file system makes of it.
pub trait Store: Send + Sync + fmt::Debug {
    /// Size in bytes.
    fn size(&self) -> u64;

    /// Whether calls should be kept off the threads that serve connections.
    fn blocks(&self) -> bool;

    /// Fills `buffer` from `offset` and appends to `runs` what of it is stored; the lengths of the
    /// new runs add up to that of the buffer.
    ///
    /// # Errors
    /// Whatever the storage reports.
    fn read(&self, offset: u64, buffer: &mut [u8], runs: &mut Vec<Run>) -> io::Result<()>;

    /// Reads like [`Store::read`] if that needs no waiting; else returns `false`, and `buffer` and
    /// `runs` hold nothing of use.
    ///
    /// # Errors
    /// Whatever the storage reports.
    fn read_at_once(
        &self,
        offset: u64,
        buffer: &mut [u8],
        runs: &mut Vec<Run>,
    ) -> io::Result<bool> {
        let can = !self.blocks();
        if can {
            self.read(offset, buffer, runs)?;
        }
        Ok(can)
    }

    /// Stores `data` at `offset`.
    ///
    /// # Errors
    /// Whatever the storage reports; what was stored until then is unspecified.
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Stores `data` like [`Store::write`] if that needs no waiting; else returns `false`, and how
    /// much of it was stored is unspecified.
    ///
    /// # Errors
    /// Whatever the storage reports.
    fn write_at_once(&self, offset: u64, data: &[u8]) -> io::Result<bool> {
        let can = !self.blocks();
        if can {
            self.write(offset, data)?;
        }
        Ok(can)
    }

    /// Stores `data` at `offset` and makes it stable.
    ///
    /// # Errors
    /// Whatever the storage reports.
    fn write_stable(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.write(offset, data)?;
        self.flush()
    }

    /// Makes a range read as zeroes; with `provision` space for it stays or becomes allocated.
    ///
    /// # Errors
    /// Whatever the storage reports.
    fn zero(&self, offset: u64, length: u64, provision: bool) -> io::Result<()>;

    /// Does the same if that takes less time than writing the range would; else tells `false` at
    /// once and changes nothing.
    ///
    /// # Errors
    /// Whatever the storage reports.
    fn zero_fast(&self, offset: u64, length: u64, provision: bool) -> io::Result<bool> {
        let _ = (offset, length, provision);
        Ok(false)
    }

    /// Gives up a range: it reads as zeroes, or as before where the storage can't make holes.
    ///
    /// # Errors
    /// Whatever the storage reports.
    fn trim(&self, offset: u64, length: u64) -> io::Result<()>;

    /// Makes later reads of a range faster, if it can.
    ///
    /// # Errors
    /// Whatever the storage reports.
    fn cache(&self, offset: u64, length: u64) -> io::Result<()> {
        let _ = (offset, length);
        Ok(())
    }

    /// What is known of the bytes from `offset` on, as far as it is the same and below `end`,
    /// which is beyond `offset`.
    ///
    /// # Errors
    /// Whatever the storage reports.
    fn status(&self, offset: u64, end: u64) -> io::Result<Stretch> {
        Ok(Stretch { length: end - offset, hole: false, zero: false, depth: 1 })
    }

    /// Makes everything that was written stable.
    ///
    /// # Errors
    /// Whatever the storage reports.
    fn flush(&self) -> io::Result<()>;
}

/// The end of a range inside a store of `size` bytes.
fn end_of(offset: u64, length: u64, size: u64) -> io::Result<u64> {
    offset.checked_add(length).filter(|end| *end <= size).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, "the range ends beyond the store")
    })
}
