//! The fields of a line, looked up by name and read as what the message wants.

use crate::describe::Value;
use crate::message::{Extent, Padding};
use crate::notation::error::did_you_mean;
use crate::notation::vocabulary::{FieldKind, FieldSpec, Head};
use crate::payload::{Part, Payload};
use crate::text::WireString;
use crate::values::{ErrorCode, InfoType, OptionType, parse_number};

use super::error::BuildError;

type Found<T> = Result<Option<T>, BuildError>;

/// The fields of one line; every one is known to belong to its message.
pub(super) struct Fields<'a> {
    head: &'a str,
    specs: Vec<FieldSpec>,
    given: &'a [(String, Value)],
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

    fn get(&self, key: &str) -> Option<(&'a Value, FieldKind)> {
        let spec = self.specs.iter().find(|spec| spec.key == key)?;
        let (_, value) = self.given.iter().find(|(given, _)| given == key)?;
        Some((value, spec.kind))
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// The value, or the error that it is missing.
    pub(super) fn need<T>(&self, key: &'static str, found: Found<T>) -> Result<T, BuildError> {
        found?.ok_or_else(|| BuildError::Missing { head: self.head.to_owned(), key })
    }

    pub(super) fn int(&self, key: &str) -> Found<u64> {
        let Some((value, kind)) = self.get(key) else { return Ok(None) };
        match value {
            Value::Int(n) | Value::Hex(n) => limited(key, *n, kind).map(Some),
            other => wrong(key, kind, other),
        }
    }

    /// A number that the vocabulary limits to 32 bits.
    pub(super) fn u32(&self, key: &str) -> Found<u32> {
        Ok(self.int(key)?.map(|n| u32::try_from(n).unwrap_or(u32::MAX)))
    }

    /// The bits of a set of flags.
    pub(super) fn flags(&self, key: &str) -> Found<u64> {
        let Some((value, kind)) = self.get(key) else { return Ok(None) };
        match value {
            Value::Names(names) => {
                let bits = names.iter().try_fold(0, |bits, name| {
                    kind.flag(name).map(|flag| bits | flag).ok_or_else(|| unknown(key, kind, name))
                });
                bits.map(Some)
            }
            Value::Ids(masks) => {
                let bits = masks.iter().fold(0, |bits, mask| bits | u64::from(*mask));
                limited(key, bits, kind).map(Some)
            }
            Value::Int(n) | Value::Hex(n) => limited(key, *n, kind).map(Some),
            empty if is_empty_set(empty) => Ok(Some(0)),
            other => wrong(key, kind, other),
        }
    }

    /// The same, of a set of 16 bits.
    pub(super) fn flags16(&self, key: &str) -> Found<u16> {
        Ok(self.flags(key)?.map(|bits| bits as u16))
    }

    pub(super) fn text(&self, key: &str) -> Found<WireString> {
        match self.get(key) {
            None => Ok(None),
            Some((Value::Text(text), _)) => Ok(Some(text.clone())),
            Some((other, kind)) => wrong(key, kind, other),
        }
    }

    pub(super) fn texts(&self, key: &str) -> Found<Vec<WireString>> {
        match self.get(key) {
            None => Ok(None),
            Some((Value::Texts(texts), _)) => Ok(Some(texts.clone())),
            Some((empty, _)) if is_empty_set(empty) => Ok(Some(Vec::new())),
            Some((other, kind)) => wrong(key, kind, other),
        }
    }

    pub(super) fn infos(&self, key: &str) -> Found<Vec<InfoType>> {
        let Some((value, kind)) = self.get(key) else { return Ok(None) };
        match value {
            Value::Names(names) => {
                let infos = names.iter().map(|name| info(key, kind, name));
                infos.collect::<Result<_, _>>().map(Some)
            }
            Value::Ids(numbers) => {
                let infos = numbers
                    .iter()
                    .map(|n| limited(key, u64::from(*n), kind).map(|n| InfoType(n as u16)));
                infos.collect::<Result<_, _>>().map(Some)
            }
            empty if is_empty_set(empty) => Ok(Some(Vec::new())),
            other => wrong(key, kind, other),
        }
    }

    pub(super) fn ids(&self, key: &str) -> Found<Vec<u32>> {
        match self.get(key) {
            None => Ok(None),
            Some((Value::Ids(ids), _)) => Ok(Some(ids.clone())),
            Some((empty, _)) if is_empty_set(empty) => Ok(Some(Vec::new())),
            Some((other, kind)) => wrong(key, kind, other),
        }
    }

    /// Extents whose numbers are at most `limit`.
    pub(super) fn extents(&self, key: &str, limit: u64) -> Found<Vec<Extent>> {
        match self.get(key) {
            None => Ok(None),
            Some((Value::Extents(extents), _)) => {
                let largest = extents.iter().map(|e| e.length.max(e.status)).max().unwrap_or(0);
                if largest > limit {
                    return Err(BuildError::TooLarge {
                        key: key.to_owned(),
                        value: largest,
                        limit,
                    });
                }
                Ok(Some(extents.clone()))
            }
            Some((empty, _)) if is_empty_set(empty) => Ok(Some(Vec::new())),
            Some((other, kind)) => wrong(key, kind, other),
        }
    }

    pub(super) fn option(&self, key: &str) -> Found<OptionType> {
        let Some((value, kind)) = self.get(key) else { return Ok(None) };
        match value {
            Value::Name(name) => name.parse().map(Some).map_err(|_| unknown(key, kind, name)),
            Value::Int(n) | Value::Hex(n) => {
                limited(key, *n, kind).map(|n| Some(OptionType(n as u32)))
            }
            other => wrong(key, kind, other),
        }
    }

    pub(super) fn error(&self, key: &str) -> Found<ErrorCode> {
        let Some((value, kind)) = self.get(key) else { return Ok(None) };
        match value {
            Value::Name(name) => name.parse().map(Some).map_err(|_| unknown(key, kind, name)),
            Value::Int(n) | Value::Hex(n) => {
                limited(key, *n, kind).map(|n| Some(ErrorCode(n as u32)))
            }
            other => wrong(key, kind, other),
        }
    }

    /// `form=extended`: whether it says so; `None` where nothing is said.
    pub(super) fn extended(&self) -> Found<bool> {
        match self.get("form") {
            None => Ok(None),
            Some((Value::Name(form), kind)) if kind.accepts_name(form) => {
                Ok(Some(form == "extended"))
            }
            Some((Value::Name(form), kind)) => Err(unknown("form", kind, form)),
            Some((other, kind)) => wrong("form", kind, other),
        }
    }

    pub(super) fn payload(&self, key: &str) -> Found<Payload> {
        match self.get(key) {
            None => Ok(None),
            Some((Value::Payload(payload), _)) => Ok(Some(payload.clone())),
            Some((other, kind)) => wrong(key, kind, other),
        }
    }

    /// `data=` as the bytes of a raw body, or as bulk of a length below `limit`.
    pub(super) fn data(&self, limit: u64) -> Found<Data> {
        let Some(payload) = self.payload("data")? else { return Ok(None) };
        let mut bytes = Vec::new();
        for part in &payload.0 {
            let Part::Hex(hex) = part else {
                let value = payload.length();
                if value > limit {
                    return Err(BuildError::TooLarge { key: "data".to_owned(), value, limit });
                }
                return Ok(Some(Data::Bulk(payload)));
            };
            bytes.extend_from_slice(hex);
        }
        Ok(Some(Data::Raw(bytes)))
    }

    pub(super) fn padding(&self) -> Found<Padding> {
        let Some(payload) = self.payload("padding")? else { return Ok(None) };
        let mut bytes = Box::new([0; 124]);
        match payload.length() {
            0 => Ok(Some(Padding::Absent)),
            124 => {
                payload.fill(0, 0, &mut bytes[..]);
                let zeroes = bytes.iter().all(|byte| *byte == 0);
                Ok(Some(if zeroes { Padding::Zeroes } else { Padding::Other(bytes) }))
            }
            _ => {
                let why = "padding is 124 bytes or `zero*0`";
                Err(BuildError::Conflict { key: "padding".to_owned(), why })
            }
        }
    }

    /// An error if the field is given although it has no place here.
    pub(super) fn refuse(&self, key: &str, why: &'static str) -> Result<(), BuildError> {
        if self.has(key) { Err(BuildError::Conflict { key: key.to_owned(), why }) } else { Ok(()) }
    }
}

