//! One connection: sending, waiting, and the judge that listens.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use dissector::session::{Close, Config, Event, Session};
use protocol::build::Built;
use protocol::codec::{Limits, Step};
use protocol::message::{Message, Side};
use protocol::payload::Payload;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _, ReadBuf};

use super::alerts::skip_alerts;
use super::carrier::Clock;
use super::end::{End, Part, end_of};
use super::stream::Stream;
use super::tap::Tap;
use super::touched::Touched;
use super::tracker::{self, Tracker, bulk_offset};
use super::transcript::{Entry, Judged, Said, shorten};
use crate::finding::Sent;
use crate::script::ast::Segmentation;
use crate::socket::Socket;

/// The largest bulk that is taken in, in bytes: what no answer to a request of ours may exceed.
const BULK_LIMIT: u64 = 80 << 20;
/// The largest bulk that a server may send where nothing of that size was asked for, in bytes.
const UNASKED: u64 = 1 << 20;
/// How many findings of the judge are kept before anybody takes them.
const JUDGED: usize = 200;
/// How many of its own wrongs a connection remembers.
const WRONGS: usize = 64;
/// How much of a payload is made at a time, in bytes.
const PIECE: usize = 256 << 10;
/// How much of a message goes out byte by byte, in bytes; the rest of a large one follows whole.
const BYTEWISE_LIMIT: usize = 4096;
/// So many bytes of a message within a wait are worth another wait.
const FLOWS: usize = 64 << 10;

/// A message that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The message.
    pub message: Message,
    /// Its bulk.
    pub bulk: Bytes,
    /// Where in the export the bulk belongs.
    pub bulk_offset: u64,
    /// Where the message begins in the peer's stream.
    pub stream_offset: u64,
    /// For a reply: what the request with its cookie asked; `None` if there is no such request.
    pub request: Option<tracker::Pending>,
}

/// What a wait brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// A message.
    Message(Box<Received>),
    /// The end, or nothing.
    End(End),
}

/// A message as it is, without bulk and without lies.
#[must_use]
pub fn plain(message: Message) -> Built {
    Built { message, payload: None, announced_length: None, magic: None }
}

/// One connection.
pub struct Link {
    name: String,
    pub(super) side: Side,
    pub(super) stream: Option<Stream>,
    pub(super) inbox: BytesMut,
    pub(super) consumed: u64,
    pub(super) ended: Option<End>,
    pub(super) tracker: Tracker,
    pub(super) judge: Session,
    judged: Vec<Judged>,
    transcript: Vec<Entry>,
    held_back: Vec<u8>,
    sent: Sent,
    forged: bool,
    wronged: bool,
    /// The numbers of messages by which the harness has broken a MUST, the first few.
    wrongs: Vec<u64>,
    segmentation: Segmentation,
    line: usize,
    started: Instant,
    epoch_ns: u64,
    pub(super) tap: Option<Box<dyn Tap>>,
    touched: Touched,
}

