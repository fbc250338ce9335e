//! What TLS runs on: the bytes that came before it took over, then the stream; and the ear of a
//! capture, which hears what is on the wire.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::{Buf as _, BytesMut};
use protocol::message::Side;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::tap::Tap;
use crate::socket::Socket;

/// How much of a handshake is held back until its secrets are known, in bytes. What a capture's
/// reader needs for decrypting stands before what it decrypts.
const HELD_LIMIT: usize = 1 << 20;

/// A socket below TLS.
pub struct Carrier {
    socket: Socket,
    before: BytesMut,
    tap: Option<Box<dyn Tap>>,
    side: Side,
    clock: Clock,
    held: Option<Vec<(Side, u64, Vec<u8>)>>,
    held_bytes: usize,
}

/// Nanoseconds since 1970, steadily.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    pub(super) started: Instant,
    pub(super) epoch_ns: u64,
}

impl Clock {
    pub(super) fn now_ns(self) -> u64 {
        let elapsed = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.epoch_ns.saturating_add(elapsed)
    }
}

impl std::fmt::Debug for Carrier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Carrier").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl Carrier {
    /// On top of a socket on which the harness is `side`; `before` was read already, and heard.
    pub(super) fn new(
        socket: Socket,
        before: BytesMut,
        tap: Option<Box<dyn Tap>>,
        side: Side,
        clock: Clock,
    ) -> Self {
        let held = Some(Vec::new());
        Self { socket, before, tap, side, clock, held, held_bytes: 0 }
    }

    /// On top of a fresh socket, all of which is heard as it comes.
    pub(crate) fn heard(socket: Socket, tap: Option<Box<dyn Tap>>, side: Side) -> Self {
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let epoch_ns = u64::try_from(epoch.as_nanos()).unwrap_or(u64::MAX);
        let clock = Clock { started: Instant::now(), epoch_ns };
        Self { held: None, ..Self::new(socket, BytesMut::new(), tap, side, clock) }
    }

    /// For another handshake; `before` was read from it already.
    pub(super) fn again(mut self, mut before: BytesMut) -> Self {
        before.unsplit(self.before);
        self.before = before;
        self
    }

    /// Stands for one that was taken away.
    pub(super) fn gone(clock: Clock) -> Self {
        let socket = Socket::Memory(tokio::io::duplex(1).0);
        Self::new(socket, BytesMut::new(), None, Side::Client, clock)
    }

    /// The handshake is over, with these secrets: what was held back is told.
    pub(super) fn release(&mut self, secrets: &str) {
        let Some(tap) = &mut self.tap else { return };
        if !secrets.is_empty() {
            tap.secrets(secrets);
        }
        for (from, time_ns, bytes) in self.held.take().into_iter().flatten() {
            tap.data(from, time_ns, &bytes);
        }
    }

    /// See [`Socket::reset_on_drop`].
    pub(super) fn reset_on_drop(&mut self) {
        self.socket.reset_on_drop();
        self.closed(self.side, true);
    }

    fn hear(&mut self, from: Side, bytes: &[u8]) {
        let Some(tap) = &mut self.tap else { return };
        let now = self.clock.now_ns();
        match &mut self.held {
            Some(held) if self.held_bytes < HELD_LIMIT => {
                self.held_bytes += bytes.len();
                held.push((from, now, bytes.to_vec()));
            }
            _ => tap.data(from, now, bytes),
        }
    }

    fn closed(&mut self, from: Side, reset: bool) {
        self.release("");
        if let Some(tap) = &mut self.tap {
            tap.closed(from, self.clock.now_ns(), reset);
        }
    }
}

impl AsyncRead for Carrier {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.before.is_empty() {
            let count = this.before.len().min(buf.remaining());
            buf.put_slice(&this.before[..count]);
            this.before.advance(count);
            return Poll::Ready(Ok(()));
        }
        let start = buf.filled().len();
        let read = Pin::new(&mut this.socket).poll_read(cx, buf);
        let peer = this.side.other();
        match &read {
            Poll::Ready(Ok(())) if buf.filled().len() > start => {
                this.hear(peer, &buf.filled()[start..]);
            }
            Poll::Ready(Ok(())) if buf.remaining() > 0 => this.closed(peer, false),
            Poll::Ready(Err(_)) => this.closed(peer, true),
            _ => {}
        }
        read
    }
}

impl AsyncWrite for Carrier {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.socket).poll_write(cx, buf);
        if let Poll::Ready(Ok(count)) = &written {
            this.hear(this.side, &buf[..*count]);
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let shut = Pin::new(&mut this.socket).poll_shutdown(cx);
        if shut.is_ready() {
            this.closed(this.side, false);
        }
        shut
    }
}
