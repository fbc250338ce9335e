//! What a server offers, found out by asking it, with the lines that show it.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::describe::Value;
use protocol::message::{
    Cookie, ExportInfo, Greeting, Info, Message, OptionBody, OptionReply, OptionRequest, ReplyBody,
    Request, RequestForm, Side,
};
use protocol::text::WireString;
use protocol::values::{
    ClientFlags, Command, CommandFlags, HandshakeFlags, InfoType, OptionType, ReplyType,
    TransmissionFlags,
};

use super::exports::{Export, describe};
use crate::dial::connect;
use crate::interpret::block_size;
use crate::link::secure::{NoTls, Secrets};
use crate::link::{Incoming, Link, plain};
use crate::peer::Address;
use crate::script::ast::TlsKind;
use crate::tls::{Security, Starter};

/// For whom TLS is a must (section "Server-side requirements").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsMode {
    /// NOTLS: it has none.
    #[default]
    Off,
    /// SELECTIVETLS: it has TLS for those who ask.
    Selective,
    /// FORCEDTLS: nothing is served without.
    Forced,
}

impl TlsMode {
    /// The word in scripts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Selective => "selective",
            Self::Forced => "forced",
        }
    }
}

/// Who is asked.
#[derive(Debug, Clone, Copy)]
pub struct Whom<'a> {
    /// Where it listens.
    pub address: &'a Address,
    /// What there is for TLS with it.
    pub security: Option<&'a Security>,
    /// TLS is a must for us.
    pub insists: bool,
}

/// What a server offers.
#[derive(Debug, Clone, Default)]
pub struct Capabilities {
    /// Whether the greeting is newstyle with the fixed flag.
    pub fixed: bool,
    /// Whether the greeting is oldstyle.
    pub oldstyle: bool,
    /// The export that was entered.
    pub export: String,
    /// Size of the export in bytes.
    pub size: u64,
    /// Transmission flags, those that only structured replies bring included.
    pub flags: TransmissionFlags,
    /// The same after extended headers and a metadata context were agreed; empty without them.
    pub extended_flags: TransmissionFlags,
    /// The size constraints, if told: minimum, preferred, maximum.
    pub block_size: Option<(u32, u32, u32)>,
    /// Names in the list of exports; `None` if there is no list.
    pub listed: Option<Vec<WireString>>,
    /// The metadata contexts that are listed for the export.
    pub contexts: Vec<WireString>,
    /// How each option was answered.
    pub options: BTreeMap<OptionType, ReplyType>,
    /// Which TLS it does.
    pub tls: TlsMode,
    /// By what the parties know each other in TLS, where there is something for it.
    pub tls_kind: Option<TlsKind>,
    /// The export that was entered and those that are listed, with their properties as far as the
    /// server tells them; at most [`DESCRIBED`](super::exports::DESCRIBED).
    pub exports: Vec<Export>,
    /// The answer lines, for evidence.
    pub lines: Vec<String>,
}

impl Capabilities {
    /// Whether an option is served.
    #[must_use]
    pub fn offers(&self, option: OptionType) -> bool {
        self.options.get(&option) == Some(&ReplyType::ACK)
    }

    /// The line that shows something, the last first: one that contains all of these texts.
    #[must_use]
    pub fn evidence(&self, texts: &[&str]) -> Option<&str> {
        let shows = |line: &&String| texts.iter().all(|text| line.contains(text));
        self.lines.iter().rev().find(shows).map(String::as_str)
    }

    /// The variables that a script may use before it has entered an export itself.
    #[must_use]
    pub fn variables(&self) -> Vec<(String, Value)> {
        let int = |name: &str, value: u64| (name.to_owned(), Value::Int(value));
        let minimum = self.block_size.map_or(1, |(minimum, ..)| u64::from(minimum));
        let mut variables = vec![
            int("size", self.size),
            ("flags".to_owned(), Value::Names(self.flags.names())),
            int("minimum", minimum),
            int("block", block_size(minimum, self.size)),
        ];
        if let Some((_, preferred, maximum)) = self.block_size {
            variables.push(int("preferred", preferred.into()));
            variables.push(int("maximum", maximum.into()));
        }
        variables
    }
}

/// How many waits the questions may take in all.
const WAITS: u32 = 12;

