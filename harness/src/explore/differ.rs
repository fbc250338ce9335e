//! Plays the same sessions against two servers, and looks for what they answer differently.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::answers::{Exchange, exchanges};
use super::common::common;
use super::facts::Facts;
use super::hunt::{Limits, Tree, facts_of, made, shrink, shrinks_until, tree};
use super::in_order::InOrder;
use super::session::{Session, Setting};
use super::writer::write;
use crate::finding::{EventKind, Finding, Verdict};
use crate::run::Outcome;
use crate::run::runner::Options;
use crate::run::runner::stage::Stage;
use crate::run::target::{Target, Unavailable};
use crate::script::ast::Script;

/// How often a script is played again before its answers are said to differ.
const AGAIN: u32 = 2;
/// How many differences of one kind are shown: more say little.
const OF_A_KIND: usize = 4;
/// The title of the scripts.
const TITLE: &str = "clients do what two servers answer differently";

/// What two servers answer differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The connection; empty if it is the only one.
    pub conn: String,
    /// What was asked, in the notation.
    pub asked: String,
    /// What each of them answered, a line each.
    pub answers: [Vec<String>; 2],
    /// The kind of message, to count.
    kind: String,
    /// What is the same for all differences with one cause.
    key: String,
}

#[cfg(test)]
impl Difference {
    /// One for tests.
    pub(super) fn example(asked: &str, answers: [Vec<String>; 2]) -> Self {
        let (asked, kind) = (asked.to_owned(), asked.to_owned());
        Self { conn: String::new(), asked, answers, key: kind.clone(), kind }
    }
}

/// A session that shows differences.
#[derive(Debug, Clone)]
pub struct Parted {
    /// The number of the session.
    pub session: u64,
    /// The shortest script that still shows one of them.
    pub script: Arc<Script>,
    /// What it shows.
    pub differences: Vec<Difference>,
    /// How often it showed, of how many times.
    pub times: (u32, u32),
}

/// What a comparison came to.
#[derive(Debug, Clone, Default)]
pub struct Compared {
    /// The names of the two, and their versions if they tell them.
    pub targets: [(String, Option<String>); 2],
    /// How many sessions were played against both.
    pub sessions: u64,
    /// How many could not be, with the last reason.
    pub untried: (u64, Option<String>),
    /// How many differences did not show again.
    pub once: u64,
    /// How long it took.
    pub duration: Duration,
    /// What differs, in the order in which it was found.
    pub parted: Vec<Parted>,
    /// Why it ended before its time.
    pub problem: Option<String>,
}

struct Pair {
    stages: [Arc<Stage>; 2],
    /// The name of the export under test, of each and in each setting.
    facts: HashMap<Setting, Option<Arc<Common>>>,
    options: Options,
    limits: Limits,
    ends: Instant,
    seen: HashSet<String>,
    of_kind: HashMap<String, usize>,
    result: Compared,
}

/// What is common in a setting.
struct Common {
    facts: Facts,
    exports: [String; 2],
    /// The exports have the same size.
    alike: bool,
}

/// Compares two servers until the limits end it. `told` is called with what differs as it is found.
///
/// # Errors
/// One of the two can't be played against.
pub async fn differ(
    targets: [&Target; 2],
    options: &Options,
    limits: &Limits,
    mut told: impl FnMut(&Parted),
) -> Result<Compared, Unavailable> {
    let began = Instant::now();
    let options = Options { keep: true, ..options.clone() };
    let first = Arc::new(Stage::open(targets[0], &options).await?);
    let second = match Stage::open(targets[1], &options).await {
        Ok(stage) => Arc::new(stage),
        Err(unavailable) => {
            first.close().await;
            return Err(unavailable);
        }
    };
    let [a, b] = targets;
    let names =
        [(a.name().to_owned(), a.version().await), (b.name().to_owned(), b.version().await)];
    let mut pair = Pair {
        stages: [first.clone(), second.clone()],
        facts: HashMap::new(),
        options,
        limits: limits.clone(),
        ends: began + limits.time,
        seen: HashSet::new(),
        of_kind: HashMap::new(),
        result: Compared { targets: names, ..Compared::default() },
    };
    pair.run(&mut told).await;
    pair.result.duration = began.elapsed();
    first.close().await;
    second.close().await;
    Ok(pair.result)
}

/// How a script came out with both.
type Outcomes = [Outcome; 2];

async fn play(stages: &[Arc<Stage>; 2], script: &Arc<Script>) -> Outcomes {
    let [a, b] = stages;
    let (a, b) = tokio::join!(a.play(script), b.play(script));
    [a, b]
}

