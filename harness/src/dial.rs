//! Where a scenario's connections come from.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use protocol::message::Side;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;

use crate::link::Tap;
use crate::link::carrier::Carrier;
use crate::peer::{Address, ClientRun, Ended, StartError};
use crate::run::plain::NOT_STARTED;
use crate::socket::Socket;

/// Makes a tap for a new connection, named as the script names it, between two addresses.
pub type TapMaker = Box<dyn FnMut(&str, &Socket, Side) -> Option<Box<dyn Tap>> + Send + Sync>;

/// A connection, with its tap if one is wanted.
pub type Dialed = (Socket, Option<Box<dyn Tap>>);

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotDialed {
    /// In words.
    pub why: String,
    /// There was one, and the peer has reset it before anything could be sent.
    pub reset: bool,
}

impl From<String> for NotDialed {
    fn from(why: String) -> Self {
        Self { why, reset: false }
    }
}

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
    AcceptTcp(Arc<TcpListener>),
    /// A client under test connects over a unix socket.
    AcceptUnix(UnixListener),
    /// Nobody can connect any more.
    Closed,
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
    pub async fn dial(&mut self, name: &str, limit: Duration) -> Result<Dialed, NotDialed> {
        let opened = tokio::time::timeout(limit, self.open(limit)).await;
        let stream = match opened {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(format!("no connection within {limit:?}").into()),
        };
        let side = match self.source {
            Source::Connect(_) => Side::Client,
            Source::AcceptTcp(_) | Source::AcceptUnix(_) | Source::Closed => Side::Server,
        };
        let tap = self.tap.as_mut().and_then(|make| make(name, &stream, side));
        Ok((stream, tap))
    }

    async fn open(&self, limit: Duration) -> Result<Socket, NotDialed> {
        match &self.source {
            Source::Connect(address) => try_connect(address, limit).await,
            Source::AcceptTcp(listener) => {
                let (stream, _) =
                    listener.accept().await.map_err(|error| NotDialed::from(error.to_string()))?;
                stream.set_nodelay(true).map_err(|error| NotDialed::from(error.to_string()))?;
                Ok(Socket::Tcp(stream))
            }
            Source::AcceptUnix(listener) => {
                let (stream, _) =
                    listener.accept().await.map_err(|error| NotDialed::from(error.to_string()))?;
                Ok(Socket::Unix(stream))
            }
            Source::Closed => Err("nothing listens any more".to_owned().into()),
        }
    }

    /// The next client over TCP, and what is said with it heard where a tap is wanted; for ever nothing
    /// where none can connect.
    ///
    /// # Errors
    /// What the system says.
    pub async fn accept(&mut self) -> io::Result<Carrier> {
        let stream = match &self.source {
            Source::AcceptTcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Socket::Tcp(stream)
            }
            _ => std::future::pending().await,
        };
        let tap = self.tap.as_mut().and_then(|make| make("", &stream, Side::Server));
        Ok(Carrier::heard(stream, tap, Side::Server))
    }

    /// Where clients connect over TCP, to accept them beside this.
    #[must_use]
    pub fn shared(&self) -> Option<Arc<TcpListener>> {
        match &self.source {
            Source::AcceptTcp(listener) => Some(listener.clone()),
            _ => None,
        }
    }

    /// Listens no more, so that who connects again is refused and not left waiting.
    pub fn stop_listening(&mut self) {
        if matches!(self.source, Source::AcceptTcp(_) | Source::AcceptUnix(_)) {
            self.source = Source::Closed;
        }
    }
}

/// Connects to a server.
///
/// # Errors
/// Why it can't be reached.
pub async fn connect(address: &Address, limit: Duration) -> Result<Socket, String> {
    try_connect(address, limit).await.map_err(|error| error.why)
}

async fn try_connect(address: &Address, limit: Duration) -> Result<Socket, NotDialed> {
    address.connect(limit).await.map_err(|error| NotDialed {
        why: format!("can't connect to {address}: {error}"),
        reset: error.kind() == io::ErrorKind::ConnectionReset,
    })
}

/// How many of its last words are shown of a client, in lines.
const WORDS: usize = 3;

/// The client under test, at work in the background.
#[derive(Debug)]
pub struct ClientProcess {
    running: Option<JoinHandle<Result<ClientRun, StartError>>>,
    ended: Option<Result<ClientRun, StartError>>,
    file: Option<PathBuf>,
}

impl ClientProcess {
    /// Takes over a client's run; `file` is where it puts what it reads.
    #[must_use]
    pub fn new(running: JoinHandle<Result<ClientRun, StartError>>, file: Option<PathBuf>) -> Self {
        Self { running: Some(running), ended: None, file }
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

    /// Waits until it has ended.
    pub async fn ended(&mut self) {
        let Some(running) = &mut self.running else { return };
        let run = running.await;
        self.running = None;
        self.ended = Some(run.unwrap_or_else(|error| {
            let (command, output) = (String::new(), String::new());
            Err(StartError::Failed { what: error.to_string(), command, output })
        }));
    }

    /// Why it was not even started, if that is so: the program is missing, or the shell says that it
    /// can't be run.
    #[must_use]
    pub fn not_started(&self) -> Option<String> {
        match &self.ended {
            Some(Err(error @ (StartError::Missing { .. } | StartError::Failed { .. }))) => {
                Some(format!("{NOT_STARTED}: {error}"))
            }
            Some(Ok(run)) if matches!(run.ended, Some(Ended::Status(126 | 127))) => {
                let words = run.stderr.trim();
                Some(format!("{NOT_STARTED}: {words}: {}", run.command))
            }
            _ => None,
        }
    }

    /// Whether it ended by itself and says that it failed.
    #[must_use]
    pub fn failed(&self) -> bool {
        matches!(&self.ended, Some(Ok(run)) if matches!(run.ended, Some(Ended::Status(1..))))
    }

    /// Its exit status, once it has ended; `None` if it has not within `limit`, or was killed for
    /// taking too long. A process that a signal ended counts as 128 and the signal's number, as in a
    /// shell; one that could not be started as 127.
    pub async fn wait(&mut self, limit: Duration) -> Option<u64> {
        tokio::time::timeout(limit, self.ended()).await.ok()?;
        let status = match &self.ended {
            Some(Ok(ClientRun { ended: Some(Ended::Status(code)), .. })) => *code,
            Some(Ok(ClientRun { ended: Some(Ended::Signal(signal)), .. })) => 128 + signal,
            Some(Err(_)) => 127,
            Some(Ok(_)) | None => return None,
        };
        u64::try_from(status).ok()
    }

    /// Whether it was stopped because it had had its time.
    #[must_use]
    pub fn was_cut_off(&self) -> bool {
        matches!(&self.ended, Some(Ok(ClientRun { ended: None, .. })))
    }

    /// How it ended, and the last that it wrote on standard error.
    #[must_use]
    pub fn last_words(&self) -> Vec<String> {
        let run = match &self.ended {
            None => return vec!["-- the client is still running".to_owned()],
            Some(Err(error)) => return vec![format!("-- the client does not start: {error}")],
            Some(Ok(run)) => run,
        };
        let how = match run.ended {
            Some(ended) => format!("-- the client: {ended}"),
            None => "-- the client took too long and was killed".to_owned(),
        };
        let lines: Vec<&str> = run.stderr.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = &lines[lines.len().saturating_sub(WORDS)..];
        std::iter::once(how).chain(last.iter().map(|line| format!("   it says: {line}"))).collect()
    }
}

impl Drop for ClientProcess {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.abort();
        }
    }
}
