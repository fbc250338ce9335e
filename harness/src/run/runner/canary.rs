//! A canary: a fresh connection that does the plainest thing, to tell whether a server still serves.

use std::time::{Duration, Instant};

use protocol::message::{
    Cookie, Greeting, Message, OptionBody, OptionRequest, Request, RequestForm, Side,
};
use protocol::text::WireString;
use protocol::values::{ClientFlags, Command, HandshakeFlags, InfoType, OptionType, ReplyType};

use crate::dial::connect;
use crate::link::secure::{NoTls, Secrets};
use crate::link::{Incoming, Link, plain};
use crate::peer::Address;
use crate::run::survey::{Capabilities, TlsMode};
use crate::tls::{Security, Starter};

/// How many messages an answer may have.
const MESSAGES: usize = 10_000;
/// How long the close after the farewell is awaited: a server may have one place only.
const FAREWELL: Duration = Duration::from_secs(1);
/// How much longer than its first flight a later one may take.
const SLOWER: u32 = 4;
/// The shortest time that an answer is waited for from a server that has fallen silent before.
const BRIEFLY: Duration = Duration::from_secs(1);
/// How much longer than when all was well it may take then.
const MUCH_SLOWER: u32 = 16;
/// How long after a failure it is tried again.
const AGAIN: Duration = Duration::from_millis(500);
/// Looks like no cookie of a scenario.
const COOKIE: Cookie = Cookie(0x6361_6e61_7279_6e62);

/// How far a canary came. What a server never answered is no sign of death.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reached {
    Nothing,
    Connected,
    Greeted,
    /// An option was answered.
    Haggled,
    /// A read was answered.
    Served,
}

/// A canary for one server.
pub(super) struct Canary {
    address: Address,
    security: Option<Security>,
    export: WireString,
    block: u64,
    limit: Duration,
    /// The server does not close at `NBD_CMD_DISC`, but when the client does.
    stays_open: bool,
    /// How long it took when all was well.
    took: Duration,
    /// How far it comes when all is well; it need not go further.
    usual: Reached,
}

impl Canary {
    /// Finds out how far it comes with a server of which the survey has told this.
    pub(super) async fn hatch(
        address: &Address,
        security: Option<&Security>,
        insists: bool,
        known: &Capabilities,
        limit: Duration,
    ) -> Self {
        let tls = insists || known.tls == TlsMode::Forced;
        let mut canary = Self {
            address: address.clone(),
            security: security.filter(|_| tls).cloned(),
            export: WireString::from(known.export.as_str()),
            block: known.block(),
            limit,
            stays_open: known.stays_open,
            took: Duration::ZERO,
            usual: Reached::Served,
        };
        let began = Instant::now();
        canary.usual = match canary.fly(limit).await {
            Ok(reached) => {
                canary.took = began.elapsed();
                canary.limit = limit.max(canary.took.saturating_mul(SLOWER));
                reached
            }
            // What never comes says nothing about how slow the server is.
            Err((reached, _)) => reached,
        };
        canary
    }

    /// How far it comes when all is well.
    pub(super) fn usual(&self) -> Reached {
        self.usual
    }

    /// Whether the server still serves: it is asked twice, patiently, or less so where it has been
    /// found silent `before` and could be started again.
    ///
    /// # Errors
    /// What became of the second try.
    pub(super) async fn check(&self, before: bool) -> Result<(), String> {
        let limit = match before {
            true => BRIEFLY.max(self.took.saturating_mul(MUCH_SLOWER)).min(self.limit),
            false => self.limit,
        };
        if self.is_served(limit).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(AGAIN).await;
        self.is_served(limit.saturating_mul(2)).await
    }

    async fn is_served(&self, limit: Duration) -> Result<(), String> {
        match self.fly(limit).await {
            Ok(_) => Ok(()),
            Err((reached, _)) if reached >= self.usual => Ok(()),
            Err((_, why)) => Err(why),
        }
    }

    /// How far it comes; an error where something was not answered.
    async fn fly(&self, limit: Duration) -> Result<Reached, (Reached, String)> {
        let stream = connect(&self.address, limit).await;
        let stream = stream.map_err(|error| (Reached::Nothing, error))?;
        let link = Link::new("", Side::Client, stream, None);
        let mut flight = Flight { link, limit, reached: Reached::Connected };
        let flown = flight.fly(self).await;
        flight.link.close(false, limit.min(FAREWELL)).await;
        match flown {
            Ok(()) => Ok(flight.reached),
            Err(why) => Err((flight.reached, why)),
        }
    }
}

