//! The server: exports behind listeners.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use protocol::uri::Uri;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::behaviour::Behaviour;
use crate::config::{Config, Limits, ServerTls, TlsMode};
use crate::connection::{self, State, reached};
use crate::export::{BadExport, BlockSizes, Export, Exports};
use crate::fault::Fault;
use crate::features::{Features, Handshake, Replies};
use crate::overhear::{Ear, EarMaker, Hearing};
use crate::profile::Profile;
use crate::quirk::Quirk;
use crate::session_end::Ending;
use crate::socket_file::SocketFile;
use crate::stream::{BoxedStream, Stream};

/// How long to wait before accepting again after the system had no room for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What happens on the connections of a server; they are numbered from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A client has connected.
    Opened {
        /// The connection's number.
        connection: u64,
        /// Where from, for people.
        peer: String,
    },
    /// Haggling has led to transmission.
    Entered {
        /// The connection's number.
        connection: u64,
        /// The name of the export.
        export: String,
        /// The form of replies.
        replies: Replies,
    },
    /// A connection has ended.
    Closed {
        /// The connection's number.
        connection: u64,
        /// How.
        ending: Ending,
    },
}

type Observer = Arc<dyn Fn(Event) + Send + Sync>;

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An export can't be served.
    #[error(transparent)]
    Export(#[from] BadExport),
    /// There is nothing to serve.
    #[error("there is no export")]
    NoExport,
    /// An export is TLS-only, and there is no TLS.
    #[error("the export `{0}` is served inside TLS only, and the server has no TLS")]
    NoTls(String),
    /// TLS is for everybody, and nobody could ask for it.
    #[error("TLS takes fixed newstyle: with another handshake it can't be forced")]
    TlsHandshake,
    /// A profile without pre-shared keys, with TLS by such keys.
    #[error("{0} has no TLS with pre-shared keys; 3.0 and later have")]
    NoPsk(&'static str),
    /// A profile without TLS over Unix sockets, with both.
    #[error("{0} has no TLS over Unix sockets; 7.0 and later have")]
    NoTlsOverUnix(&'static str),
    /// An address can't be listened on.
    #[error("can't listen on `{address}`: {error}")]
    Listen {
        /// The address or path.
        address: String,
        /// Why.
        error: io::Error,
    },
}

/// What a server will be.
#[derive(Clone, Default)]
pub struct Builder {
    exports: Vec<Export>,
    default: Option<String>,
    behaviour: Behaviour,
    profile: Option<&'static Profile>,
    limits: Limits,
    tls: Option<ServerTls>,
    quirks: Vec<Quirk>,
    fault: Option<Fault>,
    tcp: Vec<SocketAddr>,
    unix: Vec<PathBuf>,
    observer: Option<Observer>,
    ears: Option<EarMaker>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("exports", &self.exports).finish_non_exhaustive()
    }
}

impl Builder {
    /// Adds an export; they are listed in this order.
    #[must_use]
    pub fn export(mut self, export: Export) -> Self {
        self.exports.push(export);
        self
    }

    /// Names the export that clients get who name none, unless one has the empty name itself.
    #[must_use]
    pub fn default_export(mut self, name: impl Into<String>) -> Self {
        self.default = Some(name.into());
        self
    }

    /// Which parts of the protocol are offered; all by default.
    #[must_use]
    pub fn features(mut self, features: Features) -> Self {
        self.behaviour.features = features;
        self
    }

    /// How it behaves, its features included; as recommended by default.
    #[must_use]
    pub fn behaviour(mut self, behaviour: Behaviour) -> Self {
        self.behaviour = behaviour;
        self
    }

    /// How long it waits before it greets.
    #[must_use]
    pub fn opening(mut self, opening: Duration) -> Self {
        self.behaviour.opening = opening;
        self
    }

    /// Offers and answers as a release of qemu does. What is set later counts
    /// more.
    #[must_use]
    pub fn profile(mut self, profile: &'static Profile) -> Self {
        self.profile = Some(profile);
        self.behaviour(profile.behaviour())
    }

    /// How much is put up with.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Offers TLS, or insists on it; neither by default.
    #[must_use]
    pub fn tls(mut self, tls: impl Into<Option<ServerTls>>) -> Self {
        self.tls = tls.into();
        self
    }

    /// Makes lawful choices that few servers make, one after the other.
    #[must_use]
    pub fn quirks(mut self, quirks: impl IntoIterator<Item = Quirk>) -> Self {
        self.quirks.extend(quirks);
        self
    }

    /// Breaks one rule on purpose.
    #[must_use]
    pub fn fault(mut self, fault: impl Into<Option<Fault>>) -> Self {
        self.fault = fault.into();
        self
    }

    /// Listens on a TCP address too; port 0 takes a free one.
    #[must_use]
    pub fn tcp(mut self, address: SocketAddr) -> Self {
        self.tcp.push(address);
        self
    }

    /// Listens on a Unix socket too. A socket file that nobody listens on is replaced.
    #[must_use]
    pub fn unix(mut self, path: impl Into<PathBuf>) -> Self {
        self.unix.push(path.into());
        self
    }

    /// Is told of every connection. Must not block.
    #[must_use]
    pub fn observer(mut self, observer: impl Fn(Event) + Send + Sync + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Lets somebody hear what is said on each connection.
    #[must_use]
    pub fn ears(
        mut self,
        ears: impl Fn(u64, &str) -> Option<Box<dyn Ear>> + Send + Sync + 'static,
    ) -> Self {
        self.ears = Some(Arc::new(ears));
        self
    }

    /// A server without listeners, for [`Server::serve_stream`].
    ///
    /// # Errors
    /// There is no export, or one breaks the rules.
    pub fn build(mut self) -> Result<Server, StartError> {
        if self.exports.is_empty() {
            return Err(StartError::NoExport);
        }
        for quirk in &self.quirks {
            quirk.change()(&mut self.behaviour);
        }
        if let Some(fault) = self.fault {
            fault.change()(&mut self.behaviour);
        }
        if self.behaviour.oldstyle_without_name
            && self.tls.is_none()
            && self.exports.len() == 1
            && self.exports[0].name().is_empty()
        {
            self.behaviour.features.handshake = Handshake::Oldstyle;
        }
        if let (Some(profile), Some(tls)) = (self.profile, &self.tls) {
            if tls.acceptor.is_psk() && !profile.has_psk() {
                return Err(StartError::NoPsk(profile.name()));
            }
            if !self.unix.is_empty() && !profile.has_tls_over_unix() {
                return Err(StartError::NoTlsOverUnix(profile.name()));
            }
        }
        match &self.tls {
            None => {
                if let Some(export) = self.exports.iter().find(|export| export.is_tls_only()) {
                    return Err(StartError::NoTls(export.name().to_owned()));
                }
            }
            Some(tls) => {
                let fixed = self.behaviour.features.handshake == Handshake::FixedNewstyle;
                if tls.mode == TlsMode::Forced && !fixed {
                    return Err(StartError::TlsHandshake);
                }
            }
        }
        let unit = self.behaviour.size_unit;
        // Whoever can't be asked for sizes has none that are special.
        let features = &self.behaviour.features;
        let tells = features.handshake == Handshake::FixedNewstyle
            && features.info_and_go
            && features.block_size;
        let sizes = self.behaviour.block_sizes.filter(|_| tells);
        let exports = self.exports.into_iter().map(|export| match sizes {
            Some(sizes) if export.block_sizes() == BlockSizes::default() => {
                export.with_block_sizes(sizes).rounded_up(unit)
            }
            _ => export.rounded_up(unit),
        });
        let mut limits = self.limits;
        limits.connections = self.behaviour.connections.unwrap_or(limits.connections);
        limits.in_flight = self.behaviour.in_flight.unwrap_or(limits.in_flight);
        let config = Config {
            exports: Exports::new(exports.collect(), self.default)?,
            behaviour: self.behaviour,
            limits,
            tls: self.tls,
        };
        Ok(Server(Arc::new(Shared {
            connections: Arc::new(tokio::sync::Semaphore::new(config.limits.connections)),
            config: Arc::new(config),
            state: watch::Sender::new(State::Running),
            opened: AtomicU64::new(0),
            observer: self.observer.unwrap_or_else(|| Arc::new(|_| ())),
            ears: self.ears,
        })))
    }

    /// Starts to listen.
    ///
    /// # Errors
    /// As for [`Builder::build`], or an address can't be listened on.
    pub async fn start(mut self) -> Result<ServerHandle, StartError> {
        let (tcp, unix) = (std::mem::take(&mut self.tcp), self.unix.clone());
        let server = self.build()?;
        let mut handle = ServerHandle {
            server: server.clone(),
            tcp: Vec::new(),
            unix: Vec::new(),
            listeners: JoinSet::new(),
        };
        for address in tcp {
            let failed = |error| StartError::Listen { address: address.to_string(), error };
            let listener = TcpListener::bind(address).await.map_err(failed)?;
            handle.tcp.push(listener.local_addr().map_err(failed)?);
            handle.listeners.spawn(server.clone().accept(listener));
        }
        for path in unix {
            let (listener, file) = SocketFile::listen(&path).map_err(|error| {
                StartError::Listen { address: path.display().to_string(), error }
            })?;
            handle.unix.push(file);
            handle.listeners.spawn(server.clone().accept(listener));
        }
        Ok(handle)
    }
}

struct Shared {
    config: Arc<Config>,
    state: watch::Sender<State>,
    connections: Arc<tokio::sync::Semaphore>,
    opened: AtomicU64,
    observer: Observer,
    ears: Option<EarMaker>,
}

/// A server, with or without listeners.
#[derive(Clone)]
pub struct Server(Arc<Shared>);

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("config", &self.0.config).finish_non_exhaustive()
    }
}

