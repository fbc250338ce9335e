//! The client's side of transmission: requests from many tasks, replies as they come.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use protocol::codec::{self, Limits, layout_error};
use protocol::message::{Chunk, ChunkBody, Cookie, Message, SimpleReply};
use protocol::values::{
    ChunkType, Command, DEFAULT_MAXIMUM_PAYLOAD, ErrorCode, ReplyFlags, STRING_LIMIT,
    TransmissionFlags,
};
use tokio::io::{AsyncWriteExt as _, BufWriter, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::assembly::{Answered, Assembly};
use super::context::{MetaContext, check_extended};
use super::error::{ClientError, Violation};
use super::options::{Details, Options};
use super::request::{Call, Form};
use super::{distort, leniency};
use crate::besides::{Bytes, RequestBesides, Stage};
use crate::habits::Habits;
use crate::missteps::{Leaving, Minds, Overlooks};
use crate::reply_writer::{pause, put};
use crate::stream::BoxedStream;
use crate::wire::Incoming;

/// The longest read, in bytes: its data is kept.
const LONGEST_READ: u64 = DEFAULT_MAXIMUM_PAYLOAD as u64 * 2;
/// How many requests may wait to be written; more callers wait themselves.
const QUEUE: usize = 64;

/// A session in its transmission phase. Clones share the connection, and requests of several tasks
/// are in flight together; when the last clone is dropped the session ends softly.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
    outgoing: mpsc::Sender<Outgoing>,
    ended: watch::Receiver<bool>,
}

/// What is to be written.
#[derive(Debug)]
enum Outgoing {
    Bytes(Vec<u8>),
    /// `NBD_CMD_DISC` and whatever follows it.
    Last(Vec<u8>),
    /// The end, without a word; a torn connection does not end TLS either.
    Close {
        torn: bool,
    },
}

#[derive(Debug)]
struct Shared {
    details: Details,
    form: Form,
    contexts: Vec<MetaContext>,
    habits: Habits,
    limit: Duration,
    farewell: Duration,
    next_cookie: AtomicU64,
    /// Whether the server has told of a shutdown.
    shuts_down: AtomicBool,
    pending: Mutex<Pending>,
}

#[derive(Debug, Default)]
struct Pending {
    /// Equal cookies are answered in order.
    by_cookie: BTreeMap<Cookie, VecDeque<Waiting>>,
    failed: Option<ClientError>,
}

type Answer = Result<Answered, ClientError>;

#[derive(Debug)]
struct Waiting {
    assembly: Assembly,
    done: oneshot::Sender<Answer>,
}

impl Shared {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_failed(&self) -> bool {
        self.pending().failed.is_some()
    }

    /// Fails all requests, now and later. The first reason counts.
    fn fail(&self, error: ClientError) {
        let mut pending = self.pending();
        let error = pending.failed.get_or_insert(error).clone();
        let lenient = self.habits.overlooks(Overlooks::Closes) && is_end(&error);
        for waiting in std::mem::take(&mut pending.by_cookie).into_values().flatten() {
            let answer = if lenient {
                Ok(waiting.assembly.into_whatever_came())
            } else {
                Err(error.clone())
            };
            let _ = waiting.done.send(answer);
        }
    }
}

/// Whether the stream just ended.
fn is_end(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::Closed(_) | ClientError::Lost { .. } | ClientError::Misbehaved(Violation::Cut)
    )
}

impl Client {
    pub(crate) fn new(
        incoming: Incoming<BoxedStream>,
        details: Details,
        form: Form,
        contexts: Vec<MetaContext>,
        options: &Options,
    ) -> Self {
        let shared = Arc::new(Shared {
            details,
            form,
            contexts,
            habits: options.habits.clone(),
            limit: options.timeout,
            farewell: options.farewell,
            next_cookie: AtomicU64::new(0),
            shuts_down: AtomicBool::new(false),
            pending: Mutex::default(),
        });
        let (incoming, writer) = incoming.map(tokio::io::split);
        let (outgoing, queue) = mpsc::channel(QUEUE);
        let (end, ended) = watch::channel(false);
        let reader = tokio::spawn(read(shared.clone(), incoming, end)).abort_handle();
        tokio::spawn(write(shared.clone(), writer, queue, ended.clone(), reader));
        Self { shared, outgoing, ended }
    }

