//! What the next bytes of a connection mean: the little of the session's state that decoding needs.
//! It follows what was sent and received and judges nothing; the judge keeps its own account.

use std::collections::HashMap;

use protocol::codec::{self, Limits};
use protocol::message::{
    Chunk, ChunkBody, Cookie, Greeting, Message, OptionReply, Request, RequestForm, Side,
    SimpleReply,
};
use protocol::values::{
    ClientFlags, Command, ErrorCode, HandshakeFlags, OPTION_REPLY_MAGIC, OptionType, ReplyFlags,
    ReplyType,
};

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Nothing yet: the greeting comes next.
    Start,
    /// Greeted: the client's flags come next.
    Flags,
    /// Options.
    Haggling,
    /// `NBD_OPT_EXPORT_NAME` was sent: its answer has no header.
    Entering,
    /// Requests.
    Transmission,
}

/// A request that has not been answered completely.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// What was asked.
    pub command: Command,
    /// Where.
    pub offset: u64,
    /// How much.
    pub length: u64,
}

/// The state of one connection.
#[derive(Debug)]
pub struct Tracker {
    phase: Phase,
    handshake_flags: HandshakeFlags,
    client_flags: ClientFlags,
    option: Option<OptionType>,
    structured: bool,
    extended: bool,
    disconnecting: bool,
    awaits_tls: bool,
    pending: HashMap<Cookie, Vec<Pending>>,
    asked_in_all: u64,
}

impl Default for Tracker {
    fn default() -> Self {
        Self {
            phase: Phase::Start,
            handshake_flags: HandshakeFlags::EMPTY,
            client_flags: ClientFlags::EMPTY,
            option: None,
            structured: false,
            extended: false,
            disconnecting: false,
            awaits_tls: false,
            pending: HashMap::new(),
            asked_in_all: 0,
        }
    }
}

/// A message and the length of its bulk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// The message.
    pub message: Message,
    /// How many bytes of bulk follow.
    pub bulk: u64,
}

impl Tracker {
    /// How far the connection has come.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// What the server offered in its greeting.
    #[must_use]
    pub fn handshake_flags(&self) -> HandshakeFlags {
        self.handshake_flags
    }

    /// The option that waits for its final reply.
    #[must_use]
    pub fn outstanding_option(&self) -> Option<OptionType> {
        self.option
    }

    /// Whether structured replies are on.
    #[must_use]
    pub fn is_structured(&self) -> bool {
        self.structured
    }

    /// Which request header is in force.
    #[must_use]
    pub fn request_form(&self) -> RequestForm {
        if self.extended { RequestForm::Extended } else { RequestForm::Compact }
    }

    /// Whether `NBD_OPT_STARTTLS` was acknowledged and TLS has not begun.
    #[must_use]
    pub fn awaits_tls(&self) -> bool {
        self.awaits_tls
    }

    /// TLS has begun: nothing that was negotiated counts any more.
    pub fn tls_started(&mut self) {
        *self = Self {
            phase: Phase::Haggling,
            handshake_flags: self.handshake_flags,
            client_flags: self.client_flags,
            ..Self::default()
        };
    }

    /// Whether `NBD_CMD_DISC` was sent.
    #[must_use]
    pub fn is_disconnecting(&self) -> bool {
        self.disconnecting
    }

    /// The requests with this cookie that are not answered, the oldest first.
    #[must_use]
    pub fn pending(&self, cookie: Cookie) -> &[Pending] {
        self.pending.get(&cookie).map_or(&[], Vec::as_slice)
    }

