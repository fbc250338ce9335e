//! One connection on which a server is asked.

use std::time::Duration;

use protocol::build::Built;
use protocol::message::{
    Cookie, ExportInfo, Greeting, Message, OptionBody, OptionReply, OptionRequest, Request,
    RequestForm, Side, SimpleReply,
};
use protocol::payload::Payload;
use protocol::text::WireString;
use protocol::values::{
    ClientFlags, Command, ErrorCode, HandshakeFlags, InfoType, OptionType, ReplyType,
    TransmissionFlags,
};

use super::fact::NoAnswer;
use super::whom::Whom;
use crate::dial::connect;
use crate::link::secure::{NoTls, Secrets};
use crate::link::tracker::{Phase, reply_cookie};
use crate::link::{End, Incoming, Link, Received, plain};
use crate::tls::{Security, Starter};

/// How many messages may still come once we have taken leave.
const FAREWELLS: usize = 100;
/// The most that is listened to on one connection besides the data that was asked for, in bytes.
const HEARD: usize = 4 << 20;
/// The longest line that is kept as evidence, in characters; what is cut is no evidence.
const LINE: usize = 16 << 10;
/// How many lines are kept of one connection.
const LINES: usize = 512;

/// How a server greets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Fixed,
    Newstyle,
    Oldstyle { size: u64, flags: TransmissionFlags },
}

/// The answer to an option.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    /// The intermediate replies.
    pub items: Vec<OptionReply>,
    /// The type of the final one.
    pub last: ReplyType,
    /// The final one as a line.
    pub line: String,
}

/// The answer to a request.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub error: ErrorCode,
    pub data: Vec<u8>,
    pub line: String,
}

/// A connection on which questions are asked.
pub(super) struct Asker {
    link: Link,
    limit: Duration,
    /// How much has been heard, in bytes of lines and bulk.
    heard: usize,
    /// How much data was asked for, in bytes.
    asked: usize,
    /// What was said by the server, as lines.
    pub lines: Vec<String>,
    cookie: u64,
}

impl Asker {
    /// Connects, and hears the greeting; each wait takes `limit` at most.
    pub(super) async fn open(whom: Whom<'_>, limit: Duration) -> Result<(Self, Style), NoAnswer> {
        let stream = connect(whom.address, limit).await.map_err(NoAnswer::Unreachable)?;
        let link = Link::new("", Side::Client, stream, None);
        let lines = Vec::new();
        let mut asker =
            Self { link, limit, heard: 0, asked: 0, lines, cookie: 0x6e62_6463_6865_0000 };
        let heard = asker.hear().await.map_err(|error| match error {
            NoAnswer::Ended(end @ (End::Close | End::Notified | End::Reset)) => {
                NoAnswer::TurnedAway(end)
            }
            error => error,
        });
        let style = match heard?.message {
            Message::Greeting(Greeting::Newstyle { flags })
                if flags.has(HandshakeFlags::FIXED_NEWSTYLE) =>
            {
                Style::Fixed
            }
            Message::Greeting(Greeting::Newstyle { .. }) => Style::Newstyle,
            Message::Greeting(Greeting::Oldstyle { size, flags, .. }) => {
                Style::Oldstyle { size, flags }
            }
            message => return Err(unexpected(&message)),
        };
        Ok((asker, style))
    }

    /// Answers a newstyle greeting.
    pub(super) async fn greet(&mut self) {
        let offered = self.link.tracker().handshake_flags();
        let mut flags = ClientFlags::EMPTY;
        if offered.has(HandshakeFlags::FIXED_NEWSTYLE) {
            flags = flags | ClientFlags::FIXED_NEWSTYLE;
        }
        if offered.has(HandshakeFlags::NO_ZEROES) {
            flags = flags | ClientFlags::NO_ZEROES;
        }
        self.say(Message::ClientFlags(flags)).await;
    }

    async fn say(&mut self, message: Message) {
        self.link.send(&plain(message), self.limit).await;
    }

    async fn hear(&mut self) -> Result<Received, NoAnswer> {
        let incoming = self.link.receive(self.limit).await;
        // Nobody will read it here.
        drop(self.link.take_transcript());
        match incoming {
            Incoming::Message(received) => {
                let line = line(&received.message);
                self.heard += line.len() + received.bulk.len();
                if self.heard > HEARD + self.asked {
                    return Err(NoAnswer::Flood);
                }
                if line.len() <= LINE && self.lines.len() < LINES {
                    self.lines.push(line);
                }
                Ok(*received)
            }
            Incoming::End(End::Timeout(_)) => Err(NoAnswer::Silent(self.limit)),
            Incoming::End(end) => Err(NoAnswer::Ended(end)),
        }
    }

    /// Asks an option.
    pub(super) async fn option(
        &mut self,
        option: OptionType,
        body: OptionBody,
    ) -> Result<Reply, NoAnswer> {
        self.say(Message::Option(OptionRequest { option, body })).await;
        let mut items = Vec::new();
        loop {
            match self.hear().await?.message {
                Message::OptionReply(reply) if reply.reply.is_final() => {
                    let last = reply.reply;
                    let line = line(&Message::OptionReply(reply));
                    return Ok(Reply { items, last, line });
                }
                Message::OptionReply(reply) => items.push(reply),
                message => return Err(unexpected(&message)),
            }
        }
    }

    /// INFO or GO.
    pub(super) async fn info(
        &mut self,
        option: OptionType,
        name: &WireString,
        requests: &[InfoType],
    ) -> Result<Reply, NoAnswer> {
        let body = OptionBody::Info { name: name.clone(), requests: requests.to_vec() };
        self.option(option, body).await
    }

