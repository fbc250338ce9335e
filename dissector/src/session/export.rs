//! What transmission is entered with.

use protocol::values::TransmissionFlags;

/// The size constraints that a server advertised, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockSize {
    /// Smallest unit of offset and length.
    pub minimum: u32,
    /// Efficient unit.
    pub preferred: u32,
    /// Largest payload; `0xffffffff` for no limit.
    pub maximum: u32,
}

impl BlockSize {
    /// Whether a client could abide by it (section "Size constraints").
    pub(super) fn is_lawful(self) -> bool {
        self.minimum.is_power_of_two()
            && self.minimum <= 1 << 16
            && self.preferred.is_power_of_two()
            && self.preferred >= self.minimum.max(512)
            && self.maximum >= self.preferred
    }
}

/// What transmission was entered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// Size in bytes.
    pub size: u64,
    /// What the export can do.
    pub flags: TransmissionFlags,
    /// The advertised constraints, if any.
    pub block_size: Option<BlockSize>,
    /// Whether the client asked for them, and so knows what they mean.
    pub asked_block_size: bool,
}
