//! Which parts of a file are holes, asked in such a way that it costs little.
//!
//! Some file systems answer "where is the next hole" by walking over all the data before it, so that
//! question is asked only for `NBD_CMD_BLOCK_STATUS`, and its answer kept. A read asks nothing unless
//! it finds zeroes, and then only where the next data is, which is quick everywhere.

use std::fs::File;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use protocol::payload::is_zero;
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::{Run, push_run};

/// The unit in which zeroes are looked for, in bytes: what file systems allocate.
const BLOCK: u64 = 4096;
/// How far apart holes are looked for within zeroes that are stored, in bytes.
const STEP: u64 = 64 << 10;

/// What is known of the extents of a file.
#[derive(Debug, Default)]
pub(super) struct FileExtents {
    /// The newest range that was found to be data. Only data is remembered: to take a new hole for
    /// data is harmless, the other way round it would not be.
    data: Mutex<Option<(Stamp, Range<u64>)>>,
}

/// Changes when the file does, within what the file system's clock can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    size: i64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(file: &File) -> Option<Self> {
        let status = rustix::fs::fstat(file).ok()?;
        // The width of the fields differs between machines.
        #[allow(clippy::unnecessary_cast)]
        Some(Self {
            size: status.st_size as i64,
            modified: (status.st_mtime as i64, status.st_mtime_nsec as i64),
            changed: (status.st_ctime as i64, status.st_ctime_nsec as i64),
        })
    }
}

/// Where the first data at or behind `offset` is, `end` at most; `None` if the file system can't
/// tell.
pub(super) fn next_data(file: &File, offset: u64, end: u64) -> Option<u64> {
    match rustix::fs::seek(file, SeekFrom::Data(offset)) {
        Ok(data) => Some(data.min(end)),
        Err(Errno::NXIO) => Some(end),
        Err(_) => None,
    }
}

impl FileExtents {
    /// How much of the file from `offset` is of one kind, and whether that is a hole.
    pub(super) fn run_at(&self, file: &File, offset: u64, end: u64) -> Run {
        // Taken before the question, so that a change in between makes the answer void.
        let stamp = Stamp::of(file);
        if let Some((known, range)) = &*self.lock()
            && Some(*known) == stamp
            && range.contains(&offset)
        {
            return Run { length: range.end.min(end) - offset, hole: false };
        }
        let Some(data) = next_data(file, offset, end) else {
            return Run { length: end - offset, hole: false };
        };
        if data > offset {
            return Run { length: data - offset, hole: true };
        }
        let hole = rustix::fs::seek(file, SeekFrom::Hole(offset)).unwrap_or(end);
        // A hole that was punched between the two calls may begin right here.
        if hole <= offset {
            return Run { length: end - offset, hole: false };
        }
        *self.lock() = stamp.map(|stamp| (stamp, offset..hole));
        Run { length: hole.min(end) - offset, hole: false }
    }

    /// Forgets what is known, after holes were made: the clock may not have moved on.
    pub(super) fn forget(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(Stamp, Range<u64>)>> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a block of the export within these bytes has only zeroes.
pub(super) fn has_zeroes(offset: u64, bytes: &[u8]) -> bool {
    blocks(offset, bytes).any(is_zero)
}

/// Appends which of the bytes that were just read from `offset` are stored. The file is asked only
/// where there are zeroes.
pub(super) fn push_runs(file: &File, offset: u64, bytes: &[u8], runs: &mut Vec<Run>) {
    let (mut at, mut rest) = (offset, bytes);
    while let Some(block) = blocks(at, rest).next() {
        let mut length = block.len() as u64;
        let mut hole = false;
        if is_zero(block) {
            let zeroes = blocks(at, rest).take_while(|block| is_zero(block));
            let end = at + zeroes.map(|block| block.len() as u64).sum::<u64>();
            let data = next_data(file, at, end).unwrap_or(at);
            hole = data > at;
            length = if hole { data } else { end.min((at / STEP + 1) * STEP) } - at;
        }
        push_run(runs, length, hole);
        at += length;
        rest = rest.get(length as usize..).unwrap_or_default();
    }
}

/// The bytes by block of the file.
fn blocks(offset: u64, bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let first = ((BLOCK - offset % BLOCK) % BLOCK) as usize;
    let (head, tail) = bytes.split_at(first.min(bytes.len()));
    std::iter::once(head).filter(|head| !head.is_empty()).chain(tail.chunks(BLOCK as usize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::FileExt as _;

    const K: u64 = 64 << 10;

    /// A file of 16 `K` with zeroes stored from each first byte up to the second.
    fn file(data: &[(u64, u64)]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(16 * K).unwrap();
        for (start, end) in data {
            file.write_all_at(&vec![0; (end - start) as usize], *start).unwrap();
        }
        file
    }

    fn runs(file: &File, offset: u64, length: u64) -> Vec<(u64, bool)> {
        let mut bytes = vec![1; length as usize];
        file.read_exact_at(&mut bytes, offset).unwrap();
        let mut runs = Vec::new();
        push_runs(file, offset, &bytes, &mut runs);
        runs.iter().map(|run| (run.length, run.hole)).collect()
    }

    #[test]
    fn zeroes_that_are_stored_are_data_and_others_are_holes() {
        let file = file(&[(2 * K, 4 * K), (6 * K, 7 * K)]);
        let wanted = [(2 * K, true), (2 * K, false), (2 * K, true), (K, false), (9 * K, true)];
        assert_eq!(runs(&file, 0, 16 * K), wanted);
        assert_eq!(runs(&file, 2 * K + 5, 100), [(100, false)]);
        assert_eq!(runs(&file, 5 * K + 5, 100), [(100, true)]);
    }

    #[test]
    fn what_was_data_is_asked_again_when_holes_were_made() {
        let file = file(&[(0, 4 * K)]);
        let extents = FileExtents::default();
        assert_eq!(extents.run_at(&file, 0, 16 * K), Run { length: 4 * K, hole: false });
        assert_eq!(extents.run_at(&file, K, 2 * K), Run { length: K, hole: false });
        file.set_len(2 * K).unwrap();
        file.set_len(16 * K).unwrap();
        extents.forget();
        assert_eq!(extents.run_at(&file, 2 * K, 16 * K), Run { length: 14 * K, hole: true });
    }

    proptest! {
        #[test]
        fn runs_cover_the_bytes(offset in 0..10_000_u64, bytes: Vec<u8>, zeroes in 0..20_000_usize) {
            let file = file(&[(0, K)]);
            let all = [bytes, vec![0; zeroes]].concat();
            let mut runs = Vec::new();
            push_runs(&file, offset, &all, &mut runs);
            prop_assert_eq!(runs.iter().map(|run| run.length).sum::<u64>(), all.len() as u64);
        }
    }
}
