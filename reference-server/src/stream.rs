//! Channels of bytes.

use tokio::io::{AsyncRead, AsyncWrite};

/// Any channel of bytes.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

pub(crate) type BoxedStream = Box<dyn Stream>;
