//! A store in memory. Only pages that differ from the background take space, so that an export of
//! a tebibyte costs nothing until it is written.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use protocol::payload;

use super::{Run, Store, Stretch, end_of, push_run};

/// The granularity of holes, in bytes.
pub const PAGE_SIZE: u64 = 4096;
/// How many bytes the pages of a store may take unless it is told otherwise.
pub const DEFAULT_MEMORY_LIMIT: u64 = 1 << 30;

const PAGE: usize = PAGE_SIZE as usize;
/// What an entry of the map is taken to cost without its bytes.
const ENTRY_COST: u64 = 64;
/// How many pages are marked in less time than they are written.
const FAST_PAGES: u64 = 1 << 16;

/// A sparse store in memory. Each call sees and leaves the whole of the others' effects.
#[derive(Debug)]
pub struct MemoryStore {
    size: u64,
    background: Background,
    limit: u64,
    pages: RwLock<Pages>,
}

/// What an absent page reads as.
#[derive(Debug, Clone)]
enum Background {
    Hole,
    Place(u16),
    /// What another store has there, and zeroes beyond its end.
    Layer(Arc<dyn Store>),
}

impl Background {
    /// Reads a part of a page that is absent.
    fn read(&self, offset: u64, out: &mut [u8], runs: &mut Vec<Run>) -> io::Result<()> {
        match self {
            Self::Hole => {
                out.fill(0);
                push_run(runs, out.len() as u64, true);
            }
            Self::Place(seed) => {
                payload::place(*seed, offset, out);
                push_run(runs, out.len() as u64, false);
            }
            Self::Layer(store) => {
                let there = store.size().saturating_sub(offset).min(out.len() as u64);
                let (inside, beyond) = out.split_at_mut(there as usize);
                let mut seen = Vec::new();
                if !inside.is_empty() {
                    store.read(offset, inside, &mut seen)?;
                }
                seen.iter().for_each(|run| push_run(runs, run.length, run.hole));
                beyond.fill(0);
                push_run(runs, beyond.len() as u64, true);
            }
        }
        Ok(())
    }

    /// What is known of absent pages.
    fn status(&self, offset: u64, end: u64) -> io::Result<Stretch> {
        let length = end - offset;
        match self {
            Self::Place(_) => Ok(Stretch { length, hole: false, zero: false, depth: 1 }),
            Self::Layer(store) if offset < store.size() => {
                let below = store.status(offset, end.min(store.size()))?;
                let depth = if below.depth == 0 { 0 } else { below.depth.saturating_add(1) };
                Ok(Stretch { depth, ..below })
            }
            _ => Ok(Stretch { length, hole: true, zero: true, depth: 0 }),
        }
    }
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

    /// A store of `size` bytes that reads as another until it is written: changes stay in memory.
    /// Beyond the end of the other store are zeroes.
    #[must_use]
    pub fn over(size: u64, backing: Arc<dyn Store>) -> Self {
        Self { background: Background::Layer(backing), ..Self::new(size) }
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

    fn bytes_of<'a>(&self, pages: &'a mut Pages, index: u64) -> io::Result<&'a mut [u8; PAGE]> {
        if !matches!(pages.map.get(&index), Some(Page::Bytes(_))) {
            let mut bytes = Box::new([0; PAGE]);
            if !pages.map.contains_key(&index) {
                self.background.read(index * PAGE_SIZE, &mut bytes[..], &mut Vec::new())?;
            }
            pages.set(index, Page::Bytes(bytes));
        }
        match pages.map.get_mut(&index) {
            Some(Page::Bytes(bytes)) => Ok(bytes),
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
        matches!(&self.background, Background::Layer(store) if store.blocks())
    }

    fn read(&self, offset: u64, buffer: &mut [u8], runs: &mut Vec<Run>) -> io::Result<()> {
        let end = end_of(offset, buffer.len() as u64, self.size)?;
        let pages = self.lock();
        let mut rest = buffer;
        for (index, within, length) in by_page(offset, end) {
            let (now, later) = rest.split_at_mut(length);
            rest = later;
            match pages.map.get(&index) {
                Some(Page::Bytes(bytes)) => {
                    now.copy_from_slice(&bytes[within..within + length]);
                    push_run(runs, length as u64, false);
                }
                Some(page @ (Page::Zeroes | Page::Hole)) => {
                    now.fill(0);
                    push_run(runs, length as u64, matches!(page, Page::Hole));
                }
                None => {
                    self.background.read(index * PAGE_SIZE + within as u64, now, runs)?;
                }
            }
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
            if length == PAGE && !matches!(pages.map.get(&index), Some(Page::Bytes(_))) {
                // Nothing of what was there is left, so it is not laid out first.
                let page = Box::<[u8; PAGE]>::try_from(Box::<[u8]>::from(now));
                pages.set(index, Page::Bytes(page.expect("a part of this length is a page")));
                continue;
            }
            let bytes = self.bytes_of(&mut pages, index)?;
            bytes[within..within + length].copy_from_slice(now);
        }
        Ok(())
    }

