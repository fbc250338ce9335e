//! Requests that were not answered yet, by cookie.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};

use foldhash::fast::RandomState;
use protocol::message::Cookie;
use protocol::values::{Command, CommandFlags};

use super::commands::{self, CommandRow, Payload};
use super::progress::Progress;

/// So many requests with a cookie that one in flight has are kept.
const SAME_COOKIE: usize = 64;
/// How many answered cookies are remembered, to tell a second answer from a wrong cookie.
const ANSWERED: usize = 256;

/// A request that waits for its reply, or the rest of it.
#[derive(Debug)]
pub(super) struct InFlight {
    /// The number of its message; `None` while its payload is coming.
    pub(super) number: Option<u64>,
    pub(super) command: Command,
    pub(super) flags: CommandFlags,
    pub(super) offset: u64,
    /// How much of the export it is about, in bytes.
    pub(super) length: u64,
    /// The length was not captured.
    pub(super) length_unknown: bool,
    /// The client broke a MUST with it: what it may be answered is mostly open.
    pub(super) faulty: bool,
    /// The contexts that it is limited to.
    pub(super) wanted: Option<Box<[u32]>>,
    /// What was answered so far.
    pub(super) progress: Option<Box<Progress>>,
}

impl InFlight {
    /// Requests of length 0 may be answered in any way.
    pub(super) fn is_unspecified(&self) -> bool {
        self.length == 0 && commands::row(self.command).is_none_or(CommandRow::has_range)
    }

    /// How long the payload of a successful simple reply is, in bytes.
    pub(super) fn simple_payload(&self) -> u64 {
        if commands::payload(self.command) == Payload::Reply { self.length } else { 0 }
    }

    /// Where the range of the request ends.
    pub(super) fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }
}

/// The requests that share a cookie; in lawful sessions one.
#[derive(Debug)]
struct Group {
    first: InFlight,
    /// The other ones that a reply may be meant for; at most [`SAME_COOKIE`].
    more: Vec<InFlight>,
    /// There is more than one, whether kept or not.
    several: bool,
    /// The simple payload of all has the same length.
    same_payload: bool,
    /// How many of all these were not answered.
    open: usize,
}

/// What a cookie of a reply means.
pub(super) enum Match<'a> {
    /// It answers this request.
    One(&'a mut InFlight),
    /// It answers one of several with the same cookie; if all have the same simple payload, its
    /// length in bytes.
    Several(Option<u64>),
    /// No request in flight has this cookie.
    None,
}

/// An answered cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answered {
    /// By a simple reply.
    Simple,
    /// By chunks.
    Chunks,
}

/// All requests in flight.
#[derive(Debug)]
pub(super) struct Flight {
    groups: HashMap<Cookie, Group, RandomState>,
    open: usize,
    limit: usize,
    /// Requests were left out: a reply with an unknown cookie says nothing.
    incomplete: bool,
    answered: VecDeque<(Cookie, Answered)>,
    /// Progress to be used again, so that replies cost no allocation.
    #[expect(clippy::vec_box, reason = "boxed where they are used, to keep requests small")]
    spare: Vec<Box<Progress>>,
}

