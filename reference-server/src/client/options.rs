//! What a client wants of a session, and what it is told.

use std::time::Duration;

use protocol::values::{ReplyType, TransmissionFlags};

use super::error::ClientError;
use crate::export::BlockSizes;
use crate::profile::{Habits, Profile};
use crate::tls::{Credentials, KeyLog, Versions};

/// What a client wants of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Answer the handshake flag FIXED_NEWSTYLE; without it only `NBD_OPT_EXPORT_NAME` can be used.
    pub fixed_newstyle: bool,
    /// Ask for no padding after `NBD_OPT_EXPORT_NAME`.
    pub no_zeroes: bool,
    /// Ask for replies in chunks: for structured replies, if not for more.
    pub structured_reply: bool,
    /// Ask for extended headers first; takes `structured_reply`, and `go`, which they prescribe.
    pub extended_headers: bool,
    /// Metadata contexts to select, where the server has them; they take `structured_reply`.
    pub contexts: Vec<String>,
    /// Use `NBD_OPT_GO` where the server knows it.
    pub go: bool,
    /// Ask for the size constraints.
    pub block_size: bool,
    /// Take a reply to an option that was not asked for an answer to the one that was: for those who
    /// have seen that fault and want to look past it.
    pub any_option: bool,
    /// Behave as a release of qemu does; see [`Options::of_release`].
    pub profile: Option<&'static Profile>,
    /// TLS with these credentials; without any, no TLS, unless the URI demands it.
    pub tls: Option<Tls>,
    /// How long the server may take for any one answer.
    pub timeout: Duration,
    /// How long the server may take to hang up at `NBD_CMD_DISC`.
    pub farewell: Duration,
}

impl Default for Options {
    /// Everything, and 30 seconds for each answer and for the end.
    fn default() -> Self {
        Self {
            fixed_newstyle: true,
            no_zeroes: true,
            structured_reply: true,
            extended_headers: true,
            contexts: Vec::new(),
            go: true,
            block_size: true,
            any_option: false,
            profile: None,
            tls: None,
            timeout: Duration::from_secs(30),
            farewell: Duration::from_secs(30),
        }
    }
}

impl Options {
    /// What a release of qemu asks for, and 30 seconds.
    #[must_use]
    pub fn of_release(profile: &'static Profile) -> Self {
        let habits = profile.habits();
        Self {
            no_zeroes: habits.no_zeroes,
            structured_reply: habits.structured_reply,
            extended_headers: habits.extended_headers,
            contexts: habits
                .base_allocation
                .then(|| "base:allocation".to_owned())
                .into_iter()
                .collect(),
            go: habits.go,
            profile: Some(profile),
            ..Self::default()
        }
    }

    /// What it does as a release of qemu.
    pub(super) fn habits(&self) -> Option<&'static Habits> {
        self.profile.map(Profile::habits)
    }

    /// Whether the refusal of an option that is not needed can be put up with.
    pub(super) fn puts_up_with(&self, error: &ClientError) -> bool {
        let any = self.habits().is_none_or(|habits| habits.takes_any_refusal);
        is_unknown(error) || (any && matches!(error, ClientError::Refused { .. }))
    }
}

/// The TLS that a client wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// What it has.
    pub credentials: Credentials,
    /// Leave a server that offers no TLS, rather than do without. An `nbds` URI requires it anyway.
    pub required: bool,
    /// Which versions may be agreed.
    pub versions: Versions,
    /// Where the secrets go, if anywhere.
    pub key_log: Option<KeyLog>,
}

impl Tls {
    /// TLS or nothing.
    #[must_use]
    pub fn required(credentials: Credentials) -> Self {
        Self { credentials, required: true, versions: Versions::All, key_log: None }
    }
}

/// What the server told of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Details {
    /// Size in bytes.
    pub size: u64,
    /// What can be done with it.
    pub flags: TransmissionFlags,
    /// The canonical name, if it was told.
    pub name: Option<String>,
    /// The text for people, if it was told.
    pub description: Option<String>,
    /// The size constraints, if they were told.
    pub block_sizes: Option<BlockSizes>,
}

/// Whether an answer means that the server does not know the option.
pub(super) fn is_unknown(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused { error: ReplyType::ERR_UNSUP, .. })
}
