//! TLS for both sides: X.509 by rustls, pre-shared keys by OpenSSL (feature `psk`).
//!
//! TLS 1.2 is the least that is spoken (section "TLS versions"). No session is ever resumed: each
//! handshake shows what the parties know.

mod keys;
pub mod made;
#[cfg(feature = "psk")]
mod psk;
mod stream;
mod x509;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

pub use keys::{BadKeys, PskKeys};
pub use stream::{Failed, TlsStream};

/// Which versions of TLS are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Versions {
    /// 1.2 and 1.3.
    #[default]
    All,
    /// 1.2 alone.
    Only12,
    /// 1.3 alone.
    Only13,
}

/// Takes the secrets of TLS sessions, a line at a time without its end, in the format of
/// `SSLKEYLOGFILE`. Must not block.
#[derive(Clone)]
pub struct KeyLog(Arc<dyn Fn(&str) + Send + Sync>);

impl KeyLog {
    /// Hands every line to a function.
    pub fn new(take: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(take))
    }

    fn line(&self, line: &str) {
        (self.0)(line);
    }
}

impl fmt::Debug for KeyLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyLog")
    }
}

/// The same function.
impl PartialEq for KeyLog {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for KeyLog {}

/// Files that show who one is: PEM, the certificate with those that lead to its authority.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The certificates, one's own first.
    pub certificate: PathBuf,
    /// The private key of the first.
    pub key: PathBuf,
}

/// What a server wants to know of its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ClientCertificates {
    /// Nothing: they are not asked.
    #[default]
    None,
    /// They are asked, and may have no certificate; a bad one is refused.
    Optional,
    /// They must have a certificate of the authority.
    Require,
}

/// Why TLS can't be had with what was given.
#[derive(Debug, thiserror::Error)]
pub enum BadTls {
    /// A file can't be read.
    #[error("can't read `{path}`: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: String,
    },
    /// A file has none of what it should have.
    #[error("`{path}` holds no {what}")]
    Empty {
        /// The file.
        path: PathBuf,
        /// `certificate`, `private key`.
        what: &'static str,
    },
    /// The certificates, keys or names do not go together.
    #[error("{0}")]
    Unfit(String),
    /// The keys can't be read.
    #[error(transparent)]
    Keys(#[from] BadKeys),
    /// A server is to be verified, and nobody says by whom.
    #[error(
        "no certificate authority to verify the server with\n\
         hint: name its file, or do not verify the server"
    )]
    NoAuthority,
    /// This program was built without pre-shared keys.
    #[error(
        "this program was built without pre-shared keys\n\
         hint: build it with `--features psk`; that takes OpenSSL's development files"
    )]
    NoPsk,
}

/// Whether this program can do TLS with pre-shared keys: the cargo feature `psk`.
#[must_use]
pub const fn has_psk() -> bool {
    cfg!(feature = "psk")
}

/// Begins TLS as a server.
#[derive(Clone)]
pub struct Acceptor(Server);

#[derive(Clone)]
enum Server {
    X509(tokio_rustls::TlsAcceptor),
    #[cfg(feature = "psk")]
    Psk(openssl::ssl::SslContext),
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Server::X509(_) => "Acceptor(x509)",
            #[cfg(feature = "psk")]
            Server::Psk(_) => "Acceptor(psk)",
        })
    }
}

impl Acceptor {
    /// Whether it takes pre-shared keys instead of certificates.
    #[must_use]
    pub fn is_psk(&self) -> bool {
        !matches!(self.0, Server::X509(_))
    }

    /// With a certificate. `authority` has the certificates of those who may vouch for clients.
    ///
    /// # Errors
    /// The files can't be used.
    pub fn x509(
        identity: &Identity,
        clients: ClientCertificates,
        authority: Option<&PathBuf>,
        versions: Versions,
        key_log: Option<KeyLog>,
    ) -> Result<Self, BadTls> {
        let config = x509::server(identity, clients, authority, versions, key_log)?;
        Ok(Self(Server::X509(Arc::new(config).into())))
    }

    /// With keys that clients have as well.
    ///
    /// # Errors
    /// The program was built without pre-shared keys.
    pub fn psk(keys: PskKeys, versions: Versions, key_log: Option<KeyLog>) -> Result<Self, BadTls> {
        #[cfg(feature = "psk")]
        return Ok(Self(Server::Psk(psk::server(keys, versions, key_log)?)));
        #[cfg(not(feature = "psk"))]
        {
            let _ = (keys, versions, key_log);
            Err(BadTls::NoPsk)
        }
    }

