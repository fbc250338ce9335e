//! What a server answered in a play of a script, without what may lawfully vary: so that the answers of two
//! servers can be compared. `nbdcheck differ --help` lists what is passed over.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use dissector::session::Seen;
use protocol::describe::{Description, Kind, Value};
use protocol::message::{ChunkBody, Info, Message, OptionReply, ReplyBody, Side};
use protocol::values::ReplyFlags;

use crate::link::{Entry, Said};

/// What a client said, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exchange {
    /// What was said, in the notation: `NBD_OPT_GO name=$export`.
    pub(super) asked: String,
    /// What kind of thing that is: it has no numbers in it.
    pub(super) kind: String,
    /// What was answered; empty where nothing was.
    pub(super) answers: Vec<String>,
    /// How the server ended the connection after that: `closes` or `resets`.
    pub(super) ends: Option<&'static str>,
    /// Nothing more is due.
    complete: bool,
}

impl Exchange {
    fn new(asked: String, kind: String) -> Self {
        Self { asked, kind, answers: Vec::new(), ends: None, complete: false }
    }

    /// Whether it is known what the server made of it: the client may have left first.
    pub(super) fn is_known(&self) -> bool {
        self.complete || self.ends.is_some()
    }

    /// Everything that came of it.
    pub(super) fn all(&self) -> Vec<String> {
        let mut all = self.answers.clone();
        if all.is_empty() && self.ends.is_none() {
            all.push("no answer".to_owned());
        }
        all.extend(self.ends.map(str::to_owned));
        all
    }
}

/// What is said on one connection.
#[derive(Default)]
struct Conversation {
    exchanges: Vec<Exchange>,
    /// Which exchange began with the message of a number.
    numbers: HashMap<u64, usize>,
    /// The contexts that status came for.
    contexts: HashMap<usize, BTreeSet<u32>>,
    /// The client ended it, or took leave.
    left: bool,
}

/// The exchanges of each connection of a play, in order; `export` is the name of the export under test.
pub(super) fn exchanges(said: &[Entry], export: &str) -> BTreeMap<String, Vec<Exchange>> {
    let mut all: BTreeMap<String, Conversation> = BTreeMap::new();
    for entry in said {
        let conversation = all.entry(entry.conn.clone()).or_default();
        match &entry.said {
            Said::Message(seen) if seen.from == Side::Client => conversation.asks(seen, export),
            Said::Message(seen) => conversation.answers(seen, export),
            Said::Bytes(Side::Client, text) => {
                conversation.exchanges.push(Exchange::new(text.clone(), "bytes".to_owned()));
            }
            Said::Ended(Side::Client, _) => conversation.left = true,
            Said::Ended(Side::Server, text) => conversation.ends(text),
            Said::Bytes(Side::Server, _) | Said::Note(_) => {}
        }
    }
    all.into_iter().map(|(name, conversation)| (name, conversation.finish())).collect()
}

impl Conversation {
    fn asks(&mut self, seen: &Seen, export: &str) {
        self.left |= seen.message.is_farewell();
        let description = seen.describe();
        let kind = match &seen.message {
            Message::Request(request) => format!("{} {}", description.head, request.flags),
            _ => description.head.to_string(),
        };
        self.numbers.insert(seen.number, self.exchanges.len());
        self.exchanges.push(Exchange::new(plain(&description, export), kind));
    }

    fn answers(&mut self, seen: &Seen, export: &str) {
        let text = plain(&seen.describe(), export);
        if matches!(seen.message, Message::Greeting(_)) {
            // A connection of the same name that comes later begins anew.
            self.numbers.clear();
            self.left = false;
            let mut connects = Exchange::new("-- connect".to_owned(), "connect".to_owned());
            connects.complete = true;
            connects.answers.push(text);
            self.exchanges.push(connects);
            return;
        }
        let place = seen.answers.and_then(|number| self.numbers.get(&number).copied());
        let Some(place) = place.or(self.exchanges.len().checked_sub(1)) else { return };
        let Some(exchange) = self.exchanges.get_mut(place) else { return };
        match &seen.message {
            Message::SimpleReply(reply) => exchange.outcome(reply.error.label().as_ref(), true),
            Message::Chunk(chunk) => {
                let done = chunk.flags.has(ReplyFlags::DONE);
                match &chunk.body {
                    ChunkBody::Error { error, .. } => {
                        exchange.outcome(error.label().as_ref(), done)
                    }
                    ChunkBody::BlockStatus { id, .. } | ChunkBody::BlockStatusExt { id, .. } => {
                        self.contexts.entry(place).or_default().insert(*id);
                    }
                    _ => {}
                }
                if done {
                    if exchange.answers.is_empty() {
                        exchange.answers.push("ok".to_owned());
                    }
                    exchange.complete = true;
                }
            }
            // Who has no description sends none.
            Message::OptionReply(OptionReply {
                body: ReplyBody::Info(Info::Description(_)),
                ..
            }) => {}
            Message::OptionReply(reply) => {
                exchange.answers.push(text);
                exchange.complete |= reply.reply.is_final();
            }
            _ => {
                exchange.answers.push(text);
                exchange.complete = true;
            }
        }
    }

    fn ends(&mut self, text: &str) {
        if let Some(last) = self.exchanges.last_mut().filter(|_| !self.left) {
            last.ends = Some(if text.contains("reset") { "resets" } else { "closes" });
        }
    }

    fn finish(self) -> Vec<Exchange> {
        let mut exchanges = self.exchanges;
        for (place, contexts) in self.contexts {
            if let Some(exchange) = exchanges.get_mut(place)
                && exchange.answers.iter().all(|answer| answer == "ok")
            {
                exchange.answers = vec![format!("ok, status of {} contexts", contexts.len())];
            }
        }
        for exchange in &mut exchanges {
            // The final reply stays last.
            if let [items @ .., _] = exchange.answers.as_mut_slice() {
                items.sort_unstable();
            }
        }
        exchanges
    }
}

impl Exchange {
    /// The first error of a reply says what came of the request.
    fn outcome(&mut self, error: &str, complete: bool) {
        if self.answers.is_empty() {
            self.answers.push(error.to_owned());
        }
        self.complete |= complete;
    }
}

/// A message without what may vary.
fn plain(description: &Description, export: &str) -> String {
    let mut description = description.clone();
    let is_reply = matches!(description.kind, Kind::OptionReply);
    description.fields.retain(|field| match field.key {
        "cookie" | "ids" | "description" | "data" => false,
        "message" | "id" | "option" => !is_reply,
        _ => true,
    });
    let mut text = description.head.to_string();
    if let Some(variant) = &description.variant {
        text = format!("{text} {variant}");
    }
    for field in &description.fields {
        match &field.value {
            Value::Text(name) if field.key == "name" && name.as_bytes() == export.as_bytes() => {
                text.push_str(" name=$export");
            }
            value => text.push_str(&format!(" {}={value}", field.key)),
        }
    }
    text
}
