//! Faults in what is stored.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::distortion::StoreFault;
use crate::store::{PAGE_SIZE, Run, Store, Stretch, push_run};

/// How many pages a cache holds; later ones are not cached.
const CACHED_PAGES: usize = 4096;
/// What is written at once by the fault that goes no further, in bytes.
const WRITTEN: usize = 16 << 10;
/// The lower 32 bits of an offset.
const LOW: u64 = 0xffff_ffff;
/// What is zeroed at once by the fault that goes no further, in bytes.
const PIECE: u64 = 64 << 20;

/// A store as one connection sees it, with a fault. Ranges beyond the end read as zeroes and are
/// not written, since some faults let them through.
#[derive(Debug)]
pub(crate) struct FaultyStore {
    fault: StoreFault,
    inner: Arc<dyn Store>,
    cache: Mutex<BTreeMap<u64, Vec<u8>>>,
}

impl FaultyStore {
    pub(crate) fn new(fault: StoreFault, inner: Arc<dyn Store>) -> Self {
        Self { fault, inner, cache: Mutex::default() }
    }

    /// How much of a range is inside the store.
    fn inside(&self, offset: u64, length: u64) -> u64 {
        length.min(self.inner.size().saturating_sub(offset))
    }

    fn read_inside(&self, offset: u64, buffer: &mut [u8], runs: &mut Vec<Run>) -> io::Result<()> {
        let inside = self.inside(offset, buffer.len() as u64);
        let (there, beyond) = buffer.split_at_mut(inside as usize);
        if !there.is_empty() {
            self.inner.read(offset, there, runs)?;
        }
        beyond.fill(0);
        push_run(runs, beyond.len() as u64, false);
        Ok(())
    }

    /// Takes pages from the cache; those that are not there come into it only if it `grows`.
    fn read_cached(
        &self,
        offset: u64,
        buffer: &mut [u8],
        runs: &mut Vec<Run>,
        grows: bool,
    ) -> io::Result<()> {
        push_run(runs, buffer.len() as u64, false);
        let mut cache = self.cached();
        let (mut at, mut rest) = (offset, buffer);
        while !rest.is_empty() {
            let (index, within) = (at / PAGE_SIZE, (at % PAGE_SIZE) as usize);
            let length = (PAGE_SIZE as usize - within).min(rest.len());
            let (now, later) = rest.split_at_mut(length);
            rest = later;
            if grows && cache.len() < CACHED_PAGES {
                self.page(&mut cache, index)?;
            }
            match cache.get(&index) {
                Some(page) => now.copy_from_slice(&page[within..within + length]),
                None => self.read_inside(at, now, &mut Vec::new())?,
            }
            at += length as u64;
        }
        Ok(())
    }

    /// A page of the cache, fetched if need be.
    fn page<'a>(
        &self,
        cache: &'a mut BTreeMap<u64, Vec<u8>>,
        index: u64,
    ) -> io::Result<&'a mut Vec<u8>> {
        Ok(match cache.entry(index) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let mut page = vec![0; PAGE_SIZE as usize];
                self.read_inside(index * PAGE_SIZE, &mut page, &mut Vec::new())?;
                entry.insert(page)
            }
        })
    }

    /// Writes into the cache alone.
    fn write_cached(&self, mut offset: u64, mut data: &[u8]) -> io::Result<()> {
        if data.len() as u64 / PAGE_SIZE > CACHED_PAGES as u64 / 2 {
            self.write_back()?;
            return self.inner.write(offset, data);
        }
        if self.cached().len() > CACHED_PAGES / 2 {
            self.write_back()?;
        }
        let mut cache = self.cached();
        while !data.is_empty() {
            let within = (offset % PAGE_SIZE) as usize;
            let (now, later) = data.split_at((PAGE_SIZE as usize - within).min(data.len()));
            let page = self.page(&mut cache, offset / PAGE_SIZE)?;
            page[within..within + now.len()].copy_from_slice(now);
            (offset, data) = (offset + now.len() as u64, later);
        }
        Ok(())
    }

    /// Writes what only the cache has, if that is the fault.
    fn write_back(&self) -> io::Result<()> {
        if self.fault != StoreFault::MultiConnWriteBack {
            return Ok(());
        }
        for (index, page) in std::mem::take(&mut *self.cached()) {
            let inside = self.inside(index * PAGE_SIZE, PAGE_SIZE) as usize;
            self.inner.write(index * PAGE_SIZE, &page[..inside])?;
        }
        Ok(())
    }

    fn cached(&self) -> MutexGuard<'_, BTreeMap<u64, Vec<u8>>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The range that is zeroed instead of the one that was asked for.
    fn zeroed(&self, offset: u64, length: u64) -> (u64, u64) {
        let end = offset + length;
        let (start, end) = match self.fault {
            _ if length == 0 => (offset, end),
            StoreFault::ZeroesNeighbours => (offset / 4096 * 4096, end.div_ceil(4096) * 4096),
            StoreFault::ZeroesInwards => (offset.div_ceil(4096) * 4096, end / 4096 * 4096),
            StoreFault::ZeroesTailLost => (offset, end - 1),
            StoreFault::ZeroesFirstPiece => (offset, offset + length.min(PIECE)),
            _ => (offset, end),
        };
        (start, self.inside(start, end.saturating_sub(start)))
    }

    /// A connection sees its own writes even through a stale cache.
    fn forget(&self, offset: u64, length: u64) {
        if self.fault == StoreFault::CacheStale {
            return;
        }
        let mut cache = self.cached();
        let end = offset.saturating_add(length).div_ceil(PAGE_SIZE);
        cache.retain(|index, _| *index < offset / PAGE_SIZE || *index >= end);
    }
}

