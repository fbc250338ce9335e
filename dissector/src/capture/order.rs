//! The byte order that a capture file is written in.

/// Reads numbers of a file's own headers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ByteOrder {
    pub(super) big_endian: bool,
}

impl ByteOrder {
    /// The number at this place; 0 where there is none.
    pub(super) fn u32_at(self, bytes: &[u8], at: usize) -> u32 {
        let word = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()).copied();
        let word = word.unwrap_or_default();
        if self.big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }
    }

    /// The same for one of 16 bits.
    pub(super) fn u16_at(self, bytes: &[u8], at: usize) -> u16 {
        let half = bytes.get(at..).and_then(|rest| rest.first_chunk::<2>()).copied();
        let half = half.unwrap_or_default();
        if self.big_endian { u16::from_be_bytes(half) } else { u16::from_le_bytes(half) }
    }
}
