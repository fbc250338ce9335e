//! The questions, one after the other, each on a connection of its own: what goes wrong with one
//! says nothing about the others.

use std::time::{Duration, Instant};

use protocol::message::{OptionBody, ReplyBody};
use protocol::text::WireString;
use protocol::values::{InfoType, OptionType, ReplyType};

use super::asker::{Asker, Reply, Style};
use super::capabilities::{Capabilities, Route, TlsMode};
use super::fact::{Fact, NoAnswer, Trouble, ending, seconds};
use super::way::{Entered, Way};
use super::{Ask, Whom};

/// An option that no specification knows.
const UNKNOWN: OptionType = OptionType(0x4e42_4421);
/// A name that no export has by chance, and that none is refused for its characters.
const NOBODY: &str = "nbdcheck-no-such-export-4e42444d";
/// How many waits the questions may take in all.
const WAITS: u32 = 12;
/// After this many questions without any answer the next are given less time.
const SILENCES: u32 = 2;
/// How long an answer is waited for then, and in any case a close after a farewell.
const BRIEFLY: Duration = Duration::from_secs(1);
/// How long a close is waited for from a server that has shown that it does not close.
const HARDLY: Duration = Duration::from_millis(100);
/// How long a server that can't be reached any more gets to come back.
const AGAIN: Duration = Duration::from_millis(200);
/// How often that long.
const TRIES: u32 = 5;
/// How many connections tell whether a server hangs up on some.
const ALONE: u32 = 12;
/// A server that serves one session may take another connection or two while it ends.
const FEW: u32 = 3;
/// How often a greeting is waited for in the end.
const GREETINGS: u32 = 2;
/// How many lines are kept as evidence, and how long they may be in all, in bytes.
const LINES: (usize, usize) = (4096, 4 << 20);

/// Asks one server.
pub(super) struct Surveyor<'a> {
    pub whom: Whom<'a>,
    pub ask: &'a Ask<'a>,
    pub found: Capabilities,
    deadline: Instant,
    silences: u32,
    farewell: Duration,
    /// Everything is asked inside TLS.
    pub inside: bool,
    sessions: u32,
    /// Why the server can't be reached any more.
    gone: Option<String>,
    /// What was asked last.
    last: &'static str,
    /// It lets clients connect, and does not greet them any more.
    mute: bool,
    /// What was asked first without an answer, since a connection was greeted.
    unanswered: Option<&'static str>,
    kept: usize,
    /// How many connections were opened, one at a time.
    opened: u32,
    /// On how many of them there was no greeting.
    turned_away: u32,
    /// How long the last answer took, with all that came before it.
    took: Duration,
}

impl<'a> Surveyor<'a> {
    pub(super) fn new(whom: Whom<'a>, ask: &'a Ask<'a>) -> Self {
        let export = ask.export.unwrap_or_default().to_owned();
        Self {
            whom,
            ask,
            found: Capabilities { export, ..Capabilities::default() },
            deadline: Instant::now() + ask.limit.saturating_mul(WAITS),
            silences: 0,
            farewell: BRIEFLY.min(ask.limit),
            inside: false,
            sessions: 0,
            gone: None,
            last: "nothing",
            mute: false,
            unanswered: None,
            kept: 0,
            opened: 0,
            turned_away: 0,
            took: Duration::ZERO,
        }
    }

    /// All questions.
    pub(super) async fn run(mut self) -> Result<Capabilities, Trouble> {
        let asked = self.ask_all().await;
        if self.ask.strange
            && let Some(why) = self.gone
        {
            // Some count only sessions in which an export was entered.
            let entered = matches!(self.last, "NBD_OPT_GO" | "NBD_OPT_EXPORT_NAME");
            let last = self.unanswered.unwrap_or(self.last);
            return Err(match !self.mute && (self.sessions <= FEW || entered) {
                true => Trouble::OneSession { last, why },
                false => Trouble::Gone { last, why },
            });
        }
        asked.map(|()| self.found)
    }

    async fn ask_all(&mut self) -> Result<(), Trouble> {
        match self.greeting().await? {
            Style::Oldstyle { size, flags } => {
                self.found.oldstyle = true;
                (self.found.size, self.found.flags) = (size, flags);
                self.found.route = Some(Route::Oldstyle);
            }
            Style::Newstyle => self.enter_by_name().await?,
            Style::Fixed => {
                self.found.fixed = true;
                self.options().await?;
            }
        }
        super::exports::describe(self).await;
        super::parting::look(self).await;
        if self.ask.strange {
            super::content::look(self).await;
            self.is_there().await;
            self.hangs_up().await;
        }
        Ok(())
    }