    /// What the server told of the export.
    #[must_use]
    pub fn details(&self) -> &Details {
        &self.shared.details
    }

    /// The size of the export, in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.shared.details.size
    }

    /// Whether replies come in chunks: structured replies were agreed, or extended headers.
    #[must_use]
    pub fn is_structured(&self) -> bool {
        self.shared.form.is_chunked()
    }

    /// Whether extended headers were agreed.
    #[must_use]
    pub fn is_extended(&self) -> bool {
        self.shared.form == Form::Extended
    }

    /// The longest range that one request without payload may be about, in bytes.
    pub(crate) fn longest(&self) -> u64 {
        self.shared.form.longest()
    }

    /// The metadata contexts that were selected for this export.
    #[must_use]
    pub fn contexts(&self) -> &[MetaContext] {
        &self.shared.contexts
    }

    /// How it behaves.
    #[must_use]
    pub fn habits(&self) -> &Habits {
        &self.shared.habits
    }

    /// Sends a request as it is, even one that breaks the rules, and waits for its reply: the data
    /// of a read, nothing for the rest.
    ///
    /// # Errors
    /// The server fails the request or misbehaves, or the connection fails.
    pub async fn call(&self, call: Call) -> Result<Vec<u8>, ClientError> {
        Ok(self.answered(call).await?.bytes)
    }

    /// The same with all that the reply holds.
    pub(crate) async fn answered(&self, call: Call) -> Answer {
        let habits = self.habits();
        let number = self.shared.next_cookie.fetch_add(1, Ordering::Relaxed);
        let cookie = Cookie(habits.cookies.at(number));
        let huge = call.command == Command::READ && call.length > LONGEST_READ;
        if huge && habits.requests_besides.is_empty() {
            return Err(ClientError::Misuse("a read of more than 64 MiB"));
        }
        pause(habits.pace).await;
        let bytes = distort::request(self.shared.form, &call, cookie, habits.request_fault)?;
        // What is longer is sent to be refused.
        let length = if huge { 0 } else { call.length as usize };
        let mut assembly = Assembly::new(call.command, call.flags, call.offset, length);
        assembly.allow(habits.overlooks, habits.minds);
        if call.command == Command::BLOCK_STATUS {
            let ids = match call.ids.is_empty() {
                true => self.contexts().iter().map(|context| context.id).collect(),
                false => call.ids.clone(),
            };
            let room = self.size().saturating_sub(call.offset);
            assembly.expect_status(ids, call.length, room);
        }
        let (done, answer) = oneshot::channel();
        {
            let mut pending = self.shared.pending();
            if let Some(error) = &pending.failed {
                let lenient = habits.overlooks(Overlooks::Closes) && is_end(error);
                return if lenient {
                    Ok(assembly.into_whatever_came())
                } else {
                    Err(error.clone())
                };
            }
            pending.by_cookie.entry(cookie).or_default().push_back(Waiting { assembly, done });
        }
        let answered = async {
            // The writer ends only with the connection, whose failure the answer will tell.
            let _ = self.outgoing.send(Outgoing::Bytes(bytes)).await;
            answer.await.unwrap_or(Err(ClientError::Closed("a reply")))
        };
        timeout(self.shared.limit, answered).await.unwrap_or(Err(ClientError::TimedOut("a reply")))
    }

    /// `NBD_CMD_DISC`, then waits for the server to hang up. Requests of other clones that are in
    /// flight are still answered.
    ///
    /// # Errors
    /// The server does not hang up, or the connection fails.
    pub async fn disconnect(self) -> Result<(), ClientError> {
        let flushes = self.habits().last_flushes;
        let flags = self.details().flags;
        if flags.has(TransmissionFlags::SEND_FLUSH) && !flags.has(TransmissionFlags::READ_ONLY) {
            for _ in 0..flushes {
                self.flush().await?;
            }
        }
        // Who is told of a shutdown just leaves.
        if !self.shared.shuts_down.load(Ordering::Relaxed) {
            self.besides(Stage::Last).await;
        }
        let last = self.last().await?;
        let leaving = self.habits().leaving;
        let Self { shared, outgoing, mut ended } = self;
        let closes = matches!(last, Outgoing::Close { .. }) || leaving == Leaving::Impatient;
        let ending = async {
            let _ = outgoing.send(last).await;
            if closes {
                drop(outgoing);
            }
            let _ = ended.wait_for(|ended| *ended).await;
        };
        timeout(shared.farewell, ending).await.map_err(|_| ClientError::StaysOpen)?;
        if closes {
            return Ok(());
        }
        match shared.pending().failed.clone() {
            None | Some(ClientError::Closed(_)) => Ok(()),
            // Some end TLS without close-notify; nothing more was to come anyway.
            Some(ClientError::Lost { kind: ErrorKind::UnexpectedEof, .. }) => Ok(()),
            Some(error) => Err(error),
        }
    }
}

