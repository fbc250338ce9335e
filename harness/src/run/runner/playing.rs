//! Playing a scenario against the server that others use too, or against one of its own; and the death of
//! servers.

use std::sync::Arc;
use std::time::Duration;

use protocol::message::Side;
use protocol::requirements;

use super::{Runner, Shared};
use crate::capture::Capture;
use crate::dial::{Dialer, Source};
use crate::finding::{Detail, EventKind, Finding, Severity};
use crate::interpret::{Played, Setup, Upgrade, play, sent_last};
use crate::peer::Address;
use crate::run::Outcome;
use crate::run::probe::Capabilities;
use crate::run::target::{Instance, Unavailable};
use crate::script::ast::Script;
use crate::tls::Security;

/// The rule that a server breaks by dying.
const SURVIVE: &str = "session-no-unjustified-hard-disconnect";
/// How long a fresh connection may wait for its greeting.
const GREETING_LIMIT: Duration = Duration::from_secs(3);

/// What a scenario is played against.
struct Place {
    address: Address,
    security: Option<Security>,
    upgrade: Upgrade,
    capabilities: Capabilities,
    fresh: Option<Instance>,
    shared: Arc<Shared>,
}

impl Runner {
    /// Against a server of the scenario's own.
    pub(super) async fn play_alone(
        &self,
        script: &Arc<Script>,
        configuration: &str,
        shared: &Arc<Shared>,
        upgrade: Upgrade,
        outcome: &mut Outcome,
    ) -> Option<Played> {
        let instance = match self.target.start(configuration, self.options.access).await {
            Ok(instance) => instance,
            Err(Unavailable::NotPossible(reason) | Unavailable::Failed(reason)) => {
                outcome.fail_to_run(reason);
                return None;
            }
        };
        let mut place = Place {
            address: instance.address.clone(),
            security: instance.security.clone(),
            upgrade,
            capabilities: shared.capabilities.clone(),
            fresh: Some(instance),
            shared: shared.clone(),
        };
        let mut played = self.play(script, &place, outcome).await;
        if let Some(mut instance) = place.fresh.take() {
            if let Some(death) = died(&mut instance, script.header.hazard.is_some()).await {
                // How a connection of a dead server ends is chance, and follows from its death.
                played.findings.retain(|finding| !finding.detail.event.is_end());
                played.findings.push(death_finding(script, &death, &played));
            }
            instance.stop().await;
        }
        Some(played)
    }

    /// Against the server that others use at the same time. If it is dead afterwards, whoever
    /// killed it is found out by playing alone.
    pub(super) async fn play_shared(
        &self,
        script: &Arc<Script>,
        configuration: &str,
        shared: &Arc<Shared>,
        upgrade: Upgrade,
        outcome: &mut Outcome,
    ) -> Option<Played> {
        let place = Place {
            address: shared.address.clone(),
            security: shared.security.clone(),
            upgrade,
            capabilities: shared.capabilities.clone(),
            fresh: None,
            shared: shared.clone(),
        };
        let played = self.play(script, &place, outcome).await;
        let dead = match place.shared.instance.lock().await.as_mut() {
            Some(instance) => instance.died().is_some(),
            None => false,
        };
        if !dead {
            return Some(played);
        }
        self.shared.lock().await.remove(configuration);
        self.play_alone(script, configuration, shared, upgrade, outcome).await
    }

    async fn play(&self, script: &Arc<Script>, place: &Place, outcome: &mut Outcome) -> Played {
        let capture = match &self.options.capture {
            Some(folder) => Capture::create(folder, self.target.name(), &script.id).ok(),
            None => None,
        };
        outcome.capture = capture.as_ref().map(|capture| capture.path().display().to_string());
        let setup = Setup {
            side: Side::Client,
            export: place.capabilities.export.clone(),
            variables: place.capabilities.variables(),
            timeout: self.options.timeout,
            deadline: self.options.timeout.saturating_mul(12),
            replies: self.options.replies,
            segmentation: self.options.segmentation,
            security: place.security.clone(),
            upgrade: place.upgrade,
            dialer: Dialer::new(
                Source::Connect(place.address.clone()),
                capture.map(Capture::into_tap_maker),
            ),
            client: None,
        };
        play(script, setup).await
    }
}

async fn died(instance: &mut Instance, hazard: bool) -> Option<String> {
    if let Some(death) = instance.died() {
        return Some(death);
    }
    if hazard { instance.answers(GREETING_LIMIT).await.err() } else { None }
}

fn death_finding(script: &Script, death: &str, played: &Played) -> Finding {
    let lines = played.transcript.iter().map(|entry| entry.text(true));
    let lines: Vec<String> = lines.collect();
    Finding {
        requirement: requirements::find(SURVIVE).expect("the catalogue has this rule"),
        severity: Severity::Failure,
        party: Side::Server,
        message: death.to_owned(),
        at: script.source.path.clone(),
        detail: Detail {
            expected: vec!["a server that goes on serving others".to_owned()],
            received: death.to_owned(),
            event: EventKind::Death,
            sent: sent_last(&played.transcript, Side::Client, None),
            after: lines[lines.len().saturating_sub(12)..].to_vec(),
            ..Detail::default()
        },
        known: None,
    }
}
