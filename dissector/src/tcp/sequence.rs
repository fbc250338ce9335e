//! Sequence numbers that do not wrap.

/// Positions start here, so that those a little before the first one seen are not negative.
pub(super) const ORIGIN: u64 = 1 << 32;

/// The position with this 32-bit sequence number that is nearest to a known position.
pub(super) fn expand(near: u64, sequence: u32) -> u64 {
    let distance = i64::from(sequence.wrapping_sub(number(near)).cast_signed());
    near.saturating_add_signed(distance)
}

/// The sequence number of a position.
#[expect(clippy::cast_possible_truncation, reason = "sequence numbers wrap at 2^32")]
pub(super) fn number(position: u64) -> u32 {
    position as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_wrap_forwards_and_backwards() {
        let near = ORIGIN + 0xffff_fff0;
        assert_eq!(expand(near, 0xffff_fff8), near + 8);
        assert_eq!(expand(near, 8), near + 24);
        assert_eq!(expand(near + 24, 0xffff_fff0), near);
    }
}
