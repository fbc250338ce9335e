//! The parts that messages are made of.
//!
//! A family of messages lists its parts once, in the order of the wire, and everything else follows
//! from the list. A [`Show`] is shown the parts of a message that is there: that makes its bytes, the
//! places of its fields and its description. A [`Source`] is asked for the parts of a message that
//! is to be made: from bytes, from the fields of a line, or only to learn which fields there are.

use std::borrow::Cow;
use std::convert::Infallible;

use crate::build::{BuildError, Given};
use crate::cursor::{Cursor, LayoutError};
use crate::describe::{Field, Kind, Value, WirePart};
use crate::notation::field::{FieldKind, FieldSpec};
use crate::payload::{self, Payload};
use crate::values::TransmissionFlags;

/// One part of a message: its names, where it ends, and what it is if nobody says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    /// Its field in the notation; empty if it has none.
    pub(crate) key: &'static str,
    /// What the tree calls it, or each of its items.
    pub(crate) wire: &'static str,
    /// What errors call it, or each of its items.
    pub(crate) what: &'static str,
    /// How many bytes of its length or count stand before it: 2 or 4, or 0 if it has a fixed size
    /// or ends with the message.
    count: usize,
    /// What the tree and errors call that.
    count_names: (&'static str, &'static str),
    /// The numbers in it have 64 bits rather than 32.
    pub(crate) wide: bool,
    pub(crate) fallback: Fallback,
    /// Left out of descriptions where it is empty.
    optional: bool,
    /// Stands before the other fields in the notation, wherever it is on the wire.
    first: bool,
}

/// What a part is if a line does not say.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fallback {
    /// The line must say.
    None,
    /// Nothing: no flag, no byte, no item.
    Blank,
    /// A number or mask.
    Number(u64),
    /// The number of items of another field.
    CountOf(&'static str),
}

/// A part of fixed size, or that ends with the message.
pub(crate) const fn part(key: &'static str) -> Part {
    Part {
        key,
        wire: key,
        what: key,
        count: 0,
        count_names: ("", ""),
        wide: false,
        fallback: Fallback::None,
        optional: false,
        first: false,
    }
}

impl Part {
    /// The tree calls it this, and so do errors, unless [`Part::is`] comes later.
    pub(crate) const fn on_wire(self, name: &'static str) -> Self {
        Self { wire: name, what: name, ..self }
    }

    /// Errors call it this.
    pub(crate) const fn is(self, what: &'static str) -> Self {
        Self { what, ..self }
    }

    /// A text or list behind so many bytes of length or count, which has this name.
    pub(crate) const fn counted(self, bytes: usize, name: &'static str) -> Self {
        Self { count: bytes, count_names: (name, name), ..self }
    }

    /// Errors call its length or count this.
    pub(crate) const fn count_is(self, what: &'static str) -> Self {
        Self { count_names: (self.count_names.0, what), ..self }
    }

    /// With numbers of 64 bits.
    pub(crate) const fn wide(self) -> Self {
        Self { wide: true, ..self }
    }

    /// A line need not say it.
    pub(crate) const fn or(self, fallback: Fallback) -> Self {
        Self { fallback, ..self }
    }

    /// A line need not say it, and a description does not where it is empty.
    pub(crate) const fn optional(self) -> Self {
        Self { fallback: Fallback::Blank, optional: true, ..self }
    }

    /// The notation has it before the other fields.
    pub(crate) const fn first(self) -> Self {
        Self { first: true, ..self }
    }

    /// Reads the length or count; `None` where there is none.
    pub(crate) fn read_count(&self, from: &mut Cursor<'_>) -> Result<Option<usize>, LayoutError> {
        let what = self.count_names.1;
        match self.count {
            0 => Ok(None),
            2 => from.u16(what).map(|count| Some(count.into())),
            _ => from.u32(what).map(|count| Some(count as usize)),
        }
    }

    /// Shows the length or count, and returns it: what does not fit is cut to the largest that does.
    pub(crate) fn show_count(&self, count: usize, to: &mut impl Show) -> usize {
        if self.count == 0 {
            return count;
        }
        let count = count.min((1 << (8 * self.count)) - 1);
        let bytes = (count as u64).to_be_bytes();
        let bytes = low_bytes(&bytes, self.count);
        to.wire(self.count_names.0, bytes, || Value::Int(count as u64));
        count
    }
}

/// The data of a message whose type has no layout, or that does not have its type's.
pub(crate) const DATA: Part = part("data");
const MAGIC: &str = "magic";
/// What a header says of the length of what follows.
pub(crate) const LENGTH: Part = Part { key: "", ..part("length") };
/// Ties replies to requests. Lines have it before the flags.
pub(crate) const COOKIE: Part = part("cookie").first();
/// Of an export; without word of them only the flag that is always set.
pub(crate) const TRANSMISSION_FLAGS: Part = part("flags")
    .is("transmission flags")
    .or(Fallback::Number(TransmissionFlags::HAS_FLAGS.0 as u64));