impl Client {
    /// The last that is sent.
    async fn last(&self) -> Result<Outgoing, ClientError> {
        let (habits, form) = (self.habits(), self.shared.form);
        let shuts_down = self.shared.shuts_down.load(Ordering::Relaxed);
        let read = || Call::new(Command::READ, 0, 512);
        let mut bytes = Vec::new();
        let mut length = 0;
        match habits.leaving {
            Leaving::Close => return Ok(Outgoing::Close { torn: false }),
            Leaving::CloseAtShutdown if shuts_down => return Ok(Outgoing::Close { torn: false }),
            Leaving::Torn => return Ok(Outgoing::Close { torn: true }),
            Leaving::ReadsAtShutdown if shuts_down => {
                // Refused or not, it was asked.
                let _ = self.call(read()).await;
            }
            Leaving::InFlight => bytes = form.header(&read(), Cookie(u64::MAX - 1))?,
            Leaving::DiscWithLength => length = 512,
            _ => {}
        }
        let disc = Call::new(Command::DISC, 0, length);
        bytes.extend(distort::request(form, &disc, Cookie(0), habits.request_fault)?);
        for besides in habits.requests_besides.iter().filter(|it| it.stage == Stage::AfterDisc) {
            bytes.extend(form.header(&self.call_of(besides), Cookie(u64::MAX - 2))?);
        }
        Ok(Outgoing::Last(bytes))
    }

    /// Sends the requests whose time has come that are not needed. Whatever the answers are, they
    /// change nothing.
    pub(super) async fn besides(&self, stage: Stage) {
        let all = self.habits().requests_besides.iter().filter(|it| it.stage == stage);
        for besides in all {
            let call = self.call_of(besides);
            // Of an export that has no whole block there is none to ask for.
            let lawful = besides.length == Bytes::Block;
            if !lawful || call.length <= self.size() {
                let _ = self.call(call).await;
            }
        }
    }

    fn call_of(&self, besides: &RequestBesides) -> Call {
        let details = self.details();
        let sizes = details.block_sizes.unwrap_or_default();
        let of = |it: Bytes| it.of(details.size, sizes.minimum(), sizes.maximum());
        let [offset, length] = [besides.offset, besides.length].map(of);
        let call = match besides.command {
            Command::WRITE => Call::write(offset, vec![0; length as usize]),
            command => Call::new(command, offset, length),
        };
        call.with_flags(besides.flags)
    }
}

/// Writes requests until the last client is gone, then `NBD_CMD_DISC`.
async fn write(
    shared: Arc<Shared>,
    writer: WriteHalf<BoxedStream>,
    mut queue: mpsc::Receiver<Outgoing>,
    mut ended: watch::Receiver<bool>,
    reader: AbortHandle,
) {
    let mut writer = BufWriter::new(writer);
    let writing = async {
        let mut last = false;
        while let Some(next) = queue.recv().await {
            // A server that misbehaved is told nothing more, not even good-bye.
            if shared.has_failed() {
                return writer.shutdown().await;
            }
            let bytes = match next {
                Outgoing::Close { torn: true } => return Ok(()),
                Outgoing::Close { torn: false } => return writer.shutdown().await,
                Outgoing::Bytes(bytes) => bytes,
                Outgoing::Last(bytes) => {
                    last = true;
                    bytes
                }
            };
            put(&mut writer, &bytes, shared.habits.dribbles).await?;
            if queue.is_empty() {
                writer.flush().await?;
            }
        }
        if !last && !shared.has_failed() {
            let disc = shared.form.header(&Call::new(Command::DISC, 0, 0), Cookie(0));
            writer.write_all(&disc.unwrap_or_default()).await?;
        }
        writer.shutdown().await
    };
    let written: std::io::Result<()> = tokio::select! {
        written = writing => written,
        _ = ended.wait_for(|ended| *ended) => Ok(()),
    };
    if let Err(error) = written {
        shared.fail(error.into());
    }
    // Replies may still come, but not for ever.
    let waits =
        !matches!(shared.habits.leaving, Leaving::Impatient | Leaving::Close | Leaving::Torn);
    if waits {
        let _ = timeout(shared.limit, ended.wait_for(|ended| *ended)).await;
    }
    reader.abort();
}

