//! Dirty bitmaps: which parts of an export were written since a moment of one's choice.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use protocol::values::STRING_LIMIT;

use crate::ranges::Ranges;

/// The namespace and kind of the contexts that bitmaps are, up to their names.
pub(crate) const PREFIX: &str = "qemu:dirty-bitmap:";
/// The granularity of bitmaps unless they are told otherwise, in bytes; that of qemu.
pub const DEFAULT_GRANULARITY: u64 = 64 << 10;
/// How many separate dirty ranges a bitmap keeps; beyond that it says too much.
const RANGES: usize = 1 << 16;

/// A dirty bitmap, which an export keeps as writes come and shows as the metadata context
/// `qemu:dirty-bitmap:NAME`.
pub struct DirtyBitmap {
    name: String,
    granularity: u64,
    enabled: AtomicBool,
    dirty: Mutex<Ranges>,
}

/// Why there can't be such a bitmap.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadBitmap {
    /// The name breaks the rules.
    #[error(
        "`{0}` is not a name for a dirty bitmap: it must have 1 to 4078 bytes and no zero byte"
    )]
    Name(String),
    /// The granularity breaks the rules.
    #[error("the granularity of a dirty bitmap is a power of 2 from 512 to 2^31, not {0}")]
    Granularity(u64),
}

impl DirtyBitmap {
    /// A clean bitmap that is enabled; `granularity` in bytes.
    ///
    /// # Errors
    /// The name is empty or no string of the protocol, or the granularity is no power of 2 from
    /// 512 to 2^31.
    pub fn new(name: impl Into<String>, granularity: u64) -> Result<Self, BadBitmap> {
        let name = name.into();
        if name.is_empty() || name.len() + PREFIX.len() > STRING_LIMIT || name.contains('\0') {
            return Err(BadBitmap::Name(name));
        }
        if !granularity.is_power_of_two() || !(512..=1 << 31).contains(&granularity) {
            return Err(BadBitmap::Granularity(granularity));
        }
        let (enabled, dirty) = (AtomicBool::new(true), Mutex::default());
        Ok(Self { name, granularity, enabled, dirty })
    }

    /// The name, without the namespace.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The unit in which it counts, in bytes.
    #[must_use]
    pub fn granularity(&self) -> u64 {
        self.granularity
    }

    /// Whether writes are noted from now on.
    pub fn set_enabled(&self, enabled: bool) {
        self.enabled.store(enabled, Ordering::Relaxed);
    }

    /// Takes everything for clean again.
    pub fn clear(&self) {
        self.dirty().clear();
    }

    /// Notes a change, if the bitmap is enabled.
    pub fn mark(&self, offset: u64, length: u64) {
        if length == 0 || !self.enabled.load(Ordering::Relaxed) {
            return;
        }
        let last = offset.saturating_add(length - 1) / self.granularity;
        let range = offset / self.granularity..last + 1;
        self.dirty().insert_bounded(range, RANGES);
    }

    /// Whether `at` is dirty, and up to where, below `end`, that is so.
    #[must_use]
    pub fn at(&self, at: u64, end: u64) -> (bool, u64) {
        let (dirty, until) = self.dirty().at(at / self.granularity, u64::MAX);
        (dirty, until.saturating_mul(self.granularity).min(end))
    }

    fn dirty(&self) -> MutexGuard<'_, Ranges> {
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for DirtyBitmap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirtyBitmap")
            .field("name", &self.name)
            .field("granularity", &self.granularity)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: u64 = 1 << 20;

    #[test]
    fn writes_make_whole_granules_dirty_while_it_is_enabled() {
        let bitmap = DirtyBitmap::new("b0", 65_536).unwrap();
        assert_eq!(bitmap.at(0, END), (false, END));
        bitmap.mark(65_537, 65_536);
        bitmap.mark(0, 0);
        assert_eq!(bitmap.at(0, END), (false, 65_536));
        assert_eq!(bitmap.at(70_000, END), (true, 196_608));
        assert_eq!(bitmap.at(70_000, 100_000), (true, 100_000));
        bitmap.set_enabled(false);
        bitmap.mark(0, 1);
        assert!(!bitmap.at(0, END).0);
        bitmap.clear();
        assert_eq!(bitmap.at(0, END), (false, END));
        bitmap.set_enabled(true);
        bitmap.mark(u64::MAX, 1);
        assert!(bitmap.at(u64::MAX - 1, u64::MAX).0);
    }

    #[test]
    fn refuses_names_and_granularities_that_break_the_rules() {
        assert!(DirtyBitmap::new("", 65_536).is_err());
        assert!(DirtyBitmap::new("a".repeat(4096), 65_536).is_err());
        for granularity in [0, 256, 1000, 1 << 32] {
            assert!(DirtyBitmap::new("b", granularity).is_err(), "{granularity}");
        }
    }
}
