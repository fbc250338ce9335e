//! A store in memory. Only pages that differ from the background take space, so that an export of
//! a tebibyte costs nothing until it is written.

use std::collections::BTreeMap;
use std::io;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use protocol::payload;

use super::{Run, Store, end_of, push_run};

/// The granularity of holes, in bytes.
pub const PAGE_SIZE: u64 = 4096;
/// How many bytes the pages of a store may take unless it is told otherwise.
pub const DEFAULT_MEMORY_LIMIT: u64 = 1 << 30;

const PAGE: usize = PAGE_SIZE as usize;
/// What an entry of the map is taken to cost without its bytes.
const ENTRY_COST: u64 = 64;

/// A sparse store in memory. Each call sees and leaves the whole of the others' effects.
#[derive(Debug)]
pub struct MemoryStore {
    size: u64,
    background: Background,
    limit: u64,
    pages: RwLock<Pages>,
}

/// What an absent page reads as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Background {
    Hole,
    Place(u16),
}

#[derive(Debug, Default)]
struct Pages {
    map: BTreeMap<u64, Page>,
    cost: u64,
}

#[derive(Debug)]
enum Page {
    /// Nothing is stored; needed only where the background is not a hole.
    Hole,
    /// Zeroes that count as stored.
    Zeroes,
    Bytes(Box<[u8; PAGE]>),
}

impl Page {
    fn cost(&self) -> u64 {
        match self {
            Self::Hole | Self::Zeroes => ENTRY_COST,
            Self::Bytes(_) => ENTRY_COST + PAGE_SIZE,
        }
    }
}

impl Pages {
    fn set(&mut self, index: u64, page: Page) {
        self.cost += page.cost();
        if let Some(old) = self.map.insert(index, page) {
            self.cost -= old.cost();
        }
    }

    fn clear(&mut self, index: u64) {
        if let Some(old) = self.map.remove(&index) {
            self.cost -= old.cost();
        }
    }
}

impl MemoryStore {
    /// A store of `size` bytes that is one hole.
    #[must_use]
    pub fn new(size: u64) -> Self {
        Self {
            size,
            background: Background::Hole,
            limit: DEFAULT_MEMORY_LIMIT,
            pages: RwLock::default(),
        }
    }

    /// A store of `size` bytes that reads as `place(seed)` until it is written: each word tells
    /// where it belongs (see [`protocol::payload::place_word`]).
    #[must_use]
    pub fn pattern(size: u64, seed: u16) -> Self {
        Self { background: Background::Place(seed), ..Self::new(size) }
    }

    /// The same store with another limit on the bytes that its pages take; beyond it writes fail
    /// with `StorageFull`.
    #[must_use]
    pub fn limited_to(mut self, limit: u64) -> Self {
        self.limit = limit;
        self
    }

    /// How many bytes the pages take now, bookkeeping included.
    #[must_use]
    pub fn memory_used(&self) -> u64 {
        self.lock().cost
    }

    // A panic while the lock was held can't leave a page half-made that matters more than losing
    // the whole store would.
    fn lock(&self) -> RwLockReadGuard<'_, Pages> {
        self.pages.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_mut(&self) -> RwLockWriteGuard<'_, Pages> {
        self.pages.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses when giving each page of the range a `cost` would exceed the limit.
    fn reserve(&self, pages: &Pages, offset: u64, end: u64, cost: u64) -> io::Result<()> {
        let (first, last) = (offset / PAGE_SIZE, end.div_ceil(PAGE_SIZE));
        let wanted = (last - first).saturating_mul(cost);
        // The common case needs no walk over the pages.
        if pages.cost.saturating_add(wanted) <= self.limit {
            return Ok(());
        }
        let there: u64 = pages.map.range(first..last).map(|(_, page)| page.cost().min(cost)).sum();
        if pages.cost.saturating_add(wanted.saturating_sub(there)) <= self.limit {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::StorageFull, "the memory limit of the store is reached"))
    }

    fn bytes_of<'a>(&self, pages: &'a mut Pages, index: u64) -> &'a mut [u8; PAGE] {
        if !matches!(pages.map.get(&index), Some(Page::Bytes(_))) {
            let mut bytes = Box::new([0; PAGE]);
            if let (None, Background::Place(seed)) = (pages.map.get(&index), self.background) {
                payload::place(seed, index * PAGE_SIZE, &mut bytes[..]);
            }
            pages.set(index, Page::Bytes(bytes));
        }
        match pages.map.get_mut(&index) {
            Some(Page::Bytes(bytes)) => bytes,
            _ => unreachable!("the page was just given bytes"),
        }
    }
}

