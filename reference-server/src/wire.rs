//! Messages from a stream of bytes: the edge between the decoders and the sockets.

use std::io;

use protocol::codec::{BadMagic, Decoded, Step};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// How much is asked of the stream at once when little is needed, in bytes.
const CHUNK: usize = 16 << 10;
/// How much consumed space at the front of the buffer is put up with, in bytes.
const SLACK: usize = 64 << 10;
/// How much memory a payload gets before any of it has come, in bytes.
const TRUST: usize = 1 << 20;

/// Why no message could be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("the stream ended inside a message")]
    Cut,
    #[error(transparent)]
    Magic(#[from] BadMagic),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The receiving half of a connection. Nothing is lost when a read is cancelled.
#[derive(Debug)]
pub(crate) struct Incoming<R> {
    stream: R,
    buffer: Vec<u8>,
    start: usize,
}

impl<R> Incoming<R> {
    pub(crate) fn new(stream: R) -> Self {
        Self { stream, buffer: Vec::new(), start: 0 }
    }

    /// The stream, for writing.
    pub(crate) fn stream(&mut self) -> &mut R {
        &mut self.stream
    }

    /// The same bytes waiting, with the stream changed: split in two, say.
    pub(crate) fn map<T, U>(self, change: impl FnOnce(R) -> (T, U)) -> (Incoming<T>, U) {
        let (stream, other) = change(self.stream);
        (Incoming { stream, buffer: self.buffer, start: self.start }, other)
    }

    /// Whether nothing has been read that was not asked for.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting().is_empty()
    }

    /// The stream alone; what was read from it and not asked for is lost.
    pub(crate) fn into_stream(self) -> R {
        self.stream
    }

    fn waiting(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    fn consume(&mut self, count: usize) {
        self.start += count;
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        } else if self.start > SLACK {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
    }
}

impl<R: AsyncRead + Unpin> Incoming<R> {
    /// The next message; `None` when the stream ends before its first byte.
    ///
    /// What is kept of a message is bounded by the decoder's limits: it asks for no more.
    pub(crate) async fn next<T>(
        &mut self,
        decode: impl Fn(&[u8]) -> Decoded<T>,
    ) -> Result<Option<T>, ReadError> {
        loop {
            let need = match decode(self.waiting())? {
                Step::Ready(message, taken) => {
                    self.consume(taken);
                    return Ok(Some(message));
                }
                Step::Need(need) => need,
            };
            if !self.more(need).await? {
                let whole = self.waiting().is_empty();
                return if whole { Ok(None) } else { Err(ReadError::Cut) };
            }
        }
    }

    /// Waits for some bytes; `need` are known to be wanted. False at the end of the stream.
    async fn more(&mut self, need: usize) -> io::Result<bool> {
        self.buffer.reserve(need.clamp(CHUNK, TRUST));
        Ok(self.stream.read_buf(&mut self.buffer).await? > 0)
    }

    /// The next `length` bytes. Memory is taken as they come.
    pub(crate) async fn bulk(&mut self, length: usize) -> Result<Vec<u8>, ReadError> {
        let mut bytes = Vec::with_capacity(length.min(TRUST));
        let here = self.waiting().len().min(length);
        bytes.extend_from_slice(&self.waiting()[..here]);
        self.consume(here);
        while bytes.len() < length {
            let missing = (length - bytes.len()) as u64;
            bytes.reserve(TRUST.min(length - bytes.len()));
            if (&mut self.stream).take(missing).read_buf(&mut bytes).await? == 0 {
                return Err(ReadError::Cut);
            }
        }
        Ok(bytes)
    }

    /// Passes over the next `length` bytes.
    pub(crate) async fn skip(&mut self, length: u64) -> Result<(), ReadError> {
        let mut left = length;
        while left > 0 {
            let here = self.waiting().len().min(usize::try_from(left).unwrap_or(usize::MAX));
            self.consume(here);
            left -= here as u64;
            if left > 0 && !self.more(1).await? {
                return Err(ReadError::Cut);
            }
        }
        Ok(())
    }

    /// Reads until the stream ends, an error comes, or `limit` bytes have been thrown away.
    pub(crate) async fn drain(&mut self, limit: u64) {
        let _ = self.skip(limit).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::codec::{self, Limits};
    use protocol::message::{Cookie, Request, RequestForm};
    use protocol::values::{Command, CommandFlags};

    fn write_request(length: u64) -> Request {
        Request {
            form: RequestForm::Compact,
            flags: CommandFlags::EMPTY,
            command: Command::WRITE,
            cookie: Cookie(1),
            offset: 0,
            length,
            status: None,
        }
    }

    #[tokio::test]
    async fn reads_messages_and_bulk_from_any_pieces() {
        let mut bytes = protocol::message::Message::Request(write_request(5)).to_bytes();
        bytes.extend_from_slice(b"helloworld");
        for cut in 0..bytes.len() {
            let (first, second) = bytes.split_at(cut);
            let mut incoming = Incoming::new(first.chain(second));
            let request = incoming.next(|b| codec::request(b, Limits::default())).await.unwrap();
            assert_eq!(request, Some(write_request(5)));
            assert_eq!(incoming.bulk(5).await.unwrap(), b"hello");
            incoming.skip(4).await.unwrap();
            assert_eq!(incoming.bulk(1).await.unwrap(), b"d");
            let end = incoming.next(|b| codec::request(b, Limits::default())).await.unwrap();
            assert_eq!(end, None);
        }
    }

    #[tokio::test]
    async fn an_end_inside_a_message_is_an_error() {
        let bytes = protocol::message::Message::Request(write_request(5)).to_bytes();
        let mut incoming = Incoming::new(&bytes[..27]);
        let end = incoming.next(|b| codec::request(b, Limits::default())).await;
        assert!(matches!(end, Err(ReadError::Cut)));
        let mut incoming = Incoming::new(&bytes[..]);
        assert!(matches!(incoming.bulk(100).await, Err(ReadError::Cut)));
    }
}
