//! What reassembly tells.

use protocol::message::Side;

/// What reassembly hands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery<'a> {
    /// The next bytes of a direction.
    Data {
        /// Who sent them.
        from: Side,
        /// When they came.
        time_ns: u64,
        /// The bytes.
        bytes: &'a [u8],
        /// Their sender had received all bytes of the other side that were handed on before.
        informed: bool,
    },
    /// The next bytes of a direction are not in the capture.
    Gap {
        /// Who sent them.
        from: Side,
        /// When that became clear.
        time_ns: u64,
        /// How many.
        missing: u64,
        /// Their packet was captured, and cut short.
        cut: bool,
    },
    /// Bytes came again and differ from those that were handed on.
    Conflict {
        /// Who sent them.
        from: Side,
        /// When.
        time_ns: u64,
        /// How many bytes came again.
        length: u64,
    },
    /// A side sent its last byte (FIN).
    End {
        /// Which side.
        from: Side,
        /// When.
        time_ns: u64,
        /// As of [`Delivery::Data`].
        informed: bool,
    },
    /// A side broke the connection off (RST).
    Reset {
        /// Which side.
        from: Side,
        /// When.
        time_ns: u64,
    },
    /// A packet that does not count.
    Aside {
        /// Who sent it, or seems to have.
        from: Side,
        /// When.
        time_ns: u64,
        /// What it is.
        what: Aside,
    },
}

/// What does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aside {
    /// A RST whose number is far from all that was seen of its direction: no receiver accepts it.
    StrayReset,
    /// A segment with so many bytes that was damaged on its way: its receiver dropped it.
    Damaged(u64),
}

impl Delivery<'_> {
    /// When it came.
    #[must_use]
    pub fn time_ns(&self) -> u64 {
        match *self {
            Self::Data { time_ns, .. }
            | Self::Gap { time_ns, .. }
            | Self::Conflict { time_ns, .. }
            | Self::End { time_ns, .. }
            | Self::Reset { time_ns, .. }
            | Self::Aside { time_ns, .. } => time_ns,
        }
    }
}