impl Pair {
    async fn run(&mut self, told: &mut impl FnMut(&Parted)) {
        if self.common(Setting::Default).await.is_none() {
            self.result.problem = Some(
                "the two have no handshake in common that sessions could begin with".to_owned(),
            );
            return;
        }
        let jobs = self.jobs().await;
        let mut playing: InOrder<Option<Outcomes>> = InOrder::new();
        loop {
            while playing.has_room(jobs) && !self.is_over(playing.begun()) {
                let number = playing.begun();
                let session = tree(self.limits.seed, number, self.limits.lawful).current();
                let script = self.script(&session, number).await;
                let stages = self.stages.clone();
                playing.begin(async move {
                    match script {
                        Some(script) => Some(play(&stages, &script).await),
                        None => None,
                    }
                });
            }
            let Some(done) = playing.next().await else { break };
            match done {
                Ok((_, None)) => {}
                Ok((number, Some(outcomes))) => self.compare(number, &outcomes, told).await,
                Err(error) => {
                    self.result.problem.get_or_insert(format!("a session came to no end: {error}"));
                    break;
                }
            }
        }
        if let Some(reason) = self.halted() {
            self.result.problem.get_or_insert(reason);
        }
    }

    async fn jobs(&self) -> usize {
        let mut capacity = usize::MAX;
        for stage in &self.stages {
            let setup = stage.setup("default").await;
            capacity = capacity.min(setup.map_or(1, |setup| setup.capacity));
        }
        let several = capacity >= super::session::CONNECTIONS * self.options.jobs;
        if several { self.options.jobs.max(1) } else { 1 }
    }

    fn halted(&self) -> Option<String> {
        self.stages.iter().find_map(|stage| stage.halted())
    }

    fn is_over(&self, next: u64) -> bool {
        Instant::now() >= self.ends
            || self.limits.sessions.is_some_and(|most| next >= most)
            || self.limits.failures.is_some_and(|most| self.result.parted.len() >= most)
            || self.halted().is_some()
    }

    async fn common(&mut self, setting: Setting) -> Option<Arc<Common>> {
        if let Some(known) = self.facts.get(&setting) {
            return known.clone();
        }
        let a = facts_of(&self.stages[0], &self.options, setting).await;
        let b = facts_of(&self.stages[1], &self.options, setting).await;
        let both = a.zip(b).and_then(|(a, b)| {
            let facts = common(&a, &b)?;
            let alike = a.found.size == b.found.size;
            let exports = [a.found.export, b.found.export];
            Some(Arc::new(Common { facts, exports, alike }))
        });
        self.facts.insert(setting, both.clone());
        both
    }

    /// The setting of a session, or the usual one where it can't be had of both.
    async fn ground(&mut self, session: &Session) -> Option<Arc<Common>> {
        match self.common(session.setting).await {
            Some(common) => Some(common),
            None => self.common(Setting::Default).await,
        }
    }

    async fn script(&mut self, session: &Session, number: u64) -> Option<Arc<Script>> {
        let common = self.ground(session).await?;
        let mut session = session.clone();
        if !common.alike {
            // Nobody knows what is beyond the end of both.
            session.acts.retain(|act| !act.is_slip());
        }
        let text = write(&session, &common.facts, TITLE)?;
        made(&text, "differ", number, &self.limits, &mut self.result.problem)
    }

    async fn compare(&mut self, number: u64, first: &Outcomes, told: &mut impl FnMut(&Parted)) {
        self.result.sessions += 1;
        let untried = |it: &&Outcome| matches!(it.verdict, Verdict::Skip | Verdict::Error);
        if let Some(outcome) = first.iter().find(untried) {
            self.result.untried.0 += 1;
            self.result.untried.1.clone_from(&outcome.reason);
            return;
        }
        let mut tree = tree(self.limits.seed, number, self.limits.lawful);
        let session = tree.current();
        let found = self.differences(&session, first).await;
        if !found.iter().any(|it| self.is_new(it)) {
            return;
        }
        let Some(script) = self.script(&session, number).await else { return };
        let (mut times, mut always) = ((1, 1), found);
        for _ in 0..AGAIN {
            times.1 += 1;
            let outcomes = play(&self.stages, &script).await;
            let again = self.differences(&session, &outcomes).await;
            // What depends on chance is no difference between the two.
            always.retain(|it| again.iter().any(|other| other.key == it.key));
            times.0 += u32::from(always.iter().any(|it| self.is_new(it)));
        }
        always.retain(|it| self.is_new(it));
        if always.is_empty() {
            self.result.once += 1;
            return;
        }
        let parted = Parted { session: number, script, differences: always, times };
        let parted = self.shrink(&mut tree, parted).await;
        for difference in &parted.differences {
            self.seen.insert(difference.key.clone());
            *self.of_kind.entry(difference.kind.clone()).or_default() += 1;
        }
        told(&parted);
        self.result.parted.push(parted);
    }

