//! The reference client: haggling, then requests, many at once, with strict checks of what the
//! server sends.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use reference_server::client::{Client, Options};
//!
//! let client = Client::connect(&"nbd://localhost/disk".parse()?, &Options::default()).await?;
//! let first = client.read(0, 512).await?;
//! client.write(512, &first).await?;
//! client.flush().await?;
//! client.disconnect().await?;
//! # Ok(())
//! # }
//! ```

mod assembly;
mod error;
mod extents;
mod haggling;
mod operations;
mod request;
mod status;
mod transmission;

use std::time::Duration;

use protocol::uri::{Endpoint, TlsType, Uri};
use protocol::values::{ReplyType, TransmissionFlags};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::connection::BoxedStream;
use crate::export::BlockSizes;
use crate::profile::{Habits, Profile};
use crate::tls::{BadTls, Connector, Credentials, Identity, KeyLog, Versions};

pub use error::{ClientError, Violation};
pub use haggling::{Haggling, ListedExport};
pub use request::Call;
pub use status::MetaContext;
pub use transmission::Client;

/// What a client wants of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Answer the handshake flag FIXED_NEWSTYLE; without it only `NBD_OPT_EXPORT_NAME` can be used.
    pub fixed_newstyle: bool,
    /// Ask for no padding after `NBD_OPT_EXPORT_NAME`.
    pub no_zeroes: bool,
    /// Ask for replies in chunks: for structured replies, if not for more.
    pub structured_reply: bool,
    /// Ask for extended headers first; takes `structured_reply`, and `go`, which they prescribe.
    pub extended_headers: bool,
    /// Metadata contexts to select, where the server has them; they take `structured_reply`.
    pub contexts: Vec<String>,
    /// Use `NBD_OPT_GO` where the server knows it.
    pub go: bool,
    /// Ask for the size constraints.
    pub block_size: bool,
    /// Take a reply to an option that was not asked for an answer to the one that was: for those who
    /// have seen that fault and want to look past it.
    pub any_option: bool,
    /// Behave as a release of qemu does; see [`Options::of_release`].
    pub profile: Option<&'static Profile>,
    /// TLS with these credentials; without any, no TLS, unless the URI demands it.
    pub tls: Option<Tls>,
    /// How long the server may take for any one answer.
    pub timeout: Duration,
    /// How long the server may take to hang up at `NBD_CMD_DISC`.
    pub farewell: Duration,
}

impl Default for Options {
    /// Everything, and 30 seconds for each answer and for the end.
    fn default() -> Self {
        Self {
            fixed_newstyle: true,
            no_zeroes: true,
            structured_reply: true,
            extended_headers: true,
            contexts: Vec::new(),
            go: true,
            block_size: true,
            any_option: false,
            profile: None,
            tls: None,
            timeout: Duration::from_secs(30),
            farewell: Duration::from_secs(30),
        }
    }
}

impl Options {
    /// What a release of qemu asks for, and 30 seconds.
    #[must_use]
    pub fn of_release(profile: &'static Profile) -> Self {
        let habits = profile.habits();
        Self {
            no_zeroes: habits.no_zeroes,
            structured_reply: habits.structured_reply,
            extended_headers: habits.extended_headers,
            contexts: habits
                .base_allocation
                .then(|| "base:allocation".to_owned())
                .into_iter()
                .collect(),
            go: habits.go,
            profile: Some(profile),
            ..Self::default()
        }
    }

    /// What it does as a release of qemu.
    fn habits(&self) -> Option<&'static Habits> {
        self.profile.map(Profile::habits)
    }

    /// Whether the refusal of an option that is not needed can be put up with.
    fn puts_up_with(&self, error: &ClientError) -> bool {
        let any = self.habits().is_none_or(|habits| habits.takes_any_refusal);
        is_unknown(error) || (any && matches!(error, ClientError::Refused { .. }))
    }
}

