//! The client's side of haggling.

use std::time::Duration;

use protocol::codec::{self, Limits, layout_error};
use protocol::message::{
    Cookie, ExportInfo, Greeting, Info, Message, OptionBody, OptionReply, OptionRequest, Padding,
    ReplyBody,
};
use protocol::text::WireString;
use protocol::uri::Uri;
use protocol::values::{
    ClientFlags, Command, HandshakeFlags, InfoType, OptionType, ReplyType, STRING_LIMIT,
    STRING_SOFT_LIMIT, TransmissionFlags,
};
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use super::context::MetaContext;
use super::error::{ClientError, Violation, text};
use super::leniency;
use super::options::{Details, Options, is_unknown};
use super::request::{Call, Form};
use super::transmission::Client;
use super::upgrade::{Upgrade, dial};
use crate::besides::{OptionBesides, Said, When};
use crate::export::BlockSizes;
use crate::habits::Habits;
use crate::missteps::{DataFault, Entering, Minds, Overlooks, Quitting, TlsFault};
use crate::reply_writer::{pause, put};
use crate::stream::BoxedStream;
use crate::tls::Connector;
use crate::wire::Incoming;

/// How many replies one option may have.
const REPLIES: usize = 10_000;

/// An export as a server lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedExport {
    /// The name.
    pub name: String,
    /// The text for people; may be empty.
    pub description: String,
}

/// What follows a greeting.
pub(crate) enum Greeted {
    /// Oldstyle: no haggling.
    Transmission(Client),
    Haggling(Box<Haggling>),
}

/// A session before its transmission phase. Leave it by [`Haggling::go`] or [`Haggling::abort`].
pub struct Haggling {
    incoming: Incoming<BoxedStream>,
    options: Options,
    fixed: bool,
    no_zeroes: bool,
    form: Form,
    /// What was selected last, and for which export.
    contexts: (String, Vec<MetaContext>),
}

impl std::fmt::Debug for Haggling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Haggling")
            .field("fixed", &self.fixed)
            .field("form", &self.form)
            .finish_non_exhaustive()
    }
}

/// Reads the greeting and answers it.
pub(crate) async fn greet(stream: BoxedStream, options: &Options) -> Result<Greeted, ClientError> {
    let mut incoming = Incoming::new(stream);
    let (limit, habits) = (options.timeout, &options.habits);
    let any_magic = habits.overlooks(Overlooks::GreetingMagic);
    let greeting = incoming.next(|bytes| match codec::greeting(bytes) {
        Err(_) if any_magic => leniency::greeting(bytes),
        greeting => greeting,
    });
    let greeting = wait(limit, "a greeting", greeting).await?;
    let offered = match greeting {
        Greeting::Oldstyle { size, flags, padding, .. } => {
            let details = check_details(size, flags, Some(&padding))?;
            let client = Client::new(incoming, details, Form::Simple, Vec::new(), options);
            return Ok(Greeted::Transmission(client));
        }
        Greeting::Newstyle { flags } => flags,
    };
    if habits.minds(Minds::SpareGreetingFlags) && offered.unknown() != HandshakeFlags::EMPTY {
        return Err(ClientError::CantCope("unknown flags in a greeting"));
    }
    let offers = |flag| habits.presumes_flags || offered.has(flag);
    let fixed = habits.fixed_newstyle && offers(HandshakeFlags::FIXED_NEWSTYLE);
    let no_zeroes = habits.no_zeroes && offers(HandshakeFlags::NO_ZEROES);
    let mut flags = ClientFlags(habits.spare_flags);
    if fixed {
        flags = flags | ClientFlags::FIXED_NEWSTYLE;
    }
    if no_zeroes {
        flags = flags | ClientFlags::NO_ZEROES;
    }
    let mut haggling = Haggling {
        incoming,
        options: options.clone(),
        fixed,
        no_zeroes,
        form: Form::Simple,
        contexts: Default::default(),
    };
    let bytes = Message::ClientFlags(flags).to_bytes();
    let skipped = if habits.short_flags { 2 } else { 0 };
    haggling.send_bytes(&bytes[skipped..]).await?;
    Ok(Greeted::Haggling(Box::new(haggling)))
}

