//! `serve --judge`: tells what clients break while they do it, and sums up at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use dissector::session::Seen;
use protocol::message::Side;
use tokio::sync::watch;

use crate::finding::{Finding, Severity, Verdict, is_about_leaving};
use crate::judge::{Court, Told, is_word_of_client};
use crate::markup::clean;
use crate::report::digest;
use crate::run::Outcome;
use crate::run::result::TargetRun;
use crate::script::ast::Version;

/// In how many sessions a broken rule is told as it comes, after the first.
const AGAIN: u64 = 10;

/// What was broken, and by how many.
#[derive(Debug, Clone)]
struct Broken {
    first: Told,
    times: u64,
    sessions: u64,
}

#[derive(Debug, Default)]
struct Records {
    /// Of clients, by requirement: no more than there are requirements.
    broken: BTreeMap<&'static str, Broken>,
    /// Of this server itself, which should not be.
    own: BTreeMap<&'static str, Broken>,
    messages: u64,
    clients: u64,
    /// Open connections on which a client has said something.
    speaking: BTreeSet<u64>,
}

/// Collects what the judge tells of all connections.
pub(super) struct Bench {
    records: Mutex<Records>,
    /// The server breaks a rule on purpose: then only clients are judged.
    faulty: bool,
    began: Instant,
    ended: watch::Sender<u64>,
    print: Box<dyn Fn(&str) + Send + Sync>,
}

impl Bench {
    /// Prints by `print`, which must not fail.
    #[must_use]
    pub(super) fn new(faulty: bool, print: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self {
            records: Mutex::default(),
            faulty,
            began: Instant::now(),
            ended: watch::Sender::new(0),
            print: Box::new(print),
        }
    }

    fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection has ended; those of probes do not count.
    pub(super) fn closed(&self, connection: u64) {
        if self.records().speaking.remove(&connection) {
            self.ended.send_modify(|ended| *ended += 1);
        }
    }

    /// Waits until as many sessions have ended.
    pub(super) async fn ended(&self, wanted: u64) {
        // The sender lives as long as this does.
        let _ = self.ended.subscribe().wait_for(|ended| *ended >= wanted).await;
    }

    /// Whether a client has said anything.
    #[must_use]
    pub(super) fn has_heard(&self) -> bool {
        self.records().clients > 0
    }

    /// Whether a client broke a MUST.
    #[must_use]
    pub(super) fn has_failed(&self) -> bool {
        self.records().broken.values().any(|broken| broken.severity() == Severity::Failure)
    }

    /// The last lines: how much was heard, and what was broken.
    #[must_use]
    pub(super) fn summary(&self) -> String {
        let records = self.records();
        let mut out = String::new();
        for broken in records.broken.values() {
            let rule = broken.first.violation.requirement;
            let word = word(broken.severity());
            let _ = writeln!(out, "{word} {} ({}): {}", rule.id, rule.level.name(), broken.count());
        }
        let count = |wanted| records.broken.values().filter(|it| it.severity() == wanted).count();
        let (must, should) = (count(Severity::Failure), count(Severity::Warning));
        let (sessions, messages) = (records.clients, records.messages);
        let _ = writeln!(
            out,
            "{sessions} session{}, {messages} messages; rules broken by clients: {must} MUST, {should} SHOULD",
            if sessions == 1 { "" } else { "s" },
        );
        out
    }

    /// What the judge has against this server itself: a fault of nbdcheck.
    #[must_use]
    pub(super) fn own_faults(&self) -> Vec<String> {
        let records = self.records();
        let told = |broken: &Broken| {
            let Told { violation, connection, .. } = &broken.first;
            format!("session {connection}: {}: {}", violation.requirement.id, violation.text)
        };
        records.own.values().map(told).collect()
    }

