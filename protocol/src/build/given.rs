//! What a line states for one field.

use crate::describe::Value;
use crate::nearest::did_you_mean;
use crate::notation::field::FieldKind;
use crate::values::parse_number;

use super::error::BuildError;

/// What a line states for a field.
pub(crate) struct Given<'a> {
    pub(super) key: &'a str,
    pub(super) kind: FieldKind,
    pub(crate) value: &'a Value,
}

impl Given<'_> {
    pub(crate) fn int(&self) -> Result<u64, BuildError> {
        match self.value {
            Value::Int(n) | Value::Hex(n) => self.limited(*n),
            _ => Err(self.wrong()),
        }
    }

    /// A number, or a name that stands for one.
    pub(crate) fn named(&self) -> Result<u64, BuildError> {
        match self.value {
            Value::Name(name) => self.kind.number(name).ok_or_else(|| self.unknown(name)),
            _ => self.int(),
        }
    }

    /// The bits of a set of flags.
    pub(crate) fn flags(&self) -> Result<u64, BuildError> {
        match self.value {
            Value::Names(names) => names.iter().try_fold(0, |bits, name| {
                self.kind.number(name).map(|flag| bits | flag).ok_or_else(|| self.unknown(name))
            }),
            Value::Ids(masks) => {
                self.limited(masks.iter().fold(0, |bits, mask| bits | u64::from(*mask)))
            }
            _ if self.is_empty_set() => Ok(0),
            _ => self.int(),
        }
    }

    /// The number of an information type, by its name or as it is.
    pub(crate) fn info(&self, name: &str) -> Result<u64, BuildError> {
        let number = self.kind.number(name).or_else(|| parse_number(name));
        number.ok_or_else(|| self.unknown(name))
    }

    /// Whether it is an empty set, which is one of whatever the field wants.
    pub(crate) fn is_empty_set(&self) -> bool {
        match self.value {
            Value::Names(names) => names.is_empty(),
            Value::Texts(texts) => texts.is_empty(),
            Value::Ids(ids) => ids.is_empty(),
            Value::Extents(extents) => extents.is_empty(),
            _ => false,
        }
    }

    /// The number, if the field has room for it.
    pub(crate) fn limited(&self, value: u64) -> Result<u64, BuildError> {
        self.at_most(value, self.kind.limit().unwrap_or(u64::MAX))
    }

    pub(crate) fn at_most(&self, value: u64, limit: u64) -> Result<u64, BuildError> {
        at_most(self.key, value, limit)
    }

    /// The error that it can't stand here.
    pub(crate) fn conflict(&self, why: &'static str) -> BuildError {
        BuildError::Conflict { key: self.key.to_owned(), why }
    }

    /// The error that it is of another type.
    pub(crate) fn wrong(&self) -> BuildError {
        BuildError::WrongType {
            key: self.key.to_owned(),
            wanted: self.kind.wanted(),
            found: self.value.to_string(),
        }
    }

    pub(super) fn unknown(&self, name: &str) -> BuildError {
        BuildError::UnknownName {
            key: self.key.to_owned(),
            name: name.to_owned(),
            wanted: self.kind.wanted_item(),
            help: did_you_mean(name, self.kind.names()),
        }
    }
}

/// The number, or the error that it is too large for the field.
pub(crate) fn at_most(key: &str, value: u64, limit: u64) -> Result<u64, BuildError> {
    if value > limit {
        return Err(BuildError::TooLarge { key: key.to_owned(), value, limit });
    }
    Ok(value)
}
