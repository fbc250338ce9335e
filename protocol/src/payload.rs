//! Payloads as patterns: what a script sends and expects, and what a decoder prints instead of the
//! bytes. Huge payloads cost no memory: bytes are made, checked and recognised piece by piece.

use std::fmt;
use std::io::Write as _;

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::cursor::in_memory;
use crate::digits::{decimal, hex_digits};

/// A payload of up to this many bytes prints as `hex"..."` when nothing shorter describes it.
pub const HEX_LIMIT: usize = 32;

/// How many bytes a first guess takes: a word of `place` wherever the payload begins.
const GUESS_BYTES: usize = 15;

/// A stretch of a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// `zero*N`: that many zeroes.
    Zero(u64),
    /// `fill(B)*N`: that many times one byte.
    Fill(u8, u64),
    /// `place(SEED)*N`: each 8-byte word tells the seed and its own offset in the export; see
    /// [`place_word`].
    Place(u16, u64),
    /// `hex"..."`: these bytes.
    Hex(Vec<u8>),
    /// `digest(HEX)*N`: that many bytes with this XXH3 digest. Can be expected, not sent.
    Digest(u64, u64),
    /// `any*N`: that many bytes of any value. Can be expected, not sent.
    Any(u64),
}

impl Part {
    /// How many bytes the part stands for.
    #[must_use]
    pub fn length(&self) -> u64 {
        match self {
            Self::Zero(n)
            | Self::Fill(_, n)
            | Self::Place(_, n)
            | Self::Digest(_, n)
            | Self::Any(n) => *n,
            Self::Hex(bytes) => bytes.len() as u64,
        }
    }
}

/// Parts one after the other: `zero*4096 ++ place(1)*512`. No parts: an empty payload.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Payload(pub Vec<Part>);

impl Payload {
    /// How many bytes the payload stands for.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.0.iter().fold(0, |sum, part| sum.saturating_add(part.length()))
    }

    /// The bytes, if all are given one by one.
    #[must_use]
    pub fn literal(&self) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        for part in &self.0 {
            let Part::Hex(hex) = part else { return None };
            bytes.extend_from_slice(hex);
        }
        Some(bytes)
    }

    /// Appends what `Display` writes, without its detours for what a decoder has most.
    pub fn append(&self, out: &mut Vec<u8>) {
        let length = match self.0[..] {
            [Part::Digest(digest, length)] => {
                out.extend_from_slice(b"digest(");
                hex_digits(out, digest, 16);
                out.extend_from_slice(b")*");
                length
            }
            [Part::Zero(length)] => {
                out.extend_from_slice(b"zero*");
                length
            }
            _ => {
                // Writing to memory does not fail.
                let _ = write!(out, "{self}");
                return;
            }
        };
        decimal(out, length);
    }

    /// Whether the bytes themselves are known, so that it can be sent.
    #[must_use]
    pub fn is_sendable(&self) -> bool {
        !self.0.iter().any(|part| matches!(part, Part::Digest(..) | Part::Any(_)))
    }

    /// Writes the bytes from `from` (counted from the start of the payload) into `out`; the
    /// payload's first byte belongs to `offset` of the export. Parts whose bytes are unknown give
    /// zeroes.
    pub fn fill(&self, offset: u64, from: u64, out: &mut [u8]) {
        // What of the part that comes next is not wanted; and where in the payload we are.
        let (mut skip, mut at) = (from, from);
        let mut rest = out;
        for part in &self.0 {
            let left = part.length().saturating_sub(skip);
            if left == 0 {
                skip -= part.length();
                continue;
            }
            let count = in_memory(left).min(rest.len());
            let Some((target, later)) = rest.split_at_mut_checked(count) else { return };
            match part {
                Part::Zero(_) | Part::Digest(..) | Part::Any(_) => target.fill(0),
                Part::Fill(byte, _) => target.fill(*byte),
                Part::Place(seed, _) => place(*seed, offset.wrapping_add(at), target),
                Part::Hex(bytes) => {
                    let from = in_memory(skip);
                    if let Some(bytes) = bytes.get(from..from + count) {
                        target.copy_from_slice(bytes);
                    }
                }
            }
            (skip, at, rest) = (0, at.saturating_add(count as u64), later);
        }
    }

    /// Compares `bytes` with the payload; `offset` as in [`Payload::fill`]. `None` means they are
    /// what the payload stands for; otherwise the position of the first byte that differs, or the
    /// shorter length. A digest that does not match differs at the digest's first byte.
    #[must_use]
    pub fn first_difference(&self, offset: u64, bytes: &[u8]) -> Option<u64> {
        let mut start = 0u64;
        let mut expected = vec![0; 64 << 10];
        for part in &self.0 {
            let left = bytes.get(in_memory(start)..).unwrap_or_default();
            let here = left.get(..in_memory(part.length())).unwrap_or(left);
            match part {
                Part::Any(_) => {}
                Part::Digest(digest, n) => {
                    if here.len() as u64 == *n && xxh3_64(here) != *digest {
                        return Some(start);
                    }
                }
                part => {
                    let one = Self(vec![part.clone()]);
                    for (index, piece) in here.chunks(expected.len()).enumerate() {
                        let from = (index * expected.len()) as u64;
                        let Some(want) = expected.get_mut(..piece.len()) else { continue };
                        one.fill(offset.wrapping_add(start), from, want);
                        if want != piece {
                            let at = want.iter().zip(piece).position(|(a, b)| a != b).unwrap_or(0);
                            return Some(start + from + at as u64);
                        }
                    }
                }
            }
            if (here.len() as u64) < part.length() {
                return Some(start + here.len() as u64);
            }
            start += part.length();
        }
        ((bytes.len() as u64) > start).then_some(start)
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("zero*0");
        }
        for (index, part) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" ++ ")?;
            }
            match part {
                Part::Zero(n) => write!(f, "zero*{n}")?,
                Part::Fill(byte, n) => write!(f, "fill({byte:#04x})*{n}")?,
                Part::Place(seed, n) => write!(f, "place({seed})*{n}")?,
                Part::Digest(digest, n) => write!(f, "digest({digest:016x})*{n}")?,
                Part::Any(n) => write!(f, "any*{n}")?,
                Part::Hex(bytes) => {
                    f.write_str("hex\"")?;
                    for (index, byte) in bytes.iter().enumerate() {
                        let space = if index > 0 { " " } else { "" };
                        write!(f, "{space}{byte:02x}")?;
                    }
                    f.write_str("\"")?;
                }
            }
        }
        Ok(())
    }
}

