//! The fields of a line, looked up by name and read as what the message wants.

use crate::describe::Value;
use crate::message::Held;
use crate::message::parts::{DATA, Fallback, Grammar, Part, Source};
use crate::nearest::did_you_mean;
use crate::notation::vocabulary::{FieldKind, FieldSpec, Head};
use crate::payload::Payload;
use crate::values::parse_number;

use super::error::BuildError;

/// The fields of one line; every one is known to belong to its message.
pub(crate) struct Fields<'a> {
    head: &'a str,
    specs: Vec<FieldSpec>,
    given: &'a [(String, Value)],
}

/// Data that no layout describes.
pub(crate) enum Data {
    /// Given byte by byte.
    Raw(Vec<u8>),
    /// Given as a pattern.
    Bulk(Payload),
}

impl<'a> Fields<'a> {
    pub(super) fn new(
        word: &'a str,
        head: Head,
        variant: Option<&str>,
        given: &'a [(String, Value)],
    ) -> Result<Self, BuildError> {
        let fields = Self { head: word, specs: head.fields(variant), given };
        for (index, (key, _)) in given.iter().enumerate() {
            if !fields.specs.iter().any(|spec| spec.key == key) {
                return Err(BuildError::UnknownField {
                    head: word.to_owned(),
                    key: key.clone(),
                    help: fields.help(key),
                });
            }
            if given[..index].iter().any(|(earlier, _)| earlier == key) {
                return Err(BuildError::Twice { key: key.clone() });
            }
        }
        Ok(fields)
    }

    fn help(&self, key: &str) -> Option<String> {
        let keys: Vec<&str> = self.specs.iter().map(|spec| spec.key).collect();
        did_you_mean(key, keys.iter().copied())
            .or_else(|| (!keys.is_empty()).then(|| format!("its fields are {}", keys.join(", "))))
    }

    fn get(&self, key: &'a str) -> Option<Given<'a>> {
        let spec = self.specs.iter().find(|spec| spec.key == key)?;
        let (_, value) = self.given.iter().find(|(given, _)| given == key)?;
        Some(Given { key, kind: spec.kind, value })
    }

    pub(crate) fn has(&self, key: &'static str) -> bool {
        self.get(key).is_some()
    }

    /// The part, if the line states it.
    pub(crate) fn find<T: Held>(&self, part: &Part) -> Result<Option<T>, BuildError> {
        self.get(part.key).map(|given| T::given(&given, part)).transpose()
    }

    /// The part, or what the conversation says in its place.
    pub(crate) fn part_or<T: Held>(&self, part: &Part, or: Option<T>) -> Result<T, BuildError> {
        self.find(part)?.or(or).ok_or_else(|| self.missing(part.key))
    }

    /// The error that a field is missing.
    pub(crate) fn missing(&self, key: &'static str) -> BuildError {
        BuildError::Missing { head: self.head.to_owned(), key }
    }

    /// An error if the field is given although it has no place here.
    pub(crate) fn refuse(&self, key: &'static str, why: &'static str) -> Result<(), BuildError> {
        self.get(key).map_or(Ok(()), |given| Err(given.conflict(why)))
    }

    /// `form=extended`: whether it says so; `None` where nothing is said.
    pub(crate) fn extended(&self) -> Result<Option<bool>, BuildError> {
        let Some(given) = self.get("form") else { return Ok(None) };
        match given.value {
            Value::Name(form) if given.kind.accepts_name(form) => Ok(Some(form == "extended")),
            Value::Name(form) => Err(given.unknown(form)),
            _ => Err(given.wrong()),
        }
    }

    /// `data=`.
    pub(crate) fn payload(&self) -> Result<Option<Payload>, BuildError> {
        match self.get(DATA.key) {
            None => Ok(None),
            Some(Given { value: Value::Payload(payload), .. }) => Ok(Some(payload.clone())),
            Some(given) => Err(given.wrong()),
        }
    }

    /// `data=` as the bytes of a raw body, or as bulk of a length of at most `limit`.
    pub(crate) fn data(&self, limit: u64) -> Result<Option<Data>, BuildError> {
        let Some(payload) = self.payload()? else { return Ok(None) };
        if let Some(bytes) = payload.literal() {
            return Ok(Some(Data::Raw(bytes)));
        }
        at_most(DATA.key, payload.length(), limit)?;
        Ok(Some(Data::Bulk(payload)))
    }

    /// The same, in place of all the fields that the body has of its `own`.
    pub(crate) fn whole_data(
        &self,
        own: &Grammar,
        limit: u64,
        why: &'static str,
    ) -> Result<Option<Data>, BuildError> {
        let data = self.data(limit)?;
        if data.is_some() {
            for spec in own.0.iter().filter(|spec| spec.key != DATA.key) {
                self.refuse(spec.key, why)?;
            }
        }
        Ok(data)
    }
}

impl Source for Fields<'_> {
    type Error = BuildError;

    fn part<T: Held>(&mut self, part: &Part) -> Result<T, BuildError> {
        if let Some(found) = self.find(part)? {
            return Ok(found);
        }
        let number = match part.fallback {
            Fallback::None => return Err(self.missing(part.key)),
            Fallback::Blank => return Ok(T::default()),
            Fallback::Number(number) => number,
            Fallback::CountOf(key) => match self.get(key).map(|given| given.value) {
                Some(Value::Extents(extents)) => extents.len() as u64,
                _ => 0,
            },
        };
        T::given(&Given { key: part.key, kind: T::KIND, value: &Value::Int(number) }, part)
    }
}

/// What a line states for a field.
pub(crate) struct Given<'a> {
    key: &'a str,
    kind: FieldKind,
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

    fn unknown(&self, name: &str) -> BuildError {
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
