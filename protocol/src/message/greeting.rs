//! How a connection begins: the greeting, the client's flags, and the answer to
//! `NBD_OPT_EXPORT_NAME` (sections "Handshake" and "Newstyle negotiation").

use super::padding::Padding;
use super::parts::{Fallback, Grammar, Part, Show, Source, TRANSMISSION_FLAGS, Words, part};
use crate::build::{BuildError, Context, Fields};
use crate::cursor::{BadMagic, Cursor, Decoded, LayoutError, Step, be64, first, head, in_memory};
use crate::describe::{Field, Kind, Value};
use crate::values::{
    ClientFlags, HandshakeFlags, INIT_MAGIC, OLDSTYLE_MAGIC, OPTION_MAGIC, TransmissionFlags,
};

/// The first message of a server (section "Handshake").
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Greeting {
    /// Everything at once: the session is in transmission afterwards.
    Oldstyle {
        /// Size of the export in bytes.
        size: u64,
        /// Lower half of the flags.
        flags: TransmissionFlags,
        /// Upper half of the flags, where no flag may be set.
        handshake_flags: HandshakeFlags,
        /// The reserved tail; never absent.
        padding: Padding,
    },
    /// Newstyle, fixed or not.
    Newstyle {
        /// What the server can do during the handshake.
        flags: HandshakeFlags,
    },
}

/// The answer to `NBD_OPT_EXPORT_NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportInfo {
    /// Size in bytes.
    pub size: u64,
    /// What can be done with the export.
    pub flags: TransmissionFlags,
    /// The reserved tail.
    pub padding: Padding,
}

const SIZE: Part = part("size");
const UPPER_FLAGS: Part = part("handshake-flags").on_wire("handshake flags").or(Fallback::Blank);
const FLAGS: Part = part("flags").or(Fallback::Blank);
const PADDING: Part = part("padding").optional();

impl Greeting {
    fn oldstyle<S: Source>(from: &mut S) -> Result<Self, S::Error> {
        Ok(Self::Oldstyle {
            size: from.part(&SIZE)?,
            handshake_flags: from.part(&UPPER_FLAGS)?,
            flags: from.part(&TRANSMISSION_FLAGS)?,
            padding: from.part(&PADDING)?,
        })
    }

    fn newstyle<S: Source>(from: &mut S) -> Result<Self, S::Error> {
        Ok(Self::Newstyle { flags: from.part(&FLAGS)? })
    }

    pub(super) fn show(&self, to: &mut impl Show) {
        to.magic(INIT_MAGIC);
        match self {
            Self::Oldstyle { size, flags, handshake_flags, padding } => {
                to.magic(OLDSTYLE_MAGIC);
                to.part(&SIZE, size);
                to.part_if(
                    *handshake_flags != HandshakeFlags::EMPTY,
                    &UPPER_FLAGS,
                    handshake_flags,
                );
                to.part(&TRANSMISSION_FLAGS, flags);
                to.part_if(*padding != Padding::Zeroes, &PADDING, padding);
            }
            Self::Newstyle { flags } => {
                to.magic(OPTION_MAGIC);
                to.part(&FLAGS, flags);
            }
        }
    }

    /// The style says whether newstyle is fixed, so the field of the flags does not.
    pub(super) fn words(&self, fields: &mut [Field]) -> Words {
        let style = match self {
            Self::Oldstyle { .. } => "oldstyle",
            Self::Newstyle { flags } => {
                let others = flags.without(HandshakeFlags::FIXED_NEWSTYLE);
                for field in fields {
                    field.value = Value::Names(others.names());
                }
                if *flags == others { "newstyle" } else { "fixed-newstyle" }
            }
        };
        Words(Kind::Greeting, "greeting".into(), Some(style.into()))
    }
}

impl ExportInfo {
    fn of<S: Source>(from: &mut S) -> Result<Self, S::Error> {
        Ok(Self {
            size: from.part(&SIZE)?,
            flags: from.part(&TRANSMISSION_FLAGS)?,
            padding: from.part(&PADDING)?,
        })
    }

    pub(super) fn show(&self, to: &mut impl Show) {
        to.part(&SIZE, &self.size);
        to.part(&TRANSMISSION_FLAGS, &self.flags);
        to.part(&PADDING, &self.padding);
    }
}

