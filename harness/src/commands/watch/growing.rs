//! A key log that a program writes while we listen.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// So much is read at once, in bytes.
const PIECE: usize = 1 << 20;

/// Reads what was added to a file since it was read last, by whole lines. The file may be made
/// later, and be replaced by another.
pub(crate) struct GrowingLog {
    path: PathBuf,
    /// Device and number of the file that was read.
    file: Option<(u64, u64)>,
    /// Where the first line begins that was not given out, in bytes.
    offset: u64,
    /// How long the file was.
    length: u64,
}

impl GrowingLog {
    /// # Errors
    /// There is something else than a file, or we may not read it.
    pub(crate) fn new(path: &Path) -> io::Result<Self> {
        match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(metadata) if !metadata.is_file() => {
                return Err(io::Error::other("it is not a file"));
            }
            Ok(_) => drop(File::open(path)?),
        }
        Ok(Self { path: path.to_owned(), file: None, offset: 0, length: 0 })
    }

    /// The next lines, at most so many as a MiB holds; none when none were added. A line that is not
    /// complete is left for later.
    ///
    /// # Errors
    /// Reading fails.
    pub(crate) fn read(&mut self) -> io::Result<Vec<u8>> {
        // Most of the time nothing has changed.
        let Ok(metadata) = fs::metadata(&self.path) else { return Ok(Vec::new()) };
        if !metadata.is_file() || self.knows(&metadata) {
            return Ok(Vec::new());
        }
        let mut file = File::open(&self.path)?;
        let metadata = file.metadata()?;
        let known = self.file.replace((metadata.dev(), metadata.ino()));
        if known != self.file || metadata.len() < self.length {
            self.offset = 0;
        }
        file.seek(SeekFrom::Start(self.offset))?;
        let mut lines = Vec::new();
        file.take(PIECE as u64).read_to_end(&mut lines)?;
        self.length = self.offset + lines.len() as u64;
        match lines.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => lines.truncate(end + 1),
            None if lines.len() < PIECE => lines.clear(),
            None => {} // no line is so long
        }
        self.offset += lines.len() as u64;
        Ok(lines)
    }

    fn knows(&self, metadata: &Metadata) -> bool {
        self.file == Some((metadata.dev(), metadata.ino())) && self.length == metadata.len()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn gives_whole_lines_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.log");
        let mut log = GrowingLog::new(&path).unwrap();
        let mut next = || String::from_utf8(log.read().unwrap()).unwrap();
        assert_eq!(next(), "");
        let mut file = File::create(&path).unwrap();
        let mut add = |text: &str| file.write_all(text.as_bytes()).unwrap();
        assert_eq!(next(), "");
        add("one\ntw");
        assert_eq!(next(), "one\n");
        assert_eq!(next(), "");
        add("o");
        assert_eq!(next(), "");
        add("\nthree\n");
        assert_eq!(next(), "two\nthree\n");
        assert_eq!(next(), "");
        // Written anew, then another file.
        fs::write(&path, "4\n").unwrap();
        assert_eq!(next(), "4\n");
        fs::write(folder.path().join("other"), "4\n5\n").unwrap();
        fs::rename(folder.path().join("other"), &path).unwrap();
        assert_eq!(next(), "4\n5\n");
        fs::remove_file(&path).unwrap();
        assert_eq!(next(), "");
    }

    #[test]
    fn reads_in_pieces() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.log");
        let (line, long) = ("a line\n".repeat(200_000), "x".repeat(PIECE));
        fs::write(&path, format!("{line}{long}{long}\nend\n")).unwrap();
        let mut log = GrowingLog::new(&path).unwrap();
        let mut read = String::new();
        for _ in 0..6 {
            let lines = log.read().unwrap();
            assert!(lines.len() <= PIECE);
            read += std::str::from_utf8(&lines).unwrap();
        }
        assert!(read.starts_with(&line) && read.ends_with("x\nend\n"));
        assert_eq!(log.read().unwrap(), b"");
    }

    #[test]
    fn refuses_what_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        assert!(GrowingLog::new(folder.path()).is_err());
        assert!(GrowingLog::new(Path::new("/dev/zero")).is_err());
    }
}