/// Waits for a message that must come.
async fn wait<T>(
    limit: Duration,
    what: &'static str,
    message: impl Future<Output = Result<Option<T>, crate::wire::ReadError>>,
) -> Result<T, ClientError> {
    let message = timeout(limit, message).await.map_err(|_| ClientError::TimedOut(what))?;
    message?.ok_or(ClientError::Closed(what))
}

impl Haggling {
    /// Connects and gets through the greeting.
    ///
    /// # Errors
    /// There is no connection, the server has nothing to haggle about: it is oldstyle, or there
    /// is no TLS where it is required.
    pub async fn connect(uri: &Uri, options: &Options) -> Result<Self, ClientError> {
        let upgrade = Upgrade::of(uri, options)?;
        let haggling = Self::over(dial(&uri.endpoint, options.timeout).await?, options).await?;
        haggling.upgrade(upgrade, &uri.export).await
    }

    /// Connects and closes, without a word.
    ///
    /// # Errors
    /// There is no connection.
    pub async fn probe(uri: &Uri, options: &Options) -> Result<(), ClientError> {
        dial(&uri.endpoint, options.timeout).await.map(drop)
    }

    /// The same over a channel of bytes, without TLS.
    ///
    /// # Errors
    /// The server is oldstyle or misbehaves.
    pub async fn over(
        stream: impl crate::Stream + 'static,
        options: &Options,
    ) -> Result<Self, ClientError> {
        match greet(Box::new(stream), options).await? {
            Greeted::Haggling(haggling) => Ok(*haggling),
            Greeted::Transmission(_) => Err(ClientError::NotOffered("options: it is oldstyle")),
        }
    }

