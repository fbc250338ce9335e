//! What is wrong with a text in the notation.

use super::ast::Span;

/// A mistake, its place, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct NotationError {
    /// Where, in bytes of the text; may be empty at the end of a line.
    pub span: Span,
    /// What is wrong: `unknown option type`.
    pub message: String,
    /// What was expected at the place; stands under the caret.
    pub label: String,
    /// What to write instead, if that can be told.
    pub help: Option<String>,
}

impl NotationError {
    /// A mistake without advice.
    pub fn new(span: Span, message: impl Into<String>, label: impl Into<String>) -> Self {
        Self { span, message: message.into(), label: label.into(), help: None }
    }

    /// With advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// With advice, if there is any.
    #[must_use]
    pub fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help.or(self.help);
        self
    }
}
