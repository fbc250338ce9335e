//! Where a scenario is played, or why it is not.

use std::sync::Arc;

use super::places::Spot;
use super::playing::Scene;
use super::state::Runner;
use super::verdict::{conclude, older};
use crate::interpret::Upgrade;
use crate::link::Touched;
use crate::run::needs::unmet_tls;
use crate::run::secured::{Wanted, begins_by_steps, is_hand_made};
use crate::run::survey::TlsMode;
use crate::run::target::{Target, Unavailable};
use crate::run::{Outcome, SkipKind};
use crate::script::ast::{Event, Script, Statement, StatementKind};
use crate::script::walk;

/// The rule that the configuration `newstyle` breaks on purpose.
const FIXED_FLAG: &str = "handshake-fixed-newstyle-flag";

impl Runner {
    pub(super) async fn decide(&self, script: &Arc<Script>, outcome: &mut Outcome) {
        let configuration =
            script.header.export.as_ref().map_or("default", |export| export.node.as_str());
        let access = self.options.access;
        if let Err(reason) = self.target.supports(configuration, access) {
            return outcome.skip(SkipKind::NotPossible, reason);
        }
        let hand_made = is_hand_made(script);
        if access.tls.is_some() && (hand_made || Wanted::of(configuration).1.is_some()) {
            let reason = "it sees to TLS by itself".to_owned();
            return outcome.skip(SkipKind::NotPossible, reason);
        }
        let own_greeting = || "it greets in a way of its own: no place for TLS".to_owned();
        if access.tls.is_some() && !begins_by_steps(script) {
            return outcome.skip(SkipKind::NotPossible, own_greeting());
        }
        let Spot { shared, allowed, other, there, lacking } =
            match self.spot(script, configuration).await {
                Ok(spot) => spot,
                Err(Unavailable::NotPossible(reason)) => {
                    return outcome.skip(SkipKind::NotPossible, reason);
                }
                Err(Unavailable::Failed(reason) | Unavailable::Stopped(reason)) => {
                    return outcome.fail_to_run(reason);
                }
            };
        if let (_, Some(wanted)) = Wanted::of(configuration)
            && !shared.described
            && let Some((kind, reason)) = unmet_tls(wanted, &shared.capabilities)
        {
            return outcome.skip(kind, reason);
        }
        if configuration == "blank" && !shared.owned && !allowed.write {
            let reason = "it needs a blank export: `--allow-write` lets it be made so".to_owned();
            return outcome.skip(SkipKind::NotAllowed, reason);
        }
        let forced = shared.capabilities.tls == TlsMode::Forced;
        let upgrade = match (hand_made, forced, access.tls.is_some()) {
            _ if shared.security.is_none() => Upgrade::Never,
            (true, true, _) => Upgrade::BeforeTransmission,
            (true, false, _) => Upgrade::Never,
            (false, true, _) | (false, _, true) => Upgrade::BeforeHaggling,
            (false, false, false) if self.target.insists_on_tls() => Upgrade::BeforeHaggling,
            (false, false, false) => Upgrade::Never,
        };
        if upgrade == Upgrade::BeforeHaggling && !begins_by_steps(script) {
            return outcome.skip(SkipKind::NotPossible, own_greeting());
        }
        if let Some((kind, reason)) = lacking {
            return outcome.skip(kind, reason);
        }
        if let Some(reason) = &shared.unfilled
            && configuration == "blank"
        {
            return outcome.skip(SkipKind::NotPossible, reason.clone());
        }
        let wanted = walk::connections(&script.body).len();
        if wanted > shared.capacity {
            let reason = format!(
                "it needs {wanted} connections at once, the server serves {}",
                shared.capacity
            );
            return outcome.skip(SkipKind::NotPossible, reason);
        }
        if let Some(why) = &shared.capabilities.haggles_alone
            && haggles_beside(&script.body)
        {
            let reason = format!("it has several connections, not all of them entered: {why}");
            return outcome.skip(SkipKind::NotPossible, reason);
        }
        let touched = Touched::default();
        let scene = Scene {
            configuration: self.target.given(configuration),
            shared: &shared,
            upgrade,
            other,
            there: there.clone(),
            touched: touched.clone(),
        };
        let alone =
            shared.owned && (script.header.has_need("write") || script.header.hazard.is_some());
        let played = if alone {
            self.play_alone(script, &scene, outcome).await
        } else if shared.owned {
            self.play_shared(script, &scene, outcome).await
        } else {
            match self.with_content(script, configuration, &shared).await {
                Ok(mut guard) => {
                    let played = self.play_shared(script, &scene, outcome).await;
                    guard.touched(touched.stretches());
                    played
                }
                Err(reason) => return outcome.skip(SkipKind::NotPossible, reason),
            }
        };
        if let Some(mut played) = played {
            let style = &shared.capabilities;
            let unfixed = !shared.described && !style.fixed && !style.oldstyle;
            let about = script.header.checks.iter().any(|id| id.node == FIXED_FLAG);
            if configuration == "newstyle" || (unfixed && !about) {
                // The server was told to greet like that, or does so each time: one scenario tells.
                played.findings.retain(|finding| finding.requirement.id != FIXED_FLAG);
            }
            if let Some(there) = there
                && !played.findings.is_empty()
                && self.place(&shared).read().await.is_ok_and(|now| *now != *there)
            {
                let reason = "the content of the export changes, though nothing here writes to it";
                return outcome.skip(SkipKind::NotPossible, reason.to_owned());
            }
            conclude(outcome, played);
            if let Target::Profile(profile) = &self.target {
                older(outcome, profile);
            }
        }
    }
}

/// Whether a scenario has several connections, one of which may stay in the handshake.
fn haggles_beside(body: &[Statement]) -> bool {
    let mut stays = false;
    walk::statements(body, &mut |statement| {
        stays |= matches!(&statement.kind, StatementKind::Event(line)
            if matches!(line.event, Event::Connect | Event::ToHaggling));
    });
    stays && walk::connections(body).len() > 1
}
