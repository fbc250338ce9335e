//! Talks in a few words: who says what, with everything left out that does not matter.

use protocol::message::{
    Chunk, ChunkBody, ChunkForm, Cookie, ExportInfo, Extent, Greeting, Info, Message, OptionBody,
    OptionReply, OptionRequest, Padding, ReplyBody, Request, RequestForm, Side, SimpleReply,
    StatusPayload,
};
use protocol::values::{
    ChunkType, ClientFlags, Command, CommandFlags, ErrorCode, HandshakeFlags, InfoType, OptionType,
    ReplyFlags, ReplyType, TransmissionFlags,
};

use crate::session::{
    Close, Config, Event, Problem, Rule, Seen, Session, Tls, Unreadable, Violation,
};

pub(super) use Side::{Client, Server};

/// The size of the export, unless said otherwise.
pub(super) const SIZE: u64 = 1 << 20;
/// Flags of an export that can do everything, but for DF.
pub(super) const FLAGS: u16 = 0x0d6d;
/// SEND_DF.
pub(super) const DF: u16 = 0x80;

/// A session and what it told.
pub(super) struct Talk {
    pub(super) session: Session,
    pub(super) events: Vec<Event>,
    /// What was handed in.
    pub(super) sent: Vec<(Side, Vec<u8>)>,
    /// The message that is at fault, if it is not the party's last.
    culprit: Option<u64>,
}

impl Talk {
    pub(super) fn new() -> Self {
        Self {
            session: Session::new(Config::default()),
            events: Vec::new(),
            sent: Vec::new(),
            culprit: None,
        }
    }

    /// The client says a message, with zeroes for its bulk.
    pub(super) fn c(&mut self, message: Message) -> &mut Self {
        self.say(Client, message)
    }

    /// The server says a message, with zeroes for its bulk.
    pub(super) fn s(&mut self, message: Message) -> &mut Self {
        self.say(Server, message)
    }

    fn say(&mut self, side: Side, message: Message) -> &mut Self {
        let mut bytes = message.to_bytes();
        bytes.resize(bytes.len() + message.bulk() as usize, 0);
        self.raw(side, &bytes)
    }

    /// A side sends bytes.
    pub(super) fn raw(&mut self, side: Side, bytes: &[u8]) -> &mut Self {
        self.sent.push((side, bytes.to_vec()));
        self.session.received(side, 0, bytes);
        self.fetch()
    }

    pub(super) fn close(&mut self, side: Side) -> &mut Self {
        self.session.closed(side, 0, Close::End);
        self.fetch()
    }

    pub(super) fn reset(&mut self, side: Side) -> &mut Self {
        self.session.closed(side, 0, Close::Reset);
        self.fetch()
    }

    pub(super) fn gap(&mut self, side: Side, missing: u64) -> &mut Self {
        self.session.gap(side, 0, missing);
        self.fetch()
    }

    pub(super) fn finish(&mut self) -> &mut Self {
        self.session.finish();
        self.fetch()
    }

    pub(super) fn tls(&mut self) -> &mut Self {
        assert!(self.session.expects_tls());
        self.session.tls(0, Tls::Opened);
        self
    }

    /// Bytes beside TLS.
    pub(super) fn beside_tls(&mut self, side: Side, first: bool) -> &mut Self {
        self.session.tls(0, Tls::Unreadable(side, Unreadable::Plaintext { first }));
        self.fetch()
    }

    /// A side has received all that the other one sent.
    pub(super) fn informed(&mut self, side: Side) -> &mut Self {
        self.session.is_informed(side);
        self
    }

    /// A side's bytes were cut from their packet.
    pub(super) fn cut(&mut self, side: Side, missing: u64) -> &mut Self {
        self.session.cut(side, 0, missing);
        self.fetch()
    }

    /// A side ends its direction without closing TLS.
    pub(super) fn unclosed(&mut self, side: Side) -> &mut Self {
        self.session.tls(0, Tls::Unclosed(side));
        self.close(side)
    }