    async fn shrink(&mut self, tree: &mut Tree, found: Parted) -> Parted {
        // One script for one cause: others are found again.
        let wanted = found.differences[0].key.clone();
        let mut shortest = found;
        shortest.differences.truncate(1);
        let mut tried: BTreeMap<String, bool> = BTreeMap::new();
        tried.insert(shortest.script.source.text.clone(), true);
        let stages = self.stages.clone();
        let until = shrinks_until(self.ends);
        let goes_on = || stages.iter().all(|stage| stage.halted().is_none());
        let fails = async |session: &Session| {
            let Some(script) = self.script(session, shortest.session).await else { return false };
            if let Some(fails) = tried.get(&script.source.text) {
                return *fails;
            }
            let outcomes = play(&self.stages, &script).await;
            let mut differences = self.differences(session, &outcomes).await;
            differences.retain(|it| it.key == wanted);
            differences.truncate(1);
            let fails = !differences.is_empty();
            tried.insert(script.source.text.clone(), fails);
            if fails {
                shortest = Parted { script, differences, ..shortest.clone() };
            }
            fails
        };
        shrink(tree, until, goes_on, fails).await;
        shortest
    }

    fn is_new(&self, difference: &Difference) -> bool {
        let often = self.of_kind.get(&difference.kind).copied().unwrap_or_default();
        often < OF_A_KIND && !self.seen.contains(&difference.key)
    }

    async fn differences(&mut self, session: &Session, [a, b]: &Outcomes) -> Vec<Difference> {
        let Some(common) = self.ground(session).await else { return Vec::new() };
        let [first, second] = &common.exports;
        let (said, other) = (exchanges(&a.said, first), exchanges(&b.said, second));
        let mut all = Vec::new();
        for (conn, ours) in &said {
            let theirs = other.get(conn).map(Vec::as_slice).unwrap_or_default();
            all.extend(ours.iter().zip(theirs).map_while(|(a, b)| beside(conn, a, b)).flatten());
        }
        all.extend(rules(a, b));
        all
    }
}

/// How two exchanges differ; the outer `None` where something else was asked: how a session is entered
/// follows what a server offers.
fn beside(conn: &str, a: &Exchange, b: &Exchange) -> Option<Option<Difference>> {
    if a.asked != b.asked {
        return None;
    }
    let answers = [a.all(), b.all()];
    if !a.is_known() || !b.is_known() || answers[0] == answers[1] {
        return Some(None);
    }
    let only = |these: &[String], those: &[String]| {
        let only: Vec<&str> =
            these.iter().filter(|it| !those.contains(it)).map(String::as_str).collect();
        only.join(", ")
    };
    let [ours, theirs] = &answers;
    let key = format!("{}: {} | {}", a.kind, only(ours, theirs), only(theirs, ours));
    let (conn, asked, kind) = (conn.to_owned(), a.asked.clone(), a.kind.clone());
    Some(Some(Difference { conn, asked, answers, kind, key }))
}

/// The rules that one of them breaks and the other does not, beyond what the answers show by themselves.
fn rules(a: &Outcome, b: &Outcome) -> Vec<Difference> {
    let shown = |finding: &&Finding| {
        finding.detail.judged
            || !matches!(
                finding.detail.event,
                EventKind::Message | EventKind::Close | EventKind::CutOff | EventKind::Reset
            )
    };
    let broken = |outcome: &Outcome| -> BTreeMap<&'static str, String> {
        let findings = outcome.findings.iter().filter(shown);
        findings.map(|it| (it.requirement.id, it.message.clone())).collect()
    };
    let (ours, theirs) = (broken(a), broken(b));
    let fine = || vec!["keeps it".to_owned()];
    let difference = |rule: &str, answers: [Vec<String>; 2], who: &str| Difference {
        conn: String::new(),
        asked: format!("[{rule}]"),
        answers,
        kind: rule.to_owned(),
        key: format!("{rule} {who}"),
    };
    let first = ours.iter().filter(|(rule, _)| !theirs.contains_key(*rule));
    let second = theirs.iter().filter(|(rule, _)| !ours.contains_key(*rule));
    first
        .map(|(rule, said)| difference(rule, [vec![said.clone()], fine()], "first"))
        .chain(second.map(|(rule, said)| difference(rule, [fine(), vec![said.clone()]], "second")))
        .collect()
}
