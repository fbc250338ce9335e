//! From a session of a capture to a scenario that replays its client against any server.
//!
//! What varies from server to server is left open: the items of INFO and GO, the form and the order
//! of replies, what an export holds besides what the session itself wrote. What the client did
//! stays: its options, its requests, which of them were in flight together, how it left.

mod answers;
mod burst;
mod content;
mod selection;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};

use dissector::dissect::{Record, Sink};
use dissector::session::{Close, Seen, Violation};
use protocol::describe::Value;
use protocol::message::{
    Chunk, ChunkBody, Cookie, Greeting, Info, Message, OptionBody, OptionReply, OptionRequest,
    ReplyBody, Request, Side, SimpleReply,
};
use protocol::payload::Payload;
use protocol::requirements::id;
use protocol::text::WireString;
use protocol::values::{
    ClientFlags, Command, CommandFlags, ErrorCode, HandshakeFlags, OptionType, ReplyFlags,
    ReplyType, TransmissionFlags,
};

use crate::script::ast::Version;
use crate::script::error::{ScriptError, render};
use crate::script::{format, load, youngest};
use answers::{Asked, Told, right_reply};
use burst::{Burst, Exchange, sendable};
use content::Content;
use selection::Selection;

/// The most messages that a script may come from.
pub const MAX_MESSAGES: u64 = 200_000;

/// Why a session is no scenario.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untold {
    /// There is no such session.
    #[error("the capture has no such session")]
    Absent,
    /// The client can't be played again as it was.
    #[error("the session can't be replayed: {0}")]
    NotReplayable(&'static str),
    /// It is too long.
    #[error("the session has more than {MAX_MESSAGES} messages")]
    TooLong,
    /// What was made is no script; a mistake of this module.
    #[error("the script has mistakes:\n{0}")]
    Mistaken(String),
}

/// A part of the script.
enum Item {
    Line(String),
    /// The client's option, and what stands for its data if that is not kept.
    Option(OptionRequest, Option<Payload>),
    Burst(Burst),
    /// Contexts that were selected.
    Selection(Selection),
}

/// What stands for a reply.
#[derive(Clone, Copy)]
enum Place {
    /// Of an option: the item.
    Line(usize),
    /// Of a request: the item and the place in it.
    Exchange(usize, usize),
}

/// Takes the records of one session.
pub struct Transcriber {
    title: String,
    items: Vec<Item>,
    /// Where the requests without a complete reply stand: item and place in it.
    waiting: HashMap<Cookie, Vec<(usize, usize)>>,
    /// Options without a final reply.
    options: Vec<Asked>,
    /// Contexts told for the option in progress.
    contexts: Vec<WireString>,
    /// The message of the last of them.
    last_context: Option<u64>,
    /// The server was accused of how it told one of them.
    doubtful: bool,
    /// The export that was entered.
    export: Option<WireString>,
    needs: BTreeSet<&'static str>,
    /// Contexts that were selected.
    selected: BTreeSet<String>,
    /// The export could not be written.
    read_only: bool,
    /// How large the export must be, in bytes.
    size: u64,
    /// How large it was, if that was told.
    told_size: Option<u64>,
    requests: u64,
    messages: u64,
    /// The last reply: its message, and what stands for it.
    last_reply: Option<(u64, Place)>,
    /// How the client left has been told.
    left: bool,
    /// The number of the message with the client's flags.
    client_flags: Option<u64>,
    /// What comes from here on came of what was wrong, and is not told.
    finished: bool,
    /// The server's greeting has been seen: with it a session begins.
    greeted: bool,
    /// Where the client's close stands, while the server may still say something.
    closed: Option<usize>,
    problem: Option<Untold>,
}

