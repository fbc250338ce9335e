//! Files that a command leaves behind: checked before the work begins, and whole or not there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// How a path is written to.
#[derive(Debug, PartialEq, Eq)]
enum Way {
    /// A device, a pipe, or a link to nothing yet: as it is.
    Directly,
    /// A new file takes the place of this one.
    Beside(PathBuf),
}

fn way(path: &Path) -> io::Result<Way> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Err(io::Error::other("it is a folder")),
        // Behind links, so that these stay.
        Ok(metadata) if metadata.is_file() => Ok(Way::Beside(fs::canonicalize(path)?)),
        Ok(_) => Ok(Way::Directly),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if fs::symlink_metadata(path).is_ok() {
                return Ok(Way::Directly);
            }
            let (folder, name) = parts(path)?;
            if !folder.is_dir() {
                let text = format!("no such folder: {}", folder.display());
                return Err(io::Error::new(io::ErrorKind::NotFound, text));
            }
            Ok(Way::Beside(folder.join(name)))
        }
        Err(error) => Err(error),
    }
}

fn parts(path: &Path) -> io::Result<(&Path, &std::ffi::OsStr)> {
    let name = path.file_name().ok_or_else(|| io::Error::other("it names no file"))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    Ok((folder.unwrap_or(Path::new(".")), name))
}

/// What stands in for a file until it is complete.
fn stand_in(path: &Path) -> io::Result<PathBuf> {
    let (folder, name) = parts(path)?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}.tmp", std::process::id()));
    Ok(folder.join(hidden))
}

/// Whether a file can be written at `path`; leaves nothing behind.
///
/// # Errors
/// Why not.
pub fn check(path: &Path) -> io::Result<()> {
    let Way::Beside(path) = way(path)? else { return Ok(()) };
    if path.exists() {
        OpenOptions::new().write(true).open(&path)?;
        return Ok(());
    }
    let stand_in = stand_in(&path)?;
    File::create_new(&stand_in)?;
    fs::remove_file(&stand_in)
}

/// Writes a file, or leaves what was there: whoever interrupts it finds no half of it.
///
/// # Errors
/// What the system says.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let Way::Beside(path) = way(path)? else { return fs::write(path, bytes) };
    let old = fs::metadata(&path).ok();
    let stand_in = stand_in(&path)?;
    let made = File::create_new(&stand_in).and_then(|mut file| {
        file.write_all(bytes)?;
        if let Some(old) = &old {
            file.set_permissions(old.permissions())?;
        }
        file.sync_all()?;
        fs::rename(&stand_in, &path)
    });
    if made.is_err() {
        // It may not have been made at all.
        let _ = fs::remove_file(&stand_in);
    }
    match made {
        // A file in a folder that takes no others, or one that is mounted by itself.
        Err(error) if old.is_some() && !is_full(&error) => fs::write(&path, bytes),
        made => made,
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The place that a path stands for, to tell whether two are the same; `None` where several writers
/// are no harm: devices and pipes.
#[must_use]
pub fn place(path: &Path) -> Option<PathBuf> {
    match way(path) {
        Ok(Way::Beside(path)) => match parts(&path) {
            Ok((folder, name)) => fs::canonicalize(folder).ok().map(|folder| folder.join(name)),
            Err(_) => None,
        },
        Ok(Way::Directly) | Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_file_is_replaced_whole_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.json");
        check(&path).unwrap();
        assert!(names(folder.path()).is_empty());
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(names(folder.path()), ["out.json"]);
    }

    #[test]
    fn links_stay_links_and_permissions_stay() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().join("real");
        fs::write(&real, "old").unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        write(&link, b"new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&real).unwrap(), b"new");
        assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
        let dangling = folder.path().join("dangling");
        std::os::unix::fs::symlink(folder.path().join("later"), &dangling).unwrap();
        check(&dangling).unwrap();
        write(&dangling, b"x").unwrap();
        assert_eq!(fs::read(folder.path().join("later")).unwrap(), b"x");
    }

    #[test]
    fn what_can_not_be_written_is_known_before() {
        let folder = tempfile::tempdir().unwrap();
        let told = |path: &Path| check(path).unwrap_err().to_string();
        assert_eq!(told(folder.path()), "it is a folder");
        assert!(told(&folder.path().join("no/x.json")).starts_with("no such folder"));
        fs::write(folder.path().join("file"), "").unwrap();
        assert!(check(&folder.path().join("file/x.json")).is_err());
        assert!(check(Path::new("/proc/nbdcheck.json")).is_err());
        check(Path::new("/dev/null")).unwrap();
        assert!(write(Path::new("/dev/full"), b"x").is_err());
    }

    #[test]
    fn two_names_of_one_place_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let one = folder.path().join("out");
        let other = folder.path().join("./out");
        assert_eq!(place(&one), place(&other));
        assert!(place(&one).is_some() && place(Path::new("/dev/null")).is_none());
    }
}
