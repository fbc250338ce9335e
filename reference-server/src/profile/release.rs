//! What a release of qemu is like, as a server and as a client.

use std::fmt;

use crate::behaviour::Behaviour;

/// A release of qemu, as a server and as a client.
#[derive(Debug)]
pub struct Profile {
    pub(super) version: &'static str,
    pub(super) name: &'static str,
    pub(super) peer: &'static str,
    /// What it does otherwise than the release before, or than a server does by default.
    pub(super) changes: fn(&mut Behaviour),
    pub(super) psk: bool,
    pub(super) tls_over_unix: bool,
    pub(super) habits: Habits,
}

/// What a release does as a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Habits {
    /// Answers the handshake flag NO_ZEROES.
    pub no_zeroes: bool,
    /// Uses `NBD_OPT_GO`; without it, or where the server does not know it, looks for the name in
    /// the list of exports and then uses `NBD_OPT_EXPORT_NAME`.
    pub go: bool,
    /// Asks for structured replies.
    pub structured_reply: bool,
    /// Asks for extended headers, and then for structured replies only if they were refused.
    pub extended_headers: bool,
    /// Selects `base:allocation`, once replies can carry it.
    pub base_allocation: bool,
    /// Goes on without structured replies and contexts whatever the refusal; else only where the
    /// server does not know the option.
    pub takes_any_refusal: bool,
    /// The largest payload of a request, in bytes.
    pub largest: u32,
    /// The largest effect of a request without payload, in bytes.
    pub largest_effect: u64,
    /// Keeps to the server's minimum block size, by reading and writing more than is asked for.
    pub aligns: bool,
    /// Uses `NBD_CMD_WRITE_ZEROES` where it is offered; else writes zeroes.
    pub write_zeroes: bool,
    /// Knows `NBD_CMD_FLAG_FAST_ZERO`.
    pub fast_zero: bool,
    /// Refuses to open a read-only export for writing; else it sends the write.
    pub minds_read_only: bool,
    /// How many times it sends `NBD_CMD_FLUSH` before it leaves, where that is offered.
    pub last_flushes: u8,
}

impl Profile {
    /// The release: `2.12`.
    #[must_use]
    pub fn version(&self) -> &'static str {
        self.version
    }

    /// The name: `qemu-2.12`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The name as a peer: `self@2.12`.
    #[must_use]
    pub fn peer(&self) -> &'static str {
        self.peer
    }

    /// Whether it can do TLS with pre-shared keys.
    #[must_use]
    pub fn has_psk(&self) -> bool {
        self.psk
    }

    /// Whether it can do TLS over a Unix socket.
    #[must_use]
    pub fn has_tls_over_unix(&self) -> bool {
        self.tls_over_unix
    }

    /// What it does as a client.
    #[must_use]
    pub fn habits(&self) -> &Habits {
        &self.habits
    }
}

/// There is one of each release.
impl PartialEq for Profile {
    fn eq(&self, other: &Self) -> bool {
        self.version == other.version
    }
}

impl Eq for Profile {}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
