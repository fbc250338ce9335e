//! What a part of a message can hold: how each type is read, shown, described and built.

use super::cookie::Cookie;
use super::extent::Extent;
use super::padding::Padding;
use super::parts::{Held, Part, Show, part};
use crate::build::{BuildError, Given};
use crate::cursor::{Cursor, LayoutError, low32};
use crate::describe::Value;
use crate::notation::field::FieldKind as K;
use crate::payload::{self, Payload};
use crate::text::WireString;
use crate::values::{
    ClientFlags, CommandFlags, ErrorCode, HandshakeFlags, InfoType, OptionType, ReplyFlags,
    TransmissionFlags,
};

/// Integers: the type and what it is on the wire, what a line may state, the value in a
/// description, and how a line states it.
macro_rules! integers {
    ($($type:ident($int:ident): $kind:expr, |$held:ident| $value:expr, $given:ident;)*) => {$(
        impl Held for $type {
            const KIND: K = $kind;

            fn read(part: &Part, from: &mut Cursor<'_>) -> Result<Self, LayoutError> {
                from.array(part.what).map(|bytes| Self::from($int::from_be_bytes(bytes)))
            }

            fn show(&self, part: &Part, to: &mut impl Show) {
                to.wire(part.wire, &$int::from(*self).to_be_bytes(), || self.value());
            }

            fn value(&self) -> Value {
                let $held = *self;
                $value
            }

            #[allow(clippy::cast_possible_truncation, reason = "what is given fits: it is limited to the kind")]
            fn given(given: &Given<'_>, _: &Part) -> Result<Self, BuildError> {
                given.$given().map(|raw| Self::from(raw as $int))
            }
        }
    )*};
}

integers! {
    u32(u32): K::Int(u32::MAX as u64), |n| Value::Int(n.into()), int;
    u64(u64): K::Int(u64::MAX), |n| Value::Int(n), int;
    Cookie(u64): K::Cookie, |cookie| Value::Hex(cookie.0), int;
    OptionType(u32): K::Option, |option| Value::Name(option.label()), named;
    ErrorCode(u32): K::Error, |error| Value::Name(error.label()), named;
    HandshakeFlags(u16): K::HandshakeFlags, |flags| Value::Names(flags.names()), flags;
    ClientFlags(u32): K::ClientFlags, |flags| Value::Names(flags.names()), flags;
    TransmissionFlags(u16): K::TransmissionFlags, |flags| Value::Names(flags.names()), flags;
    CommandFlags(u16): K::CommandFlags, |flags| Value::Names(flags.names()), flags;
    ReplyFlags(u16): K::ReplyFlags, |flags| Value::Names(flags.names()), flags;
}

impl Held for WireString {
    const KIND: K = K::Text;

    fn read(part: &Part, from: &mut Cursor<'_>) -> Result<Self, LayoutError> {
        match part.read_count(from)? {
            Some(length) => from.take(length, part.what).map(Self::from),
            None => Ok(from.rest().into()),
        }
    }

    fn show(&self, part: &Part, to: &mut impl Show) {
        let length = part.show_count(self.len(), to);
        to.wire(part.wire, self.as_bytes().get(..length).unwrap_or_default(), || Held::value(self));
    }

    fn value(&self) -> Value {
        Value::Text(self.clone())
    }

    fn given(given: &Given<'_>, _: &Part) -> Result<Self, BuildError> {
        match given.value {
            Value::Text(text) => Ok(text.clone()),
            _ => Err(given.wrong()),
        }
    }
}

impl Held for Vec<u8> {
    const KIND: K = K::Payload;

    fn read(_: &Part, from: &mut Cursor<'_>) -> Result<Self, LayoutError> {
        Ok(from.rest().to_vec())
    }

    fn show(&self, part: &Part, to: &mut impl Show) {
        to.wire(part.wire, self, || Held::value(self));
    }

    fn value(&self) -> Value {
        Value::Payload(Payload(vec![payload::Part::Hex(self.clone())]))
    }

    fn given(given: &Given<'_>, _: &Part) -> Result<Self, BuildError> {
        match given.value {
            Value::Payload(payload) => {
                payload.literal().ok_or_else(|| given.conflict("only `hex` may follow an error"))
            }
            _ => Err(given.wrong()),
        }
    }
}

/// An item of a list.
trait Item: Clone {
    const KIND: K;

    /// How many bytes it has at least.
    fn size(part: &Part) -> usize;

    /// How many there are at least where no count says it.
    fn least(_: &Part) -> usize {
        0
    }

