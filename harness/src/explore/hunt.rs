//! The hunt: sessions are played until something fails that was not seen before; that is confirmed and
//! shrunk.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::facts::Facts;
use super::in_order::InOrder;
use super::session::{Session, Setting, sessions};
use super::writer::write;
use crate::finding::{EventKind, Finding, Severity, Verdict};
use crate::report::causes::Key;
use crate::run::Outcome;
use crate::run::deviations::Deviations;
use crate::run::runner::Options;
use crate::run::runner::stage::Stage;
use crate::run::target::{Target, Unavailable};
use crate::script::ast::Script;
use crate::script::{self, ScriptError, load};

/// How often a script is played again before it is said to fail.
const AGAIN: u32 = 2;
/// How many scripts are played at most to shrink one.
const STEPS: usize = 300;
/// How long shrinking one failure may take.
const SHRINKING: Duration = Duration::from_secs(20);
/// How long failures may be shrunk after the time for the hunt is over, all together: one that is found
/// in the last second is to be short too.
const GRACE: Duration = Duration::from_secs(5);
/// How many failures of one rule are shown: more say little.
const OF_A_RULE: usize = 3;
/// The title of all scripts that are made up.
const TITLE: &str = "clients do what nobody wrote down";

/// How far a hunt goes.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long it takes.
    pub time: Duration,
    /// How many sessions are played at most.
    pub sessions: Option<u64>,
    /// After how many failures it ends.
    pub failures: Option<usize>,
    /// Which sessions are made up.
    pub seed: u64,
    /// The folder that the scripts are saved in, as they name it.
    pub folder: PathBuf,
    /// Only lawful ones.
    pub lawful: bool,
    /// It is enough to see these rules broken: nothing is confirmed or shortened.
    pub until: Option<&'static [&'static str]>,
}

/// A failure.
#[derive(Debug, Clone)]
pub struct Found {
    /// The number of the session.
    pub session: u64,
    /// The shortest script that still fails.
    pub script: Arc<Script>,
    /// What came of it.
    pub outcome: Outcome,
    /// How often it failed, of how many times.
    pub times: (u32, u32),
}

/// What a hunt came to.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Name of the target.
    pub target: String,
    /// Its version, if it tells it.
    pub version: Option<String>,
    /// How many sessions were played.
    pub sessions: u64,
    /// How many of them could not be tried, with the last reason.
    pub untried: (u64, Option<String>),
    /// How often an answer came too late once, and in time when the same was asked again.
    pub waits: u64,
    /// How long it took.
    pub duration: Duration,
    /// Failures, in the order in which they were found.
    pub found: Vec<Found>,
    /// The rules that were seen broken, and no record says so.
    pub rules: BTreeMap<&'static str, Severity>,
    /// The rules that were broken as the record says, with the reason there.
    pub known: Vec<(&'static str, String)>,
    /// Why it ended before its time.
    pub problem: Option<String>,
}

/// A hunt on one target.
pub struct Hunt {
    stage: Arc<Stage>,
    options: Options,
    limits: Limits,
    known: Deviations,
    facts: HashMap<Setting, Option<Arc<Facts>>>,
    seen: HashSet<Key>,
    of_rule: HashMap<&'static str, usize>,
    ends: Instant,
    tally: Tally,
}

/// Looks for failures of a target until the limits end it. `told` is called with each as it is found.
///
/// # Errors
/// The target can't be tested.
pub async fn hunt(
    target: &Target,
    options: &Options,
    limits: &Limits,
    known: Deviations,
    mut told: impl FnMut(&Found),
) -> Result<Tally, Unavailable> {
    let began = Instant::now();
    let stage = Arc::new(Stage::open(target, options).await?);
    let version = target.version().await;
    let tally = Tally { target: target.name().to_owned(), version, ..Tally::default() };
    let mut hunt = Hunt {
        stage: stage.clone(),
        options: options.clone(),
        limits: limits.clone(),
        known,
        facts: HashMap::new(),
        seen: HashSet::new(),
        of_rule: HashMap::new(),
        ends: began + limits.time,
        tally,
    };
    hunt.run(&mut told).await;
    hunt.tally.duration = began.elapsed();
    stage.close().await;
    Ok(hunt.tally)
}

impl Hunt {
    async fn run(&mut self, told: &mut impl FnMut(&Found)) {
        let jobs = self.jobs().await;
        let mut playing: InOrder<Option<Outcome>> = InOrder::new();
        loop {
            while playing.has_room(jobs) && !self.is_over(playing.begun()) {
                let number = playing.begun();
                let session = tree(self.limits.seed, number, self.limits.lawful).current();
                let script = self.script(&session, number).await;
                let stage = self.stage.clone();
                playing.begin(async move {
                    match script {
                        Some(script) => Some(stage.play(&script).await),
                        None => None,
                    }
                });
            }
            let Some(done) = playing.next().await else { break };
            match done {
                Ok((_, None)) => {}
                Ok((number, Some(outcome))) => self.judge(number, outcome, told).await,
                Err(error) => {
                    self.tally.problem.get_or_insert(format!("a session came to no end: {error}"));
                    break;
                }
            }
        }
        if let Some(reason) = self.stage.halted() {
            self.tally.problem.get_or_insert(reason);
        }
    }

