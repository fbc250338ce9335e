//! One direction: the bytes of a message that is not complete, and what comes next.

use protocol::payload::{Part, Payload, Recognizer};

use super::event::{Close, Seen};
use super::rules::Findings;
use super::written::Contents;

/// What the next bytes of a direction are.
#[derive(Default)]
#[expect(clippy::large_enum_variant, reason = "one per direction; a box would cost per message")]
pub(super) enum Mode {
    /// The head of a message.
    #[default]
    Head,
    /// The bulk of a message whose head has come.
    Bulk(Bulk),
    /// Zeroes that do not belong there, up to so many.
    StrayZeroes(u32),
    /// Either the payload of a reply that must not have one, or the next reply.
    /// The read was this long, in bytes.
    Doubtful(u64),
    /// So many bytes that are known to be no message.
    Skip(u64),
    /// TLS records.
    Tls,
    /// Bytes in which a message is looked for.
    Resync,
    /// Bytes that can't be followed.
    Lost,
    /// Bytes after the last message that may be sent.
    Over,
}

/// A message that waits for its bulk.
pub(super) struct Bulk {
    /// The message; its number, end and payload are filled in when the bulk is complete.
    pub(super) seen: Seen,
    /// What its head was found to break.
    pub(super) findings: Findings,
    /// How much is still to come, in bytes.
    pub(super) left: u64,
    /// How much it is, in bytes.
    pub(super) total: u64,
    /// Makes the payload's description; `None` when it can't or need not.
    pub(super) recognizer: Option<Recognizer>,
    /// Compares it, or keeps what it is to be compared with.
    pub(super) contents: Option<Box<Contents>>,
}

impl Bulk {
    /// What came of the bulk.
    pub(super) fn payload(recognizer: Option<Recognizer>, came: u64) -> Payload {
        match recognizer {
            Some(recognizer) if recognizer.length() == came => recognizer.finish(),
            _ => Payload(vec![Part::Any(came)]),
        }
    }
}

/// The state of one direction.
#[derive(Default)]
pub(super) struct Stream {
    pub(super) mode: Mode,
    /// The beginning of a message that is not complete.
    pub(super) buffer: Vec<u8>,
    /// At least how many bytes it lacks.
    pub(super) need: usize,
    /// When the first of them came.
    pub(super) began_ns: u64,
    /// Where the message begins, in bytes from the start of the direction.
    pub(super) offset: u64,
    /// How many bytes came that were not followed: TLS, garbage.
    pub(super) unread: u64,
    pub(super) closed: Option<Close>,
    /// TLS can't be opened (any more): no bytes of it will be handed in.
    pub(super) sealed: bool,
    /// A message is looked for, and it was not told that until then bytes are not followed.
    pub(super) untold: bool,
    /// Its packets were cut short when they were captured: that it is not followed now and then is
    /// told once for the capture.
    pub(super) quiet: bool,
    /// Messages may be missing, although others have been found since.
    pub(super) patchy: bool,
}

impl Stream {
    /// Whether not everything of the direction is known (any more).
    pub(super) fn is_lost(&self) -> bool {
        self.patchy || matches!(self.mode, Mode::Lost)
    }

    /// Whether messages are told, or looked for.
    pub(super) fn has_messages(&self) -> bool {
        !matches!(self.mode, Mode::Lost | Mode::Resync)
    }

    /// TLS records follow; from here on the bytes of these are what is unread.
    pub(super) fn begin_tls(&mut self) {
        self.offset += std::mem::take(&mut self.unread) + self.buffer.len() as u64;
        self.buffer = Vec::new();
        self.mode = Mode::Tls;
    }

    /// Where the next byte stands, in bytes from the start of the direction.
    pub(super) fn position(&self) -> u64 {
        let bulk = match &self.mode {
            Mode::Bulk(bulk) => bulk.seen.length - bulk.left,
            _ => 0,
        };
        self.offset + self.buffer.len() as u64 + self.unread + bulk
    }

    /// Keeps the beginning of a message until `need` more bytes have come.
    pub(super) fn keep(&mut self, bytes: &[u8], need: usize, time_ns: u64) {
        if self.buffer.is_empty() {
            self.began_ns = time_ns;
        }
        self.buffer.extend_from_slice(bytes);
        self.need = need;
    }
}
