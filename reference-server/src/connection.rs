//! One connection: reads options and requests, has them answered, writes the answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use protocol::codec::{self, Step};
use protocol::message::{Cookie, OptionBody, OptionRequest, Request, RequestForm};
use protocol::values::{Command, ErrorCode};
use tokio::io::{AsyncRead, AsyncWriteExt as _, ReadHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::timeout;

use crate::answer::Next;
use crate::behaviour::Disc;
use crate::config::Config;
use crate::features::Replies;
use crate::negotiation::Negotiation;
use crate::outgoing::Parts;
use crate::overhear::Hearing;
use crate::reply;
use crate::reply_writer::{Outgoing, Writer, pause, put};
use crate::session_end::Ending;
use crate::stream::BoxedStream;
use crate::tls::Acceptor;
use crate::transmission::{Failure, Outcome, Transmission, Verdict};
use crate::wire::{Incoming, ReadError};

/// The unit in which payload memory is counted, in bytes: semaphores count in 32 bits.
const MEMORY_UNIT: u64 = 4096;
/// How much of what a client still sends is read after the last word, in bytes. Closing with
/// unread bytes would reset the connection, and the last word could be lost.
const LINGER_BYTES: u64 = 1 << 20;
/// How long that reading may take.
const LINGER_TIME: Duration = Duration::from_millis(500);
/// How long requests are held back by the fault that drops them, so that there are some to drop.
const HELD_BACK: Duration = Duration::from_millis(100);

/// Whether the server goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    Running,
    /// Later options and requests fail.
    Draining,
    /// No more is read.
    Stopped,
}

/// Waits until the server is in a state, or beyond.
pub(crate) async fn reached(states: &mut watch::Receiver<State>, state: State) {
    // An error means that the server is gone altogether.
    let _ = states.wait_for(|now| *now >= state).await;
}

/// Serves a connection to its end; `entered` is told when haggling has led to transmission.
pub(crate) async fn serve(
    config: Arc<Config>,
    mut stream: BoxedStream,
    hearing: Option<Hearing>,
    mut states: watch::Receiver<State>,
    entered: impl FnOnce(&Transmission),
) -> Ending {
    let limit = config.limits.handshake;
    if let Some(hearing) = &hearing {
        stream = hearing.bare(stream);
    }
    let hearing = hearing.as_ref();
    let mut incoming = Incoming::new(stream);
    let seen = states.clone();
    let haggled = tokio::select! {
        haggled = timeout(limit, haggle(&config, &mut incoming, hearing, &seen)) => haggled,
        () = reached(&mut states, State::Stopped) => Ok(Err(Ending::Stopped)),
    };
    match haggled.unwrap_or(Err(Ending::TimedOut("the handshake"))) {
        Ok(terms) => {
            entered(&terms);
            transmit(Arc::new(terms), incoming, states).await
        }
        Err(ending) => {
            if ending == Ending::Aborted {
                pause(config.behaviour.closing_delay).await;
            }
            let _ = timeout(LINGER_TIME, incoming.stream().shutdown()).await;
            linger(&mut incoming, &ending).await;
            ending
        }
    }
}

/// Reads what the client still sends, for a while, unless it has gone.
async fn linger<R: AsyncRead + Unpin>(incoming: &mut Incoming<R>, ending: &Ending) {
    if !matches!(ending, Ending::Left | Ending::Cut | Ending::Lost(_)) {
        let _ = timeout(LINGER_TIME, incoming.drain(LINGER_BYTES)).await;
    }
}