/// The client's flags are their only part.
pub(super) fn show_client_flags(flags: ClientFlags, to: &mut impl Show) {
    to.part(&FLAGS, &flags);
}

/// Decodes the server's first message.
///
/// # Errors
/// The first magic is not `NBDMAGIC`, or the second is neither oldstyle's nor newstyle's. Both are
/// told as soon as the magic has come.
pub fn decode(bytes: &[u8]) -> Decoded<Greeting> {
    let first = u64::from_be_bytes(first!(bytes, 8));
    if first != INIT_MAGIC {
        return Err(BadMagic { expected: "NBDMAGIC", found: first, bytes: 8, at: 0 });
    }
    match be64(&first!(bytes, 16), 8) {
        OPTION_MAGIC => Ok(whole(&first!(bytes, 18), 16, Greeting::newstyle)),
        OLDSTYLE_MAGIC => Ok(whole(&first!(bytes, 152), 16, Greeting::oldstyle)),
        found => {
            Err(BadMagic { expected: "IHAVEOPT or the oldstyle magic", found, bytes: 8, at: 8 })
        }
    }
}

/// Decodes the client's flags.
#[must_use]
pub fn client_flags(bytes: &[u8]) -> Step<ClientFlags> {
    match head::<4>(bytes) {
        Ok(flags) => Step::Ready(ClientFlags(u32::from_be_bytes(flags)), 4),
        Err(more) => Step::Need(more),
    }
}

/// Decodes the answer to `NBD_OPT_EXPORT_NAME`; `no_zeroes` tells whether both sides agreed to
/// leave out the padding.
#[must_use]
pub fn export_info(bytes: &[u8], no_zeroes: bool) -> Step<ExportInfo> {
    let total = if no_zeroes { 10 } else { 134 };
    match bytes.get(..total) {
        Some(all) => whole(all, 0, ExportInfo::of),
        None => Step::Need(total - bytes.len()),
    }
}

/// A message of fixed size, of which all bytes are there.
fn whole<'a, T>(
    bytes: &'a [u8],
    magics: usize,
    of: impl FnOnce(&mut Cursor<'a>) -> Result<T, LayoutError>,
) -> Step<T> {
    match of(&mut Cursor::new(bytes.get(magics..).unwrap_or_default(), "")) {
        Ok(message) => Step::Ready(message, bytes.len()),
        Err(short) => Step::Need(in_memory(short.needed)),
    }
}

/// The fields of a line about a greeting of this style.
pub(crate) fn fields(style: &str) -> Grammar {
    match style {
        "oldstyle" => Grammar::of(Greeting::oldstyle),
        _ => Grammar::of(Greeting::newstyle),
    }
}

/// The fields of a line about the client's flags.
pub(crate) fn client_flags_fields() -> Grammar {
    Grammar::of(|fields| fields.part::<ClientFlags>(&FLAGS))
}

/// The fields of a line about the answer to `NBD_OPT_EXPORT_NAME`.
pub(crate) fn export_info_fields() -> Grammar {
    Grammar::of(ExportInfo::of)
}

/// What a line about a greeting of this style says.
pub(crate) fn build(style: &str, fields: &mut Fields<'_>) -> Result<Greeting, BuildError> {
    let mut greeting = match style {
        "oldstyle" => Greeting::oldstyle(fields)?,
        _ => Greeting::newstyle(fields)?,
    };
    if let Greeting::Newstyle { flags } = &mut greeting
        && style == "fixed-newstyle"
    {
        *flags = flags.with(HandshakeFlags::FIXED_NEWSTYLE);
    }
    Ok(greeting)
}

/// What a line about the client's flags says.
pub(crate) fn build_client_flags(fields: &mut Fields<'_>) -> Result<ClientFlags, BuildError> {
    fields.part(&FLAGS)
}

/// What a line about the answer to `NBD_OPT_EXPORT_NAME` says.
pub(crate) fn build_export_info(
    fields: &mut Fields<'_>,
    context: &Context,
) -> Result<ExportInfo, BuildError> {
    let mut info = ExportInfo::of(fields)?;
    if !context.padded && !fields.has(PADDING.key) {
        info.padding = Padding::Absent;
    }
    Ok(info)
}
