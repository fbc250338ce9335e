//! Playing a scenario against the server that others use too, or against one of its own; and the death of
//! servers.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use protocol::describe::Value;
use protocol::message::Side;
use protocol::requirements::{self, id};
use protocol::text::WireString;

use super::content::fill;
use super::state::{Runner, Shared};
use super::visits::Cause;
use crate::capture::Capture;
use crate::dial::{Dialer, Source};
use crate::finding::{Detail, EventKind, Finding};
use crate::interpret::{Ending, Played, Setup, Upgrade, play, sent_last};
use crate::link::{Entry, Said, Touched};
use crate::peer::Address;
use crate::run::Outcome;
use crate::run::survey::capacity::CAPACITY;
use crate::run::target::Instance;
use crate::script::ast::Script;
use crate::tls::Security;

/// How many characters of its last message are told of a server that has died.
const LINE: usize = 100;
/// The rule that a server breaks by dying.
const SURVIVE: &str = id::SESSION_NO_UNJUSTIFIED_HARD_DISCONNECT;
/// How much longer than alone a server may take to open an export beside others.
const SLOWER: u32 = 8;
/// How long a process that serves nobody any more may take to end.
const DYING_LIMIT: Duration = Duration::from_millis(500);
/// How long a server with few places gets to be rid of the connections before.
const RELEASE: Duration = Duration::from_millis(200);
/// How often a place that is not free is asked for again.
const RELEASES: u32 = 10;
/// How long a fresh connection may wait for its greeting.
const GREETING_LIMIT: Duration = Duration::from_secs(3);

/// What a scenario is to be played against.
pub(super) struct Scene<'s> {
    pub(super) configuration: &'s str,
    pub(super) shared: &'s Arc<Shared>,
    pub(super) upgrade: Upgrade,
    /// The name of another export of the server.
    pub(super) other: Option<WireString>,
    /// What the export was seen to hold, in place of the content that scenarios know.
    pub(super) there: Option<Arc<[u8]>>,
    /// Takes note of what the scenario may change.
    pub(super) touched: Touched,
}

impl Runner {
    /// Against a server of the scenario's own.
    pub(super) async fn play_alone(
        &self,
        script: &Arc<Script>,
        scene: &Scene<'_>,
        outcome: &mut Outcome,
    ) -> Option<Played> {
        let Scene { configuration, shared, .. } = scene;
        let mut instance = match self.target.start(configuration, self.options.access).await {
            Ok(instance) => instance,
            Err(unavailable) => {
                outcome.fail_to_run(unavailable.into_reason());
                return None;
            }
        };
        instance.content = shared.content;
        let limit = self.options.timeout;
        if let Err(reason) = fill(&instance, &shared.capabilities, configuration, limit).await
            && shared.unfilled.is_none()
        {
            outcome.fail_to_run(reason);
            return None;
        }
        let (address, security) = (instance.address.clone(), instance.security.clone());
        let mut played = self.play(script, scene, &address, security, outcome).await;
        let patient = script.header.hazard.is_some() || ends_early(&played);
        if let Some(death) = died(&mut instance, patient).await {
            // How a connection of a dead server ends is chance, and follows from its death.
            played.findings.retain(|finding| !finding.detail.event.is_end());
            let mut finding = death_finding(script, &death, &played);
            finding.detail.after.extend(instance.last_words());
            played.findings.push(finding);
        }
        instance.stop().await;
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
        let Scene { configuration, shared, .. } = scene;
        let play = async |outcome: &mut Outcome| {
            self.play(script, scene, &shared.address, shared.security.clone(), outcome).await
        };
        // Nobody plays here while somebody must be alone with it.
        let together = if shared.owned { None } else { Some(self.together.read().await) };
        let visit = shared.visits.begin();
        let mut played = play(outcome).await;
        let beside = visit.has_met_others();
        drop((visit, together));
        let dead = match shared.instance.lock().await.as_mut() {
            Some(instance) => instance.died().is_some(),
            None => false,
        };
        let ended = ends_early(&played);
        // Also where the scenario allows the close: else whoever comes next is taken for the culprit.
        let closed = ended || server_left(&played.transcript);
        let stopped = if dead || !closed { None } else { self.stopped_answering(shared).await };
        if let Some(why) = stopped.as_ref().filter(|_| !shared.owned) {
            // The others that were there can't be told from the culprit: they are left out.
            let death = death_of_target(script, why, &played);
            played.findings.retain(|finding| !finding.detail.event.is_end());
            let text = if beside {
                format!(
                    "{}; other scenarios ran at the same time: `--jobs 1` makes sure",
                    death.message
                )
            } else {
                death.message.clone()
            };
            played.findings.push(death);
            played.end = Ending::Done;
            *self.death.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
            return Some(played);
        }
        if dead || stopped.is_some() {
            self.shared.lock().await.remove(*configuration);
            return self.play_alone(script, scene, outcome).await;
        }
        if !shared.owned && shared.capacity < CAPACITY && !played.findings.is_empty() {
            // The place of a connection before it may not have been free yet: what shows only then
            // is not held against the server.
            let _alone = self.together.write().await;
            tokio::time::sleep(RELEASE).await;
            let mut again = play(outcome).await;
            let rules: Vec<_> = played.findings.iter().map(|it| it.requirement.id).collect();
            again.findings.retain(|finding| rules.contains(&finding.requirement.id));
            return Some(again);
        }
        if !ended || !beside || shared.visits.is_known(&causes(&played)) {
            return Some(played);
        }
        // How its connections ended may be somebody else's doing.
        let again = if shared.owned {
            self.play_alone(script, scene, outcome).await?
        } else {
            let _alone = self.together.write().await;
            play(outcome).await
        };
        shared.visits.learn(causes(&again));
        Some(again)
    }