/// Marks the words of `place`, so that other data is seldom taken for it.
const PLACE_TAG: u64 = 0x4e;
/// How many bits of the word's index (offset / 8) a word carries: it tells offsets up to 8 TiB.
const PLACE_INDEX_BITS: u32 = 40;

/// The 8-byte word of `place(seed)` at the word index `offset / 8`. The mixing is a bijection, so a
/// word tells where it belongs: see [`place_of`].
#[must_use]
pub fn place_word(seed: u16, offset: u64) -> u64 {
    let index = (offset / 8) & ((1 << PLACE_INDEX_BITS) - 1);
    let mut x = (PLACE_TAG << 56) | (u64::from(seed) << PLACE_INDEX_BITS) | index;
    x ^= x >> 30;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^= x >> 27;
    x = x.wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The seed and offset that a word was made of, if it looks like a word of `place`. One random
/// word in 256 does.
#[must_use]
pub fn place_of(word: u64) -> Option<(u16, u64)> {
    let mut x = word;
    x = x ^ (x >> 31) ^ (x >> 62);
    x = x.wrapping_mul(0x3196_42b2_d24d_8ec3);
    x = x ^ (x >> 27) ^ (x >> 54);
    x = x.wrapping_mul(0x96de_1b17_3f11_9089);
    x = x ^ (x >> 30) ^ (x >> 60);
    let index = x & ((1 << PLACE_INDEX_BITS) - 1);
    #[expect(clippy::cast_possible_truncation, reason = "the tag above the seed is cut off")]
    (x >> 56 == PLACE_TAG).then_some(((x >> PLACE_INDEX_BITS) as u16, index * 8))
}

/// Writes the bytes of `place(seed)` that belong to `offset` and after.
pub fn place(seed: u16, offset: u64, out: &mut [u8]) {
    let to_word = ((8 - offset % 8) % 8) as usize;
    let (first, rest) = out.split_at_mut(to_word.min(out.len()));
    place_in_word(seed, offset, first);
    let mut at = offset.wrapping_add(first.len() as u64);
    let mut words = rest.chunks_exact_mut(8);
    for word in words.by_ref() {
        word.copy_from_slice(&place_word(seed, at).to_be_bytes());
        at = at.wrapping_add(8);
    }
    place_in_word(seed, at, words.into_remainder());
}

/// The same for bytes of one word.
fn place_in_word(seed: u16, offset: u64, out: &mut [u8]) {
    let word = place_word(seed, offset).to_be_bytes();
    let word = word.iter().skip((offset % 8) as usize);
    out.iter_mut().zip(word).for_each(|(to, byte)| *to = *byte);
}

/// Finds the shortest lawful form of bytes that come piece by piece.
#[derive(Clone)]
pub struct Recognizer {
    offset: u64,
    length: u64,
    head: Vec<u8>,
    guess: Guess,
    digest: Digest,
}

/// The digest of what no pattern describes.
#[derive(Clone)]
enum Digest {
    /// None is needed so far.
    None,
    /// Of bytes of which more may come.
    Growing(Box<Xxh3>),
    /// Of all bytes.
    Whole(u64),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Guess {
    Nothing,
    Fill(u8),
    Place(u16),
    Other,
}

impl Recognizer {
    /// For bytes whose first belongs to `offset` of the export (0 where there is none).
    #[must_use]
    pub fn new(offset: u64) -> Self {
        Self { offset, length: 0, head: Vec::new(), guess: Guess::Nothing, digest: Digest::None }
    }

    /// How many bytes have come.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The first bytes, at most [`HEX_LIMIT`] of them.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// All bytes there are: the same as [`Recognizer::update`] of a new recognizer, and faster.
    pub fn update_whole(&mut self, bytes: &[u8]) {
        if self.length > 0 || bytes.len() <= HEX_LIMIT {
            return self.update(bytes);
        }
        self.guess = self.first_guess(bytes.get(..GUESS_BYTES).unwrap_or(bytes));
        if !self.holds(bytes) {
            self.guess = Guess::Other;
            self.digest = Digest::Whole(xxh3_64(bytes));
        }
        self.head.extend_from_slice(bytes.get(..HEX_LIMIT).unwrap_or(bytes));
        self.length = bytes.len() as u64;
    }

    /// The next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        if self.guess == Guess::Nothing {
            // A guess takes a whole word; until then the bytes wait, so that the form does not
            // depend on the pieces in which they come.
            let lacking = GUESS_BYTES.saturating_sub(self.head.len()).min(bytes.len());
            let (first, others) = bytes.split_at(lacking);
            self.head.extend_from_slice(first);
            self.length += lacking as u64;
            rest = others;
            if self.head.len() < GUESS_BYTES {
                return;
            }
            self.start();
        }
        let keep = HEX_LIMIT.saturating_sub(self.head.len());
        self.head.extend_from_slice(rest.get(..keep).unwrap_or(rest));
        self.check(rest);
    }

    /// Guesses from the head, which is all that has come.
    fn start(&mut self) {
        let head = std::mem::take(&mut self.head);
        if !head.is_empty() {
            self.guess = self.first_guess(&head);
            self.length = 0;
            self.check(&head);
        }
        self.head = head;
    }

    /// Holds the next bytes against the guess.
    fn check(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if !self.holds(bytes) {
            self.give_up();
        }
        if let Digest::Growing(hash) = &mut self.digest {
            hash.update(bytes);
        }
        self.length += bytes.len() as u64;
    }

    /// Whether the next bytes are what the guess says.
    fn holds(&self, bytes: &[u8]) -> bool {
        match self.guess {
            Guess::Fill(byte) => is_fill(byte, bytes),
            Guess::Place(seed) => is_place(seed, self.offset.wrapping_add(self.length), bytes),
            Guess::Nothing | Guess::Other => false,
        }
    }

    fn first_guess(&self, bytes: &[u8]) -> Guess {
        let skip = ((8 - self.offset % 8) % 8) as usize;
        if let Some(head) = bytes.get(..skip + 8)
            && let Some(word) = head.last_chunk::<8>()
            && let Some((seed, _)) = place_of(u64::from_be_bytes(*word))
            && is_place(seed, self.offset, head)
        {
            return Guess::Place(seed);
        }
        bytes.first().map_or(Guess::Nothing, |byte| Guess::Fill(*byte))
    }

    /// Starts the digest, over what has been seen so far as well.
    fn give_up(&mut self) {
        if !matches!(self.digest, Digest::None) {
            return;
        }
        let mut hash = Box::new(Xxh3::new());
        let mut piece = [0; 512];
        let seen = match self.guess {
            Guess::Fill(byte) => Part::Fill(byte, self.length),
            Guess::Place(seed) => Part::Place(seed, self.length),
            Guess::Nothing | Guess::Other => Part::Zero(0),
        };
        let seen = Payload(vec![seen]);
        let mut at = 0;
        while at < seen.length() {
            let count = in_memory(seen.length() - at).min(piece.len());
            let (piece, _) = piece.split_at_mut(count);
            seen.fill(self.offset, at, piece);
            hash.update(piece);
            at += count as u64;
        }
        self.guess = Guess::Other;
        self.digest = Digest::Growing(hash);
    }

    /// The form of all bytes that came.
    #[must_use]
    pub fn finish(mut self) -> Payload {
        if self.guess == Guess::Nothing {
            self.start();
        }
        let part = match self.guess {
            Guess::Nothing => return Payload::default(),
            Guess::Fill(0) => Part::Zero(self.length),
            Guess::Place(seed) => Part::Place(seed, self.length),
            Guess::Fill(byte) if self.length > 4 => Part::Fill(byte, self.length),
            _ if self.length <= HEX_LIMIT as u64 => Part::Hex(self.head),
            Guess::Fill(byte) => Part::Fill(byte, self.length),
            Guess::Other => {
                let digest = match self.digest {
                    Digest::None => 0,
                    Digest::Growing(hash) => hash.digest(),
                    Digest::Whole(digest) => digest,
                };
                Part::Digest(digest, self.length)
            }
        };
        Payload(vec![part])
    }
}

