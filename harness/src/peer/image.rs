//! The files that a peer serves: how large, with what in them.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use protocol::payload::place;
use serde::Deserialize;

/// What an image holds when the peer starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Content {
    /// `place(1)` in the first 1 MiB, `place(2)` in the 64 KiB at 8 MiB, holes elsewhere; cut off
    /// where the image ends.
    Known,
    /// One hole.
    Blank,
}

/// A stretch of [`Content::Known`]: seed, offset and length in bytes.
pub const KNOWN: [(u16, u64, u64); 2] = [(1, 0, 1 << 20), (2, 8 << 20, 64 << 10)];

/// Makes the sparse file `path` of `size` bytes.
///
/// # Errors
/// What the system says.
pub(super) fn make(path: &Path, size: u64, content: Content) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.set_len(size)?;
    if content == Content::Known {
        for (seed, offset, length) in KNOWN {
            let length = length.min(size.saturating_sub(offset));
            let mut bytes = vec![0; length as usize];
            place(seed, offset, &mut bytes);
            file.seek(SeekFrom::Start(offset))?;
            file.write_all(&bytes)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_content_is_cut_off_where_the_image_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        make(&path, 511, Content::Known).unwrap();
        let mut want = [0; 511];
        place(1, 0, &mut want);
        assert_eq!(std::fs::read(&path).unwrap(), want);
        make(&path, (8 << 20) + 10, Content::Known).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let mut tail = [0; 10];
        place(2, 8 << 20, &mut tail);
        assert_eq!((bytes.len(), &bytes[8 << 20..]), ((8 << 20) + 10, &tail[..]));
        assert!(bytes[1 << 20..8 << 20].iter().all(|b| *b == 0));
    }
}