/// Reads replies until the stream ends.
async fn read(
    shared: Arc<Shared>,
    mut incoming: Incoming<ReadHalf<BoxedStream>>,
    end: watch::Sender<bool>,
) {
    let ending = loop {
        match reply(&shared, &mut incoming).await {
            Ok(()) => {}
            Err(ending) => break ending,
        }
    };
    shared.fail(ending);
    end.send_replace(true);
}

async fn reply(
    shared: &Shared,
    incoming: &mut Incoming<ReadHalf<BoxedStream>>,
) -> Result<(), ClientError> {
    let any_magic = shared.habits.overlooks(Overlooks::ReplyMagic);
    let next = incoming.next(|bytes| match codec::reply(bytes, Limits::default()) {
        Err(_) if any_magic => leniency::reply(bytes),
        reply => reply,
    });
    let message = next.await?.ok_or(ClientError::Closed("a reply"))?;
    let any_layout = shared.habits.overlooks(Overlooks::Layouts);
    if let Some(error) = layout_error(&message).filter(|_| !any_layout) {
        return Err(Violation::Layout(error).into());
    }
    match message {
        Message::SimpleReply(simple) => simple_reply(shared, incoming, simple).await,
        Message::Chunk(chunk) => reply_chunk(shared, incoming, chunk).await,
        _ => Ok(()),
    }
}

/// A request whose reply is being read. Goes back among the pending ones, where a failure of the
/// connection finds it, unless it is finished.
struct Owed<'a> {
    shared: &'a Shared,
    cookie: Cookie,
    waiting: Option<Waiting>,
}

impl<'a> Owed<'a> {
    fn take(shared: &'a Shared, cookie: Cookie) -> Result<Self, Violation> {
        let mut pending = shared.pending();
        let any = shared.habits.overlooks(Overlooks::Cookies)
            || shared.habits.overlooks(Overlooks::ReplyMagic);
        let cookie = match pending.by_cookie.first_key_value() {
            Some((first, _)) if any && !pending.by_cookie.contains_key(&cookie) => *first,
            _ => cookie,
        };
        let mut waiting = None;
        if let Entry::Occupied(mut entry) = pending.by_cookie.entry(cookie) {
            waiting = entry.get_mut().pop_front();
            if entry.get().is_empty() {
                entry.remove();
            }
        }
        drop(pending);
        match waiting {
            Some(waiting) => Ok(Self { shared, cookie, waiting: Some(waiting) }),
            None => Err(Violation::UnknownCookie(cookie)),
        }
    }

    fn assembly(&mut self) -> &mut Assembly {
        let waiting = self.waiting.as_mut();
        &mut waiting.expect("only `finish` and `drop` take it, and both end the guard").assembly
    }

    /// Gives the caller its answer. A reply that is not what it should be fails the connection.
    fn finish(mut self) -> Result<(), ClientError> {
        let Some(Waiting { assembly, done }) = self.waiting.take() else { return Ok(()) };
        let answer = assembly.finish();
        let broken = match &answer {
            Err(error @ ClientError::Misbehaved(_)) => {
                // Before the caller hears of it and takes leave.
                self.shared.fail(error.clone());
                Err(error.clone())
            }
            _ => Ok(()),
        };
        // The caller may have stopped waiting.
        let _ = done.send(answer);
        broken
    }
}

impl Drop for Owed<'_> {
    fn drop(&mut self) {
        if let Some(waiting) = self.waiting.take() {
            let mut pending = self.shared.pending();
            pending.by_cookie.entry(self.cookie).or_default().push_front(waiting);
        }
    }
}