impl Transcriber {
    /// For a session of a capture; `title` says which.
    #[must_use]
    pub fn new(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            items: Vec::new(),
            waiting: HashMap::new(),
            options: Vec::new(),
            contexts: Vec::new(),
            last_context: None,
            doubtful: false,
            export: None,
            needs: BTreeSet::new(),
            selected: BTreeSet::new(),
            read_only: false,
            size: 0,
            told_size: None,
            requests: 0,
            messages: 0,
            last_reply: None,
            left: false,
            client_flags: None,
            finished: false,
            greeted: false,
            closed: None,
            problem: Some(Untold::Absent),
        }
    }

    /// The scenario, in canonical form.
    ///
    /// # Errors
    /// There was no session, or it can't be replayed.
    pub fn script(mut self) -> Result<String, Untold> {
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        if !self.greeted {
            return Err(Untold::NotReplayable("its beginning was not captured"));
        }
        let mut body = Vec::new();
        let mut content = Content::default();
        for item in &self.items {
            match item {
                Item::Line(line) => body.push(line.clone()),
                Item::Option(option, payload) => {
                    body.push(option_line(option, payload.as_ref(), self.export.as_ref()));
                }
                Item::Burst(burst) => body.extend(burst.lines(&mut content)),
                Item::Selection(it) => body.extend(it.lines(self.export.as_ref())),
            }
        }
        if !self.left {
            body.push("-- close".to_owned());
        }
        // Who wrote all the same wanted to see it refused.
        let refused = self.read_only && self.needs.remove("write");
        if refused {
            for word in ["SEND_TRIM", "SEND_WRITE_ZEROES", "SEND_FAST_ZERO"] {
                self.needs.remove(word);
            }
            self.needs.insert("read-only");
        }
        let export = match refused {
            true => "export: read-only\n",
            // A server that is started for it has certificates then, and takes the session as it was.
            false if !self.needs.contains("tls=x509") => "",
            false if self.begins_with_tls() => "export: tls-forced\n",
            false => "export: tls-selective\n",
        };
        let mut needs: Vec<String> = self.needs.iter().map(|word| (*word).to_owned()).collect();
        needs.extend(self.selected.iter().map(|name| format!("context={name}")));
        if self.size > 0 {
            needs.push(format!("size>={}", self.size));
        }
        let needs =
            if needs.is_empty() { String::new() } else { format!("needs: {}\n", needs.join(" ")) };
        let text = |since: Version| {
            format!(
                "nbd: 1\ntitle: {}\nsince: {since}\nfeature: recorded sessions\ntests: server\n{export}{needs}\n{}\n",
                self.title,
                body.join("\n")
            )
        };
        let mistakes = |errors: Vec<ScriptError>| Untold::Mistaken(render(&errors, false));
        // The words of the script tell since when all that it takes has been there.
        let oldest = Version { major: 2, minor: 6 };
        let draft = load("recorded", "recorded.nbd", &text(oldest)).map_err(mistakes)?;
        let since = youngest(&draft).map_or(oldest, |(since, ..)| since.max(oldest));
        format("recorded.nbd", &text(since)).map_err(mistakes)
    }

    /// Whether the client asked for TLS before all else.
    fn begins_with_tls(&self) -> bool {
        let mut options = self.items.iter().filter_map(|item| match item {
            Item::Option(option, _) => Some(option.option),
            _ => None,
        });
        options.next() == Some(OptionType::STARTTLS)
    }

    fn line(&mut self, line: impl Into<String>) {
        self.items.push(Item::Line(line.into()));
    }

    fn message(&mut self, seen: &Seen) {
        if self.finished {
            return;
        }
        self.messages += 1;
        if self.messages > MAX_MESSAGES {
            self.problem = Some(Untold::TooLong);
            return;
        }
        self.greeted |= matches!(seen.message, Message::Greeting(_));
        match &seen.message {
            Message::Greeting(Greeting::Oldstyle { size, .. }) => {
                self.told_size = Some(*size);
                self.line("-- connect");
                self.line("S: greeting oldstyle");
                self.needs.insert("oldstyle");
            }
            Message::Greeting(Greeting::Newstyle { flags }) => {
                self.line("-- connect");
                // Who was not seen to be fixed may have been right, or wrong.
                let fixed = flags.has(HandshakeFlags::FIXED_NEWSTYLE);
                self.line(format!("S: greeting {}", if fixed { "fixed-newstyle" } else { "_" }));
            }
            Message::ClientFlags(flags) => {
                // What the client agreed to must be offered.
                if flags.has(ClientFlags::NO_ZEROES)
                    && let Some(Item::Line(greeting)) = self.items.last_mut()
                {
                    greeting.push_str(" flags has {NO_ZEROES}");
                }
                self.client_flags = Some(seen.number);
                self.line(format!("C: {}", seen.message.describe(None)));
            }
            Message::Option(option) => self.option(seen.number, option, seen.payload.as_ref()),
            Message::OptionReply(reply) => {
                self.option_reply(seen.number, reply);
                let place = Place::Line(self.items.len().saturating_sub(1));
                self.last_reply = Some((seen.number, place));
            }
            Message::ExportInfo(info) => {
                self.told_size = Some(info.size);
                self.read_only = info.flags.has(TransmissionFlags::READ_ONLY);
                self.entered();
                self.line("S: export-info");
            }
            Message::Request(request) => {
                self.request(seen.number, request, seen.payload.as_ref());
            }
            Message::SimpleReply(SimpleReply { error, cookie }) => {
                self.reply(seen.number, *cookie, *error, true);
            }
            Message::Chunk(chunk) => self.chunk(seen.number, chunk),
        }
    }

    fn option(&mut self, number: u64, option: &OptionRequest, payload: Option<&Payload>) {
        let payload = payload.map(|payload| sendable(payload, 1).0);
        self.items.push(Item::Option(option.clone(), payload));
        self.options.push(Asked { number, option: option.clone(), unlawful: false });
    }

    fn option_reply(&mut self, number: u64, reply: &OptionReply) {
        if let Some(Item::Line(close)) =
            self.closed.take().and_then(|index| self.items.get_mut(index))
        {
            // The client closed its direction and heard the answer all the same.
            "-- shut".clone_into(close);
        }
        if !reply.reply.is_final() {
            // One that can't be read counts too.
            if reply.reply == ReplyType::META_CONTEXT {
                self.last_context = Some(number);
            }
            match &reply.body {
                ReplyBody::MetaContext { name, .. } => self.contexts.push(name.clone()),
                ReplyBody::Info(Info::Export { size, flags }) => {
                    self.told_size = Some(*size);
                    self.read_only = flags.has(TransmissionFlags::READ_ONLY);
                }
                _ => {}
            }
            return;
        }
        let contexts = std::mem::take(&mut self.contexts);
        self.last_context = None;
        if reply.option != OptionType::SET_META_CONTEXT {
            self.doubtful = false;
        }
        let answered = self.options.iter().position(|asked| asked.option.option == reply.option);
        // A reply that names another option is one to the oldest.
        let answered = answered.or_else(|| (!self.options.is_empty()).then_some(0));
        let Some(asked) = answered.map(|index| self.options.remove(index)) else {
            return self.line("# a final reply to no option arrived here");
        };
        let told = Told::of(&asked, reply.reply, !self.options.is_empty());
        match asked.option.option {
            OptionType::GO if told != Told::LeftOut => self.needs.insert("NBD_OPT_GO"),
            OptionType::INFO if told != Told::LeftOut => self.needs.insert("NBD_OPT_INFO"),
            _ => false,
        };
        match told {
            Told::Served => self.served(&asked.option, contexts),
            Told::Line(line) => self.line(line),
            Told::LeftOut => self.leave_out(asked.option.option),
            Told::Ends => {
                self.line(answers::entered_or_left("a reply in the capture, against the rules"));
                (self.left, self.finished) = (true, true);
            }
            Told::NotReplayable(why) => self.problem = Some(Untold::NotReplayable(why)),
        }
    }

    /// An option was acknowledged, and right servers would do so.
    fn served(&mut self, asked: &OptionRequest, contexts: Vec<WireString>) {
        let option = asked.option;
        match option {
            OptionType::GO | OptionType::INFO => {
                if self.export.is_none() || option == OptionType::GO {
                    // As long as none is entered it is the one that was asked about.
                    self.export = named(asked);
                }
                if option == OptionType::GO {
                    self.options.clear();
                }
                self.line(answers::acknowledged(option));
            }
            OptionType::LIST => {
                self.needs.insert("list");
                self.line(answers::acknowledged(option));
            }
            OptionType::SET_META_CONTEXT => self.selects(asked, contexts),
            other => {
                match other {
                    OptionType::STRUCTURED_REPLY => self.needs.insert("structured"),
                    OptionType::EXTENDED_HEADERS => self.needs.insert("extended"),
                    _ => false,
                };
                self.line(answers::acknowledged(other));
                if other == OptionType::STARTTLS {
                    self.needs.insert("tls=x509");
                    self.line("-- tls x509");
                }
                if other == OptionType::ABORT {
                    self.line("S: end");
                    self.left = true;
                }
            }
        }
    }

    /// The contexts that the server selected.
    fn selects(&mut self, option: &OptionRequest, contexts: Vec<WireString>) {
        let doubtful = std::mem::take(&mut self.doubtful);
        let selection = Selection::new(option, contexts, doubtful);
        self.needs.insert("NBD_OPT_SET_META_CONTEXT");
        self.selected.extend(selection.names().iter().filter_map(plain));
        self.items.push(Item::Selection(selection));
    }

    /// Another server may know what this one did not, and the session would be another: an option
    /// that had no effect is left out.
    fn leave_out(&mut self, refused: OptionType) {
        let asked = self
            .items
            .iter_mut()
            .rev()
            .find(|item| matches!(item, Item::Option(option, _) if option.option == refused));
        if let Some(item) = asked {
            *item = Item::Line(format!(
                "# here the client asked for {refused}, which the server did not know"
            ));
        }
    }

    /// The last option that could enter an export has done so.
    fn entered(&mut self) {
        self.export = self.options.iter().rev().find_map(|asked| named(&asked.option));
        self.options.clear();
    }

    fn request(&mut self, number: u64, request: &Request, payload: Option<&Payload>) {
        self.need(request);
        self.requests += 1;
        let seed = u16::try_from(self.requests % 0xffff).unwrap_or_default() + 1;
        let (data, replaced) = match payload {
            Some(payload) => {
                let (data, replaced) = sendable(payload, seed);
                (Some(data), replaced)
            }
            None => (None, false),
        };
        let exchange = Exchange {
            label: format!("r{}", self.requests),
            number,
            unlawful: false,
            request: request.clone(),
            data,
            replaced,
            error: None,
            accused: Vec::new(),
            answered: false,
            beyond: self.told_size.is_some_and(|size| end_of(request) > size),
            remarks: Vec::new(),
        };
        if !matches!(self.items.last(), Some(Item::Burst(burst)) if !burst.answered) {
            self.items.push(Item::Burst(Burst::default()));
        }
        let item = self.items.len() - 1;
        let Some(Item::Burst(burst)) = self.items.last_mut() else { return };
        if request.command != Command::DISC {
            let place = (item, burst.exchanges.len());
            self.waiting.entry(request.cookie).or_default().push(place);
        }
        burst.exchanges.push(exchange);
        if request.command == Command::DISC {
            burst.answered = true;
            self.line("S: end");
            self.left = true;
        }
    }

    /// What a server must offer for a request.
    fn need(&mut self, request: &Request) {
        match request.command {
            Command::WRITE => self.needs.insert("write"),
            Command::TRIM => self.needs.insert("write") | self.needs.insert("SEND_TRIM"),
            Command::WRITE_ZEROES => {
                self.needs.insert("write") | self.needs.insert("SEND_WRITE_ZEROES")
            }
            Command::FLUSH => self.needs.insert("SEND_FLUSH"),
            Command::CACHE => self.needs.insert("SEND_CACHE"),
            _ => false,
        };
        for (flag, word) in [
            (CommandFlags::FUA, "SEND_FUA"),
            (CommandFlags::DF, "SEND_DF"),
            (CommandFlags::FAST_ZERO, "SEND_FAST_ZERO"),
        ] {
            if request.flags.has(flag) {
                self.needs.insert(word);
            }
        }
        let end = end_of(request);
        if request.command != Command::DISC && self.told_size.is_none_or(|size| end <= size) {
            self.size = self.size.max(end);
        }
    }

    fn chunk(&mut self, number: u64, chunk: &Chunk) {
        let error = match &chunk.body {
            ChunkBody::Error { error, .. } => *error,
            _ => ErrorCode::OK,
        };
        self.reply(number, chunk.cookie, error, chunk.flags.has(ReplyFlags::DONE));
    }

    fn reply(&mut self, number: u64, cookie: Cookie, error: ErrorCode, done: bool) {
        let Some(places) = self.waiting.get_mut(&cookie) else {
            return self.line("# a reply to no request arrived here");
        };
        let Some(&(item, place)) = places.first() else { return };
        self.last_reply = Some((number, Place::Exchange(item, place)));
        if done {
            places.remove(0);
            if places.is_empty() {
                self.waiting.remove(&cookie);
            }
        }
        let Some(Item::Burst(burst)) = self.items.get_mut(item) else { return };
        burst.answered = true;
        if let Some(exchange) = burst.exchanges.get_mut(place) {
            exchange.answered |= done;
            if error != ErrorCode::OK {
                exchange.error.get_or_insert(error);
            }
        }
    }

    fn violation(&mut self, violation: &Violation) {
        if self.finished {
            return;
        }
        let Violation { requirement, party, text, message, .. } = violation;
        if TLS_BEGINS.contains(&requirement.id) {
            self.problem = Some(Untold::NotReplayable(answers::WRONG_TLS));
        }
        if *party == Side::Client
            && (requirement.level.is_binding() || requirement.id == id::TFLAG_RESIZE_EXPERIMENTAL)
            && !OF_THE_EXPORT.contains(&requirement.id)
        {
            self.unlawful(*message);
        }
        if WRONGLY_SELECTED.contains(&requirement.id) {
            // It is told just after its context.
            self.contexts.pop();
        } else if *party == Side::Server && self.last_context == Some(*message) {
            self.doubtful = true;
        }
        if *party == Side::Server
            && let Some((_, place)) = self.last_reply.filter(|(number, _)| number == message)
        {
            self.accused(place, requirement.id);
        }
        let remark =
            format!("# ! {} {} [{}] {text}", requirement.level, party.name(), requirement.id);
        match self.items.last_mut() {
            Some(Item::Burst(burst)) if !burst.exchanges.is_empty() => {
                if let Some(exchange) = burst.exchanges.last_mut() {
                    exchange.remarks.push(remark);
                }
            }
            _ => self.line(remark),
        }
    }

    /// The client was wrong to send this.
    fn unlawful(&mut self, number: u64) {
        if self.client_flags == Some(number) {
            self.problem = Some(Untold::NotReplayable("the client's flags are against the rules"));
        }
        if let Some(asked) = self.options.iter_mut().find(|asked| asked.number == number) {
            asked.unlawful = true;
        }
        if let Some(Item::Burst(burst)) = self.items.last_mut()
            && let Some(exchange) = burst.exchanges.iter_mut().find(|it| it.number == number)
        {
            exchange.unlawful = true;
        }
    }

    /// The server was wrong to reply so: the script asks for what is right.
    fn accused(&mut self, place: Place, id: &'static str) {
        match place {
            Place::Line(item) => {
                if let Some(Item::Selection(selection)) = self.items.get_mut(item) {
                    selection.accused(id);
                } else if let Some(Item::Line(line)) = self.items.get_mut(item)
                    && line.starts_with("S: error option=NBD_OPT_ABORT")
                {
                    "S: NBD_REP_ACK option=NBD_OPT_ABORT".clone_into(line);
                    self.line("S: end");
                    self.left = true;
                } else if let Some(Item::Line(line)) = self.items.get_mut(item)
                    && let Some(right) = right_reply(line, id)
                {
                    *line = right;
                }
            }
            Place::Exchange(item, place) => {
                if let Some(Item::Burst(burst)) = self.items.get_mut(item)
                    && let Some(exchange) = burst.exchanges.get_mut(place)
                {
                    exchange.accused.push(id);
                }
            }
        }
    }

    fn ended(&mut self, from: Side, how: Close) {
        if self.left || self.finished {
            return;
        }
        self.left = true;
        match (from, how) {
            (Side::Client, Close::End) => {
                self.closed = Some(self.items.len());
                self.line("-- close");
            }
            (Side::Client, Close::Reset) => self.line("-- reset"),
            (Side::Server, _) => self.server_left(),
        }
    }

    /// The server left, and the client had not said that it would.
    fn server_left(&mut self) {
        match self.options.first().map(|asked| asked.option.option) {
            Some(OptionType::EXPORT_NAME) => {
                self.line(answers::entered_or_left("the server left in the capture"));
            }
            // Others answer before they leave.
            Some(OptionType::ABORT) => {
                self.line("maybe { S: NBD_REP_ACK option=NBD_OPT_ABORT }");
                self.line("S: end");
            }
            // Others go on; what the client had sent meanwhile would need a connection.
            _ => {
                self.line("# here the server left");
                self.line("-- close");
                self.finished = true;
            }
        }
    }
}

