//! What a server is, found out by asking it before anything is tested: in small steps, each on a
//! connection of its own. What is not answered is unknown, and nothing else is concluded from it.

mod asker;
mod capabilities;
pub mod capacity;
pub mod content;
pub mod exports;
pub mod fact;
mod parting;
pub mod relies;
mod steps;
#[cfg(test)]
mod tests;
mod way;

use std::time::Duration;

pub use capabilities::{Capabilities, Route, TlsMode};
pub use fact::{Fact, Trouble};

use super::milestones::{Level, Offer, level, offers};
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
    /// How many connections it serves at once is asked too, if it is strange.
    pub places: bool,
    /// The export may be written to.
    pub write: bool,
}

impl<'a> Ask<'a> {
    /// What a server offers that the harness set up.
    #[must_use]
    pub fn offers(export: Option<&'a str>, limit: Duration) -> Self {
        Self { export, limit, strange: false, places: false, write: false }
    }
}

/// Asks a server what it is. Who misbehaves while it is asked offers what it told: the scenarios
/// will name what is wrong.
///
/// # Errors
/// The server can't be reached, says nothing, or refuses the export.
pub async fn probe(whom: Whom<'_>, ask: &Ask<'_>) -> Result<Capabilities, Trouble> {
    steps::Surveyor::new(whom, ask).run().await
}

/// What a server offers, as `nbdcheck probe` tells it.
#[derive(Debug, Clone)]
pub struct Survey {
    /// What was asked.
    pub capabilities: Capabilities,
    /// The features of qemu's versions.
    pub offers: Vec<Offer>,
    /// The version of qemu that it is level with.
    pub level: Level,
}

/// Asks a server for everything; `configuration` is how it was set up.
///
/// # Errors
/// The server can't be reached, says nothing, or refuses the export.
pub async fn survey(whom: Whom<'_>, ask: &Ask<'_>, configuration: &str) -> Result<Survey, Trouble> {
    let capabilities = probe(whom, ask).await?;
    let offers = offers([(configuration, &capabilities)]);
    let level = level(&offers);
    Ok(Survey { capabilities, offers, level })
}