impl Server {
    /// What a server will be.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Serves one client over any channel of bytes, to the end of the session.
    pub async fn serve_stream(&self, stream: impl Stream + 'static) -> Ending {
        self.serve(Box::new(stream), "in process".to_owned()).await
    }

    async fn serve(&self, stream: BoxedStream, peer: String) -> Ending {
        let shared = &self.0;
        let connection = shared.opened.fetch_add(1, Ordering::Relaxed) + 1;
        let ear = shared.ears.as_ref().and_then(|make| make(connection, &peer));
        let hearing = ear.map(Hearing::new);
        (shared.observer)(Event::Opened { connection, peer });
        let slot = match shared.config.behaviour.lets_connections_wait {
            true => shared.connections.acquire().await.ok(),
            false => shared.connections.try_acquire().ok(),
        };
        let ending = match slot {
            Some(_slot) => {
                let states = shared.state.subscribe();
                connection::serve(shared.config.clone(), stream, hearing, states, |terms| {
                    (shared.observer)(Event::Entered {
                        connection,
                        export: terms.export.name().to_owned(),
                        replies: terms.replies,
                    });
                })
                .await
            }
            None => Ending::Refused("too many connections".into()),
        };
        (shared.observer)(Event::Closed { connection, ending: ending.clone() });
        ending
    }

