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
mod haggling;
mod transmission;

use std::time::Duration;

use protocol::uri::{Endpoint, Uri};
use protocol::values::{ReplyType, TransmissionFlags};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::connection::BoxedStream;
use crate::export::BlockSizes;

pub use error::{ClientError, Violation};
pub use haggling::{Haggling, ListedExport};
pub use transmission::{Call, Client};

/// What a client wants of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Answer the handshake flag FIXED_NEWSTYLE; without it only `NBD_OPT_EXPORT_NAME` can be used.
    pub fixed_newstyle: bool,
    /// Ask for no padding after `NBD_OPT_EXPORT_NAME`.
    pub no_zeroes: bool,
    /// Ask for structured replies.
    pub structured_reply: bool,
    /// Use `NBD_OPT_GO` where the server knows it.
    pub go: bool,
    /// Ask for the size constraints.
    pub block_size: bool,
    /// How long the server may take for any one answer.
    pub timeout: Duration,
}

impl Default for Options {
    /// Everything, and 30 seconds.
    fn default() -> Self {
        Self {
            fixed_newstyle: true,
            no_zeroes: true,
            structured_reply: true,
            go: true,
            block_size: true,
            timeout: Duration::from_secs(30),
        }
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
    /// There is no connection, the server refuses or misbehaves, or the URI demands TLS.
    pub async fn connect(uri: &Uri, options: &Options) -> Result<Self, ClientError> {
        if uri.tls {
            return Err(ClientError::Tls);
        }
        Self::over(dial(&uri.endpoint, options.timeout).await?, &uri.export, options).await
    }

    /// The same over a channel of bytes.
    ///
    /// # Errors
    /// The server refuses or misbehaves.
    pub async fn over(
        stream: impl crate::Stream + 'static,
        export: &str,
        options: &Options,
    ) -> Result<Self, ClientError> {
        let mut haggling = match haggling::greet(Box::new(stream), options).await? {
            haggling::Greeted::Haggling(haggling) => haggling,
            haggling::Greeted::Transmission(client) if export.is_empty() => return Ok(client),
            haggling::Greeted::Transmission(_) => {
                return Err(ClientError::NotOffered("exports with names: it is oldstyle"));
            }
        };
        if options.structured_reply && haggling.is_fixed() {
            match haggling.structured_reply().await {
                // Whatever the reason, simple replies will do.
                Ok(()) | Err(ClientError::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        haggling.go(export).await
    }
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