    /// EXPORT_NAME: size and flags.
    pub(super) async fn export_name(
        &mut self,
        name: &WireString,
    ) -> Result<(u64, TransmissionFlags), NoAnswer> {
        let (option, body) = (OptionType::EXPORT_NAME, OptionBody::Name(name.clone()));
        self.say(Message::Option(OptionRequest { option, body })).await;
        match self.hear().await?.message {
            Message::ExportInfo(ExportInfo { size, flags, .. }) => Ok((size, flags)),
            message => Err(unexpected(&message)),
        }
    }

    /// STARTTLS and the handshake.
    pub(super) async fn begin_tls(&mut self, security: Option<&Security>) -> Result<(), NoAnswer> {
        let security = security.ok_or(NoAnswer::NoWay("there is nothing for TLS"))?;
        let reply = self.option(OptionType::STARTTLS, OptionBody::Empty).await?;
        if reply.last != ReplyType::ACK {
            return Err(NoAnswer::NoTls(format!("the server has no TLS: {}", reply.line)));
        }
        self.shake_hands(security).await
    }

    /// The handshake of TLS, after an acknowledged STARTTLS.
    pub(super) async fn shake_hands(&mut self, security: &Security) -> Result<(), NoAnswer> {
        let connector = security.connector(&[], None).map_err(NoAnswer::NoTls)?;
        let starter = Starter::Connect(connector);
        let begun = self.link.start_tls(&starter, &Secrets::default(), self.limit).await;
        begun.map_err(|error| {
            let why = match error {
                NoTls::Failed(why) => why,
                NoTls::Silent => format!("no end within {:?}", self.limit),
            };
            NoAnswer::NoTls(format!("the TLS handshake with the server failed: {why}"))
        })
    }

    async fn request(
        &mut self,
        command: Command,
        offset: u64,
        length: u64,
        payload: Option<Payload>,
    ) -> Result<Answer, NoAnswer> {
        let cookie = self.cookie();
        let request =
            Request { offset, length, ..Request::bare(RequestForm::Compact, command, cookie) };
        let built = Built { payload, ..plain(Message::Request(request)) };
        self.link.send(&built, self.limit).await;
        let received = self.hear().await?;
        match received.message {
            Message::SimpleReply(SimpleReply { error, cookie: answered }) if answered == cookie => {
                let line = line(&received.message);
                Ok(Answer { error, data: received.bulk.to_vec(), line })
            }
            message => Err(unexpected(&message)),
        }
    }

    /// READ, of a lawful size.
    pub(super) async fn read(&mut self, offset: u64, length: u64) -> Result<Answer, NoAnswer> {
        self.asked += usize::try_from(length).unwrap_or_default();
        self.request(Command::READ, offset, length, None).await
    }

    /// WRITE, of a lawful size.
    pub(super) async fn write(&mut self, offset: u64, data: Payload) -> Result<Answer, NoAnswer> {
        self.request(Command::WRITE, offset, data.length(), Some(data)).await
    }

    /// FLUSH, where it was offered.
    pub(super) async fn flush(&mut self) -> Result<Answer, NoAnswer> {
        self.request(Command::FLUSH, 0, 0, None).await
    }

    fn cookie(&mut self) -> Cookie {
        self.cookie += 1;
        Cookie(self.cookie)
    }

    /// Takes leave in the protocol's way, and waits for the close as long as `patience`: the server may
    /// have one place only. Returns whether it closed. With `shut`, the client closes first.
    pub(super) async fn leave(&mut self, patience: Duration, shut: bool) -> bool {
        let unready = self.link.tracker().awaits_tls();
        let mut farewell = None;
        match self.link.tracker().phase() {
            _ if unready || self.link.ended().is_some() => {}
            Phase::Flags
                if self.link.tracker().handshake_flags().has(HandshakeFlags::FIXED_NEWSTYLE) =>
            {
                self.greet().await;
                self.abort().await;
            }
            // Without the fixed flag there is no option that ends the haggling.
            Phase::Haggling
                if self.link.tracker().handshake_flags().has(HandshakeFlags::FIXED_NEWSTYLE) =>
            {
                self.abort().await;
            }
            Phase::Transmission => {
                let cookie = self.cookie();
                farewell = Some(cookie);
                let form = self.link.tracker().request_form();
                self.say(Message::Request(Request::bare(form, Command::DISC, cookie))).await;
                if shut {
                    self.link.shut(patience).await;
                }
            }
            _ => {
                self.link.close(false, patience).await;
                return true;
            }
        }
        let deadline = tokio::time::Instant::now() + patience;
        for _ in 0..FAREWELLS {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            match self.link.receive(left).await {
                Incoming::Message(received) => {
                    drop(self.link.take_transcript());
                    // Who answers a farewell has not understood it, and stays.
                    if farewell.is_some() && reply_cookie(&received.message) == farewell {
                        break;
                    }
                }
                Incoming::End(End::Timeout(_) | End::Stalled(..)) => break,
                Incoming::End(_) => return true,
            }
        }
        self.link.close(false, patience).await;
        false
    }

    async fn abort(&mut self) {
        let (option, body) = (OptionType::ABORT, OptionBody::Empty);
        self.say(Message::Option(OptionRequest { option, body })).await;
    }
}

/// A request, as lines of the survey show it.
pub(super) fn asked(command: &str, offset: u64, length: u64) -> String {
    format!("C: NBD_CMD_{command} offset={offset} length={length}")
}

fn line(message: &Message) -> String {
    format!("S: {}", message.describe(None))
}

fn unexpected(message: &Message) -> NoAnswer {
    NoAnswer::Unexpected(line(message).chars().take(200).collect())
}
