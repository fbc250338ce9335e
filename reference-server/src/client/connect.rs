//! Entering an export.

use protocol::uri::Uri;
use tokio::time::timeout;

use super::error::ClientError;
use super::haggling;
use super::options::Options;
use super::transmission::Client;
use super::upgrade::{Upgrade, can_do_tls, dial};
use crate::besides::Stage;
use crate::missteps::{Entering, TlsFault};
use crate::stream::BoxedStream;

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
        let habits = &options.habits;
        let slashed = format!("/{export}");
        let export =
            if habits.entering == Entering::SlashBeforeName { slashed.as_str() } else { export };
        if habits.is_tls_fault(TlsFault::AtOnce)
            && let Some(upgrade) = &upgrade
        {
            let shaken = timeout(options.timeout, upgrade.connector.connect(stream)).await;
            let failed = shaken.ok().and_then(Result::err);
            let why = failed.map_or_else(|| "no NBD inside".to_owned(), |it| it.error.to_string());
            return Err(ClientError::Tls(why));
        }
        let mut haggling = match haggling::greet(stream, options).await? {
            haggling::Greeted::Haggling(haggling) => haggling.upgrade(upgrade, export).await?,
            haggling::Greeted::Transmission(_) if upgrade.is_some_and(|tls| tls.required) => {
                return Err(ClientError::NotOffered("TLS: it is oldstyle"));
            }
            haggling::Greeted::Transmission(client) if export.is_empty() => {
                client.besides(Stage::First).await;
                return Ok(client);
            }
            haggling::Greeted::Transmission(_) => {
                return Err(ClientError::NotOffered("exports with names: it is oldstyle"));
            }
        };
        haggling.agree(export).await?;
        let client = haggling.go(export).await?;
        client.besides(Stage::First).await;
        Ok(client)
    }
}
