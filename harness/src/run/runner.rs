//! Runs scenarios against one target: several at once, without one disturbing another.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::message::Side;
use protocol::requirements;
use reference_server::Profile;
use tokio::sync::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard, Semaphore, mpsc};

use super::milestones::{Offer, offers};
use super::needs::{Allowed, missing, unmet_tls};
use super::prepare::prepare;
use super::probe::{Capabilities, TlsMode, Whom, probe};
use super::secured::{Wanted, begins_by_steps, is_hand_made};
use super::target::{Access, Instance, Target, Unavailable};
use super::{Outcome, SkipKind};
use crate::capture::Capture;
use crate::dial::{Dialer, Source, connect};
use crate::finding::{Detail, Finding, Severity, Verdict};
use crate::interpret::{Ending, Played, Setup, Upgrade, play};
use crate::link::{Incoming, Link};
use crate::peer::Address;
use crate::script::ast::{Replies, Script, Segmentation, Statement, StatementKind, Version};
use crate::tls::Security;

/// The scenario that runs first and last against a target.
pub const SANITY: &str = "2.6-base/sanity";
/// The rule that a server breaks by dying.
const SURVIVE: &str = "session-no-unjustified-hard-disconnect";
/// The rule that the configuration `newstyle` breaks on purpose.
const FIXED_FLAG: &str = "handshake-fixed-newstyle-flag";
/// How long a fresh connection may wait for its greeting.
const GREETING_LIMIT: Duration = Duration::from_secs(3);

/// What a run allows and asks for.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Scenarios may write to an external target. Servers that the harness starts hold nobody's
    /// data and are always written to.
    pub write: bool,
    /// Hazardous scenarios may run against an external target.
    pub hazard: bool,
    /// How many scenarios at once.
    pub jobs: usize,
    /// How long one wait may take.
    pub timeout: Duration,
    /// Where captures go.
    pub capture: Option<PathBuf>,
    /// The form of replies that scenarios negotiate when they leave it open.
    pub replies: Replies,
    /// How messages are cut when scenarios leave it open.
    pub segmentation: Segmentation,
    /// How servers are reached.
    pub access: Access,
    /// The command line that a failure's `again` begins with.
    pub again: String,
}

/// What happens during a run, as it happens.
#[derive(Debug, Clone)]
pub enum Event {
    /// A scenario has begun.
    Started {
        /// Its id.
        id: String,
    },
    /// A scenario has come to its end.
    Done(Box<Outcome>),
}

/// How a target came out.
#[derive(Debug, Clone)]
pub struct TargetRun {
    /// Its name.
    pub name: String,
    /// Its version, if known.
    pub version: Option<String>,
    /// Where it listened, if that is one place.
    pub address: Option<String>,
    /// What prevented a verdict: unreachable, not started, dead at the end.
    pub problem: Option<String>,
    /// Each scenario, by id.
    pub outcomes: Vec<Outcome>,
    /// What a server was seen to offer; empty for clients.
    pub offers: Vec<Offer>,
    /// How long it all took.
    pub duration: Duration,
}