async fn haggle(
    config: &Arc<Config>,
    incoming: &mut Incoming<BoxedStream>,
    hearing: Option<&Hearing>,
    states: &watch::Receiver<State>,
) -> Result<Transmission, Ending> {
    pause(config.behaviour.opening).await;
    let mut negotiation = Negotiation::new(config.clone());
    let greeting = negotiation.greeting();
    send(config, incoming, &greeting.parts).await?;
    match greeting.next {
        Next::Transmit(terms) => return Ok(*terms),
        Next::Close(ending) => return Err(ending),
        Next::Option | Next::Tls(_) => {}
    }
    let flags = incoming.next(|bytes| Ok(codec::client_flags(bytes))).await?;
    negotiation.client_flags(flags.ok_or(Ending::Left)?)?;
    loop {
        let option = incoming.next(|bytes| decode_option(config, bytes)).await?;
        let option = option.ok_or(Ending::Left)?;
        if let OptionBody::Bulk(length) = option.body {
            if length > config.limits.option_skip && !config.behaviour.skips_any_option {
                return Err(Ending::Refused(format!("{} with {length} bytes", option.option)));
            }
            incoming.skip(u64::from(length)).await?;
        }
        let answer = negotiation.option(&option, *states.borrow() >= State::Draining);
        let behind = !incoming.is_empty() && !config.behaviour.takes_injected;
        if matches!(answer.next, Next::Tls(_)) && behind {
            // Whoever sits in between could have added it: it must not be acted on, now or later.
            let why = "bytes in the clear behind NBD_OPT_STARTTLS";
            return Err(Ending::Refused(why.to_owned()));
        }
        pause(config.behaviour.option_delay).await;
        send(config, incoming, &answer.parts).await?;
        match answer.next {
            Next::Option => {}
            Next::Tls(acceptor) => match start_tls(&acceptor, incoming, hearing).await {
                Ok(()) => negotiation.inside_tls(),
                Err(Ending::Tls(_)) if config.behaviour.goes_on_without_tls => {}
                Err(ending) => return Err(ending),
            },
            Next::Transmit(terms) => return Ok(*terms),
            Next::Close(ending) => return Err(ending),
        }
    }
}

/// Puts TLS on top of the stream. A handshake that fails ends the session (section "FORCEDTLS
/// mode"); the bare stream stays, for the end.
async fn start_tls(
    acceptor: &Acceptor,
    incoming: &mut Incoming<BoxedStream>,
    hearing: Option<&Hearing>,
) -> Result<(), Ending> {
    if let Some(hearing) = hearing {
        hearing.pause();
    }
    let nothing = || Box::new(tokio::io::join(tokio::io::empty(), tokio::io::sink()));
    let stream = std::mem::replace(incoming.stream(), nothing());
    match acceptor.accept(stream).await {
        Ok(stream) => {
            let stream: BoxedStream = Box::new(stream);
            *incoming.stream() = match hearing {
                Some(hearing) => hearing.inside(stream),
                None => stream,
            };
            Ok(())
        }
        Err(mut failed) => {
            *incoming.stream() = std::mem::replace(failed.carrier(), nothing());
            if let Some(hearing) = hearing {
                hearing.failed(&failed.error.to_string());
            }
            Err(Ending::Tls(failed.error.to_string()))
        }
    }
}

fn decode_option(config: &Config, bytes: &[u8]) -> codec::Decoded<OptionRequest> {
    let limits = codec::Limits { option: config.limits.option_data, ..Default::default() };
    let step = codec::option(bytes, limits)?;
    Ok(match step {
        Step::Ready(request, _)
            if request.option.name().is_none() && config.behaviour.keeps_unknown_data =>
        {
            // The header alone.
            Step::Ready(OptionRequest { body: OptionBody::Empty, ..request }, 16)
        }
        step => step,
    })
}

async fn send(
    config: &Config,
    incoming: &mut Incoming<BoxedStream>,
    parts: &Parts,
) -> Result<(), Ending> {
    let stream = incoming.stream();
    put(stream, &parts.to_bytes(), config.behaviour.dribbles).await?;
    Ok(stream.flush().await?)
}

async fn transmit(
    terms: Arc<Transmission>,
    incoming: Incoming<BoxedStream>,
    mut states: watch::Receiver<State>,
) -> Ending {
    let (mut incoming, outgoing) = incoming.map(tokio::io::split);
    let writer = Writer::new(terms.clone());
    // Bounded by the slots: each reply holds one.
    let (replies, receiver) = mpsc::unbounded_channel();
    let dropped = Arc::new(AtomicBool::new(false));
    let reading = async {
        let mut requests =
            Requests::new(terms, replies.clone(), states.clone(), Arc::clone(&dropped));
        let ending = tokio::select! {
            ending = requests.read(&mut incoming) => ending,
            () = replies.closed() => Ending::Lost("replies can't be written".into()),
            () = reached(&mut states, State::Stopped) => Ending::Stopped,
        };
        let drops = requests.terms.config.behaviour.disc == Disc::DropsInFlight;
        dropped.store(drops && ending == Ending::Disconnected, Ordering::Relaxed);
        // The writer ends when the last request in flight has been answered.
        drop((requests, replies));
        ending
    };
    let (ending, written) = tokio::join!(reading, writer.write(outgoing, receiver, &dropped));
    match written {
        Err(lost) if !matches!(ending, Ending::Left | Ending::Disconnected) => lost,
        _ => {
            linger(&mut incoming, &ending).await;
            ending
        }
    }
}

