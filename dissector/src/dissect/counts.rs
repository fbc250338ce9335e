//! How many messages of each kind and name, without a string for each message.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;
use protocol::describe::Kind;
use protocol::message::{ChunkForm, Greeting, Message, RequestForm};
use protocol::values::{ChunkType, Command, ErrorCode, HandshakeFlags, OptionType, ReplyType};

/// A hostile peer could send 2^32 different options; beyond this many names messages are counted
/// as `other`.
const MAX_NAMES: usize = 4096;

/// The number of messages of each kind and name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    named: HashMap<Key, u64, RandomState>,
    other: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Greeting(&'static str),
    ClientFlags,
    Option(OptionType),
    OptionReply(ReplyType),
    ExportInfo,
    Request(RequestForm, Command),
    SimpleReply(ErrorCode),
    Chunk(bool, ChunkType),
}

impl Key {
    fn of(message: &Message) -> Self {
        match message {
            Message::Greeting(Greeting::Oldstyle { .. }) => Self::Greeting("oldstyle"),
            Message::Greeting(Greeting::Newstyle { flags }) => {
                Self::Greeting(match flags.has(HandshakeFlags::FIXED_NEWSTYLE) {
                    true => "fixed-newstyle",
                    false => "newstyle",
                })
            }
            Message::ClientFlags(_) => Self::ClientFlags,
            Message::Option(option) => Self::Option(option.option),
            Message::OptionReply(reply) => Self::OptionReply(reply.reply),
            Message::ExportInfo(_) => Self::ExportInfo,
            Message::Request(request) => Self::Request(request.form, request.command),
            Message::SimpleReply(reply) => Self::SimpleReply(reply.error),
            Message::Chunk(chunk) => Self::Chunk(chunk.form == ChunkForm::Structured, chunk.chunk),
        }
    }

    /// As [`protocol::describe::Description`] names it.
    fn name(&self) -> (Kind, String) {
        match self {
            Self::Greeting(style) => (Kind::Greeting, (*style).to_owned()),
            Self::ClientFlags => (Kind::ClientFlags, Kind::ClientFlags.name().to_owned()),
            Self::Option(option) => (Kind::Option, option.to_string()),
            Self::OptionReply(reply) => (Kind::OptionReply, reply.to_string()),
            Self::ExportInfo => (Kind::ExportInfo, Kind::ExportInfo.name().to_owned()),
            Self::Request(RequestForm::Compact, command) => (Kind::Request, command.to_string()),
            Self::Request(RequestForm::Extended, command) => {
                (Kind::ExtendedRequest, command.to_string())
            }
            Self::SimpleReply(error) => (Kind::SimpleReply, error.to_string()),
            Self::Chunk(true, chunk) => (Kind::Chunk, chunk.to_string()),
            Self::Chunk(false, chunk) => (Kind::ExtendedChunk, chunk.to_string()),
        }
    }
}

impl Counts {
    /// One more message.
    pub fn count(&mut self, message: &Message) {
        self.increase(Key::of(message), 1);
    }

    fn increase(&mut self, key: Key, by: u64) {
        if let Some(count) = self.named.get_mut(&key) {
            *count += by;
        } else if self.named.len() < MAX_NAMES {
            self.named.insert(key, by);
        } else {
            self.other += by;
        }
    }

    pub(super) fn add(&mut self, counts: &Self) {
        for (key, count) in &counts.named {
            self.increase(*key, *count);
        }
        self.other += counts.other;
    }

    /// The counts by kind and name, in the order of a session: greeting first.
    #[must_use]
    pub fn by_kind(&self) -> BTreeMap<(Kind, String), u64> {
        self.named.iter().map(|(key, count)| (key.name(), *count)).collect()
    }

    /// The counts as JSON has them: `option NBD_OPT_GO`.
    #[must_use]
    pub fn by_text(&self) -> BTreeMap<String, u64> {
        let name = |((kind, name), count)| (format!("{} {name}", Kind::name(kind)), count);
        let mut counts: BTreeMap<_, _> = self.by_kind().into_iter().map(name).collect();
        if self.other > 0 {
            counts.insert("other".to_owned(), self.other);
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::codec::{self, Limits, Step};

    /// One count and its name must be what the description says.
    fn check(message: &Message) {
        let description = message.describe(None);
        let mut counts = Counts::default();
        counts.count(message);
        let wanted = ((description.kind, description.name().to_owned()), 1);
        assert_eq!(counts.by_kind().into_iter().next(), Some(wanted));
    }

    #[test]
    fn names_are_those_of_descriptions() {
        for flags in [0, 1, 2, 3] {
            check(&Message::Greeting(Greeting::Newstyle { flags: HandshakeFlags(flags) }));
        }
        for magic in [0x2560_9513_u32, 0x21e4_1c71] {
            let mut bytes = magic.to_be_bytes().to_vec();
            bytes.resize(64, 0);
            let Ok(Step::Ready(request, _)) = codec::request(&bytes, Limits::default()) else {
                panic!("a request is a request");
            };
            check(&Message::Request(request));
        }
        for magic in [0x6744_6698_u32, 0x668e_33ef, 0x6e8a_278c] {
            let mut bytes = magic.to_be_bytes().to_vec();
            bytes.resize(64, 0);
            let Ok(Step::Ready(reply, _)) = codec::reply(&bytes, Limits::default()) else {
                panic!("a reply is a reply");
            };
            check(&reply);
        }
    }

    #[test]
    fn a_flood_of_names_is_counted_as_other() {
        let mut counts = Counts::default();
        for option in 0..10_000 {
            counts.increase(Key::Option(OptionType(option)), 1);
        }
        assert_eq!(counts.by_text()["other"], 10_000 - MAX_NAMES as u64);
    }
}
