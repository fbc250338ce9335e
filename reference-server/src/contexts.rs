//! Metadata contexts: which there are, what selects them, and their extents (section "Metadata
//! querying"). No sockets, no clock.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use protocol::message::Extent;
use protocol::text::WireString;

use crate::bitmap::{DirtyBitmap, PREFIX};
use crate::export::Export;
use crate::features::Features;
use crate::store::Store;

const ALLOCATION: &str = "base:allocation";
const DEPTH: &str = "qemu:allocation-depth";
/// `NBD_STATE_HOLE` of `base:allocation`.
pub(crate) const HOLE: u64 = 1;
/// `NBD_STATE_ZERO` of `base:allocation`.
pub(crate) const ZERO: u64 = 2;
/// The queries that list more than one context and select none.
const WILDCARDS: [&str; 3] = ["base:", "qemu:", PREFIX];
/// Extents are cut at multiples of this at least, in bytes.
const UNIT: u64 = 512;

/// A kind of metadata that an export has.
#[derive(Debug, Clone)]
pub(crate) enum Context {
    Allocation,
    Depth,
    Bitmap(Arc<DirtyBitmap>),
}

/// A context that a client has selected.
#[derive(Debug, Clone)]
pub(crate) struct Selected {
    pub(crate) id: u32,
    pub(crate) context: Context,
}

/// The contexts of an export.
pub(crate) fn available(features: &Features, export: &Export) -> Vec<Context> {
    let mut all = Vec::new();
    if features.base_allocation {
        all.push(Context::Allocation);
    }
    if features.allocation_depth {
        all.push(Context::Depth);
    }
    if features.dirty_bitmaps {
        all.extend(export.bitmaps().iter().cloned().map(Context::Bitmap));
    }
    all
}

/// Those that match one of the queries, all if there is none: `NBD_OPT_LIST_META_CONTEXT`. An empty
/// leaf name is a wildcard; what is unknown matches nothing.
pub(crate) fn listed(all: Vec<Context>, queries: &[WireString]) -> Vec<Context> {
    let matches = |context: &Context, query: &WireString| {
        let (name, query) = (context.name(), query.as_bytes());
        name.as_bytes() == query
            || WILDCARDS
                .iter()
                .any(|wildcard| wildcard.as_bytes() == query && name.as_bytes().starts_with(query))
    };
    let wanted = |context: &Context| {
        queries.is_empty() || queries.iter().any(|query| matches(context, query))
    };
    all.into_iter().filter(wanted).collect()
}

/// Those that a query names in full, each once: `NBD_OPT_SET_META_CONTEXT`.
pub(crate) fn named(all: Vec<Context>, queries: &[WireString]) -> Vec<Context> {
    let wanted = |context: &Context| {
        let name = context.name();
        queries.iter().any(|query| query.as_bytes() == name.as_bytes())
    };
    all.into_iter().filter(wanted).collect()
}

/// Those of which a query has the beginning or more: only a fault selects so.
pub(crate) fn begun(all: Vec<Context>, queries: &[WireString]) -> Vec<Context> {
    let wanted = |context: &Context| {
        let name = context.name();
        queries.iter().any(|query| name.as_bytes().starts_with(query.as_bytes()))
    };
    all.into_iter().filter(wanted).collect()
}

impl Context {
    pub(crate) fn is_allocation(&self) -> bool {
        matches!(self, Self::Allocation)
    }

    pub(crate) fn name(&self) -> String {
        match self {
            Self::Allocation => ALLOCATION.to_owned(),
            Self::Depth => DEPTH.to_owned(),
            Self::Bitmap(bitmap) => format!("{PREFIX}{}", bitmap.name()),
        }
    }

    /// The status at a place, and how long it is known to hold, below `end`.
    fn at(&self, store: &dyn Store, at: u64, end: u64) -> io::Result<Extent> {
        Ok(match self {
            Self::Bitmap(bitmap) => {
                let (dirty, until) = bitmap.at(at, end);
                Extent { length: until - at, status: u64::from(dirty) }
            }
            Self::Allocation => {
                let stretch = store.status(at, end)?;
                let hole = if stretch.hole { HOLE } else { 0 };
                let zero = if stretch.zero { ZERO } else { 0 };
                Extent { length: stretch.length, status: hole | zero }
            }
            Self::Depth => {
                let stretch = store.status(at, end)?;
                Extent { length: stretch.length, status: u64::from(stretch.depth) }
            }
        })
    }

    /// The status of a unit of which two parts differ. What a client might rely on is told only
    /// when it holds for all of it.
    fn both(&self, one: u64, other: u64) -> u64 {
        match self {
            Self::Allocation => one & other,
            Self::Depth => one.max(other),
            Self::Bitmap(_) => one | other,
        }
    }

