//! What a release of qemu is like, as a server and as a client.

use std::fmt;

use crate::behaviour::Behaviour;
use crate::habits::Habits;

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
    /// The same of a client.
    pub(super) client_changes: fn(&mut Habits),
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
