//! Where a scenario's connections come from.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::time::Duration;

use protocol::message::Side;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;

use crate::link::Tap;
use crate::link::stream::Stream;
use crate::peer::{Address, ClientRun, Connected, Ended, StartError};

/// Makes a tap for a new connection, named as the script names it, between two addresses.
pub type TapMaker = Box<dyn FnMut(&str, &Stream, Side) -> Option<Box<dyn Tap>> + Send + Sync>;

/// Where connections come from.
pub struct Dialer {
    source: Source,
    tap: Option<TapMaker>,
}

/// How a connection comes about.
pub enum Source {
    /// The harness connects to a server under test.
    Connect(Address),
    /// A client under test connects over TCP.
    AcceptTcp(TcpListener),
    /// A client under test connects over a unix socket.
    AcceptUnix(UnixListener),
}

impl Dialer {
    /// Connections from this source, each with a tap if one is wanted.
    #[must_use]
    pub fn new(source: Source, tap: Option<TapMaker>) -> Self {
        Self { source, tap }
    }

    /// A new connection, within `limit`.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn dial(
        &mut self,
        name: &str,
        limit: Duration,
    ) -> Result<(Stream, Option<Box<dyn Tap>>), String> {
        let opened = tokio::time::timeout(limit, self.open(limit)).await;
        let stream = match opened {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(format!("no connection within {limit:?}")),
        };
        let side = match self.source {
            Source::Connect(_) => Side::Client,
            Source::AcceptTcp(_) | Source::AcceptUnix(_) => Side::Server,
        };
        let tap = self.tap.as_mut().and_then(|make| make(name, &stream, side));
        Ok((stream, tap))
    }

    async fn open(&self, limit: Duration) -> Result<Stream, String> {
        match &self.source {
            Source::Connect(address) => connect(address, limit).await,
            Source::AcceptTcp(listener) => {
                let (stream, _) = listener.accept().await.map_err(|error| error.to_string())?;
                stream.set_nodelay(true).map_err(|error| error.to_string())?;
                Ok(Stream::Tcp(stream))
            }
            Source::AcceptUnix(listener) => {
                let (stream, _) = listener.accept().await.map_err(|error| error.to_string())?;
                Ok(Stream::Unix(stream))
            }
        }
    }
}

/// Connects to a server.
///
/// # Errors
/// Why it can't be reached.
pub async fn connect(address: &Address, limit: Duration) -> Result<Stream, String> {
    match address.connect(limit).await {
        Ok(Connected::Tcp(stream)) => Ok(Stream::Tcp(stream)),
        Ok(Connected::Unix(stream)) => Ok(Stream::Unix(stream)),
        Err(error) => Err(format!("can't connect to {address}: {error}")),
    }
}

/// The client under test, at work in the background.
#[derive(Debug)]
pub struct ClientProcess {
    running: JoinHandle<Result<ClientRun, StartError>>,
    status: Option<u64>,
    file: Option<PathBuf>,
}

impl ClientProcess {
    /// Takes over a client's run; `file` is where it puts what it reads.
    #[must_use]
    pub fn new(running: JoinHandle<Result<ClientRun, StartError>>, file: Option<PathBuf>) -> Self {
        Self { running, status: None, file }
    }

    /// What the client has put into its file, at most 16 MiB.
    ///
    /// # Errors
    /// What the system says.
    pub fn output(&self) -> io::Result<Vec<u8>> {
        const LIMIT: u64 = 16 << 20;
        let mut bytes = Vec::new();
        if let Some(path) = &self.file {
            File::open(path)?.take(LIMIT).read_to_end(&mut bytes)?;
        }
        Ok(bytes)
    }

    /// Its exit status, once it has ended; `None` if it has not within `limit`. A process that a
    /// signal ended counts as 128 and the signal's number, as in a shell; one that could not be
    /// started as 127.
    pub async fn wait(&mut self, limit: Duration) -> Option<u64> {
        if self.status.is_none() {
            let run = tokio::time::timeout(limit, &mut self.running).await.ok()?;
            let status = match run {
                Ok(Ok(ClientRun { ended: Some(Ended::Status(code)), .. })) => code,
                Ok(Ok(ClientRun { ended: Some(Ended::Signal(signal)), .. })) => 128 + signal,
                Ok(Ok(_)) => return None,
                Ok(Err(_)) | Err(_) => 127,
            };
            self.status = u64::try_from(status).ok();
        }
        self.status
    }
}

impl Drop for ClientProcess {
    fn drop(&mut self) {
        self.running.abort();
    }
}