    async fn accept(self, listener: impl Listen) {
        let mut connections = JoinSet::new();
        let mut states = self.0.state.subscribe();
        loop {
            tokio::select! {
                biased;
                () = reached(&mut states, State::Draining) => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                accepted = listener.next() => match accepted {
                    Ok((stream, peer)) => {
                        let server = self.clone();
                        connections.spawn(async move { server.serve(stream, peer).await; });
                    }
                    // Out of descriptors, most likely: they come back.
                    Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
                },
            }
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
    }
}

/// What connections come from.
trait Listen: Send {
    fn next(&self) -> impl Future<Output = io::Result<(BoxedStream, String)>> + Send;
}

impl Listen for TcpListener {
    async fn next(&self) -> io::Result<(BoxedStream, String)> {
        let (stream, peer) = self.accept().await?;
        stream.set_nodelay(true)?;
        Ok((Box::new(stream), peer.to_string()))
    }
}

impl Listen for UnixListener {
    async fn next(&self) -> io::Result<(BoxedStream, String)> {
        let (stream, _) = self.accept().await?;
        Ok((Box::new(stream), "unix socket".to_owned()))
    }
}

/// A server that listens. Dropping it ends everything at once.
#[derive(Debug)]
pub struct ServerHandle {
    server: Server,
    tcp: Vec<SocketAddr>,
    unix: Vec<SocketFile>,
    listeners: JoinSet<()>,
}

impl ServerHandle {
    /// The server, for more connections in process.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The first TCP address, with the port that was taken.
    #[must_use]
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        self.tcp.first().copied()
    }

    /// The first Unix socket.
    #[must_use]
    pub fn unix_path(&self) -> Option<&Path> {
        self.unix.first().map(|file| file.path())
    }

    /// A URI for each listener, for the export of this name; `nbds` if TLS is a must for all.
    #[must_use]
    pub fn uris(&self, export: &str) -> Vec<Uri> {
        let tcp = self.tcp.iter().map(|address| Uri::tcp(address.ip().to_string(), address.port()));
        let unix = self.unix.iter().map(|file| Uri::unix(file.path()));
        let tls = self.server.0.config.tls.as_ref().is_some_and(|tls| tls.mode == TlsMode::Forced);
        tcp.chain(unix).map(|uri| Uri { tls, ..uri.with_export(export) }).collect()
    }

    /// Shuts down gracefully: no new connections, later options and requests fail with
    /// `NBD_REP_ERR_SHUTDOWN` and `NBD_ESHUTDOWN`, clients have [`Limits::shutdown`] to leave, and
    /// then requests in flight have as long again to finish.
    pub async fn shutdown(mut self) {
        let limit = self.server.0.config.limits.shutdown;
        for state in [State::Draining, State::Stopped] {
            self.server.0.state.send_replace(state);
            let all = async { while self.listeners.join_next().await.is_some() {} };
            if timeout(limit, all).await.is_ok() {
                return;
            }
        }
    }
}
