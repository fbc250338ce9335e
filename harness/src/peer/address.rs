//! Where a peer listens: how it is written, and how to get there.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use protocol::uri::{BadUri, Endpoint, Uri};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::socket::Socket;

/// The address of a server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// TCP: a host name or an IP address without brackets, and a port.
    Tcp {
        /// `localhost`, `127.0.0.1`, `::1`.
        host: String,
        /// 1 to 65535.
        port: u16,
    },
    /// The path of a unix socket.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = BadUri;

    /// Takes `host`, `host:port`, `[v6]`, `[v6]:port`, or a path with a `/` in it; no URI.
    fn from_str(text: &str) -> Result<Self, BadUri> {
        if text.contains('/') && !text.contains("://") {
            return Ok(Self::Unix(PathBuf::from(text)));
        }
        if text.contains("://") {
            return Err(BadUri::Host(text.to_owned()));
        }
        Ok(Self::from(Uri::from_target(text)?.endpoint))
    }
}

impl From<Endpoint> for Address {
    fn from(endpoint: Endpoint) -> Self {
        match endpoint {
            Endpoint::Tcp { host, port } => Self::Tcp { host, port },
            Endpoint::Unix(path) => Self::Unix(path),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp { host: address.ip().to_string(), port: address.port() }
    }
}

/// As it can be parsed again.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => {
                let shown = path.display().to_string();
                let prefix = if shown.contains('/') { "" } else { "./" };
                write!(f, "{prefix}{shown}")
            }
        }
    }
}

impl Address {
    /// The NBD URI of an export there: `nbd://host:port/name`, `nbd+unix:///name?socket=path`;
    /// `nbds` when `tls` is wanted.
    #[must_use]
    pub fn uri(&self, export: &str, tls: bool) -> String {
        let uri = match self {
            Self::Tcp { host, port } => Uri::tcp(host.clone(), *port),
            Self::Unix(path) => Uri::unix(path),
        };
        Uri { tls, ..uri.with_export(export) }.to_string()
    }

    /// Connects, within `limit` all in all. A host name is looked up and its addresses are tried in
    /// turn; TCP is set to send at once (`TCP_NODELAY`).
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::TimedOut`] when the limit passes.
    pub async fn connect(&self, limit: Duration) -> io::Result<Socket> {
        let attempt = async {
            match self {
                Self::Tcp { host, port } => {
                    let stream = match host.parse::<IpAddr>() {
                        Ok(ip) => TcpStream::connect((ip, *port)).await?,
                        Err(_) => TcpStream::connect((host.as_str(), *port)).await?,
                    };
                    // Where that fails the connection has ended, and reading tells how.
                    let _ = stream.set_nodelay(true);
                    Ok(Socket::Tcp(stream))
                }
                Self::Unix(path) => Ok(Socket::Unix(connect_unix(path).await?)),
            }
        };
        timeout(limit, attempt).await.unwrap_or_else(|_| {
            let text = format!("no connection to {self} within {limit:?}");
            Err(io::Error::new(io::ErrorKind::TimedOut, text))
        })
    }
}

/// A unix socket refuses at once where the backlog of its listener is full; a TCP socket waits.
async fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    /// How long to wait for a place. Whoever connects sets the limit for all attempts together.
    const PAUSE: Duration = Duration::from_millis(5);
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tokio::time::sleep(PAUSE).await;
            }
            connected => return connected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp { host: host.to_owned(), port }
    }

    #[test]
    fn takes_hosts_brackets_and_paths() {
        for (text, want) in [
            ("127.0.0.1:10901", tcp("127.0.0.1", 10901)),
            ("localhost", tcp("localhost", 10809)),
            ("[::1]:1", tcp("::1", 1)),
            ("[fe80::1]", tcp("fe80::1", 10809)),
            ("/run/nbd.sock", Address::Unix("/run/nbd.sock".into())),
            ("./s", Address::Unix("./s".into())),
        ] {
            assert_eq!(text.parse(), Ok(want), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_address() {
        for text in ["", ":10809", "host:0", "host:65536", "::1", "[::1", "[host]:1", "nbd://host/"]
        {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[test]
    fn uris_escape_names_and_paths() {
        assert_eq!(tcp("::1", 10901).uri("a b", false), "nbd://[::1]:10901/a%20b");
        assert_eq!(
            Address::Unix("/tmp/x?y/s".into()).uri("disk", true),
            "nbds+unix:///disk?socket=/tmp/x%3Fy/s"
        );
    }

    proptest! {
        #[test]
        fn any_text_is_taken_or_refused(text in ".{0,40}") {
            if let Ok(address) = text.parse::<Address>() {
                prop_assert_eq!(address.to_string().parse::<Address>(), Ok(address));
            }
        }
    }
}
