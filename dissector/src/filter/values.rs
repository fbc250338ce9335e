//! What the fields of a filter hold, and so what they can be compared with.

use protocol::describe::Kind;
use protocol::nearest::did_you_mean;
use protocol::notation::vocabulary::GREETINGS;
use protocol::values::{
    ChunkType, ClientFlags, Command, CommandFlags, ErrorCode, HandshakeFlags, InfoType, OptionType,
    ReplyFlags, ReplyType, TransmissionFlags,
};

/// The most words that advice lists.
const LISTED: usize = 12;

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    Number,
    /// In nanoseconds.
    Time,
    Text,
    Payload,
    Side,
    YesNo,
    Kind,
    /// The name of a message.
    Name,
    /// The second word of a line.
    Variant,
    Error,
    Form,
    Option,
    /// Sets from here on.
    Flags,
    HandshakeFlags,
    Infos,
    Texts,
    Ids,
    Extents,
}

impl Holds {
    pub(super) const fn is_set(self) -> bool {
        matches!(
            self,
            Self::Flags
                | Self::HandshakeFlags
                | Self::Infos
                | Self::Texts
                | Self::Ids
                | Self::Extents
        )
    }

    pub(super) const fn is_flags(self) -> bool {
        matches!(self, Self::Flags | Self::HandshakeFlags)
    }

    /// What can be more or less.
    pub(super) const fn has_order(self) -> bool {
        matches!(self, Self::Number | Self::Time)
    }

    /// What it is compared with, or for a set one item of it, with its article.
    pub(super) const fn wanted(self) -> &'static str {
        match self {
            Self::Number => "a number",
            Self::Time => "a time",
            Self::Text | Self::Texts => "a text in double quotes",
            Self::Payload => "a payload such as `zero*4096`",
            Self::Side => "a side",
            Self::YesNo => "`yes` or `no`",
            Self::Kind => "a kind of message",
            Self::Name => "the name of a message",
            Self::Variant => "the second word of a line",
            Self::Error => "an error value",
            Self::Form => "a form of header",
            Self::Option => "an option type",
            Self::Flags | Self::HandshakeFlags => "a flag",
            Self::Infos => "an information type",
            Self::Ids => "a context id",
            Self::Extents => "an extent such as `65536:0`",
        }
    }

    /// The words that the specification or the notation has for it.
    fn words(self) -> Vec<&'static str> {
        let errors = || ErrorCode::ALL.iter().filter_map(|v| v.name());
        let infos = || InfoType::ALL.iter().filter_map(|v| v.name());
        let options = || OptionType::ALL.iter().filter_map(|v| v.name());
        match self {
            Self::Side => vec!["client", "server"],
            Self::YesNo => vec!["yes", "no"],
            Self::Kind => Kind::ALL.iter().map(|kind| kind.name()).collect(),
            Self::Name => options()
                .chain(ReplyType::ALL.iter().filter_map(|v| v.name()))
                .chain(Command::ALL.iter().filter_map(|v| v.name()))
                .chain(ChunkType::ALL.iter().filter_map(|v| v.name()))
                .chain(errors())
                .chain(GREETINGS.iter().copied())
                .chain([Kind::ClientFlags.name(), Kind::ExportInfo.name()])
                .collect(),
            Self::Variant => GREETINGS.iter().copied().chain(infos()).chain(errors()).collect(),
            Self::Error => errors().collect(),
            Self::Form => vec!["compact", "structured", "extended"],
            Self::Option => options().collect(),
            Self::Infos => infos().collect(),
            Self::HandshakeFlags => HandshakeFlags::ALL.iter().map(|(_, name)| *name).collect(),
            Self::Flags => (HandshakeFlags::ALL.iter().map(|(_, name)| *name))
                .chain(ClientFlags::ALL.iter().map(|(_, name)| *name))
                .chain(TransmissionFlags::ALL.iter().map(|(_, name)| *name))
                .chain(CommandFlags::ALL.iter().map(|(_, name)| *name))
                .chain(ReplyFlags::ALL.iter().map(|(_, name)| *name))
                .collect(),
            Self::Number
            | Self::Time
            | Self::Text
            | Self::Texts
            | Self::Payload
            | Self::Ids
            | Self::Extents => Vec::new(),
        }
    }

    /// The word as messages print it: a number behind a prefix (`NBD_CMD_0x3`) may have a name.
    pub(super) fn word(self, word: &str) -> Option<String> {
        if matches!(self, Self::Text | Self::Texts) || self.words().contains(&word) {
            return Some(word.to_owned());
        }
        let error = || word.parse::<ErrorCode>().ok().map(|value| value.to_string());
        let info = || word.parse::<InfoType>().ok().map(|value| value.to_string());
        let option = || word.parse::<OptionType>().ok().map(|value| value.to_string());
        match self {
            Self::Name => option()
                .or_else(|| word.parse::<ReplyType>().ok().map(|value| value.to_string()))
                .or_else(|| word.parse::<Command>().ok().map(|value| value.to_string()))
                .or_else(|| word.parse::<ChunkType>().ok().map(|value| value.to_string()))
                .or_else(error),
            Self::Variant => info().or_else(error),
            Self::Error => error(),
            Self::Option => option(),
            Self::Infos => info(),
            _ => None,
        }
    }

    /// The word that a number stands for.
    pub(super) fn number(self, number: u64) -> Option<String> {
        let wide = u32::try_from(number).ok();
        match self {
            Self::Error => wide.map(|number| ErrorCode(number).to_string()),
            Self::Option => wide.map(|number| OptionType(number).to_string()),
            Self::Infos => u16::try_from(number).ok().map(|number| InfoType(number).to_string()),
            Self::Ids => wide.map(|number| number.to_string()),
            _ => None,
        }
    }

    /// What may have been meant by a word that it does not have.
    pub(super) fn advice(self, word: &str) -> Option<String> {
        let words = self.words();
        let upper = word.to_ascii_uppercase();
        let longer = words.iter().find(|known| {
            known.ends_with(&format!("_{upper}")) || upper.ends_with(&format!("_{known}"))
        });
        if let Some(longer) = longer {
            return Some(format!("did you mean `{longer}`?"));
        }
        did_you_mean(word, words.iter().copied()).or_else(|| {
            let list: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
            (1..=LISTED).contains(&list.len()).then(|| format!("it is one of {}", list.join(", ")))
        })
    }
}
