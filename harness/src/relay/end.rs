//! One end of a connection, TCP or Unix, that two tasks share: one reads, the other writes.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::net::Shutdown;
use tokio::net::{TcpStream, UnixStream};

use crate::socket::Socket;

/// A connected socket.
#[derive(Debug)]
pub(super) enum End {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl TryFrom<Socket> for End {
    type Error = io::Error;

    fn try_from(socket: Socket) -> io::Result<Self> {
        match socket {
            Socket::Tcp(stream) => Ok(Self::Tcp(stream)),
            Socket::Unix(stream) => Ok(Self::Unix(stream)),
            Socket::Memory(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

impl End {
    /// Waits until there may be something to read.
    pub(super) async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.readable().await,
            Self::Unix(stream) => stream.readable().await,
        }
    }

    /// Reads what is there; 0 at the end of the direction.
    pub(super) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_read(buffer),
            Self::Unix(stream) => stream.try_read(buffer),
        }
    }

    /// Writes all of it, as fast as the other side takes it.
    pub(super) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = match self {
                Self::Tcp(stream) => stream.try_write(bytes),
                Self::Unix(stream) => stream.try_write(bytes),
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => match self {
                    Self::Tcp(stream) => stream.writable().await?,
                    Self::Unix(stream) => stream.writable().await?,
                },
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Ends what is written, and goes on reading.
    pub(super) fn end_writing(&self) {
        // Where that fails the connection has ended, and reading tells how.
        let _ = rustix::net::shutdown(self.as_fd(), Shutdown::Write);
    }

    /// Breaks the connection off: by a reset where there is such a thing.
    pub(super) fn reset(self) {
        if let Self::Tcp(stream) = &self {
            // One that is already gone needs no reset.
            let _ = stream.set_zero_linger();
        }
    }

    /// Our address and that of the other side, of TCP.
    pub(super) fn addresses(&self) -> Option<(SocketAddr, SocketAddr)> {
        match self {
            Self::Tcp(stream) => Some((stream.local_addr().ok()?, stream.peer_addr().ok()?)),
            Self::Unix(_) => None,
        }
    }

    /// The process at the other end, where the system tells it.
    pub(super) fn process(&self) -> Option<i32> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(stream) => stream.peer_cred().ok()?.pid(),
        }
    }
}

impl AsFd for End {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}
