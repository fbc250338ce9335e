//! Scenario scripts: what they say, how they are read, checked and formatted.

use std::sync::Arc;

pub mod ast;
mod body;
pub mod error;
mod header;
#[cfg(test)]
mod tests;
mod version;

pub use error::{ScriptError, render};
pub use version::NotAVersion;

use ast::{Script, Source};

/// Reads a script. `id` is the path below `scenarios/` without `.nbd`, `path` is what messages
/// show.
///
/// # Errors
/// Every mistake of grammar, in the order of lines. What is grammatical may still make no sense.
pub fn parse(id: &str, path: &str, text: &str) -> Result<Script, Vec<ScriptError>> {
    let source = Arc::new(Source { path: path.to_owned(), text: text.to_owned() });
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
