//! Scenarios, with their mistakes as text for people.

use std::sync::Arc;

use crate::script::ast::Script;
use crate::script::{self, ScriptError, library};

/// The scenario that runs first and last against a target.
pub const SANITY: &str = "2.6-base/sanity";

/// Every embedded scenario, sorted by id.
///
/// # Errors
/// Their mistakes, with line and caret.
pub fn all() -> Result<Vec<Arc<Script>>, String> {
    library::scripts().map_err(|errors| shown(&errors))
}

/// One embedded scenario.
#[must_use]
pub fn find(id: &str) -> Option<Arc<Script>> {
    library::entries().iter().find(|entry| entry.id == id)?.load().ok()
}

/// A script of the user's own.
///
/// # Errors
/// Its mistakes, with line and caret.
pub fn load(id: &str, path: &str, text: &str) -> Result<Script, String> {
    script::load(id, path, text).map_err(|errors| shown(&errors))
}

fn shown(errors: &[ScriptError]) -> String {
    let choice = anstream::AutoStream::choice(&std::io::stderr());
    script::render(errors, choice != anstream::ColorChoice::Never)
}