impl Sink for Transcriber {
    fn record(&mut self, record: Record<'_>) {
        match record {
            Record::Opened(_) => self.problem = None,
            Record::Message(_, seen) if self.problem.is_none() => self.message(seen),
            Record::Violation(_, violation) if self.problem.is_none() => self.violation(violation),
            Record::Ended(_, end) if self.problem.is_none() => self.ended(end.from, end.how),
            Record::Problem(Some(_), note) if self.problem.is_none() => match note.kind {
                // These do not take anything away from what is known of the client.
                "bad-checksum" | "copies" | "cut-off" | "overlap" | "stray-reset" | "tls"
                | "unanswered" => {
                    self.line(format!("# {}: {}", note.kind, note.text));
                }
                _ => {
                    self.problem = Some(Untold::NotReplayable(
                        "not all of it was captured, or it could not be read",
                    ));
                }
            },
            _ => {}
        }
    }
}

/// Rules about how TLS begins. A session that broke one has nothing that a right server could play.
const TLS_BEGINS: [&str; 3] = [
    id::TLS_NO_PLAINTEXT_AFTER_ACK,
    id::TLS_STARTTLS_TWICE_INVALID,
    id::TLS_CLIENT_NO_SECOND_STARTTLS,
];

/// What clients break on exports with some limits, and not on others.
const OF_THE_EXPORT: [&str; 3] =
    [id::SIZE_CLIENT_ABIDES, id::SIZE_CLIENT_PAYLOAD_LIMIT, id::REQUEST_ALIGNED_TO_MIN];

