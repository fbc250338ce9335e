//! What an external target holds, and keeping it so while scenarios need it.

use std::collections::HashMap;

use tokio::sync::{RwLockReadGuard, RwLockWriteGuard};

use super::decide::writes;
use super::{Runner, Shared};
use crate::run::prepare::Wanted;
use crate::run::survey::content::Kept;
use crate::script::ast::Script;

/// What scenarios with `needs: content` know.
const KNOWN: Wanted = Wanted { blank: false, far: false };

/// What the exports of an external target are known to hold.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// How often something was written; it may show on any export.
    changes: u64,
    /// By the name of the export.
    exports: HashMap<String, Laid>,
}

/// What an export is known to hold.
#[derive(Debug, Default)]
struct Laid {
    /// What was given to it, and after how many changes.
    content: Option<(Wanted, u64)>,
    /// It has been given something before.
    touched: bool,
    /// Why it can't be given anything.
    refusal: Option<String>,
    /// Whether it holds what scenarios know although it can't be written to.
    holds: Option<bool>,
}

/// Holds the content of an external target as it is; dropping it lets others change it.
pub(super) enum Guard<'r> {
    Together(#[expect(dead_code, reason = "held")] RwLockReadGuard<'r, Contents>),
    Alone(#[expect(dead_code, reason = "held")] RwLockWriteGuard<'r, Contents>),
}

impl Runner {
    /// Gives an external target the content that a scenario needs, and keeps it so while the
    /// scenario runs.
    ///
    /// # Errors
    /// Why the export can't have it.
    pub(super) async fn with_content(
        &self,
        script: &Script,
        configuration: &str,
        shared: &Shared,
    ) -> Result<Guard<'_>, String> {
        let wanted = wanted(script, configuration);
        if wanted.is_none() && !writes(script) {
            return Ok(Guard::Together(self.contents.read().await));
        }
        let mut contents = self.contents.write().await;
        let changes = contents.changes;
        if let Some(wanted) = wanted {
            let laid = contents.exports.entry(shared.capabilities.export.clone()).or_default();
            // What can't be written to was looked at before.
            if laid.holds != Some(true) {
                self.lay(shared, laid, wanted, changes).await?;
            }
        }
        if writes(script) {
            contents.changes += 1;
            return Ok(Guard::Alone(contents));
        }
        Ok(Guard::Together(contents.downgrade()))
    }

    async fn lay(
        &self,
        shared: &Shared,
        laid: &mut Laid,
        wanted: Wanted,
        changes: u64,
    ) -> Result<(), String> {
        if let Some(refusal) = &laid.refusal {
            return Err(refusal.clone());
        }
        // What the survey has found out need not be found out again.
        if let Kept::Changes(why) | Kept::Nothing(why) | Kept::Private(why) =
            &shared.capabilities.kept
        {
            return Err(format!("the export does not keep known content: {why}"));
        }
        let there = laid.content.is_some_and(|(content, of)| {
            of == changes && content.blank == wanted.blank && content.far >= wanted.far
        });
        if there {
            return Ok(());
        }
        laid.content = None;
        let fresh = !std::mem::replace(&mut laid.touched, true);
        match self.place(shared).lay(wanted, fresh).await {
            Ok(()) => laid.content = Some((wanted, changes)),
            Err(refusal) => {
                laid.refusal = Some(refusal.clone());
                return Err(refusal);
            }
        }
        Ok(())
    }

    /// Whether an export that can't be written to holds what scenarios know; looked at once.
    pub(super) async fn holds_known(&self, shared: &Shared) -> bool {
        let mut contents = self.contents.write().await;
        let laid = contents.exports.entry(shared.capabilities.export.clone()).or_default();
        match laid.holds {
            Some(holds) => holds,
            None => {
                // Who can't be read from is for scenarios to name.
                let holds = self.place(shared).holds(KNOWN).await.unwrap_or(false);
                laid.holds = Some(holds);
                holds
            }
        }
    }
}

/// The content that a scenario asks for.
fn wanted(script: &Script, configuration: &str) -> Option<Wanted> {
    let far = matches!(configuration, "large" | "vast" | "vast-blocks");
    if configuration == "blank" {
        return Some(Wanted { blank: true, far: false });
    }
    let known = script.header.needs.iter().any(|need| need.name.node == "content");
    known.then_some(Wanted { blank: false, far })
}
