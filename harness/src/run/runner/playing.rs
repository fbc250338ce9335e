//! Playing a scenario against the server that others use too, or against one of its own; and the death of
//! servers.

use std::sync::Arc;
use std::time::Duration;

use protocol::describe::Value;
use protocol::message::Side;
use protocol::requirements;
use protocol::text::WireString;

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

/// What a scenario is to be played against.
pub(super) struct Scene<'s> {
    pub(super) configuration: &'s str,
    pub(super) shared: &'s Arc<Shared>,
    pub(super) upgrade: Upgrade,
    /// The name of another export of the server.
    pub(super) other: Option<WireString>,
}

/// What a scenario is played against.
struct Place {
    address: Address,
    security: Option<Security>,
    upgrade: Upgrade,
    capabilities: Capabilities,
    other: Option<WireString>,
    fresh: Option<Instance>,
    shared: Arc<Shared>,
}

impl Runner {
    /// Against a server of the scenario's own.
    pub(super) async fn play_alone(
        &self,
        script: &Arc<Script>,
        scene: &Scene<'_>,
        outcome: &mut Outcome,
    ) -> Option<Played> {
        let Scene { configuration, shared, upgrade, other } = scene;
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
            upgrade: *upgrade,
            capabilities: shared.capabilities.clone(),
            other: other.clone(),
            fresh: Some(instance),
            shared: Arc::clone(shared),
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
        scene: &Scene<'_>,
        outcome: &mut Outcome,
    ) -> Option<Played> {
        let Scene { configuration, shared, upgrade, other } = scene;
        let place = Place {
            address: shared.address.clone(),
            security: shared.security.clone(),
            upgrade: *upgrade,
            capabilities: shared.capabilities.clone(),
            other: other.clone(),
            fresh: None,
            shared: Arc::clone(shared),
        };
        let played = self.play(script, &place, outcome).await;
        let dead = match place.shared.instance.lock().await.as_mut() {
            Some(instance) => instance.died().is_some(),
            None => false,
        };
        if !dead {
            return Some(played);
        }
        self.shared.lock().await.remove(*configuration);
        self.play_alone(script, scene, outcome).await
    }

    async fn play(&self, script: &Arc<Script>, place: &Place, outcome: &mut Outcome) -> Played {
        let captures = self.options.capture.as_ref();
        let capture = captures.and_then(|all| all.create(self.target.name(), &script.id));
        let mut variables = place.capabilities.variables();
        if let Some(other) = &place.other {
            variables.push(("other".to_owned(), Value::Text(other.clone())));
        }
        let setup = Setup {
            side: Side::Client,
            export: place.capabilities.export.clone(),
            variables,
            timeout: self.options.timeout,
            deadline: self.options.timeout.saturating_mul(12),
            replies: self.options.replies,
            segmentation: self.options.segmentation,
            security: place.security.clone(),
            upgrade: place.upgrade,
            dialer: Dialer::new(
                Source::Connect(place.address.clone()),
                capture.as_ref().map(Capture::tap_maker),
            ),
            client: None,
        };
        let played = play(script, setup).await;
        outcome.capture = capture.and_then(Capture::finish);
        played
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
