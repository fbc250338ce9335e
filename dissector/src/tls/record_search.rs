//! TLS that is met midway, where nothing has said that it is TLS: several whole records in a row
//! do.

use protocol::message::{Both, Side};

use super::record::{APPLICATION_DATA, CHANGE_CIPHER_SPEC, HEADER, MAX_BODY};

/// So many whole records in a row are no chance.
const ENOUGH: u64 = 3;
/// At so many places at once records are followed from one to the next.
const CHAINS: usize = 8;

/// Looks for the records of both directions of a connection, and counts them.
#[derive(Debug, Default)]
pub struct RecordSearch {
    sides: Both<Search>,
}

impl RecordSearch {
    /// Takes the next bytes of `from`.
    pub fn take(&mut self, from: Side, bytes: &[u8]) {
        self.sides[from].take(bytes);
    }

    /// Bytes of `from` are missing: where its next record begins is to be found again.
    pub fn gap(&mut self, from: Side) {
        let search = &mut self.sides[from];
        *search = Search { before: search.records(), ..Search::default() };
    }

    /// Whether it is TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.sides.iter().any(|search| search.whole() >= ENOUGH)
    }

    /// How many whole records there were.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.sides.iter().map(Search::records).sum()
    }
}

/// Records each of which begins where the one before ends.
#[derive(Debug, Clone, Copy)]
struct Chain {
    /// How many have begun.
    headers: u64,
    /// Where the last of them ends.
    end: u64,
}

/// One direction. Places count from the first byte that was seen.
#[derive(Debug, Default)]
struct Search {
    chains: Vec<Chain>,
    /// Where the next byte stands.
    at: u64,
    /// The last bytes, where they may begin a header.
    rest: Vec<u8>,
    /// How many records came that no chain has any more.
    before: u64,
}

impl Search {
    fn take(&mut self, bytes: &[u8]) {
        let joined;
        let window = if self.rest.is_empty() {
            bytes
        } else {
            joined = [&self.rest, bytes].concat();
            &joined
        };
        let start = self.at - self.rest.len() as u64;
        self.at += bytes.len() as u64;
        let mut offset = 0;
        while let Some(header) = window.get(offset..).and_then(|rest| rest.first_chunk()) {
            let place = start + offset as u64;
            match self.chains.iter().find(|chain| chain.headers > ENOUGH) {
                Some(chain) if chain.end > place => {
                    let skip = usize::try_from(chain.end - place).unwrap_or(usize::MAX);
                    offset = offset.saturating_add(skip).min(window.len());
                }
                _ => {
                    self.look(place, header);
                    offset += 1;
                }
            }
        }
        self.rest = window.get(offset..).unwrap_or_default().to_vec();
    }

    /// Whether a record begins at a place, and goes on with what ends there.
    fn look(&mut self, place: u64, header: &[u8; HEADER]) {
        let length = length(header);
        let ending = self.chains.iter().filter(|chain| chain.end == place);
        let headers = ending.map(|chain| chain.headers).max().unwrap_or(0);
        if headers > ENOUGH && length.is_none() {
            self.before += headers;
        }
        self.chains.retain(|chain| chain.end > place);
        if let Some(length) = length {
            let chain = Chain { headers: headers + 1, end: place + HEADER as u64 + length };
            if chain.headers > ENOUGH {
                self.chains.clear();
            }
            if self.chains.len() < CHAINS {
                self.chains.push(chain);
            }
        }
    }

    /// How many whole records in a row came last, where they were most.
    fn whole(&self) -> u64 {
        let whole = |chain: &Chain| chain.headers - u64::from(chain.end > self.at);
        self.chains.iter().map(whole).max().unwrap_or(0)
    }

    fn records(&self) -> u64 {
        self.before + self.whole()
    }
}

/// The length of the body, where a record of TLS may begin so.
fn length(header: &[u8; HEADER]) -> Option<u64> {
    let [kind, major, minor, high, low] = *header;
    let length = u16::from_be_bytes([high, low]);
    let makes_sense = (CHANGE_CIPHER_SPEC..=APPLICATION_DATA).contains(&kind)
        && (major, minor) >= (3, 1)
        && (major, minor) <= (3, 3)
        && (1..=MAX_BODY).contains(&usize::from(length));
    makes_sense.then_some(u64::from(length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(length: usize) -> Vec<u8> {
        let header = [23, 3, 3, (length >> 8) as u8, length as u8];
        header.into_iter().chain(vec![0x5a; length]).collect()
    }

    fn look(stream: &[u8], piece: usize) -> RecordSearch {
        let mut midway = RecordSearch::default();
        stream.chunks(piece).for_each(|bytes| midway.take(Side::Server, bytes));
        midway
    }

    #[test]
    fn three_whole_records_in_a_row_are_tls() {
        let noise = [0x5a; 1000];
        for piece in [1, 7, 1448, 1 << 20] {
            let stream = |records: usize, more: usize| {
                [&noise[..], &record(200).repeat(records), &record(200)[..more]].concat()
            };
            assert!(!look(&stream(2, 204), piece).is_tls());
            for (records, more, wanted) in [(3, 0, 3), (3, 204, 3), (40, 7, 40)] {
                let midway = look(&stream(records, more), piece);
                assert!(midway.is_tls());
                assert_eq!(midway.records(), wanted);
            }
        }
    }

    #[test]
    fn records_are_counted_on_after_a_hole_and_after_garbage() {
        let records: Vec<_> = (0..5).flat_map(|_| [23, 3, 3, 0, 2, 0, 0]).collect();
        let mut midway = look(&records, 3);
        midway.gap(Side::Server);
        midway.take(Side::Server, &records[3..]);
        midway.take(Side::Server, &[0x5a; 100]);
        midway.take(Side::Server, &records);
        midway.take(Side::Client, &records[..7]);
        assert_eq!(midway.records(), 5 + 4 + 5 + 1);
    }

    #[test]
    fn other_bytes_are_no_records() {
        for header in [[24, 3, 3, 0, 1], [23, 3, 0, 0, 1], [23, 3, 4, 0, 1], [23, 3, 3, 0, 0]] {
            let stream: Vec<_> = (0..9).flat_map(|_| header.into_iter().chain([0])).collect();
            assert!(!look(&stream, 10).is_tls(), "{header:?}");
        }
        assert!(!look(&[23, 3, 3, 0x48, 1].repeat(10_000), 1448).is_tls());
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_looked_at(bytes: Vec<u8>, piece in 1usize..40) {
            prop_assert!(!look(&bytes, piece).is_tls());
        }

        #[test]
        fn records_are_found_wherever_the_capture_begins(
            lengths in proptest::collection::vec(1usize..2000, 6..12),
            skip in 0usize..2000,
            piece in 1usize..3000,
        ) {
            let stream: Vec<_> = lengths.iter().flat_map(|length| record(*length)).collect();
            let skip = skip.min(stream.len());
            let midway = look(&stream[skip..], piece);
            let mut begin = 0;
            let whole = lengths.iter().filter(|length| {
                begin += HEADER + **length;
                begin - HEADER - **length >= skip
            });
            prop_assert_eq!(midway.records(), whole.count() as u64);
            for search in midway.sides.iter() {
                prop_assert!(search.chains.len() <= CHAINS && search.rest.len() < HEADER);
            }
        }
    }
}