    /// How many requests are not answered.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.pending.values().map(Vec::len).sum()
    }

    /// How many bytes the reads that are not answered ask for.
    #[must_use]
    pub fn asked(&self) -> u64 {
        let pending = self.pending.values().flatten();
        let reads = pending.filter(|request| request.command == Command::READ);
        reads.fold(0u64, |sum, request| sum.saturating_add(request.length)).min(u64::MAX >> 1)
    }

    /// How many bytes all reads have asked for, those that are answered included.
    #[must_use]
    pub fn asked_in_all(&self) -> u64 {
        self.asked_in_all
    }

    /// Decodes the next message that `from` sends.
    ///
    /// # Errors
    /// The bytes begin with a magic that may not stand here.
    pub fn decode(&self, from: Side, bytes: &[u8], limits: Limits) -> codec::Decoded<Decoded> {
        let step = match (from, self.phase) {
            (Side::Server, Phase::Start | Phase::Flags) => {
                codec::greeting(bytes)?.map(Message::Greeting)
            }
            (Side::Server, Phase::Entering) if !starts_like_reply(bytes) => {
                codec::export_info(bytes, self.no_zeroes()).map(Message::ExportInfo)
            }
            (Side::Server, Phase::Haggling | Phase::Entering) => {
                codec::option_reply(bytes, limits)?.map(Message::OptionReply)
            }
            (Side::Server, Phase::Transmission) => codec::reply(bytes, limits)?,
            (Side::Client, Phase::Start | Phase::Flags) => {
                codec::client_flags(bytes).map(Message::ClientFlags)
            }
            (Side::Client, Phase::Haggling | Phase::Entering) => {
                codec::option(bytes, limits)?.map(Message::Option)
            }
            (Side::Client, Phase::Transmission) => {
                codec::request(bytes, limits)?.map(Message::Request)
            }
        };
        Ok(step.map(|message| {
            let bulk = self.bulk(&message);
            Decoded { message, bulk }
        }))
    }

    /// Whether the answer to `NBD_OPT_EXPORT_NAME` ends in 124 zeroes.
    #[must_use]
    pub fn has_padding(&self) -> bool {
        !self.no_zeroes()
    }

    fn no_zeroes(&self) -> bool {
        self.handshake_flags.has(HandshakeFlags::NO_ZEROES)
            && self.client_flags.has(ClientFlags::NO_ZEROES)
    }

    fn bulk(&self, message: &Message) -> u64 {
        match message {
            Message::SimpleReply(SimpleReply { error: ErrorCode::OK, cookie }) => {
                match self.pending(*cookie).first() {
                    // Under structured replies this is a violation; the data is there all the same.
                    Some(Pending { command: Command::READ, length, .. }) => *length,
                    _ => 0,
                }
            }
            message => message.bulk(),
        }
    }

    /// Takes note of a message that was sent or received.
    pub fn observe(&mut self, message: &Message) {
        match message {
            Message::Greeting(Greeting::Oldstyle { .. }) => self.phase = Phase::Transmission,
            Message::Greeting(Greeting::Newstyle { flags }) => {
                self.handshake_flags = *flags;
                self.phase = Phase::Flags;
            }
            Message::ClientFlags(flags) => {
                self.client_flags = *flags;
                self.phase = Phase::Haggling;
            }
            Message::Option(option) => {
                self.option = Some(option.option);
                if option.option == OptionType::EXPORT_NAME {
                    self.phase = Phase::Entering;
                }
            }
            Message::OptionReply(reply) => self.observe_reply(reply),
            Message::ExportInfo(_) => self.enter(),
            Message::Request(request) => self.observe_request(request),
            Message::SimpleReply(reply) => self.answered(reply.cookie),
            Message::Chunk(chunk) if chunk.flags.has(ReplyFlags::DONE) => {
                self.answered(chunk.cookie);
            }
            Message::Chunk(_) => {}
        }
    }

    /// Takes a reply for what it is meant to be where its option is in the other byte order. The
    /// judge has said that it is wrong; all that comes after can be tested nevertheless.
    pub fn put_right(&self, message: &mut Message) {
        if let Message::OptionReply(reply) = message
            && let Some(outstanding) = self.option
            && reply.option.0.swap_bytes() == outstanding.0
        {
            reply.option = outstanding;
        }
    }

    fn enter(&mut self) {
        self.phase = Phase::Transmission;
        self.option = None;
    }

    fn observe_reply(&mut self, reply: &OptionReply) {
        if !reply.reply.is_final() {
            return;
        }
        self.option = None;
        if self.phase == Phase::Entering {
            self.phase = Phase::Haggling;
        }
        if reply.reply == ReplyType::ACK {
            match reply.option {
                OptionType::GO => self.enter(),
                OptionType::STARTTLS => self.awaits_tls = true,
                OptionType::STRUCTURED_REPLY => self.structured = true,
                OptionType::EXTENDED_HEADERS => self.extended = true,
                _ => {}
            }
        }
    }

    fn observe_request(&mut self, request: &Request) {
        if request.command == Command::DISC {
            self.disconnecting = true;
            return;
        }
        if request.command == Command::READ {
            self.asked_in_all = self.asked_in_all.saturating_add(request.length);
        }
        self.pending.entry(request.cookie).or_default().push(Pending {
            command: request.command,
            offset: request.offset,
            length: request.length,
        });
    }

    fn answered(&mut self, cookie: Cookie) {
        if let Some(requests) = self.pending.get_mut(&cookie) {
            requests.remove(0);
            if requests.is_empty() {
                self.pending.remove(&cookie);
            }
        }
    }
}

/// A server may not answer `NBD_OPT_EXPORT_NAME` by a reply packet; if it does, it is to be seen.
fn starts_like_reply(bytes: &[u8]) -> bool {
    bytes.starts_with(&OPTION_REPLY_MAGIC.to_be_bytes())
}

/// The offset in the export that a message's bulk belongs to.
#[must_use]
pub fn bulk_offset(tracker: &Tracker, message: &Message) -> u64 {
    match message {
        Message::Request(request) => request.offset,
        Message::SimpleReply(reply) => {
            tracker.pending(reply.cookie).first().map_or(0, |pending| pending.offset)
        }
        Message::Chunk(Chunk { body: ChunkBody::Data { offset, .. }, .. }) => *offset,
        _ => 0,
    }
}

/// The cookie of a reply.
#[must_use]
pub fn reply_cookie(message: &Message) -> Option<Cookie> {
    match message {
        Message::SimpleReply(reply) => Some(reply.cookie),
        Message::Chunk(chunk) => Some(chunk.cookie),
        _ => None,
    }
}
