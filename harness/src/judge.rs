//! The judge on the connections of the reference server: it hears what clients say, whatever they do.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use dissector::session::{
    Close, Config, Event, Recognize, Seen, Session, Tls, Unreadable, Violation,
};
use protocol::message::{Message, Side};
use reference_server::{Close as Closed, Ear};

use crate::finding::{Detail, Finding};
use crate::interpret::matching;

/// How many lines of the conversation are kept to be shown before a violation.
const LINES: usize = 12;

/// A rule that was broken on a connection of the server.
#[derive(Debug, Clone)]
pub struct Told {
    /// The connection's number.
    pub connection: u64,
    /// Where the client is, for people.
    pub peer: String,
    /// The violation.
    pub violation: Violation,
    /// The line that breaks the rule, and those before it; `None` where the same party has broken the
    /// same rule on this connection before.
    pub detail: Option<Detail>,
}

/// Who is told.
pub trait Court: Send + Sync {
    /// A rule was broken.
    fn told(&self, told: Told);
    /// A message was said.
    fn said(&self, connection: u64, seen: &Seen);
}

impl Told {
    /// As a finding of a run; `at` says where.
    #[must_use]
    pub fn finding(&self, at: String) -> Finding {
        Finding {
            requirement: self.violation.requirement,
            party: self.violation.party,
            message: self.violation.text.clone(),
            at,
            detail: self.detail.clone().unwrap_or_default(),
            known: None,
        }
    }
}

/// The judge of one connection.
pub struct Listener {
    connection: u64,
    peer: String,
    session: Session,
    began: Instant,
    lines: VecDeque<Line>,
    broken: BTreeSet<(&'static str, bool)>,
    court: Arc<dyn Court>,
}

/// What is kept of the conversation.
enum Line {
    Seen(Box<Seen>),
    Note(String),
}

impl Line {
    fn text(&self) -> String {
        match self {
            Self::Note(text) => text.clone(),
            Self::Seen(seen) => {
                let described = seen.describe();
                format!("{}: {described}", seen.from.letter())
            }
        }
    }
}

impl Listener {
    /// Of a connection of which nothing was heard; `recognize` says what is told of payloads.
    #[must_use]
    pub fn new(connection: u64, peer: &str, recognize: Recognize, court: Arc<dyn Court>) -> Self {
        Self {
            connection,
            peer: peer.to_owned(),
            session: Session::new(Config { recognize, ..Config::default() }),
            began: Instant::now(),
            lines: VecDeque::with_capacity(LINES + 1),
            broken: BTreeSet::new(),
            court,
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn keep(&mut self, line: Line) {
        self.lines.push_back(line);
        // One more than is shown: the last may be the one that breaks the rule.
        if self.lines.len() > LINES + 1 {
            self.lines.pop_front();
        }
    }

    fn drain(&mut self) {
        while let Some(event) = self.session.next_event() {
            match event {
                Event::Message(seen) => {
                    self.court.said(self.connection, &seen);
                    self.keep(Line::Seen(Box::new(seen)));
                }
                Event::Violation(violation) => self.tell(violation),
                Event::Problem(problem) => {
                    self.keep(Line::Note(format!("-- {}: {}", problem.kind.name(), problem.text)));
                }
            }
        }
    }

    fn tell(&mut self, violation: Violation) {
        let first = self.broken.insert((violation.requirement.id, violation.party == Side::Client));
        let detail = first.then(|| self.detail(&violation));
        let (connection, peer) = (self.connection, self.peer.clone());
        self.court.told(Told { connection, peer, violation, detail });
    }

    fn detail(&self, violation: &Violation) -> Detail {
        let mut detail = Detail {
            expected: vec![violation.requirement.summary.to_owned()],
            judged: true,
            ..Detail::default()
        };
        let is_it = |line: &Line| match line {
            Line::Seen(seen) => seen.number == violation.message,
            Line::Note(_) => false,
        };
        // An end is charged to the party's last message, which is not what is wrong.
        let ends = matches!(self.lines.back(), Some(Line::Note(text)) if text.starts_with("-- "));
        let place =
            self.lines.iter().rposition(is_it).filter(|_| !ends || violation.field.is_some());
        let before = match place {
            Some(place) => {
                let line = &self.lines[place];
                detail.received = line.text();
                if let (Some(key), Line::Seen(seen)) = (violation.field, line) {
                    detail.mark = matching::find_field(&detail.received, key, &violation.text);
                    detail.bytes = matching::seen_bytes(seen, key);
                }
                place
            }
            None => {
                detail.received.clone_from(&violation.text);
                self.lines.len()
            }
        };
        let lines = self.lines.iter().take(before).skip(before.saturating_sub(LINES));
        detail.after = lines.map(Line::text).collect();
        detail
    }
}

impl Ear for Listener {
    fn heard(&mut self, from: Side, bytes: &[u8]) {
        let now = self.now();
        self.session.received(from, now, bytes);
        self.drain();
    }

    fn secured(&mut self) {
        let now = self.now();
        self.session.tls(now, Tls::Opened);
        self.keep(Line::Note("-- TLS begins".to_owned()));
        self.drain();
    }

    fn failed(&mut self, why: &str) {
        let now = self.now();
        self.session.tls(now, Tls::Unreadable(Side::Client, Unreadable::Failed(why.to_owned())));
        self.drain();
    }

    fn closed(&mut self, from: Side, how: Closed) {
        let now = self.now();
        if how == Closed::Unclosed {
            self.session.tls(now, Tls::Unclosed(from));
        }
        self.drain();
        let (note, how) = match how {
            Closed::End | Closed::Unclosed => ("closes", Close::End),
            Closed::Reset => ("resets the connection", Close::Reset),
        };
        self.keep(Line::Note(format!("-- the {} {note}", from.name())));
        self.session.closed(from, now, how);
        self.drain();
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.session.finish();
        self.drain();
    }
}

/// Whether a message of a client shows that there is one: probes say nothing.
#[must_use]
pub fn is_word_of_client(seen: &Seen) -> bool {
    seen.from == Side::Client && !matches!(seen.message, Message::Greeting(_))
}