/// What a part can hold. Its default is nothing: 0, no byte, no item.
pub(crate) trait Held: Default {
    /// What a line may state for it.
    const KIND: FieldKind;

    /// Reads it.
    fn read(part: &Part, from: &mut Cursor<'_>) -> Result<Self, LayoutError>;

    /// Shows its bytes.
    fn show(&self, part: &Part, to: &mut impl Show);

    /// Its value in a description.
    fn value(&self) -> Value;

    /// What a line states.
    fn given(given: &Given<'_>, part: &Part) -> Result<Self, BuildError>;
}

/// Is shown the parts of a message, in order.
pub(crate) trait Show: Sized {
    /// The next bytes of the wire.
    fn wire(&mut self, name: &'static str, bytes: &[u8], value: impl FnOnce() -> Value);

    /// The next part.
    fn part(&mut self, part: &Part, value: &impl Held) {
        self.part_if(true, part, value);
    }

    /// The next part, which descriptions have only if it is said.
    fn part_if(&mut self, _said: bool, part: &Part, value: &impl Held) {
        value.show(part, self);
    }

    /// A value that has no field: the notation has it as the first or second word of the line.
    fn word(&mut self, name: &'static str, bytes: &[u8], word: impl ToString) {
        self.wire(name, bytes, || Value::Name(word.to_string().into()));
    }

    /// The magic before the greeting, an option or its reply.
    fn magic(&mut self, magic: u64) {
        let bytes = magic.to_be_bytes();
        self.wire(MAGIC, &bytes, || match std::str::from_utf8(&bytes) {
            Ok(word) if !word.contains(|c: char| !c.is_ascii_uppercase()) => {
                Value::Name(word.to_owned().into())
            }
            _ => Value::Hex(magic),
        });
    }

    /// The magic before a request or reply, which tells its form.
    fn form(&mut self, magic: u32, _extended: bool) {
        self.wire(MAGIC, &magic.to_be_bytes(), || Value::Hex(magic.into()));
    }

    /// So many bytes of bulk follow.
    fn bulk(&mut self, _length: u64) {}
}

/// The bytes of a message, without its bulk.
impl Show for Vec<u8> {
    fn wire(&mut self, _: &'static str, bytes: &[u8], _: impl FnOnce() -> Value) {
        self.extend_from_slice(bytes);
    }
}

/// Counts bytes, with those of the bulk.
#[derive(Default)]
pub(crate) struct Count(pub(crate) u64);

impl Show for Count {
    fn wire(&mut self, _: &'static str, bytes: &[u8], _: impl FnOnce() -> Value) {
        self.0 += bytes.len() as u64;
    }

    fn bulk(&mut self, length: u64) {
        self.0 = self.0.saturating_add(length);
    }
}

/// The bytes of a message whose header lies.
pub(crate) struct Lies {
    pub(crate) out: Vec<u8>,
    /// Instead of the first magic.
    pub(crate) magic: Option<u64>,
    /// Instead of the length.
    pub(crate) length: Option<u64>,
}

impl Show for Lies {
    fn wire(&mut self, name: &'static str, bytes: &[u8], _: impl FnOnce() -> Value) {
        let lie = match name {
            MAGIC => self.magic.take(),
            _ if name == LENGTH.wire => self.length.take(),
            _ => None,
        };
        match lie {
            Some(lie) => self.out.extend_from_slice(low_bytes(&lie.to_be_bytes(), bytes.len())),
            None => self.out.extend_from_slice(bytes),
        }
    }
}

/// The last bytes of a number.
fn low_bytes(bytes: &[u8; 8], count: usize) -> &[u8] {
    bytes.get(8usize.saturating_sub(count)..).unwrap_or_default()
}

/// Puts one field of the wire behind the other.
#[derive(Default)]
pub(crate) struct Layout(pub(crate) Vec<WirePart>);

impl Show for Layout {
    fn wire(&mut self, name: &'static str, bytes: &[u8], value: impl FnOnce() -> Value) {
        if !bytes.is_empty() {
            let start = self.0.last().map_or(0, |part| part.start + part.length);
            self.0.push(WirePart { name, start, length: bytes.len() as u64, value: value() });
        }
    }
}

/// Collects the fields of a description.
pub(crate) struct Describer<'a> {
    pub(crate) found: Vec<Field>,
    /// How many come before the others.
    first: usize,
    at: u64,
    /// What the bulk was recognised as.
    payload: Option<&'a Payload>,
}

impl<'a> Describer<'a> {
    pub(crate) fn new(payload: Option<&'a Payload>) -> Self {
        let found = Vec::with_capacity(8); // as many as most have, or more
        Self { found, first: 0, at: 0, payload }
    }

    fn add_first(&mut self, field: Field) {
        self.found.insert(self.first, field);
        self.first += 1;
    }
}

impl Show for Describer<'_> {
    fn wire(&mut self, _: &'static str, bytes: &[u8], _: impl FnOnce() -> Value) {
        self.at += bytes.len() as u64;
    }

    fn part_if(&mut self, said: bool, part: &Part, value: &impl Held) {
        let start = self.at + part.count as u64;
        value.show(part, self);
        let length = self.at - start;
        if said && !part.key.is_empty() && !(part.optional && length == 0) {
            let field = Field { key: part.key, value: value.value(), at: (start, length) };
            if part.first { self.add_first(field) } else { self.found.push(field) }
        }
    }

    fn form(&mut self, _: u32, extended: bool) {
        if extended {
            let value = Value::Name("extended".into());
            self.add_first(Field { key: "form", value, at: (self.at, 4) });
        }
        self.at += 4;
    }

    fn bulk(&mut self, length: u64) {
        let payload = self.payload.cloned();
        let payload = payload.unwrap_or_else(|| Payload(vec![payload::Part::Any(length)]));
        let value = Value::Payload(payload);
        self.found.push(Field { key: DATA.key, value, at: (self.at, length) });
    }
}

/// Is asked for the parts of a message, in order.
pub(crate) trait Source {
    /// Why there is no such part.
    type Error;