/// The requests of a connection.
struct Requests {
    terms: Arc<Transmission>,
    replies: mpsc::UnboundedSender<Outgoing>,
    states: watch::Receiver<State>,
    slots: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    /// By a fault: what is still in flight is neither done nor answered.
    dropped: Arc<AtomicBool>,
}

impl Requests {
    fn new(
        terms: Arc<Transmission>,
        replies: mpsc::UnboundedSender<Outgoing>,
        states: watch::Receiver<State>,
        dropped: Arc<AtomicBool>,
    ) -> Self {
        let limits = &terms.config.limits;
        // A single request must fit, however small the limit.
        let memory = limits.buffers.max(u64::from(terms.export.block_sizes().maximum()));
        Self {
            slots: Arc::new(Semaphore::new(limits.in_flight.max(1) as usize)),
            memory: Arc::new(Semaphore::new(units(memory) as usize)),
            terms,
            replies,
            states,
            dropped,
        }
    }

    async fn read(&mut self, incoming: &mut Incoming<ReadHalf<BoxedStream>>) -> Ending {
        loop {
            match self.next(incoming).await {
                Ok(()) => {}
                Err(ending) => return ending,
            }
        }
    }

    async fn next(&mut self, incoming: &mut Incoming<ReadHalf<BoxedStream>>) -> Result<(), Ending> {
        // Back-pressure: nothing is read while as many requests as may be are in flight.
        let slot = acquire(&self.slots, 1).await?;
        let awaits_extended =
            self.terms.config.behaviour.awaits_extended && self.terms.replies == Replies::Extended;
        let decode = |bytes: &[u8]| match codec::request(bytes, codec::Limits::default())? {
            // What is no extended request has a wrong magic, for who awaits nothing else.
            Step::Ready(request, _) if awaits_extended && request.form == RequestForm::Compact => {
                Ok(Step::Ready(None, 0))
            }
            Step::Ready(request, taken) => Ok(Step::Ready(Some(request), taken)),
            Step::Need(need) => Ok(Step::Need(need)),
        };
        let mut request = match incoming.next(decode).await {
            Ok(Some(Some(request))) => request,
            Ok(Some(None)) => return Err(self.refuse_magic(incoming, slot).await?),
            Err(ReadError::Magic(_)) if self.terms.config.behaviour.answers_bad_magic => {
                return Err(self.refuse_magic(incoming, slot).await?);
            }
            Ok(None) => return Err(Ending::Left),
            Err(error) => return Err(error.into()),
        };
        if self.terms.config.behaviour.cuts_lengths {
            request.length &= u64::from(u32::MAX);
        }
        if request.command == Command::DISC {
            return self.disconnect(&request, slot);
        }
        let shutdown = *self.states.borrow() >= State::Draining;
        let verdict = match self.terms.check(&request) {
            Verdict::Serve if shutdown => {
                Verdict::Refuse(Failure::new(ErrorCode::ESHUTDOWN, "the server shuts down"))
            }
            verdict => verdict,
        };
        let limits = &self.terms.config.limits;
        match verdict {
            Verdict::Close(why) => Err(Ending::Refused(format!("the client sent {why}"))),
            Verdict::RefuseAndClose(failure) => {
                let why = failure.why.clone();
                let parts = reply::answer(&self.terms, &request, Outcome::Failed(failure));
                let _ = self.replies.send(Outgoing::new(parts, slot, None));
                Err(Ending::Refused(format!("the client sent {why}")))
            }
            Verdict::Refuse(failure) => {
                let length = unread(&request);
                if length > limits.payload_skip {
                    return Err(Ending::Refused(format!("a payload of {length} bytes")));
                }
                if !self.terms.config.behaviour.keeps_refused_payload {
                    within(limits.stall, incoming.skip(length)).await??;
                }
                let parts = reply::answer(&self.terms, &request, Outcome::Failed(failure));
                let _ = self.replies.send(Outgoing::new(parts, slot, None));
                Ok(())
            }
            Verdict::Serve => {
                let needed = units(self.terms.memory(&request));
                let memory = acquire(&self.memory, needed).await?;
                let length = usize::try_from(unread(&request)).unwrap_or(usize::MAX);
                let payload = within(limits.stall, incoming.bulk(length)).await??;
                self.start(request, payload, slot, memory);
                Ok(())
            }
        }
    }

