//! Writes replies: in which order, how fast, in which pieces.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt as _, BufWriter, WriteHalf};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;

use crate::behaviour::ReplyOrder;
use crate::outgoing::{Part, Parts};
use crate::session_end::Ending;
use crate::stream::BoxedStream;
use crate::transmission::Transmission;

/// How long replies are waited for that could be sent before the one at hand, or mixed with it.
const GATHERING: Duration = Duration::from_millis(3);
/// How many replies are gathered.
const GATHERED: usize = 16;
/// The lengths of the pieces in which a message dribbles, in bytes; the rest comes in some more.
const DRIBBLE: [usize; 8] = [1, 2, 3, 5, 7, 4, 6, 100];
/// How many more.
const REST: usize = 4;

/// A reply on its way, and what it holds until it is written.
pub(crate) struct Outgoing {
    parts: Parts,
    _slot: OwnedSemaphorePermit,
    _memory: Option<OwnedSemaphorePermit>,
}

impl Outgoing {
    pub(crate) fn new(
        parts: Parts,
        slot: OwnedSemaphorePermit,
        memory: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self { parts, _slot: slot, _memory: memory }
    }

    /// The messages, each with its data.
    fn messages(&self) -> VecDeque<Range<usize>> {
        let mut messages: VecDeque<Range<usize>> = VecDeque::new();
        for (index, part) in self.parts.list.iter().enumerate() {
            match (part, messages.back_mut()) {
                (Part::Payload(_), Some(last)) => last.end = index + 1,
                _ => messages.push_back(index..index + 1),
            }
        }
        messages
    }
}

/// Writes the replies of a session.
pub(crate) struct Writer(Arc<Transmission>);

impl Writer {
    pub(crate) fn new(terms: Arc<Transmission>) -> Self {
        Self(terms)
    }

    /// Writes replies until no more can come.
    pub(crate) async fn write(
        self,
        outgoing: WriteHalf<BoxedStream>,
        mut replies: mpsc::UnboundedReceiver<Outgoing>,
        dropped: &AtomicBool,
    ) -> Result<(), Ending> {
        let stall = self.0.config.limits.stall;
        let behaviour = &self.0.config.behaviour;
        let mut outgoing = BufWriter::with_capacity(64 << 10, outgoing);
        while let Some(reply) = replies.recv().await {
            let mut batch = vec![reply];
            pause(behaviour.reply_delay).await;
            if behaviour.reply_order != ReplyOrder::AsMade {
                gather(&mut replies, &mut batch).await;
            }
            if dropped.load(Ordering::Relaxed) {
                continue;
            }
            match behaviour.reply_order {
                ReplyOrder::AsMade => {}
                ReplyOrder::Reversed => batch.reverse(),
                ReplyOrder::Interleaved => {
                    self.interleaved(&mut outgoing, std::mem::take(&mut batch)).await?;
                }
            }
            for reply in &batch {
                self.part(&mut outgoing, &reply.parts, 0..reply.parts.list.len()).await?;
            }
            // A late reply waits for its own time only, not for those of the replies behind it.
            if replies.is_empty() || !behaviour.reply_delay.is_zero() {
                stalls(stall, outgoing.flush()).await?;
            }
            if batch.iter().any(|reply| reply.parts.ends) {
                break;
            }
        }
        stalls(stall, outgoing.flush()).await?;
        pause(behaviour.closing_delay).await;
        stalls(stall, outgoing.shutdown()).await
    }

    /// Writes a message of each reply in turn.
    async fn interleaved<W: AsyncWrite + Unpin>(
        &self,
        outgoing: &mut W,
        batch: Vec<Outgoing>,
    ) -> Result<(), Ending> {
        let mut waiting: VecDeque<_> = batch
            .into_iter()
            .map(|reply| {
                let messages = reply.messages();
                (reply, messages)
            })
            .collect();
        while let Some((reply, mut messages)) = waiting.pop_front() {
            if let Some(message) = messages.pop_front() {
                self.part(outgoing, &reply.parts, message).await?;
                waiting.push_back((reply, messages));
            }
        }
        Ok(())
    }

    async fn part<W: AsyncWrite + Unpin>(
        &self,
        outgoing: &mut W,
        parts: &Parts,
        range: Range<usize>,
    ) -> Result<(), Ending> {
        let (stall, dribbles) = (self.0.config.limits.stall, self.0.config.behaviour.dribbles);
        let mut scratch = Vec::new();
        for part in parts.list.get(range).unwrap_or_default() {
            let bytes = parts.bytes(part, &mut scratch);
            stalls(stall, put(outgoing, bytes, dribbles)).await?;
        }
        Ok(())
    }
}

/// Takes the replies that come within a moment.
async fn gather(replies: &mut mpsc::UnboundedReceiver<Outgoing>, batch: &mut Vec<Outgoing>) {
    let all = async {
        while batch.len() < GATHERED
            && let Some(reply) = replies.recv().await
        {
            batch.push(reply);
        }
    };
    let _ = timeout(GATHERING, all).await;
}

/// Writes bytes, if so wanted in small pieces.
pub(crate) async fn put<W: AsyncWrite + Unpin>(
    stream: &mut W,
    bytes: &[u8],
    dribbles: bool,
) -> std::io::Result<()> {
    if !dribbles {
        return stream.write_all(bytes).await;
    }
    let mut rest = bytes;
    let more = std::iter::repeat(bytes.len().div_ceil(REST).max(1));
    for length in DRIBBLE.into_iter().chain(more) {
        let (now, later) = rest.split_at(length.min(rest.len()));
        stream.write_all(now).await?;
        stream.flush().await?;
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    Ok(())
}

/// Waits, if there is something to wait for: a timer takes a moment even for nothing.
pub(crate) async fn pause(length: Duration) {
    if !length.is_zero() {
        tokio::time::sleep(length).await;
    }
}

async fn stalls(
    limit: Duration,
    work: impl Future<Output = std::io::Result<()>>,
) -> Result<(), Ending> {
    Ok(timeout(limit, work).await.map_err(|_| Ending::TimedOut("a reply"))??)
}
