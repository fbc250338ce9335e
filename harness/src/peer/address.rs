//! Where a peer listens: how it is written, and how to get there.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use protocol::values::DEFAULT_PORT;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

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

/// Text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no address: {reason}\nhint: write `host:port`, `[v6]:port` or a path with a `/`"
)]
pub struct AddressError {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl FromStr for Address {
    type Err = AddressError;

    /// Takes `host:port`, `host` (port 10809), `[v6]:port`, `[v6]`, or a path with a `/` in it.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let error = |reason| AddressError { text: text.to_owned(), reason };
        if text.contains('/') {
            return if text.contains("://") {
                Err(error("it is a URI"))
            } else {
                Ok(Self::Unix(PathBuf::from(text)))
            };
        }
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, after) = rest.split_once(']').ok_or_else(|| error("a `]` is missing"))?;
            host.parse::<Ipv6Addr>().map_err(|_| error("in the brackets is no IPv6 address"))?;
            match after {
                "" => (host, None),
                _ => {
                    let port = after.strip_prefix(':');
                    (host, Some(port.ok_or_else(|| error("after the `]` comes `:port`"))?))
                }
            }
        } else {
            match text.split_once(':') {
                Some((_, port)) if port.contains(':') => {
                    return Err(error("an IPv6 address stands in brackets"));
                }
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            }
        };
        if host.is_empty() || host.contains(char::is_whitespace) {
            return Err(error("the host is missing"));
        }
        let port = match port {
            None => DEFAULT_PORT,
            Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => port
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or_else(|| error("a port is a number from 1 to 65535"))?,
            Some(_) => return Err(error("a port is a number from 1 to 65535")),
        };
        Ok(Self::Tcp { host: host.to_owned(), port })
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
        let scheme = if tls { "nbds" } else { "nbd" };
        let name = percent_encode(export.as_bytes());
        match self {
            Self::Tcp { .. } => format!("{scheme}://{self}/{name}"),
            Self::Unix(path) => {
                let path = percent_encode(path.as_os_str().as_encoded_bytes());
                format!("{scheme}+unix:///{name}?socket={path}")
            }
        }
    }

    /// Connects, within `limit` all in all. A host name is looked up and its addresses are tried in
    /// turn; TCP is set to send at once (`TCP_NODELAY`).
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::TimedOut`] when the limit passes.
    pub async fn connect(&self, limit: Duration) -> io::Result<Connected> {
        let attempt = async {
            match self {
                Self::Tcp { host, port } => {
                    let stream = match host.parse::<IpAddr>() {
                        Ok(ip) => TcpStream::connect((ip, *port)).await?,
                        Err(_) => TcpStream::connect((host.as_str(), *port)).await?,
                    };
                    stream.set_nodelay(true)?;
                    Ok(Connected::Tcp(stream))
                }
                Self::Unix(path) => Ok(Connected::Unix(UnixStream::connect(path).await?)),
            }
        };
        timeout(limit, attempt).await.unwrap_or_else(|_| {
            let text = format!("no connection to {self} within {limit:?}");
            Err(io::Error::new(io::ErrorKind::TimedOut, text))
        })
    }
}

/// A fresh connection.
#[derive(Debug)]
pub enum Connected {
    /// With `TCP_NODELAY`.
    Tcp(TcpStream),
    /// A unix stream socket.
    Unix(UnixStream),
}

/// A byte stream in both directions.
pub trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> ByteStream for T {}

impl Connected {
    /// For users that don't care what carries the bytes.
    #[must_use]
    pub fn boxed(self) -> Box<dyn ByteStream> {
        match self {
            Self::Tcp(stream) => Box::new(stream),
            Self::Unix(stream) => Box::new(stream),
        }
    }
}

/// Everything but RFC 3986's unreserved characters and `/` is written `%XX`.
fn percent_encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<String, String> {
        text.parse::<Address>().map(|a| format!("{a:?}")).map_err(|e| e.to_string())
    }

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
    fn says_what_is_wrong_with_an_address() {
        insta::assert_snapshot!(parse("::1").unwrap_err(), @r"
        `::1` is no address: an IPv6 address stands in brackets
        hint: write `host:port`, `[v6]:port` or a path with a `/`
        ");
        for (text, reason) in [
            ("", "the host is missing"),
            (":10809", "the host is missing"),
            ("host:", "a port is a number from 1 to 65535"),
            ("host:0", "a port is a number from 1 to 65535"),
            ("host:+1", "a port is a number from 1 to 65535"),
            ("host:65536", "a port is a number from 1 to 65535"),
            ("[::1", "a `]` is missing"),
            ("[::1]10809", "after the `]` comes `:port`"),
            ("[host]:1", "in the brackets is no IPv6 address"),
            ("nbd://host/", "it is a URI"),
        ] {
            assert_eq!(text.parse::<Address>().map_err(|e| e.reason), Err(reason), "{text}");
        }
    }

    #[test]
    fn uris_escape_names_and_paths() {
        assert_eq!(tcp("::1", 10809).uri("a b", false), "nbd://[::1]:10809/a%20b");
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
