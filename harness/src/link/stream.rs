//! The byte stream of a connection, in the clear or inside TLS.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use reference_server::tls::TlsStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::carrier::Carrier;
use crate::socket::Socket;

/// The byte stream of a connection.
#[derive(Debug)]
pub enum Stream {
    /// In the clear.
    Plain(Socket),
    /// Inside TLS.
    Tls(Box<TlsStream<Carrier>>),
    /// Below a TLS that has failed.
    Below(Box<Carrier>),
}

impl Stream {
    /// Makes the drop of this stream a reset rather than an orderly close, where the socket knows
    /// the difference.
    pub fn reset_on_drop(&mut self) {
        match self {
            Self::Plain(socket) => socket.reset_on_drop(),
            Self::Tls(stream) => stream.carrier_mut().reset_on_drop(),
            Self::Below(carrier) => carrier.reset_on_drop(),
        }
    }

    /// Whether it is inside TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }
}

macro_rules! delegate {
    ($self:ident, $method:ident($($arg:expr),*)) => {
        match $self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).$method($($arg),*),
            Stream::Tls(stream) => Pin::new(&mut **stream).$method($($arg),*),
            Stream::Below(stream) => Pin::new(&mut **stream).$method($($arg),*),
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        delegate!(self, poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        delegate!(self, poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, poll_shutdown(cx))
    }
}