fn is_fill(byte: u8, bytes: &[u8]) -> bool {
    // Two views of the same bytes, one byte apart: memory is compared by the word.
    let (Some((first, rest)), Some((_, shifted))) = (bytes.split_first(), bytes.split_last())
    else {
        return false;
    };
    *first == byte && rest == shifted
}

fn is_place(seed: u16, offset: u64, bytes: &[u8]) -> bool {
    let skip = ((8 - offset % 8) % 8) as usize;
    let (first, rest) = bytes.split_at(skip.min(bytes.len()));
    if !is_part_of_word(seed, offset, first) {
        return false;
    }
    let mut at = offset.wrapping_add(first.len() as u64);
    let mut words = rest.chunks_exact(8);
    for word in words.by_ref() {
        if word != place_word(seed, at).to_be_bytes() {
            return false;
        }
        at = at.wrapping_add(8);
    }
    is_part_of_word(seed, at, words.remainder())
}

/// Whether fewer than 8 bytes are those of `place(seed)`.
fn is_part_of_word(seed: u16, offset: u64, bytes: &[u8]) -> bool {
    let mut want = [0; 8];
    want.get_mut(..bytes.len()).is_some_and(|want| {
        place_in_word(seed, offset, want);
        want == bytes
    })
}

/// Whether all bytes are zero. True if there are none.
#[must_use]
pub fn is_zero(bytes: &[u8]) -> bool {
    bytes.is_empty() || is_fill(0, bytes)
}

