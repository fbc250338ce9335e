//! How a client gets to a server: the channel, and TLS on it.

use std::time::Duration;

use protocol::uri::{Endpoint, TlsType, Uri};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::error::ClientError;
use super::options::{Options, Tls};
use crate::missteps::TlsFault;
use crate::stream::BoxedStream;
use crate::tls::{BadTls, Connector, Credentials, Identity, Versions};

/// TLS as a session needs it.
#[derive(Debug, Clone)]
pub(crate) struct Upgrade {
    pub(super) connector: Connector,
    pub(super) required: bool,
}

impl Upgrade {
    /// What options and URI make together; the URI's parameters count.
    pub(super) fn of(uri: &Uri, options: &Options) -> Result<Option<Self>, ClientError> {
        let habits = &options.habits;
        let tls = match (&options.tls, uri.tls) {
            (None, false) if habits.tries_tls => {
                let credentials = Credentials::X509 {
                    authority: None,
                    identity: None,
                    hostname: None,
                    verify: false,
                };
                Tls { required: false, ..Tls::required(credentials) }
            }
            (None, false) => return Ok(None),
            (Some(tls), _) => tls.clone(),
            (None, true) => Tls::required(of_uri(uri)),
        };
        let mut credentials = tls.credentials;
        if let Credentials::X509 { hostname, verify, .. } = &mut credentials {
            if uri.tls_hostname.is_some() {
                hostname.clone_from(&uri.tls_hostname);
            }
            *verify = uri.tls_verify_peer.unwrap_or(*verify);
            *verify &= !habits.is_tls_fault(TlsFault::Unverified);
        }
        let versions = match habits.tls_fault {
            Some(TlsFault::Only12) => Versions::Only12,
            Some(TlsFault::Only13) => Versions::Only13,
            _ => tls.versions,
        };
        let host = match &uri.endpoint {
            Endpoint::Tcp { host, .. } => host.as_str(),
            Endpoint::Unix(_) => "localhost",
        };
        let connector = Connector::new(&credentials, host, versions, tls.key_log);
        let connector =
            connector.map_err(|error: BadTls| ClientError::BadTls(error.to_string()))?;
        Ok(Some(Self { connector, required: tls.required || uri.tls }))
    }
}

/// The credentials that a URI names, as libnbd takes it: a directory with `ca-cert.pem`,
/// `client-cert.pem` and `client-key.pem`, or a file of keys.
fn of_uri(uri: &Uri) -> Credentials {
    let wants_psk = match uri.tls_type {
        Some(kind) => kind == TlsType::Psk,
        None => uri.tls_psk_file.is_some(),
    };
    if wants_psk && let Some(keys) = &uri.tls_psk_file {
        let user = uri.user.clone().unwrap_or_else(|| "nbd".to_owned());
        return Credentials::Psk { user, keys: keys.clone() };
    }
    let folder = uri.tls_certificates.as_ref();
    let there = |name: &str| folder.map(|folder| folder.join(name)).filter(|path| path.exists());
    Credentials::X509 {
        authority: folder.map(|folder| folder.join("ca-cert.pem")),
        identity: there("client-cert.pem")
            .zip(there("client-key.pem"))
            .map(|(certificate, key)| Identity { certificate, key }),
        hostname: None,
        verify: true,
    }
}

/// Releases have learned TLS bit by bit.
pub(super) fn can_do_tls(uri: &Uri, options: &Options) -> Result<(), ClientError> {
    let Some(profile) = options.profile else { return Ok(()) };
    let psk = match &options.tls {
        Some(tls) => matches!(tls.credentials, Credentials::Psk { .. }),
        None => matches!(of_uri(uri), Credentials::Psk { .. }),
    };
    if psk && !profile.has_psk() {
        let why = "has no TLS with pre-shared keys; 3.0 and later have";
        return Err(ClientError::BadTls(format!("{profile} {why}")));
    }
    if matches!(uri.endpoint, Endpoint::Unix(_)) && !profile.has_tls_over_unix() {
        let why = "has no TLS over Unix sockets; 7.0 and later have";
        return Err(ClientError::BadTls(format!("{profile} {why}")));
    }
    Ok(())
}

/// Connects to where a server listens.
pub(crate) async fn dial(endpoint: &Endpoint, limit: Duration) -> Result<BoxedStream, ClientError> {
    let failed = |error: std::io::Error| ClientError::Connect {
        address: endpoint.to_string(),
        error: error.to_string(),
    };
    let dialled = async {
        Ok::<BoxedStream, std::io::Error>(match endpoint {
            Endpoint::Tcp { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Endpoint::Unix(path) => Box::new(UnixStream::connect(path).await?),
        })
    };
    timeout(limit, dialled)
        .await
        .map_err(|_| ClientError::TimedOut("a connection"))?
        .map_err(failed)
}