/// A canary on its way.
struct Flight {
    link: Link,
    limit: Duration,
    reached: Reached,
}

impl Flight {
    async fn fly(&mut self, canary: &Canary) -> Result<(), String> {
        let greeting = self.hear("greeting").await?;
        self.reached = Reached::Greeted;
        if canary.usual <= Reached::Greeted {
            return Ok(());
        }
        if let Message::Greeting(Greeting::Newstyle { flags }) = greeting
            && !self.enter(canary, flags).await?
        {
            // Refused is answered.
            return Ok(());
        }
        if canary.block > 0 && canary.usual > Reached::Haggled {
            self.ask(Command::READ, canary.block).await;
            self.hear("answer to NBD_CMD_READ").await?;
            self.reached = Reached::Served;
        }
        self.ask(Command::DISC, 0).await;
        let patience = self.limit.min(FAREWELL);
        if canary.stays_open {
            self.link.shut(patience).await;
        }
        // Whether it closes is for scenarios to say.
        let _ = self.link.receive(patience).await;
        Ok(())
    }

    /// Gives whether the export was entered.
    async fn enter(&mut self, canary: &Canary, offered: HandshakeFlags) -> Result<bool, String> {
        let fixed = offered.has(HandshakeFlags::FIXED_NEWSTYLE);
        let mut flags = ClientFlags::EMPTY;
        if fixed {
            flags = flags | ClientFlags::FIXED_NEWSTYLE;
        }
        if offered.has(HandshakeFlags::NO_ZEROES) {
            flags = flags | ClientFlags::NO_ZEROES;
        }
        self.say(Message::ClientFlags(flags)).await;
        if let Some(security) = canary.security.as_ref().filter(|_| fixed) {
            if self.option(OptionType::STARTTLS, OptionBody::Empty).await? != ReplyType::ACK {
                return Ok(false);
            }
            let starter = Starter::Connect(security.connector(&[], None)?);
            let begun = self.link.start_tls(&starter, &Secrets::default(), self.limit).await;
            begun.map_err(|error| match error {
                NoTls::Failed(why) => format!("no TLS: {why}"),
                NoTls::Silent => "the TLS handshake does not end".to_owned(),
            })?;
        }
        if fixed {
            let requests = vec![InfoType::BLOCK_SIZE];
            let body = OptionBody::Info { name: canary.export.clone(), requests };
            match self.option(OptionType::GO, body).await? {
                ReplyType::ACK => return Ok(true),
                // Further than that it never comes.
                ReplyType::ERR_UNSUP if canary.usual > Reached::Haggled => {}
                _ => {
                    self.say(option(OptionType::ABORT, OptionBody::Empty)).await;
                    return Ok(false);
                }
            }
        }
        let body = OptionBody::Name(canary.export.clone());
        self.say(option(OptionType::EXPORT_NAME, body)).await;
        self.hear("answer to NBD_OPT_EXPORT_NAME").await?;
        self.reached = Reached::Haggled;
        Ok(true)
    }

    /// The type of the final reply.
    async fn option(&mut self, asked: OptionType, body: OptionBody) -> Result<ReplyType, String> {
        self.say(option(asked, body)).await;
        for _ in 0..MESSAGES {
            match self.hear(&format!("answer to {asked}")).await? {
                Message::OptionReply(reply) if reply.reply.is_final() => {
                    self.reached = self.reached.max(Reached::Haggled);
                    return Ok(reply.reply);
                }
                _ => {}
            }
        }
        Err(format!("the answer to {asked} does not end"))
    }

    async fn ask(&mut self, command: Command, length: u64) {
        let request = Request { length, ..Request::bare(RequestForm::Compact, command, COOKIE) };
        self.say(Message::Request(request)).await;
    }

    async fn say(&mut self, message: Message) {
        self.link.send(&plain(message), self.limit).await;
    }

    async fn hear(&mut self, what: &str) -> Result<Message, String> {
        match self.link.receive(self.limit).await {
            Incoming::Message(received) => Ok(received.message),
            Incoming::End(end) => Err(format!("a fresh connection gets no {what}: {end}")),
        }
    }
}

fn option(option: OptionType, body: OptionBody) -> Message {
    Message::Option(OptionRequest { option, body })
}