    /// As a run with one outcome, for the reports; `again` is the command that serves again.
    #[must_use]
    pub(super) fn run(&self, name: &str, again: &str) -> TargetRun {
        let records = self.records();
        let findings: Vec<Finding> = records
            .broken
            .values()
            .map(|broken| {
                let place =
                    format!("session {} from {}", broken.first.connection, broken.first.peer);
                broken.first.finding(format!("{place}; {}", broken.count()))
            })
            .collect();
        let verdict = match Verdict::of(&findings) {
            Verdict::Pass if records.clients == 0 => Verdict::Skip,
            verdict => verdict,
        };
        let requirements = records.broken.keys().copied().collect();
        let heard = records.clients > 0;
        let outcome = Outcome {
            target: name.to_owned(),
            id: "sessions".to_owned(),
            title: format!(
                "what clients said in {} sessions, {} messages",
                records.clients, records.messages
            ),
            since: Version { major: 2, minor: 6 },
            feature: "client sessions".to_owned(),
            verdict,
            reason: (!heard).then(|| "no client came".to_owned()),
            skipped: (!heard).then_some(crate::run::SkipKind::NotPossible),
            duration: self.began.elapsed(),
            requirements,
            capture: None,
            findings,
            said: Vec::new(),
            again: again.to_owned(),
        };
        TargetRun {
            outcomes: vec![outcome],
            duration: self.began.elapsed(),
            ..TargetRun::new(name)
        }
    }
}

impl Broken {
    fn severity(&self) -> Severity {
        Severity::of(self.first.violation.requirement.level)
    }

    fn count(&self) -> String {
        let times =
            if self.times == 1 { "once".to_owned() } else { format!("{} times", self.times) };
        match self.sessions {
            1 => times,
            sessions => format!("{times} in {sessions} sessions"),
        }
    }
}

impl Court for Bench {
    fn told(&self, told: Told) {
        let client = told.violation.party == Side::Client;
        // On whichever connection the fault shows, a client may leave all of them for it.
        let leaves = is_about_leaving(told.violation.requirement);
        if self.faulty && (!client || leaves) {
            return;
        }
        let mut records = self.records();
        let broken = if client { &mut records.broken } else { &mut records.own };
        let new_session = u64::from(told.detail.is_some());
        let text = match broken.get_mut(told.violation.requirement.id) {
            Some(broken) => {
                broken.times += 1;
                broken.sessions += new_session;
                let again = new_session == 1 && broken.sessions <= AGAIN;
                if again { headline(&told) } else { String::new() }
            }
            None => {
                let text = full(&told);
                let first = Broken { first: told.clone(), times: 1, sessions: 1 };
                broken.insert(told.violation.requirement.id, first);
                text
            }
        };
        drop(records);
        if client && !text.is_empty() {
            (self.print)(&text);
        }
    }

    fn said(&self, connection: u64, seen: &Seen) {
        let mut records = self.records();
        records.messages += 1;
        if is_word_of_client(seen) && records.speaking.insert(connection) {
            records.clients += 1;
        }
    }
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Failure => "FAIL",
        Severity::Warning => "warn",
    }
}

/// One line of a violation.
fn headline(told: &Told) -> String {
    let rule = told.violation.requirement;
    let word = word(Severity::of(rule.level));
    let (session, peer) = (told.connection, &told.peer);
    let text = clean(&told.violation.text);
    format!("{word} session {session} from {peer}: {} ({}): {text}\n", rule.id, rule.level.name())
}

/// A violation with its section, its line and the conversation before.
fn full(told: &Told) -> String {
    let mut out = headline(told);
    let section = digest::sections(told.violation.requirement.section);
    let _ = writeln!(out, "     {section}");
    if let Some(detail) = &told.detail {
        if let Some(expected) = detail.expected.first() {
            let _ = writeln!(out, "     expected  {}", clean(expected));
        }
        let _ = writeln!(out, "     received  {}", clean(&detail.received));
        for (index, line) in detail.after.iter().enumerate() {
            let head = if index == 0 { "after" } else { "" };
            let _ = writeln!(out, "  {head:5}  {}", clean(line));
        }
    }
    out
}