    /// How many sessions are played at once.
    async fn jobs(&self) -> usize {
        let capacity = self.stage.setup("default").await.map_or(1, |setup| setup.capacity);
        let several = capacity >= super::session::CONNECTIONS * self.options.jobs;
        // Those who share a server would see what others write.
        if several { self.options.jobs.max(1) } else { 1 }
    }

    fn is_over(&self, next: u64) -> bool {
        Instant::now() >= self.ends
            || self.limits.sessions.is_some_and(|most| next >= most)
            || self.limits.failures.is_some_and(|most| self.failures() >= most)
            || self.stage.halted().is_some()
            || self
                .limits
                .until
                .is_some_and(|rules| rules.iter().all(|rule| self.tally.rules.contains_key(rule)))
    }

    fn failures(&self) -> usize {
        self.tally.found.iter().filter(|found| found.outcome.verdict == Verdict::Fail).count()
    }

    /// The script of a session; `None` where the server leaves nothing to do.
    async fn script(&mut self, session: &Session, number: u64) -> Option<Arc<Script>> {
        let facts = match self.facts(session.setting).await {
            Some(facts) => facts,
            None => self.facts(Setting::Default).await?,
        };
        let text = write(session, &facts, TITLE)?;
        made(&text, "explored", number, &self.limits, &mut self.tally.problem)
    }

    async fn facts(&mut self, setting: Setting) -> Option<Arc<Facts>> {
        if let Some(facts) = self.facts.get(&setting) {
            return facts.clone();
        }
        let facts = facts_of(&self.stage, &self.options, setting).await.map(Arc::new);
        self.facts.insert(setting, facts.clone());
        facts
    }

    /// What is new in how a session came out is confirmed and shrunk.
    async fn judge(&mut self, number: u64, mut outcome: Outcome, told: &mut impl FnMut(&Found)) {
        self.tally.sessions += 1;
        if matches!(outcome.verdict, Verdict::Skip | Verdict::Error) {
            self.tally.untried.0 += 1;
            if self.tally.untried.1.is_none() || outcome.verdict == Verdict::Error {
                self.tally.untried.1.clone_from(&outcome.reason);
            }
        }
        self.note_known(&mut outcome);
        for finding in outcome.findings.iter().filter(|finding| finding.known.is_none()) {
            self.tally.rules.insert(finding.requirement.id, finding.severity());
        }
        if self.limits.until.is_some() {
            return;
        }
        let mut wanted = self.news(&outcome);
        if wanted.is_empty() {
            return;
        }
        let mut tree = tree(self.limits.seed, number, self.limits.lawful);
        let Some(script) = self.script(&tree.current(), number).await else { return };
        let mut found = Found { session: number, script: script.clone(), outcome, times: (1, 1) };
        for _ in 0..AGAIN {
            found.times.1 += 1;
            if let Some(outcome) = self.fails(&script, &wanted).await {
                found.times.0 += 1;
                // One cause may show in several forms: which comes first is chance.
                wanted.extend(self.news(&outcome));
                found.outcome = outcome;
            }
        }
        // A wait that was in vain once may have been too short.
        let waits = |finding: &Finding| {
            matches!(finding.detail.event, EventKind::Timeout | EventKind::Stalled)
        };
        if found.times.0 == 1 && found.outcome.findings.iter().all(waits) {
            self.tally.waits += 1;
            return;
        }
        if found.times.0 == found.times.1 {
            self.shrink(&mut tree, &wanted, &mut found).await;
        }
        // What was shown before is not shown again.
        let new = self.news(&found.outcome);
        found.outcome.findings.retain(|finding| new.contains(&Key::of(finding)));
        for finding in &found.outcome.findings {
            *self.of_rule.entry(finding.requirement.id).or_default() += 1;
        }
        self.seen.extend(wanted);
        self.seen.extend(new);
        let severe = |finding: &Finding| finding.severity() == Severity::Failure;
        found.outcome.verdict = match found.outcome.findings.iter().any(severe) {
            true => Verdict::Fail,
            false => Verdict::Warn,
        };
        told(&found);
        self.tally.found.push(found);
    }

    /// The causes that an outcome shows and that were not seen before.
    fn news(&self, outcome: &Outcome) -> HashSet<Key> {
        outcome.findings.iter().filter(|finding| self.is_new(finding)).map(Key::of).collect()
    }

    fn is_new(&self, finding: &Finding) -> bool {
        let often = self.of_rule.get(finding.requirement.id).copied().unwrap_or_default();
        finding.known.is_none() && often < OF_A_RULE && !self.seen.contains(&Key::of(finding))
    }

    fn note_known(&mut self, outcome: &mut Outcome) {
        for finding in &mut outcome.findings {
            finding.known = self.known.of_rule(finding.requirement.id).map(str::to_owned);
            if let Some(reason) = &finding.known {
                let entry = (finding.requirement.id, reason.clone());
                if !self.tally.known.contains(&entry) {
                    self.tally.known.push(entry);
                }
            }
        }
    }