    /// The handshake.
    ///
    /// # Errors
    /// It fails; the stream is given back, so that what the peer still sends can be read.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> Result<TlsStream<S>, Failed<S>> {
        match &self.0 {
            Server::X509(acceptor) => match acceptor.accept(stream).into_fallible().await {
                Ok(stream) => Ok(TlsStream::server(stream)),
                Err((error, stream)) => Err(Failed::plain(error, stream)),
            },
            #[cfg(feature = "psk")]
            Server::Psk(context) => psk::accept(context, stream).await,
        }
    }
}

/// Begins TLS as a client.
#[derive(Clone)]
pub struct Connector(Client);

#[derive(Clone)]
enum Client {
    X509(tokio_rustls::TlsConnector, rustls::pki_types::ServerName<'static>),
    #[cfg(feature = "psk")]
    Psk(openssl::ssl::SslContext),
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Client::X509(..) => "Connector(x509)",
            #[cfg(feature = "psk")]
            Client::Psk(_) => "Connector(psk)",
        })
    }
}

/// What a client has for TLS.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Credentials {
    /// Certificates.
    X509 {
        /// A file with the certificates of those who may vouch for the server.
        authority: Option<PathBuf>,
        /// Shown to a server that asks for it.
        identity: Option<Identity>,
        /// The name that the server's certificate should have; the host's if not said.
        hostname: Option<String>,
        /// Whether the server must show a certificate of the authority with the right name.
        verify: bool,
    },
    /// A key that the server has as well.
    Psk {
        /// Whose key.
        user: String,
        /// The file of keys: lines of `user:hexkey`.
        keys: PathBuf,
    },
}

impl Connector {
    /// With what a client has; `host` is what it connects to.
    ///
    /// # Errors
    /// The files can't be used, or the user has no key.
    pub fn new(
        credentials: &Credentials,
        host: &str,
        versions: Versions,
        key_log: Option<KeyLog>,
    ) -> Result<Self, BadTls> {
        match credentials {
            Credentials::X509 { authority, identity, hostname, verify } => {
                let name = hostname.as_deref().unwrap_or(host);
                let name = x509::name(name)?;
                let authority = match (verify, authority) {
                    (false, _) => None,
                    (true, None) => return Err(BadTls::NoAuthority),
                    (true, authority) => authority.as_ref(),
                };
                let config = x509::client(authority, identity.as_ref(), versions, key_log)?;
                Ok(Self(Client::X509(Arc::new(config).into(), name)))
            }
            Credentials::Psk { user, keys } => {
                let keys = PskKeys::read(keys)?;
                Self::psk(user, keys.key_of(user)?, versions, key_log)
            }
        }
    }

    /// With a user's key.
    ///
    /// # Errors
    /// The program was built without pre-shared keys.
    pub fn psk(
        user: &str,
        key: &[u8],
        versions: Versions,
        key_log: Option<KeyLog>,
    ) -> Result<Self, BadTls> {
        #[cfg(feature = "psk")]
        return Ok(Self(Client::Psk(psk::client(user, key, versions, key_log)?)));
        #[cfg(not(feature = "psk"))]
        {
            let _ = (user, key, versions, key_log);
            Err(BadTls::NoPsk)
        }
    }

    /// The handshake.
    ///
    /// # Errors
    /// It fails; the stream is given back, so that what the peer still sends can be read.
    pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> Result<TlsStream<S>, Failed<S>> {
        match &self.0 {
            Client::X509(connector, name) => {
                match connector.connect(name.clone(), stream).into_fallible().await {
                    Ok(stream) => Ok(TlsStream::client(stream)),
                    Err((error, stream)) => Err(Failed::plain(error, stream)),
                }
            }
            #[cfg(feature = "psk")]
            Client::Psk(context) => psk::connect(context, stream).await,
        }
    }
}

fn unfit(error: impl fmt::Display) -> BadTls {
    BadTls::Unfit(error.to_string())
}

fn read(path: &PathBuf) -> Result<Vec<u8>, BadTls> {
    /// Certificates and keys are small; whatever else is named by mistake need not be read.
    const LIMIT: u64 = 4 << 20;
    let read = || {
        use std::io::Read as _;
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(LIMIT + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > LIMIT {
            return Err(io::Error::other("it is too large for what it should be"));
        }
        Ok(bytes)
    };
    read().map_err(|error| BadTls::Read { path: path.clone(), error: error.to_string() })
}
