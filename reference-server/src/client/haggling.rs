//! The client's side of haggling.

use std::time::Duration;

use protocol::codec::{self, Limits, layout_error};
use protocol::message::{
    ExportInfo, Greeting, Info, Message, OptionBody, OptionReply, OptionRequest, Padding, ReplyBody,
};
use protocol::text::WireString;
use protocol::uri::Uri;
use protocol::values::{
    ClientFlags, HandshakeFlags, InfoType, OptionType, ReplyType, STRING_LIMIT, TransmissionFlags,
};
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use super::context::MetaContext;
use super::error::{ClientError, Violation, text};
use super::options::{Details, Options, is_unknown};
use super::request::Form;
use super::transmission::Client;
use super::upgrade::{Upgrade, dial};
use crate::export::BlockSizes;
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
    let limit = options.timeout;
    let greeting = wait(limit, "a greeting", incoming.next(codec::greeting)).await?;
    let offered = match greeting {
        Greeting::Oldstyle { size, flags, padding, .. } => {
            let details = check_details(size, flags, Some(&padding))?;
            let client = Client::new(incoming, details, Form::Simple, Vec::new(), options);
            return Ok(Greeted::Transmission(client));
        }
        Greeting::Newstyle { flags } => flags,
    };
    let fixed = options.fixed_newstyle && offered.has(HandshakeFlags::FIXED_NEWSTYLE);
    let no_zeroes = options.no_zeroes && offered.has(HandshakeFlags::NO_ZEROES);
    let mut flags = ClientFlags::EMPTY;
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
    haggling.send(&Message::ClientFlags(flags)).await?;
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
        haggling.upgrade(upgrade).await
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

    /// Whether extended headers were agreed.
    #[must_use]
    pub fn is_extended(&self) -> bool {
        self.form == Form::Extended
    }

    /// Begins TLS if it is wanted; it comes before any other option, so that nothing is told in
    /// the clear (section "Client-side requirements").
    pub(crate) async fn upgrade(mut self, tls: Option<Upgrade>) -> Result<Self, ClientError> {
        let Some(Upgrade { connector, required }) = tls else { return Ok(self) };
        if !self.fixed {
            if required {
                return Err(ClientError::NotOffered("TLS: it has no fixed newstyle"));
            }
            return Ok(self);
        }
        match self.starttls(&connector).await {
            Ok(()) => Ok(self),
            Err(ClientError::Refused { .. }) if !required => Ok(self),
            Err(error) => {
                if matches!(error, ClientError::Refused { .. }) {
                    // Its own failure says less than the refusal.
                    let _ = self.abort().await;
                }
                Err(error)
            }
        }
    }

    /// `NBD_OPT_STARTTLS` and the handshake. What was agreed before is forgotten.
    ///
    /// # Errors
    /// The server refuses, or the handshake fails.
    async fn starttls(&mut self, connector: &Connector) -> Result<(), ClientError> {
        let option = OptionType::STARTTLS;
        if let Some(reply) = self.ask(option, OptionBody::Empty).await?.first() {
            return Err(Violation::UnfitReply { option, reply: reply.reply }.into());
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
            Err(failed) => return Err(ClientError::Tls(failed.error.to_string())),
        }
        self.form = Form::Simple;
        self.contexts = Default::default();
        Ok(())
    }

    /// `NBD_OPT_LIST`.
    ///
    /// # Errors
    /// The server refuses or misbehaves.
    pub async fn list(&mut self) -> Result<Vec<ListedExport>, ClientError> {
        let replies = self.ask(OptionType::LIST, OptionBody::Empty).await?;
        let listed = |reply| match reply {
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
        if !self.fixed || !self.options.structured_reply {
            return Ok(());
        }
        if self.options.extended_headers && self.options.go {
            match self.extended_headers().await {
                // Whatever the reason, the next lesser form will do.
                Ok(()) | Err(ClientError::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        if !self.is_extended() {
            let agreed = self.structured_reply().await;
            self.unless_fatal(agreed).await?;
        }
        if !self.options.contexts.is_empty() && self.is_structured() {
            let wanted = self.options.contexts.clone();
            // Without contexts there is no block status; the rest works.
            let selected = self.set_meta_contexts(export, &wanted).await.map(drop);
            self.unless_fatal(selected).await?;
        }
        Ok(())
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
        if !self.fixed || !self.options.go {
            return self.by_name(export).await;
        }
        match self.details(OptionType::GO, export).await {
            Ok(details) => Ok(self.enter(export, details)),
            Err(error) if is_unknown(&error) && self.is_extended() => {
                Err(Violation::NoWayIn.into())
            }
            Err(error) if is_unknown(&error) => self.by_name(export).await,
            Err(error) => {
                if matches!(error, ClientError::Refused { .. }) {
                    // Its own failure says less than the refusal.
                    let _ = self.abort().await;
                }
                Err(error)
            }
        }
    }

    /// Enters by `NBD_OPT_EXPORT_NAME`, which the clients of qemu only do with a name that is
    /// listed, where there is a list.
    async fn by_name(mut self, export: &str) -> Result<Client, ClientError> {
        if self.fixed && self.options.profile.is_some() {
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
        if self.is_extended() {
            return Err(ClientError::Misuse("extended headers demand NBD_OPT_GO"));
        }
        let option = OptionType::EXPORT_NAME;
        let body = OptionBody::Name(check_name(export)?);
        self.send(&Message::Option(OptionRequest { option, body })).await?;
        let no_zeroes = self.no_zeroes;
        let answer = self.incoming.next(|bytes| Ok(codec::export_info(bytes, no_zeroes)));
        let answer =
            wait(self.options.timeout, "the answer to NBD_OPT_EXPORT_NAME", answer).await?;
        let ExportInfo { size, flags, padding } = answer;
        let details = check_details(size, flags, Some(&padding))?;
        Ok(self.enter(export, details))
    }

    /// The transmission phase. A selection counts for the export that it was made for.
    fn enter(self, export: &str, details: Details) -> Client {
        let (of, contexts) = self.contexts;
        let contexts = if of == export { contexts } else { Vec::new() };
        Client::new(self.incoming, details, self.form, contexts, &self.options)
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
        if self.fixed {
            match self.ask(OptionType::ABORT, OptionBody::Empty).await {
                Ok(_) | Err(ClientError::Closed(_) | ClientError::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.incoming.stream().shutdown().await?)
    }

    async fn details(&mut self, option: OptionType, export: &str) -> Result<Details, ClientError> {
        // The clients of qemu want nothing but the sizes.
        let mut requests = match self.options.profile {
            Some(_) => Vec::new(),
            None => vec![InfoType::NAME, InfoType::DESCRIPTION],
        };
        if self.options.block_size {
            requests.push(InfoType::BLOCK_SIZE);
        }
        let body = OptionBody::Info { name: check_name(export)?, requests };
        let (mut details, mut name, mut description, mut block_sizes) = (None, None, None, None);
        for OptionReply { reply, body, .. } in self.ask(option, body).await? {
            let ReplyBody::Info(info) = body else {
                return Err(Violation::UnfitReply { option, reply }.into());
            };
            match info {
                Info::Export { size, flags } => details = Some(check_details(size, flags, None)?),
                Info::Name(told) => name = Some(text(told)?),
                Info::Description(told) => description = Some(text(told)?),
                Info::BlockSize { minimum, preferred, maximum } => {
                    let sizes = BlockSizes::new(minimum, preferred, maximum);
                    block_sizes = Some(sizes.map_err(Violation::BlockSizes)?);
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
        if !self.fixed {
            return Err(ClientError::NotOffered("fixed newstyle"));
        }
        self.send(&Message::Option(OptionRequest { option, body })).await?;
        let mut replies = Vec::new();
        loop {
            let next = self.incoming.next(|bytes| codec::option_reply(bytes, Limits::default()));
            let reply = wait(self.options.timeout, "a reply to an option", next).await?;
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

    async fn send(&mut self, message: &Message) -> Result<(), ClientError> {
        let stream = self.incoming.stream();
        let bytes = message.to_bytes();
        let sent = async {
            stream.write_all(&bytes).await?;
            stream.flush().await
        };
        let sent = timeout(self.options.timeout, sent).await;
        Ok(sent.map_err(|_| ClientError::TimedOut("the server to read"))??)
    }
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
