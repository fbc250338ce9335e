//! Beginning TLS, as either side.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use super::credentials::{BadTls, ClientCertificates, Credentials, Identity, KeyLog, Versions};
use super::keys::PskKeys;
#[cfg(feature = "psk")]
use super::psk;
use super::stream::{Failed, TlsStream};
use super::x509;

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
