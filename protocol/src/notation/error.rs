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

/// The known words that look like `word`, nearest first, at most three, and none that is much less
/// like it than the nearest.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let lower = word.to_ascii_lowercase();
    let mut near: Vec<(f64, &str)> = known
        .into_iter()
        .map(|candidate| {
            (
                strsim::normalized_damerau_levenshtein(&lower, &candidate.to_ascii_lowercase()),
                candidate,
            )
        })
        .filter(|(score, _)| *score >= 0.6)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    near.dedup_by(|a, b| a.1 == b.1);
    let best = near.first().map_or(0.0, |(score, _)| *score);
    near.into_iter()
        .take(3)
        .take_while(|(score, _)| best - score < 0.1)
        .map(|(_, candidate)| candidate)
        .collect()
}

/// `did you mean ...?`, if a known word is near.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let near = nearest(word, known);
    let (last, rest) = near.split_last()?;
    let mut list = String::new();
    for (index, word) in rest.iter().enumerate() {
        list += &format!("{}`{word}`", if index > 0 { ", " } else { "" });
    }
    let or = if rest.is_empty() { "" } else { " or " };
    Some(format!("did you mean {list}{or}`{last}`?"))
}
