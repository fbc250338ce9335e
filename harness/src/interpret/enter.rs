//! The way to where a scenario begins: to haggling, and into the export.

use protocol::describe::Value;
use protocol::message::{
    ExportInfo, Greeting, Info, Message, OptionBody, OptionReply, OptionRequest, ReplyBody,
    RequestForm, Side,
};
use protocol::notation::ast::Span;
use protocol::requirements::id;
use protocol::text::WireString;
use protocol::values::{
    ClientFlags, HandshakeFlags, InfoType, OptionType, ReplyType, TransmissionFlags,
};

use super::interpreter::Interpreter;
use super::limits::Limits;
use super::matching::Candidate;
use super::open::PLACE_AGAIN;
use super::setup::Upgrade;
use super::stop::{Flow, Stop};
use crate::finding::{Detail, Sent};
use crate::link::End;
use crate::link::tracker::Phase;
use crate::script::ast::Replies;

/// How often a scenario may enter again because there seems to be no place.
const PLACES_SOUGHT: u32 = 10;

impl Interpreter<'_> {
    pub(super) async fn reach_haggling(&mut self, name: &str, span: Span) -> Flow {
        if self.setup.side == Side::Server {
            let flags = HandshakeFlags::FIXED_NEWSTYLE.with(HandshakeFlags::NO_ZEROES);
            self.say(name, Message::Greeting(Greeting::Newstyle { flags })).await;
            return match self.hear(name).await {
                Candidate::Message(received)
                    if matches!(received.message, Message::ClientFlags(_)) =>
                {
                    Ok(())
                }
                came => {
                    self.stumble(id::HANDSHAKE_CLIENT_FLAGS_WIDTH, "C: client-flags", &came, span)
                }
            };
        }
        match self.greeted(name, span).await? {
            Greeting::Newstyle { flags } if flags.has(HandshakeFlags::FIXED_NEWSTYLE) => {
                self.begin_haggling(name, flags, span).await
            }
            Greeting::Newstyle { flags } => {
                Err(Stop::Skip(format!("the server has no fixed newstyle: flags={flags}")))
            }
            oldstyle => {
                let line = Message::Greeting(oldstyle).describe(None);
                Err(Stop::Skip(format!("the server is not newstyle: S: {line}")))
            }
        }
    }

    async fn greeted(&mut self, name: &str, span: Span) -> Result<Greeting, Stop> {
        let expected = "S: greeting";
        let came = match self.hear(name).await {
            Candidate::Message(received) => match received.message {
                Message::Greeting(greeting) => return Ok(greeting),
                _ => Candidate::Message(received),
            },
            came => came,
        };
        let rule = match came {
            Candidate::End(End::Close | End::Notified | End::Reset) => {
                id::SESSION_NO_UNJUSTIFIED_HARD_DISCONNECT
            }
            _ => id::HANDSHAKE_GREETING_LAYOUT,
        };
        let stumbled = self.stumble(rule, expected, &came, span);
        // Whatever was said on a connection before this one.
        if let Some(finding) = self.findings.last_mut()
            && finding.detail.expected == [expected]
        {
            finding.detail.sent = Sent::Nothing;
        }
        stumbled?;
        Err(Stop::Failed)
    }

    /// Answers a newstyle greeting, and begins TLS where all is to go through it.
    async fn begin_haggling(&mut self, name: &str, offered: HandshakeFlags, span: Span) -> Flow {
        let mut answer = ClientFlags::EMPTY;
        for (offer, taken) in [
            (HandshakeFlags::FIXED_NEWSTYLE, ClientFlags::FIXED_NEWSTYLE),
            (HandshakeFlags::NO_ZEROES, ClientFlags::NO_ZEROES),
        ] {
            if offered.has(offer) {
                answer = answer.with(taken);
            }
        }
        self.say(name, Message::ClientFlags(answer)).await;
        if !offered.has(HandshakeFlags::FIXED_NEWSTYLE) {
            return Ok(());
        }
        self.upgrade(name, Upgrade::BeforeHaggling, span).await
    }

    /// To transmission, by whichever way there is: GO, else EXPORT_NAME, else the oldstyle greeting.
    /// GO is not tried where the survey had no proper answer to it: that is for scenarios about GO.
    pub(super) async fn reach_transmission(
        &mut self,
        name: &str,
        replies: Replies,
        contexts: &[WireString],
        span: Span,
    ) -> Flow {
        if self.setup.side == Side::Server {
            return Err(Stop::Error(
                "`-- to transmission` is only for scenarios that test a server".to_owned(),
            ));
        }
        let pinned = replies;
        let replies = match replies {
            Replies::Default => self.setup.replies,
            pinned => pinned,
        };
        let wanted = match replies {
            Replies::Default if contexts.is_empty() => None,
            Replies::Default | Replies::Structured => Some(OptionType::STRUCTURED_REPLY),
            Replies::Extended => Some(OptionType::EXTENDED_HEADERS),
        };
        let phase = self.conns.get(name).map(|conn| conn.link.tracker().phase());
        if phase == Some(Phase::Start) {
            match self.greeted(name, span).await? {
                Greeting::Newstyle { flags } => self.begin_haggling(name, flags, span).await?,
                Greeting::Oldstyle { size, flags, .. } => {
                    // Who greets so has said all there is to say.
                    self.without_options(name, wanted)?;
                    self.learn(size, flags, None);
                    return Ok(());
                }
            }
        }
        let export = WireString::from(self.setup.export.as_str());
        if !self.is_fixed(name) {
            self.without_options(name, wanted)?;
            return self.by_export_name(name, export, span).await;
        }
        self.upgrade(name, Upgrade::BeforeTransmission, span).await?;
        self.agree_on(name, wanted, span).await?;
        if !contexts.is_empty() {
            self.select(name, &export, contexts, span).await?;
        }
        if self.setup.enters_by_name {
            return self.by_export_name(name, export, span).await;
        }
        let body = OptionBody::Info { name: export.clone(), requests: vec![InfoType::BLOCK_SIZE] };
        let (items, reply) = self.option(name, OptionType::GO, body, span).await?;
        if reply.reply == ReplyType::ERR_UNSUP {
            return self.by_export_name(name, export, span).await;
        }
        // The place of a connection that is closed may not be free at once.
        let fresh = phase == Some(Phase::Start) && self.setup.few_places;
        if reply.reply != ReplyType::ACK && fresh && self.places_sought < PLACES_SOUGHT {
            self.places_sought += 1;
            self.conns.remove(name);
            tokio::time::sleep(PLACE_AGAIN).await;
            self.open(name, span).await?;
            return Box::pin(self.reach_transmission(name, pinned, contexts, span)).await;
        }
        if reply.reply != ReplyType::ACK {
            let refusal = reply.reply;
            let description = Message::OptionReply(reply).describe(None);
            let detail = Detail {
                expected: vec!["S: NBD_REP_ACK option=NBD_OPT_GO".to_owned()],
                received: format!("S: {description}"),
                reply: Some(refusal),
                ..Detail::default()
            };
            let message = "the export under test is refused";
            self.find(id::BASELINE_INFO_GO, message, span, detail)?;
            return Err(Stop::Failed);
        }
        self.learn_from(items);
        Ok(())
    }

    /// Negotiates the form of replies that is wanted, unless it is agreed already.
    async fn agree_on(&mut self, name: &str, wanted: Option<OptionType>, span: Span) -> Flow {
        let tracker = self.conns.get(name).map(|conn| conn.link.tracker());
        let agreed = tracker.is_some_and(|tracker| match wanted {
            Some(OptionType::EXTENDED_HEADERS) => tracker.request_form() == RequestForm::Extended,
            Some(_) => tracker.is_structured(),
            None => true,
        });
        let Some(option) = wanted.filter(|_| !agreed) else { return Ok(()) };
        let (_, reply) = self.option(name, option, OptionBody::Empty, span).await?;
        if reply.reply != ReplyType::ACK {
            let line = Message::OptionReply(reply).describe(None);
            return Err(Stop::Skip(format!("{option} is not offered: S: {line}")));
        }
        Ok(())
    }

    /// What the answer to NBD_OPT_GO says of the export.
    fn learn_from(&mut self, items: Vec<OptionReply>) {
        let mut entered = None;
        let mut told = None;
        for item in items {
            match item.body {
                ReplyBody::Info(Info::Export { size, flags }) => entered = Some((size, flags)),
                ReplyBody::Info(Info::BlockSize { minimum, preferred, maximum }) => {
                    told = Some((minimum, preferred, maximum));
                }
                _ => {}
            }
        }
        if let Some((size, flags)) = entered {
            self.learn(size, flags, told);
        }
    }

    /// Whether options other than EXPORT_NAME may be sent.
    fn is_fixed(&self, name: &str) -> bool {
        let tracker = self.conns.get(name).map(|conn| conn.link.tracker());
        tracker.is_some_and(|it| it.handshake_flags().has(HandshakeFlags::FIXED_NEWSTYLE))
    }

    /// A server that takes no options is no place for what is agreed by them.
    fn without_options(&self, name: &str, wanted: Option<OptionType>) -> Flow {
        let tls = self.setup.upgrade != Upgrade::Never;
        let Some(option) = wanted.or(tls.then_some(OptionType::STARTTLS)) else { return Ok(()) };
        let newstyle = self.conns.get(name).map(|conn| conn.link.tracker().phase());
        let style = match newstyle {
            Some(Phase::Transmission) => "oldstyle",
            _ => "newstyle without the fixed flag",
        };
        Err(Stop::Skip(format!("{option} is not offered: the server is {style}")))
    }

    /// Selects metadata contexts. A server that does not have all of them offers too little for
    /// this scenario; whether it should is for others.
    async fn select(
        &mut self,
        name: &str,
        export: &WireString,
        contexts: &[WireString],
        span: Span,
    ) -> Flow {
        let option = OptionType::SET_META_CONTEXT;
        let queries = contexts.to_vec();
        let body = OptionBody::Meta { export: export.clone(), queries };
        let (replies, last) = self.option(name, option, body, span).await?;
        let selected = |wanted: &WireString| {
            replies.iter().any(|reply| {
                matches!(&reply.body, ReplyBody::MetaContext { name, .. } if name == wanted)
            })
        };
        let missing = contexts.iter().find(|wanted| !selected(wanted));
        if last.reply != ReplyType::ACK || missing.is_some() {
            let wanted = missing.or(contexts.first()).map(WireString::to_string);
            let line = Message::OptionReply(last).describe(None);
            let wanted = wanted.unwrap_or_default();
            return Err(Stop::Skip(format!("{wanted} is not offered: S: {line}")));
        }
        Ok(())
    }

    async fn by_export_name(&mut self, name: &str, export: WireString, span: Span) -> Flow {
        let option = OptionType::EXPORT_NAME;
        let body = OptionBody::Name(export);
        self.say(name, Message::Option(OptionRequest { option, body })).await;
        match self.hear(name).await {
            Candidate::Message(received) => match received.message {
                Message::ExportInfo(ExportInfo { size, flags, .. }) => {
                    self.learn(size, flags, None);
                    Ok(())
                }
                _ => {
                    let came = Candidate::Message(received);
                    self.stumble(id::OPT_EXPORT_NAME_REPLY_LAYOUT, "S: export-info", &came, span)
                }
            },
            came => {
                let rule = match came {
                    // It may refuse, by closing; that it can be entered this way too is only wished for.
                    Candidate::End(End::Close | End::Notified | End::Reset) => {
                        id::INTEROP_EXPORT_NAME
                    }
                    Candidate::End(End::Timeout(_)) => id::OPT_EXPORT_NAME_REFUSAL_CLOSES,
                    _ => id::OPT_EXPORT_NAME_REPLY_LAYOUT,
                };
                self.stumble(rule, "S: export-info", &came, span)
            }
        }
    }

    /// What was told of the export that was entered. Block sizes that are not told now are those
    /// that the survey saw.
    pub(super) fn learn(
        &mut self,
        size: u64,
        flags: TransmissionFlags,
        told: Option<(u32, u32, u32)>,
    ) {
        self.env.set("flags", Value::Names(flags.names()));
        let mut limits = Limits::new(size, told);
        if told.is_none() {
            let known = |name: &str| self.env.get(name).and_then(super::eval::number);
            limits.minimum = known("minimum").unwrap_or(limits.minimum).max(1);
            limits.preferred = known("preferred").unwrap_or(limits.preferred);
            limits.maximum = known("maximum").unwrap_or(limits.maximum);
        }
        if let Some(most) = self.setup.most {
            limits.maximum = limits.maximum.min(most);
        }
        for (name, value) in limits.variables() {
            self.env.set(name, value);
        }
    }
}
