//! A store whose size is rounded up.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Run, Store, Stretch, end_of, push_run};

/// A store that ends at a multiple of a unit. What is beyond the store behind it reads as zeroes
/// until it is written, and is kept in memory.
#[derive(Debug)]
pub struct PaddedStore {
    inner: Arc<dyn Store>,
    tail: Mutex<Vec<u8>>,
    size: u64,
}

impl PaddedStore {
    /// Rounds up to a multiple of `unit` bytes; as it is if it is one already.
    #[must_use]
    pub fn rounded_up(inner: Arc<dyn Store>, unit: u32) -> Arc<dyn Store> {
        let size = inner.size().next_multiple_of(u64::from(unit.max(1)));
        if size == inner.size() {
            return inner;
        }
        let tail = vec![0; (size - inner.size()) as usize];
        Arc::new(Self { inner, tail: Mutex::new(tail), size })
    }

    fn tail(&self) -> MutexGuard<'_, Vec<u8>> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How much of a range is inside the store behind, and the part of the tail that is the rest.
    fn split(&self, offset: u64, length: u64) -> io::Result<(u64, std::ops::Range<usize>)> {
        let end = end_of(offset, length, self.size)?;
        let edge = self.inner.size();
        let inside = end.min(edge).saturating_sub(offset);
        let from = offset.max(edge) - edge;
        Ok((inside, from as usize..(end.max(edge) - edge).max(from) as usize))
    }
}

impl Store for PaddedStore {
    fn size(&self) -> u64 {
        self.size
    }

    fn blocks(&self) -> bool {
        self.inner.blocks()
    }

    fn read(&self, offset: u64, buffer: &mut [u8], runs: &mut Vec<Run>) -> io::Result<()> {
        let (inside, tail) = self.split(offset, buffer.len() as u64)?;
        let (first, second) = buffer.split_at_mut(inside as usize);
        if !first.is_empty() {
            self.inner.read(offset, first, runs)?;
        }
        second.copy_from_slice(&self.tail()[tail]);
        push_run(runs, second.len() as u64, false);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let (inside, tail) = self.split(offset, data.len() as u64)?;
        let (first, second) = data.split_at(inside as usize);
        if !first.is_empty() {
            self.inner.write(offset, first)?;
        }
        self.tail()[tail].copy_from_slice(second);
        Ok(())
    }

    fn zero(&self, offset: u64, length: u64, provision: bool) -> io::Result<()> {
        let (inside, tail) = self.split(offset, length)?;
        if inside > 0 {
            self.inner.zero(offset, inside, provision)?;
        }
        self.tail()[tail].fill(0);
        Ok(())
    }

    fn zero_fast(&self, offset: u64, length: u64, provision: bool) -> io::Result<bool> {
        let (inside, tail) = self.split(offset, length)?;
        if inside > 0 && !self.inner.zero_fast(offset, inside, provision)? {
            return Ok(false);
        }
        self.tail()[tail].fill(0);
        Ok(true)
    }

    fn trim(&self, offset: u64, length: u64) -> io::Result<()> {
        let (inside, _) = self.split(offset, length)?;
        if inside > 0 { self.inner.trim(offset, inside) } else { Ok(()) }
    }

    fn status(&self, offset: u64, end: u64) -> io::Result<Stretch> {
        let edge = self.inner.size();
        if offset < edge {
            return self.inner.status(offset, end.min(edge));
        }
        Ok(Stretch { length: end - offset, hole: false, zero: false, depth: 1 })
    }

    fn flush(&self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    #[test]
    fn what_is_beyond_the_store_is_kept_too() {
        let store = PaddedStore::rounded_up(Arc::new(MemoryStore::new(1000)), 512);
        assert_eq!(store.size(), 1024);
        let (mut bytes, mut runs) = (vec![9; 48], Vec::new());
        store.read(976, &mut bytes, &mut runs).unwrap();
        assert_eq!(bytes, [0; 48]);
        assert_eq!(runs.iter().map(|run| run.length).sum::<u64>(), 48);
        store.write(990, &[7; 34]).unwrap();
        store.zero(1010, 4, false).unwrap();
        store.read(976, &mut bytes, &mut runs).unwrap();
        let wanted = [&[0; 14][..], &[7; 20], &[0; 4], &[7; 10]].concat();
        assert_eq!(bytes, wanted);
        assert!(store.write(1000, &[1; 25]).is_err());
        store.write(1010, &[1; 14]).unwrap();
    }

    #[test]
    fn whole_units_need_no_padding() {
        let store = PaddedStore::rounded_up(Arc::new(MemoryStore::new(1024)), 512);
        assert_eq!(store.size(), 1024);
    }
}