    /// A side reports that TLS failed.
    pub(super) fn tls_failed(&mut self, side: Side) -> &mut Self {
        self.session.tls(0, Tls::Unreadable(side, Unreadable::Failed("TLS failed".to_owned())));
        self.fetch()
    }

    /// Message `number` is at fault.
    pub(super) fn set_culprit(&mut self, number: u64) -> &mut Self {
        self.culprit = Some(number);
        self
    }

    /// The last message is the one at fault, though its party says more.
    pub(super) fn culprit(&mut self) -> &mut Self {
        self.culprit = self.messages().map(|seen| seen.number).max();
        self
    }

    fn fetch(&mut self) -> &mut Self {
        while let Some(event) = self.session.next_event() {
            self.events.push(event);
        }
        self
    }

    /// Greeting and flags, fixed newstyle with no-zeroes.
    pub(super) fn haggle(&mut self) -> &mut Self {
        self.s(newstyle(3)).c(client_flags(3))
    }

    /// An option and its NBD_REP_ACK.
    pub(super) fn agree(&mut self, option: OptionType) -> &mut Self {
        self.c(opt(option)).s(ack(option))
    }

    /// Transmission with simple replies, entered by GO with constraints 1, 4096, 2^25.
    pub(super) fn simple(&mut self) -> &mut Self {
        self.haggle().enter(SIZE, FLAGS, 1)
    }

    /// The same with structured replies.
    pub(super) fn structured(&mut self) -> &mut Self {
        self.haggle().agree(OptionType::STRUCTURED_REPLY).enter(SIZE, FLAGS | DF, 1)
    }

    /// The same with extended headers.
    pub(super) fn extended(&mut self) -> &mut Self {
        self.haggle().agree(OptionType::EXTENDED_HEADERS).enter(SIZE, FLAGS | DF, 1)
    }

    /// The same with extended headers and contexts, whose ids count from 1.
    pub(super) fn extended_contexts(&mut self, names: &[&str], flags: u16) -> &mut Self {
        self.haggle().agree(OptionType::EXTENDED_HEADERS);
        self.select("disk", names).enter(SIZE, flags, 1)
    }

    /// The same with structured replies and contexts, whose ids count from 1.
    pub(super) fn contexts(&mut self, names: &[&str], minimum: u32) -> &mut Self {
        self.haggle().agree(OptionType::STRUCTURED_REPLY);
        self.select("disk", names).enter(SIZE, FLAGS | DF, minimum)
    }

    pub(super) fn select(&mut self, export: &str, names: &[&str]) -> &mut Self {
        let option = OptionType::SET_META_CONTEXT;
        self.c(meta(option, export, names));
        for (index, name) in names.iter().enumerate() {
            self.s(context(option, index as u32 + 1, name));
        }
        self.s(ack(option))
    }

    /// NBD_OPT_GO, with constraints unless `minimum` is 0.
    pub(super) fn enter(&mut self, size: u64, flags: u16, minimum: u32) -> &mut Self {
        self.enter_sized(size, flags, minimum, 1 << 25)
    }

    pub(super) fn enter_sized(
        &mut self,
        size: u64,
        flags: u16,
        minimum: u32,
        maximum: u32,
    ) -> &mut Self {
        let go = OptionType::GO;
        self.c(info(go, "disk", &[InfoType::BLOCK_SIZE])).s(export(go, size, flags));
        if minimum > 0 {
            self.s(block_size(go, minimum, 4096, maximum));
        }
        self.s(ack(go))
    }

    pub(super) fn messages(&self) -> impl Iterator<Item = &Seen> {
        self.events.iter().filter_map(|event| match event {
            Event::Message(seen) => Some(seen),
            _ => None,
        })
    }

    pub(super) fn violations(&self) -> Vec<&Violation> {
        let violations = self.events.iter().filter_map(|event| match event {
            Event::Violation(violation) => Some(violation),
            _ => None,
        });
        violations.collect()
    }

    pub(super) fn problems(&self) -> Vec<&Problem> {
        let problems = self.events.iter().filter_map(|event| match event {
            Event::Problem(problem) => Some(problem),
            _ => None,
        });
        problems.collect()
    }

