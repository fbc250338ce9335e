//! Ending a run early: the server is dead, time is up, or enough has failed. What was not run is
//! said to be so.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::finding::{EventKind, Finding, Sent, Verdict};
use crate::run::Outcome;
use crate::run::deviations::{Deviations, counts};

/// After how many failures a server that answers nothing has been tested enough.
const MUTE: usize = 5;

/// When a run ends before its last scenario.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// How long everything may take, and when that is over.
    pub time: Option<(Duration, Instant)>,
    /// How many scenarios may fail.
    pub failures: Option<usize>,
    /// Warnings count as failures.
    pub strict: bool,
    /// Known deviations, which do not count.
    pub record: Deviations,
    /// How many have failed, of all targets.
    pub failed: Arc<AtomicUsize>,
}

impl Limits {
    fn time_is_up(&self) -> Option<String> {
        let (time, end) = self.time?;
        (Instant::now() >= end).then(|| format!("time is up: --max-time {}", time.as_secs_f64()))
    }

    fn enough_failed(&self) -> Option<String> {
        let most = self.failures?;
        (self.failed.load(Ordering::Relaxed) >= most).then(|| match most {
            1 => "one scenario has failed: --fail-fast".to_owned(),
            most => format!("{most} scenarios have failed: --max-fail {most}"),
        })
    }

    fn count(&self, outcome: &Outcome) {
        let mut outcome = outcome.clone();
        self.record.mark(&mut outcome);
        if counts(&outcome, self.strict) {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Whether a run goes on.
pub(in crate::run) struct Halt {
    limits: Limits,
    reason: watch::Sender<Option<String>>,
    silent: AtomicUsize,
    /// How many scenarios have failed by a request that was not answered.
    unserved: AtomicUsize,
}

impl Halt {
    pub(in crate::run) fn new(limits: Limits) -> Self {
        Self {
            limits,
            reason: watch::Sender::new(None),
            silent: AtomicUsize::new(0),
            unserved: AtomicUsize::new(0),
        }
    }

    /// Ends the run; the first reason stands.
    pub(super) fn stop(&self, reason: String) {
        self.reason.send_if_modified(|stands| {
            let first = stands.is_none();
            if first {
                *stands = Some(reason);
            }
            first
        });
    }

    /// Why the run has ended.
    pub(in crate::run) fn reason(&self) -> Option<String> {
        if let Some(reason) = self.limits.time_is_up().or_else(|| self.limits.enough_failed()) {
            self.stop(reason);
        }
        self.reason.borrow().clone()
    }

    /// Returns when the run has ended.
    pub(in crate::run) async fn stopped(&self) -> String {
        let mut changes = self.reason.subscribe();
        loop {
            if let Some(reason) = self.reason() {
                return reason;
            }
            let end = self.limits.time.map(|(_, end)| tokio::time::Instant::from_std(end));
            let time = async {
                match end {
                    Some(end) => tokio::time::sleep_until(end).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = changes.changed() => {
                    // The sender is ours.
                    drop(changed);
                }
                () = time => {}
            }
        }
    }

    /// Whether enough scenarios have failed by requests that were not answered.
    pub(in crate::run) fn is_unserved(&self) -> bool {
        self.unserved.load(Ordering::Relaxed) >= MUTE
    }

    /// Takes note of how a scenario came out; `mute` is a server that answers nothing at all.
    pub(in crate::run) fn note(&self, outcome: &Outcome, mute: bool) {
        self.limits.count(outcome);
        let unanswered = |finding: &Finding| {
            let silence = matches!(finding.detail.event, EventKind::Timeout | EventKind::Stalled);
            silence && matches!(finding.detail.sent, Sent::Request(_))
        };
        if outcome.findings.iter().any(unanswered) {
            self.unserved.fetch_add(1, Ordering::Relaxed);
        }
        if !mute {
            return;
        }
        let silence = |outcome: &Outcome| {
            outcome.findings.iter().any(|finding| finding.detail.event == EventKind::Timeout)
        };
        if outcome.verdict == Verdict::Fail
            && silence(outcome)
            && self.silent.fetch_add(1, Ordering::Relaxed) + 1 >= MUTE
        {
            self.stop("the server greets and answers nothing that it is asked".to_owned());
        }
    }
}
