//! One connection of a scenario: what came on it that no line has looked at, and what a line looks
//! at next.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use protocol::build;
use protocol::message::{Cookie, Message, RequestForm, Side};
use protocol::notation::ast::{Expr, MessageLine, Word};
use protocol::requirements::id;
use protocol::values::ChunkType;

use super::assemble::{Reply, assemble, is_last};
use super::eval::{Env, number};
use super::host::Host;
use super::labels::Cookies;
use super::matching;
use super::matching::Candidate;
use super::patience::{Cause, Patience};
use super::stop::Stop;
use crate::finding::Sent;
use crate::link::tracker::Phase;
use crate::link::{End, Incoming, Link, Received};

/// One connection and what came on it that no line has looked at.
pub(super) struct Conn {
    pub(super) link: Link,
    pub(super) queue: VecDeque<Received>,
    pub(super) end: Option<End>,
    pub(super) end_expected: bool,
    pub(super) cookies: Cookies,
    /// What `-- serve` offered here.
    pub(super) host: Option<Host>,
    /// Whether a line has taken a request other than NBD_CMD_DISC here.
    pub(super) requested: bool,
    /// The replies of which lines took chunks and that are not at their end.
    pub(super) begun: BTreeSet<Cookie>,
    /// It was waited for in vain, and nobody has said anything since: no need to wait again.
    pub(super) quiet: Option<End>,
    /// What was waited for in vain last, where that was owed.
    pub(super) unanswered: Option<Cause>,
    /// The server is known to keep connections after `NBD_CMD_DISC`, and this scenario is about
    /// something else: it is not waited for then.
    pub(super) may_stay: bool,
}

/// Which of the things that came a line looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Selector {
    /// The next message.
    Next,
    /// The next message with this cookie.
    Of(Cookie),
    /// The whole reply with this cookie.
    Reply(Cookie),
}

/// How many messages may come that no line has looked at.
pub(super) const FLOOD: u64 = 30_000;
/// How many bytes of messages, besides what reads have asked for and half of that.
const FLOOD_BYTES: u64 = 20 << 20;
/// The chunks that a large read may lawfully come in are not smaller than this, on average, as far
/// as they are taken in.
const SMALLEST_CHUNK: u64 = 256;
/// How much of what reads have asked for counts, in bytes.
const BIGGEST: u64 = 64 << 20;

/// How far a queue was looked through.
#[derive(Default)]
struct Scan {
    seen: usize,
    taken: Vec<usize>,
}

/// A candidate and what to take off the queue when it is accepted.
pub(super) struct Choice {
    pub(super) candidate: Candidate,
    pub(super) taken: Vec<usize>,
}

/// How long a server that keeps connections after `NBD_CMD_DISC` is listened to after it.
const PARTING: Duration = Duration::from_secs(1);
/// How long a server is waited for that was left without `NBD_CMD_DISC`.
const CLOSING: Duration = Duration::from_millis(300);

impl Conn {
    pub(super) fn selector(&self, line: &MessageLine, env: &Env) -> Result<Selector, Stop> {
        let cookie = line.fields.iter().find(|field| field.key.node == "cookie");
        let cookie = match cookie.map(|field| &field.value) {
            None => None,
            Some(value) => match &value.node {
                Expr::Any | Expr::Capture(_) => None,
                Expr::Name(label) => match matching::Labels::cookie(&self.cookies, label) {
                    Some(cookie) => Some(cookie),
                    None => {
                        return Err(Stop::Error(format!("no request has the cookie `{label}`")));
                    }
                },
                _ => number(&env.value(value)?).map(Cookie),
            },
        };
        let is_reply = matches!(&line.head.node, Word::Name(name) if name == "reply");
        Ok(match (is_reply, cookie) {
            (false, None) => Selector::Next,
            (false, Some(cookie)) => Selector::Of(cookie),
            (true, Some(cookie)) => Selector::Reply(cookie),
            (true, None) => match self.cookies.only_open() {
                Some(cookie) => Selector::Reply(cookie),
                // With nothing in flight a reply would be unasked: show whatever comes.
                None if self.cookies.open() == 0 => Selector::Next,
                None => {
                    let open = self.cookies.open();
                    return Err(Stop::Error(format!("{open} requests are open: say `cookie=`")));
                }
            },
        })
    }