/// Asks a server what it offers; `export` is the one to enter, `None` for the default one or the
/// first that is listed. A server that misbehaves while it is asked offers what it told until then:
/// the scenarios will name what is wrong.
///
/// # Errors
/// The server can't be reached, says nothing, or refuses the export.
pub async fn probe(
    whom: Whom<'_>,
    export: Option<&str>,
    limit: Duration,
) -> Result<Capabilities, String> {
    let mut found =
        Capabilities { export: export.unwrap_or_default().to_owned(), ..Capabilities::default() };
    let all = limit.saturating_mul(WAITS);
    let asked = tokio::time::timeout(all, ask(whom, export, limit, &mut found)).await;
    let asked = asked.unwrap_or(Err(Unanswered::Misbehaved));
    if found.fixed && !matches!(asked, Err(Unanswered::Refused(_))) {
        // A server that misbehaves here has none that could be used.
        let _ = tokio::time::timeout(all, ask_for_tls(whom, limit, &mut found)).await;
    }
    if !found.lines.is_empty() && !matches!(asked, Err(Unanswered::Refused(_))) {
        let described = tokio::time::timeout(all, describe(whom, &found, limit)).await;
        found.exports = described.unwrap_or_default();
    }
    let address = whom.address;
    match asked {
        Ok(()) => Ok(found),
        Err(Unanswered::Misbehaved) if !found.lines.is_empty() => Ok(found),
        Err(Unanswered::Misbehaved) => {
            Err(format!("no greeting comes from {address}: it does not speak NBD, or is busy"))
        }
        Err(Unanswered::Refused(reason)) => Err(reason),
    }
}

/// Why a question has no answer.
pub(super) enum Unanswered {
    /// There is no connection, or the export is refused.
    Refused(String),
    /// The server hung up, said nothing, or said what can't be an answer.
    Misbehaved,
}

impl From<String> for Unanswered {
    fn from(reason: String) -> Self {
        Self::Refused(reason)
    }
}

/// Which TLS the server does, on a connection of its own.
async fn ask_for_tls(
    whom: Whom<'_>,
    limit: Duration,
    found: &mut Capabilities,
) -> Result<(), Unanswered> {
    let mut asked = Asker::open(whom.address, limit).await?;
    let mut apart = Capabilities::default();
    let Style::Fixed(flags) = asked.greeting(&mut apart).await? else { return Ok(()) };
    asked.say(Message::ClientFlags(answer(flags))).await;
    apart.lines.clear();
    // A server may answer LIST by a refusal of its own; what it does not know tells its mode.
    let unknown = OptionType(0x4e42_4421);
    let (_, last) = asked.option(&mut apart, unknown, OptionBody::Empty).await?;
    let forced = last == ReplyType::ERR_TLS_REQD;
    let option = OptionType::STARTTLS;
    let (_, last) = asked.option(&mut apart, option, OptionBody::Empty).await?;
    found.options.insert(option, last);
    // The first lines, lest they be taken for what others are to show.
    found.lines.splice(0..0, std::mem::take(&mut apart.lines));
    if last != ReplyType::ACK {
        asked.say(self::option(OptionType::ABORT, OptionBody::Empty)).await;
        asked.wait_for_close().await;
        return Ok(());
    }
    found.tls = if forced { TlsMode::Forced } else { TlsMode::Selective };
    if let Some(security) = whom.security {
        found.tls_kind = Some(security.kind());
        asked.shake_hands(security).await?;
        asked.say(self::option(OptionType::ABORT, OptionBody::Empty)).await;
        asked.wait_for_close().await;
    }
    Ok(())
}