    /// Why a server is taken to serve nobody any more, if it does not.
    pub(super) async fn stopped_answering(&self, shared: &Shared) -> Option<String> {
        let ended = Instant::now();
        let mut last = self.canary.lock().await;
        if last.is_some_and(|sent| sent >= ended) {
            return None;
        }
        let sent = Instant::now();
        let before = shared.owned && self.silenced.load(Ordering::Relaxed);
        let mut answer = shared.canary.check(before).await;
        if answer.is_err() && !shared.owned && sent.elapsed() < self.options.timeout {
            // One that turns some connections away may have done so twice by chance, beside others.
            let _alone = self.together.write().await;
            answer = shared.canary.check(before).await;
        }
        match answer {
            Ok(()) => {
                *last = Some(sent);
                None
            }
            Err(why) => {
                self.silenced.store(true, Ordering::Relaxed);
                Some(why)
            }
        }
    }

    async fn play(
        &self,
        script: &Arc<Script>,
        scene: &Scene<'_>,
        address: &Address,
        security: Option<Security>,
        outcome: &mut Outcome,
    ) -> Played {
        let capabilities = &scene.shared.capabilities;
        let captures = self.options.capture.as_ref();
        let capture = captures.and_then(|all| all.create(self.target.name(), &script.id));
        let limited = capabilities.for_script(script);
        let mut variables = limited.variables();
        if let Some(other) = &scene.other {
            variables.push(("other".to_owned(), Value::Text(other.clone())));
        }
        // Who is slow to open an export alone is slower beside others.
        let timeout = self.options.timeout + capabilities.opening.saturating_mul(SLOWER);
        let setup = Setup {
            side: Side::Client,
            export: capabilities.export.clone(),
            variables,
            most: limited.served,
            there: scene.there.clone(),
            touched: scene.touched.clone(),
            timeout,
            deadline: timeout.saturating_mul(12),
            few_places: scene.shared.capacity < CAPACITY || capabilities.hangs_up.is_some(),
            enters_by_name: capabilities.enters_by_name(),
            leaves_at_unknown: capabilities.leaves_at_unknown,
            patience: self.patience.clone(),
            replies: self.options.replies,
            segmentation: self.options.segmentation,
            security,
            upgrade: scene.upgrade,
            stays_open: capabilities.stays_open,
            dialer: Dialer::new(
                Source::Connect(address.clone()),
                capture.as_ref().map(Capture::tap_maker),
            ),
            client: None,
        };
        let played = play(script, setup).await;
        outcome.capture = capture.and_then(Capture::finish);
        played
    }
}

/// Whether connections ended, or stayed silent, where the scenario did not expect it.
fn ends_early(played: &Played) -> bool {
    matches!(played.end, Ending::Error(_))
        || played.findings.iter().any(|finding| finding.detail.event.is_end())
}

/// Whether the server ended a connection on which the client had not taken leave.
fn server_left(transcript: &[Entry]) -> bool {
    let mut left = BTreeSet::new();
    for entry in transcript {
        match &entry.said {
            Said::Message(seen) if seen.message.is_farewell() => {
                left.insert(entry.conn.as_str());
            }
            Said::Ended(Side::Server, _) if !left.contains(entry.conn.as_str()) => return true,
            _ => {}
        }
    }
    false
}

/// What a scenario is charged with that somebody else may have brought about.
fn causes(played: &Played) -> Vec<Cause> {
    let ends = played.findings.iter().filter(|finding| finding.detail.event.is_end());
    ends.map(|it| (it.requirement.id, it.detail.event, it.detail.sent)).collect()
}

/// An external target that serves nobody any more.
fn death_of_target(script: &Script, why: &str, played: &Played) -> Finding {
    let last = played.transcript.iter().rev().find_map(|entry| match &entry.said {
        Said::Message(seen) if seen.from == Side::Client => Some(brief(entry.text(true))),
        _ => None,
    });
    let last = last.unwrap_or_else(|| "none".to_owned());
    let death =
        format!("the server stopped answering after {}: {why}; last message: {last}", script.id);
    let mut finding = death_finding(script, &death, played);
    finding.detail.received = why.to_owned();
    finding
}

/// A line, without the rest of one that is long: bytes that nobody reads in a sentence.
fn brief(mut line: String) -> String {
    if let Some((end, _)) = line.char_indices().nth(LINE) {
        line.truncate(end);
        line.push_str("...");
    }
    line
}

/// How a server has died, if it has; `patient` waits for one that is about to.
async fn died(instance: &mut Instance, patient: bool) -> Option<String> {
    if let Some(death) = instance.died() {
        return Some(death);
    }
    if !patient {
        return None;
    }
    let mut tries = 0;
    let silence = loop {
        let asked = Instant::now();
        let why = instance.answers(GREETING_LIMIT).await.err()?;
        tries += 1;
        // A server with few places may not have the scenario's back yet; one that is silent, or dead, had its time.
        let at_once = asked.elapsed() < RELEASE;
        if tries > RELEASES || !at_once || instance.died().is_some() {
            break why;
        }
        tokio::time::sleep(RELEASE).await;
    };
    // One that writes a core file takes its time to end.
    Some(instance.dies_within(DYING_LIMIT).await.unwrap_or(silence))
}

fn death_finding(script: &Script, death: &str, played: &Played) -> Finding {
    let lines = played.transcript.iter().map(|entry| entry.text(true));
    let lines: Vec<String> = lines.collect();
    Finding {
        requirement: requirements::find(SURVIVE).expect("the catalogue has this rule"),
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
