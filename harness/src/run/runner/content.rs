//! What an external target holds, and keeping it so while scenarios need it.

use tokio::sync::{RwLockReadGuard, RwLockWriteGuard};

use super::decide::writes;
use super::{Runner, Shared};
use crate::run::prepare::prepare;
use crate::run::probe::TlsMode;
use crate::script::ast::Script;

/// What an external target is known to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// Anything.
    Unknown,
    /// Zeroes, as far as [`PREPARED`].
    Blank,
    /// What scenarios with `needs: content` know, as far as [`PREPARED`].
    Known,
}

/// Holds the content of an external target as it is; dropping it lets others change it.
pub(super) enum Guard<'r> {
    Together(#[expect(dead_code, reason = "held")] RwLockReadGuard<'r, Content>),
    Alone(#[expect(dead_code, reason = "held")] RwLockWriteGuard<'r, Content>),
}

impl Runner {
    /// Gives an external target the content that a scenario needs, and keeps it so while the
    /// scenario runs.
    pub(super) async fn with_content(
        &self,
        script: &Script,
        configuration: &str,
        shared: &Shared,
    ) -> Result<Guard<'_>, String> {
        let wanted = if configuration == "blank" {
            Content::Blank
        } else if script.header.needs.iter().any(|need| need.name.node == "content") {
            Content::Known
        } else {
            Content::Unknown
        };
        if wanted == Content::Unknown && !writes(script) {
            return Ok(Guard::Together(self.content.read().await));
        }
        let mut alone = self.content.write().await;
        if wanted != Content::Unknown && *alone != wanted {
            *alone = Content::Unknown;
            let blank = wanted == Content::Blank;
            let export = &shared.capabilities.export;
            let tls = shared.security.as_ref();
            let tls = tls.filter(|_| shared.capabilities.tls != TlsMode::Off);
            prepare(&shared.address, tls, export, blank, self.options.timeout).await?;
            *alone = wanted;
        }
        if writes(script) {
            *alone = Content::Unknown;
            return Ok(Guard::Alone(alone));
        }
        Ok(Guard::Together(alone.downgrade()))
    }
}