    fn read(part: &Part, from: &mut Cursor<'_>) -> Result<Self, LayoutError>;

    fn show(&self, part: &Part, to: &mut impl Show);

    fn value(items: &[Self]) -> Value;

    /// The items that a line states, unless it states none.
    fn given(given: &Given<'_>, part: &Part) -> Result<Vec<Self>, BuildError>;
}

impl<T: Item> Held for Vec<T> {
    const KIND: K = T::KIND;

    fn read(part: &Part, from: &mut Cursor<'_>) -> Result<Self, LayoutError> {
        let size = T::size(part);
        let count = part.read_count(from)?;
        let count = count.unwrap_or_else(|| from.left().div_ceil(size).max(T::least(part)));
        let mut items = Self::with_capacity(count.min(from.left() / size));
        for _ in 0..count {
            items.push(T::read(part, from)?);
        }
        Ok(items)
    }

    fn show(&self, part: &Part, to: &mut impl Show) {
        let count = part.show_count(self.len(), to);
        self.iter().take(count).for_each(|item| item.show(part, to));
    }

    fn value(&self) -> Value {
        T::value(self)
    }

    fn given(given: &Given<'_>, part: &Part) -> Result<Self, BuildError> {
        if given.is_empty_set() { Ok(Self::new()) } else { T::given(given, part) }
    }
}

/// A query.
impl Item for WireString {
    const KIND: K = K::Texts;

    fn size(_: &Part) -> usize {
        4
    }

    fn read(_: &Part, from: &mut Cursor<'_>) -> Result<Self, LayoutError> {
        Held::read(&QUERY, from)
    }

    fn show(&self, _: &Part, to: &mut impl Show) {
        Held::show(self, &QUERY, to);
    }

    fn value(items: &[Self]) -> Value {
        Value::Texts(items.to_vec())
    }

    fn given(given: &Given<'_>, _: &Part) -> Result<Vec<Self>, BuildError> {
        match given.value {
            Value::Texts(texts) => Ok(texts.clone()),
            _ => Err(given.wrong()),
        }
    }
}

const QUERY: Part = part("query").counted(4, "query length");

impl Item for InfoType {
    const KIND: K = K::Infos;

    fn size(_: &Part) -> usize {
        2
    }

    fn read(part: &Part, from: &mut Cursor<'_>) -> Result<Self, LayoutError> {
        from.u16(part.what).map(Self)
    }

    fn show(&self, part: &Part, to: &mut impl Show) {
        to.word(part.wire, &self.0.to_be_bytes(), self);
    }

    fn value(items: &[Self]) -> Value {
        Value::Names(items.iter().map(ToString::to_string).collect())
    }

    fn given(given: &Given<'_>, _: &Part) -> Result<Vec<Self>, BuildError> {
        #[expect(clippy::cast_possible_truncation, reason = "`limited` refuses more than 16 bits")]
        let info = |raw| given.limited(raw).map(|raw| Self(raw as u16));
        match given.value {
            Value::Names(names) => names.iter().map(|name| info(given.info(name)?)).collect(),
            Value::Ids(numbers) => numbers.iter().map(|n| info(u64::from(*n))).collect(),
            _ => Err(given.wrong()),
        }
    }
}

/// The id of a context.
impl Item for u32 {
    const KIND: K = K::Ids;

    fn size(_: &Part) -> usize {
        4
    }

    fn read(part: &Part, from: &mut Cursor<'_>) -> Result<Self, LayoutError> {
        Held::read(part, from)
    }

    fn show(&self, part: &Part, to: &mut impl Show) {
        Held::show(self, part, to);
    }

    fn value(items: &[Self]) -> Value {
        Value::Ids(items.to_vec())
    }

    fn given(given: &Given<'_>, _: &Part) -> Result<Vec<Self>, BuildError> {
        match given.value {
            Value::Ids(ids) => Ok(ids.clone()),
            _ => Err(given.wrong()),
        }
    }
}

/// Two numbers of 32 or 64 bits.
impl Item for Extent {
    const KIND: K = K::Extents;

    fn size(part: &Part) -> usize {
        if part.wide { 16 } else { 8 }
    }

    /// With 64 bits a count of its own goes before.
    fn least(part: &Part) -> usize {
        usize::from(!part.wide)
    }

    fn read(part: &Part, from: &mut Cursor<'_>) -> Result<Self, LayoutError> {
        let mut number = |what| {
            if part.wide { from.u64(what) } else { from.u32(what).map(u64::from) }
        };
        Ok(Self { length: number("extent length")?, status: number("extent status")? })
    }

    fn show(&self, part: &Part, to: &mut impl Show) {
        let value = || Value::Extents(vec![*self]);
        if part.wide {
            let both = u128::from(self.length) << 64 | u128::from(self.status);
            to.wire(part.wire, &both.to_be_bytes(), value);
        } else {
            let both = self.length << 32 | u64::from(low32(self.status));
            to.wire(part.wire, &both.to_be_bytes(), value);
        }
    }

    fn value(items: &[Self]) -> Value {
        Value::Extents(items.to_vec())
    }

    fn given(given: &Given<'_>, part: &Part) -> Result<Vec<Self>, BuildError> {
        let Value::Extents(extents) = given.value else { return Err(given.wrong()) };
        let limit = if part.wide { u64::MAX } else { u32::MAX.into() };
        let largest = extents.iter().map(|extent| extent.length.max(extent.status)).max();
        given.at_most(largest.unwrap_or(0), limit).map(|_| extents.clone())
    }
}

impl Held for Padding {
    const KIND: K = K::Payload;

    fn read(part: &Part, from: &mut Cursor<'_>) -> Result<Self, LayoutError> {
        if from.left() == 0 { Ok(Self::Absent) } else { from.array(part.what).map(Self::from) }
    }

    fn show(&self, part: &Part, to: &mut impl Show) {
        match self {
            Self::Absent => {}
            Self::Zeroes => to.wire(part.wire, &[0; 124], || Held::value(self)),
            Self::Other(bytes) => to.wire(part.wire, &bytes[..], || Held::value(self)),
        }
    }

    fn value(&self) -> Value {
        let part = match self {
            Self::Absent => payload::Part::Zero(0),
            Self::Zeroes => payload::Part::Zero(124),
            Self::Other(bytes) => payload::Part::Hex(bytes.to_vec()),
        };
        Value::Payload(Payload(vec![part]))
    }

    fn given(given: &Given<'_>, _: &Part) -> Result<Self, BuildError> {
        let Value::Payload(payload) = given.value else { return Err(given.wrong()) };
        match payload.length() {
            0 => Ok(Self::Absent),
            124 => {
                let mut bytes = [0; 124];
                payload.fill(0, 0, &mut bytes);
                Ok(bytes.into())
            }
            _ => Err(given.conflict("padding is 124 bytes or `zero*0`")),
        }
    }
}
