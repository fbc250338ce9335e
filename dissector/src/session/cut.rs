//! Bytes that the capture left out of a packet, since it keeps only so many of each (its snapshot
//! length). Payload is stepped over; of a header what came is told, where that says whose it is.
//! What such a session says is not judged where a header is missing.

use protocol::codec::{self, Step};
use protocol::message::{Chunk, ChunkBody, ChunkForm, Cookie, Message, RequestForm, Side};
use protocol::values::{
    ChunkType, EXTENDED_REPLY_MAGIC, EXTENDED_REQUEST_MAGIC, REQUEST_MAGIC, ReplyFlags,
    STRUCTURED_REPLY_MAGIC,
};

use super::commands::{self, Payload};
use super::judge::Session;
use super::phase::Phase;
use super::stream::Mode;

/// Up to the length of a request, all of its fields are there.
const REQUEST_WITHOUT_LENGTH: usize = 24;
/// The same of a chunk: flags, type and cookie.
const CHUNK_WITHOUT_LENGTH: usize = 16;
/// The longest head of a message in transmission, in bytes.
const LONGEST_HEAD: usize = 40;

/// A message whose head was captured in part.
struct Begun {
    message: Message,
    /// How long its head is, in bytes; `None` where nobody knows how long the whole is.
    head: Option<usize>,
    /// The keys of what is not known of it.
    unknown: &'static [&'static str],
}

impl Session {
    /// The next `missing` bytes of `from` came in its packet and were not captured.
    pub fn cut(&mut self, from: Side, time_ns: u64, missing: u64) {
        self.out.now_ns = time_ns;
        self.informed[from.other()] = false;
        let stream = self.stream(from);
        if stream.closed.is_some() || missing == 0 {
            return;
        }
        self.unjudged += missing;
        let stream = self.stream(from);
        match &mut stream.mode {
            Mode::Bulk(bulk) => {
                let now = bulk.left.min(missing);
                bulk.left -= now;
                bulk.recognizer = None;
                bulk.contents = None;
                self.end_bulk(from);
                if missing > now {
                    self.cut_head(from, missing - now);
                }
            }
            Mode::Skip(left) => {
                let now = (*left).min(missing);
                *left -= now;
                if *left == 0 {
                    stream.mode = Mode::Head;
                }
                stream.offset += now;
                if missing > now {
                    self.cut_head(from, missing - now);
                }
            }
            Mode::Tls | Mode::Lost | Mode::Over => stream.unread += missing,
            Mode::Head | Mode::Resync | Mode::StrayZeroes(_) | Mode::Doubtful(_) => {
                self.cut_head(from, missing);
            }
        }
    }

    /// A message begins in bytes that were not captured, or before them.
    fn cut_head(&mut self, from: Side, missing: u64) {
        let buffer = std::mem::take(&mut self.stream(from).buffer);
        let begun = if self.may_begin_cut(from) { self.begun(from, &buffer) } else { None };
        let stream = self.stream(from);
        stream.quiet = true;
        let known = buffer.len() as u64 + missing;
        let Some(begun) = begun.filter(|begun| begun.head.is_none_or(|head| head as u64 <= known))
        else {
            self.resync(from);
            self.stream(from).unread += known;
            return;
        };
        stream.patchy = true;
        stream.offset += std::mem::take(&mut stream.unread);
        stream.mode = Mode::Head;
        let began_ns = stream.began_ns;
        let taken = begun.head.unwrap_or(buffer.len());
        self.unknown = begun.unknown;
        self.head(from, began_ns, begun.message, taken);
        self.unknown = &[];
        let rest = known - taken as u64;
        if begun.head.is_none() {
            self.resync(from);
            self.stream(from).unread += rest;
        } else if rest > 0 {
            self.cut(from, self.out.now_ns, rest);
        }
    }

