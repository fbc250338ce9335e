//! What the TCP checksum says of a segment.

use std::net::IpAddr;

use super::Segment;

/// A segment and its checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// It fits.
    Right,
    /// It is not the sender's: not filled in yet, as the network card does that, or no longer there,
    /// as segments were put together.
    Partial,
    /// It does not fit.
    Wrong,
    /// Not all of the segment was captured.
    Unknown,
}

/// The sum of the bytes as 16-bit words in this machine's order, not folded; the order does not
/// matter until the end.
fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(4);
    let mut last = [0; 4];
    last.iter_mut().zip(words.remainder()).for_each(|(to, byte)| *to = *byte);
    let words = words.map(|word| u32::from_ne_bytes(*word.first_chunk().unwrap_or(&[0; 4])));
    words.map(u64::from).sum::<u64>() + u64::from(u32::from_ne_bytes(last))
}

fn fold(mut sum: u64) -> u16 {
    loop {
        match u16::try_from(sum) {
            Ok(sum) => return sum,
            Err(_) => sum = (sum & 0xffff) + (sum >> 16),
        }
    }
}

/// The sum of the addresses and the protocol.
fn pseudo(segment: &Segment<'_>) -> u64 {
    let address = |ip| match ip {
        IpAddr::V4(ip) => sum(&ip.octets()),
        IpAddr::V6(ip) => sum(&ip.octets()),
    };
    address(segment.source.ip()) + address(segment.destination.ip()) + sum(&[0, 6])
}

impl Segment<'_> {
    /// Looks at the checksum, for which it reads all of the segment.
    #[must_use]
    pub fn checksum(&self) -> Checksum {
        let Some(field) = self.header.get(16..18).filter(|_| self.missing == 0) else {
            return Checksum::Unknown;
        };
        let length = self.header.len() + self.payload.len();
        let Ok(length) = u32::try_from(length) else { return Checksum::Unknown };
        let without = pseudo(self);
        let whole = without + sum(&length.to_be_bytes());
        // A card gets the sum of what is not in the segment, with or without the length.
        let filled = fold(sum(field));
        if filled == 0 || filled == fold(whole) || filled == fold(without) {
            return Checksum::Partial;
        }
        match fold(whole + sum(self.header) + sum(self.payload)) {
            0xffff => Checksum::Right,
            _ => Checksum::Wrong,
        }
    }
}
