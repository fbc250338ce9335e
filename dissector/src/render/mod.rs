//! Records as text for people and JSON for programs.
//!
//! Everything a peer sent is escaped before it is printed: strings by their `Display`, everything
//! else is made of numbers and names.

mod harmless;
mod json;
mod only;
mod summary;
mod text;
mod time;
mod tree;

use std::io;

pub use crate::plural::Plural;
pub use json::JsonRenderer;
pub use only::Only;
pub use summary::SummaryRenderer;
pub use text::{TextOptions, TextRenderer, TimeFormat};
pub(crate) use time::Stretch;
pub use time::{Seconds, Utc};
pub use tree::TreeRenderer;

use crate::dissect::Sink;

/// A sink that writes.
pub trait Renderer: Sink {
    /// Writes what comes at the end and flushes.
    ///
    /// # Errors
    /// Writing has failed, now or before.
    fn finish(&mut self) -> io::Result<()>;
}

/// A writer that remembers its first error, after which it writes nothing.
struct Out<W> {
    writer: W,
    error: Option<io::Error>,
}

impl<W: io::Write> Out<W> {
    fn new(writer: W) -> Self {
        Self { writer, error: None }
    }

    fn write(&mut self, write: impl FnOnce(&mut W) -> io::Result<()>) {
        if self.error.is_none() {
            self.error = write(&mut self.writer).err();
        }
    }

    fn is_broken(&self) -> bool {
        self.error.is_some()
    }

    fn finish(&mut self) -> io::Result<()> {
        match self.error.take() {
            Some(error) => Err(error),
            None => self.writer.flush(),
        }
    }
}
