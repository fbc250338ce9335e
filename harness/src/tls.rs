//! TLS as the harness uses it.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use reference_server::tls::KeyLog;

/// Appends secrets to a file, as `SSLKEYLOGFILE` says.
///
/// # Errors
/// The file can't be opened.
pub fn key_log_file(path: &Path) -> Result<KeyLog, String> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    let file = file.map_err(|error| format!("can't open `{}`: {error}", path.display()))?;
    Ok(KeyLog::new(move |line| {
        // In one piece: others may append to the same file. A full disk loses secrets, not sessions.
        let _ = (&file).write_all(format!("{line}\n").as_bytes());
    }))
}
