//! Stores of the reference server that are good at being bad.

use std::io;
use std::time::Duration;

use reference_server::store::{MemoryStore, Run, Store, Stretch};

/// Where [`Failing`] can't be read, in bytes.
const BAD: std::ops::Range<u64> = 0x80000..0x80200;
/// How long [`Slow`] takes to read or write.
const DELAY: Duration = Duration::from_millis(100);

/// A store with a bad sector.
#[derive(Debug)]
pub(super) struct Failing(pub(super) MemoryStore);

/// A store that takes its time to read and write.
#[derive(Debug)]
pub(super) struct Slow(pub(super) MemoryStore);

macro_rules! delegate {
    () => {
        fn size(&self) -> u64 {
            self.0.size()
        }

        fn zero(&self, offset: u64, length: u64, provision: bool) -> io::Result<()> {
            self.0.zero(offset, length, provision)
        }

        fn zero_fast(&self, offset: u64, length: u64, provision: bool) -> io::Result<bool> {
            self.0.zero_fast(offset, length, provision)
        }

        fn trim(&self, offset: u64, length: u64) -> io::Result<()> {
            self.0.trim(offset, length)
        }

        fn status(&self, offset: u64, end: u64) -> io::Result<Stretch> {
            self.0.status(offset, end)
        }

        fn flush(&self) -> io::Result<()> {
            self.0.flush()
        }
    };
}

impl Store for Failing {
    delegate!();

    fn blocks(&self) -> bool {
        self.0.blocks()
    }

    fn read(&self, offset: u64, buffer: &mut [u8], runs: &mut Vec<Run>) -> io::Result<()> {
        let end = offset.saturating_add(buffer.len() as u64);
        if offset < BAD.end && end > BAD.start {
            return Err(io::Error::other("the sector is bad"));
        }
        self.0.read(offset, buffer, runs)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}

impl Store for Slow {
    delegate!();

    fn blocks(&self) -> bool {
        true
    }

    fn read(&self, offset: u64, buffer: &mut [u8], runs: &mut Vec<Run>) -> io::Result<()> {
        std::thread::sleep(DELAY);
        self.0.read(offset, buffer, runs)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        std::thread::sleep(DELAY);
        self.0.write(offset, data)
    }
}