async fn ask(
    whom: Whom<'_>,
    export: Option<&str>,
    limit: Duration,
    found: &mut Capabilities,
) -> Result<(), Unanswered> {
    let mut asked = Asker::open(whom.address, limit).await?;
    let flags = match asked.greeting(found).await? {
        Style::Fixed(flags) => flags,
        Style::Newstyle(flags) => {
            asked.say(Message::ClientFlags(answer(flags))).await;
            found.export = export.unwrap_or_default().to_owned();
            asked.export_name(found).await?;
            return Ok(());
        }
        Style::Oldstyle => {
            asked.disconnect().await;
            return Ok(());
        }
    };
    asked.say(Message::ClientFlags(answer(flags))).await;
    let mut secure = None;
    if whom.insists {
        secure = whom.security;
        asked.start_tls(found, secure).await?;
    }
    let list = OptionType::LIST;
    let asked_inside = |secure: bool, error| {
        match error {
        // In TLS 1.3 a client is content before the server has looked at its certificate.
        Unanswered::Misbehaved if secure => Unanswered::Refused(
            "the server ends the session after the TLS handshake\nhint: does it demand a certificate, `--tls-cert` and `--tls-key`?"
                .to_owned(),
        ),
        error => error,
    }
    };
    let heard = asked.option(found, list, OptionBody::Empty).await;
    let (mut listed, mut last) = heard.map_err(|error| asked_inside(secure.is_some(), error))?;
    if last == ReplyType::ERR_TLS_REQD && secure.is_none() {
        secure = whom.security;
        asked.start_tls(found, secure).await?;
        let heard = asked.option(found, list, OptionBody::Empty).await;
        (listed, last) = heard.map_err(|error| asked_inside(true, error))?;
    }
    if last == ReplyType::ACK {
        let names = listed.into_iter().filter_map(|reply| match reply.body {
            ReplyBody::Server { name, .. } => Some(name),
            _ => None,
        });
        found.listed = Some(names.collect());
    }
    let structured = OptionType::STRUCTURED_REPLY;
    asked.option(found, structured, OptionBody::Empty).await?;
    let wanted = match export {
        Some(name) => vec![WireString::from(name)],
        None => {
            let mut names = vec![WireString::default()];
            names.extend(
                found.listed.iter().flatten().filter(|name| !name.is_empty()).take(1).cloned(),
            );
            names
        }
    };
    for name in wanted {
        let body = OptionBody::Info { name: name.clone(), requests: vec![InfoType::BLOCK_SIZE] };
        found.export = String::from_utf8_lossy(name.as_bytes()).into_owned();
        let (items, last) = asked.option(found, OptionType::GO, body).await?;
        if last == ReplyType::ACK {
            found.learn(items);
            asked.disconnect().await;
            // What took TLS here takes it on the other connections too.
            let inside = Whom { insists: secure.is_some(), ..whom };
            // Who does not survive to be asked is for scenarios to name.
            if let Err(Unanswered::Refused(reason)) =
                ask_extended(inside, &name, limit, found).await
            {
                return Err(Unanswered::Refused(reason));
            }
            // INFO is not needed to enter, but scenarios need to know whether it is there.
            let mut again = Capabilities::default();
            if let Some(mut asked) = Asker::haggling(inside, found, limit, &mut again).await? {
                // qemu 2.10 to 3.1 refuse INFO to those who do not ask for the block size.
                let requests = vec![InfoType::BLOCK_SIZE];
                let body = OptionBody::Info { name: name.clone(), requests };
                asked.option(&mut again, OptionType::INFO, body).await?;
                let told = match found.offers(structured) {
                    true => asked.contexts(&mut again, name).await,
                    false => Ok(()),
                };
                found.contexts = again.contexts;
                found.options.extend(again.options);
                found.lines.extend(again.lines);
                told?;
                asked.say(option(OptionType::ABORT, OptionBody::Empty)).await;
            }
            return Ok(());
        }
        // The block size was asked for: an error that demands just that is for scenarios to name.
        if last == ReplyType::ERR_BLOCK_SIZE_REQD {
            return Err(Unanswered::Misbehaved);
        }
        if last == ReplyType::ERR_UNSUP {
            asked.export_name(found).await?;
            return Ok(());
        }
    }
    let refusal = found.lines.last().cloned().unwrap_or_default();
    let hint = match &found.listed {
        Some(names) if !names.is_empty() => {
            let names: Vec<String> = names.iter().take(8).map(ToString::to_string).collect();
            format!("\nhint: `--export` chooses another; the server lists {}", names.join(", "))
        }
        _ => "\nhint: `--export` names the export".to_owned(),
    };
    let name = WireString::from(found.export.as_str());
    Err(Unanswered::Refused(format!("the server refuses the export {name}: {refusal}{hint}")))
}

/// Whether there are extended headers, and the flags of an export that hang on them and on a
/// context. On a connection of its own: what is agreed on it can't be undone.
async fn ask_extended(
    whom: Whom<'_>,
    export: &WireString,
    limit: Duration,
    found: &mut Capabilities,
) -> Result<(), Unanswered> {
    let mut told = Capabilities::default();
    let haggling = Asker::haggling(whom, found, limit, &mut told).await?;
    let Some(mut asked) = haggling else { return Ok(()) };
    let extended = OptionType::EXTENDED_HEADERS;
    let (_, last) = asked.option(&mut told, extended, OptionBody::Empty).await?;
    found.options.insert(extended, last);
    if last == ReplyType::ACK {
        let context = OptionType::SET_META_CONTEXT;
        let queries = vec![WireString::from("base:allocation")];
        let body = OptionBody::Meta { export: export.clone(), queries };
        let (_, last) = asked.option(&mut told, context, body).await?;
        found.options.insert(context, last);
        let body = OptionBody::Info { name: export.clone(), requests: Vec::new() };
        let (items, _) = asked.option(&mut told, OptionType::INFO, body).await?;
        told.learn(items);
        found.extended_flags = told.flags;
    }
    found.lines.extend(told.lines);
    asked.leave().await;
    Ok(())
}

