//! The progress line on a terminal.

use std::collections::BTreeSet;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::finding::Verdict;
use crate::run::result::Event;

/// A line that tells how far a target's run has come; silent where there is no terminal.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    running: BTreeSet<String>,
    failed: usize,
}

impl Progress {
    /// For a target with this many scenarios.
    #[must_use]
    pub fn new(target: &str, total: usize, visible: bool) -> Self {
        let bar = if visible { ProgressBar::new(total as u64) } else { ProgressBar::hidden() };
        // The template is constant, so it can't be wrong only at times; without it there is a
        // plainer line.
        if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:24} {pos}/{len} {wide_msg}")
        {
            bar.set_style(style);
        }
        bar.set_prefix(target.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, running: BTreeSet::new(), failed: 0 }
    }

    /// Something has happened.
    pub fn on(&mut self, event: &Event) {
        match event {
            Event::Started { id } => {
                self.running.insert(id.clone());
            }
            Event::Done(outcome) => {
                self.running.remove(&outcome.id);
                if outcome.verdict == Verdict::Fail {
                    self.failed += 1;
                }
                self.bar.inc(1);
            }
            Event::Note(_) => {}
        }
        let running = self.running.iter().next().map_or("", String::as_str);
        let message = match self.failed {
            0 => running.to_owned(),
            failed => format!("{failed} failed  {running}"),
        };
        self.bar.set_message(message);
    }

    /// Prints a line above it, or just prints it where there is no terminal.
    pub fn say(&self, line: &str) {
        if self.bar.is_hidden() {
            crate::say!("{line}");
        } else {
            self.bar.println(line);
        }
    }

    /// The run is over: the line goes away.
    pub fn finish(self) {
        self.bar.finish_and_clear();
    }
}