/// The parts of a range by page: index, first byte in the page, length.
fn by_page(offset: u64, end: u64) -> impl Iterator<Item = (u64, usize, usize)> {
    let mut at = offset;
    std::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let (index, within) = (at / PAGE_SIZE, at % PAGE_SIZE);
        let length = (PAGE_SIZE - within).min(end - at);
        at += length;
        Some((index, within as usize, length as usize))
    })
}

impl Store for MemoryStore {
    fn size(&self) -> u64 {
        self.size
    }

    fn blocks(&self) -> bool {
        false
    }

    fn read(&self, offset: u64, buffer: &mut [u8], runs: &mut Vec<Run>) -> io::Result<()> {
        let end = end_of(offset, buffer.len() as u64, self.size)?;
        let pages = self.lock();
        let mut rest = buffer;
        for (index, within, length) in by_page(offset, end) {
            let (now, later) = rest.split_at_mut(length);
            rest = later;
            let hole = match (pages.map.get(&index), self.background) {
                (Some(Page::Bytes(bytes)), _) => {
                    now.copy_from_slice(&bytes[within..within + length]);
                    false
                }
                (None, Background::Place(seed)) => {
                    payload::place(seed, index * PAGE_SIZE + within as u64, now);
                    false
                }
                (Some(Page::Zeroes), _) => {
                    now.fill(0);
                    false
                }
                (Some(Page::Hole), _) | (None, Background::Hole) => {
                    now.fill(0);
                    true
                }
            };
            push_run(runs, length as u64, hole);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let end = end_of(offset, data.len() as u64, self.size)?;
        let mut pages = self.lock_mut();
        self.reserve(&pages, offset, end, ENTRY_COST + PAGE_SIZE)?;
        let mut rest = data;
        for (index, within, length) in by_page(offset, end) {
            let (now, later) = rest.split_at(length);
            rest = later;
            self.bytes_of(&mut pages, index)[within..within + length].copy_from_slice(now);
        }
        Ok(())
    }

    fn zero(&self, offset: u64, length: u64, provision: bool) -> io::Result<()> {
        let end = end_of(offset, length, self.size)?;
        let mut pages = self.lock_mut();
        if self.background == Background::Hole && !provision {
            return self.drop_range(&mut pages, offset, end);
        }
        self.reserve(&pages, offset, end, ENTRY_COST)?;
        for (index, within, length) in by_page(offset, end) {
            if length == PAGE {
                pages.set(index, if provision { Page::Zeroes } else { Page::Hole });
            } else {
                self.zero_part(&mut pages, index, within, length, provision)?;
            }
        }
        Ok(())
    }

    fn trim(&self, offset: u64, length: u64) -> io::Result<()> {
        self.zero(offset, length, false)
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

impl MemoryStore {
    /// Makes a hole where the background is one: touches only pages that exist.
    fn drop_range(&self, pages: &mut Pages, offset: u64, end: u64) -> io::Result<()> {
        let whole = offset.div_ceil(PAGE_SIZE)..end / PAGE_SIZE;
        if whole.start < whole.end {
            let there: Vec<u64> = pages.map.range(whole).map(|(index, _)| *index).collect();
            there.into_iter().for_each(|index| pages.clear(index));
        }
        // At most the first and the last part are not whole pages.
        let first = by_page(offset, end.min((offset / PAGE_SIZE + 1) * PAGE_SIZE));
        let last = by_page(offset.max(end / PAGE_SIZE * PAGE_SIZE), end);
        for (index, within, length) in first.chain(last).filter(|part| part.2 < PAGE) {
            self.zero_part(pages, index, within, length, false)?;
        }
        Ok(())
    }

    fn zero_part(
        &self,
        pages: &mut Pages,
        index: u64,
        within: usize,
        length: usize,
        provision: bool,
    ) -> io::Result<()> {
        match (pages.map.get(&index), self.background) {
            (Some(Page::Zeroes), _) => {}
            (Some(Page::Hole), _) | (None, Background::Hole) => {
                if provision {
                    pages.set(index, Page::Zeroes);
                }
            }
            (Some(Page::Bytes(_)), _) | (None, Background::Place(_)) => {
                let start = index * PAGE_SIZE;
                self.reserve(pages, start, start + PAGE_SIZE, ENTRY_COST + PAGE_SIZE)?;
                self.bytes_of(pages, index)[within..within + length].fill(0);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(store: &MemoryStore, offset: u64, length: usize) -> (Vec<u8>, Vec<Run>) {
        let mut bytes = vec![0xee; length];
        let mut runs = Vec::new();
        store.read(offset, &mut bytes, &mut runs).unwrap();
        (bytes, runs)
    }

    #[test]
    fn a_tebibyte_costs_nothing() {
        let store = MemoryStore::new(1 << 40);
        store.zero(0, 1 << 40, false).unwrap();
        store.write((1 << 40) - 1, &[7]).unwrap();
        assert_eq!(read(&store, (1 << 40) - 2, 2).0, [0, 7]);
        assert_eq!(store.memory_used(), PAGE_SIZE + ENTRY_COST);
    }

    #[test]
    fn runs_tell_holes_from_data() {
        let store = MemoryStore::new(1 << 20);
        store.write(8192, &[1; 4096]).unwrap();
        let runs = read(&store, 4000, 12_000).1;
        let expected = [(4192, true), (4096, false), (3712, true)];
        assert_eq!(runs, expected.map(|(length, hole)| Run { length, hole }));
    }

    #[test]
    fn the_limit_holds_for_new_pages_only() {
        let store = MemoryStore::new(1 << 20).limited_to(2 * (PAGE_SIZE + ENTRY_COST));
        store.write(0, &[1; 8192]).unwrap();
        let full = store.write(8192, &[1]).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        store.write(0, &[2; 8192]).unwrap();
    }

    #[test]
    fn provisioned_zeroes_are_no_hole() {
        let store = MemoryStore::new(1 << 20);
        store.zero(0, 4096, true).unwrap();
        assert_eq!(read(&store, 0, 4096).1, [Run { length: 4096, hole: false }]);
    }

    #[test]
    fn refuses_what_ends_beyond() {
        let store = MemoryStore::new(4096);
        assert!(store.write(4095, &[0; 2]).is_err());
        assert!(store.zero(u64::MAX, 2, false).is_err());
    }

    proptest! {
        #[test]
        fn behaves_like_an_array(
            pattern: bool,
            steps in prop::collection::vec((0u8..3, 0u64..20_000, 0u64..20_000, any::<bool>()), 0..12),
        ) {
            const SIZE: u64 = 20_001;
            let store = if pattern { MemoryStore::pattern(SIZE, 3) } else { MemoryStore::new(SIZE) };
            let mut model = read(&store, 0, SIZE as usize).0;
            for (index, (step, offset, length, provision)) in steps.into_iter().enumerate() {
                let length = length.min(SIZE - offset);
                let range = offset as usize..(offset + length) as usize;
                if step == 0 {
                    let data = vec![index as u8 + 1; length as usize];
                    store.write(offset, &data).unwrap();
                    model[range].copy_from_slice(&data);
                } else {
                    store.zero(offset, length, provision).unwrap();
                    model[range].fill(0);
                }
                let (bytes, runs) = read(&store, 0, SIZE as usize);
                prop_assert_eq!(&bytes, &model);
                prop_assert_eq!(runs.iter().map(|run| run.length).sum::<u64>(), SIZE);
            }
        }
    }
}
