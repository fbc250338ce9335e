//! The run that is under way: what it has brought so far is not lost when it is interrupted.

use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use dissector::render::Plural;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::announce::Announcer;
use super::progress::Progress;
use crate::run::Outcome;
use crate::run::deviations::Deviations;
use crate::run::result::{Event, TargetRun};

/// Follows the events of one run after another.
#[derive(Default)]
pub struct Begun {
    current: Mutex<Option<Current>>,
    /// Whether failures are told as they happen, and with them warnings.
    announces: Option<bool>,
}

struct Current {
    name: String,
    known: Deviations,
    total: usize,
    since: Instant,
    outcomes: Arc<Mutex<Vec<Outcome>>>,
    watcher: JoinHandle<()>,
}

impl Begun {
    /// One that tells failures as they happen, on standard error; with `strict` warnings too.
    #[must_use]
    pub fn announcing(strict: bool) -> Self {
        Self { announces: Some(strict), ..Self::default() }
    }

    /// A run of `total` scenarios begins; gives where its events go.
    #[must_use]
    pub fn begin(
        &self,
        name: &str,
        known: Deviations,
        total: usize,
    ) -> mpsc::UnboundedSender<Event> {
        let (sender, mut events) = mpsc::unbounded_channel();
        let outcomes: Arc<Mutex<Vec<Outcome>>> = Arc::default();
        let mut progress = Progress::new(name, total, std::io::stderr().is_terminal());
        let mut announcer = self.announces.map(|strict| Announcer::new(known.clone(), strict));
        let done = outcomes.clone();
        let watcher = tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                progress.on(&event);
                if let Event::Note(text) = &event {
                    progress.say(text);
                }
                if let Event::Done(outcome) = event {
                    let line = announcer.as_mut().and_then(|it| it.line(&outcome));
                    if let Some(line) = line {
                        progress.say(&line);
                    }
                    locked(&done).push(*outcome);
                }
            }
            progress.finish();
        });
        let name = name.to_owned();
        *locked(&self.current) =
            Some(Current { name, known, total, since: Instant::now(), outcomes, watcher });
        sender
    }

    /// The run has come to its end.
    pub async fn end(&self) {
        let current = locked(&self.current).take();
        if let Some(current) = current {
            // It ends with the last sender of events; a panic in it costs the display only.
            let _ = current.watcher.await;
        }
    }

    /// What the interrupted run has brought, if there is one, and its record of deviations.
    #[must_use]
    pub fn take(&self) -> Option<(TargetRun, Deviations)> {
        let current = locked(&self.current).take()?;
        let mut outcomes = std::mem::take(&mut *locked(&current.outcomes));
        // The sanity scenario runs twice.
        outcomes.sort_by(|a, b| a.id.cmp(&b.id).then(b.verdict.cmp(&a.verdict)));
        outcomes.dedup_by(|a, b| a.id == b.id);
        let duration = current.since.elapsed().max(Duration::from_millis(1));
        let run = TargetRun {
            problem: Some(format!(
                "interrupted after {} of {}",
                outcomes.len(),
                Plural(current.total as u64, "scenario")
            )),
            outcomes,
            started: SystemTime::now() - duration,
            duration,
            ..TargetRun::new(&current.name)
        };
        Some((run, current.known))
    }
}

/// Whoever panicked with the lock left whole values behind.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Verdict;

    #[tokio::test]
    async fn an_interrupted_run_keeps_what_it_has_brought() {
        let begun = Begun::default();
        let events = begun.begin("example", Deviations::default(), 3);
        for (id, verdict) in [("b", Verdict::Pass), ("a", Verdict::Pass), ("b", Verdict::Fail)] {
            let outcome = crate::report::tests::outcome(id, verdict, Vec::new());
            events.send(Event::Done(Box::new(outcome))).unwrap();
        }
        // Until the watcher has seen them all.
        events.send(Event::Started { id: "c".to_owned() }).unwrap();
        while !events.is_closed() && begun.seen() < 3 {
            tokio::task::yield_now().await;
        }
        let (run, _) = begun.take().unwrap();
        let outcomes: Vec<_> =
            run.outcomes.iter().map(|outcome| (outcome.id.as_str(), outcome.verdict)).collect();
        assert_eq!(outcomes, [("a", Verdict::Pass), ("b", Verdict::Fail)]);
        assert_eq!(run.problem.as_deref(), Some("interrupted after 2 of 3 scenarios"));
        assert!(begun.take().is_none());
    }

    impl Begun {
        fn seen(&self) -> usize {
            locked(&self.current).as_ref().map_or(0, |current| locked(&current.outcomes).len())
        }
    }
}
