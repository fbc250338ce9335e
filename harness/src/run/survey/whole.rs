//! Everything that `nbdcheck probe` shows of a server.

use super::capabilities::Capabilities;
use super::fact::Trouble;
use super::steps::probe;
use super::whom::{Ask, Whom};
use crate::run::milestones::{Level, Offer, level, offers};

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