    /// The ids of the rules that were broken.
    pub(super) fn broken(&self) -> Vec<&'static str> {
        self.violations().iter().map(|violation| violation.requirement.id).collect()
    }

    /// The messages and what is wrong, a line each.
    pub(super) fn lines(&self) -> String {
        self.lines_after(0)
    }

    /// The same after message `number`.
    pub(super) fn lines_after(&self, number: u64) -> String {
        let line = |event: &Event| match event {
            Event::Message(seen) => {
                let description = seen.message.describe(seen.payload.as_ref());
                let answers = seen.answers.map_or_else(String::new, |n| format!(" # answers {n}"));
                format!("{} {}: {description}{answers}", seen.number, seen.from.letter())
            }
            Event::Violation(v) => {
                let (id, party) = (v.requirement.id, v.party.name());
                format!("  ! {} {party} {id}: {}", v.message, v.text)
            }
            Event::Problem(problem) => {
                format!("  ? {} {}: {}", problem.from.name(), problem.kind.name(), problem.text)
            }
        };
        let begins =
            |event: &&Event| !matches!(event, Event::Message(seen) if seen.number == number);
        let skipped =
            if number == 0 { 0 } else { self.events.iter().take_while(begins).count() + 1 };
        self.events.iter().skip(skipped).map(line).collect::<Vec<_>>().join("\n")
    }
}

/// Runs the two talks of a case.
#[track_caller]
pub(super) fn check(rule: Rule, party: Side, broken: fn(&mut Talk), fine: fn(&mut Talk)) {
    let mut talk = Talk::new();
    broken(&mut talk);
    let lines = talk.lines();
    let violations = talk.violations();
    assert_eq!(violations.len(), 1, "exactly one violation\n{lines}");
    assert_eq!(violations[0].requirement.id, rule.id(), "\n{lines}");
    assert_eq!(violations[0].party, party, "\n{lines}");
    let last = talk.messages().filter(|seen| seen.from == party).last();
    let culprit = talk.culprit.or(last.map(|seen| seen.number)).unwrap_or(0);
    assert_eq!(violations[0].message, culprit, "\n{lines}");
    assert!(!violations[0].text.contains('\n'));
    if let (Some(field), Some(seen)) =
        (violations[0].field, talk.messages().find(|seen| seen.number == culprit))
    {
        let description = seen.message.describe(seen.payload.as_ref());
        assert!(description.field(field).is_some(), "no field {field} to mark\n{lines}");
    }
    let mut talk = Talk::new();
    fine(&mut talk);
    assert_eq!(talk.broken(), Vec::<&str>::new(), "the near miss\n{}", talk.lines());
}

/// Cases: a claim, the rule and who breaks it, a talk that does, and one that comes close.
macro_rules! cases {
    ($($name:ident: $rule:ident by $party:ident, $broken:expr, $fine:expr;)*) => {
        $(
            #[test]
            fn $name() {
                check(crate::session::Rule::$rule, $party, $broken, $fine);
            }
        )*

        /// The rules that are tested here.
        pub(super) const RULES: &[crate::session::Rule] = &[$(crate::session::Rule::$rule),*];
    };
}
pub(super) use cases;

pub(super) fn newstyle(flags: u16) -> Message {
    Message::Greeting(Greeting::Newstyle { flags: HandshakeFlags(flags) })
}

pub(super) fn oldstyle(handshake_flags: u16, padding: Padding) -> Message {
    Message::Greeting(Greeting::Oldstyle {
        size: SIZE,
        flags: TransmissionFlags(FLAGS),
        handshake_flags: HandshakeFlags(handshake_flags),
        padding,
    })
}

pub(super) fn client_flags(flags: u32) -> Message {
    Message::ClientFlags(ClientFlags(flags))
}

fn option(option: OptionType, body: OptionBody) -> Message {
    Message::Option(OptionRequest { option, body })
}

/// An option without data.
pub(super) fn opt(kind: OptionType) -> Message {
    option(kind, OptionBody::Empty)
}

