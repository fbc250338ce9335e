//! The limits within which a server must serve requests, and the sizes that follow from them.

use protocol::describe::Value;
use protocol::values::DEFAULT_MAXIMUM_PAYLOAD;

/// What counts where a server tells no minimum (section "Size constraints").
const MINIMUM: u64 = 1;
/// What counts where a server tells no preferred size.
const PREFERRED: u64 = 4096;
/// What counts where a server tells no maximum.
const MAXIMUM: u64 = DEFAULT_MAXIMUM_PAYLOAD as u64;
/// A size that most servers take: what a client does best to keep to.
const BLOCK: u64 = 512;
/// The size of a page of memory on most machines.
const PAGE: u64 = 4096;
/// How many pages a scenario may need in one request.
const PAGES: u64 = 128;

/// The size of an export and its block sizes, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The size of the export.
    pub size: u64,
    /// Offsets and lengths are multiples of it.
    pub minimum: u64,
    /// What the server likes best.
    pub preferred: u64,
    /// The largest payload of a request or of the reply to a read.
    pub maximum: u64,
}

impl Limits {
    /// Those of an export; what was not told has its default.
    #[must_use]
    pub fn new(size: u64, told: Option<(u32, u32, u32)>) -> Self {
        match told {
            Some((minimum, preferred, maximum)) => Self {
                size,
                minimum: u64::from(minimum).max(1),
                preferred: preferred.into(),
                maximum: maximum.into(),
            },
            None => Self { size, minimum: MINIMUM, preferred: PREFERRED, maximum: MAXIMUM },
        }
    }

    /// Where the last whole block of the export ends. A size that is no multiple of the minimum
    /// leaves bytes behind it that no request reaches.
    #[must_use]
    pub fn end(self) -> u64 {
        self.size - self.size % self.minimum
    }

    /// The size of a small, lawful, ordinary request: 512 bytes, or the minimum if that is larger,
    /// or what a tiny export has. Never less than the minimum: an empty export has no room for it.
    #[must_use]
    pub fn block(self) -> u64 {
        self.minimum.max(BLOCK).min(self.end()).max(self.minimum)
    }

    /// The same with 4 KiB, or less where [`PAGES`] of them would exceed the maximum or the export.
    #[must_use]
    pub fn page(self) -> u64 {
        let most = self.maximum.min(self.end()) / PAGES;
        let most = most.checked_ilog2().map_or(1, |bits| 1 << bits);
        PAGE.min(most).max(self.block())
    }

    /// The variables of scripts that follow.
    #[must_use]
    pub fn variables(self) -> [(&'static str, Value); 7] {
        [
            ("size", self.size),
            ("end", self.end()),
            ("minimum", self.minimum),
            ("preferred", self.preferred),
            ("maximum", self.maximum),
            ("block", self.block()),
            ("page", self.page()),
        ]
        .map(|(name, value)| (name, Value::Int(value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(size: u64, told: Option<(u32, u32, u32)>) -> [u64; 3] {
        let limits = Limits::new(size, told);
        [limits.block(), limits.page(), limits.end()]
    }

    #[test]
    fn what_follows_from_the_limits_is_within_them() {
        assert_eq!(sizes(1 << 20, None), [512, 4096, 1 << 20]);
        assert_eq!(sizes(100, None), [100, 100, 100]);
        assert_eq!(sizes(0, None), [1, 1, 0]);
        assert_eq!(sizes(1 << 20, Some((65536, 65536, 65536))), [65536, 65536, 1 << 20]);
        assert_eq!(sizes(1_000_001, Some((512, 4096, 1 << 25))), [512, 4096, 999_936]);
        assert_eq!(sizes(1 << 20, Some((1, 512, 1000))), [512, 512, 1 << 20]);
        assert_eq!(sizes(1 << 20, Some((1, 4096, 64 << 10))), [512, 512, 1 << 20]);
        assert_eq!(sizes(300_000, None), [512, 2048, 300_000]);
        assert_eq!(sizes(1 << 20, Some((4096, 4096, 64 << 10))), [4096, 4096, 1 << 20]);
        assert_eq!(sizes(1000, Some((4096, 4096, 1 << 25))), [4096, 4096, 0]);
    }

    #[test]
    fn what_a_server_does_not_tell_has_its_default() {
        assert_eq!(Limits::new(7, None).maximum, 32 << 20);
        assert_eq!(Limits::new(7, Some((0, 512, 512))).minimum, 1);
    }
}
