//! Why a description is no message.

/// A description that stands for no message. Each tells which part of the line is to blame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// No message has this name.
    #[error("unknown message `{head}`")]
    UnknownHead {
        /// The first word.
        head: String,
        /// `did you mean ...?`
        help: Option<String>,
    },
    /// The word stands for no single message: `reply`, `end`, `bytes`.
    #[error("`{head}` is not a message")]
    NotAMessage {
        /// The first word.
        head: String,
    },
    /// The other side says this.
    #[error("`{head}` is said by the {side}")]
    WrongSide {
        /// The first word.
        head: String,
        /// `client` or `server`.
        side: &'static str,
    },
    /// The second word is missing.
    #[error("`{head}` needs {wanted} after it")]
    MissingVariant {
        /// The first word.
        head: String,
        /// What is wanted, with its article.
        wanted: &'static str,
    },
    /// The second word makes no sense there.
    #[error("`{variant}` is not {wanted}")]
    UnknownVariant {
        /// The second word.
        variant: String,
        /// What is wanted, with its article.
        wanted: &'static str,
        /// `did you mean ...?`
        help: Option<String>,
    },
    /// The message has no such field.
    #[error("`{head}` has no field `{key}`")]
    UnknownField {
        /// The first word.
        head: String,
        /// The field.
        key: String,
        /// `did you mean ...?`, or the fields it has.
        help: Option<String>,
    },
    /// A field stands twice.
    #[error("`{key}` appears twice")]
    Twice {
        /// The field.
        key: String,
    },
    /// A field without a default is missing.
    #[error("`{head}` needs the field `{key}`")]
    Missing {
        /// The first word.
        head: String,
        /// The field.
        key: &'static str,
    },
    /// The value is of another type.
    #[error("`{key}` is {wanted}, not `{found}`")]
    WrongType {
        /// The field.
        key: String,
        /// What is wanted, with its article.
        wanted: &'static str,
        /// The value.
        found: String,
    },
    /// A name that is not one of the field's.
    #[error("`{name}` is not {wanted}")]
    UnknownName {
        /// The field.
        key: String,
        /// The name.
        name: String,
        /// What is wanted, with its article.
        wanted: &'static str,
        /// `did you mean ...?`
        help: Option<String>,
    },
    /// The number does not fit its place on the wire.
    #[error("{value} is too large for `{key}`, which is at most {limit}")]
    TooLarge {
        /// The field.
        key: String,
        /// The number.
        value: u64,
        /// The largest that fits.
        limit: u64,
    },
    /// Fields that can't stand together, or a field that has no place in this form.
    #[error("`{key}` is not allowed here: {why}")]
    Conflict {
        /// The field.
        key: String,
        /// Why.
        why: &'static str,
    },
}

/// The part of a line that an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame<'a> {
    /// The first word; for a missing field too.
    Head,
    /// The second word.
    Variant,
    /// This field.
    Field(&'a str),
}

impl BuildError {
    /// The part of the line that the error is about.
    #[must_use]
    pub fn blame(&self) -> Blame<'_> {
        match self {
            Self::UnknownHead { .. }
            | Self::NotAMessage { .. }
            | Self::WrongSide { .. }
            | Self::MissingVariant { .. }
            | Self::Missing { .. } => Blame::Head,
            Self::UnknownVariant { .. } => Blame::Variant,
            Self::UnknownField { key, .. }
            | Self::Twice { key }
            | Self::WrongType { key, .. }
            | Self::UnknownName { key, .. }
            | Self::TooLarge { key, .. }
            | Self::Conflict { key, .. } => Blame::Field(key),
        }
    }

    /// What to write instead, if that can be told.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        match self {
            Self::UnknownHead { help, .. }
            | Self::UnknownVariant { help, .. }
            | Self::UnknownField { help, .. }
            | Self::UnknownName { help, .. } => help.clone(),
            Self::Missing { key, .. } => Some(format!("add `{key}=...`")),
            _ => None,
        }
    }
}