/// Runs scenarios that test servers against a target.
pub async fn run_target(
    target: &Target,
    scripts: &[Arc<Script>],
    sanity: Option<Arc<Script>>,
    options: &Options,
    events: mpsc::UnboundedSender<Event>,
) -> TargetRun {
    let began = Instant::now();
    let mut run = TargetRun {
        name: target.name().to_owned(),
        version: target.version().await,
        address: None,
        problem: None,
        outcomes: Vec::new(),
        offers: Vec::new(),
        duration: Duration::ZERO,
    };
    let runner = Arc::new(Runner {
        target: target.clone(),
        options: options.clone(),
        events,
        shared: Mutex::new(HashMap::new()),
        content: RwLock::new(Content::Unknown),
    });
    if let Target::External { address, .. } = target {
        run.address = Some(address.to_string());
    }
    // The first question tells whether there is anything to test.
    let jobs = match runner.shared("default").await {
        Ok(shared) => shared.capacity.min(options.jobs.max(1)),
        Err(Unavailable::Failed(reason) | Unavailable::NotPossible(reason)) => {
            run.problem = Some(reason);
            run.duration = began.elapsed();
            return run;
        }
    };
    let chosen = |id: &str| scripts.iter().any(|script| script.id == id);
    let first = sanity.clone().filter(|sanity| !target.is_owned() && !chosen(&sanity.id));
    if let Some(sanity) = &first {
        // It was not asked for, so it only counts where it does not pass.
        let outcome = runner.run(sanity).await;
        match outcome.verdict {
            Verdict::Pass | Verdict::Skip => {}
            Verdict::Error => {
                run.problem = Some(format!("the sanity scenario: {}", in_a_line(&outcome)));
            }
            Verdict::Warn | Verdict::Fail => run.outcomes.push(outcome),
        }
    }
    // A server with few places would leave a scenario waiting for its greeting.
    let capacity = match runner.shared("default").await {
        Ok(shared) => shared.capacity,
        Err(_) => 1,
    };
    let connections_free = Arc::new(Semaphore::new(capacity));
    let places = Arc::new(Semaphore::new(jobs));
    let mut tasks = tokio::task::JoinSet::new();
    for script in scripts {
        let (runner, script, places) = (runner.clone(), script.clone(), places.clone());
        let free = connections_free.clone();
        let wanted = connections(&script.body).len().clamp(1, capacity);
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        tasks.spawn(async move {
            // The semaphores are never closed.
            let _place = places.acquire().await;
            let _connections = free.acquire_many(wanted).await;
            runner.run(&script).await
        });
    }
    while let Some(done) = tasks.join_next().await {
        match done {
            Ok(outcome) => run.outcomes.push(outcome),
            Err(error) => run.problem = Some(format!("a scenario came to no end: {error}")),
        }
    }
    let broken = |outcome: &Outcome| outcome.id == SANITY && outcome.verdict > Verdict::Warn;
    if let Some(sanity) = &sanity
        && run.problem.is_none()
        && !target.is_owned()
        && !run.outcomes.iter().any(broken)
    {
        let outcome = runner.run(sanity).await;
        if outcome.verdict > Verdict::Warn {
            run.problem = Some(format!(
                "the server no longer works at the end of the run: {}",
                in_a_line(&outcome)
            ));
        }
    }
    run.offers = runner.offers().await;
    runner.stop().await;
    run.outcomes.sort_by(|a, b| a.id.cmp(&b.id));
    run.duration = began.elapsed();
    run
}

fn in_a_line(outcome: &Outcome) -> String {
    let finding = outcome.findings.first().map(|finding| finding.message.clone());
    finding.or_else(|| outcome.reason.clone()).unwrap_or_else(|| outcome.verdict.name().to_owned())
}

/// A server that several scenarios use, and what it offers.
struct Shared {
    instance: Mutex<Option<Instance>>,
    address: Address,
    owned: bool,
    security: Option<Security>,
    capabilities: Capabilities,
    /// How many connections it serves at once, as far as was tried.
    capacity: usize,
}

