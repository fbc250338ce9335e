//! How a session was used, and how fast it was: `--stats`.
//!
//! Memory is bounded: histograms and time lines have a fixed size, requests are remembered only
//! while they have no complete reply, and no more of them than [`REMEMBERED`].

mod render;
mod session;
#[cfg(test)]
mod tests;
mod timeline;

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::dissect::{Record, Sink};
use crate::render::Renderer;
pub use session::{CommandStats, REMEMBERED, SessionStats, Slow};
pub use timeline::Timeline;

/// Writes the statistics of each session when it ends.
pub struct StatsRenderer<W> {
    writer: W,
    json: bool,
    begun: bool,
    error: Option<io::Error>,
    sessions: BTreeMap<u64, SessionStats>,
}

impl<W: Write> StatsRenderer<W> {
    /// Writes text to this, or with `json` an object a line.
    pub fn new(writer: W, json: bool) -> Self {
        Self { writer, json, begun: false, error: None, sessions: BTreeMap::new() }
    }

    /// Gives the writer back.
    pub fn into_inner(self) -> W {
        self.writer
    }

    fn write(&mut self, write: impl FnOnce(&mut W) -> io::Result<()>) {
        if self.error.is_none() {
            self.error = write(&mut self.writer).err();
        }
    }
}

impl<W: Write> Sink for StatsRenderer<W> {
    fn record(&mut self, record: Record<'_>) {
        match record {
            Record::Message(info, seen) => {
                let stats = self.sessions.entry(info.number).or_default();
                stats.message(info.start_ns, seen);
            }
            Record::Closed(info, totals) => {
                let stats = self.sessions.remove(&info.number).unwrap_or_default();
                let gap = if std::mem::replace(&mut self.begun, true) { "\n" } else { "" };
                if self.json {
                    self.write(|out| render::json(out, info, totals, &stats));
                } else {
                    self.write(|out| {
                        out.write_all(gap.as_bytes())?;
                        render::text(out, info, totals, &stats)
                    });
                }
            }
            _ => {}
        }
    }

    fn is_done(&self) -> bool {
        self.error.is_some()
    }
}

impl<W: Write> Renderer for StatsRenderer<W> {
    fn finish(&mut self) -> io::Result<()> {
        match self.error.take() {
            Some(error) => Err(error),
            None => self.writer.flush(),
        }
    }
}