    async fn greeting(&mut self) -> Result<Style, Trouble> {
        let address = self.whom.address.to_string();
        let began = Instant::now();
        let (mut asker, style) = self.open().await.map_err(|error| match error {
            NoAnswer::Silent(limit) => Trouble::NoGreeting { address, limit },
            NoAnswer::Unreachable(why) => Trouble::Unreachable(why),
            NoAnswer::Ended(end) | NoAnswer::TurnedAway(end) => {
                Trouble::Closed { address, how: ending(end) }
            }
            error => Trouble::Closed { address, how: error.to_string() },
        })?;
        self.found.opening = began.elapsed();
        self.keep(&mut asker);
        self.leave(asker).await;
        Ok(style)
    }

    /// What a fixed newstyle server is asked.
    async fn options(&mut self) -> Result<(), Trouble> {
        self.tls().await?;
        self.list().await?;
        let _ = self.option(None, OptionType::STRUCTURED_REPLY, OptionBody::Empty).await;
        self.enter().await?;
        let name = WireString::from(self.found.export.as_str());
        self.information(&name).await;
        self.unknown_name().await;
        self.contexts(&name).await;
        self.extended(&name).await;
        if self.inside
            && self.found.options.keys().all(|asked| *asked == OptionType::STARTTLS)
            && self.gone.is_none()
        {
            // In TLS 1.3 a client is content before the server has looked at its certificate.
            return Err(Trouble::NoTls(
                "the server ends the session after the TLS handshake\nhint: does it demand a certificate, `--tls-cert` and `--tls-key`?"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    /// Which TLS the server does.
    async fn tls(&mut self) -> Result<(), Trouble> {
        // A server may answer LIST by a refusal of its own; what it does not know tells its mode.
        let unknown = self.converse(None, UNKNOWN, OptionBody::Empty).await;
        self.found.unknown_option = match &unknown {
            Ok(reply) => Fact::Known(reply.last, reply.line.clone()),
            Err(error) => Fact::Unknown(error.to_string()),
        };
        let forced = matches!(&unknown, Ok(reply) if reply.last == ReplyType::ERR_TLS_REQD);
        let shaken = self.start_tls().await;
        let offered = self.found.offers(OptionType::STARTTLS);
        if offered {
            self.found.tls = if forced { TlsMode::Forced } else { TlsMode::Selective };
            self.found.tls_kind = self.whom.security.map(crate::tls::Security::kind);
        }
        if forced || self.whom.insists {
            self.go_inside(shaken)?;
        }
        Ok(())
    }

    /// STARTTLS, and the handshake where there is something for it.
    async fn start_tls(&mut self) -> Result<(), NoAnswer> {
        let mut asker = self.haggle(false).await?;
        self.asking("NBD_OPT_STARTTLS");
        let asked = asker.option(OptionType::STARTTLS, OptionBody::Empty).await;
        self.note(OptionType::STARTTLS, &asked);
        let shaken = match (&asked, self.whom.security) {
            (Ok(reply), Some(security)) if reply.last == ReplyType::ACK => {
                asker.shake_hands(security).await
            }
            (Ok(reply), _) if reply.last != ReplyType::ACK => {
                Err(NoAnswer::NoTls(format!("the server has no TLS: {}", reply.line)))
            }
            (Ok(_), _) => Ok(()),
            (Err(error), _) => Err(NoAnswer::NoTls(format!("NBD_OPT_STARTTLS: {error}"))),
        };
        self.count(asked.as_ref().err());
        self.keep(&mut asker);
        self.leave(asker).await;
        shaken
    }

    /// From here on everything is asked inside TLS.
    fn go_inside(&mut self, shaken: Result<(), NoAnswer>) -> Result<(), Trouble> {
        if self.whom.security.is_none() {
            let line = self.found.evidence(&["NBD_REP_ERR_TLS_REQD"]).unwrap_or_default();
            return Err(Trouble::NoTls(format!(
                "the server insists on TLS: {line}\nhint: `--target nbds://...`, with `--tls-ca`, `--tls-cert` and `--tls-key`, or `--tls-psk`"
            )));
        }
        shaken.map_err(|error| Trouble::NoTls(error.to_string()))?;
        self.inside = true;
        // What was not answered in the clear may be answered inside.
        self.found.options.retain(|option, _| *option == OptionType::STARTTLS);
        Ok(())
    }

    /// What is refused in the clear is asked inside; gives whether there is a reason to ask again.
    async fn demanded(&mut self, reply: &Result<Reply, NoAnswer>) -> Result<bool, Trouble> {
        let demands = matches!(reply, Ok(reply) if reply.last == ReplyType::ERR_TLS_REQD);
        if !demands || self.inside {
            return Ok(false);
        }
        let shaken = match self.whom.security {
            Some(_) => self.start_tls().await,
            None => Ok(()),
        };
        self.go_inside(shaken)?;
        Ok(true)
    }

    async fn list(&mut self) -> Result<(), Trouble> {
        let mut heard = self.option(None, OptionType::LIST, OptionBody::Empty).await;
        if self.demanded(&heard).await? {
            heard = self.option(None, OptionType::LIST, OptionBody::Empty).await;
        }
        if let Ok(Reply { items, last: ReplyType::ACK, .. }) = heard {
            let names = items.into_iter().filter_map(|reply| match reply.body {
                ReplyBody::Server { name, .. } => Some(name),
                _ => None,
            });
            self.found.listed = Some(names.collect());
        }
        Ok(())
    }

    /// Enters the export: by GO, else by EXPORT_NAME.
    async fn enter(&mut self) -> Result<(), Trouble> {
        let names = self.names();
        let mut refusal = None;
        for name in names {
            self.found.export = String::from_utf8_lossy(name.as_bytes()).into_owned();
            let mut went = self.go(&name).await;
            if self.demanded(&went).await? {
                went = self.go(&name).await;
            }
            match went {
                Ok(reply) if reply.last == ReplyType::ACK => return Ok(()),
                // The block size was asked for: an error that demands just that is for scenarios to name.
                Ok(reply) if reply.last == ReplyType::ERR_BLOCK_SIZE_REQD => return Ok(()),
                Ok(reply) if reply.last != ReplyType::ERR_UNSUP => refusal = Some(reply.line),
                // There is no GO, or none that works.
                Ok(_) | Err(_) => match self.by_name(&name, true).await {
                    Ok(()) => return Ok(()),
                    Err(NoAnswer::Unreachable(_) | NoAnswer::NoTime) => return Ok(()),
                    // A refusal closes: silence is for scenarios to name.
                    Err(NoAnswer::Silent(_)) => {}
                    Err(error) if went.is_ok() => refusal = Some(error.to_string()),
                    Err(_) => {}
                },
            }
        }
        match refusal {
            Some(refusal) => Err(self.refused(&refusal)),
            // Who says nothing is for scenarios to name.
            None => Ok(()),
        }
    }

    /// The exports to try: the given one, or the default one and the first that is listed.
    fn names(&self) -> Vec<WireString> {
        if let Some(name) = self.ask.export {
            return vec![WireString::from(name)];
        }
        let listed = self.found.listed.iter().flatten().filter(|name| !name.is_empty());
        std::iter::once(WireString::default()).chain(listed.take(1).cloned()).collect()
    }

    fn refused(&self, refusal: &str) -> Trouble {
        let hint = match &self.found.listed {
            Some(names) if !names.is_empty() => {
                let names: Vec<String> = names.iter().take(8).map(ToString::to_string).collect();
                format!("\nhint: `--export` chooses another; the server lists {}", names.join(", "))
            }
            _ => "\nhint: `--export` names the export".to_owned(),
        };
        let name = WireString::from(self.found.export.as_str());
        Trouble::Export(format!("the server refuses the export {name}: {refusal}{hint}"))
    }

    async fn go(&mut self, name: &WireString) -> Result<Reply, NoAnswer> {
        let structured = self.structured();
        let mut went = self.try_go(structured, name).await;
        if went.is_err() && structured.is_some() {
            // That may have been due to the other option.
            went = self.try_go(None, name).await;
        }
        self.note(OptionType::GO, &went);
        if let Ok(Reply { items, last: ReplyType::ACK, .. }) = &went {
            self.found.learn(items);
            self.found.route = Some(Route::Go);
        }
        went
    }

    async fn try_go(
        &mut self,
        before: Option<OptionType>,
        name: &WireString,
    ) -> Result<Reply, NoAnswer> {
        let body = OptionBody::Info { name: name.clone(), requests: vec![InfoType::BLOCK_SIZE] };
        let went = self.converse(before, OptionType::GO, body).await;
        if went.is_ok() {
            self.found.opening = self.found.opening.max(self.took);
        }
        went
    }

    /// Enters by EXPORT_NAME.
    async fn by_name(&mut self, name: &WireString, options: bool) -> Result<(), NoAnswer> {
        let began = Instant::now();
        let mut asker = match options {
            true => self.haggle(self.inside).await?,
            false => {
                let (mut asker, _) = self.open().await?;
                asker.greet().await;
                asker
            }
        };
        self.asking("NBD_OPT_EXPORT_NAME");
        let entered = asker.export_name(name).await;
        self.count(entered.as_ref().err());
        if let Ok((size, flags)) = entered {
            (self.found.size, self.found.flags) = (size, flags);
            self.found.route = Some(Route::ExportName);
            self.found.opening = self.found.opening.max(began.elapsed());
        }
        if let Err(error) = &entered {
            self.found.unknown.insert(OptionType::EXPORT_NAME, error.to_string());
        }
        self.keep(&mut asker);
        self.leave(asker).await;
        entered.map(|_| ())
    }

    /// Enters a newstyle server that knows no other option.
    async fn enter_by_name(&mut self) -> Result<(), Trouble> {
        let name = WireString::from(self.found.export.as_str());
        match self.by_name(&name, false).await {
            Ok(()) => Ok(()),
            // Without the fixed flag there is no other way to refuse.
            Err(error) => Err(self.refused(&error.to_string())),
        }
    }

    /// What INFO tells, and what those are told who do not ask for the block size.
    async fn information(&mut self, name: &WireString) {
        let info = |requests| OptionBody::Info { name: name.clone(), requests };
        let asked = vec![InfoType::BLOCK_SIZE];
        let _ = self.option(None, OptionType::INFO, info(asked)).await;
        for option in [OptionType::INFO, OptionType::GO] {
            if !self.found.offers(option) {
                continue;
            }
            if let Ok(mut asker) = self.haggle(self.inside).await {
                // Its lines would be taken for the answer to those who do ask.
                self.asking("the export without its block size");
                let asked = asker.info(option, name, &[]).await;
                self.count(asked.as_ref().err());
                self.found.block_size_required |=
                    matches!(&asked, Ok(reply) if reply.last == ReplyType::ERR_BLOCK_SIZE_REQD);
                self.leave(asker).await;
            }
        }
    }

    /// Whether a name that no export has is refused.
    async fn unknown_name(&mut self) {
        if !self.found.offers(OptionType::INFO) {
            return;
        }
        let Ok(mut asker) = self.haggle(self.inside).await else { return };
        let requests = [InfoType::BLOCK_SIZE];
        let asked = asker.info(OptionType::INFO, &WireString::from(NOBODY), &requests).await;
        self.count(asked.as_ref().err());
        let refused = |reply: &Reply| reply.last.is_error() && reply.last != ReplyType::ERR_UNSUP;
        self.found.refuses_unknown = asked.as_ref().is_ok_and(refused);
        self.leave(asker).await;
    }

    async fn contexts(&mut self, name: &WireString) {
        let structured = self.structured();
        if structured.is_none() {
            return;
        }
        let body = OptionBody::Meta { export: name.clone(), queries: Vec::new() };
        let listed = self.option(structured, OptionType::LIST_META_CONTEXT, body.clone()).await;
        if let Ok(Reply { items, .. }) = listed {
            let names = items.into_iter().filter_map(|reply| match reply.body {
                ReplyBody::MetaContext { name, .. } => Some(name),
                _ => None,
            });
            self.found.contexts = names.collect();
        }
        let _ = self.option(structured, OptionType::SET_META_CONTEXT, body).await;
    }

    /// Whether there are extended headers, and the flags of the export that hang on them and on a
    /// context.
    async fn extended(&mut self, name: &WireString) {
        let Ok(mut asker) = self.haggle(self.inside).await else { return };
        self.asking("NBD_OPT_EXTENDED_HEADERS");
        let asked = asker.option(OptionType::EXTENDED_HEADERS, OptionBody::Empty).await;
        self.note(OptionType::EXTENDED_HEADERS, &asked);
        self.count(asked.as_ref().err());
        if self.found.offers(OptionType::EXTENDED_HEADERS) {
            let queries = vec![WireString::from("base:allocation")];
            let body = OptionBody::Meta { export: name.clone(), queries };
            let mut told = Capabilities::default();
            if asker.option(OptionType::SET_META_CONTEXT, body).await.is_ok()
                && let Ok(reply) = asker.info(OptionType::INFO, name, &[InfoType::BLOCK_SIZE]).await
            {
                told.learn(&reply.items);
            }
            self.found.extended_flags = told.flags;
        }
        self.keep(&mut asker);
        self.leave(asker).await;
    }

    /// STRUCTURED_REPLY, where it is offered.
    pub(super) fn structured(&self) -> Option<OptionType> {
        let option = OptionType::STRUCTURED_REPLY;
        self.found.offers(option).then_some(option)
    }

    /// How the export is entered from here on; `None` if there is no way.
    pub(super) fn way(&self) -> Option<Way<'a>> {
        let name = WireString::from(self.found.export.as_str());
        Some(Way { whom: self.whom, inside: self.inside, route: self.found.route?, name })
    }

    /// Asks an option on a connection of its own, after another one, and takes note of the answer.
    async fn option(
        &mut self,
        before: Option<OptionType>,
        option: OptionType,
        body: OptionBody,
    ) -> Result<Reply, NoAnswer> {
        let asked = self.converse(before, option, body).await;
        self.note(option, &asked);
        asked
    }

    fn note(&mut self, option: OptionType, asked: &Result<Reply, NoAnswer>) {
        match asked {
            Ok(reply) => {
                self.found.options.insert(option, reply.last);
            }
            Err(error) => {
                if matches!(error, NoAnswer::Silent(waited) if *waited >= self.ask.limit) {
                    self.found.silent.insert(option);
                }
                self.found.unknown.insert(option, error.to_string());
            }
        }
    }

    async fn converse(
        &mut self,
        before: Option<OptionType>,
        option: OptionType,
        body: OptionBody,
    ) -> Result<Reply, NoAnswer> {
        let began = Instant::now();
        let mut asker = self.haggle(self.inside).await?;
        self.asking(option.name().unwrap_or("an unknown option"));
        let mut asked = Ok(());
        if let Some(before) = before {
            asked = asker.option(before, OptionBody::Empty).await.map(|_| ());
        }
        let asked = match asked {
            Ok(()) => asker.option(option, body).await,
            Err(error) => Err(error),
        };
        self.took = began.elapsed();
        self.count(asked.as_ref().err());
        self.keep(&mut asker);
        self.leave(asker).await;
        asked
    }

    /// A connection on which options can be asked, inside TLS or in the clear.
    pub(super) async fn haggle(&mut self, inside: bool) -> Result<Asker, NoAnswer> {
        let (mut asker, style) = self.open().await?;
        if style != Style::Fixed {
            self.leave(asker).await;
            return Err(NoAnswer::NoWay("the server greeted in another way than before"));
        }
        asker.greet().await;
        if inside {
            let begun = asker.begin_tls(self.whom.security).await;
            if let Err(error) = begun {
                self.count(Some(&error));
                self.leave(asker).await;
                return Err(error);
            }
        }
        Ok(asker)
    }

    /// Whether it still greets. Once may be too little, where a place has to become free.
    async fn is_there(&mut self) {
        let mut silent = false;
        for _ in 0..GREETINGS {
            match Asker::open(self.whom, self.ask.limit).await {
                Ok((asker, _)) => return self.leave(asker).await,
                Err(NoAnswer::Silent(_)) => silent = true,
                // `open` tries for longer.
                Err(NoAnswer::Unreachable(_)) => break,
                Err(_) => return,
            }
        }
        if !silent {
            if let Ok((asker, _)) = self.open().await {
                self.leave(asker).await;
            }
        } else if self.gone.is_none() {
            self.mute = true;
            let waited = seconds(self.ask.limit);
            self.gone = Some(format!("a fresh connection gets no greeting within {waited}"));
        }
    }

    /// Whether it was chance that there was no greeting, or a place that was not free yet: alone with
    /// the server, one connection after the other, and time between them.
    async fn hangs_up(&mut self) {
        let mut alone = 0;
        for _ in 0..ALONE {
            if self.turned_away == 0 || self.gone.is_some() {
                return;
            }
            tokio::time::sleep(AGAIN).await;
            let Ok(limit) = self.patience() else { break };
            self.opened += 1;
            match Asker::open(self.whom, limit).await {
                Ok((asker, _)) => self.leave(asker).await,
                Err(NoAnswer::TurnedAway(_)) => alone += 1,
                Err(_) => {}
            }
        }
        if alone > 0 {
            self.found.hangs_up = Some((self.turned_away + alone, self.opened));
        }
    }

    /// Enters the export, and tries again where there is no greeting.
    pub(super) async fn enter_by(
        &mut self,
        way: &Way<'_>,
        limit: Duration,
    ) -> Result<(Asker, Entered), NoAnswer> {
        let mut entered = way.enter(limit).await;
        self.opened += 1;
        for _ in 0..TRIES {
            let Err(NoAnswer::TurnedAway(_)) = entered else { break };
            self.turned_away += 1;
            tokio::time::sleep(AGAIN).await;
            self.opened += 1;
            entered = way.enter(limit).await;
        }
        entered
    }

    /// Whether connections that were alone have got no greeting.
    pub(super) fn was_turned_away(&self) -> bool {
        self.turned_away > 0
    }

    pub(super) async fn open(&mut self) -> Result<(Asker, Style), NoAnswer> {
        if let Some(why) = &self.gone {
            return Err(NoAnswer::Unreachable(why.clone()));
        }
        self.opened += 1;
        let mut opened = Asker::open(self.whom, self.patience()?).await;
        for _ in 0..TRIES {
            match opened {
                Err(NoAnswer::Unreachable(_)) if self.sessions > 0 => {}
                // It may have had no place yet.
                Err(NoAnswer::TurnedAway(_)) => self.turned_away += 1,
                _ => break,
            }
            tokio::time::sleep(AGAIN).await;
            self.opened += 1;
            opened = Asker::open(self.whom, self.patience()?).await;
        }
        self.count(opened.as_ref().err());
        match &opened {
            Ok(_) => {
                self.sessions += 1;
                self.unanswered = None;
            }
            Err(NoAnswer::Unreachable(why)) if self.sessions > 0 => self.gone = Some(why.clone()),
            Err(_) => {}
        }
        opened
    }

    /// What is asked for now.
    pub(super) fn asking(&mut self, what: &'static str) {
        if self.gone.is_none() {
            self.last = what;
        }
    }

    /// How long an answer is waited for.
    pub(super) fn patience(&self) -> Result<Duration, NoAnswer> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(NoAnswer::NoTime);
        }
        let slowly = self.found.opening.saturating_mul(3);
        let wanted = match self.silences < SILENCES {
            true => self.ask.limit.max(slowly),
            false => BRIEFLY.max(slowly).min(self.ask.limit),
        };
        Ok(wanted.min(left))
    }

    /// How long it is waited for others that may get no place.
    pub(super) fn briefly(&self) -> Result<Duration, NoAnswer> {
        let slowly = self.found.opening.saturating_mul(4);
        Ok(self.patience()?.min(BRIEFLY.max(slowly)))
    }

    pub(super) fn count(&mut self, error: Option<&NoAnswer>) {
        if matches!(error, Some(NoAnswer::Silent(_))) {
            self.silences += 1;
        }
        if matches!(error, Some(NoAnswer::Silent(_) | NoAnswer::Ended(_) | NoAnswer::TurnedAway(_)))
        {
            self.is_unanswered();
        }
    }

    /// What was asked last is the culprit, if the server is not heard of any more.
    pub(super) fn is_unanswered(&mut self) {
        self.unanswered.get_or_insert(self.last);
    }

    pub(super) async fn leave(&mut self, mut asker: Asker) {
        let began = Instant::now();
        if !asker.leave(self.farewell).await && began.elapsed() >= self.farewell {
            self.farewell = HARDLY;
        }
    }

    /// Keeps what was said as evidence.
    fn keep(&mut self, asker: &mut Asker) {
        for line in asker.lines.drain(..) {
            if self.found.lines.len() < LINES.0 && self.kept + line.len() <= LINES.1 {
                self.kept += line.len();
                self.found.lines.push(line);
            }
        }
    }
}
