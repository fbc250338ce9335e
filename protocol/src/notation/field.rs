//! What the words and fields of a line can be.

use crate::values::{
    ClientFlags, CommandFlags, ErrorCode, HandshakeFlags, InfoType, OptionType, ReplyFlags,
    TransmissionFlags, parse_number,
};

/// The styles of a greeting.
pub const GREETINGS: &[&str] = &["oldstyle", "newstyle", "fixed-newstyle"];

/// What the second word of a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VariantKind {
    /// There is none.
    None,
    /// Of a greeting: [`GREETINGS`].
    Style,
    /// An information type.
    Info,
    /// An error value, or `ok`.
    Error,
    /// The same, or `error` for any error.
    Outcome,
}

impl VariantKind {
    /// Whether the word may stand here.
    #[must_use]
    pub fn accepts(self, word: &str) -> bool {
        match self {
            Self::None => false,
            Self::Style => GREETINGS.contains(&word),
            Self::Info => word.parse::<InfoType>().is_ok(),
            Self::Error => word.parse::<ErrorCode>().is_ok(),
            Self::Outcome => word == "error" || word.parse::<ErrorCode>().is_ok(),
        }
    }

    /// The known words.
    #[must_use]
    pub fn words(self) -> Vec<&'static str> {
        let errors = || ErrorCode::ALL.iter().filter_map(|v| v.name());
        match self {
            Self::None => Vec::new(),
            Self::Style => GREETINGS.to_vec(),
            Self::Info => InfoType::ALL.iter().filter_map(|v| v.name()).collect(),
            Self::Error => errors().collect(),
            Self::Outcome => errors().chain(["error"]).collect(),
        }
    }

    /// What is wanted, with its article.
    #[must_use]
    pub const fn wanted(self) -> &'static str {
        match self {
            Self::None => "a field of this message",
            Self::Style => "a style of greeting",
            Self::Info => "an information type",
            Self::Error => "`ok` or an error value",
            Self::Outcome => "`ok`, `error` or an error value",
        }
    }
}

/// A field that a message has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldSpec {
    /// Its name.
    pub key: &'static str,
    /// What its value is.
    pub kind: FieldKind,
}

/// What the value of a field is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldKind {
    /// A number up to this one.
    Int(u64),
    /// A number of 64 bits, or in scripts a label.
    Cookie,
    /// A string.
    Text,
    /// A set of strings.
    Texts,
    /// A set of handshake flags.
    HandshakeFlags,
    /// A set of client flags.
    ClientFlags,
    /// A set of transmission flags.
    TransmissionFlags,
    /// A set of command flags.
    CommandFlags,
    /// A set of reply flags.
    ReplyFlags,
    /// A set of information types.
    Infos,
    /// A set of context ids.
    Ids,
    /// A set of extents.
    Extents,
    /// An option type.
    Option,
    /// An error value.
    Error,
    /// `compact`, `structured` or `extended`.
    Form,
    /// Bytes.
    Payload,
}

/// The forms of a header.
const FORMS: &[&str] = &["compact", "structured", "extended"];

impl FieldKind {
    /// What is wanted, and what is wanted as one item if it is a set, each with its article; the
    /// largest number that can stand for the value or an item.
    const fn row(self) -> (&'static str, &'static str, Option<u64>) {
        const U16: Option<u64> = Some(u16::MAX as u64);
        const U32: Option<u64> = Some(u32::MAX as u64);
        match self {
            Self::Int(limit) => ("a number", "a number", Some(limit)),
            Self::Cookie => ("a cookie", "a cookie", Some(u64::MAX)),
            Self::Text => ("a text in double quotes", "a text in double quotes", None),
            Self::Texts => ("a set of texts", "a text in double quotes", None),
            Self::HandshakeFlags => ("a set of handshake flags", "a handshake flag", U16),
            Self::ClientFlags => ("a set of client flags", "a client flag", U32),
            Self::TransmissionFlags => ("a set of transmission flags", "a transmission flag", U16),
            Self::CommandFlags => ("a set of command flags", "a command flag", U16),
            Self::ReplyFlags => ("a set of reply flags", "a reply flag", U16),
            Self::Infos => ("a set of information types", "an information type", U16),
            Self::Ids => ("a set of context ids", "a context id", U32),
            Self::Extents => ("a set of extents", "an extent such as `4096:0`", None),
            Self::Option => ("an option type", "an option type", U32),
            Self::Error => ("an error value", "an error value", U32),
            Self::Form => {
                let wanted = "`compact`, `structured` or `extended`";
                (wanted, wanted, None)
            }
            Self::Payload => ("a payload", "a payload", None),
        }
    }

