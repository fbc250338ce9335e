//! Where a scenario is played, or why it is not.

use protocol::requirements::id;
use std::sync::Arc;

use super::places::Spot;
use super::playing::Scene;
use super::state::{Runner, Shared};
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
const FIXED_FLAG: &str = id::HANDSHAKE_FIXED_NEWSTYLE_FLAG;

/// Why a scenario that greets by itself is not played inside TLS.
const OWN_GREETING: &str = "it greets in a way of its own: no place for TLS";

impl Runner {
    pub(super) async fn decide(&self, script: &Arc<Script>, outcome: &mut Outcome) {
        let configuration =
            script.header.export.as_ref().map_or("default", |export| export.node.as_str());
        if let Err(reason) = self.can_be_had(script, configuration) {
            return outcome.skip(SkipKind::NotPossible, reason);
        }
        let spot = match self.spot(script, configuration).await {
            Ok(spot) => spot,
            Err(Unavailable::NotPossible(reason)) => {
                return outcome.skip(SkipKind::NotPossible, reason);
            }
            Err(Unavailable::Failed(reason) | Unavailable::Stopped(reason)) => {
                return outcome.fail_to_run(reason);
            }
        };
        let upgrade = self.upgrade(script, &spot.shared);
        if let Some((kind, reason)) = prevented(script, configuration, &spot, upgrade) {
            return outcome.skip(kind, reason);
        }
        let Spot { shared, other, there, .. } = spot;
        let touched = Touched::default();
        let scene = Scene {
            configuration: self.target.given(configuration),
            shared: &shared,
            upgrade,
            other,
            there: there.clone(),
            touched: touched.clone(),
        };
        let needs_own = script.header.has_need("write") || script.header.hazard.is_some();
        let played = if shared.owned && needs_own {
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
        let Some(mut played) = played else { return };
        let style = &shared.capabilities;
        let unfixed = !shared.described && !style.fixed && !style.oldstyle;
        let about = script.header.claims(FIXED_FLAG);
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
        if self.options.keep {
            outcome.said = std::mem::take(&mut played.transcript);
        }
        conclude(outcome, played);
        if let Target::Profile(profile) = &self.target {
            older(outcome, profile);
        }
    }

    /// Whether the target can be had in the configuration and in the form of the run.
    ///
    /// # Errors
    /// Why not.
    fn can_be_had(&self, script: &Script, configuration: &str) -> Result<(), String> {
        let access = self.options.access;
        self.target.supports(configuration, access)?;
        if access.tls.is_none() {
            return Ok(());
        }
        if is_hand_made(script) || Wanted::of(configuration).1.is_some() {
            return Err("it sees to TLS by itself".to_owned());
        }
        if begins_by_steps(script) { Ok(()) } else { Err(OWN_GREETING.to_owned()) }
    }

    /// When the harness begins TLS of its own accord.
    fn upgrade(&self, script: &Script, shared: &Shared) -> Upgrade {
        let forced = shared.capabilities.tls == TlsMode::Forced;
        match (is_hand_made(script), forced, self.options.access.tls.is_some()) {
            _ if shared.security.is_none() => Upgrade::Never,
            (true, true, _) => Upgrade::BeforeTransmission,
            (true, false, _) => Upgrade::Never,
            (false, true, _) | (false, _, true) => Upgrade::BeforeHaggling,
            (false, false, false) if self.target.insists_on_tls() => Upgrade::BeforeHaggling,
            (false, false, false) => Upgrade::Never,
        }
    }
}

/// Why a scenario can't be played at its spot, if so.
fn prevented(
    script: &Script,
    configuration: &str,
    spot: &Spot,
    upgrade: Upgrade,
) -> Option<(SkipKind, String)> {
    let not_possible = |reason: String| Some((SkipKind::NotPossible, reason));
    let Spot { shared, allowed, lacking, .. } = spot;
    if let (_, Some(wanted)) = Wanted::of(configuration)
        && !shared.described
        && let Some(unmet) = unmet_tls(wanted, &shared.capabilities)
    {
        return Some(unmet);
    }
    if configuration == "blank" && !shared.owned && !allowed.write {
        let reason = "it needs a blank export: `--allow-write` lets it be made so".to_owned();
        return Some((SkipKind::NotAllowed, reason));
    }
    if upgrade == Upgrade::BeforeHaggling && !begins_by_steps(script) {
        return not_possible(OWN_GREETING.to_owned());
    }
    if let Some(lacking) = lacking {
        return Some(lacking.clone());
    }
    if let Some(reason) = &shared.unfilled
        && configuration == "blank"
    {
        return not_possible(reason.clone());
    }
    let wanted = walk::connections(&script.body).len();
    let served = shared.capacity;
    if wanted > served {
        let reason = format!("it needs {wanted} connections at once, the server serves {served}");
        return not_possible(reason);
    }
    match &shared.capabilities.haggles_alone {
        Some(why) if haggles_beside(&script.body) => {
            not_possible(format!("it has several connections, not all of them entered: {why}"))
        }
        _ => None,
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
