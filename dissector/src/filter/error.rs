//! What is wrong with a filter.

use std::fmt;

use protocol::notation::ast::Span;
use protocol::notation::error::NotationError;

/// How many characters of a text are shown.
const SHOWN: usize = 120;

/// Why a text is no filter, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct FilterError {
    text: String,
    span: Span,
    message: String,
    hint: Option<String>,
}

/// A mistake at a place of the text that was read.
#[derive(Debug)]
pub(super) struct Mistake {
    pub(super) span: Span,
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl Mistake {
    pub(super) fn new(span: Span, message: impl Into<String>, hint: Option<String>) -> Self {
        Self { span, message: message.into(), hint }
    }

    /// In this text, at this place of it.
    pub(super) fn within(self, text: &str, span: Span) -> FilterError {
        let Self { message, hint, .. } = self;
        FilterError { text: text.to_owned(), span, message, hint }
    }
}

impl From<NotationError> for Mistake {
    fn from(error: NotationError) -> Self {
        let NotationError { span, message, label, help } = error;
        Self { span, message: format!("{message}: {label}"), hint: help }
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text, span, message, hint } = self;
        // A control character would put the caret elsewhere, or worse.
        let shown = text.chars().map(|c| if c.is_control() { ' ' } else { c });
        let width = |part: Option<&str>| part.map_or(0, |part| part.chars().count());
        let before = width(text.get(..span.start));
        let marked = width(text.get(span.start..span.end)).clamp(1, SHOWN);
        // Of a long text only what is near the place.
        let left_out = match width(Some(text)) {
            all if all > SHOWN => before.saturating_sub(SHOWN / 2),
            _ => 0,
        };
        let shown: String = shown.skip(left_out).take(SHOWN).collect();
        let before = before - left_out;
        write!(f, "not a filter: {message}\n    {shown}\n    {:before$}{:^<marked$}", "", "")?;
        match hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}