/// The shortest lawful form of `bytes`, the first of which belongs to `offset` of the export.
#[must_use]
pub fn recognize(offset: u64, bytes: &[u8]) -> Payload {
    let mut recognizer = Recognizer::new(offset);
    recognizer.update_whole(bytes);
    recognizer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn recognizes_each_pattern() {
        assert_eq!(recognize(0, &[0; 4096]).to_string(), "zero*4096");
        assert_eq!(recognize(0, &[0x5a; 512]).to_string(), "fill(0x5a)*512");
        let mut bytes = vec![0; 4099];
        place(7, 3, &mut bytes);
        assert_eq!(recognize(3, &bytes).to_string(), "place(7)*4099");
        assert_eq!(recognize(0, &[1, 2, 3]).to_string(), "hex\"01 02 03\"");
        assert_eq!(recognize(0, &[]).to_string(), "zero*0");
        bytes[4000] ^= 1;
        assert!(recognize(3, &bytes).to_string().starts_with("digest("));
    }

    #[test]
    fn a_word_of_place_tells_where_it_belongs() {
        assert_eq!(place_of(place_word(513, 0x3000)), Some((513, 0x3000)));
    }

    #[test]
    fn says_where_bytes_differ() {
        let payload = Payload(vec![Part::Zero(4), Part::Any(2), Part::Hex(vec![9, 9])]);
        assert_eq!(payload.first_difference(0, &[0, 0, 0, 0, 1, 2, 9, 9]), None);
        assert_eq!(payload.first_difference(0, &[0, 0, 0, 0, 1, 2, 9, 8]), Some(7));
        assert_eq!(payload.first_difference(0, &[0, 0, 0, 0, 1]), Some(5));
        assert_eq!(payload.first_difference(0, &[0, 0, 0, 0, 1, 2, 9, 9, 0]), Some(8));
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            offset in 0u64..64, bytes: Vec<u8>, seed in 0u16..4, n in 0usize..200, cut in 0usize..200,
        ) {
            let mut placed = vec![0; n];
            place(seed, offset, &mut placed);
            for bytes in [bytes, placed, vec![0; n]] {
                let whole = recognize(offset, &bytes);
                let mut at_once = Recognizer::new(offset);
                at_once.update(&bytes);
                prop_assert_eq!(&at_once.finish(), &whole);
                prop_assert_eq!(whole.first_difference(offset, &bytes), None);
                let (a, b) = bytes.split_at(cut.min(bytes.len()));
                let mut parts = Recognizer::new(offset);
                parts.update(a);
                parts.update(b);
                prop_assert_eq!(parts.finish(), whole);
            }
        }

        #[test]
        fn fill_and_compare_agree(offset: u64, seed: u16, a in 0u64..100, b in 0u64..100, byte: u8) {
            let payload = Payload(vec![Part::Place(seed, a), Part::Fill(byte, b), Part::Zero(3)]);
            let mut bytes = vec![1; payload.length() as usize];
            payload.fill(offset, 0, &mut bytes);
            prop_assert_eq!(payload.first_difference(offset, &bytes), None);
        }
    }
}
