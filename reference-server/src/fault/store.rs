//! Faults in what is stored.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use super::Fault;
use crate::store::{PAGE_SIZE, Run, Store, Stretch, push_run};

/// How many pages the stale cache holds; later ones are not cached.
const CACHED_PAGES: usize = 4096;

/// A store as one connection sees it, with a fault. Ranges beyond the end read as zeroes and are
/// not written, since some faults let them through.
#[derive(Debug)]
pub(crate) struct FaultyStore {
    fault: Fault,
    inner: Arc<dyn Store>,
    cache: Mutex<BTreeMap<u64, Vec<u8>>>,
}

impl FaultyStore {
    pub(crate) fn new(fault: Fault, inner: Arc<dyn Store>) -> Self {
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

    fn read_cached(&self, offset: u64, buffer: &mut [u8], runs: &mut Vec<Run>) -> io::Result<()> {
        push_run(runs, buffer.len() as u64, false);
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut at, mut rest) = (offset, buffer);
        while !rest.is_empty() {
            let (index, within) = (at / PAGE_SIZE, (at % PAGE_SIZE) as usize);
            let length = (PAGE_SIZE as usize - within).min(rest.len());
            let (now, later) = rest.split_at_mut(length);
            rest = later;
            if !cache.contains_key(&index) && cache.len() < CACHED_PAGES {
                let mut page = vec![0; PAGE_SIZE as usize];
                self.read_inside(index * PAGE_SIZE, &mut page, &mut Vec::new())?;
                cache.insert(index, page);
            }
            match cache.get(&index) {
                Some(page) => now.copy_from_slice(&page[within..within + length]),
                None => self.read_inside(at, now, &mut Vec::new())?,
            }
            at += length as u64;
        }
        Ok(())
    }

    /// A connection sees its own writes even through a stale cache.
    fn forget(&self, offset: u64, length: u64) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
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
            Fault::ReadOtherOffset => self.read_inside(offset & !0xfff, buffer, runs),
            Fault::MultiConnStaleCache => self.read_cached(offset, buffer, runs),
            _ => self.read_inside(offset, buffer, runs),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let inside = self.inside(offset, data.len() as u64) as usize;
        if inside == 0 || self.fault == Fault::WriteNotStored {
            return Ok(());
        }
        self.inner.write(offset, &data[..inside])?;
        self.forget(offset, inside as u64);
        Ok(())
    }

    fn zero(&self, offset: u64, length: u64, provision: bool) -> io::Result<()> {
        let inside = self.inside(offset, length);
        if inside == 0 || self.fault == Fault::ZeroesNotStored {
            return Ok(());
        }
        self.inner.zero(offset, inside, provision)?;
        self.forget(offset, inside);
        Ok(())
    }

    fn zero_fast(&self, offset: u64, length: u64, provision: bool) -> io::Result<bool> {
        let inside = self.inside(offset, length);
        if inside == 0 || self.fault == Fault::ZeroesNotStored {
            return Ok(true);
        }
        self.forget(offset, inside);
        self.inner.zero_fast(offset, inside, provision)
    }

    fn cache(&self, offset: u64, length: u64) -> io::Result<()> {
        self.inner.cache(offset, self.inside(offset, length))
    }

    fn status(&self, offset: u64, end: u64) -> io::Result<Stretch> {
        match self.inside(offset, end - offset) {
            0 => Ok(Stretch { length: end - offset, hole: true, zero: true, depth: 0 }),
            inside => self.inner.status(offset, offset + inside),
        }
    }

    fn trim(&self, offset: u64, length: u64) -> io::Result<()> {
        let (mut offset, mut length) = (offset, self.inside(offset, length));
        if self.fault == Fault::TrimNeighbours {
            let end = (offset + length).div_ceil(4096).saturating_add(1) * 4096;
            offset = (offset / 4096).saturating_sub(1) * 4096;
            length = self.inside(offset, end - offset);
        }
        if length > 0 {
            self.inner.trim(offset, length)?;
            self.forget(offset, length);
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.inner.flush()
    }
}