    /// Answers what has not the magic of a request, once as much has come as a request has; gives how
    /// the session ends.
    async fn refuse_magic(
        &self,
        incoming: &mut Incoming<ReadHalf<BoxedStream>>,
        slot: OwnedSemaphorePermit,
    ) -> Result<Ending, Ending> {
        let extended = self.terms.replies == Replies::Extended;
        let header = incoming.bulk(if extended { 32 } else { 28 }).await?;
        let cookie = header.get(8..16).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
        let form = if extended { RequestForm::Extended } else { RequestForm::Compact };
        let cookie = Cookie(u64::from_be_bytes(cookie));
        let request = Request::bare(form, Command::FLUSH, cookie);
        let failure = Failure::new(ErrorCode::EINVAL, "a request begins with another magic");
        let parts = reply::answer(&self.terms, &request, Outcome::Failed(failure));
        let _ = self.replies.send(Outgoing::new(parts, slot, None));
        Ok(Ending::Refused("the client sent what is no request".to_owned()))
    }

    /// Serves a request beside the others.
    fn start(
        &self,
        request: Request,
        payload: Vec<u8>,
        slot: OwnedSemaphorePermit,
        memory: OwnedSemaphorePermit,
    ) {
        let (terms, replies) = (self.terms.clone(), self.replies.clone());
        let send = move |terms: &Transmission, request: &Request, outcome| {
            let parts = reply::answer(terms, request, outcome);
            let _ = replies.send(Outgoing::new(parts, slot, Some(memory)));
        };
        let held_back = terms.config.behaviour.disc == Disc::DropsInFlight;
        if !held_back && let Some(outcome) = terms.perform_at_once(&request, &payload) {
            return send(&terms, &request, outcome);
        }
        let blocks = terms.blocks() || held_back;
        let dropped = Arc::clone(&self.dropped);
        let work = move || {
            if held_back {
                std::thread::sleep(HELD_BACK);
                if dropped.load(Ordering::Relaxed) {
                    return;
                }
            }
            let outcome = terms.perform(&request, &payload);
            drop(payload);
            send(&terms, &request, outcome);
        };
        if blocks {
            tokio::task::spawn_blocking(work);
        } else {
            tokio::spawn(async { work() });
        }
    }

    fn disconnect(&self, request: &Request, slot: OwnedSemaphorePermit) -> Result<(), Ending> {
        match self.terms.config.behaviour.disc {
            Disc::Ignored => return Ok(()),
            Disc::Answered => {
                let parts = reply::answer(&self.terms, request, Outcome::Done);
                let _ = self.replies.send(Outgoing::new(parts, slot, None));
            }
            Disc::Ends | Disc::DropsInFlight => {}
        }
        Err(Ending::Disconnected)
    }
}

/// How much payload follows what has been decoded of a request, in bytes.
fn unread(request: &Request) -> u64 {
    if request.status.is_some() { 0 } else { request.payload_length() }
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(MEMORY_UNIT)).unwrap_or(u32::MAX)
}

async fn acquire(semaphore: &Arc<Semaphore>, count: u32) -> Result<OwnedSemaphorePermit, Ending> {
    // Nobody closes the semaphores; if somebody did, it would be because the server ends.
    semaphore.clone().acquire_many_owned(count).await.map_err(|_| Ending::Stopped)
}

async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, Ending> {
    timeout(limit, work).await.map_err(|_| Ending::TimedOut("a payload"))
}