/// The TLS that a client wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// What it has.
    pub credentials: Credentials,
    /// Leave a server that offers no TLS, rather than do without. An `nbds` URI requires it anyway.
    pub required: bool,
    /// Which versions may be agreed.
    pub versions: Versions,
    /// Where the secrets go, if anywhere.
    pub key_log: Option<KeyLog>,
}

impl Tls {
    /// TLS or nothing.
    #[must_use]
    pub fn required(credentials: Credentials) -> Self {
        Self { credentials, required: true, versions: Versions::All, key_log: None }
    }
}

/// TLS as a session needs it.
#[derive(Debug, Clone)]
pub(crate) struct Upgrade {
    connector: Connector,
    required: bool,
}

impl Upgrade {
    /// What options and URI make together; the URI's parameters count.
    fn of(uri: &Uri, options: &Options) -> Result<Option<Self>, ClientError> {
        let tls = match (&options.tls, uri.tls) {
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
        }
        let host = match &uri.endpoint {
            Endpoint::Tcp { host, .. } => host.as_str(),
            Endpoint::Unix(_) => "localhost",
        };
        let connector = Connector::new(&credentials, host, tls.versions, tls.key_log);
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

/// What the server told of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Details {
    /// Size in bytes.
    pub size: u64,
    /// What can be done with it.
    pub flags: TransmissionFlags,
    /// The canonical name, if it was told.
    pub name: Option<String>,
    /// The text for people, if it was told.
    pub description: Option<String>,
    /// The size constraints, if they were told.
    pub block_sizes: Option<BlockSizes>,
}

impl Client {
    /// Connects and enters transmission on the export that the URI names: with `NBD_OPT_GO`, or
    /// `NBD_OPT_EXPORT_NAME` where the server does not know that, or at once where it is oldstyle.
    ///
    /// # Errors
    /// There is no connection, the server refuses or misbehaves, or there is no TLS where it is
    /// required.
    pub async fn connect(uri: &Uri, options: &Options) -> Result<Self, ClientError> {
        let upgrade = Upgrade::of(uri, options)?;
        upgrade.as_ref().map_or(Ok(()), |_| can_do_tls(uri, options))?;
        let stream = dial(&uri.endpoint, options.timeout).await?;
        Self::enter(stream, upgrade, &uri.export, options).await
    }

    /// The same over a channel of bytes; with TLS, the server's host is `localhost`.
    ///
    /// # Errors
    /// The server refuses or misbehaves.
    pub async fn over(
        stream: impl crate::Stream + 'static,
        export: &str,
        options: &Options,
    ) -> Result<Self, ClientError> {
        let upgrade = Upgrade::of(&Uri::tcp("localhost", 0), options)?;
        Self::enter(Box::new(stream), upgrade, export, options).await
    }

    async fn enter(
        stream: BoxedStream,
        upgrade: Option<Upgrade>,
        export: &str,
        options: &Options,
    ) -> Result<Self, ClientError> {
        let mut haggling = match haggling::greet(stream, options).await? {
            haggling::Greeted::Haggling(haggling) => haggling.upgrade(upgrade).await?,
            haggling::Greeted::Transmission(_) if upgrade.is_some_and(|tls| tls.required) => {
                return Err(ClientError::NotOffered("TLS: it is oldstyle"));
            }
            haggling::Greeted::Transmission(client) if export.is_empty() => return Ok(client),
            haggling::Greeted::Transmission(_) => {
                return Err(ClientError::NotOffered("exports with names: it is oldstyle"));
            }
        };
        haggling.agree(export).await?;
        haggling.go(export).await
    }
}

/// Releases have learned TLS bit by bit.
fn can_do_tls(uri: &Uri, options: &Options) -> Result<(), ClientError> {
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

/// Whether an answer means that the server does not know the option.
fn is_unknown(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused { error: ReplyType::ERR_UNSUP, .. })
}