    /// The next part.
    fn part<T: Held>(&mut self, part: &Part) -> Result<T, Self::Error>;
}

impl Source for Cursor<'_> {
    type Error = LayoutError;

    fn part<T: Held>(&mut self, part: &Part) -> Result<T, LayoutError> {
        T::read(part, self)
    }
}

/// Collects which fields a line can have.
#[derive(Default)]
pub(crate) struct Grammar(pub(crate) Vec<FieldSpec>);

impl Grammar {
    pub(crate) fn add(&mut self, key: &'static str, kind: FieldKind) {
        if !self.0.iter().any(|spec| spec.key == key) {
            self.0.push(FieldSpec { key, kind });
        }
    }

    /// The fields of the parts that something asks for.
    pub(crate) fn of<T>(ask: impl FnOnce(&mut Self) -> Result<T, Infallible>) -> Self {
        let mut fields = Self::default();
        let Ok(_) = ask(&mut fields);
        fields
    }

    pub(crate) fn extend(&mut self, other: Self) {
        other.0.into_iter().for_each(|spec| self.add(spec.key, spec.kind));
    }

    /// A part of a header.
    pub(crate) fn add_part<T: Held>(&mut self, part: &Part) {
        self.add(part.key, T::KIND);
    }

    /// In which form the header is.
    pub(crate) fn form(&mut self) {
        self.add("form", FieldKind::Form);
    }

    /// What a line can say of data as a whole, and what it can say falsely of the header.
    pub(crate) fn data_and_lies(&mut self, length: Option<FieldKind>, magic: FieldKind) {
        self.add(DATA.key, FieldKind::Payload);
        length.into_iter().for_each(|kind| self.add(LENGTH.wire, kind));
        self.add(MAGIC, magic);
    }
}

impl Source for Grammar {
    type Error = Infallible;

    fn part<T: Held>(&mut self, part: &Part) -> Result<T, Infallible> {
        self.add(part.key, T::KIND);
        Ok(T::default())
    }
}

/// The kind, the first and the second word of a description.
pub(crate) struct Words(
    pub(crate) Kind,
    pub(crate) Cow<'static, str>,
    pub(crate) Option<Cow<'static, str>>,
);

/// Declares what the messages of a family carry: a row for each type that has a layout, with its
/// parts in the order of the wire, and the other variants. Makes the enum, `of_type`, which asks a
/// [`Source`] for the parts of a type (`None` if no row is about it), and `show_parts`.
macro_rules! bodies {
    (
        $(#[$doc:meta])*
        pub enum $body:ident of $type:ident {
        $(
            $(#[$vdoc:meta])*
            $tag:pat $(if $guard:expr)? => $variant:ident
            $({ $($(#[$fdoc:meta])* $field:ident: $held:ty = $part:expr,)* })?
            $(($only:ident: $only_held:ty = $only_part:expr))?;
        )*
        } or { $($others:tt)* }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $body {
            $(
                $(#[$vdoc])*
                $variant $({ $($(#[$fdoc])* $field: $held,)* })? $(($only_held))?,
            )*
            $($others)*
        }

        impl $body {
            pub(crate) fn of_type<S: Source>(
                of: $type,
                from: &mut S,
            ) -> Result<Option<Self>, S::Error> {
                Ok(Some(match of {
                    $(
                        $tag $(if $guard)? => Self::$variant
                        $({ $($field: from.part(&const { $part })?,)* })?
                        $((from.part::<$only_held>(&const { $only_part })?))?,
                    )*
                    _ => return Ok(None),
                }))
            }

            fn show_parts(&self, to: &mut impl Show) {
                match self {
                    $(
                        Self::$variant $({ $($field,)* })? $(($only))? => {
                            $($(to.part(&const { $part }, $field);)*)?
                            $(to.part(&const { $only_part }, $only);)?
                        }
                    )*
                    _ => {}
                }
            }
        }
    };
}
pub(super) use bodies;
