//! How sessions end.

use crate::wire::ReadError;

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ending {
    /// `NBD_OPT_ABORT`.
    #[error("the client aborted the handshake")]
    Aborted,
    /// `NBD_CMD_DISC`.
    #[error("the client disconnected")]
    Disconnected,
    /// The stream ended between two messages.
    #[error("the client left without a word")]
    Left,
    /// The stream ended inside a message.
    #[error("the client left inside a message")]
    Cut,
    /// The server hung up on something that can't be answered.
    #[error("hung up: {0}")]
    Refused(String),
    /// The client sent what is no message.
    #[error("hung up: {0}")]
    Garbage(String),
    /// The TLS handshake failed.
    #[error("the TLS handshake failed: {0}")]
    Tls(String),
    /// Something took too long.
    #[error("hung up: {0} took too long")]
    TimedOut(&'static str),
    /// The stream failed.
    #[error("the connection failed: {0}")]
    Lost(String),
    /// The server was shut down.
    #[error("the server shut down")]
    Stopped,
}

impl From<ReadError> for Ending {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Cut => Self::Cut,
            ReadError::Magic(magic) => Self::Garbage(magic.to_string()),
            ReadError::Io(error) => Self::Lost(error.to_string()),
        }
    }
}

impl From<std::io::Error> for Ending {
    fn from(error: std::io::Error) -> Self {
        Self::Lost(error.to_string())
    }
}