impl Flight {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            groups: HashMap::default(),
            open: 0,
            limit,
            incomplete: false,
            answered: VecDeque::new(),
            spare: Vec::new(),
        }
    }

    /// How many requests were not answered.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// How much memory this takes, in bytes; roughly.
    pub(super) fn memory(&self) -> usize {
        let group = size_of::<(Cookie, Group)>() + size_of::<Progress>();
        let more = self.open.saturating_sub(self.groups.len());
        self.groups.capacity() * group + more * size_of::<InFlight>()
    }

    /// Whether requests were left out because there are too many.
    pub(super) fn is_incomplete(&self) -> bool {
        self.incomplete
    }

    /// The lowest number of an unanswered request.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.groups.values().filter_map(|group| group.first.number).min()
    }

    /// Whether a request with this cookie is in flight.
    pub(super) fn has(&self, cookie: Cookie) -> bool {
        self.groups.contains_key(&cookie)
    }

    /// Forgets all requests: their replies can't be followed.
    pub(super) fn clear(&mut self) {
        self.groups = HashMap::default();
        self.open = 0;
        self.incomplete = true;
    }

    /// Not all requests are known from here on, or not all replies.
    pub(super) fn set_incomplete(&mut self) {
        self.incomplete = true;
    }

    /// Forgets the requests with this cookie.
    pub(super) fn forget(&mut self, cookie: Cookie) {
        if let Some(group) = self.groups.remove(&cookie) {
            self.open = self.open.saturating_sub(group.open);
        }
    }

    /// A request. Gives back whether it was the first that did not find room.
    pub(super) fn add(&mut self, cookie: Cookie, request: InFlight) -> bool {
        if self.open >= self.limit {
            return !std::mem::replace(&mut self.incomplete, true);
        }
        self.open += 1;
        match self.groups.entry(cookie) {
            Entry::Vacant(entry) => {
                entry.insert(Group {
                    first: request,
                    more: Vec::new(),
                    several: false,
                    same_payload: true,
                    open: 1,
                });
            }
            Entry::Occupied(mut entry) => {
                let group = entry.get_mut();
                group.several = true;
                group.same_payload &= request.simple_payload() == group.first.simple_payload();
                group.open += 1;
                if group.more.len() < SAME_COOKIE {
                    group.more.push(request);
                }
            }
        }
        false
    }

    /// The request that waited for its payload has become message `number`.
    pub(super) fn numbered(&mut self, cookie: Cookie, number: u64) {
        if let Some(group) = self.groups.get_mut(&cookie) {
            // Payload comes with one request at a time: the last one.
            let last = group.more.last_mut().unwrap_or(&mut group.first);
            last.number.get_or_insert(number);
        }
    }

    /// Which request a reply answers.
    pub(super) fn find(&mut self, cookie: Cookie) -> Match<'_> {
        match self.groups.get_mut(&cookie) {
            None => Match::None,
            Some(group) if !group.several => Match::One(&mut group.first),
            Some(group) => {
                let payload = group.first.simple_payload();
                Match::Several(group.same_payload.then_some(payload))
            }
        }
    }

    /// One request with this cookie is answered.
    pub(super) fn answer(&mut self, cookie: Cookie, by: Answered) {
        let Entry::Occupied(mut entry) = self.groups.entry(cookie) else { return };
        self.open = self.open.saturating_sub(1);
        if self.answered.len() == ANSWERED {
            self.answered.pop_front();
        }
        self.answered.push_back((cookie, by));
        entry.get_mut().open -= 1;
        // Which one of several it was is not known: all stay candidates until none is open.
        if entry.get().open == 0
            && let Some(progress) = entry.remove().first.progress
        {
            self.recycle(progress);
        }
    }

    /// A cookie in flight that differs from this one in one bit.
    pub(super) fn one_bit_off(&self, cookie: Cookie) -> Option<Cookie> {
        (0..64).map(|bit| Cookie(cookie.0 ^ 1 << bit)).find(|other| self.has(*other))
    }

    /// How a cookie that is not in flight was answered not long ago.
    pub(super) fn answered(&self, cookie: Cookie) -> Option<Answered> {
        self.answered.iter().rev().find(|(c, _)| *c == cookie).map(|(_, by)| *by)
    }

    /// An empty progress.
    pub(super) fn progress(&mut self) -> Box<Progress> {
        self.spare.pop().unwrap_or_default()
    }

    /// Takes back a progress for later use.
    pub(super) fn recycle(&mut self, mut progress: Box<Progress>) {
        if self.spare.len() < 64 && progress.is_small() {
            progress.clear();
            self.spare.push(progress);
        }
    }
}
