//! Listening to what is said on connections, in the clear also where it goes through TLS.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use protocol::message::Side;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::stream::BoxedStream;

/// How a direction of a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// In order; inside TLS with its own goodbye.
    End,
    /// TLS was not closed, the connection below was.
    Unclosed,
    /// By a reset, or by any other error of the connection.
    Reset,
}

/// Hears one connection. What the server says is heard when it has gone out, what the client says
/// before the server acts on it. Calls must not block.
pub trait Ear: Send {
    /// Bytes of one side; inside TLS, what is inside.
    fn heard(&mut self, from: Side, bytes: &[u8]);
    /// The TLS handshake is done: what follows is inside.
    fn secured(&mut self);
    /// The TLS handshake failed: nothing more is heard.
    fn failed(&mut self, why: &str);
    /// A side says no more. Whoever ends second may not be heard.
    fn closed(&mut self, from: Side, how: Close);
}

/// Makes the ear of a connection, from its number and where the client is, for people.
pub type EarMaker = Arc<dyn Fn(u64, &str) -> Option<Box<dyn Ear>> + Send + Sync>;

/// The bare connection is heard.
const BARE: u8 = 0;
/// What is inside TLS is heard.
const INSIDE: u8 = 1;
/// Nothing is: a TLS handshake is under way, or has failed.
const NOTHING: u8 = 2;

/// The ear of a connection, at the level at which it is spoken.
#[derive(Clone)]
pub(crate) struct Hearing {
    ear: Arc<Mutex<Box<dyn Ear>>>,
    level: Arc<AtomicU8>,
}

impl Hearing {
    pub(crate) fn new(ear: Box<dyn Ear>) -> Self {
        Self { ear: Arc::new(Mutex::new(ear)), level: Arc::new(AtomicU8::new(BARE)) }
    }

    fn ear(&self) -> MutexGuard<'_, Box<dyn Ear>> {
        self.ear.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The stream, overheard at the level that is spoken on it.
    pub(crate) fn bare(&self, stream: BoxedStream) -> BoxedStream {
        Box::new(Overheard { stream, hearing: self.clone(), level: BARE })
    }

    /// A TLS handshake begins.
    pub(crate) fn pause(&self) {
        self.level.store(NOTHING, Ordering::Relaxed);
    }

    /// The handshake is done.
    pub(crate) fn inside(&self, stream: BoxedStream) -> BoxedStream {
        self.level.store(INSIDE, Ordering::Relaxed);
        self.ear().secured();
        Box::new(Overheard { stream, hearing: self.clone(), level: INSIDE })
    }

    /// The handshake failed.
    pub(crate) fn failed(&self, why: &str) {
        self.ear().failed(why);
    }
}

struct Overheard {
    stream: BoxedStream,
    hearing: Hearing,
    level: u8,
}

impl Overheard {
    fn hear(&self, tell: impl FnOnce(&mut dyn Ear)) {
        if self.hearing.level.load(Ordering::Relaxed) == self.level {
            tell(&mut **self.hearing.ear());
        }
    }

    fn lost(&self, error: &io::Error) {
        let unclosed = error.kind() == io::ErrorKind::UnexpectedEof;
        let how = if unclosed { Close::Unclosed } else { Close::Reset };
        self.hear(|ear| ear.closed(Side::Client, how));
    }
}

impl AsyncRead for Overheard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        match &polled {
            Poll::Ready(Ok(())) => {
                let came = &buf.filled()[before..];
                if !came.is_empty() {
                    self.hear(|ear| ear.heard(Side::Client, came));
                } else if buf.remaining() > 0 {
                    self.hear(|ear| ear.closed(Side::Client, Close::End));
                }
            }
            Poll::Ready(Err(error)) => self.lost(error),
            Poll::Pending => {}
        }
        polled
    }
}

impl AsyncWrite for Overheard {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        match &polled {
            Poll::Ready(Ok(count)) if *count > 0 => {
                self.hear(|ear| ear.heard(Side::Server, &bytes[..*count]));
            }
            Poll::Ready(Err(error)) => self.lost(error),
            _ => {}
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(cx);
        if let Poll::Ready(Ok(())) = &polled {
            self.hear(|ear| ear.closed(Side::Server, Close::End));
        }
        polled
    }
}
