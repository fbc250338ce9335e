//! Why a command ends without an answer: one type for all commands.

use std::fmt::{self, Display};
use std::io;

use crate::exit;

/// What a command could not do: a message, what may help, and the exit status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandError {
    text: Text,
    status: u8,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Text {
    /// For people; the message may bring lines with hints of its own.
    Message { message: String, hint: Option<String> },
    /// A script's mistakes, shown with their lines and carets already.
    Script(String),
}

impl CommandError {
    fn new(message: impl Display, status: u8) -> Self {
        Self { text: Text::Message { message: message.to_string(), hint: None }, status }
    }

    /// The command line asks for what is not there, or makes no sense.
    pub(super) fn usage(message: impl Display) -> Self {
        Self::new(message, exit::USAGE)
    }

    /// The answer is no, and there is no more to it.
    pub(super) fn failed(message: impl Display) -> Self {
        Self::new(message, exit::FAILED)
    }

    /// There is no answer.
    pub(super) fn no_verdict(message: impl Display) -> Self {
        Self::new(message, exit::NO_VERDICT)
    }

    /// A script has mistakes, which are shown already as people read them.
    pub(super) fn script(shown: String) -> Self {
        Self { text: Text::Script(shown), status: exit::USAGE }
    }

    /// Something that was to be read can't be, and without it there is no answer.
    pub(super) fn cannot_read(what: impl Display, error: &io::Error) -> Self {
        Self::no_verdict(format_args!("can't read {what}: {error}"))
    }

    /// Something that was to be written can't be.
    pub(super) fn cannot_write(what: impl Display, error: &io::Error) -> Self {
        Self::no_verdict(format_args!("can't write {what}: {error}"))
    }

    /// The same, with what may help.
    pub(super) fn hint(mut self, text: impl Display) -> Self {
        if let Text::Message { hint, .. } = &mut self.text {
            *hint = Some(text.to_string());
        }
        self
    }

    #[cfg(test)]
    pub(super) fn status(&self) -> u8 {
        self.status
    }

    /// Says it on standard error; returns the exit status.
    pub(super) fn tell(&self) -> u8 {
        crate::output::tell(&self.to_string());
        self.status
    }
}

impl Display for CommandError {
    /// All lines, as they are printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Text::Message { message, hint } => {
                writeln!(f, "error: {message}")?;
                hint.as_ref().map_or(Ok(()), |hint| writeln!(f, "hint: {hint}"))
            }
            Text::Script(shown) => f.write_str(shown),
        }
    }
}
