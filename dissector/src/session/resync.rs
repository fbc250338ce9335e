//! Finding the messages of a direction again after a hole.
//!
//! A message is taken for one if its magic stands there and its fields can be those of a message
//! that is possible now; a reply must carry the cookie of a request in flight. What such a
//! direction says is told and no longer judged: what is missing may explain anything.

use memchr::{memchr, memchr3};
use protocol::message::{Cookie, Side};
use protocol::values::{
    ChunkType, Command, EXTENDED_REPLY_MAGIC, EXTENDED_REQUEST_MAGIC, ErrorCode, OPTION_MAGIC,
    OPTION_REPLY_MAGIC, REQUEST_MAGIC, SIMPLE_REPLY_MAGIC, STRUCTURED_REPLY_MAGIC,
};

use crate::plural::Plural;

use super::commands::{self, CommandRow};
use super::event::ProblemKind;
use super::judge::Session;
use super::phase::Phase;
use super::stream::Mode;

/// The longest head of a message that is looked at, in bytes.
const LONGEST_HEAD: usize = 32;
/// No payload of a message is longer than this, as far as programs go, in bytes.
const LONGEST_PAYLOAD: u64 = 1 << 26;
/// All command flags there are.
const COMMAND_FLAGS: u16 = 0x3f;

/// Whether a message begins at some place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begins {
    Yes,
    No,
    /// So far; more bytes must be seen.
    Perhaps,
}

impl Session {
    /// `from` can't be followed until a message is found.
    pub(super) fn resync(&mut self, from: Side) {
        let stream = self.stream(from);
        stream.unread += stream.buffer.len() as u64;
        stream.buffer = Vec::new();
        stream.mode = Mode::Resync;
        stream.patchy = true;
        if from == Side::Server {
            self.flight.set_incomplete();
        }
    }

    /// Whether these bytes of `from` can be a message that is possible now, as far as a glance
    /// tells. Only said of transmission.
    #[must_use]
    pub fn makes_sense(&self, from: Side, bytes: &[u8]) -> bool {
        let stream = &self.streams[from];
        let begins = matches!(stream.mode, Mode::Head) && stream.buffer.is_empty();
        begins
            && self.phase == Phase::Transmission
            && match from {
                Side::Client => self.client_begins(bytes) == Begins::Yes,
                Side::Server => self.server_begins(bytes) == Begins::Yes,
            }
    }