impl Capabilities {
    fn learn(&mut self, items: Vec<OptionReply>) {
        for item in items {
            match item.body {
                ReplyBody::Info(Info::Export { size, flags }) => {
                    self.size = size;
                    self.flags = flags;
                }
                ReplyBody::Info(Info::BlockSize { minimum, preferred, maximum }) => {
                    self.block_size = Some((minimum, preferred, maximum));
                }
                _ => {}
            }
        }
    }
}

enum Style {
    Fixed(HandshakeFlags),
    Newstyle(HandshakeFlags),
    Oldstyle,
}

fn answer(offered: HandshakeFlags) -> ClientFlags {
    let mut flags = ClientFlags::EMPTY;
    if offered.has(HandshakeFlags::FIXED_NEWSTYLE) {
        flags = flags | ClientFlags::FIXED_NEWSTYLE;
    }
    if offered.has(HandshakeFlags::NO_ZEROES) {
        flags = flags | ClientFlags::NO_ZEROES;
    }
    flags
}

fn option(option: OptionType, body: OptionBody) -> Message {
    Message::Option(OptionRequest { option, body })
}

/// A connection on which questions are asked.
pub(super) struct Asker {
    link: Link,
    limit: Duration,
    /// How much has been heard, in characters.
    heard: usize,
}

/// How many messages may still come once we have taken leave.
const FAREWELLS: usize = 100;
/// The most that is listened to on one connection, in characters.
const HEARD: usize = 4 << 20;
/// The longest line that is kept as evidence, in characters; what is cut is no evidence.
const LINE: usize = 16 << 10;

impl Asker {
    async fn open(address: &Address, limit: Duration) -> Result<Self, String> {
        let stream = connect(address, limit).await?;
        Ok(Self { link: Link::new("", Side::Client, stream, None), limit, heard: 0 })
    }

    /// A connection on which options can be asked, through TLS where the server insists; `None` if
    /// it takes no options.
    pub(super) async fn haggling(
        whom: Whom<'_>,
        found: &Capabilities,
        limit: Duration,
        told: &mut Capabilities,
    ) -> Result<Option<Self>, Unanswered> {
        let mut asked = Self::open(whom.address, limit).await?;
        let Style::Fixed(flags) = asked.greeting(told).await? else { return Ok(None) };
        asked.say(Message::ClientFlags(answer(flags))).await;
        if whom.insists || found.tls == TlsMode::Forced {
            asked.start_tls(told, whom.security).await?;
        }
        Ok(Some(asked))
    }

    /// Ends the haggling, and waits for the close: the server may have one place only.
    pub(super) async fn leave(&mut self) {
        self.say(option(OptionType::ABORT, OptionBody::Empty)).await;
        self.wait_for_close().await;
    }

    /// Until the close, but not for ever.
    async fn wait_for_close(&mut self) {
        for _ in 0..FAREWELLS {
            match self.link.receive(self.limit).await {
                Incoming::Message(_) => drop(self.link.take_transcript()),
                Incoming::End(_) => return,
            }
        }
    }

    async fn say(&mut self, message: Message) {
        self.link.send(&plain(message), self.limit).await;
    }

    async fn hear(&mut self, found: &mut Capabilities) -> Result<Message, Unanswered> {
        match self.link.receive(self.limit).await {
            Incoming::Message(received) => {
                // Nobody will read it here.
                drop(self.link.take_transcript());
                let line = format!("S: {}", received.message.describe(None));
                self.heard += line.len();
                if self.heard > HEARD {
                    return Err(Unanswered::Misbehaved);
                }
                if line.len() <= LINE {
                    found.lines.push(line);
                }
                Ok(received.message)
            }
            Incoming::End(_) => Err(Unanswered::Misbehaved),
        }
    }

