//! Runs scenarios against one target: several at once, without one disturbing another.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use protocol::message::Side;
use protocol::notation::ast::{MessageLine, Word};
use tokio::sync::{Mutex, Semaphore, mpsc};

use super::canary::{Canary, Reached};
use super::image::settle;
use super::options::Options;
use super::standing::tell_once;
use super::state::{Runner, Shared};
use super::verdict;
use super::visits::Visits;
use crate::finding::{Finding, Verdict};
use crate::run::milestones::{Offer, offers};
use crate::run::result::{Event, TargetRun};
use crate::run::secured::Wanted;
use crate::run::survey::capacity::CAPACITY;
use crate::run::survey::{Ask, Trouble, Whom, probe};
use crate::run::target::{Target, Unavailable};
use crate::run::{Outcome, SkipKind};
use crate::scenarios::SANITY;
use crate::script::ast::Script;
use crate::script::walk::{any_line, connections};

/// A server that takes this long for a read of one block makes the run long.
const SLOW: Duration = Duration::from_millis(50);
/// Why the rest of the scenarios is not run that send requests, where none is answered.
const UNSERVED: &str = "the server answers no request";

/// Runs scenarios that test servers against a target.
pub async fn run_target(
    target: &Target,
    scripts: &[Arc<Script>],
    sanity: Option<Arc<Script>>,
    options: &Options,
    events: mpsc::UnboundedSender<Event>,
) -> TargetRun {
    let began = Instant::now();
    let mut run = TargetRun { version: target.version().await, ..TargetRun::new(target.name()) };
    let runner = Arc::new(Runner::new(target, options, events));
    if let Target::External { address, .. } = target {
        run.address = Some(address.to_string());
    }
    // The first question tells whether there is anything to test.
    let surveyed = tokio::select! {
        biased;
        reason = runner.halt.stopped() => Err(Unavailable::NotPossible(reason)),
        shared = runner.shared("default") => shared,
    };
    if let Ok(shared) = &surveyed
        && shared.capabilities.latency >= SLOW
    {
        // Nobody may listen.
        let _ = runner.events.send(Event::Note(slowness(shared.capabilities.latency)));
    }
    let jobs = match surveyed {
        // Who would wait for the end of another one's handshake.
        Ok(shared) if shared.capabilities.haggles_alone.is_some() => 1,
        Ok(shared) => shared.capacity.min(options.jobs.max(1)),
        Err(unavailable) => {
            run.stopped = matches!(unavailable, Unavailable::Stopped(_));
            let reason = unavailable.into_reason();
            if run.stopped || runner.halt.reason().is_some() {
                run.outcomes =
                    scripts.iter().map(|script| runner.left_out(script, &reason)).collect();
            }
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
    run_all(&runner, scripts, jobs, &mut run).await;
    let broken = |outcome: &Outcome| outcome.id == SANITY && outcome.verdict > Verdict::Warn;
    if let Some(reason) = runner.halt.reason() {
        let left = run.outcomes.iter().filter(|it| it.skipped == Some(SkipKind::NotRun)).count();
        // Whoever came to the end all the same has lost nothing.
        if left > 0 {
            run.problem.get_or_insert(reason);
        }
    }
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
    if let Some(finding) = runner.hangs_up().await {
        let spare = sanity.or_else(|| scripts.first().cloned());
        let spare = spare.map(|script| runner.blank(&script));
        verdict::tell_hang_up(&mut run.outcomes, finding, spare);
    }
    runner.stop().await;
    run.outcomes.sort_by(|a, b| a.id.cmp(&b.id));
    verdict::tell_small_maximum(&mut run.outcomes);
    tell_once(&mut run.outcomes, scripts);
    run.duration = began.elapsed();
    run
}

/// Runs the scenarios, as many at once as the server has places for.
async fn run_all(runner: &Arc<Runner>, scripts: &[Arc<Script>], jobs: usize, run: &mut TargetRun) {
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
}

/// What is told of a server that takes this long for a read.
fn slowness(latency: Duration) -> String {
    let milliseconds = latency.as_millis();
    format!(
        "note: the server is slow: a read takes {milliseconds} ms, and scenarios that write run one after the other\nhint: `--scenario` chooses some, `--max-time` ends the run in time, `--jobs` runs more at once"
    )
}

/// Whether a scenario sends requests.
fn requests(script: &Script) -> bool {
    let named = |line: &MessageLine| match &line.head.node {
        Word::Name(head) => head.starts_with("NBD_CMD_"),
        Word::Variable(_) | Word::Any => false,
    };
    any_line(&script.body, &mut |line| line.side == Side::Client && named(line))
}

fn in_a_line(outcome: &Outcome) -> String {
    let finding = outcome.findings.first().map(|finding| finding.message.clone());
    finding.or_else(|| outcome.reason.clone()).unwrap_or_else(|| outcome.verdict.name().to_owned())
}

impl Runner {
    /// What the server shows in all configurations that were started.
    pub(super) async fn offers(&self) -> Vec<Offer> {
        let all = self.shared.lock().await;
        let started = all.iter().filter_map(|(configuration, shared)| {
            Some((configuration.as_str(), &shared.as_ref().ok()?.capabilities))
        });
        let mut started: Vec<_> = started.collect();
        // Where several show that a feature is missing, the plainest is quoted.
        started.sort_by_key(|(configuration, _)| (*configuration != "default", *configuration));
        offers(started)
    }

    pub(super) async fn stop(&self) {
        for (_, shared) in self.shared.lock().await.drain() {
            if let Ok(shared) = shared
                && let Some(instance) = shared.instance.lock().await.take()
            {
                instance.stop().await;
            }
        }
    }

    /// The shared server in a configuration; started and asked once.
    pub(super) async fn shared(&self, configuration: &str) -> Result<Arc<Shared>, Unavailable> {
        // What nobody here can set up is the same in every configuration, and is asked once.
        let configuration = if self.target.is_owned() { configuration } else { "default" };
        let mut all = self.shared.lock().await;
        if let Some(shared) = all.get(configuration) {
            return shared.clone();
        }
        let shared = self.start_shared(configuration).await;
        all.insert(configuration.to_owned(), shared.clone());
        shared
    }

    async fn start_shared(&self, configuration: &str) -> Result<Arc<Shared>, Unavailable> {
        let mut instance = self.target.start(configuration, self.options.access).await?;
        let limit = self.options.timeout;
        let whom = Whom {
            address: &instance.address,
            security: instance.security.as_ref(),
            insists: self.target.insists_on_tls(),
        };
        let ask = Ask {
            export: instance.export.as_deref(),
            limit,
            strange: !instance.described,
            forced: instance.described && Wanted::is_forced(configuration),
            places: true,
            write: self.options.write || instance.owned,
        };
        let probed = probe(whom, &ask).await;
        if let Some((reason, well)) = instance.ended_early(probed.is_err()).await {
            let last = probed.as_ref().err().and_then(Trouble::last);
            return Err(match last {
                // It had answered, and has died of what it was asked.
                Some(last) if !well => Unavailable::Stopped(format!(
                    "the server stopped answering after the survey; last asked for: {last}; {reason}"
                )),
                None if !well && probed.is_ok() => Unavailable::Stopped(reason),
                _ => Unavailable::Failed(reason),
            });
        }
        let capabilities = probed.map_err(|trouble| match trouble {
            Trouble::Gone { .. } => Unavailable::Stopped(trouble.to_string()),
            _ => Unavailable::Failed(trouble.to_string()),
        })?;
        for option in &capabilities.silent {
            self.patience.surveyed(*option);
        }
        if capabilities.unserved {
            self.patience.unserved();
        }
        if capabilities.stays_open {
            self.patience.stays_open();
        }
        let capacity = capabilities.capacity.unwrap_or(CAPACITY);
        if !instance.described && instance.owned {
            // The survey has written to it, and others count on its content.
            instance.stop().await;
            instance = self.target.start(configuration, self.options.access).await?;
        }
        let suspect = self.foreign_image.load(Ordering::Relaxed);
        let held = settle(&mut instance, &capabilities, configuration, limit, suspect).await;
        if let Some(note) = held.note
            && !self.foreign_image.swap(true, Ordering::Relaxed)
        {
            // Nobody may listen.
            let _ = self.events.send(Event::Note(note));
        }
        let (address, security) = (&instance.address, instance.security.as_ref());
        let insists = self.target.insists_on_tls();
        let canary = Canary::hatch(address, security, insists, &capabilities, limit).await;
        Ok(Arc::new(Shared {
            address: instance.address.clone(),
            owned: instance.owned,
            described: instance.described,
            content: instance.content,
            unfilled: held.unfilled,
            security: instance.security.clone(),
            instance: Mutex::new(Some(instance)),
            visits: Arc::new(Visits::to(&capabilities)),
            capabilities,
            capacity,
            canary: Arc::new(canary),
        }))
    }

    pub(super) async fn run(&self, script: &Arc<Script>) -> Outcome {
        // Nobody may listen any more: then nobody wants to know.
        let _ = self.events.send(Event::Started { id: script.id.clone() });
        let began = Instant::now();
        let mut outcome = self.blank(script);
        let unserved = self.halt.is_unserved() && requests(script) && !self.patience.is_served();
        let cut_off = tokio::select! {
            biased;
            reason = self.halt.stopped() => Some(reason),
            () = std::future::ready(()), if unserved => Some(UNSERVED.to_owned()),
            () = self.decide(script, &mut outcome) => None,
        };
        let cut_off = match cut_off {
            None if outcome.verdict == Verdict::Error => self.victim(&outcome).await,
            cut_off => cut_off,
        };
        match cut_off {
            Some(reason) => outcome = self.left_out(script, &reason),
            None => {
                self.halt.note(&outcome, self.is_mute().await);
                let mut death = self.death.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(death) = death.take() {
                    self.halt.stop(death);
                }
            }
        }
        outcome.duration = began.elapsed();
        let _ = self.events.send(Event::Done(Box::new(outcome.clone())));
        outcome
    }

    /// Why a scenario without a verdict has none, where that is the death of somebody else's server.
    async fn victim(&self, outcome: &Outcome) -> Option<String> {
        if self.target.is_owned() {
            return None;
        }
        let shared = self.shared.lock().await.get("default").cloned()?.ok()?;
        let why = self.stopped_answering(&shared).await?;
        self.halt.stop(format!("the server stopped answering before {}: {why}", outcome.id));
        self.halt.reason()
    }

    /// What is found where an external server ends some connections before its greeting.
    async fn hangs_up(&self) -> Option<Finding> {
        let shared = self.shared.lock().await.get("default").cloned()?.ok()?;
        let (early, of) = shared.capabilities.hangs_up?;
        let (more, beside) = self.patience.hung_up();
        Some(verdict::hang_up(early + more, of + beside))
    }

    /// Of a scenario that is not run, or not to its end.
    pub(super) fn left_out(&self, script: &Script, reason: &str) -> Outcome {
        let mut outcome = self.blank(script);
        outcome.skip(SkipKind::NotRun, format!("not run: {reason}"));
        outcome
    }

    /// Whether the server answers nothing at all that it is asked.
    pub(super) async fn is_mute(&self) -> bool {
        match self.shared.lock().await.get("default") {
            Some(Ok(shared)) => {
                let known = &shared.capabilities;
                shared.canary.usual() <= Reached::Greeted
                    && known.options.is_empty()
                    && !known.oldstyle
            }
            _ => false,
        }
    }

    pub(super) fn blank(&self, script: &Script) -> Outcome {
        // Without it the scenario is skipped the next time as well.
        let writes =
            !self.target.is_owned() && !self.options.write && script.header.has_need("write");
        let write = if writes { " --allow-write" } else { "" };
        Outcome::new(self.target.name(), script, &format!("{}{write}", self.options.again))
    }
}
