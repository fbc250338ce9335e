//! Mistakes in scripts, shown with the line and a caret.

use std::fmt;
use std::sync::Arc;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError,
    MietteSpanContents, Severity, SourceCode, SourceSpan, SpanContents,
};
use protocol::notation::ast::Span;
use protocol::notation::error::NotationError;

use super::ast::Source;

/// A mistake in a script, or (from [`super::lint`]) something that should be better.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ScriptError {
    /// The script.
    pub source_text: Arc<Source>,
    /// Where, in bytes of the text.
    pub span: Span,
    /// What is wrong.
    pub message: String,
    /// What stands under the caret.
    pub label: String,
    /// What to do about it.
    pub help: Option<String>,
    /// A second place that has to do with it, and what it is.
    pub related: Option<(Span, String)>,
    /// Whether it is only advice.
    pub advice: bool,
}

impl ScriptError {
    /// A mistake without advice.
    pub fn new(
        source: &Arc<Source>,
        span: Span,
        message: impl Into<String>,
        label: impl Into<String>,
    ) -> Self {
        Self {
            source_text: Arc::clone(source),
            span,
            message: message.into(),
            label: label.into(),
            help: None,
            related: None,
            advice: false,
        }
    }

    /// A mistake that the notation's parser found.
    #[must_use]
    pub fn notation(source: &Arc<Source>, error: NotationError) -> Self {
        let NotationError { span, message, label, help } = error;
        Self { help, ..Self::new(source, span, message, label) }
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

    /// With a second place.
    #[must_use]
    pub fn related(mut self, span: Span, label: impl Into<String>) -> Self {
        self.related = Some((span, label.into()));
        self
    }

    /// As advice only.
    #[must_use]
    pub fn as_advice(mut self) -> Self {
        self.advice = true;
        self
    }

    /// The 1-based line of the mistake.
    #[must_use]
    pub fn line(&self) -> usize {
        self.source_text.line_of(self.span.start)
    }
}

fn source_span(span: Span) -> SourceSpan {
    SourceSpan::from((span.start, span.end.saturating_sub(span.start)))
}

impl SourceCode for Source {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let contents = self.text.as_str().read_span(span, before, after)?;
        Ok(Box::new(MietteSpanContents::new_named(
            self.path.clone(),
            contents.data(),
            *contents.span(),
            contents.line(),
            contents.column(),
            contents.line_count(),
        )))
    }
}

impl Diagnostic for ScriptError {
    fn severity(&self) -> Option<Severity> {
        Some(if self.advice { Severity::Warning } else { Severity::Error })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(self.source_text.as_ref())
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let own =
            LabeledSpan::new_primary_with_span(Some(self.label.clone()), source_span(self.span));
        let other = self.related.as_ref().map(|(span, label)| {
            LabeledSpan::new_with_span(Some(label.clone()), source_span(*span))
        });
        Some(Box::new(std::iter::once(own).chain(other)))
    }
}

/// All mistakes as text for people, with the line, a caret and the advice.
#[must_use]
pub fn render(errors: &[ScriptError], colour: bool) -> String {
    let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(100).with_links(false);
    let mut text = String::new();
    for error in errors {
        if handler.render_report(&mut text, error).is_err() {
            // A place outside the text can't be drawn; the message alone is still worth saying.
            text += &format!("{}:{}: {error}\n", error.source_text.path, error.line());
        }
    }
    text
}
