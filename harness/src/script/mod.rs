//! Scenario scripts: what they say, how they are read, checked and formatted.

use std::sync::Arc;

pub mod ast;
mod body;
pub mod check;
pub mod error;
mod format;
#[cfg(test)]
mod format_tests;
mod header;
pub mod library;
mod lint;
mod oversteps;
#[cfg(test)]
mod tests;
mod version;
pub(crate) mod walk;

pub use check::check;
pub use error::{ScriptError, render};
pub use format::format;
pub use lint::{lint, youngest};
pub use version::NotAVersion;

use ast::{Script, Source};

/// Reads a script. `id` is the path below `scenarios/` without `.nbd`, `path` is what messages
/// show.
///
/// # Errors
/// Every mistake of grammar, in the order of lines. What is grammatical may still make no sense.
pub fn parse(id: &str, path: &str, text: &str) -> Result<Script, Vec<ScriptError>> {
    let source = Arc::new(Source::new(path, text));
    let mut errors = Vec::new();
    let (lines, body_start) = header::split(&source, &mut errors);
    let header = header::read(&source, &lines, &mut errors);
    let body = body::read(&source, body_start, &mut errors);
    match header {
        Some(header) if errors.is_empty() => {
            Ok(Script { id: id.to_owned(), source, header, body: body.statements })
        }
        _ => {
            errors.sort_by_key(|error| error.span.start);
            Err(errors)
        }
    }
}

/// Reads and checks a script: what it gives can be played.
///
/// # Errors
/// Every mistake of grammar or, if there is none, every mistake of sense.
pub fn load(id: &str, path: &str, text: &str) -> Result<Script, Vec<ScriptError>> {
    let script = parse(id, path, text)?;
    let errors = check(&script);
    if errors.is_empty() { Ok(script) } else { Err(errors) }
}

impl Script {
    /// Every requirement that a line is tagged with or a branch warns of, each once.
    #[must_use]
    pub fn requirements(&self) -> std::collections::BTreeSet<&str> {
        walk::all_ids(self).into_iter().map(|id| id.node.as_str()).collect()
    }
}
