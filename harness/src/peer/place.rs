//! The directory of one start of a server: its image, its other files, its address.

use std::collections::HashSet;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

use protocol::units;
use tempfile::TempDir;

use super::address::Address;
use super::file::{Configuration, Server};
use super::image;
use super::schema::{FileText, Transport};
use super::template::{self, Value, Values};

/// Paths of unix sockets must stay below this many bytes (108 on Linux, 104 elsewhere).
const SOCKET_LIMIT: usize = 100;

/// The directory of one start, and the names in it.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) address: Address,
    pub(super) image: PathBuf,
    pub(super) pidfile: PathBuf,
    // Removed when everything else is done.
    pub(super) dir: TempDir,
}

impl Place {
    /// Makes the directory, below `parent` or where the system keeps temporary files, and chooses
    /// the address.
    pub(super) fn make(transport: Transport, parent: Option<&Path>) -> io::Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("nbd-");
        let mut dir = match parent {
            Some(parent) => builder.tempdir_in(parent)?,
            None => builder.tempdir()?,
        };
        if transport == Transport::Unix && dir.path().as_os_str().len() + "/s".len() > SOCKET_LIMIT
        {
            dir = builder.tempdir_in("/tmp")?;
        }
        let address = match transport {
            Transport::Tcp => Address::Tcp { host: "127.0.0.1".to_owned(), port: free_port()? },
            Transport::Unix => Address::Unix(dir.path().join("s")),
        };
        let (image, pidfile) = (dir.path().join("image"), dir.path().join("pid"));
        Ok(Self { address, image, pidfile, dir })
    }

    /// The placeholders, those for lists excepted.
    pub(super) fn values(
        &self,
        wanted: &Configuration,
        value: Option<u64>,
        size: Option<u64>,
    ) -> Values {
        let path = |path: &Path| Value::Text(path.display().to_string());
        let mut values = Values::from([
            ("dir", path(self.dir.path())),
            ("image", path(&self.image)),
            ("pidfile", path(&self.pidfile)),
            ("name", Value::Text(wanted.export.clone())),
        ]);
        match &self.address {
            Address::Tcp { port, .. } => values.insert("port", Value::Text(port.to_string())),
            Address::Unix(socket) => values.insert("socket", path(socket)),
        };
        if let Some(value) = value {
            values.insert("value", Value::Text(value.to_string()));
        }
        if let Some(size) = size {
            values.insert("size", Value::Text(size.to_string()));
        }
        values
    }

    /// Makes the image and the other files.
    pub(super) fn make_files(
        &self,
        server: &Server,
        wanted: &Configuration,
        values: &Values,
        value: Option<u64>,
        size: Option<u64>,
    ) -> io::Result<()> {
        if let (Some(image), Some(size)) = (&wanted.image, size) {
            image::make(&self.image, size, image.content)?;
        }
        for FileText { path, text, image } in server.start.files.iter().chain(&wanted.files) {
            let path = self.dir.path().join(path);
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            if let Some(text) = text {
                std::fs::write(&path, template::lines(text, values).map_err(io::Error::other)?)?;
            }
            if let Some((image, size)) =
                image.as_ref().and_then(|image| Some((image, size_of(&image.size, value)?)))
            {
                image::make(&path, size, image.content)?;
            }
        }
        Ok(())
    }
}

/// A TCP port of 127.0.0.1 that nobody listens on, and that this process has not given away before.
fn free_port() -> io::Result<u16> {
    static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);
    for _ in 0..64 {
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        if GIVEN.lock().unwrap_or_else(PoisonError::into_inner).insert(port) {
            return Ok(port);
        }
    }
    // Thousands of starts: those given first are free again.
    GIVEN.lock().unwrap_or_else(PoisonError::into_inner).clear();
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// A size in a peer file; `{value}` is the number in the configuration's name.
pub(super) fn size_of(text: &str, value: Option<u64>) -> Option<u64> {
    if text == "{value}" { value } else { units::size(text).ok() }
}