    /// How a script comes out if it still shows one of these causes.
    async fn fails(&mut self, script: &Arc<Script>, wanted: &HashSet<Key>) -> Option<Outcome> {
        let mut outcome = self.stage.play(script).await;
        self.note_known(&mut outcome);
        outcome.findings.iter().any(|finding| wanted.contains(&Key::of(finding))).then_some(outcome)
    }

    /// Looks for a shorter script that shows the same.
    async fn shrink(&mut self, tree: &mut Tree, wanted: &HashSet<Key>, found: &mut Found) {
        let (stage, until) = (self.stage.clone(), shrinks_until(self.ends));
        let mut tried = HashMap::from([(found.script.source.text.clone(), true)]);
        let fails = async |session: &Session| {
            let Some(script) = self.script(session, found.session).await else { return false };
            if let Some(fails) = tried.get(&script.source.text) {
                return *fails;
            }
            let outcome = self.fails(&script, wanted).await;
            let fails = outcome.is_some();
            tried.insert(script.source.text.clone(), fails);
            if let Some(outcome) = outcome {
                found.script = script;
                found.outcome = outcome;
            }
            fails
        };
        shrink(tree, until, || stage.halted().is_none(), fails).await;
    }
}

/// What is known of a target in a setting; `None` where it can't be had.
pub(super) async fn facts_of(stage: &Stage, options: &Options, setting: Setting) -> Option<Facts> {
    let setup = stage.setup(setting.name()).await?;
    Some(Facts {
        setting,
        found: setup.capabilities,
        owned: setup.owned,
        described: setup.described,
        content: setup.content,
        places: setup.capacity,
        write: (options.write || setup.owned) && setup.keeps,
        hazard: options.hazard || setup.owned,
    })
}

/// When shrinking a failure ends that is found now, where the hunt ends at `ends`.
pub(super) fn shrinks_until(ends: Instant) -> Instant {
    (Instant::now() + SHRINKING).min(ends + GRACE)
}

/// Looks for a simpler session that still fails, until then, as long as it may go on. The one that
/// failed last is the simplest that was found.
pub(super) async fn shrink(
    tree: &mut Tree,
    until: Instant,
    goes_on: impl Fn() -> bool,
    mut fails: impl AsyncFnMut(&Session) -> bool,
) {
    let mut simpler = tree.simplify();
    for _ in 0..STEPS {
        if !simpler || Instant::now() >= until || !goes_on() {
            break;
        }
        simpler = if fails(&tree.current()).await { tree.simplify() } else { tree.complicate() };
    }
}

/// Reads what was made up, in the form in which it is saved, so that its lines have the same numbers.
///
/// # Errors
/// The first mistake: it is ours.
pub(super) fn script_of(text: &str, id: &str, folder: &Path) -> Result<Arc<Script>, String> {
    let path = folder.join(format!("{id}.nbd")).display().to_string();
    let first =
        |errors: Vec<ScriptError>| errors.first().map(ToString::to_string).unwrap_or_default();
    let text = script::format(&path, text).map_err(first)?;
    load(id, &path, &text).map(Arc::new).map_err(first)
}

/// The script of a session, named after `kind`, its seed and its number. A mistake in it is a problem.
pub(super) fn made(
    text: &str,
    kind: &str,
    number: u64,
    limits: &Limits,
    problem: &mut Option<String>,
) -> Option<Arc<Script>> {
    let script = script_of(text, &format!("{kind}-{}-{number}", limits.seed), &limits.folder);
    let mistaken = |mistake| {
        problem.get_or_insert(format!("session {number} is no script: {mistake}"));
    };
    script.map_err(mistaken).ok()
}

/// A session and what it shrinks to.
pub(super) type Tree = Box<dyn proptest::strategy::ValueTree<Value = Session>>;

/// The session of a number, and what it shrinks to: the same for the same seed, whenever it is asked.
pub(super) fn tree(seed: u64, number: u64, lawful: bool) -> Tree {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&number.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config = Config { failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, rng);
    // A third of the sessions have nothing but what is lawful in them.
    let slips = !lawful && !number.is_multiple_of(3);
    // These strategies reject nothing.
    sessions(slips).new_tree(&mut runner).expect("a session can always be made up")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn shrinking_ends_with_its_time() {
        let tries = async |until| {
            let mut tried = 0_u32;
            let fails = async |_: &Session| {
                tried += 1;
                true
            };
            shrink(&mut tree(1, 1, true), until, || true, fails).await;
            tried
        };
        assert_eq!(tries(Instant::now()).await, 0);
        let later = Instant::now() + Duration::from_secs(60);
        assert!(tries(later).await > 0, "a session can be made simpler");
    }

    #[test]
    fn what_is_found_at_the_end_is_shrunk_for_a_short_time() {
        let now = Instant::now();
        let left = |ends| shrinks_until(ends).saturating_duration_since(now);
        assert!(left(now) <= GRACE + Duration::from_secs(1), "{:?}", left(now));
        assert!(left(now + Duration::from_secs(600)) >= SHRINKING);
    }
}