struct Runner {
    target: Target,
    options: Options,
    events: mpsc::UnboundedSender<Event>,
    shared: Mutex<HashMap<String, Result<Arc<Shared>, Unavailable>>>,
    /// What an external target holds; those that change it run alone.
    content: RwLock<Content>,
}

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
    /// What the server shows in all configurations that were started.
    async fn offers(&self) -> Vec<Offer> {
        let all = self.shared.lock().await;
        let started = all.iter().filter_map(|(configuration, shared)| {
            Some((configuration.as_str(), &shared.as_ref().ok()?.capabilities))
        });
        let mut started: Vec<_> = started.collect();
        // Where several show that a feature is missing, the plainest is quoted.
        started.sort_by_key(|(configuration, _)| (*configuration != "default", *configuration));
        offers(started)
    }

    async fn stop(&self) {
        for (_, shared) in self.shared.lock().await.drain() {
            if let Ok(shared) = shared
                && let Some(instance) = shared.instance.lock().await.take()
            {
                instance.stop().await;
            }
        }
    }

    /// The shared server in a configuration; started and asked once.
    async fn shared(&self, configuration: &str) -> Result<Arc<Shared>, Unavailable> {
        let mut all = self.shared.lock().await;
        if let Some(shared) = all.get(configuration) {
            return shared.clone();
        }
        let shared = self.start_shared(configuration).await;
        all.insert(configuration.to_owned(), shared.clone());
        shared
    }

    async fn start_shared(&self, configuration: &str) -> Result<Arc<Shared>, Unavailable> {
        let instance = self.target.start(configuration, self.options.access).await?;
        let limit = self.options.timeout;
        let whom = Whom {
            address: &instance.address,
            security: instance.security.as_ref(),
            insists: self.target.insists_on_tls(),
        };
        let capabilities =
            probe(whom, instance.export.as_deref(), limit).await.map_err(Unavailable::Failed)?;
        let capacity =
            if instance.owned { CAPACITY } else { capacity(&instance.address, limit).await };
        Ok(Arc::new(Shared {
            address: instance.address.clone(),
            owned: instance.owned,
            security: instance.security.clone(),
            instance: Mutex::new(Some(instance)),
            capabilities,
            capacity,
        }))
    }

    async fn run(&self, script: &Arc<Script>) -> Outcome {
        // Nobody may listen any more: then nobody wants to know.
        let _ = self.events.send(Event::Started { id: script.id.clone() });
        let began = Instant::now();
        let mut outcome = self.blank(script);
        self.decide(script, &mut outcome).await;
        outcome.duration = began.elapsed();
        let _ = self.events.send(Event::Done(Box::new(outcome.clone())));
        outcome
    }

    fn blank(&self, script: &Script) -> Outcome {
        let writes = !self.target.is_owned() && writes(script);
        let write = if writes { " --allow-write" } else { "" };
        Outcome::new(self.target.name(), script, &format!("{}{write}", self.options.again))
    }

    async fn decide(&self, script: &Arc<Script>, outcome: &mut Outcome) {
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
        let shared = match self.shared(configuration).await {
            Ok(shared) => shared,
            Err(Unavailable::NotPossible(reason)) => {
                return outcome.skip(SkipKind::NotPossible, reason);
            }
            Err(Unavailable::Failed(reason)) => return outcome.fail_to_run(reason),
        };
        let allowed = Allowed {
            write: self.options.write || shared.owned,
            hazard: self.options.hazard,
            owned: shared.owned,
        };
        if configuration == "read-only" && !shared.owned {
            use protocol::values::TransmissionFlags;
            if !shared.capabilities.flags.has(TransmissionFlags::READ_ONLY) {
                let evidence = shared.capabilities.evidence(&["flags="]).unwrap_or_default();
                let reason = format!("the export is writable: {evidence}");
                return outcome.skip(SkipKind::NotPossible, reason);
            }
        }
        if let (_, Some(wanted)) = Wanted::of(configuration)
            && !shared.owned
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
        if let Some((kind, reason)) = missing(script, &shared.capabilities, allowed) {
            return outcome.skip(kind, reason);
        }
        let wanted = connections(&script.body).len();
        if wanted > shared.capacity {
            let reason = format!(
                "it needs {wanted} connections at once, the server greets {}",
                shared.capacity
            );
            return outcome.skip(SkipKind::NotPossible, reason);
        }
        let alone = shared.owned && (writes(script) || script.header.hazard.is_some());
        let played = if alone {
            self.play_alone(script, configuration, &shared, upgrade, outcome).await
        } else if shared.owned {
            self.play_shared(script, configuration, &shared, upgrade, outcome).await
        } else {
            match self.with_content(script, configuration, &shared).await {
                Ok(_guard) => {
                    self.play_shared(script, configuration, &shared, upgrade, outcome).await
                }
                Err(reason) => return outcome.fail_to_run(reason),
            }
        };
        if let Some(mut played) = played {
            if configuration == "newstyle" {
                // The server was told to greet like that.
                played.findings.retain(|finding| finding.requirement.id != FIXED_FLAG);
            }
            conclude(outcome, played);
            if let Target::Profile(profile) = &self.target {
                older(outcome, profile);
            }
        }
    }

    /// Gives an external target the content that a scenario needs, and keeps it so while the
    /// scenario runs.
    async fn with_content(
        &self,
        script: &Script,
        configuration: &str,
        shared: &Shared,
    ) -> Result<Guard<'_>, String> {
        let wanted = if configuration == "blank" {
            Content::Blank
        } else if script.header.needs.iter().any(|need| need.name.node == "content") {
            Content::Known
        } else {
            Content::Unknown
        };
        if wanted == Content::Unknown && !writes(script) {
            return Ok(Guard::Together(self.content.read().await));
        }
        let mut alone = self.content.write().await;
        if wanted != Content::Unknown && *alone != wanted {
            *alone = Content::Unknown;
            let blank = wanted == Content::Blank;
            let export = &shared.capabilities.export;
            let tls = shared.security.as_ref();
            let tls = tls.filter(|_| shared.capabilities.tls != TlsMode::Off);
            prepare(&shared.address, tls, export, blank, self.options.timeout).await?;
            *alone = wanted;
        }
        if writes(script) {
            *alone = Content::Unknown;
            return Ok(Guard::Alone(alone));
        }
        Ok(Guard::Together(alone.downgrade()))
    }

    /// Against a server of the scenario's own.
    async fn play_alone(
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
                played.findings.retain(|finding| !finding.detail.is_end);
                played.findings.push(death_finding(script, &death, &played));
            }
            instance.stop().await;
        }
        Some(played)
    }

    /// Against the server that others use at the same time. If it is dead afterwards, whoever
    /// killed it is found out by playing alone.
    async fn play_shared(
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

/// What an external target is known to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    /// Anything.
    Unknown,
    /// Zeroes, as far as [`PREPARED`].
    Blank,
    /// What scenarios with `needs: content` know, as far as [`PREPARED`].
    Known,
}

