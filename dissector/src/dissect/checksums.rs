//! Which segments may be damaged.
//!
//! A segment that was damaged on its way is dropped by its receiver and sent again, and a capture at
//! the receiver has both. To see that, checksums have to be computed, which costs as much as
//! reading all payload does. So it is done only where it matters and can be of use:
//!
//! - Captures on the sending machine have no checksums yet. A direction that shows none after a few
//!   segments is not looked at any more.
//! - Bulk in the midst of a payload is not looked at: nothing is judged by it.
//! - What is longer than Ethernet carries by default is looked at only where it does not begin with
//!   a message that makes sense now.
//! - What is longer than a network carries was put together by the receiver, which had looked at it.
//!
//! A wrong checksum alone is no proof: cards and systems that put segments together leave odd ones
//! behind. So a segment in doubt is not dropped but waits, and the receiver decides: it counts if
//! it is acknowledged, and does not if its bytes are sent again before that. A capture that lost the
//! second copy, or has it behind its acknowledgment, leads astray.

use crate::net::{Checksum, Segment};

/// The longest payload that Ethernet carries by default is less than this, in bytes.
const USUAL: usize = 2048;
/// The longest payload that a network carries in one segment, in bytes: jumbo frames.
const LONGEST: usize = 9000;
/// How many segments are looked at before a direction is taken for one without checksums.
const ENOUGH: u32 = 8;

/// What the checksums of a direction were.
#[derive(Default, Clone, Copy)]
pub(super) struct Checksums {
    right: u32,
    wrong: u32,
    partial: u32,
}

impl Checksums {
    /// Whether a segment is in doubt, of which the first `bulk` bytes are payload of a message;
    /// `sense`: whether it begins with a message that makes sense.
    pub(super) fn are_doubtful(
        &mut self,
        segment: &Segment<'_>,
        bulk: u64,
        sense: impl FnOnce() -> bool,
    ) -> bool {
        let length = segment.payload.len();
        let none = self.right == 0 && self.wrong.saturating_add(self.partial) >= ENOUGH;
        let first = self.right < ENOUGH;
        let calm = || length as u64 <= bulk || length > USUAL && sense();
        if none || length > LONGEST || (!first && calm()) {
            return false;
        }
        match segment.checksum() {
            Checksum::Right => self.right = self.right.saturating_add(1),
            Checksum::Partial => self.partial = self.partial.saturating_add(1),
            Checksum::Wrong => {
                self.wrong = self.wrong.saturating_add(1);
                // Without bytes there is nothing that could come again.
                return length > 0 && self.right >= self.wrong;
            }
            Checksum::Unknown => {}
        }
        false
    }
}
