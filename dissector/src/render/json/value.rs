//! Values of the protocol as JSON.

use std::collections::BTreeMap;

use protocol::describe::Value;
use protocol::payload::{Part, Payload};
use protocol::text::WireString;
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use xxhash_rust::xxh3::xxh3_64;

/// The JSON form of something of the protocol.
pub(super) struct Json<'a, T>(pub(super) &'a T);

/// The largest integer up to which a double holds every integer.
pub(super) const SAFE: u64 = 1 << 53;

impl Serialize for Json<'_, u64> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self.0 {
            number if number <= SAFE => serializer.serialize_u64(number),
            number => serializer.collect_str(&format_args!("{number:#x}")),
        }
    }
}

/// A string is a string; one that is not UTF-8 an object with what can be read and the bytes.
impl Serialize for Json<'_, WireString> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Some(text) = self.0.to_str() {
            return serializer.serialize_str(text);
        }
        let bytes = self.0.as_bytes();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("text", &String::from_utf8_lossy(bytes))?;
        map.serialize_entry("hex", &hex)?;
        map.end()
    }
}

/// The length, and for what a pattern describes that pattern, otherwise a digest (XXH3): never the
/// bytes.
impl Serialize for Json<'_, Payload> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("length", &Json(&self.0.length()))?;
        match &self.0.0[..] {
            [Part::Digest(digest, _)] => {
                map.serialize_entry("digest", &format!("{digest:016x}"))?;
            }
            [Part::Hex(bytes)] => map.serialize_entry("digest", &digest(bytes))?,
            [Part::Any(_)] => {}
            _ => map.serialize_entry("pattern", &self.0.to_string())?,
        }
        map.end()
    }
}

/// The digest that a longer payload would have printed.
fn digest(bytes: &[u8]) -> String {
    format!("{:016x}", xxh3_64(bytes))
}

impl Serialize for Json<'_, Value> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Int(number) => Json(number).serialize(serializer),
            Value::Hex(number) => serializer.collect_str(&format_args!("{number:#x}")),
            Value::Name(name) => serializer.serialize_str(name),
            Value::Text(text) => Json(text).serialize(serializer),
            Value::Names(names) => names.serialize(serializer),
            Value::Texts(texts) => serializer.collect_seq(texts.iter().map(Json)),
            Value::Ids(ids) => ids.serialize(serializer),
            Value::Extents(extents) => {
                let mut list = serializer.serialize_seq(Some(extents.len()))?;
                for extent in extents {
                    list.serialize_element(&BTreeMap::from([
                        ("length", Json(&extent.length)),
                        ("status", Json(&extent.status)),
                    ]))?;
                }
                list.end()
            }
            Value::Payload(payload) => Json(payload).serialize(serializer),
        }
    }
}
