//! What decoders are made of: how they answer, and how they read.

use crate::values::HISTORIC_MAGICS;

/// How much of a message a decoder may keep; what is longer becomes bulk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Option data and option reply data, in bytes.
    pub option: u32,
    /// Chunk payload other than read data, in bytes. The specification's 2^20 extents in their
    /// 64-bit form need 16 MiB and 8 bytes.
    pub chunk: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { option: 128 << 10, chunk: (16 << 20) + 8 }
    }
}

/// What a decoder found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<T> {
    /// At least this many more bytes are needed; not 0.
    Need(usize),
    /// A message, and how many bytes it took. Its bulk, if any, comes next.
    Ready(T, usize),
}

impl<T> Step<T> {
    /// The same step with the message changed.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Step<U> {
        match self {
            Self::Need(more) => Step::Need(more),
            Self::Ready(message, taken) => Step::Ready(change(message), taken),
        }
    }
}

/// The stream can't be followed: no message that may stand here begins with these bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected {expected}, found magic {found:#0width$x} at byte {at}{}",
    self.looks_like(),
    width = bytes * 2 + 2
)]
pub struct BadMagic {
    /// What should have stood there.
    pub expected: &'static str,
    /// What stood there, in its low bytes.
    pub found: u64,
    /// How many bytes of it were read: 4 or 8.
    pub bytes: usize,
    /// Where, from the start of the message.
    pub at: usize,
}

impl BadMagic {
    /// Whether the magic is one of the three of the past.
    #[must_use]
    pub fn is_historic(&self) -> bool {
        self.bytes == 4 && HISTORIC_MAGICS.iter().any(|magic| u64::from(*magic) == self.found)
    }

    /// Whether it is the beginning of a handshake of TLS.
    #[must_use]
    pub fn is_tls_handshake(&self) -> bool {
        matches!(self.found >> (self.bytes * 8).saturating_sub(24), 0x16_0301..=0x16_0303)
    }

    /// What it is, if it is one of the things that are taken for NBD by mistake.
    fn looks_like(&self) -> &'static str {
        // Content type and version of a TLS record.
        match self.found >> (self.bytes * 8).saturating_sub(24) {
            0x16_0300 => ", the beginning of an SSL 3.0 handshake",
            0x16_0301 => ", the beginning of a TLS handshake record of version 1.0",
            0x16_0302 => ", the beginning of a TLS handshake record of version 1.1",
            0x16_0303 => ", the beginning of a TLS handshake record of version 1.2",
            0x15_0300..=0x15_0303 => ", the beginning of a TLS alert",
            _ => "",
        }
    }
}

/// Data does not have the layout that its type demands; the message itself is delimited, so the
/// stream goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} needs {needed} bytes, {promised_by} gives {had}")]
pub struct LayoutError {
    /// The field or structure that did not fit.
    pub what: &'static str,
    /// How many bytes it needs.
    pub needed: u64,
    /// How many bytes there were for it.
    pub had: u64,
    /// Which length field promised them.
    pub promised_by: &'static str,
    /// Where the misfit field begins, from the start of the data.
    pub at: usize,
}

/// The result of a decoder that checks a magic.
pub type Decoded<T> = Result<Step<T>, BadMagic>;

/// Reads big-endian integers; knows where it is.
#[derive(Clone)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
    length: usize,
    promised_by: &'static str,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8], promised_by: &'static str) -> Self {
        Self { rest: bytes, length: bytes.len(), promised_by }
    }

    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    fn at(&self) -> usize {
        self.length - self.rest.len()
    }

    pub(crate) fn take(
        &mut self,
        count: usize,
        what: &'static str,
    ) -> Result<&'a [u8], LayoutError> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return self.short(what, count as u64);
        };
        self.rest = rest;
        Ok(taken)
    }

    /// The error that so many bytes are needed from here.
    pub(crate) fn short<T>(&self, what: &'static str, needed: u64) -> Result<T, LayoutError> {
        let had = self.left() as u64;
        Err(LayoutError { what, needed, had, promised_by: self.promised_by, at: self.at() })
    }

    pub(crate) fn array<const N: usize>(
        &mut self,
        what: &'static str,
    ) -> Result<[u8; N], LayoutError> {
        let Some((taken, rest)) = self.rest.split_first_chunk::<N>() else {
            return self.short(what, N as u64);
        };
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u16(&mut self, what: &'static str) -> Result<u16, LayoutError> {
        self.array(what).map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, LayoutError> {
        self.array(what).map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, LayoutError> {
        self.array(what).map(u64::from_be_bytes)
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    pub(crate) fn end(&self, what: &'static str) -> Result<(), LayoutError> {
        if self.left() == 0 {
            return Ok(());
        }
        Err(LayoutError {
            what,
            needed: self.at() as u64,
            had: self.length as u64,
            promised_by: self.promised_by,
            at: self.at(),
        })
    }
}

/// The first bytes as an array, or how many are missing.
pub(crate) fn head<const N: usize>(bytes: &[u8]) -> Result<[u8; N], usize> {
    match bytes.first_chunk::<N>() {
        Some(head) => Ok(*head),
        None => Err(N - bytes.len()),
    }
}

macro_rules! first {
    ($bytes:expr, $n:literal) => {
        match $crate::cursor::head::<$n>($bytes) {
            Ok(head) => head,
            Err(more) => return Ok($crate::cursor::Step::Need(more)),
        }
    };
}
pub(crate) use first;

/// A length of the wire in memory: one that is too long for that never fits.
pub(crate) fn in_memory(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

/// A length for a field of 32 bits: what does not fit is cut, as the bytes of the wire are.
#[expect(clippy::cast_possible_truncation, reason = "a script may send lengths that do not fit")]
pub(crate) fn low32(length: u64) -> u32 {
    length as u32
}

#[expect(clippy::indexing_slicing, reason = "callers name places inside headers of fixed size")]
pub(crate) fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

pub(crate) fn be32(bytes: &[u8], at: usize) -> u32 {
    (u32::from(be16(bytes, at)) << 16) | u32::from(be16(bytes, at + 2))
}

pub(crate) fn be64(bytes: &[u8], at: usize) -> u64 {
    (u64::from(be32(bytes, at)) << 32) | u64::from(be32(bytes, at + 4))
}