    /// What a line waits for when it looks at this connection, and the rule that silence breaks.
    /// Nothing is owed by a client under test, and none of our business where we lied.
    pub(super) fn awaited(&self, selector: Selector) -> Option<Cause> {
        let tracker = self.link.tracker();
        if self.link.side() == Side::Server || self.link.is_forged() {
            return None;
        }
        let (sent, asked) = match selector {
            Selector::Of(cookie) | Selector::Reply(cookie) => match tracker.pending(cookie) {
                [] => (self.link.sent(), tracker.in_flight() > 0),
                [request, ..] => (Sent::Request(request.command), true),
            },
            Selector::Next => (self.link.sent(), tracker.in_flight() > 0),
        };
        let rule = match tracker.phase() {
            Phase::Start => Some(id::HANDSHAKE_GREETING_LAYOUT),
            Phase::Flags => None,
            Phase::Haggling => tracker.outstanding_option().map(|_| id::OPTION_REPLY_ONE_FINAL),
            Phase::Entering => Some(id::OPT_EXPORT_NAME_REPLY_LAYOUT),
            Phase::Transmission if tracker.is_disconnecting() => Some(id::DISC_SERVER_CLOSES),
            Phase::Transmission => asked.then_some(id::REPLY_ONE_PER_REQUEST),
        };
        rule.map(|rule| (sent, rule))
    }

    /// Waits for what the selector looks at: as long as `full`, or less where the run has learnt
    /// that nothing comes.
    pub(super) async fn listen(
        &mut self,
        selector: Selector,
        asks_for_none: bool,
        full: Duration,
        patience: &Patience,
    ) -> Choice {
        let cause = self.awaited(selector);
        // That a server stays is said by the scenarios about that.
        let parting = self.may_stay && self.link.tracker().is_disconnecting();
        let limit = match cause {
            _ if parting => patience.farewell(full.min(PARTING)),
            _ if self.quiet.is_some() => Duration::ZERO,
            Some(cause) => patience.wait(cause, full),
            None if self.link.tracker().phase() == Phase::Transmission => patience.idle(full),
            None => full,
        };
        let began = Instant::now();
        let mut choice = self.choose(selector, asks_for_none, limit).await;
        match choice.candidate {
            Candidate::End(End::Timeout(_)) if parting => {
                patience.stayed_open();
                self.end = Some(End::Close);
                choice.candidate = Candidate::End(End::Close);
            }
            Candidate::End(End::Timeout(_) | End::Stalled(..)) => self.unanswered = cause,
            Candidate::End(_) => self.unanswered = None,
            Candidate::Message(_) | Candidate::Reply(_) => {
                let is_reply = |received: &Received| received.request.is_some();
                if matches!(&choice.candidate, Candidate::Reply(_))
                    || matches!(&choice.candidate, Candidate::Message(it) if is_reply(it))
                {
                    patience.served();
                }
                self.unanswered = None;
                patience.answered(began.elapsed());
            }
        }
        choice
    }

    /// Waits for what a selector looks at, at most `limit`. Unless the line asks for it, the empty
    /// chunk that may end any reply is passed over.
    async fn choose(&mut self, selector: Selector, asks_for_none: bool, limit: Duration) -> Choice {
        if !asks_for_none {
            self.pass_over_none();
        }
        let mut scan = Scan::default();
        loop {
            if let Some(choice) = self.ready(selector, &mut scan) {
                return choice;
            }
            if let Some(end) = self.end {
                return Choice { candidate: Candidate::End(end), taken: Vec::new() };
            }
            if self.is_flooded() {
                self.end = Some(End::Endless(self.queue.len() as u64));
                continue;
            }
            match self.link.receive(limit).await {
                Incoming::Message(received) => {
                    self.quiet = None;
                    if asks_for_none || !self.is_mere_end(&received.message) {
                        self.queue.push_back(*received);
                    }
                }
                // A time-out is of this wait only.
                Incoming::End(end @ (End::Timeout(_) | End::Stalled(..))) => {
                    let end = *self.quiet.get_or_insert(end);
                    return Choice { candidate: Candidate::End(end), taken: Vec::new() };
                }
                Incoming::End(end) => self.end = Some(end),
            }
        }
    }

    /// Whether more has come than any answer to what was asked could have.
    fn is_flooded(&self) -> bool {
        let asked = self.link.tracker().asked_in_all().min(BIGGEST);
        let messages = FLOOD + asked / SMALLEST_CHUNK;
        let kept = self.queue.front().map_or(0, |first| {
            // TLS begins to count anew.
            self.link.consumed().saturating_sub(first.stream_offset)
        });
        self.queue.len() as u64 > messages || kept > FLOOD_BYTES + asked + asked / 2
    }