impl Store for FaultyStore {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn blocks(&self) -> bool {
        self.inner.blocks()
    }

    fn read(&self, offset: u64, buffer: &mut [u8], runs: &mut Vec<Run>) -> io::Result<()> {
        match self.fault {
            StoreFault::ReadOtherOffset => self.read_inside(offset & !0xfff, buffer, runs),
            StoreFault::Offset32Bits => self.read_inside(offset & LOW, buffer, runs),
            StoreFault::ReadTailZero => {
                let mut found = Vec::new();
                self.read_inside(offset, buffer, &mut found)?;
                if let Some(last) = buffer.last_mut() {
                    *last = 0;
                }
                push_run(runs, buffer.len() as u64, false);
                Ok(())
            }
            StoreFault::ReadErrorHidden => {
                let mut found = Vec::new();
                if self.read_inside(offset, buffer, &mut found).is_err() {
                    buffer.fill(0);
                    found.clear();
                    push_run(&mut found, buffer.len() as u64, false);
                }
                runs.append(&mut found);
                Ok(())
            }
            StoreFault::MultiConnStaleCache => self.read_cached(offset, buffer, runs, true),
            StoreFault::MultiConnWriteBack | StoreFault::CacheStale => {
                self.read_cached(offset, buffer, runs, false)
            }
            _ => self.read_inside(offset, buffer, runs),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let inside = self.inside(offset, data.len() as u64) as usize;
        if inside == 0 || self.fault == StoreFault::WriteNotStored {
            return Ok(());
        }
        if self.fault == StoreFault::MultiConnWriteBack {
            return self.write_cached(offset, &data[..inside]);
        }
        let (offset, stored) = match self.fault {
            StoreFault::WriteTailLost => (offset, inside - 1),
            StoreFault::WriteFirstPiece => (offset, inside.min(WRITTEN)),
            StoreFault::WriteRoundsOffset => (offset & !0x1ff, inside),
            StoreFault::Offset32Bits => (offset & LOW, inside),
            _ => (offset, inside),
        };
        self.inner.write(offset, &data[..stored])?;
        self.forget(offset, inside as u64);
        Ok(())
    }

    fn zero(&self, offset: u64, length: u64, provision: bool) -> io::Result<()> {
        let (offset, inside) = self.zeroed(offset, self.inside(offset, length));
        if inside == 0 || self.fault == StoreFault::ZeroesNotStored {
            return Ok(());
        }
        self.write_back()?;
        self.inner.zero(offset, inside, provision)?;
        self.forget(offset, inside);
        Ok(())
    }

    fn zero_fast(&self, offset: u64, length: u64, provision: bool) -> io::Result<bool> {
        let inside = self.inside(offset, length);
        if inside == 0 || self.fault == StoreFault::ZeroesNotStored {
            return Ok(true);
        }
        self.write_back()?;
        self.forget(offset, inside);
        if self.fault == StoreFault::FastZeroHalfDone {
            self.inner.zero(offset, inside.div_ceil(2), provision)?;
            return Ok(false);
        }
        self.inner.zero_fast(offset, inside, provision)
    }

    fn cache(&self, offset: u64, length: u64) -> io::Result<()> {
        let inside = self.inside(offset, length);
        if self.fault == StoreFault::CacheStale {
            let mut cache = self.cached();
            for index in offset / PAGE_SIZE..(offset + inside).div_ceil(PAGE_SIZE) {
                if cache.len() < CACHED_PAGES {
                    self.page(&mut cache, index)?;
                }
            }
        }
        if self.fault == StoreFault::CacheZeroes {
            return self.inner.zero(offset, inside, false);
        }
        self.inner.cache(offset, inside)
    }

    fn status(&self, offset: u64, end: u64) -> io::Result<Stretch> {
        match self.inside(offset, end - offset) {
            0 => Ok(Stretch { length: end - offset, hole: true, zero: true, depth: 0 }),
            inside => self.inner.status(offset, offset + inside),
        }
    }

    fn trim(&self, offset: u64, length: u64) -> io::Result<()> {
        let (mut offset, mut length) = (offset, self.inside(offset, length));
        if self.fault == StoreFault::TrimShifted {
            let size = self.inner.size();
            offset = offset.saturating_add(PAGE_SIZE).min(size);
            length = self.inside(offset, length);
        }
        if self.fault == StoreFault::TrimNeighbours {
            let end = (offset + length).div_ceil(4096).saturating_add(1) * 4096;
            offset = (offset / 4096).saturating_sub(1) * 4096;
            length = self.inside(offset, end - offset);
        }
        if length > 0 {
            self.write_back()?;
            self.inner.trim(offset, length)?;
            self.forget(offset, length);
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.write_back()?;
        self.inner.flush()
    }
}

impl Drop for FaultyStore {
    fn drop(&mut self) {
        // What was answered is not lost with the connection: that would be another fault.
        let _ = self.write_back();
    }
}
