//! `-- serve`: the server's part up to where a client has entered the export, whatever lawful way
//! the client takes there.

use std::collections::BTreeSet;

use protocol::build;
use protocol::describe::Value;
use protocol::message::{
    ExportInfo, Greeting, Message, OptionBody, OptionReply, OptionRequest, Padding, RequestForm,
    Side,
};
use protocol::notation::ast::Span;
use protocol::requirements::id;
use protocol::text::WireString;
use protocol::values::{HandshakeFlags, OptionType, ReplyType, TransmissionFlags};

use super::eval::number;
use super::expect::wish;
use super::host::Host;
use super::interpreter::Interpreter;
use super::matching::Candidate;
use super::setup::Setup;
use super::stop::{Flow, Stop};
use crate::finding::Detail;
use crate::link::tracker::Phase;
use crate::link::{End, Said};
use crate::script::ast::{EventLine, Replies, Serve};

/// The rule about the name of the export that a client is told.
const NAME: &str = "uri-export-name";
/// How many options one connection may bring.
const OPTIONS: usize = 1000;
/// How many connections a client may make before one of them enters the export.
const CONNECTIONS: usize = 64;

/// Where an option leads to.
enum Next {
    Option,
    Entered,
    Left,
}

impl Interpreter<'_> {
    pub(super) async fn serve(&mut self, name: &str, line: &EventLine, serve: &Serve) -> Flow {
        let span = line.span;
        self.reach(&line.tags);
        let host = self.host(serve)?;
        for _ in 0..CONNECTIONS {
            if let Some(conn) = self.conns.get_mut(name) {
                conn.host = Some(host.clone());
            }
            if self.haggle(name, span).await? {
                return self.entered(name, &host);
            }
            // A client may look first and enter on another connection.
            let limit = self.wait();
            if let Some(conn) = self.conns.get_mut(name) {
                conn.link.close(false, limit).await;
                conn.end_expected = true;
            }
            self.collect();
            if !self.comes_again(name, span).await? {
                return self.stays_away(serve, line).await;
            }
        }
        Err(Stop::Error(format!("the client made {CONNECTIONS} connections and entered on none")))
    }

    /// What a line offers.
    fn host(&self, serve: &Serve) -> Result<Host, Stop> {
        let number = |key: &str, otherwise: u64| -> Result<u64, Stop> {
            match serve.fields.iter().find(|field| field.key.node == key) {
                Some(field) => Ok(self.env.int(&field.value)?),
                None => Ok(otherwise),
            }
        };
        let small = |key: &str, otherwise: u32| -> Result<u32, Stop> {
            let value = number(key, otherwise.into())?;
            u32::try_from(value).map_err(|_| Stop::Error(format!("`{key}` has 32 bits")))
        };
        let mut flags = TransmissionFlags::HAS_FLAGS;
        if let Some(field) = serve.fields.iter().find(|field| field.key.node == "flags") {
            let fields = [("flags".to_owned(), self.env.value(&field.value)?)];
            let fields = [fields, [("size".to_owned(), Value::Int(0))]].concat();
            let context = build::Context::default();
            let built = build::build(Side::Server, "export-info", None, &fields, &context);
            match built.map(|built| built.message) {
                Ok(Message::ExportInfo(info)) => flags = info.flags,
                Ok(_) => {}
                Err(error) => return Err(Stop::Error(error.to_string())),
            }
        }
        let given = |key: &str| serve.fields.iter().any(|field| field.key.node == key);
        let sizes = if ["minimum", "preferred", "maximum"].into_iter().any(given) {
            let minimum = small("minimum", 1)?;
            let preferred = small("preferred", minimum.max(4096))?;
            Some([minimum, preferred, small("maximum", preferred.max(32 << 20))?])
        } else {
            None
        };
        let first = small("id", 1)?;
        let contexts = serve.contexts.as_ref().map(|contexts| {
            let ids = (0..).map(|index: u32| first.wrapping_add(index));
            ids.zip(contexts.iter().cloned()).collect()
        });
        Ok(Host {
            size: number("size", 1 << 20)?,
            flags,
            sizes,
            asked_sizes: false,
            replies: serve.replies,
            may_structured: serve.may_structured,
            contexts,
            selected: BTreeSet::new(),
        })
    }

    /// One connection, to the end of its haggling; whether the export was entered.
    async fn haggle(&mut self, name: &str, span: Span) -> Result<bool, Stop> {
        let phase = self.conns.get(name).map(|conn| conn.link.tracker().phase());
        if phase == Some(Phase::Start) {
            let flags = HandshakeFlags::FIXED_NEWSTYLE.with(HandshakeFlags::NO_ZEROES);
            self.say(name, Message::Greeting(Greeting::Newstyle { flags })).await;
            match self.hear(name).await {
                Candidate::Message(received)
                    if matches!(received.message, Message::ClientFlags(_)) => {}
                // Nothing has begun that could be ended in order: probes do just that.
                Candidate::End(End::Close | End::Reset) => return Ok(false),
                came => {
                    let rule = id::HANDSHAKE_CLIENT_FLAGS_WIDTH;
                    self.stumble(rule, "C: client-flags", &came, span)?;
                }
            }
        }
        for _ in 0..OPTIONS {
            match self.hear(name).await {
                Candidate::Message(received) => match &received.message {
                    Message::Option(option) => match self.answer(name, option).await {
                        Next::Option => {}
                        Next::Entered => return Ok(true),
                        Next::Left => return Ok(false),
                    },
                    _ => {
                        let came = Candidate::Message(received);
                        self.stumble(id::BASELINE_INFO_GO, "C: NBD_OPT_GO", &came, span)?;
                    }
                },
                // Whether it may leave like that is for the judge.
                Candidate::End(End::Close | End::Notified | End::Reset) => return Ok(false),
                came => self.stumble(id::BASELINE_INFO_GO, "C: NBD_OPT_GO", &came, span)?,
            }
        }
        Err(Stop::Error(format!("the client sent {OPTIONS} options and entered no export")))
    }

    async fn answer(&mut self, name: &str, option: &OptionRequest) -> Next {
        let Some(mut host) = self.conns.get(name).and_then(|conn| conn.host.clone()) else {
            return Next::Left;
        };
        let structured = self.conns.get(name).is_some_and(|conn| {
            let tracker = conn.link.tracker();
            tracker.is_structured() || tracker.request_form() == RequestForm::Extended
        });
        let export = WireString::from(self.setup.export.as_str());
        if option.option == OptionType::EXPORT_NAME {
            if !matches!(&option.body, OptionBody::Name(wanted) if *wanted == export) {
                return Next::Left;
            }
            let padded = self.conns.get(name).is_some_and(|conn| conn.link.tracker().has_padding());
            let padding = if padded { Padding::Zeroes } else { Padding::Absent };
            let (size, flags) = (host.size, host.flags);
            self.say(name, Message::ExportInfo(ExportInfo { size, flags, padding })).await;
            return Next::Entered;
        }
        let replies = host.answer(option, &export, structured);
        if let Some(conn) = self.conns.get_mut(name) {
            conn.host = Some(host);
        }
        let acknowledged = matches!(replies.last(), Some((ReplyType::ACK, _)));
        let option = option.option;
        for (reply, body) in replies {
            self.say(name, Message::OptionReply(OptionReply { option, reply, body })).await;
        }
        match option {
            OptionType::GO if acknowledged => Next::Entered,
            OptionType::ABORT => Next::Left,
            _ => Next::Option,
        }
    }

    /// The client is in. Where it has not asked for what the script is about, that shows nothing.
    fn entered(&mut self, name: &str, host: &Host) -> Flow {
        let told = host.sizes.map(|[minimum, preferred, maximum]| (minimum, preferred, maximum));
        self.learn(host.size, host.flags, told);
        let Some(conn) = self.conns.get(name) else { return Ok(()) };
        let tracker = conn.link.tracker();
        let extended = tracker.request_form() == RequestForm::Extended;
        let missing = match host.replies {
            Replies::Extended if !extended => Some("NBD_OPT_EXTENDED_HEADERS"),
            Replies::Structured if !tracker.is_structured() => Some("NBD_OPT_STRUCTURED_REPLY"),
            _ => None,
        };
        let needs = |wanted: &str| self.script.header.has_need(wanted);
        let selected = conn.host.as_ref().is_none_or(|host| !host.selected.is_empty());
        let contexts = host.contexts.as_ref().is_some_and(|contexts| !contexts.is_empty());
        // Who has not asked need not know that it must keep to them.
        let strict = |[minimum, _, maximum]: [u32; 3]| minimum > 1 || maximum < 32 << 20;
        let asked = conn.host.as_ref().is_some_and(|host| host.asked_sizes);
        let missing = match missing {
            None if host.sizes.is_some_and(strict) && !asked => Some("NBD_INFO_BLOCK_SIZE"),
            None if contexts && !selected && needs("NBD_OPT_SET_META_CONTEXT") => {
                Some("a metadata context")
            }
            missing => missing,
        };
        match missing {
            Some(missing) => {
                let last = self.last_option();
                Err(Stop::Skip(format!("the client does not ask for {missing}: {last}")))
            }
            None => Ok(()),
        }
    }

    /// Whether the last option of the client, but for its farewell, is one that the server does
    /// not know.
    fn was_refused(&self) -> bool {
        let mut messages = self.messages().rev().map(|(_, said)| said).filter(|said| match said {
            Message::Option(request) => request.option != OptionType::ABORT,
            Message::OptionReply(reply) => reply.option != OptionType::ABORT,
            _ => false,
        });
        matches!(messages.next(),
            Some(Message::OptionReply(reply)) if reply.reply == ReplyType::ERR_UNSUP)
    }

    /// Whether the client named exports, and never the one that it was told.
    fn asks_for_another_name(&self) -> bool {
        let export = WireString::from(self.setup.export.as_str());
        let named = |said: &Message| match said {
            Message::Option(OptionRequest {
                body: OptionBody::Name(name) | OptionBody::Info { name, .. },
                ..
            }) => Some(*name == export),
            _ => None,
        };
        let mut names = self.messages().filter_map(|(_, said)| named(said)).peekable();
        names.peek().is_some() && !names.any(|right| right)
    }

    /// The last option of the client.
    fn last_option(&self) -> String {
        let last = self.transcript.iter().rev().find(|entry| match &entry.said {
            Said::Message(seen) => matches!(seen.message, Message::Option(_)),
            _ => false,
        });
        last.map_or_else(|| "it sends no option".to_owned(), |entry| entry.text(false))
    }

    /// Whether the client makes another connection, rather than end.
    pub(super) async fn comes_again(&mut self, name: &str, span: Span) -> Result<bool, Stop> {
        let limit = self.wait();
        let Setup { dialer, client, .. } = &mut self.setup;
        let ended = async {
            match client {
                Some(client) => client.wait(limit).await,
                None => std::future::pending().await,
            }
        };
        let dialed = tokio::select! {
            biased;
            dialed = dialer.dial(name, limit) => dialed.ok(),
            Some(_) = ended => None,
        };
        match dialed {
            Some(dialed) => {
                self.conns.remove(name);
                self.adopt(name, dialed, span);
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// The client has ended without entering. Where it was only to look, or may leave, the script
    /// goes on or is done.
    async fn stays_away(&mut self, serve: &Serve, line: &EventLine) -> Flow {
        self.client_status().await?;
        let status = self.env.get("status").and_then(number).unwrap_or(0);
        let action = self.script.header.action.as_ref().map_or("info", |action| &action.node);
        let looks = matches!(action.split_whitespace().next(), Some("info" | "list"));
        if status == 0 && looks {
            return Ok(());
        }
        if serve.may_leave && status != 0 {
            return Err(Stop::Failed);
        }
        let last = self.last_option();
        let rule = wish(&line.tags).filter(|_| self.was_refused());
        let wrong_name = self.asks_for_another_name() && line.tags.iter().any(|it| it.node == NAME);
        if status != 0
            && let Some(rule) = rule.or(wrong_name.then_some(NAME)).map(ToOwned::to_owned)
        {
            let message = match wrong_name {
                true => "the client does not ask for the export that its URI names",
                false => "the client leaves where the server does not know an option",
            };
            let detail = Detail { received: last, ..Detail::default() };
            self.find(&rule, message, line.span, detail)?;
            return Err(Stop::Failed);
        }
        if status != 0 {
            let reason = format!("the client does not enter the export (status {status}): {last}");
            return Err(Stop::Skip(reason));
        }
        let rule = line.tags.first().map_or(id::BASELINE_INFO_GO, |tag| &tag.node).to_owned();
        let message = "the client says status 0, and never entered the export";
        let detail = Detail {
            expected: vec!["C: NBD_OPT_GO, or NBD_OPT_EXPORT_NAME".to_owned()],
            received: last,
            ..Detail::default()
        };
        self.find(&rule, message, line.span, detail)?;
        Err(Stop::Failed)
    }
}
