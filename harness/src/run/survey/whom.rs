//! Who is asked, and what.

use std::time::Duration;

use crate::peer::Address;
use crate::tls::Security;

/// Who is asked.
#[derive(Debug, Clone, Copy)]
pub struct Whom<'a> {
    /// Where it listens.
    pub address: &'a Address,
    /// What there is for TLS with it.
    pub security: Option<&'a Security>,
    /// TLS is a must for us.
    pub insists: bool,
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The export to enter; `None` for the default one or the first that is listed.
    pub export: Option<&'a str>,
    /// How long one wait may take; all together take twelve times that at most.
    pub limit: Duration,
    /// Nobody here set the server up: whether it reads, writes and keeps what was written is asked
    /// too, and whether it goes on serving.
    pub strange: bool,
    /// Whoever set the server up made TLS a must: what it answers in the clear does not matter.
    pub forced: bool,
    /// How many connections it serves at once is asked too, if it is strange.
    pub places: bool,
    /// The export may be written to.
    pub write: bool,
}

impl<'a> Ask<'a> {
    /// What a server offers that the harness set up.
    #[must_use]
    pub fn offers(export: Option<&'a str>, limit: Duration) -> Self {
        Self { export, limit, strange: false, forced: false, places: false, write: false }
    }
}