    /// Whether a message of transmission may begin here.
    fn may_begin_cut(&self, from: Side) -> bool {
        let stream = &self.streams[from];
        let begins = matches!(stream.mode, Mode::Head | Mode::Resync);
        let phase = match from {
            Side::Server => self.phase == Phase::Transmission,
            // The answer that leads there may be what was not captured.
            Side::Client => self.phase == Phase::Transmission || self.may_be_past_haggling(),
        };
        begins && phase && (from == Side::Server || self.farewell.is_none())
    }

    /// The message whose head begins with these bytes, if they say enough.
    fn begun(&self, from: Side, bytes: &[u8]) -> Option<Begun> {
        let mut padded = [0; LONGEST_HEAD];
        padded.get_mut(..bytes.len())?.copy_from_slice(bytes);
        let magic = u32::from_be_bytes(*bytes.first_chunk()?);
        match (from, magic) {
            (Side::Client, REQUEST_MAGIC | EXTENDED_REQUEST_MAGIC)
                if bytes.len() >= REQUEST_WITHOUT_LENGTH =>
            {
                let Ok(Step::Ready(mut request, _)) = codec::request(&padded, self.config.limits)
                else {
                    return None;
                };
                request.length = 0;
                request.status = None;
                let length = match request.form {
                    RequestForm::Compact => 28,
                    RequestForm::Extended => 32,
                };
                let row = commands::row(request.command)?;
                // Whether anything follows, and how much, the length says.
                let head = (row.payload != Payload::Request).then_some(length);
                Some(Begun {
                    message: Message::Request(request),
                    head,
                    unknown: &["length", "data"],
                })
            }
            (Side::Server, STRUCTURED_REPLY_MAGIC | EXTENDED_REPLY_MAGIC)
                if bytes.len() >= CHUNK_WITHOUT_LENGTH =>
            {
                self.begun_chunk(magic, bytes, padded)
            }
            _ => None,
        }
    }

    fn begun_chunk(
        &self,
        magic: u32,
        bytes: &[u8],
        mut padded: [u8; LONGEST_HEAD],
    ) -> Option<Begun> {
        let [_, _, _, _, a, b, c, d, ..] = padded;
        let flags = ReplyFlags(u16::from_be_bytes([a, b]));
        let chunk = ChunkType(u16::from_be_bytes([c, d]));
        let cookie = Cookie(u64::from_be_bytes(*padded.get(8..)?.first_chunk()?));
        if !self.flight.has(cookie) || chunk.name().is_none() {
            return None;
        }
        let (form, header, offset) = match magic {
            STRUCTURED_REPLY_MAGIC => (ChunkForm::Structured, 20, None),
            _ => {
                let offset = u64::from_be_bytes(*padded.get(16..)?.first_chunk()?);
                let known = (bytes.len() >= 24).then_some(offset);
                (ChunkForm::Extended { offset: known.unwrap_or(0) }, 32, known)
            }
        };
        if bytes.len() >= header && chunk == ChunkType::OFFSET_DATA {
            // Only where the data belongs is not known.
            padded.get_mut(bytes.len()..).unwrap_or_default().fill(0);
            let Ok(Step::Ready(message, taken)) = self.decode(Side::Server, &padded) else {
                return None;
            };
            return Some(Begun { message, head: Some(taken), unknown: &["offset"] });
        }
        let whole = bytes.len() >= header;
        let length = match (whole, form) {
            (false, _) => 0,
            (true, ChunkForm::Structured) => {
                u64::from(u32::from_be_bytes(*padded.get(16..)?.first_chunk()?))
            }
            (true, ChunkForm::Extended { .. }) => {
                u64::from_be_bytes(*padded.get(24..)?.first_chunk()?)
            }
        };
        let message =
            Message::Chunk(Chunk { form, flags, chunk, cookie, body: ChunkBody::Bulk(length) });
        let unknown: &[&str] = match (whole, offset) {
            (true, _) => &[],
            (false, None) if form != ChunkForm::Structured => &["data", "request-offset"],
            (false, _) => &["data"],
        };
        Some(Begun { message, head: whole.then_some(header), unknown })
    }
}
