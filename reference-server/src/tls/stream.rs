//! A stream inside TLS, whichever library carries it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls::ProtocolVersion;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream inside TLS. A read that meets the end of the carrier without TLS's `close_notify` fails
/// with [`io::ErrorKind::UnexpectedEof`]; `shutdown` sends a `close_notify` and ends the carrier's
/// direction.
#[derive(Debug)]
pub struct TlsStream<S>(Inner<S>);

#[derive(Debug)]
enum Inner<S> {
    X509(Box<tokio_rustls::TlsStream<S>>),
    #[cfg(feature = "psk")]
    Psk(Box<tokio_openssl::SslStream<S>>),
}

/// A handshake that failed, and the stream that it failed on.
#[derive(Debug)]
pub struct Failed<S> {
    /// Why.
    pub error: io::Error,
    carrier: Carrier<S>,
}

#[derive(Debug)]
enum Carrier<S> {
    Plain(Box<S>),
    #[cfg(feature = "psk")]
    Psk(Box<tokio_openssl::SslStream<S>>),
}

impl<S> Failed<S> {
    pub(super) fn plain(error: io::Error, stream: S) -> Self {
        Self { error, carrier: Carrier::Plain(Box::new(stream)) }
    }

    #[cfg(feature = "psk")]
    pub(super) fn psk(error: io::Error, stream: tokio_openssl::SslStream<S>) -> Self {
        Self { error, carrier: Carrier::Psk(Box::new(stream)) }
    }

    /// The stream, below TLS.
    pub fn carrier(&mut self) -> &mut S {
        match &mut self.carrier {
            Carrier::Plain(stream) => stream,
            #[cfg(feature = "psk")]
            Carrier::Psk(stream) => stream.get_mut(),
        }
    }
}

impl<S> TlsStream<S> {
    pub(super) fn server(stream: tokio_rustls::server::TlsStream<S>) -> Self {
        Self(Inner::X509(Box::new(stream.into())))
    }

    pub(super) fn client(stream: tokio_rustls::client::TlsStream<S>) -> Self {
        Self(Inner::X509(Box::new(stream.into())))
    }

    #[cfg(feature = "psk")]
    pub(super) fn psk(stream: tokio_openssl::SslStream<S>) -> Self {
        Self(Inner::Psk(Box::new(stream)))
    }

    /// The version that was agreed: `1.2`, `1.3`.
    #[must_use]
    pub fn version(&self) -> &'static str {
        match &self.0 {
            Inner::X509(stream) => match stream.get_ref().1.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "1.3",
                _ => "1.2",
            },
            #[cfg(feature = "psk")]
            Inner::Psk(stream) => match stream.ssl().version_str() {
                "TLSv1.3" => "1.3",
                _ => "1.2",
            },
        }
    }

    /// What the parties know each other by: `x509`, `psk`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match &self.0 {
            Inner::X509(_) => "x509",
            #[cfg(feature = "psk")]
            Inner::Psk(_) => "psk",
        }
    }

    /// The stream below TLS.
    pub fn carrier(&self) -> &S {
        match &self.0 {
            Inner::X509(stream) => stream.get_ref().0,
            #[cfg(feature = "psk")]
            Inner::Psk(stream) => stream.get_ref(),
        }
    }

    /// The stream below TLS, for ending it in a way that TLS does not know.
    pub fn carrier_mut(&mut self) -> &mut S {
        match &mut self.0 {
            Inner::X509(stream) => stream.get_mut().0,
            #[cfg(feature = "psk")]
            Inner::Psk(stream) => stream.get_mut(),
        }
    }
}

macro_rules! delegate {
    ($self:ident, $method:ident($($arg:expr),*)) => {
        match &mut $self.get_mut().0 {
            Inner::X509(stream) => Pin::new(&mut **stream).$method($($arg),*),
            #[cfg(feature = "psk")]
            Inner::Psk(stream) => Pin::new(&mut **stream).$method($($arg),*),
        }
    };
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let inner = self.get_mut();
        match &mut inner.0 {
            Inner::X509(stream) => Pin::new(&mut **stream).poll_read(cx, buf),
            #[cfg(feature = "psk")]
            Inner::Psk(stream) => {
                let read = Pin::new(&mut **stream).poll_read(cx, buf);
                read.map_err(sorted)
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
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

/// An end without `close_notify` is told as such.
#[cfg(feature = "psk")]
pub(super) fn sorted(error: io::Error) -> io::Error {
    if error.to_string().contains("unexpected eof") {
        return io::Error::new(io::ErrorKind::UnexpectedEof, error);
    }
    error
}