/// An option with any data.
pub(super) fn opt_raw(kind: OptionType, data: &[u8]) -> Message {
    option(kind, OptionBody::Raw(data.to_vec()))
}

/// NBD_OPT_EXPORT_NAME.
pub(super) fn export_name(name: &str) -> Message {
    option(OptionType::EXPORT_NAME, OptionBody::Name(name.into()))
}

/// NBD_OPT_INFO or NBD_OPT_GO.
pub(super) fn info(kind: OptionType, name: &str, requests: &[InfoType]) -> Message {
    option(kind, OptionBody::Info { name: name.into(), requests: requests.to_vec() })
}

/// NBD_OPT_GO with the block-size request.
pub(super) fn go() -> Message {
    info(OptionType::GO, "disk", &[InfoType::BLOCK_SIZE])
}

/// NBD_OPT_LIST_META_CONTEXT or NBD_OPT_SET_META_CONTEXT.
pub(super) fn meta(kind: OptionType, export: &str, queries: &[&str]) -> Message {
    let queries = queries.iter().map(|query| (*query).into()).collect();
    option(kind, OptionBody::Meta { export: export.into(), queries })
}

/// A reply to an option.
pub(super) fn rep(option: OptionType, reply: ReplyType, body: ReplyBody) -> Message {
    Message::OptionReply(OptionReply { option, reply, body })
}

pub(super) fn rep_raw(option: OptionType, reply: ReplyType, data: &[u8]) -> Message {
    rep(option, reply, ReplyBody::Raw(data.to_vec()))
}

pub(super) fn ack(option: OptionType) -> Message {
    rep(option, ReplyType::ACK, ReplyBody::Empty)
}

/// A final error.
pub(super) fn refuse(option: OptionType, error: ReplyType) -> Message {
    rep(option, error, ReplyBody::Empty)
}

pub(super) fn item(option: OptionType, info: Info) -> Message {
    rep(option, ReplyType::INFO, ReplyBody::Info(info))
}

pub(super) fn export(option: OptionType, size: u64, flags: u16) -> Message {
    item(option, Info::Export { size, flags: TransmissionFlags(flags) })
}

pub(super) fn block_size(
    option: OptionType,
    minimum: u32,
    preferred: u32,
    maximum: u32,
) -> Message {
    item(option, Info::BlockSize { minimum, preferred, maximum })
}

pub(super) fn listed(name: &str, description: &str) -> Message {
    let body = ReplyBody::Server { name: name.into(), description: description.into() };
    rep(OptionType::LIST, ReplyType::SERVER, body)
}

pub(super) fn context(option: OptionType, id: u32, name: &str) -> Message {
    rep(option, ReplyType::META_CONTEXT, ReplyBody::MetaContext { id, name: name.into() })
}

pub(super) fn export_answer(flags: u16, padding: Padding) -> Message {
    Message::ExportInfo(ExportInfo { size: SIZE, flags: TransmissionFlags(flags), padding })
}

pub(super) fn cmd(command: Command, cookie: u64, offset: u64, length: u64) -> Message {
    cmd_with(command, CommandFlags::EMPTY, cookie, offset, length)
}

pub(super) fn cmd_with(
    command: Command,
    flags: CommandFlags,
    cookie: u64,
    offset: u64,
    length: u64,
) -> Message {
    let cookie = Cookie(cookie);
    let form = RequestForm::Compact;
    Message::Request(Request { form, flags, command, cookie, offset, length, status: None })
}

/// A request with the extended header. A write gets its PAYLOAD_LEN.
pub(super) fn x(message: Message) -> Message {
    let Message::Request(request) = message else { panic!("no request: {message:?}") };
    let payload = match request.command {
        Command::WRITE => CommandFlags::PAYLOAD_LEN,
        _ => CommandFlags::EMPTY,
    };
    let flags = request.flags | payload;
    Message::Request(Request { form: RequestForm::Extended, flags, ..request })
}

/// A chunk with the extended header, in answer to a request at `offset`.
pub(super) fn xs(offset: u64, message: Message) -> Message {
    let Message::Chunk(chunk) = message else { panic!("no chunk: {message:?}") };
    Message::Chunk(Chunk { form: ChunkForm::Extended { offset }, ..chunk })
}

