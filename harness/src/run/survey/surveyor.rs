//! Whoever asks one server: its connections, its patience, and what it takes note of.

use std::time::{Duration, Instant};

use protocol::message::OptionBody;
use protocol::text::WireString;
use protocol::values::OptionType;

use super::asker::{Asker, Reply, Style};
use super::capabilities::Capabilities;
use super::fact::NoAnswer;
use super::way::{Entered, Way};
use super::whom::{Ask, Whom};

/// How many waits the questions may take in all.
const WAITS: u32 = 12;
/// After this many questions without any answer the next are given less time.
const SILENCES: u32 = 2;
/// How long an answer is waited for then, and in any case a close after a farewell.
const BRIEFLY: Duration = Duration::from_secs(1);
/// How long a close is waited for from a server that has shown that it does not close.
const HARDLY: Duration = Duration::from_millis(100);
/// How long a server that can't be reached any more gets to come back.
pub(super) const AGAIN: Duration = Duration::from_millis(200);
/// How often that long.
const TRIES: u32 = 5;
/// How many lines are kept as evidence, and how long they may be in all, in bytes.
const LINES: (usize, usize) = (4096, 4 << 20);

/// Asks one server.
pub(super) struct Surveyor<'a> {
    pub(super) whom: Whom<'a>,
    pub(super) ask: &'a Ask<'a>,
    pub(super) found: Capabilities,
    pub(super) deadline: Instant,
    pub(super) silences: u32,
    pub(super) farewell: Duration,
    /// Everything is asked inside TLS.
    pub(super) inside: bool,
    /// Its TLS, that works as somebody here has set it up, does not work.
    pub(super) botched: bool,
    pub(super) sessions: u32,
    /// Why the server can't be reached any more.
    pub(super) gone: Option<String>,
    /// What was asked last.
    pub(super) last: &'static str,
    /// It lets clients connect, and does not greet them any more.
    pub(super) mute: bool,
    /// What was asked first without an answer, since a connection was greeted.
    pub(super) unanswered: Option<&'static str>,
    pub(super) kept: usize,
    /// How many connections were opened, one at a time.
    pub(super) opened: u32,
    /// On how many of them there was no greeting.
    pub(super) turned_away: u32,
    /// How long the last answer took, with all that came before it.
    pub(super) took: Duration,
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
            botched: false,
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
    pub(super) async fn option(
        &mut self,
        before: Option<OptionType>,
        option: OptionType,
        body: OptionBody,
    ) -> Result<Reply, NoAnswer> {
        let asked = self.converse(before, option, body).await;
        self.note(option, &asked);
        asked
    }

    pub(super) fn note(&mut self, option: OptionType, asked: &Result<Reply, NoAnswer>) {
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

    pub(super) async fn converse(
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
        if error.is_some_and(NoAnswer::is_silence) {
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
        // One that stays after a farewell closes when the client does.
        let stays = self.farewell == HARDLY;
        if !asker.leave(self.farewell, stays).await && began.elapsed() >= self.farewell {
            self.farewell = HARDLY;
        }
    }

    /// Keeps what was said as evidence.
    pub(super) fn keep(&mut self, asker: &mut Asker) {
        for line in asker.lines.drain(..) {
            if self.found.lines.len() < LINES.0 && self.kept + line.len() <= LINES.1 {
                self.kept += line.len();
                self.found.lines.push(line);
            }
        }
    }
}
