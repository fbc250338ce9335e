//! The file of a Unix socket, as long as somebody listens on it.

use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// The file of a socket. It is removed when this is dropped.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl SocketFile {
    /// Listens on a Unix socket; the file of one that nobody listens on any more is replaced. Inside
    /// a runtime of tokio.
    ///
    /// # Errors
    /// What the system says; there is something else than a socket, or somebody listens.
    pub fn listen(path: &Path) -> io::Result<(UnixListener, Self)> {
        let listener = match UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                if !is_socket(path) {
                    let text = "there is something else than a socket, which is left alone";
                    return Err(io::Error::new(error.kind(), text));
                }
                match std::os::unix::net::UnixStream::connect(path) {
                    Err(refused) if refused.kind() == io::ErrorKind::ConnectionRefused => {
                        std::fs::remove_file(path)?;
                        UnixListener::bind(path)
                    }
                    _ => Err(error),
                }
            }
            bound => bound,
        };
        Ok((listener?, Self(path.to_owned())))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Another file may have taken its place.
        if is_socket(&self.0) {
            let _ = std::fs::remove_file(&self.0);
        }
    }
}

fn is_socket(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|it| it.file_type().is_socket())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_socket_that_nobody_listens_on_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (file, socket) = (dir.path().join("file"), dir.path().join("socket"));
        std::fs::write(&file, "data").unwrap();
        let refusal = SocketFile::listen(&file).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "there is something else than a socket, which is left alone"
        );
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "data");
        let (first, left) = SocketFile::listen(&socket).unwrap();
        let refusal = SocketFile::listen(&socket).unwrap_err();
        assert_eq!(refusal.kind(), io::ErrorKind::AddrInUse);
        drop(first);
        let second = SocketFile::listen(&socket).unwrap();
        drop(SocketFile(file.clone()));
        assert!(file.exists() && socket.exists());
        drop(second);
        assert!(!socket.exists());
        drop(left);
    }
}
