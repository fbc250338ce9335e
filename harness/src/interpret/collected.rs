//! What is heard on the connections that the reference server answers.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use dissector::session::Seen;
use protocol::message::Side;
use tokio::task::JoinSet;

use crate::judge::{Court, Told, is_word_of_client};
use crate::link::{Entry, Said};

/// How many messages of clients are kept as evidence of what they ask for.
const KEPT: usize = 256;

/// What was heard on all connections.
#[derive(Default)]
pub(super) struct Heard {
    pub(super) told: Vec<Told>,
    pub(super) said: Vec<Entry>,
    pub(super) connections: usize,
    /// Those on which a client has said something.
    speaking: BTreeSet<u64>,
    /// What happens from here on is not the client's doing.
    over: bool,
}

/// Who listens to all connections of the reference server.
#[derive(Default)]
pub(super) struct Collected {
    pub(super) heard: Mutex<Heard>,
    pub(super) line: usize,
}

impl Collected {
    /// What happens from here on is not the client's doing.
    pub(super) fn over(&self) {
        self.heard().over = true;
    }

    /// What the client was told to have broken, and on how many connections it said something.
    pub(super) fn take(&self) -> (Vec<Told>, usize) {
        let Heard { told, speaking, .. } = std::mem::take(&mut *self.heard());
        (told, speaking.len())
    }

    pub(super) fn heard(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Court for Collected {
    fn told(&self, told: Told) {
        let mut heard = self.heard();
        let again = |other: &Told| other.violation.requirement.id == told.violation.requirement.id;
        let own = told.violation.party == Side::Server;
        if !heard.over && !own && told.detail.is_some() && !heard.told.iter().any(again) {
            heard.told.push(told);
        }
    }

    fn said(&self, connection: u64, seen: &Seen) {
        if !is_word_of_client(seen) {
            return;
        }
        let mut heard = self.heard();
        heard.speaking.insert(connection);
        if heard.said.len() < KEPT {
            let said = Said::Message(Box::new(seen.clone()));
            heard.said.push(Entry { conn: String::new(), line: self.line, said });
        }
    }
}

/// The connections besides.
pub(super) struct Others {
    pub(super) collected: Arc<Collected>,
    /// Accepts and serves; nothing, once the script has ended its own connection.
    pub(super) serving: Option<JoinSet<()>>,
}

impl Others {
    /// Closes all of them, and the port.
    pub(super) fn stop(&mut self) {
        self.collected.over();
        self.serving = None;
    }
}
