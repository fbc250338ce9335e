//! A store in a raw file, sparse where the file system can.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom as StdSeekFrom};
use std::num::NonZeroU64;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{Advice, FallocateFlags, SeekFrom};
use rustix::io::Errno;

use super::{Run, Store, Stretch, end_of, push_run};
use crate::ranges::Ranges;

/// How much is written at once where zeroes have to be written out, in bytes.
const ZERO_PIECE: u64 = 1 << 20;
/// How many provisioned ranges are remembered; beyond that zeroes are written out.
const PROVISIONED: usize = 1 << 16;

/// A raw file. Reads and writes are positioned; TRIM punches holes, WRITE_ZEROES punches or zeroes
/// the range, FLUSH is `fdatasync`.
#[derive(Debug)]
pub struct FileStore {
    path: PathBuf,
    file: File,
    size: u64,
    /// Zeroes that were made with space kept for them. Many file systems show these as holes.
    provisioned: Mutex<Ranges>,
}

/// What has no size or no place to read from.
fn unfit(kind: std::fs::FileType) -> Option<&'static str> {
    match () {
        () if kind.is_dir() => Some("a directory"),
        () if kind.is_fifo() => Some("a FIFO"),
        () if kind.is_char_device() => Some("a character device"),
        () if kind.is_socket() => Some("a socket"),
        () => None,
    }
}

impl FileStore {
    /// Opens a file or block device that exists; its size now is the store's.
    ///
    /// # Errors
    /// The file can't be opened or measured.
    pub fn open(path: impl AsRef<Path>, read_only: bool) -> io::Result<Self> {
        let path = path.as_ref().to_owned();
        // Looked at before it is opened: to open a FIFO is to wait for a writer.
        let kind = std::fs::metadata(&path)?.file_type();
        if let Some(kind) = unfit(kind) {
            let text = format!("it is {kind}; an export takes a regular file or a block device");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let mut file = OpenOptions::new().read(true).write(!read_only).open(&path)?;
        // The end is the size of block devices too, for which the metadata tell 0.
        let size = file.seek(StdSeekFrom::End(0))?;
        Ok(Self { path, file, size, provisioned: Mutex::default() })
    }

    /// The file's path, as it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How much of the file from `offset` is of one kind, and whether that is a hole.
    fn run_at(&self, offset: u64, end: u64) -> Run {
        let data = match rustix::fs::seek(&self.file, SeekFrom::Data(offset)) {
            Ok(data) => data,
            Err(Errno::NXIO) => end,
            // A file system that can't tell: everything is data.
            Err(_) => return Run { length: end - offset, hole: false },
        };
        if data > offset {
            return Run { length: data.min(end) - offset, hole: true };
        }
        let hole = rustix::fs::seek(&self.file, SeekFrom::Hole(offset)).unwrap_or(end);
        // A hole that was punched between the two calls may begin right here.
        if hole <= offset {
            return Run { length: end - offset, hole: false };
        }
        Run { length: hole.min(end) - offset, hole: false }
    }

    fn provisioned(&self) -> MutexGuard<'_, Ranges> {
        self.provisioned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the file system make zeroes, if it can.
    fn make_zeroes(&self, offset: u64, length: u64, provision: bool) -> io::Result<bool> {
        let range = offset..offset + length;
        if provision && self.provisioned().count() >= PROVISIONED {
            return Ok(false);
        }
        let mode = if provision { FallocateFlags::ZERO_RANGE } else { FallocateFlags::PUNCH_HOLE };
        if !self.fallocate(mode | FallocateFlags::KEEP_SIZE, offset, length)? {
            return Ok(false);
        }
        if provision {
            self.provisioned().insert(range);
        } else {
            self.provisioned().remove(range);
        }
        Ok(true)
    }

    fn write_zeroes(&self, offset: u64, end: u64) -> io::Result<()> {
        let zeroes = vec![0; ZERO_PIECE.min(end - offset) as usize];
        let mut at = offset;
        while at < end {
            let piece = ZERO_PIECE.min(end - at);
            self.file.write_all_at(&zeroes[..piece as usize], at)?;
            at += piece;
        }
        Ok(())
    }

    /// Whether the file system did it; it may lack the mode altogether.
    fn fallocate(&self, mode: FallocateFlags, offset: u64, length: u64) -> io::Result<bool> {
        loop {
            return match rustix::fs::fallocate(&self.file, mode, offset, length) {
                Ok(()) => Ok(true),
                Err(Errno::INTR) => continue,
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::NODEV) => Ok(false),
                Err(error) => Err(error.into()),
            };
        }
    }
}

impl Store for FileStore {
    fn size(&self) -> u64 {
        self.size
    }

    fn blocks(&self) -> bool {
        true
    }