/// The payload form of NBD_CMD_BLOCK_STATUS, about `length` bytes at 0.
pub(super) fn filtered(cookie: u64, length: u64, ids: &[u32]) -> Message {
    Message::Request(Request {
        form: RequestForm::Extended,
        flags: CommandFlags::PAYLOAD_LEN,
        command: Command::BLOCK_STATUS,
        cookie: Cookie(cookie),
        offset: 0,
        length: 8 + 4 * ids.len() as u64,
        status: Some(StatusPayload { effect_length: length, ids: ids.to_vec() }),
    })
}

pub(super) fn read(cookie: u64, offset: u64, length: u64) -> Message {
    cmd(Command::READ, cookie, offset, length)
}

pub(super) fn write(cookie: u64, offset: u64, length: u64) -> Message {
    cmd(Command::WRITE, cookie, offset, length)
}

pub(super) fn disc(cookie: u64) -> Message {
    cmd(Command::DISC, cookie, 0, 0)
}

pub(super) fn err(cookie: u64, error: ErrorCode) -> Message {
    Message::SimpleReply(SimpleReply { error, cookie: Cookie(cookie) })
}

pub(super) fn ok(cookie: u64) -> Message {
    err(cookie, ErrorCode::OK)
}

pub(super) fn chunk(chunk: ChunkType, flags: u16, cookie: u64, body: ChunkBody) -> Message {
    let (form, flags) = (ChunkForm::Structured, ReplyFlags(flags));
    Message::Chunk(Chunk { form, flags, chunk, cookie: Cookie(cookie), body })
}

pub(super) fn chunk_raw(kind: ChunkType, flags: u16, cookie: u64, data: &[u8]) -> Message {
    chunk(kind, flags, cookie, ChunkBody::Raw(data.to_vec()))
}

pub(super) const DONE: u16 = 1;
pub(super) const MORE: u16 = 0;

pub(super) fn none(cookie: u64) -> Message {
    chunk(ChunkType::NONE, DONE, cookie, ChunkBody::Empty)
}

pub(super) fn data(cookie: u64, flags: u16, offset: u64, length: u64) -> Message {
    chunk(ChunkType::OFFSET_DATA, flags, cookie, ChunkBody::Data { offset, length })
}

pub(super) fn hole(cookie: u64, flags: u16, offset: u64, size: u32) -> Message {
    chunk(ChunkType::OFFSET_HOLE, flags, cookie, ChunkBody::Hole { offset, size })
}

pub(super) fn extents(list: &[(u64, u64)]) -> Vec<Extent> {
    list.iter().map(|&(length, status)| Extent { length, status }).collect()
}

pub(super) fn status(cookie: u64, flags: u16, id: u32, list: &[(u64, u64)]) -> Message {
    let body = ChunkBody::BlockStatus { id, extents: extents(list) };
    chunk(ChunkType::BLOCK_STATUS, flags, cookie, body)
}

/// NBD_REPLY_TYPE_BLOCK_STATUS_EXT in answer to a request at 0.
pub(super) fn status_ext(cookie: u64, flags: u16, id: u32, list: &[(u64, u64)]) -> Message {
    let body = ChunkBody::BlockStatusExt { id, count: list.len() as u32, extents: extents(list) };
    xs(0, chunk(ChunkType::BLOCK_STATUS_EXT, flags, cookie, body))
}

pub(super) fn error(cookie: u64, flags: u16, error: ErrorCode, message: &str) -> Message {
    let body = ChunkBody::Error { error, message: message.into(), offset: None, rest: Vec::new() };
    chunk(ChunkType::ERROR, flags, cookie, body)
}

pub(super) fn error_at(cookie: u64, flags: u16, error: ErrorCode, offset: u64) -> Message {
    let offset = Some(offset);
    let body = ChunkBody::Error { error, message: "".into(), offset, rest: Vec::new() };
    chunk(ChunkType::ERROR_OFFSET, flags, cookie, body)
}