async fn simple_reply(
    shared: &Shared,
    incoming: &mut Incoming<ReadHalf<BoxedStream>>,
    SimpleReply { error, cookie }: SimpleReply,
) -> Result<(), ClientError> {
    let mut owed = Owed::take(shared, cookie)?;
    let assembly = owed.assembly();
    if shared.form == Form::Extended && !shared.habits.overlooks(Overlooks::SimpleUnderExtended) {
        return Err(Violation::SimpleUnderExtended.into());
    }
    let any_form = shared.habits.overlooks(Overlooks::SimpleReads)
        || shared.habits.overlooks(Overlooks::SimpleUnderExtended);
    if assembly.is_read() && shared.form.is_chunked() && !any_form {
        return Err(Violation::SimpleToStructuredRead.into());
    }
    if error == ErrorCode::ESHUTDOWN {
        shared.shuts_down.store(true, Ordering::Relaxed);
    }
    if error != ErrorCode::OK {
        assembly.failed(error, Default::default());
    } else if assembly.command() == Command::BLOCK_STATUS {
        return Err(Violation::SimpleStatus.into());
    } else {
        let place = assembly.whole();
        let data = incoming.bulk(place.len()).await?;
        place.copy_from_slice(&data);
    }
    owed.finish()
}

async fn reply_chunk(
    shared: &Shared,
    incoming: &mut Incoming<ReadHalf<BoxedStream>>,
    Chunk { form, flags, chunk, cookie, body }: Chunk,
) -> Result<(), ClientError> {
    let mut owed = Owed::take(shared, cookie)?;
    let done = flags.has(ReplyFlags::DONE);
    let assembly = owed.assembly();
    shared.form.check(form, assembly.offset())?;
    if shared.habits.minds(Minds::SpareReplyFlags) && flags.unknown() != ReplyFlags::EMPTY {
        assembly.cant_cope("unknown flags of replies");
    }
    let overlooks = |what| shared.habits.overlooks(what);
    match body {
        ChunkBody::Empty if chunk == ChunkType::NONE => {
            if !done {
                return Err(Violation::NoneNotDone.into());
            }
            assembly.nothing_more();
        }
        ChunkBody::Data { offset, length } => {
            let place = assembly.content(chunk, offset, length)?;
            let data = incoming.bulk(place.len()).await?;
            place.copy_from_slice(&data);
        }
        ChunkBody::Hole { offset, size } => {
            assembly.content(chunk, offset, u64::from(size))?;
        }
        ChunkBody::BlockStatus { .. }
            if shared.form == Form::Extended && !overlooks(Overlooks::CompactStatus) =>
        {
            return Err(Violation::CompactStatus.into());
        }
        ChunkBody::BlockStatus { id, extents } => assembly.status(chunk, id, extents)?,
        ChunkBody::BlockStatusExt { .. } if shared.form != Form::Extended => {
            return Err(Violation::ExtendedStatus.into());
        }
        ChunkBody::BlockStatusExt { id, count, extents } => {
            let context = shared.contexts.iter().find(|context| context.id == id);
            let checked = check_extended(context, count, &extents);
            assembly.mind(checked)?;
            assembly.status(chunk, id, extents)?;
        }
        ChunkBody::Error { error, message, .. } => {
            if error == ErrorCode::OK {
                return Err(Violation::ErrorZero.into());
            }
            if error == ErrorCode::ESHUTDOWN {
                shared.shuts_down.store(true, Ordering::Relaxed);
            }
            if message.len() > STRING_LIMIT {
                return Err(Violation::Text(message.len()).into());
            }
            let known = matches!(chunk, ChunkType::ERROR | ChunkType::ERROR_OFFSET);
            let overlooked = overlooks(Overlooks::ErrorChunks)
                || (!known && overlooks(Overlooks::UnknownErrorChunks));
            if !overlooked {
                assembly.failed(error, message);
            }
        }
        // An unknown error chunk still is an error.
        _ if chunk.is_error() => {
            if !overlooks(Overlooks::UnknownErrorChunks) {
                assembly.failed(ErrorCode::EINVAL, Default::default());
            }
        }
        // Unknown, and without sense: passed over.
        body if overlooks(Overlooks::UnfitChunks) || overlooks(Overlooks::Layouts) => {
            if let ChunkBody::Bulk(length) = body {
                incoming.skip(length).await?;
            }
        }
        _ => {
            let command = assembly.command();
            return Err(Violation::UnfitChunk { command, chunk }.into());
        }
    }
    if done { owed.finish() } else { Ok(()) }
}
