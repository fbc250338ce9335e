//! Passes bytes between clients and a server unchanged, and lets somebody hear them.
//!
//! A side that ends its direction, or breaks the connection off, does so to the other side too; a
//! side that takes bytes slowly slows the other one down. Who hears is told before bytes are passed
//! on, and never waited for: see [`Queue`].

mod end;
mod pass;
mod queue;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use protocol::values::DEFAULT_PORT;
use reference_server::SocketFile;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;
use tokio::time::timeout;

pub use queue::{Heard, LeftOut, Piece, Queue, What};

use crate::peer::Address;
use end::End;

/// How long to wait before accepting again after the system had no room for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long the server may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// How long connections may go on once the relay is asked to end.
const GRACE: Duration = Duration::from_secs(1);

/// Where clients connect.
enum Listener {
    Tcp(TcpListener),
    Unix {
        listener: UnixListener,
        /// Removed with it.
        _file: SocketFile,
    },
}

/// What happens on the connections.
#[derive(Debug)]
pub enum Event {
    /// A client has connected, and the server was reached.
    Opened {
        /// The connection's number, from 1.
        connection: u64,
        /// Where the client is, for people.
        from: String,
    },
    /// A client has connected, and the server was not reached.
    Failed {
        /// Where the client is, for people.
        from: String,
        /// Why.
        why: String,
    },
    /// A client could not be accepted.
    NotAccepted(io::Error),
}

/// A relay that listens.
pub struct Relay {
    listener: Listener,
    address: Address,
}

impl Relay {
    /// Listens on TCP; port 0 takes a free one.
    ///
    /// # Errors
    /// What the system says.
    pub async fn tcp(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?.into();
        Ok(Self { listener: Listener::Tcp(listener), address })
    }

    /// Listens on a Unix socket. The file of one that nobody listens on any more is replaced;
    /// anything else is left alone.
    ///
    /// # Errors
    /// What the system says, or there is something else.
    pub async fn unix(path: &Path) -> io::Result<Self> {
        let (listener, file) = SocketFile::listen(path)?;
        let listener = Listener::Unix { listener, _file: file };
        Ok(Self { listener, address: Address::Unix(path.into()) })
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Passes bytes on between clients and the server until `stop` ends, or so many connections have
    /// ended. Those that are open then have a second to end, or until `at_once` ends. After that
    /// nothing more is heard.
    pub async fn run(
        self,
        server: Address,
        sessions: Option<u64>,
        hearing: Hearing,
        stop: impl Future<Output = ()>,
        at_once: impl Future<Output = ()>,
    ) {
        let mut connections = JoinSet::new();
        let (mut number, mut ended) = (0, 0);
        tokio::pin!(stop);
        while sessions.is_none_or(|wanted| ended < wanted) {
            tokio::select! {
                accepted = self.accept() => match accepted {
                    Ok((client, from)) => {
                        number += 1;
                        let (server, hearing) = (server.clone(), hearing.clone());
                        connections.spawn(connection(number, client, from, server, hearing));
                    }
                    Err(error) => {
                        // The queue of clients stays as it is, and would be reported at once again.
                        (hearing.tell)(Event::NotAccepted(error));
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(passed) = connections.join_next() => {
                    ended += u64::from(passed.unwrap_or(true));
                }
                () = &mut stop => break,
            }
        }
        // Whoever connects now is refused, and not left waiting.
        drop(self);
        let all = async { while connections.join_next().await.is_some() {} };
        tokio::select! {
            _ = timeout(GRACE, all) => {}
            () = at_once => {}
        }
        // Connections that are cut off here do not end for whoever hears them.
        connections.shutdown().await;
        hearing.queue.end();
    }

    async fn accept(&self) -> io::Result<(End, String)> {
        match &self.listener {
            Listener::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((End::Tcp(stream), peer.to_string()))
            }
            Listener::Unix { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                let socket = End::Unix(stream);
                let process = socket.process().map(|pid| format!("process {pid}"));
                Ok((socket, process.unwrap_or_else(|| "unix socket".to_owned())))
            }
        }
    }
}

/// Who hears what is passed on.
#[derive(Clone)]
pub struct Hearing {
    /// What is said.
    pub queue: Arc<Queue>,
    /// What happens; must return at once.
    pub tell: Arc<dyn Fn(Event) + Send + Sync>,
}

/// Serves a client; says whether there was a connection to the server.
async fn connection(
    number: u64,
    client: End,
    from: String,
    server: Address,
    hearing: Hearing,
) -> bool {
    let server = match server.connect(CONNECT).await.and_then(End::try_from) {
        Ok(connected) => connected,
        Err(error) => {
            client.reset();
            (hearing.tell)(Event::Failed { from, why: format!("{server}: {error}") });
            return false;
        }
    };
    (hearing.tell)(Event::Opened { connection: number, from });
    let (client_address, server_address) = addresses(&client, &server, number);
    let opened = What::Opened { client: client_address, server: server_address };
    hearing.queue.tell(number, opened);
    pass::pass(number, client, server, &hearing.queue).await;
    hearing.queue.tell(number, What::Over);
    true
}

/// The addresses of client and server; made-up ones where both are Unix sockets.
fn addresses(client: &End, server: &End, number: u64) -> (SocketAddr, SocketAddr) {
    match (client.addresses(), server.addresses()) {
        (Some((_, client)), Some((_, server))) => (client, server),
        (Some((here, client)), None) => (client, here),
        (None, Some((here, server))) => (here, server),
        (None, None) => made_up(number),
    }
}

/// Addresses of this machine that no two connections share soon.
fn made_up(number: u64) -> (SocketAddr, SocketAddr) {
    const FIRST: u16 = 49152;
    let places = u64::from(u16::MAX - FIRST) + 1;
    let port = FIRST + (number % places) as u16;
    // 127.0.0.0/8
    let host = Ipv4Addr::from(0x7f00_0001 + (number / places % 0xff_ffff) as u32);
    (SocketAddr::from((host, port)), SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT)))
}

#[cfg(test)]
mod tests;
