//! What a capture hears of a connection.

use protocol::message::Side;

/// Takes every byte of a connection, for a capture file.
pub trait Tap: Send {
    /// `from` sent these bytes.
    fn data(&mut self, from: Side, time_ns: u64, bytes: &[u8]);
    /// `from` ended its direction.
    fn closed(&mut self, from: Side, time_ns: u64, reset: bool);
    /// Secrets of TLS, lines as of `SSLKEYLOGFILE`, before the data that they open.
    fn secrets(&mut self, lines: &str);
}