    /// Looks for a message; gives back the bytes from there on.
    pub(super) fn scan<'a>(&mut self, from: Side, time_ns: u64, bytes: &'a [u8]) -> &'a [u8] {
        let stream = self.stream(from);
        if stream.buffer.is_empty() {
            let (at, begins) = self.find(from, bytes, bytes.len());
            self.stream(from).unread += at as u64;
            match begins {
                Begins::Yes => self.resume(from),
                Begins::Perhaps => {
                    self.stream(from).keep(bytes.get(at..).unwrap_or_default(), 0, time_ns);
                    return &[];
                }
                Begins::No => {}
            }
            return bytes.get(at..).unwrap_or_default();
        }
        // A head may lie across two pieces.
        let kept = stream.buffer.len();
        let mut head = std::mem::take(&mut stream.buffer);
        let (now, later) = bytes.split_at(bytes.len().min(LONGEST_HEAD));
        head.extend_from_slice(now);
        let (at, begins) = self.find(from, &head, kept);
        self.stream(from).unread += at as u64;
        match begins {
            Begins::Yes => {
                self.resume(from);
                self.follow(from, time_ns, head.get(at..).unwrap_or_default());
                later
            }
            Begins::Perhaps => {
                self.stream(from).keep(head.get(at..).unwrap_or_default(), 0, time_ns);
                later
            }
            Begins::No => bytes,
        }
    }

    /// The first place before `limit` where a message begins, or may begin; `limit` if there is
    /// none.
    fn find(&self, from: Side, bytes: &[u8], limit: usize) -> (usize, Begins) {
        let mut at = 0;
        while let Some(piece) = bytes.get(at..limit)
            && let Some(next) = self.candidate(from, piece)
        {
            at += next;
            let rest = bytes.get(at..).unwrap_or_default();
            let begins = match from {
                Side::Client => self.client_begins(rest),
                Side::Server => self.server_begins(rest),
            };
            let misread = begins == Begins::Yes && self.decode(from, rest).is_err();
            if begins != Begins::No && !misread {
                return (at, begins);
            }
            at += 1;
        }
        (limit, Begins::No)
    }

    /// The first byte that a magic could begin with.
    fn candidate(&self, from: Side, bytes: &[u8]) -> Option<usize> {
        match from {
            Side::Client => memchr3(0x25, 0x21, b'I', bytes),
            Side::Server if self.phase < Phase::Transmission => memchr(0, bytes),
            Side::Server => memchr3(0x67, 0x66, 0x6e, bytes),
        }
    }

    fn resume(&mut self, from: Side) {
        let stream = self.stream(from);
        let skipped = std::mem::take(&mut stream.unread);
        stream.offset += skipped;
        stream.mode = Mode::Head;
        stream.untold = false;
        if skipped > 0 {
            let skipped = Plural(skipped, "byte");
            let text = format!("the {} is followed again after {skipped}", from.name());
            self.problem(ProblemKind::Resumed, from, text);
        }
    }

    fn client_begins(&self, bytes: &[u8]) -> Begins {
        let haggling = self.phase < Phase::Transmission;
        if haggling && let Some(begins) = magic(bytes, &OPTION_MAGIC.to_be_bytes(), 16) {
            return begins.and(|| u32_at(bytes, 12) <= self.config.limits.option);
        }
        for (number, head) in [(REQUEST_MAGIC, 28), (EXTENDED_REQUEST_MAGIC, 32)] {
            let extended = number == EXTENDED_REQUEST_MAGIC;
            if extended && !self.negotiated.extended && self.export.is_some() {
                continue;
            }
            if let Some(begins) = magic(bytes, &number.to_be_bytes(), head) {
                return begins.and(|| {
                    let length = match extended {
                        true => u64_at(bytes, 24),
                        false => u64::from(u32_at(bytes, 24)),
                    };
                    self.is_request(bytes, length)
                });
            }
        }
        Begins::No
    }

    fn is_request(&self, bytes: &[u8], length: u64) -> bool {
        let command = Command(u16_at(bytes, 6));
        let offset = u64_at(bytes, 16);
        let size = self.export.as_ref().map_or(u64::MAX, |export| export.size);
        let fits = offset.checked_add(length).is_some_and(|end| end <= size);
        let row = commands::row(command);
        let empty = row.is_some_and(|row| !row.has_range());
        let payload = row.is_some_and(CommandRow::moves_data);
        command.name().is_some()
            && u16_at(bytes, 4) & !COMMAND_FLAGS == 0
            && fits
            && !(empty && (offset, length) != (0, 0))
            && !(payload && length > LONGEST_PAYLOAD)
    }

    fn server_begins(&self, bytes: &[u8]) -> Begins {
        if self.phase < Phase::Transmission {
            let begins = magic(bytes, &OPTION_REPLY_MAGIC.to_be_bytes(), 20);
            // Before the client's flags there is nothing to reply to.
            let begins = begins.filter(|_| self.phase == Phase::Haggling);
            return begins.map_or(Begins::No, |begins| {
                begins.and(|| u32_at(bytes, 16) <= self.config.limits.option)
            });
        }
        let known = |bytes| self.flight.has(Cookie(u64_at(bytes, 8)));
        if let Some(begins) = magic(bytes, &SIMPLE_REPLY_MAGIC.to_be_bytes(), 16) {
            let error = ErrorCode(u32_at(bytes, 4));
            let error_known = || error == ErrorCode::OK || error.name().is_some();
            return begins.and(|| known(bytes) && error_known());
        }
        let chunk = |length: u64| {
            known(bytes)
                && u16_at(bytes, 4) <= 1
                && ChunkType(u16_at(bytes, 6)).name().is_some()
                && length <= LONGEST_PAYLOAD
        };
        if let Some(begins) = magic(bytes, &STRUCTURED_REPLY_MAGIC.to_be_bytes(), 20) {
            return begins.and(|| chunk(u64::from(u32_at(bytes, 16))));
        }
        if let Some(begins) = magic(bytes, &EXTENDED_REPLY_MAGIC.to_be_bytes(), 32) {
            return begins.and(|| chunk(u64_at(bytes, 24)));
        }
        Begins::No
    }
}

impl Begins {
    /// A whole head must also make sense.
    fn and(self, sense: impl FnOnce() -> bool) -> Self {
        match self {
            Self::Yes if !sense() => Self::No,
            begins => begins,
        }
    }
}

/// Whether a head of this length with this magic begins here; `None` if the magic does not.
fn magic(bytes: &[u8], magic: &[u8], head: usize) -> Option<Begins> {
    if bytes.iter().zip(magic).any(|(byte, wanted)| byte != wanted) {
        return None;
    }
    Some(if bytes.len() >= head { Begins::Yes } else { Begins::Perhaps })
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |b| u16::from_be_bytes(*b))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |b| u32::from_be_bytes(*b))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |b| u64::from_be_bytes(*b))
}
