//! What is passed down to connections.

use crate::session::Recognize;
use crate::tls::KeyLog;

/// What a flow needs from outside while it takes a segment.
pub(super) struct Context<'a, S> {
    pub(super) sink: &'a mut S,
    /// How many sessions there have been.
    pub(super) sessions: &'a mut u64,
    /// What is told of payloads.
    pub(super) recognize: Recognize,
    /// What TLS can be opened with.
    pub(super) keys: &'a mut KeyLog,
}
