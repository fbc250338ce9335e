//! What the exports of an external target are known to hold.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use tokio::sync::{RwLockReadGuard, RwLockWriteGuard};

use crate::run::prepare::Wanted;

/// What the exports of an external target are known to hold.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// What was changed, in order.
    pub(super) changes: Vec<Change>,
    /// By the name of the export.
    pub(super) exports: HashMap<String, Laid>,
}

/// What a scenario may have changed.
#[derive(Debug)]
pub(super) struct Change {
    /// On which export; what others hold may be the same storage.
    pub(super) export: String,
    /// Where; `None` for anywhere.
    pub(super) stretches: Option<Vec<Range<u64>>>,
}

/// What an export is known to hold.
#[derive(Debug, Default)]
pub(super) struct Laid {
    /// What was given to it, and after how many changes.
    pub(super) content: Option<(Wanted, usize)>,
    /// It has been given something before.
    pub(super) touched: bool,
    /// Why it can't be given anything.
    pub(super) refusal: Option<String>,
    /// What it holds that can't be written to; `None` in it where that can't be read.
    pub(super) there: Option<Option<There>>,
}

/// What an export holds that can't be written to.
#[derive(Debug, Clone)]
pub(super) struct There {
    /// Its bytes from the start on, as far as scenarios look.
    pub(super) bytes: Arc<[u8]>,
    /// They are what scenarios know.
    pub(super) known: bool,
    /// So is what scenarios about large exports look at.
    pub(super) far: bool,
}

/// Holds the content of an external target as it is; dropping it lets others change it.
pub(super) enum Guard<'r> {
    Together(#[expect(dead_code, reason = "held")] RwLockReadGuard<'r, Contents>),
    Alone(RwLockWriteGuard<'r, Contents>),
}

impl Guard<'_> {
    /// A scenario that was alone has come to its end, and may have changed nothing but this.
    pub(super) fn touched(&mut self, stretches: Option<Vec<Range<u64>>>) {
        if let Self::Alone(contents) = self
            && let Some(last) = contents.changes.last_mut()
        {
            last.stretches = stretches;
        }
    }
}

impl Contents {
    /// What was changed of an export after so many changes; `None` for all of it.
    pub(super) fn since(&self, export: &str, changes: usize) -> Option<Vec<Range<u64>>> {
        let mut all = Vec::new();
        for change in &self.changes[changes..] {
            if change.export != export {
                return None;
            }
            all.extend(change.stretches.clone()?);
        }
        Some(all)
    }
}
