//! Mistakes that the grammar does not see, found before anything runs.

mod branches;
mod cookies;
mod header;
mod sent;
mod variables;
mod words;

use std::sync::Arc;

use protocol::nearest::did_you_mean;
use protocol::notation::ast::{MessageLine, Span, Spanned};
use protocol::requirements;

use super::ast::{Script, Source};
use super::error::ScriptError;
use super::walk;

pub(super) use branches::{Relation, relate};
pub use header::{COMPARED_NEEDS, PLAIN_NEEDS};
pub use words::FUNCTIONS;

/// What every check is given.
struct Checker<'s> {
    script: &'s Script,
    errors: Vec<ScriptError>,
}

impl Checker<'_> {
    fn source(&self) -> &Arc<Source> {
        &self.script.source
    }

    fn error(
        &self,
        span: Span,
        message: impl Into<String>,
        label: impl Into<String>,
    ) -> ScriptError {
        ScriptError::new(self.source(), span, message, label)
    }

    /// Whether the harness says this line.
    fn is_sent(&self, line: &MessageLine) -> bool {
        line.side != self.script.header.tests
    }

    fn ids(&mut self) {
        let tags = walk::all_ids(self.script);
        for id in self.script.header.checks.iter().chain(tags) {
            if requirements::find(&id.node).is_none() {
                let error = self.unknown_id(id);
                self.errors.push(error);
            }
        }
    }

    fn unknown_id(&self, id: &Spanned<String>) -> ScriptError {
        let known = requirements::all().iter().map(|requirement| requirement.id);
        let help = did_you_mean(&id.node, known).unwrap_or_else(|| {
            "the ids are in requirements.tsv; `nbdcheck explain` shows them".to_owned()
        });
        self.error(id.span, format!("unknown requirement `{}`", id.node), "not in the catalogue")
            .help(help)
    }
}

/// What makes no sense in a script that the grammar accepts, in the order of lines. A script
/// without such mistakes can be played.
#[must_use]
pub fn check(script: &Script) -> Vec<ScriptError> {
    let mut checker = Checker { script, errors: Vec::new() };
    checker.header();
    checker.ids();
    checker.words();
    checker.sent();
    checker.variables();
    checker.cookies();
    checker.branches();
    let mut errors = checker.errors;
    errors.sort_by_key(|error| error.span.start);
    errors
}
