//! What a client wants of a session, and what it is told.

use std::time::Duration;

use protocol::values::{ReplyType, TransmissionFlags};

use super::error::ClientError;
use crate::export::BlockSizes;
use crate::habits::Habits;
use crate::profile::Profile;
use crate::tls::{Credentials, KeyLog, Versions};

/// What a client wants of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How it behaves.
    pub habits: Habits,
    /// Metadata contexts to select, where the server has them; they take replies in chunks.
    pub contexts: Vec<String>,
    /// Take a reply to an option that was not asked for an answer to the one that was: for those who
    /// have seen that fault and want to look past it.
    pub any_option: bool,
    /// The release of qemu that it is, which knows so much of TLS; see [`Options::of_release`].
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
            habits: Habits::DEFAULT,
            contexts: Vec::new(),
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
        Self { profile: Some(profile), ..Self::of_habits(profile.habits()) }
    }

    /// What a client of these habits asks for, and 30 seconds.
    #[must_use]
    pub fn of_habits(habits: Habits) -> Self {
        let contexts = habits.base_allocation.then(|| "base:allocation".to_owned());
        Self { contexts: contexts.into_iter().collect(), habits, ..Self::default() }
    }

    /// The same with other habits.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Habits)) -> Self {
        change(&mut self.habits);
        self
    }

    /// Whether the refusal of an option that is not needed can be put up with.
    pub(super) fn puts_up_with(&self, error: &ClientError) -> bool {
        let any = self.habits.takes_any_refusal;
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
