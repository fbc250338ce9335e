//! TLS on a connection: the handshake, what comes of it, and what may still come after it failed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dissector::session::{Close, Tls};
use protocol::values::{OPTION_MAGIC, OptionType};
use reference_server::tls::{KeyLog, TlsStream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::carrier::Carrier;
use super::connection::Link;
use super::end::End;
use super::stream::Stream;

use crate::tls::Starter;

/// Takes the secrets of a handshake.
#[derive(Debug, Clone, Default)]
pub struct Secrets(Arc<Mutex<String>>);

impl Secrets {
    /// Writes them down here.
    #[must_use]
    pub fn key_log(&self) -> KeyLog {
        let lines = self.0.clone();
        KeyLog::new(move |line| {
            let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
            lines.push_str(line);
            lines.push('\n');
        })
    }

    fn lines(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Why there is no TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoTls {
    /// The handshake failed, for one side or the other.
    Failed(String),
    /// The peer does not go on with it.
    Silent,
}

/// `NBD_OPT_ABORT`.
fn abort() -> Vec<u8> {
    let mut bytes = OPTION_MAGIC.to_be_bytes().to_vec();
    bytes.extend_from_slice(&OptionType::ABORT.0.to_be_bytes());
    bytes.extend_from_slice(&0u32.to_be_bytes());
    bytes
}

impl Link {
    /// The TLS handshake, within `limit`. After one that failed the connection carries what the
    /// peer still sends in the clear; after one that did not end it is closed.
    ///
    /// # Errors
    /// Why there is no TLS.
    pub async fn start_tls(
        &mut self,
        starter: &Starter,
        secrets: &Secrets,
        limit: Duration,
    ) -> Result<(), NoTls> {
        let stream = self.shake_hands(starter, secrets, limit).await?;
        self.note(format!("-- TLS {} begins ({})", stream.version(), stream.kind()));
        self.stream = Some(Stream::Tls(Box::new(stream)));
        let now = self.clock().now_ns();
        self.judge.tls(now, Tls::Opened);
        self.tracker.tls_started();
        self.consumed = 0;
        Ok(())
    }

    /// A TLS handshake that must not come to an end in which both are content. A client may think
    /// that all is well before the server has looked at its certificate: then the first answer
    /// inside tells.
    ///
    /// # Errors
    /// It succeeded; the text tells what shows it.
    pub async fn fail_tls(
        &mut self,
        starter: &Starter,
        secrets: &Secrets,
        limit: Duration,
    ) -> Result<(), String> {
        let mut stream = match self.shake_hands(starter, secrets, limit).await {
            Ok(stream) => stream,
            Err(NoTls::Failed(_)) => return Ok(()),
            Err(NoTls::Silent) => {
                self.ended = Some(End::Timeout(limit));
                return Ok(());
            }
        };
        let shown = format!("TLS {} was agreed ({})", stream.version(), stream.kind());
        if matches!(starter, Starter::Accept(_)) {
            // A client that is content goes on.
            let mut first = [0; 16];
            let read = tokio::time::timeout(limit, stream.read(&mut first)).await;
            if let Ok(Ok(count)) = read
                && count > 0
            {
                return Err(format!("{shown}, and the client goes on inside"));
            }
            self.note("-- the client leaves after the TLS handshake".to_owned());
            self.after(stream, read.is_err().then_some(limit));
            return Ok(());
        }
        // It need not arrive: whoever refused us has stopped listening.
        let _ = tokio::time::timeout(limit, stream.write_all(&abort())).await;
        let _ = tokio::time::timeout(limit, stream.flush()).await;
        let mut first = [0; 16];
        let read = tokio::time::timeout(limit, stream.read(&mut first)).await;
        match &read {
            Ok(Ok(count)) if *count > 0 => {
                return Err(format!("{shown}, and the server answers inside"));
            }
            Ok(Err(error)) => self.note(format!("-- the TLS handshake is refused: {error}")),
            Ok(Ok(_)) => self.note("-- the TLS handshake is refused: closed".to_owned()),
            Err(_) => self.note("-- no answer inside TLS".to_owned()),
        }
        self.after(stream, read.is_err().then_some(limit));
        Ok(())
    }

    /// TLS is over before it was of use: what is below it stays.
    fn after(&mut self, mut stream: TlsStream<Carrier>, silent: Option<Duration>) {
        let carrier = std::mem::replace(stream.carrier_mut(), Carrier::gone(self.clock()));
        self.stream = Some(Stream::Below(Box::new(carrier)));
        self.ended = silent.map(End::Timeout).or(self.ended);
    }

    async fn shake_hands(
        &mut self,
        starter: &Starter,
        secrets: &Secrets,
        limit: Duration,
    ) -> Result<TlsStream<Carrier>, NoTls> {
        self.flush(limit).await;
        let Some(stream) = self.stream.take() else {
            return Err(NoTls::Failed("the connection is closed".to_owned()));
        };
        let clock = self.clock();
        let carrier = match stream {
            Stream::Plain(socket) => {
                let before = std::mem::take(&mut self.inbox);
                Carrier::new(socket, before, self.tap.take(), self.side, clock)
            }
            Stream::Below(carrier) => carrier.again(std::mem::take(&mut self.inbox)),
            Stream::Tls(_) => {
                self.stream = Some(stream);
                return Err(NoTls::Failed("the connection is inside TLS already".to_owned()));
            }
        };
        let handshake = async {
            match starter {
                Starter::Connect(connector) => connector.connect(carrier).await,
                Starter::Accept(acceptor) => acceptor.accept(carrier).await,
            }
        };
        match tokio::time::timeout(limit, handshake).await {
            Ok(Ok(mut stream)) => {
                stream.carrier_mut().release(&secrets.lines());
                Ok(stream)
            }
            Ok(Err(mut failed)) => {
                let why = failed.error.to_string();
                let mut carrier = std::mem::replace(failed.carrier(), Carrier::gone(clock));
                carrier.release(&secrets.lines());
                self.stream = Some(Stream::Below(Box::new(carrier)));
                self.note(format!("-- the TLS handshake fails: {why}"));
                Err(NoTls::Failed(why))
            }
            Err(_) => {
                self.note("-- the TLS handshake does not end".to_owned());
                self.hear_end(self.side, Close::End);
                Err(NoTls::Silent)
            }
        }
    }
}