    /// The extents of a range that is not empty, at most `limit` of them, cut at multiples of
    /// `unit` (a power of 2, in bytes) but for the first and the last. Neighbours differ.
    pub(crate) fn extents(
        &self,
        store: &dyn Store,
        range: Range<u64>,
        unit: u64,
        limit: usize,
    ) -> io::Result<Vec<Extent>> {
        let unit = unit.max(UNIT);
        let mut extents: Vec<Extent> = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let mut piece = self.at(store, at, range.end)?;
            let mut end = at.saturating_add(piece.length.max(1)).min(range.end);
            if end < range.end && end % unit != 0 {
                let whole = end - end % unit;
                if whole > at {
                    end = whole;
                } else {
                    let full = end.next_multiple_of(unit).min(range.end);
                    while end < full {
                        let more = self.at(store, end, full)?;
                        piece.status = self.both(piece.status, more.status);
                        end = end.saturating_add(more.length.max(1)).min(full);
                    }
                }
            }
            let full = extents.len() >= limit;
            match extents.last_mut() {
                Some(last) if last.status == piece.status => last.length += end - at,
                _ if full => break,
                _ => extents.push(Extent { length: end - at, status: piece.status }),
            }
            at = end;
        }
        Ok(extents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;
    use proptest::prelude::*;

    fn contexts() -> Vec<Context> {
        let bitmap = |name| Arc::new(DirtyBitmap::new(name, 65_536).unwrap());
        let export = Export::new("", MemoryStore::new(1))
            .with_bitmap(bitmap("b0"))
            .with_bitmap(bitmap("b1"));
        available(&Features::default(), &export)
    }

    fn names(contexts: &[Context]) -> Vec<String> {
        contexts.iter().map(Context::name).collect()
    }

    fn queries(list: &[&str]) -> Vec<WireString> {
        list.iter().map(|query| (*query).into()).collect()
    }

    const B0: &str = "qemu:dirty-bitmap:b0";
    const B1: &str = "qemu:dirty-bitmap:b1";

    #[test]
    fn queries_list_what_they_match() {
        for (asked, matched) in [
            (&[][..], &[ALLOCATION, DEPTH, B0, B1][..]),
            (&["base:"], &[ALLOCATION]),
            (&["base:allocation", "base:"], &[ALLOCATION]),
            (&["qemu:"], &[DEPTH, B0, B1]),
            (&["qemu:dirty-bitmap:"], &[B0, B1]),
            (&[B1], &[B1]),
            (&["base", "base:alloc", "x-none:", "none", ""], &[]),
        ] {
            assert_eq!(names(&listed(contexts(), &queries(asked))), matched, "{asked:?}");
        }
    }

    #[test]
    fn only_full_names_select() {
        for (asked, matched) in [
            (&[][..], &[][..]),
            (&["base:", "qemu:", "qemu:dirty-bitmap:", "x-none:a", "base:none"], &[]),
            (&[B0, ALLOCATION, B0], &[ALLOCATION, B0]),
        ] {
            assert_eq!(names(&named(contexts(), &queries(asked))), matched, "{asked:?}");
        }
    }

    #[test]
    fn extents_tell_holes_and_are_cut_at_units() {
        let store = MemoryStore::new(1 << 20);
        store.write(4096, &[1; 12_288]).unwrap();
        let extents = |range: Range<u64>, unit, limit| {
            let list = Context::Allocation.extents(&store, range, unit, limit).unwrap();
            list.into_iter().map(|extent| (extent.length, extent.status)).collect::<Vec<_>>()
        };
        let all = 0..1 << 20;
        let rest = (1 << 20) - 16_384;
        assert_eq!(extents(all.clone(), 1, 99), [(4096, 3), (12_288, 0), (rest, 3)]);
        assert_eq!(extents(all.clone(), 1, 1), [(4096, 3)]);
        // A unit that is partly data is no hole.
        assert_eq!(extents(all, 8192, 99), [(16_384, 0), (rest, 3)]);
        assert_eq!(extents(100..5000, 1, 99), [(3996, 3), (904, 0)]);
        assert_eq!(extents(5000..5001, 1, 99), [(1, 0)]);
    }

    proptest! {
        #[test]
        fn extents_are_consecutive_aligned_and_true(
            writes in prop::collection::vec((0u64..100, 1u64..20), 0..8),
            start in 0u64..100_000, length in 1u64..300_000,
            shift in 0u32..15, limit in 1usize..20,
        ) {
            const SIZE: u64 = 409_600;
            let store = MemoryStore::new(SIZE);
            for (page, count) in writes {
                let count = count.min(100 - page);
                store.write(page * 4096, &vec![1; count as usize * 4096]).unwrap();
            }
            let (unit, range) = (1 << shift, start..start + length);
            let list = Context::Allocation.extents(&store, range.clone(), unit, limit).unwrap();
            prop_assert!(!list.is_empty() && list.len() <= limit);
            prop_assert!(list.windows(2).all(|pair| pair[0].status != pair[1].status));
            let mut at = start;
            for extent in &list {
                prop_assert!(extent.length > 0);
                let end = at + extent.length;
                prop_assert!(end == range.end || end % unit.max(512) == 0);
                let mut bytes = vec![0; extent.length as usize];
                store.read(at, &mut bytes, &mut Vec::new()).unwrap();
                prop_assert!(extent.status & ZERO == 0 || bytes.iter().all(|byte| *byte == 0));
                at = end;
            }
            prop_assert!(at <= range.end);
            prop_assert!(list.len() == limit || at == range.end);
        }
    }
}
