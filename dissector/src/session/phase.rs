//! How far a session has come, and what was agreed in it.

use protocol::message::Cookie;

use super::selection::Selection;

/// How far a session has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// The server's greeting is not complete.
    Greeting,
    /// The client's flags are not complete.
    Flags,
    /// Option haggling.
    Haggling,
    /// Requests and replies.
    Transmission,
}

/// What the client negotiated, in the current state of TLS.
#[derive(Debug, Clone, Default)]
pub(super) struct Negotiated {
    pub(super) structured: bool,
    pub(super) extended: bool,
    /// Structured replies were agreed before STARTTLS, which undid that.
    pub(super) structured_before_tls: bool,
    /// The same for extended headers.
    pub(super) extended_before_tls: bool,
    /// The contexts in force; `None` when that is not known.
    pub(super) selection: Option<Selection>,
}

/// How the client said that it ends the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Farewell {
    Abort,
    Disc(Cookie),
}
