//! The fields of a line, looked up by name and read as what the message wants.

use crate::describe::Value;
use crate::message::parts::{DATA, Fallback, Grammar, Held, Part, Source};
use crate::nearest::did_you_mean;
use crate::notation::field::FieldSpec;
use crate::payload::Payload;

use super::error::BuildError;
use super::given::{Given, at_most};

/// The fields of one line; every one is known to belong to its message.
pub(crate) struct Fields<'a> {
    head: &'a str,
    specs: Vec<FieldSpec>,
    given: &'a [(String, Value)],
}

/// What a line makes: a message of a family, and the bulk that follows it.
pub(crate) type Made<T> = Result<(T, Option<Payload>), BuildError>;

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
        specs: Vec<FieldSpec>,
        given: &'a [(String, Value)],
    ) -> Result<Self, BuildError> {
        let fields = Self { head: word, specs, given };
        for (index, (key, _)) in given.iter().enumerate() {
            if !fields.specs.iter().any(|spec| spec.key == key) {
                return Err(BuildError::UnknownField {
                    head: word.to_owned(),
                    key: key.clone(),
                    help: fields.help(key),
                });
            }
            if given.iter().take(index).any(|(earlier, _)| earlier == key) {
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
