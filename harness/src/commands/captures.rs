//! The captures that a command line names: files, and folders with files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::CommandError;

/// How captures are called in folders, besides `.gz` and `.zst`.
const ENDINGS: [&str; 4] = ["pcap", "pcapng", "cap", "ntar"];
/// How deep folders are looked through.
const DEPTH: usize = 32;

/// All captures: files as they are named, and of folders, and folders in these, the files that are
/// called like captures, in order. Links to folders inside a folder are left alone.
///
/// # Errors
/// A folder can't be read, or holds no captures; with the path.
pub(super) fn captures(paths: &[PathBuf]) -> Result<Vec<PathBuf>, CommandError> {
    let mut found = Vec::new();
    for path in paths {
        if path == Path::new("-") || !path.is_dir() {
            found.push(path.clone());
            continue;
        }
        let before = found.len();
        let shown = name(path);
        look(path, DEPTH, &mut found)
            .map_err(|error| CommandError::usage(format_args!("{shown}: {error}")))?;
        if found.len() == before {
            let error = CommandError::usage(format_args!("{shown}: no captures in this folder"));
            return Err(
                error.hint("looked for .pcap, .pcapng, .cap and .ntar, also with .gz and .zst")
            );
        }
        found[before..].sort();
    }
    Ok(found)
}

/// How messages name a capture; safe to print.
pub(super) fn name(path: &Path) -> String {
    if path == Path::new("-") {
        return "standard input".to_owned();
    }
    path.display()
        .to_string()
        .chars()
        .flat_map(|c| {
            let escaped = c.is_control().then(|| c.escape_default());
            let plain = escaped.is_none().then_some(c);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect()
}

fn look(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (kind, path) = (entry.file_type()?, entry.path());
        if kind.is_dir() && depth > 0 {
            look(&path, depth - 1, found)?;
        } else if is_called_so(&path) && path.is_file() {
            found.push(path);
        }
    }
    Ok(())
}

fn is_called_so(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let name = name.strip_suffix(".gz").or(name.strip_suffix(".zst")).unwrap_or(&name);
    let (stem, ending) = name.rsplit_once('.').unwrap_or_default();
    // tcpdump -C numbers files behind their endings: it.pcap1.
    let ending = ending.trim_end_matches(|c: char| c.is_ascii_digit());
    !stem.is_empty() && ENDINGS.contains(&ending)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_give_their_captures_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("in")).unwrap();
        fs::create_dir(path("empty")).unwrap();
        for name in ["b.pcapng", "a.PCAP.gz", "in/c.pcap3", "notes.txt", ".pcap"] {
            fs::write(path(name), "").unwrap();
        }
        let given = [path("notes.txt"), folder.path().to_owned()];
        let wanted = ["notes.txt", "a.PCAP.gz", "b.pcapng", "in/c.pcap3"].map(path);
        assert_eq!(captures(&given).unwrap(), wanted);
        let error = captures(&[path("empty")]).unwrap_err();
        let error = error.to_string().replace(&folder.path().display().to_string(), "DIR");
        insta::assert_snapshot!(error, @"
        error: DIR/empty: no captures in this folder
        hint: looked for .pcap, .pcapng, .cap and .ntar, also with .gz and .zst
        ");
        assert_eq!(captures(&["-".into()]).unwrap(), [PathBuf::from("-")]);
    }
}
