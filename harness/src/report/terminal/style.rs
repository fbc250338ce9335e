//! How the terminal's report looks: colours and width.

use anstyle::{AnsiColor, Style};

use crate::markup;

pub(super) const GOOD: Style = AnsiColor::Green.on_default();
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();
pub(super) const DOUBT: Style = AnsiColor::Yellow.on_default();
pub(super) const QUIET: Style = AnsiColor::BrightBlack.on_default();
pub(super) const STRONG: Style = Style::new().bold();

/// How wide a list in a paragraph is, in characters, without what stands before it.
const WIDTH: usize = 100;

pub(super) fn styled(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// What is wanted of the text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct View {
    /// Warnings count as failures.
    pub strict: bool,
    /// Everything: each failed scenario, each skip with its evidence, the counts of each feature.
    pub verbose: bool,
}

/// A text in lines of at most [`WIDTH`] characters.
pub(super) fn wrapped(text: &str) -> Vec<String> {
    markup::wrapped(text, WIDTH)
}