impl Link {
    /// A connection on which the harness plays `side`.
    #[must_use]
    pub fn new(name: &str, side: Side, socket: Socket, tap: Option<Box<dyn Tap>>) -> Self {
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            name: name.to_owned(),
            side,
            stream: Some(Stream::Plain(socket)),
            inbox: BytesMut::new(),
            consumed: 0,
            ended: None,
            tracker: Tracker::default(),
            judge: Session::new(Config::default()),
            judged: Vec::new(),
            transcript: Vec::new(),
            held_back: Vec::new(),
            sent: Sent::Nothing,
            forged: false,
            wronged: false,
            wrongs: Vec::new(),
            segmentation: Segmentation::Whole,
            line: 0,
            started: Instant::now(),
            epoch_ns: u64::try_from(epoch.as_nanos()).unwrap_or(u64::MAX),
            tap,
            touched: Touched::default(),
        }
    }

    /// Notes there what requests may change from here on.
    pub fn touches(&mut self, touched: Touched) {
        self.touched = touched;
    }

    /// The side that the harness plays.
    #[must_use]
    pub fn side(&self) -> Side {
        self.side
    }

    /// What the next bytes mean.
    #[must_use]
    pub fn tracker(&self) -> &Tracker {
        &self.tracker
    }

    /// Whether it is inside TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.stream.as_ref().is_some_and(Stream::is_tls)
    }

    /// Whether the harness has closed its end.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.stream.is_none()
    }

    /// How the peer's direction ended, if it has.
    #[must_use]
    pub fn ended(&self) -> Option<End> {
        self.ended
    }

    /// The kind of message that the harness sent last.
    #[must_use]
    pub fn sent(&self) -> Sent {
        self.sent
    }

    /// Whether the harness has sent what is no message, or one that lies about itself: then the
    /// peer may wait for more, or leave.
    #[must_use]
    pub fn is_forged(&self) -> bool {
        self.forged
    }

    /// Whether the harness has broken a rule here, as the judge sees it: then the peer may leave.
    #[must_use]
    pub fn has_wronged(&self) -> bool {
        self.wronged
    }

    /// The numbers of the messages by which the harness has broken a MUST, as the judge sees it: the
    /// first of them, if there are many.
    #[must_use]
    pub fn wrongs(&self) -> &[u64] {
        &self.wrongs
    }

    /// How many bytes of messages were taken off the peer's stream.
    #[must_use]
    pub fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Hands over what was said since the last call.
    pub fn take_transcript(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.transcript)
    }

    /// Hands over what the judge found since the last call.
    pub fn take_judged(&mut self) -> Vec<Judged> {
        std::mem::take(&mut self.judged)
    }

    /// Says which line of the script is being executed.
    pub fn at_line(&mut self, line: usize) {
        self.line = line;
    }

    /// Says how messages are cut from here on.
    pub fn segment(&mut self, segmentation: Segmentation) {
        self.segmentation = segmentation;
    }

    /// Adds a line to the transcript.
    pub fn note(&mut self, text: String) {
        self.record(Said::Note(text));
    }

    fn record(&mut self, said: Said) {
        self.transcript.push(Entry { conn: self.name.clone(), line: self.line, said });
        shorten(&mut self.transcript);
    }

    pub(super) fn clock(&self) -> Clock {
        Clock { started: self.started, epoch_ns: self.epoch_ns }
    }

    fn now_ns(&self) -> u64 {
        self.clock().now_ns()
    }

    fn hear(&mut self, from: Side, bytes: &[u8]) {
        let now = self.now_ns();
        if let Some(tap) = &mut self.tap {
            tap.data(from, now, bytes);
        }
        self.judge.received(from, now, bytes);
        self.drain_judge();
    }

    pub(super) fn hear_end(&mut self, from: Side, how: Close) {
        let now = self.now_ns();
        if let Some(tap) = &mut self.tap {
            tap.closed(from, now, how == Close::Reset);
        }
        self.judge.closed(from, now, how);
        self.drain_judge();
    }

    fn drain_judge(&mut self) {
        while let Some(event) = self.judge.next_event() {
            match event {
                Event::Message(seen) => self.record(Said::Message(Box::new(seen))),
                Event::Violation(violation) => {
                    if violation.party == self.side {
                        self.wronged = true;
                        if violation.requirement.level.is_binding() && self.wrongs.len() < WRONGS {
                            self.wrongs.push(violation.message);
                        }
                    }
                    let again = |judged: &Judged| {
                        judged.line == self.line
                            && judged.violation.requirement.id == violation.requirement.id
                            && judged.violation.party == violation.party
                    };
                    if self.judged.len() >= JUDGED || self.judged.iter().any(again) {
                        continue;
                    }
                    self.judged.push(Judged { violation, line: self.line, conn: self.name.clone() })
                }
                Event::Problem(problem) => {
                    self.record(Said::Note(format!("-- {}: {}", problem.kind.name(), problem.text)))
                }
            }
        }
    }

    /// Sends a message. A peer that has gone away is not an error here: the next wait tells.
    pub async fn send(&mut self, built: &Built, limit: Duration) {
        self.touched.by(built);
        let head = built.to_bytes();
        // What a simple reply carries belongs where its request wants it from.
        let offset = match &built.message {
            Message::SimpleReply(reply) => {
                self.tracker.pending(reply.cookie).first().map_or(0, |request| request.offset)
            }
            _ => built.payload_offset(),
        };
        self.tracker.observe(&built.message);
        self.sent = Sent::of(&built.message);
        self.forged |= built.announced_length.is_some() || built.magic.is_some();
        let nothing = Payload::default();
        let payload = built.payload.as_ref().unwrap_or(&nothing);
        let total = payload.length();
        let more = |at: u64| (total - at).min(PIECE as u64) as usize;
        let mut at = 0;
        let mut start = head.len();
        let mut piece = vec![0; start + more(at)];
        piece[..start].copy_from_slice(&head);
        loop {
            let more = more(at);
            piece.truncate(start + more);
            payload.fill(offset, at, &mut piece[start..]);
            at += more as u64;
            self.send_piece(&piece, limit).await;
            if at == total {
                return;
            }
            start = 0;
        }
    }

    /// Sends bytes that are not a message.
    pub async fn send_raw(&mut self, bytes: &[u8], limit: Duration) {
        let shown = protocol::payload::recognize(0, bytes);
        let line = format!("{}: bytes {shown}", self.side.letter());
        self.record(Said::Bytes(self.side, line));
        self.touched.anywhere();
        (self.sent, self.forged) = (Sent::Bytes, true);
        self.send_piece(bytes, limit).await;
    }

    async fn send_piece(&mut self, bytes: &[u8], limit: Duration) {
        match self.segmentation {
            Segmentation::Whole => self.write(bytes, limit).await,
            Segmentation::Bytewise => {
                let (slowly, rest) = bytes.split_at(bytes.len().min(BYTEWISE_LIMIT));
                for byte in slowly.chunks(1) {
                    self.write(byte, limit).await;
                }
                self.write(rest, limit).await;
            }
            Segmentation::Coalesced => {
                self.held_back.extend_from_slice(bytes);
                if self.held_back.len() >= PIECE {
                    self.flush(limit).await;
                }
            }
        }
    }

    /// Sends what was held back to be sent together.
    pub async fn flush(&mut self, limit: Duration) {
        let bytes = std::mem::take(&mut self.held_back);
        self.write(&bytes, limit).await;
    }

    /// Writes, and takes in what the peer sends meanwhile, so that two full directions can't block
    /// each other.
    async fn write(&mut self, mut bytes: &[u8], limit: Duration) {
        let below = matches!(self.stream, Some(Stream::Below(_)));
        if bytes.is_empty() || self.stream.is_none() || below {
            // Nothing may go out in the clear where TLS was agreed.
            return;
        }
        self.hear(self.side, bytes);
        let deadline = tokio::time::Instant::now() + limit;
        let mut flushed = false;
        // TLS may take bytes and have no room on the wire yet: they are out when it is flushed.
        while !flushed {
            let room = (self.inbox.len() as u64) < self.most() + UNASKED && self.ended.is_none();
            let Some(stream) = &mut self.stream else { return };
            // On the heap: futures that hold it would be large.
            let mut buffer = vec![0; 16 << 10];
            let mut came = Ok(None);
            let written = tokio::time::timeout_at(
                deadline,
                poll_fn(|cx| {
                    if bytes.is_empty() {
                        if let Poll::Ready(result) = Pin::new(&mut *stream).poll_flush(cx) {
                            flushed = true;
                            return Poll::Ready(result.map(|()| 0));
                        }
                    } else if let Poll::Ready(result) = Pin::new(&mut *stream).poll_write(cx, bytes)
                    {
                        return Poll::Ready(result);
                    }
                    if room {
                        let mut buf = ReadBuf::new(&mut buffer);
                        if let Poll::Ready(result) = Pin::new(&mut *stream).poll_read(cx, &mut buf)
                        {
                            came = result.map(|()| Some(buf.filled().len()));
                            return Poll::Ready(Ok(0));
                        }
                    }
                    Poll::Pending
                }),
            )
            .await;
            match came {
                Ok(None) => {}
                Ok(Some(count)) => self.take_in(Ok(&buffer[..count])),
                Err(error) => self.take_in(Err(error)),
            }
            match written {
                Ok(Ok(count)) => bytes = &bytes[count..],
                // The peer does not read, or is gone: the next wait tells which.
                Ok(Err(_)) | Err(_) => return,
            }
        }
    }

    fn take_in(&mut self, result: io::Result<&[u8]>) {
        let from = self.side.other();
        match result {
            Ok([]) => {
                let inside = self.stream.as_ref().is_some_and(Stream::is_tls);
                self.ended = Some(if inside { End::Notified } else { End::Close });
                self.record(Said::Ended(from, "-- the peer closes".to_owned()));
                self.hear_end(from, Close::End);
            }
            Ok(bytes) => {
                self.hear(from, bytes);
                self.inbox.extend_from_slice(bytes);
            }
            Err(error) => {
                let (end, note) = end_of(&error);
                self.ended = Some(end);
                self.record(Said::Ended(from, note));
                self.hear_end(from, if end == End::Reset { Close::Reset } else { Close::End });
            }
        }
    }

    /// Waits until the peer says something or ends, without looking at what it says; gives whether
    /// it closed, in order, without a word. What it said is there for [`Link::receive`].
    pub async fn stir(&mut self, limit: Duration) -> bool {
        if self.inbox.is_empty()
            && self.ended.is_none()
            && let Some(stream) = &mut self.stream
        {
            let mut buffer = vec![0; 4 << 10];
            if let Ok(result) = tokio::time::timeout(limit, stream.read(&mut buffer)).await {
                self.take_in(result.map(|count| &buffer[..count]));
            }
        }
        self.inbox.is_empty() && self.ended.is_some_and(|end| end != End::Reset)
    }

    /// Waits for the peer's next message, at most `limit`.
    pub async fn receive(&mut self, limit: Duration) -> Incoming {
        self.flush(limit).await;
        let mut deadline = tokio::time::Instant::now() + limit;
        let mut last = None;
        let mut flowed = 0;
        loop {
            match self.take_message() {
                Ok(Some(received)) => return Incoming::Message(Box::new(received)),
                Ok(None) => {}
                Err(end) => return Incoming::End(end),
            }
            if let Some(end) = self.ended {
                let ends = matches!(end, End::Close | End::Notified);
                return Incoming::End(match self.part() {
                    Some(part) if ends => End::CutOff(part),
                    _ => end,
                });
            }
            let Some(stream) = &mut self.stream else { return Incoming::End(End::Close) };
            let mut buffer = vec![0; 64 << 10];
            match tokio::time::timeout_at(deadline, stream.read(&mut buffer)).await {
                Ok(result) => {
                    let now = tokio::time::Instant::now();
                    last = Some(now);
                    flowed += *result.as_ref().unwrap_or(&0);
                    if flowed >= FLOWS {
                        // A large message may take longer than a small one.
                        (flowed, deadline) = (0, now + limit);
                    }
                    let result = result.map(|count| &buffer[..count]);
                    self.take_in(result);
                }
                Err(_) => {
                    let trickles = last.is_some_and(|last| last.elapsed() < limit / 2);
                    return Incoming::End(match self.part() {
                        Some(part) => End::Stalled(Part { trickles, ..part }, limit),
                        None => End::Timeout(limit),
                    });
                }
            }
        }
    }

    /// What is there of a message that is not there whole.
    fn part(&self) -> Option<Part> {
        let came = self.inbox.len() as u64;
        if came == 0 {
            return None;
        }
        match self.tracker.decode(self.side.other(), &self.inbox, Limits::default()) {
            Ok(Step::Need(more)) => {
                Some(Part { came, of: came + more as u64, data: None, trickles: false })
            }
            Ok(Step::Ready(decoded, taken)) => {
                let of = (taken as u64).saturating_add(decoded.bulk);
                Some(Part { came, of, data: Some(decoded.bulk), trickles: false })
            }
            Err(_) => None,
        }
    }

    /// The largest bulk that may come: a server has nothing to send but what it was asked for.
    fn most(&self) -> u64 {
        match self.side {
            Side::Server => BULK_LIMIT,
            Side::Client => (self.tracker.asked() + UNASKED).min(BULK_LIMIT),
        }
    }

    /// The next message, if all of it is there.
    fn take_message(&mut self) -> Result<Option<Received>, End> {
        let from = self.side.other();
        if self.tracker.awaits_tls() {
            for note in skip_alerts(&mut self.inbox) {
                self.note(note);
            }
        }
        let (mut decoded, taken) = match self.tracker.decode(from, &self.inbox, Limits::default()) {
            Ok(Step::Ready(decoded, taken)) => (decoded, taken),
            Ok(Step::Need(_)) => return Ok(None),
            Err(magic) => return Err(End::Garbage(magic)),
        };
        if decoded.bulk > self.most() {
            return Err(End::TooLarge(decoded.bulk));
        }
        let total = taken + decoded.bulk as usize;
        if self.inbox.len() < total {
            return Ok(None);
        }
        self.tracker.put_right(&mut decoded.message);
        let offset = bulk_offset(&self.tracker, &decoded.message);
        let request = tracker::reply_cookie(&decoded.message)
            .and_then(|cookie| self.tracker.pending(cookie).first().cloned());
        self.tracker.observe(&decoded.message);
        let bulk = self.inbox.split_to(total).freeze().slice(taken..);
        let stream_offset = self.consumed;
        self.consumed += total as u64;
        Ok(Some(Received {
            message: decoded.message,
            bulk,
            bulk_offset: offset,
            stream_offset,
            request,
        }))
    }

    /// Closes the harness's end: orderly, or by a reset. The judge stops listening.
    pub async fn close(&mut self, reset: bool, limit: Duration) {
        self.leave(reset, limit).await;
    }

    /// Closes the harness's end in an orderly way and waits, at most `patience`, until the peer has closed
    /// too; what it still sends is dropped. Returns whether it closed.
    pub async fn take_leave(&mut self, limit: Duration, patience: Duration) -> bool {
        let Some(mut stream) = self.leave(false, limit).await else { return true };
        let mut dropped = vec![0; 4096];
        let closes = async { while matches!(stream.read(&mut dropped).await, Ok(1..)) {} };
        tokio::time::timeout(patience, closes).await.is_ok()
    }

    /// What is left of the stream, if it was open.
    async fn leave(&mut self, reset: bool, limit: Duration) -> Option<Stream> {
        self.flush(limit).await;
        let mut stream = self.stream.take()?;
        if reset {
            stream.reset_on_drop();
        } else {
            // A peer that is gone needs no farewell.
            let _ = tokio::time::timeout(limit, stream.shutdown()).await;
        }
        let how = if reset { "-- reset" } else { "-- close" };
        self.record(Said::Ended(self.side, how.to_owned()));
        self.hear_end(self.side, if reset { Close::Reset } else { Close::End });
        Some(stream)
    }

    /// Ends the harness's direction only.
    pub async fn shut(&mut self, limit: Duration) {
        self.flush(limit).await;
        if let Some(stream) = &mut self.stream {
            let _ = tokio::time::timeout(limit, stream.shutdown()).await;
            self.note("-- shut".to_owned());
            self.hear_end(self.side, Close::End);
        }
    }
}
