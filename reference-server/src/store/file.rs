//! A store in a raw file, sparse where the file system can.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom as StdSeekFrom};
use std::num::NonZeroU64;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{Advice, FallocateFlags};
use rustix::io::{Errno, ReadWriteFlags, preadv2, pwritev2};

use super::file_extents::{self, FileExtents};
use super::group_sync::GroupSync;
use super::{Run, Store, Stretch, end_of, push_run};
use crate::ranges::Ranges;

/// How much is written at once where zeroes have to be written out, in bytes.
const ZERO_PIECE: u64 = 1 << 20;
/// How much is read at once, in bytes.
const PIECE: u64 = 1 << 20;
/// From how many bytes on a read asks for a hole before it reads one.
const ASK_FIRST: u64 = 64 << 10;
/// The file systems that live in memory: tmpfs and ramfs, by the number that the kernel gives them.
const IN_MEMORY: [i64; 2] = [0x0102_1994, 0x8584_58f6];
/// How many provisioned ranges are remembered; beyond that zeroes are written out.
const PROVISIONED: usize = 1 << 16;

/// A raw file. Reads and writes are positioned; TRIM punches holes, WRITE_ZEROES punches or zeroes
/// the range, FLUSH is `fdatasync`.
#[derive(Debug)]
pub struct FileStore {
    path: PathBuf,
    file: File,
    size: u64,
    extents: FileExtents,
    syncs: GroupSync,
    waits: Waits,
    /// Zeroes that were made with space kept for them. Many file systems show these as holes.
    provisioned: Mutex<Ranges>,
}

/// Whether reads and writes of a file can be had without waiting for a device.
#[derive(Debug, Default)]
struct Waits {
    /// All are: the file lives in memory.
    never: bool,
    /// The file system can't say which reads would wait.
    reads_unknown: AtomicBool,
    /// The same for writes.
    writes_unknown: AtomicBool,
}

impl Waits {
    fn of(file: &File) -> Self {
        let kind = rustix::fs::fstatfs(file).ok();
        // The width of the field differs between machines.
        #[allow(clippy::unnecessary_cast)]
        let never = kind.is_some_and(|kind| IN_MEMORY.contains(&(kind.f_type as i64)));
        Self { never, ..Self::default() }
    }
}

/// What came of a call that must not wait: `None` if it would have to, which `unknown` remembers
/// where it holds for all calls.
fn unless_it_waits(
    result: rustix::io::Result<usize>,
    unknown: &AtomicBool,
) -> io::Result<Option<usize>> {
    match result {
        Ok(length) => Ok(Some(length)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
            unknown.store(true, Ordering::Relaxed);
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
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
        let waits = Waits::of(&file);
        let (extents, syncs) = (FileExtents::default(), GroupSync::default());
        Ok(Self { path, file, size, extents, syncs, waits, provisioned: Mutex::default() })
    }

    /// The file's path, as it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
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
        self.extents.forget();
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
            let mut length = (end - at).min(PIECE);
            let data = match end - at >= ASK_FIRST {
                true => file_extents::next_data(&self.file, at, end).unwrap_or(at),
                false => at,
            };
            if data > at {
                length = data - at;
            }
            let (now, later) = rest.split_at_mut(length as usize);
            rest = later;
            if data > at {
                now.fill(0);
                push_run(runs, length, true);
            } else {
                self.file.read_exact_at(now, at)?;
                file_extents::push_runs(&self.file, at, now, runs);
            }
            at += length;
        }
        Ok(())
    }

    fn read_at_once(
        &self,
        offset: u64,
        buffer: &mut [u8],
        runs: &mut Vec<Run>,
    ) -> io::Result<bool> {
        end_of(offset, buffer.len() as u64, self.size)?;
        if self.waits.never {
            self.read(offset, buffer, runs)?;
            return Ok(true);
        }
        let unknown = &self.waits.reads_unknown;
        if unknown.load(Ordering::Relaxed) || buffer.is_empty() {
            return Ok(false);
        }
        let mut target = [io::IoSliceMut::new(buffer)];
        let read = preadv2(&self.file, &mut target, offset, ReadWriteFlags::NOWAIT);
        let read = unless_it_waits(read, unknown)?;
        // To ask whether zeroes are a hole may wait.
        if read != Some(buffer.len()) || file_extents::has_zeroes(offset, buffer) {
            return Ok(false);
        }
        push_run(runs, buffer.len() as u64, false);
        Ok(true)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        end_of(offset, data.len() as u64, self.size)?;
        self.file.write_all_at(data, offset)
    }

    fn write_at_once(&self, offset: u64, data: &[u8]) -> io::Result<bool> {
        end_of(offset, data.len() as u64, self.size)?;
        if self.waits.never {
            self.write(offset, data)?;
            return Ok(true);
        }
        let unknown = &self.waits.writes_unknown;
        if unknown.load(Ordering::Relaxed) || data.is_empty() {
            return Ok(false);
        }
        let source = [io::IoSlice::new(data)];
        let written = pwritev2(&self.file, &source, offset, ReadWriteFlags::NOWAIT);
        Ok(unless_it_waits(written, unknown)? == Some(data.len()))
    }

    fn write_stable(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        end_of(offset, data.len() as u64, self.size)?;
        let source = [io::IoSlice::new(data)];
        match pwritev2(&self.file, &source, offset, ReadWriteFlags::DSYNC) {
            Ok(length) if length == data.len() => Ok(()),
            // A part, or a kernel that does not know the flag.
            Ok(_) | Err(Errno::INTR | Errno::OPNOTSUPP | Errno::NOSYS) => {
                self.write(offset, data)?;
                self.flush()
            }
            Err(error) => Err(error.into()),
        }
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
        let run = self.extents.run_at(&self.file, offset, end);
        if !run.hole {
            return Ok(Stretch { length: run.length, hole: false, zero: false, depth: 1 });
        }
        let (kept, until) = self.provisioned().at(offset, offset + run.length);
        Ok(Stretch { length: until - offset, hole: !kept, zero: true, depth: u32::from(kept) })
    }

    fn flush(&self) -> io::Result<()> {
        self.syncs.sync(|| self.file.sync_data())
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
    fn what_needs_no_waiting_is_the_same() {
        let (_file, store) = store(1 << 20);
        let data: Vec<u8> = (0..8192_u32).map(|at| at as u8 | 1).collect();
        store.write_stable(4096, &data).unwrap();
        if !store.write_at_once(20_000, &data[..100]).unwrap() {
            store.write(20_000, &data[..100]).unwrap();
        }
        for (offset, length) in [(4096, 8192), (5000, 1000), (20_000, 100), (0, 12_288)] {
            let wanted = read(&store, offset, length);
            let (mut bytes, mut runs) = (vec![0xee; length], Vec::new());
            if store.read_at_once(offset, &mut bytes, &mut runs).unwrap() {
                assert_eq!((bytes, runs), wanted);
            }
        }
        assert!(store.read_at_once(1 << 20, &mut [0], &mut Vec::new()).is_err());
        assert!(store.write_at_once(1 << 20, &[0]).is_err());
        assert!(store.write_stable(1 << 20, &[0]).is_err());
    }

    #[test]
    fn a_range_beyond_the_end_does_not_grow_the_file() {
        let (_file, store) = store(4096);
        assert!(store.write(4096, &[1]).is_err());
        assert!(store.trim(4096, 1).is_err());
        assert_eq!(FileStore::open(store.path(), true).unwrap().size(), 4096);
    }
}
