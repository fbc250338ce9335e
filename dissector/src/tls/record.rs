//! Cuts a direction into TLS records.

/// The largest body of a record: 2^14 bytes and what protection may add (RFC 5246, 6.2.3).
pub(super) const MAX_BODY: usize = (1 << 14) + 2048;
pub(super) const HEADER: usize = 5;

pub(super) const CHANGE_CIPHER_SPEC: u8 = 20;
pub(super) const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;
pub(super) const APPLICATION_DATA: u8 = 23;

/// Bytes that are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoRecord {
    /// They are how a message of NBD begins.
    pub(super) is_nbd: bool,
}

/// The bytes of a direction that make no whole record yet, or the record that is being read.
#[derive(Debug, Default)]
pub(super) struct Records {
    buffer: Vec<u8>,
    /// The buffer holds a whole record, which has been given out.
    given: bool,
}

impl Records {
    /// Takes from `input` up to the end of a record; whether there is one.
    pub(super) fn fill(&mut self, input: &mut &[u8]) -> Result<bool, NoRecord> {
        if std::mem::take(&mut self.given) {
            self.buffer.clear();
        }
        self.take(HEADER, input);
        check(&self.buffer)?;
        let Some([_, _, _, high, low]) = self.buffer.first_chunk() else {
            return Ok(self.rest(input));
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if length > MAX_BODY {
            return Err(NoRecord { is_nbd: false });
        }
        self.take(HEADER + length, input);
        self.given = self.buffer.len() == HEADER + length;
        Ok(if self.given { true } else { self.rest(input) })
    }

    /// The header and the body of the record.
    pub(super) fn record(&mut self) -> ([u8; HEADER], &mut [u8]) {
        match self.buffer.split_first_chunk_mut() {
            Some((header, body)) => (*header, body),
            None => ([0; HEADER], &mut []),
        }
    }

    /// How many bytes of an incomplete record there are.
    pub(super) fn incomplete(&self) -> usize {
        if self.given { 0 } else { self.buffer.len() }
    }

    /// Nothing of a connection that rests at the end of a record is kept.
    fn rest(&mut self, input: &[u8]) -> bool {
        if self.buffer.is_empty() && input.is_empty() {
            self.buffer = Vec::new();
        }
        false
    }

    fn take(&mut self, upto: usize, input: &mut &[u8]) {
        let count = upto.saturating_sub(self.buffer.len()).min(input.len());
        let (now, later) = input.split_at(count);
        self.buffer.extend_from_slice(now);
        *input = later;
    }
}

/// Whether a record may begin so.
fn check(head: &[u8]) -> Result<(), NoRecord> {
    let is_record = match head {
        [kind, major, ..] => (CHANGE_CIPHER_SPEC..=24).contains(kind) && *major == 3,
        [kind] => (CHANGE_CIPHER_SPEC..=24).contains(kind),
        [] => true,
    };
    if is_record { Ok(()) } else { Err(NoRecord { is_nbd: is_nbd(head) }) }
}

/// Whether a message of NBD begins so.
fn is_nbd(head: &[u8]) -> bool {
    use protocol::values::{
        EXTENDED_REPLY_MAGIC, EXTENDED_REQUEST_MAGIC, INIT_MAGIC, OPTION_MAGIC, OPTION_REPLY_MAGIC,
        REQUEST_MAGIC, SIMPLE_REPLY_MAGIC, STRUCTURED_REPLY_MAGIC,
    };
    let options = [INIT_MAGIC, OPTION_MAGIC, OPTION_REPLY_MAGIC];
    let others = [
        REQUEST_MAGIC,
        EXTENDED_REQUEST_MAGIC,
        SIMPLE_REPLY_MAGIC,
        STRUCTURED_REPLY_MAGIC,
        EXTENDED_REPLY_MAGIC,
    ];
    let Some(head) = head.first_chunk::<4>() else { return false };
    let begins = |magic: &[u8]| magic.starts_with(head);
    options.iter().any(|magic| begins(&magic.to_be_bytes()))
        || others.iter().any(|magic| begins(&magic.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn records_come_whole_however_they_are_cut() {
        let stream = [&[23, 3, 3, 0, 3, 1, 2, 3], &[22, 3, 1, 0, 0][..], &[20, 3, 3, 0, 1, 1]];
        let stream = stream.concat();
        for size in 1..stream.len() {
            let mut records = Records::default();
            let mut seen = Vec::new();
            for piece in stream.chunks(size) {
                let mut input = piece;
                while records.fill(&mut input) == Ok(true) {
                    let (header, body) = records.record();
                    seen.extend_from_slice(&header);
                    seen.extend_from_slice(body);
                }
                assert!(input.is_empty());
            }
            assert_eq!(seen, stream);
            assert_eq!((records.incomplete(), records.buffer.capacity()), (0, 0));
        }
    }

    #[test]
    fn what_is_no_record_is_told_from_nbd() {
        for (bytes, is_nbd) in [
            (&b"IHAVEOPT"[..], true),
            (&[0x00, 0x03, 0xe8, 0x89, 0x04], true),
            (&[0x25, 0x60, 0x95, 0x13, 0], true),
            (&[0x16, 0x02, 0, 0, 0], false),
            (&[0x17, 0x03, 0x03, 0xff, 0xff], false),
            (b"GET / HTTP", false),
        ] {
            let found = Records::default().fill(&mut &bytes[..]);
            assert_eq!(found, Err(NoRecord { is_nbd }), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_cut(bytes: Vec<u8>, size in 1usize..40) {
            let mut records = Records::default();
            for piece in bytes.chunks(size) {
                let mut input = piece;
                while records.fill(&mut input) == Ok(true) {}
            }
            prop_assert!(records.buffer.len() <= HEADER + MAX_BODY);
        }
    }
}