    /// Drops the chunks that only say that a reply, of which lines have seen the rest, is complete:
    /// a server may send the last thing it has to tell with DONE, or say DONE by itself.
    fn pass_over_none(&mut self) {
        let mut queue = std::mem::take(&mut self.queue);
        queue.retain(|received| !self.is_mere_end(&received.message));
        self.queue = queue;
    }

    fn is_mere_end(&mut self, message: &Message) -> bool {
        match message {
            Message::Chunk(chunk) if chunk.chunk == ChunkType::NONE && is_last(message) => {
                self.begun.remove(&chunk.cookie)
            }
            _ => false,
        }
    }

    /// After the farewell: what the peer still says, up to a limit, until it closes, falls silent
    /// or answers what has no answer. Gives whether it is still there.
    pub(super) async fn hear_out(&mut self, limit: Duration) -> bool {
        /// How many messages may still be on their way.
        const LAST_WORDS: usize = 10_000;
        let deadline = tokio::time::Instant::now() + limit;
        for _ in 0..LAST_WORDS {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            match self.link.receive(left).await {
                // An answer to a farewell that has none: it goes on as if nothing had been said.
                Incoming::Message(received) => {
                    let cookie = crate::link::tracker::reply_cookie(&received.message);
                    if cookie.is_some() && received.request.is_none() {
                        return true;
                    }
                }
                Incoming::End(End::Timeout(_) | End::Stalled(..)) => return true,
                Incoming::End(_) => return false,
            }
        }
        true
    }

    /// Closes the connection in an orderly way. A server that has answered everything is waited for: with
    /// a cache of its own for each connection it may write that back until it has closed, over what the
    /// next connection writes.
    pub(super) async fn take_leave(&mut self, limit: Duration, patience: &Patience) {
        let tracker = self.link.tracker();
        let idle = tracker.phase() == Phase::Transmission && tracker.in_flight() == 0;
        let open = self.end.is_none() && self.link.ended().is_none();
        if self.link.side() != Side::Client || !idle || !open {
            self.link.close(false, limit).await;
        } else if !self.link.take_leave(limit, patience.farewell(limit.min(CLOSING))).await {
            patience.stayed_open();
        }
    }

    /// What the selector looks at, if it is there.
    fn ready(&self, selector: Selector, scan: &mut Scan) -> Option<Choice> {
        let one = |index: usize| {
            let candidate = Candidate::Message(Box::new(self.queue[index].clone()));
            Some(Choice { candidate, taken: vec![index] })
        };
        let cookie = match selector {
            Selector::Next => return if self.queue.is_empty() { None } else { one(0) },
            Selector::Of(cookie) | Selector::Reply(cookie) => cookie,
        };
        while let Some(received) = self.queue.get(scan.seen) {
            let index = scan.seen;
            scan.seen += 1;
            match crate::link::tracker::reply_cookie(&received.message) {
                Some(came) if came == cookie => {
                    if matches!(selector, Selector::Of(_)) {
                        return one(index);
                    }
                    scan.taken.push(index);
                    if is_last(&received.message) {
                        let taken = std::mem::take(&mut scan.taken);
                        let parts: Vec<Received> =
                            taken.iter().map(|index| self.queue[*index].clone()).collect();
                        let request = parts.first().and_then(|part| part.request.clone());
                        let reply: Reply = assemble(cookie, request.as_ref(), &parts);
                        return Some(Choice {
                            candidate: Candidate::Reply(Box::new(reply)),
                            taken,
                        });
                    }
                }
                // An answer to no request of ours, or no reply at all: nothing to wait for behind it.
                Some(_) if received.request.is_some() => {}
                _ => return one(index),
            }
        }
        None
    }

    /// What the conversation so far adds to a line that is sent.
    pub(super) fn context(
        &mut self,
        needs_cookie: bool,
        script: &str,
        name: &str,
    ) -> build::Context {
        let tracker = self.link.tracker();
        let extended = tracker.request_form() == RequestForm::Extended;
        let option = tracker.outstanding_option();
        let padded = tracker.has_padding();
        let cookie = match self.link.side() {
            _ if !needs_cookie => None,
            Side::Client => Some(self.cookies.fresh(script, name)),
            Side::Server => self.cookies.only_open(),
        };
        let request_offset = cookie
            .and_then(|cookie| self.link.tracker().pending(cookie).first())
            .map(|request| request.offset);
        build::Context { extended, cookie, option, request_offset, padded }
    }
}

pub(super) fn conn_name(line: &MessageLine) -> &str {
    line.conn.as_ref().map_or("", |conn| conn.node.as_str())
}
