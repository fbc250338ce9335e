//! The questions, one after the other, each on a connection of its own: what goes wrong with one
//! says nothing about the others.

use std::time::Instant;

use super::asker::{Asker, Style};
use super::capabilities::{Capabilities, Route};
use super::fact::{NoAnswer, Trouble, ending};
use super::surveyor::{AGAIN, Surveyor};
use super::whom::{Ask, Whom};
use super::{content, exports, parting};
use crate::link::seconds;

/// How many connections tell whether a server hangs up on some.
const ALONE: u32 = 12;
/// A server that serves one session may take another connection or two while it ends.
const FEW: u32 = 3;
/// How often a greeting is waited for in the end.
const GREETINGS: u32 = 2;

/// Asks a server what it is. Who misbehaves while it is asked offers what it told: the scenarios
/// will name what is wrong.
///
/// # Errors
/// The server can't be reached, says nothing, or refuses the export.
pub async fn probe(whom: Whom<'_>, ask: &Ask<'_>) -> Result<Capabilities, Trouble> {
    Surveyor::new(whom, ask).run().await
}

impl Surveyor<'_> {
    /// All questions.
    async fn run(mut self) -> Result<Capabilities, Trouble> {
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
        exports::describe(self).await;
        parting::look(self).await;
        if self.ask.strange {
            content::look(self).await;
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
}