/// Contexts that a server was wrong to select.
const WRONGLY_SELECTED: [&str; 3] = [
    id::BASE_WILDCARD_IGNORED_IN_SET,
    id::QEMU_WILDCARDS_SELECT_NOTHING,
    id::META_EMPTY_LEAF_SELECTS_NOTHING,
];

/// The name of a context, if the header of a script can say it as it is.
fn plain(name: &WireString) -> Option<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_');
    name.to_str().filter(|name| name.chars().all(is_plain)).map(str::to_owned)
}

/// Where the stretch ends that a request is about, in bytes from the start of the export.
fn end_of(request: &Request) -> u64 {
    let length = request.status.as_ref().map_or(request.length, |status| status.effect_length);
    request.offset.saturating_add(length)
}

/// The export that an option names.
fn named(option: &OptionRequest) -> Option<WireString> {
    match &option.body {
        OptionBody::Name(name) | OptionBody::Info { name, .. } => Some(name.clone()),
        _ => None,
    }
}

fn option_line(
    option: &OptionRequest,
    payload: Option<&Payload>,
    export: Option<&WireString>,
) -> String {
    let mut described = Message::Option(option.clone()).describe(payload);
    for field in &mut described.fields {
        if field.key == "name"
            && export.is_some_and(|name| field.value == Value::Text(name.clone()))
        {
            field.value = Value::Name("$export".into());
        }
    }
    format!("C: {described}")
}