    fn zero(&self, offset: u64, length: u64, provision: bool) -> io::Result<()> {
        let end = end_of(offset, length, self.size)?;
        let mut pages = self.lock_mut();
        if matches!(self.background, Background::Hole) && !provision {
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

    fn zero_fast(&self, offset: u64, length: u64, provision: bool) -> io::Result<bool> {
        let drops = matches!(self.background, Background::Hole) && !provision;
        let fast = drops || length.div_ceil(PAGE_SIZE) <= FAST_PAGES;
        if fast {
            self.zero(offset, length, provision)?;
        }
        Ok(fast)
    }

    fn trim(&self, offset: u64, length: u64) -> io::Result<()> {
        self.zero(offset, length, false)
    }

    fn status(&self, offset: u64, end: u64) -> io::Result<Stretch> {
        let pages = self.lock();
        let mut index = offset / PAGE_SIZE;
        let Some(page) = pages.map.get(&index) else {
            let next = pages.map.range(index..).next();
            let next = next.map_or(end, |(index, _)| (index * PAGE_SIZE).min(end));
            return self.background.status(offset, next);
        };
        let kind = std::mem::discriminant(page);
        let mut same = pages.map.range(index + 1..);
        while (index + 1) * PAGE_SIZE < end
            && let Some((next, page)) = same.next()
            && *next == index + 1
            && std::mem::discriminant(page) == kind
        {
            index += 1;
        }
        let (hole, zero) = match page {
            Page::Hole => (true, true),
            Page::Zeroes => (false, true),
            Page::Bytes(_) => (false, false),
        };
        // A hole hides what is behind it; where nothing is, it is just a hole.
        let covers = !hole || matches!(self.background, Background::Layer(_));
        let length = ((index + 1) * PAGE_SIZE).min(end) - offset;
        Ok(Stretch { length, hole, zero, depth: u32::from(covers) })
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
        match (pages.map.get(&index), &self.background) {
            (Some(Page::Zeroes), _) => {}
            (Some(Page::Hole), _) | (None, Background::Hole) => {
                if provision {
                    pages.set(index, Page::Zeroes);
                }
            }
            (Some(Page::Bytes(_)), _) | (None, _) => {
                let start = index * PAGE_SIZE;
                self.reserve(pages, start, start + PAGE_SIZE, ENTRY_COST + PAGE_SIZE)?;
                self.bytes_of(pages, index)?[within..within + length].fill(0);
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

    fn stretches(store: &MemoryStore, offset: u64, end: u64) -> Vec<(u64, bool, bool, u32)> {
        let (mut at, mut list) = (offset, Vec::new());
        while at < end {
            let Stretch { length, hole, zero, depth } = store.status(at, end).unwrap();
            list.push((length, hole, zero, depth));
            at += length;
        }
        list
    }

    #[test]
    fn status_tells_what_is_known_without_reading() {
        let store = MemoryStore::new(1 << 40);
        store.write(8192, &[1; 8192]).unwrap();
        store.zero(16_384, 4096, true).unwrap();
        let expected = [
            (8092, true, true, 0),
            (8192, false, false, 1),
            (4096, false, true, 1),
            ((1 << 40) - 20_480, true, true, 0),
        ];
        assert_eq!(stretches(&store, 100, 1 << 40), expected);
        assert_eq!(stretches(&store, 9000, 9001), [(1, false, false, 1)]);
        assert_eq!(stretches(&MemoryStore::pattern(5000, 1), 0, 5000), [(5000, false, false, 1)]);
    }

    #[test]
    fn a_layer_shows_what_is_behind_it_until_it_is_written() {
        let behind = MemoryStore::new(32_768);
        behind.write(4096, &[5; 8192]).unwrap();
        let store = MemoryStore::over(65_536, Arc::new(behind));
        store.write(8192, &[6; 1]).unwrap();
        store.trim(16_384, 4096).unwrap();
        let expected = [
            (4096, true, true, 0),
            (4096, false, false, 2),
            (4096, false, false, 1),
            (4096, true, true, 0),
            (4096, true, true, 1),
            (12_288, true, true, 0),
            (32_768, true, true, 0),
        ];
        assert_eq!(stretches(&store, 0, 65_536), expected);
        let (bytes, _) = read(&store, 0, 65_536);
        assert_eq!(bytes[4096..8192], [5; 4096]);
        assert_eq!(bytes[8192..8194], [6, 5]);
        assert!(bytes[12_288..].iter().all(|byte| *byte == 0));
        store.zero(4096, 8192, false).unwrap();
        assert!(read(&store, 0, 65_536).0.iter().all(|byte| *byte == 0));
        // Two layers over the bottom one.
        let middle = MemoryStore::over(8192, Arc::new(MemoryStore::pattern(8192, 1)));
        let top = MemoryStore::over(8192, Arc::new(middle));
        assert_eq!(stretches(&top, 0, 8192), [(8192, false, false, 3)]);
    }

    #[test]
    fn zeroes_are_fast_or_nothing_happens() {
        let size = 1 << 40;
        let store = MemoryStore::pattern(size, 1);
        assert!(!store.zero_fast(0, size, false).unwrap());
        assert_eq!(store.memory_used(), 0);
        assert!(store.zero_fast(0, 1 << 20, false).unwrap());
        assert!(MemoryStore::new(size).zero_fast(0, size, false).unwrap());
        assert!(!MemoryStore::new(size).zero_fast(0, size, true).unwrap());
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
            kind in 0u8..3,
            steps in prop::collection::vec((0u8..3, 0u64..20_000, 0u64..20_000, any::<bool>()), 0..12),
        ) {
            const SIZE: u64 = 20_001;
            let store = match kind {
                0 => MemoryStore::new(SIZE),
                1 => MemoryStore::pattern(SIZE, 3),
                _ => MemoryStore::over(SIZE, Arc::new(MemoryStore::pattern(SIZE / 2, 3))),
            };
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
                let mut at = 0;
                for (length, hole, zero, _) in stretches(&store, 0, SIZE) {
                    let range = at as usize..(at + length) as usize;
                    prop_assert!(zero || !hole);
                    prop_assert!(!zero || model[range].iter().all(|byte| *byte == 0));
                    at += length;
                }
                prop_assert_eq!(at, SIZE);
            }
        }
    }
}