/// Data that no layout describes.
pub(super) enum Data {
    /// Given byte by byte.
    Raw(Vec<u8>),
    /// Given as a pattern.
    Bulk(Payload),
}

fn info(key: &str, kind: FieldKind, name: &str) -> Result<InfoType, BuildError> {
    if let Ok(info) = name.parse() {
        return Ok(info);
    }
    match parse_number(name) {
        Some(n) => limited(key, n, kind).map(|n| InfoType(n as u16)),
        None => Err(unknown(key, kind, name)),
    }
}

fn limited(key: &str, value: u64, kind: FieldKind) -> Result<u64, BuildError> {
    match kind.limit() {
        Some(limit) if value > limit => {
            Err(BuildError::TooLarge { key: key.to_owned(), value, limit })
        }
        _ => Ok(value),
    }
}

fn wrong<T>(key: &str, kind: FieldKind, found: &Value) -> Found<T> {
    let found = found.to_string();
    Err(BuildError::WrongType { key: key.to_owned(), wanted: kind.wanted(), found })
}

fn unknown(key: &str, kind: FieldKind, name: &str) -> BuildError {
    BuildError::UnknownName {
        key: key.to_owned(),
        name: name.to_owned(),
        wanted: kind.wanted_item(),
        help: did_you_mean(name, kind.names()),
    }
}

/// An empty set is one of whatever the field wants.
fn is_empty_set(value: &Value) -> bool {
    match value {
        Value::Names(names) => names.is_empty(),
        Value::Texts(texts) => texts.is_empty(),
        Value::Ids(ids) => ids.is_empty(),
        Value::Extents(extents) => extents.is_empty(),
        _ => false,
    }
}