    fn read(&self, offset: u64, buffer: &mut [u8], runs: &mut Vec<Run>) -> io::Result<()> {
        let end = end_of(offset, buffer.len() as u64, self.size)?;
        let (mut at, mut rest) = (offset, buffer);
        while at < end {
            let run = self.run_at(at, end);
            let (now, later) = rest.split_at_mut(run.length as usize);
            rest = later;
            if run.hole {
                now.fill(0);
            } else {
                self.file.read_exact_at(now, at)?;
            }
            push_run(runs, run.length, run.hole);
            at += run.length;
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        end_of(offset, data.len() as u64, self.size)?;
        self.file.write_all_at(data, offset)
    }

    fn zero(&self, offset: u64, length: u64, provision: bool) -> io::Result<()> {
        let end = end_of(offset, length, self.size)?;
        if length == 0 {
            return Ok(());
        }
        if self.make_zeroes(offset, length, provision)? {
            return Ok(());
        }
        self.write_zeroes(offset, end)
    }

    fn zero_fast(&self, offset: u64, length: u64, provision: bool) -> io::Result<bool> {
        end_of(offset, length, self.size)?;
        Ok(length == 0 || self.make_zeroes(offset, length, provision)?)
    }

    fn trim(&self, offset: u64, length: u64) -> io::Result<()> {
        end_of(offset, length, self.size)?;
        if length > 0 {
            // Where holes can't be made, TRIM is free to do nothing.
            self.make_zeroes(offset, length, false)?;
        }
        Ok(())
    }

    fn cache(&self, offset: u64, length: u64) -> io::Result<()> {
        end_of(offset, length, self.size)?;
        if let Some(length) = NonZeroU64::new(length) {
            // Advice: whether it is taken does not matter.
            let _ = rustix::fs::fadvise(&self.file, offset, Some(length), Advice::WillNeed);
        }
        Ok(())
    }

    fn status(&self, offset: u64, end: u64) -> io::Result<Stretch> {
        let run = self.run_at(offset, end);
        if !run.hole {
            return Ok(Stretch { length: run.length, hole: false, zero: false, depth: 1 });
        }
        let (kept, until) = self.provisioned().at(offset, offset + run.length);
        Ok(Stretch { length: until - offset, hole: !kept, zero: true, depth: u32::from(kept) })
    }

    fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(size: u64) -> (tempfile::NamedTempFile, FileStore) {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(size).unwrap();
        let store = FileStore::open(file.path(), false).unwrap();
        (file, store)
    }

    #[test]
    fn what_is_no_file_is_refused_and_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        for (path, kind) in [
            (dir.path(), "a directory"),
            (fifo.as_path(), "a FIFO"),
            (Path::new("/dev/null"), "a character device"),
        ] {
            for read_only in [false, true] {
                let error = FileStore::open(path, read_only).unwrap_err().to_string();
                assert!(error.starts_with(&format!("it is {kind}; ")), "{error}");
            }
        }
    }

    fn read(store: &FileStore, offset: u64, length: usize) -> (Vec<u8>, Vec<Run>) {
        let mut bytes = vec![0xee; length];
        let mut runs = Vec::new();
        store.read(offset, &mut bytes, &mut runs).unwrap();
        (bytes, runs)
    }

    #[test]
    fn trimmed_and_zeroed_ranges_become_holes() {
        let (_file, store) = store(1 << 20);
        store.write(0, &[1; 1 << 20]).unwrap();
        assert_eq!(read(&store, 0, 1 << 20).1, [Run { length: 1 << 20, hole: false }]);
        store.trim(64 << 10, 64 << 10).unwrap();
        store.zero(256 << 10, 64 << 10, false).unwrap();
        let (bytes, runs) = read(&store, 0, 1 << 20);
        assert_eq!(runs.iter().filter(|run| run.hole).count(), 2);
        assert!(bytes[64 << 10..128 << 10].iter().all(|byte| *byte == 0));
        assert!(bytes[..64 << 10].iter().all(|byte| *byte == 1));
    }

    #[test]
    fn zeroes_keep_their_exact_range() {
        let (_file, store) = store(10_001);
        store.write(0, &[1; 10_001]).unwrap();
        store.zero(3, 9_000, false).unwrap();
        store.zero(9_999, 2, true).unwrap();
        let bytes = read(&store, 0, 10_001).0;
        let zeroes: Vec<usize> = (0..10_001).filter(|at| bytes[*at] == 0).collect();
        assert_eq!(zeroes, (3..9_003).chain(9_999..10_001).collect::<Vec<_>>());
        assert_eq!(store.size(), 10_001);
        store.flush().unwrap();
    }

    #[test]
    fn tells_holes_from_data_and_from_zeroes_with_space() {
        const K: u64 = 64 << 10;
        let (_file, store) = store(1 << 20);
        store.write(0, &[1; K as usize]).unwrap();
        assert!(store.zero_fast(2 * K, K, true).unwrap());
        let kinds = |store: &FileStore| {
            let (mut at, mut kinds) = (0, Vec::new());
            while at < 4 * K {
                let Stretch { length, hole, zero, depth } = store.status(at, 4 * K).unwrap();
                kinds.push((at / K, hole, zero, depth));
                at += length;
            }
            kinds
        };
        let (data, hole, zeroes) = ((false, false, 1), (true, true, 0), (false, true, 1));
        let row = |at, (hole, zero, depth): (bool, bool, u32)| (at, hole, zero, depth);
        assert_eq!(kinds(&store), [row(0, data), row(1, hole), row(2, zeroes), row(3, hole)]);
        store.trim(2 * K, K).unwrap();
        assert_eq!(kinds(&store), [row(0, data), row(1, hole)]);
        store.cache(0, 1 << 20).unwrap();
    }

    #[test]
    fn a_range_beyond_the_end_does_not_grow_the_file() {
        let (_file, store) = store(4096);
        assert!(store.write(4096, &[1]).is_err());
        assert!(store.trim(4096, 1).is_err());
        assert_eq!(FileStore::open(store.path(), true).unwrap().size(), 4096);
    }
}