    /// Whether fixed newstyle was agreed, so that there are options beside `NBD_OPT_EXPORT_NAME`.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        self.fixed
    }

    /// Whether replies will come in chunks: structured replies were agreed, or extended headers.
    #[must_use]
    pub fn is_structured(&self) -> bool {
        self.form.is_chunked()
    }

    /// How the client behaves.
    pub(super) fn habits(&self) -> &Habits {
        &self.options.habits
    }

    /// Whether extended headers were agreed.
    #[must_use]
    pub fn is_extended(&self) -> bool {
        self.form == Form::Extended
    }

    /// Begins TLS if it is wanted; it comes before any other option, so that nothing is told in
    /// the clear (section "Client-side requirements").
    pub(crate) async fn upgrade(
        mut self,
        tls: Option<Upgrade>,
        export: &str,
    ) -> Result<Self, ClientError> {
        if let Some(Upgrade { connector, required }) = tls {
            self.besides(When::BeforeTls, export).await?;
            self.upgrade_by(&connector, required).await?;
        }
        self.besides(When::First, export).await?;
        Ok(self)
    }

    async fn upgrade_by(
        &mut self,
        connector: &Connector,
        required: bool,
    ) -> Result<(), ClientError> {
        let habits = &self.options.habits;
        let required = required && !habits.is_tls_fault(TlsFault::PlainAfterRefusal);
        if !self.fixed && !habits.is_tls_fault(TlsFault::NotFixed) {
            if required {
                return Err(ClientError::NotOffered("TLS: it has no fixed newstyle"));
            }
            return Ok(());
        }
        match self.starttls(connector).await {
            Ok(()) => Ok(()),
            Err(ClientError::Refused { .. }) if !required => Ok(()),
            Err(error) => {
                if matches!(error, ClientError::Refused { .. }) {
                    // Its own failure says less than the refusal.
                    let _ = self.leave().await;
                }
                Err(error)
            }
        }
    }

    /// Sends the options whose time has come that are not needed. Whatever the answers are, they
    /// change nothing.
    async fn besides(&mut self, when: When, export: &str) -> Result<(), ClientError> {
        let all = self.options.habits.options_besides.clone();
        for option in all.into_iter().filter(|option| option.when == when) {
            if !self.fixed {
                continue;
            }
            self.send_bytes(&option.to_bytes(export)).await?;
            while option.awaited && !self.reply().await?.reply.is_final() {}
        }
        Ok(())
    }

    /// `NBD_OPT_STARTTLS` and the handshake. What was agreed before is forgotten.
    ///
    /// # Errors
    /// The server refuses, or the handshake fails.
    async fn starttls(&mut self, connector: &Connector) -> Result<(), ClientError> {
        let option = OptionType::STARTTLS;
        let fault = self.options.habits.tls_fault;
        match self.ask(option, OptionBody::Empty).await {
            Err(ClientError::Refused { .. }) if fault == Some(TlsFault::AnyReply) => {}
            answer => {
                if let Some(reply) = answer?.first() {
                    return Err(Violation::UnfitReply { option, reply: reply.reply }.into());
                }
            }
        }
        match fault {
            Some(TlsFault::PlainAfterAck) => return Ok(()),
            Some(TlsFault::LeavesAtAck) => return Err(ClientError::CantCope("TLS")),
            _ => {}
        }
        if !self.incoming.is_empty() {
            // In the clear behind the ACK: anybody in between could have put it there.
            return Err(Violation::PlainAfterAck.into());
        }
        let nothing = Box::new(tokio::io::join(tokio::io::empty(), tokio::io::sink()));
        let nothing = Incoming::new(nothing as BoxedStream);
        let stream = std::mem::replace(&mut self.incoming, nothing).into_stream();
        let shaken = timeout(self.options.timeout, connector.connect(stream)).await;
        match shaken.map_err(|_| ClientError::TimedOut("the TLS handshake"))? {
            Ok(stream) => self.incoming = Incoming::new(Box::new(stream)),
            Err(mut failed) => {
                if fault == Some(TlsFault::PlainAfterFailure) {
                    let request = OptionBesides::empty(When::First, OptionType::LIST);
                    let carrier = failed.carrier();
                    carrier.write_all(&request.to_bytes("")).await?;
                    carrier.flush().await?;
                }
                return Err(ClientError::Tls(failed.error.to_string()));
            }
        }
        self.form = Form::Simple;
        self.contexts = Default::default();
        if fault == Some(TlsFault::Twice) {
            // It is refused.
            let _ = self.ask(option, OptionBody::Empty).await;
        }
        Ok(())
    }

    /// `NBD_OPT_LIST`.
    ///
    /// # Errors
    /// The server refuses or misbehaves.
    pub async fn list(&mut self) -> Result<Vec<ListedExport>, ClientError> {
        let habits = &self.options.habits;
        if habits.data_fault == Some(DataFault::FailsLists) {
            return Err(ClientError::CantCope("lists"));
        }
        let minds = [Minds::Descriptions, Minds::LongNames].map(|what| habits.minds(what));
        let replies = self.ask(OptionType::LIST, OptionBody::Empty).await?;
        let listed = |reply| match reply {
            OptionReply { body: ReplyBody::Server { description, .. }, .. }
                if minds[0] && !description.is_empty() =>
            {
                Err(ClientError::CantCope("descriptions of exports"))
            }
            OptionReply { body: ReplyBody::Server { name, .. }, .. }
                if minds[1] && name.len() > STRING_SOFT_LIMIT =>
            {
                Err(ClientError::CantCope("long names of exports"))
            }
            OptionReply { body: ReplyBody::Server { name, description }, .. } => {
                Ok(ListedExport { name: text(name)?, description: text(description)? })
            }
            OptionReply { option, reply, .. } => {
                Err(Violation::UnfitReply { option, reply }.into())
            }
        };
        replies.into_iter().map(listed).collect()
    }

    /// `NBD_OPT_STRUCTURED_REPLY`.
    ///
    /// # Errors
    /// The server refuses or misbehaves.
    pub async fn structured_reply(&mut self) -> Result<(), ClientError> {
        let option = OptionType::STRUCTURED_REPLY;
        match self.ask(option, OptionBody::Empty).await?.first() {
            Some(reply) => Err(Violation::UnfitReply { option, reply: reply.reply }.into()),
            None => {
                // Extended headers take precedence.
                if self.form == Form::Simple {
                    self.form = Form::Structured;
                }
                Ok(())
            }
        }
    }

    /// `NBD_OPT_EXTENDED_HEADERS`.
    ///
    /// # Errors
    /// The server refuses or misbehaves.
    pub async fn extended_headers(&mut self) -> Result<(), ClientError> {
        let option = OptionType::EXTENDED_HEADERS;
        match self.ask(option, OptionBody::Empty).await?.first() {
            Some(reply) => Err(Violation::UnfitReply { option, reply: reply.reply }.into()),
            None => {
                self.form = Form::Extended;
                Ok(())
            }
        }
    }

    /// Agrees on what the options of this client want before an export is entered: the most that
    /// the server has of replies, and contexts of that export.
    pub(crate) async fn agree(&mut self, export: &str) -> Result<(), ClientError> {
        let habits = self.options.habits.clone();
        if !self.fixed || !habits.structured_reply {
            return self.besides(When::BeforeEntry, export).await;
        }
        if habits.structured_first {
            let agreed = self.structured_reply().await;
            self.unless_fatal(agreed).await?;
        }
        if habits.extended_headers && habits.go {
            match self.extended_headers().await {
                Err(error) if is_unknown(&error) && habits.minds(Minds::NoExtended) => {
                    return self.give_up("servers without extended headers").await;
                }
                // Whatever the reason, the next lesser form will do.
                Ok(()) | Err(ClientError::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        if !self.is_structured() {
            let agreed = self.structured_reply().await;
            match &agreed {
                Err(error) if is_unknown(error) && habits.minds(Minds::NoStructured) => {
                    return self.give_up("servers without structured replies").await;
                }
                _ => self.unless_fatal(agreed).await?,
            }
        }
        if self.is_structured() {
            self.besides(When::Chunked, export).await?;
        }
        if !self.options.contexts.is_empty() && self.is_structured() {
            let wanted = self.options.contexts.clone();
            // Without contexts there is no block status; the rest works.
            let selected = self.set_meta_contexts(export, &wanted).await.map(drop);
            self.unless_fatal(selected).await?;
        }
        self.besides(When::BeforeEntry, export).await
    }

    /// Leaves a server that this client can't cope with.
    async fn give_up<T>(&mut self, why: &'static str) -> Result<T, ClientError> {
        let _ = self.leave().await;
        Err(ClientError::CantCope(why))
    }

    /// What cannot be put up with ends the session.
    async fn unless_fatal(&mut self, agreed: Result<(), ClientError>) -> Result<(), ClientError> {
        match agreed {
            Err(error) if !self.options.puts_up_with(&error) => {
                if matches!(error, ClientError::Refused { .. }) {
                    // Its own failure says less than the refusal.
                    let _ = self.leave().await;
                }
                Err(error)
            }
            _ => Ok(()),
        }
    }

    /// `NBD_OPT_INFO`, with all the information that there is.
    ///
    /// # Errors
    /// The server refuses or misbehaves.
    pub async fn info(&mut self, export: &str) -> Result<Details, ClientError> {
        self.details(OptionType::INFO, export).await
    }

    /// Enters transmission by `NBD_OPT_GO`, or by `NBD_OPT_EXPORT_NAME` if the server does not
    /// know GO, or the options of this client do not want it. A refusal ends the session softly.
    ///
    /// # Errors
    /// The server refuses or misbehaves.
    pub async fn go(mut self, export: &str) -> Result<Client, ClientError> {
        let entering = self.options.habits.entering;
        if entering == Entering::Never {
            return self.give_up("this export").await;
        }
        if entering == Entering::ByNameAfterExtended && self.is_extended() {
            return self.export_name(export).await;
        }
        if !self.fixed || !self.options.habits.go {
            return self.by_name(export).await;
        }
        match self.details(OptionType::GO, export).await {
            Ok(details) => self.enter(export, details).await,
            Err(ClientError::CantCope(why)) => {
                // By then it was entered.
                let client = self.enter(export, nothing_known()).await?;
                let _ = client.disconnect().await;
                Err(ClientError::CantCope(why))
            }
            Err(error) if is_unknown(&error) && self.is_extended() => {
                Err(Violation::NoWayIn.into())
            }
            Err(error) if is_unknown(&error) && entering != Entering::NeverByName => {
                self.by_name(export).await
            }
            Err(ClientError::Refused { .. }) if entering == Entering::AnyReply => {
                self.enter(export, nothing_known()).await
            }
            Err(ClientError::Refused { .. }) if entering == Entering::ByNameAfterRefusal => {
                self.by_name(export).await
            }
            Err(error) => {
                let word = match error {
                    ClientError::Refused { error: ReplyType::ERR_SHUTDOWN, .. } => {
                        self.options.habits.quitting != Quitting::CloseAtShutdown
                    }
                    ClientError::Refused { .. } => true,
                    _ => false,
                };
                if word {
                    // Its own failure says less than the refusal.
                    let _ = self.leave().await;
                }
                Err(error)
            }
        }
    }

    /// Enters by `NBD_OPT_EXPORT_NAME`, which the clients of qemu only do with a name that is
    /// listed, where there is a list.
    async fn by_name(mut self, export: &str) -> Result<Client, ClientError> {
        if self.fixed && self.options.habits.lists_before_export_name {
            let listed = match self.list().await {
                Ok(listed) => listed.iter().any(|listed| listed.name == export),
                Err(error) if is_unknown(&error) => true,
                Err(error) => {
                    let _ = self.leave().await;
                    return Err(error);
                }
            };
            if !listed {
                let _ = self.leave().await;
                return Err(ClientError::NotOffered("an export of that name in its list"));
            }
        }
        self.export_name(export).await
    }

    /// Enters transmission by `NBD_OPT_EXPORT_NAME`.
    ///
    /// # Errors
    /// The server hangs up, which is its only way to refuse, or misbehaves, or extended headers
    /// were agreed, which forbid it.
    pub async fn export_name(mut self, export: &str) -> Result<Client, ClientError> {
        let entering = self.options.habits.entering;
        if self.is_extended() && entering != Entering::ByNameAfterExtended {
            return Err(ClientError::Misuse("extended headers demand NBD_OPT_GO"));
        }
        let option = OptionType::EXPORT_NAME;
        let mut name = check_name(export)?;
        if entering == Entering::CountedName {
            let count = (export.len() as u32).to_be_bytes();
            name = WireString::from(&[&count[..], export.as_bytes()].concat()[..]);
        }
        let body = OptionBody::Name(name);
        self.send(&Message::Option(OptionRequest { option, body })).await?;
        let no_zeroes = self.no_zeroes;
        let answer = self.incoming.next(|bytes| Ok(codec::export_info(bytes, no_zeroes)));
        let answer = wait(self.options.timeout, "the answer to NBD_OPT_EXPORT_NAME", answer).await;
        if answer.is_err() && entering == Entering::EndIsAnswer {
            return self.enter(export, nothing_known()).await;
        }
        let ExportInfo { size, flags, padding } = answer?;
        let details = check_details(size, flags, Some(&padding))?;
        if self.options.habits.minds_flags(flags) {
            let client = self.enter(export, details).await?;
            let _ = client.disconnect().await;
            return Err(ClientError::CantCope("unknown transmission flags"));
        }
        self.enter(export, details).await
    }

    /// The transmission phase. A selection counts for the export that it was made for.
    async fn enter(mut self, export: &str, mut details: Details) -> Result<Client, ClientError> {
        if self.options.habits.data_fault == Some(DataFault::RoundsSizeUp) {
            details.size = details.size.next_multiple_of(512);
        }
        // Whatever the server makes of them, they have no answer that could be told from others.
        for option in self.options.habits.options_besides.clone() {
            if option.when == When::AfterEntry {
                self.send_bytes(&option.to_bytes(export)).await?;
            }
        }
        let (of, contexts) = self.contexts;
        let contexts = if of == export { contexts } else { Vec::new() };
        Ok(Client::new(self.incoming, details, self.form, contexts, &self.options))
    }

    /// Notes what was selected.
    pub(crate) fn select(&mut self, export: &str, contexts: Vec<MetaContext>) {
        self.contexts = (export.to_owned(), contexts);
    }

    /// Ends the session softly: `NBD_OPT_ABORT`. A server that hangs up without the reply that it
    /// owes is put up with.
    ///
    /// # Errors
    /// The connection fails, or the server misbehaves.
    pub async fn abort(mut self) -> Result<(), ClientError> {
        self.leave().await
    }

    async fn leave(&mut self) -> Result<(), ClientError> {
        let habits = self.options.habits.clone();
        if self.fixed && habits.quitting != Quitting::Close {
            let data: &[u8] = match habits.quitting {
                Quitting::AbortWithData => b"goodbye",
                _ => b"",
            };
            let abort = OptionBesides::new(When::First, OptionType::ABORT, Said::Data(data));
            self.send_bytes(&abort.to_bytes("")).await?;
            if habits.quitting != Quitting::Unawaited {
                match self.reply().await {
                    Err(ClientError::Closed(_)) if !habits.minds(Minds::UnansweredAbort) => {}
                    answer => drop(answer?),
                }
            }
            let after = habits.options_besides.iter().filter(|it| it.when == When::AfterAbort);
            for option in after {
                self.send_bytes(&option.to_bytes("")).await?;
            }
        }
        Ok(self.incoming.stream().shutdown().await?)
    }

    async fn details(&mut self, option: OptionType, export: &str) -> Result<Details, ClientError> {
        let habits = self.options.habits.clone();
        let mut requests = habits.wants.to_vec();
        if habits.block_size {
            requests.push(InfoType::BLOCK_SIZE);
        }
        let body = OptionBody::Info { name: check_name(export)?, requests };
        let (mut details, mut name, mut description, mut block_sizes) = (None, None, None, None);
        for OptionReply { reply, body, .. } in self.ask(option, body).await? {
            let ReplyBody::Info(info) = body else {
                return Err(Violation::UnfitReply { option, reply }.into());
            };
            match info {
                Info::Export { flags, .. } if habits.minds_flags(flags) => {
                    return Err(ClientError::CantCope("unknown transmission flags"));
                }
                Info::Export { size, flags } => details = Some(check_details(size, flags, None)?),
                _ if details.is_none() && habits.minds(Minds::InfoOrder) => {
                    return Err(ClientError::CantCope("information before NBD_INFO_EXPORT"));
                }
                Info::Name(told) => name = Some(text(told)?),
                Info::Description(told) => description = Some(text(told)?),
                Info::BlockSize { minimum, preferred, maximum } => {
                    let sizes = BlockSizes::new(minimum, preferred, maximum);
                    block_sizes = Some(sizes.map_err(Violation::BlockSizes)?);
                }
                Info::Raw { .. } if habits.minds(Minds::UnknownInfo) => {
                    return Err(ClientError::CantCope("unknown information"));
                }
                // What is unknown is ignored (section "Option types", `NBD_OPT_INFO`).
                Info::Raw { .. } => {}
            }
        }
        let details = details.ok_or(Violation::NoExportInfo(option))?;
        Ok(Details { name, description, block_sizes, ..details })
    }

    /// Sends an option and collects its replies up to the ACK, which is left out.
    pub(crate) async fn ask(
        &mut self,
        option: OptionType,
        body: OptionBody,
    ) -> Result<Vec<OptionReply>, ClientError> {
        let habits = &self.options.habits;
        let asks_anyway = option == OptionType::STARTTLS && habits.is_tls_fault(TlsFault::NotFixed);
        if !self.fixed && !asks_anyway {
            return Err(ClientError::NotOffered("fixed newstyle"));
        }
        let early = option == OptionType::GO && habits.entering == Entering::Early;
        self.send(&Message::Option(OptionRequest { option, body })).await?;
        if early {
            let read = Call::new(Command::READ, 0, 512);
            let read = self.form.header(&read, Cookie(0))?;
            self.send_bytes(&read).await?;
        }
        let mut replies = Vec::new();
        loop {
            let reply = self.reply().await?;
            if reply.option != option && !self.options.any_option {
                let found = reply.option;
                return Err(Violation::OtherOption { sent: option, found }.into());
            }
            let message = Message::OptionReply(reply.clone());
            if let Some(error) = layout_error(&message) {
                return Err(Violation::Layout(error).into());
            }
            match reply {
                OptionReply { reply: ReplyType::ACK, .. } => return Ok(replies),
                OptionReply { reply: error, body, .. } if error.is_error() => {
                    let message = match body {
                        ReplyBody::Message(message) => text(message)?.into(),
                        ReplyBody::Bulk(length) => {
                            return Err(Violation::Text(length as usize).into());
                        }
                        _ => WireString::default(),
                    };
                    return Err(ClientError::Refused { option, error, message });
                }
                OptionReply { body: ReplyBody::Bulk(length), .. } => {
                    return Err(Violation::Text(length as usize).into());
                }
                reply if replies.len() < REPLIES => replies.push(reply),
                _ => return Err(Violation::EndlessReplies(option).into()),
            }
        }
    }

    /// The next reply to an option.
    async fn reply(&mut self) -> Result<OptionReply, ClientError> {
        let next = self.incoming.next(|bytes| codec::option_reply(bytes, Limits::default()));
        wait(self.options.timeout, "a reply to an option", next).await
    }

    async fn send(&mut self, message: &Message) -> Result<(), ClientError> {
        self.send_bytes(&message.to_bytes()).await
    }

    async fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        let (pace, dribbles) = (self.options.habits.pace, self.options.habits.dribbles);
        pause(pace).await;
        let stream = self.incoming.stream();
        let sent = async {
            put(stream, bytes, dribbles).await?;
            stream.flush().await
        };
        let sent = timeout(self.options.timeout, sent).await;
        Ok(sent.map_err(|_| ClientError::TimedOut("the server to read"))??)
    }
}

/// What a client goes by that enters where nobody has told it anything.
fn nothing_known() -> Details {
    let flags = TransmissionFlags::HAS_FLAGS;
    Details { size: 1 << 20, flags, name: None, description: None, block_sizes: None }
}

/// A name must be a string of the protocol (section "Conventions").
pub(crate) fn check_name(name: &str) -> Result<WireString, ClientError> {
    if name.len() > STRING_LIMIT || name.contains('\0') {
        return Err(ClientError::Misuse("an export name has at most 4096 bytes and no zero byte"));
    }
    Ok(name.into())
}

fn check_details(
    size: u64,
    flags: TransmissionFlags,
    padding: Option<&Padding>,
) -> Result<Details, ClientError> {
    if !flags.has(TransmissionFlags::HAS_FLAGS) {
        return Err(Violation::HasFlags.into());
    }
    if matches!(padding, Some(Padding::Other(_))) {
        return Err(Violation::Padding.into());
    }
    Ok(Details { size, flags, name: None, description: None, block_sizes: None })
}