    /// What is wanted, with its article.
    #[must_use]
    pub const fn wanted(self) -> &'static str {
        self.row().0
    }

    /// What is wanted as one item of a set, with its article; the same for what is no set.
    #[must_use]
    pub const fn wanted_item(self) -> &'static str {
        self.row().1
    }

    /// The largest number that can stand for the value or, in a set, for an item.
    #[must_use]
    pub const fn limit(self) -> Option<u64> {
        self.row().2
    }

    /// Whether the value is a set.
    #[must_use]
    pub const fn is_set(self) -> bool {
        self.is_flags() || matches!(self, Self::Texts | Self::Infos | Self::Ids | Self::Extents)
    }

    /// Whether the value is a set of flags.
    #[must_use]
    pub const fn is_flags(self) -> bool {
        matches!(
            self,
            Self::HandshakeFlags
                | Self::ClientFlags
                | Self::TransmissionFlags
                | Self::CommandFlags
                | Self::ReplyFlags
        )
    }

    /// The number behind a name, or for a flag a number as a mask; `None` for an unknown name, and
    /// for kinds whose names stand for no number.
    #[must_use]
    pub fn number(self, name: &str) -> Option<u64> {
        match self {
            Self::HandshakeFlags => name.parse::<HandshakeFlags>().ok().map(|f| f.0.into()),
            Self::ClientFlags => name.parse::<ClientFlags>().ok().map(|f| f.0.into()),
            Self::TransmissionFlags => name.parse::<TransmissionFlags>().ok().map(|f| f.0.into()),
            Self::CommandFlags => name.parse::<CommandFlags>().ok().map(|f| f.0.into()),
            Self::ReplyFlags => name.parse::<ReplyFlags>().ok().map(|f| f.0.into()),
            Self::Option => name.parse::<OptionType>().ok().map(|option| option.0.into()),
            Self::Error => name.parse::<ErrorCode>().ok().map(|error| error.0.into()),
            Self::Infos => name.parse::<InfoType>().ok().map(|info| info.0.into()),
            _ => None,
        }
    }

    /// Whether a name can stand for the value or, in a set, for an item.
    #[must_use]
    pub fn accepts_name(self, name: &str) -> bool {
        match self {
            Self::Cookie => true,
            Self::Form => FORMS.contains(&name),
            Self::Ids => parse_number(name).is_some(),
            kind => kind.number(name).is_some(),
        }
    }

    /// The known names.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        match self {
            Self::Option => OptionType::ALL.iter().filter_map(|v| v.name()).collect(),
            Self::Error => ErrorCode::ALL.iter().filter_map(|v| v.name()).collect(),
            Self::Infos => InfoType::ALL.iter().filter_map(|v| v.name()).collect(),
            Self::Form => FORMS.to_vec(),
            Self::HandshakeFlags => HandshakeFlags::ALL.iter().map(|(_, name)| *name).collect(),
            Self::ClientFlags => ClientFlags::ALL.iter().map(|(_, name)| *name).collect(),
            Self::TransmissionFlags => {
                TransmissionFlags::ALL.iter().map(|(_, name)| *name).collect()
            }
            Self::CommandFlags => CommandFlags::ALL.iter().map(|(_, name)| *name).collect(),
            Self::ReplyFlags => ReplyFlags::ALL.iter().map(|(_, name)| *name).collect(),
            _ => Vec::new(),
        }
    }
}
