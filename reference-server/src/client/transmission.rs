//! The client's side of transmission: requests from many tasks, replies as they come.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicU64, Ordering};
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

use crate::profile::Habits;
use crate::stream::BoxedStream;
use crate::wire::Incoming;

/// How many requests may wait to be written; more callers wait themselves.
const QUEUE: usize = 64;

/// A session in its transmission phase. Clones share the connection, and requests of several tasks
/// are in flight together; when the last clone is dropped the session ends softly.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
    outgoing: mpsc::Sender<Vec<u8>>,
    ended: watch::Receiver<bool>,
}

#[derive(Debug)]
struct Shared {
    details: Details,
    form: Form,
    contexts: Vec<MetaContext>,
    habits: Option<&'static Habits>,
    limit: Duration,
    farewell: Duration,
    next_cookie: AtomicU64,
    pending: Mutex<Pending>,
}

#[derive(Debug, Default)]
struct Pending {
    by_cookie: HashMap<Cookie, Waiting>,
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
        for (_, waiting) in pending.by_cookie.drain() {
            let _ = waiting.done.send(Err(error.clone()));
        }
    }
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
            habits: options.habits(),
            limit: options.timeout,
            farewell: options.farewell,
            next_cookie: AtomicU64::new(1),
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

    /// What it does as a release of qemu.
    pub(super) fn habits(&self) -> Option<&'static Habits> {
        self.shared.habits
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
        let cookie = Cookie(self.shared.next_cookie.fetch_add(1, Ordering::Relaxed));
        if call.command == Command::READ && call.length > u64::from(DEFAULT_MAXIMUM_PAYLOAD) * 2 {
            return Err(ClientError::Misuse("a read of more than 64 MiB"));
        }
        let mut bytes = self.shared.form.header(&call, cookie)?;
        let length = call.length as usize;
        let mut assembly = Assembly::new(call.command, call.flags, call.offset, length);
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
                return Err(error.clone());
            }
            pending.by_cookie.insert(cookie, Waiting { assembly, done });
        }
        bytes.extend_from_slice(&call.data);
        let answered = async {
            // The writer ends only with the connection, whose failure the answer will tell.
            let _ = self.outgoing.send(bytes).await;
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
        let flushes = self.habits().map_or(0, |habits| habits.last_flushes);
        let flags = self.details().flags;
        if flags.has(TransmissionFlags::SEND_FLUSH) && !flags.has(TransmissionFlags::READ_ONLY) {
            for _ in 0..flushes {
                self.flush().await?;
            }
        }
        let Self { shared, outgoing, mut ended } = self;
        let disc = shared.form.header(&Call::new(Command::DISC, 0, 0), Cookie(0))?;
        let ending = async {
            let _ = outgoing.send(disc).await;
            let _ = ended.wait_for(|ended| *ended).await;
        };
        timeout(shared.farewell, ending).await.map_err(|_| ClientError::StaysOpen)?;
        match shared.pending().failed.clone() {
            None | Some(ClientError::Closed(_)) => Ok(()),
            // Some end TLS without close-notify; nothing more was to come anyway.
            Some(ClientError::Lost { kind: ErrorKind::UnexpectedEof, .. }) => Ok(()),
            Some(error) => Err(error),
        }
    }
}

/// Writes requests until the last client is gone, then `NBD_CMD_DISC`.
async fn write(
    shared: Arc<Shared>,
    writer: WriteHalf<BoxedStream>,
    mut queue: mpsc::Receiver<Vec<u8>>,
    mut ended: watch::Receiver<bool>,
    reader: AbortHandle,
) {
    let mut writer = BufWriter::new(writer);
    let writing = async {
        let mut last = false;
        while let Some(bytes) = queue.recv().await {
            // A server that misbehaved is told nothing more, not even good-bye.
            if shared.has_failed() {
                return writer.shutdown().await;
            }
            last = is_disc(&bytes);
            writer.write_all(&bytes).await?;
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
    let _ = timeout(shared.limit, ended.wait_for(|ended| *ended)).await;
    reader.abort();
}

fn is_disc(request: &[u8]) -> bool {
    request.get(6..8) == Some(&Command::DISC.0.to_be_bytes())
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
    let next = incoming.next(|bytes| codec::reply(bytes, Limits::default())).await?;
    let message = next.ok_or(ClientError::Closed("a reply"))?;
    if let Some(error) = layout_error(&message) {
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
        let waiting = shared.pending().by_cookie.remove(&cookie);
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
            self.shared.pending().by_cookie.insert(self.cookie, waiting);
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
    if shared.form == Form::Extended {
        return Err(Violation::SimpleUnderExtended.into());
    }
    if assembly.is_read() && shared.form.is_chunked() {
        return Err(Violation::SimpleToStructuredRead.into());
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
    match body {
        ChunkBody::Empty if chunk == ChunkType::NONE => {
            if !done {
                return Err(Violation::NoneNotDone.into());
            }
        }
        ChunkBody::Data { offset, length } => {
            let place = assembly.content(chunk, offset, length)?;
            let data = incoming.bulk(place.len()).await?;
            place.copy_from_slice(&data);
        }
        ChunkBody::Hole { offset, size } => {
            assembly.content(chunk, offset, u64::from(size))?;
        }
        ChunkBody::BlockStatus { .. } if shared.form == Form::Extended => {
            return Err(Violation::CompactStatus.into());
        }
        ChunkBody::BlockStatus { id, extents } => assembly.status(chunk, id, extents)?,
        ChunkBody::BlockStatusExt { .. } if shared.form != Form::Extended => {
            return Err(Violation::ExtendedStatus.into());
        }
        ChunkBody::BlockStatusExt { id, count, extents } => {
            let context = shared.contexts.iter().find(|context| context.id == id);
            check_extended(context, count, &extents)?;
            assembly.status(chunk, id, extents)?;
        }
        ChunkBody::Error { error, message, .. } => {
            if error == ErrorCode::OK {
                return Err(Violation::ErrorZero.into());
            }
            if message.len() > STRING_LIMIT {
                return Err(Violation::Text(message.len()).into());
            }
            assembly.failed(error, message);
        }
        // An unknown error chunk still is an error.
        _ if chunk.is_error() => assembly.failed(ErrorCode::EINVAL, Default::default()),
        _ => {
            let command = assembly.command();
            return Err(Violation::UnfitChunk { command, chunk }.into());
        }
    }
    if done { owed.finish() } else { Ok(()) }
}