    async fn greeting(&mut self, found: &mut Capabilities) -> Result<Style, Unanswered> {
        match self.hear(found).await? {
            Message::Greeting(Greeting::Newstyle { flags })
                if flags.has(HandshakeFlags::FIXED_NEWSTYLE) =>
            {
                found.fixed = true;
                Ok(Style::Fixed(flags))
            }
            Message::Greeting(Greeting::Newstyle { flags }) => Ok(Style::Newstyle(flags)),
            Message::Greeting(Greeting::Oldstyle { size, flags, .. }) => {
                found.oldstyle = true;
                found.size = size;
                found.flags = flags;
                Ok(Style::Oldstyle)
            }
            _ => Err(Unanswered::Misbehaved),
        }
    }

    /// The intermediate replies and the type of the final one.
    pub(super) async fn option(
        &mut self,
        found: &mut Capabilities,
        asked: OptionType,
        body: OptionBody,
    ) -> Result<(Vec<OptionReply>, ReplyType), Unanswered> {
        self.say(option(asked, body)).await;
        let mut replies = Vec::new();
        // A longer list than that is not needed to know what a server offers.
        for _ in 0..100_000 {
            match self.hear(found).await? {
                Message::OptionReply(reply) if reply.reply.is_final() => {
                    found.options.insert(asked, reply.reply);
                    return Ok((replies, reply.reply));
                }
                Message::OptionReply(reply) => replies.push(reply),
                _ => return Err(Unanswered::Misbehaved),
            }
        }
        Err(Unanswered::Misbehaved)
    }

    /// The contexts that are listed, and whether any could be selected.
    async fn contexts(
        &mut self,
        found: &mut Capabilities,
        name: WireString,
    ) -> Result<(), Unanswered> {
        self.option(found, OptionType::STRUCTURED_REPLY, OptionBody::Empty).await?;
        let body = OptionBody::Meta { export: name, queries: Vec::new() };
        let (listed, _) = self.option(found, OptionType::LIST_META_CONTEXT, body.clone()).await?;
        let names = listed.into_iter().filter_map(|reply| match reply.body {
            ReplyBody::MetaContext { name, .. } => Some(name),
            _ => None,
        });
        found.contexts = names.collect();
        self.option(found, OptionType::SET_META_CONTEXT, body).await?;
        Ok(())
    }

    /// STARTTLS and the handshake; without anything for it there is nothing to be asked.
    async fn start_tls(
        &mut self,
        found: &mut Capabilities,
        security: Option<&Security>,
    ) -> Result<(), Unanswered> {
        let Some(security) = security else {
            let line = found.lines.last().cloned().unwrap_or_default();
            return Err(Unanswered::Refused(format!(
                "the server insists on TLS: {line}\nhint: `--target nbds://...`, with `--tls-ca`, `--tls-cert` and `--tls-key`, or `--tls-psk`"
            )));
        };
        let option = OptionType::STARTTLS;
        let (_, last) = self.option(found, option, OptionBody::Empty).await?;
        if last != ReplyType::ACK {
            let line = found.lines.last().cloned().unwrap_or_default();
            return Err(Unanswered::Refused(format!("the server has no TLS: {line}")));
        }
        self.shake_hands(security).await
    }

    async fn shake_hands(&mut self, security: &Security) -> Result<(), Unanswered> {
        let connector = security.connector(&[], None)?;
        let starter = Starter::Connect(connector);
        let begun = self.link.start_tls(&starter, &Secrets::default(), self.limit).await;
        begun.map_err(|error| {
            let why = match error {
                NoTls::Failed(why) => why,
                NoTls::Silent => format!("no end within {:?}", self.limit),
            };
            Unanswered::Refused(format!("the TLS handshake with the server failed: {why}"))
        })
    }

    async fn export_name(&mut self, found: &mut Capabilities) -> Result<(), Unanswered> {
        let name = WireString::from(found.export.as_str());
        self.say(option(OptionType::EXPORT_NAME, OptionBody::Name(name))).await;
        match self.hear(found).await? {
            Message::ExportInfo(ExportInfo { size, flags, padding: _ }) => {
                found.size = size;
                found.flags = flags;
                self.disconnect().await;
                Ok(())
            }
            _ => Err(Unanswered::Misbehaved),
        }
    }

    async fn disconnect(&mut self) {
        let request = Request {
            form: RequestForm::Compact,
            flags: CommandFlags::EMPTY,
            command: Command::DISC,
            cookie: Cookie(0x6e62_6463_6865_636b),
            offset: 0,
            length: 0,
            status: None,
        };
        self.say(Message::Request(request)).await;
        // Wait for the close, so that a server with one place is free again.
        self.wait_for_close().await;
    }
}
