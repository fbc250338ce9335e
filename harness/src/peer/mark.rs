//! The mark by which the processes of a peer are found, those that left its process group as well.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::Pid;

/// The environment variable that is the mark; its value is the peer's directory.
pub(super) const MARK: &str = "NBDCHECK_PEER_DIR";
/// How often the state of a process is looked at.
pub(super) const POLL: Duration = Duration::from_millis(3);

/// The processes that carry the mark of one of these directories, zombies not among them; none where
/// the system has no `/proc`.
pub(super) fn marked<'d>(dirs: impl IntoIterator<Item = &'d Path> + Clone) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
            let environ = fs::read(entry.path().join("environ")).ok()?;
            dirs.clone().into_iter().any(|dir| has_mark(&environ, dir)).then_some(pid)
        })
        .collect()
}

/// Whether an environment has the mark of this directory.
pub(super) fn has_mark(environ: &[u8], dir: &Path) -> bool {
    let dir = dir.as_os_str().as_encoded_bytes();
    environ.split(|b| *b == 0).any(|one| {
        let value = one.strip_prefix(MARK.as_bytes()).and_then(|rest| rest.strip_prefix(b"="));
        value == Some(dir)
    })
}