/// Holds the content of an external target as it is; dropping it lets others change it.
enum Guard<'r> {
    Together(#[expect(dead_code, reason = "held")] RwLockReadGuard<'r, Content>),
    Alone(#[expect(dead_code, reason = "held")] RwLockWriteGuard<'r, Content>),
}

/// How many connections a server that the harness started is taken to serve at once, and up to how
/// many an external one is tried.
const CAPACITY: usize = 12;

/// How many clients a server greets while the others stay connected.
async fn capacity(address: &Address, limit: Duration) -> usize {
    let mut open = Vec::new();
    while open.len() < CAPACITY {
        let Ok(stream) = connect(address, limit).await else { break };
        let mut link = Link::new("", Side::Client, stream, None);
        // The first may take its time; whoever gets no place gets no greeting at all.
        let patience = if open.is_empty() { limit } else { Duration::from_secs(1) };
        match link.receive(patience).await {
            Incoming::Message(_) => open.push(link),
            Incoming::End(_) => break,
        }
    }
    // Not to wait for the places to be free would leave the next connection without one.
    for link in &mut open {
        link.close(false, limit).await;
    }
    open.len().max(1)
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
            after: lines[lines.len().saturating_sub(12)..].to_vec(),
            ..Detail::default()
        },
        known: None,
    }
}

/// The verdict of what was played.
pub(super) fn conclude(outcome: &mut Outcome, played: Played) {
    outcome.requirements = played.exercised.into_iter().collect();
    outcome.verdict = match played.findings.iter().map(|finding| finding.severity).max() {
        Some(Severity::Failure) => Verdict::Fail,
        Some(Severity::Warning) => Verdict::Warn,
        None => Verdict::Pass,
    };
    outcome.findings = played.findings;
    match played.end {
        Ending::Done => {}
        Ending::Skipped(reason) if outcome.verdict == Verdict::Pass => {
            outcome.verdict = Verdict::Skip;
            outcome.skip(SkipKind::NotOffered, reason);
        }
        Ending::Error(reason) if outcome.verdict != Verdict::Fail => {
            outcome.fail_to_run(reason);
        }
        Ending::Skipped(_) | Ending::Error(_) => {}
    }
}

/// A profile of a release that is older than a scenario's feature is no worse for not having it.
fn older(outcome: &mut Outcome, profile: &Profile) {
    let newer = profile.version().parse::<Version>().is_ok_and(|version| outcome.since > version);
    let unsupported = |finding: &Finding| finding.detail.received.contains("NBD_REP_ERR_UNSUP");
    if newer && outcome.verdict == Verdict::Fail && outcome.findings.iter().all(unsupported) {
        let received = outcome.findings.first().map(|finding| finding.detail.received.clone());
        let feature = outcome.feature.clone();
        outcome.findings.clear();
        outcome.verdict = Verdict::Skip;
        let reason = format!("{feature} is not offered: {}", received.unwrap_or_default());
        outcome.skip(SkipKind::NotOffered, reason);
    }
}

/// Whether a scenario says that it writes.
fn writes(script: &Script) -> bool {
    script.header.needs.iter().any(|need| need.name.node == "write")
}

/// The names of a scenario's connections.
fn connections(body: &[Statement]) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for statement in body {
        match &statement.kind {
            StatementKind::Message(line) => {
                names.insert(line.conn.as_ref().map_or("", |conn| conn.node.as_str()));
            }
            StatementKind::Event(line) => {
                names.insert(line.conn.as_ref().map_or("", |conn| conn.node.as_str()));
            }
            StatementKind::Check { .. } => {}
            StatementKind::AnyOrder(body)
            | StatementKind::Maybe(body)
            | StatementKind::Repeat { body, .. }
            | StatementKind::Until { body, .. }
            | StatementKind::For { body, .. }
            | StatementKind::Given { body, .. } => names.extend(connections(body)),
            StatementKind::Either(branches) => {
                names.extend(branches.iter().flat_map(|branch| connections(&branch.body)));
            }
        }
    }
    names
}
