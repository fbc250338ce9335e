//! Which words a line may use: the heads, what second word each takes, and its fields. They
//! serve [`crate::build`] and the checks of scripts; the fields of a message are those of its parts in [`crate::message`].

use crate::message::{Side, chunk, greeting, option, option_reply, request, simple_reply};
use crate::nearest::did_you_mean;
use crate::values::{ChunkType, Command, OptionType, ReplyType};

pub use super::field::{FieldKind, FieldSpec, GREETINGS, VariantKind};

/// What a line's first word names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// `greeting`
    Greeting,
    /// `client-flags`
    ClientFlags,
    /// `NBD_OPT_...`
    Option(OptionType),
    /// `NBD_REP_...`
    OptionReply(ReplyType),
    /// `error`: any error reply to an option. Received only.
    AnyError,
    /// `export-info`
    ExportInfo,
    /// `NBD_CMD_...`
    Request(Command),
    /// `simple-reply`
    SimpleReply,
    /// `NBD_REPLY_TYPE_...`
    Chunk(ChunkType),
    /// `reply`: a whole reply in whichever form.
    Reply,
    /// `bytes`: bytes that are not a message. Sent only.
    Bytes,
    /// `end`, `close`, `reset`, `timeout`: how a connection ends. Received only.
    End,
}

/// The heads that are no numbers with names.
const WORDS: &[(&str, Head)] = &[
    ("greeting", Head::Greeting),
    ("client-flags", Head::ClientFlags),
    ("error", Head::AnyError),
    ("export-info", Head::ExportInfo),
    ("simple-reply", Head::SimpleReply),
    ("reply", Head::Reply),
    ("bytes", Head::Bytes),
    ("end", Head::End),
    ("close", Head::End),
    ("reset", Head::End),
    ("close-notify", Head::End),
    ("timeout", Head::End),
];

impl Head {
    /// The head that a word names.
    #[must_use]
    pub fn find(word: &str) -> Option<Self> {
        if let Some((_, head)) = WORDS.iter().find(|(name, _)| *name == word) {
            return Some(*head);
        }
        None.or_else(|| word.parse().ok().map(Self::Option))
            .or_else(|| word.parse().ok().map(Self::Request))
            .or_else(|| word.parse().ok().map(Self::Chunk))
            .or_else(|| word.parse().ok().map(Self::OptionReply))
    }

    /// Who says it; `None` where either side may.
    #[must_use]
    pub const fn side(self) -> Option<Side> {
        match self {
            Self::ClientFlags | Self::Option(_) | Self::Request(_) => Some(Side::Client),
            Self::Bytes | Self::End => None,
            _ => Some(Side::Server),
        }
    }

    /// `did you mean ...?`, if a known head is near.
    #[must_use]
    pub fn did_you_mean(word: &str) -> Option<String> {
        let names = WORDS.iter().map(|(name, _)| *name);
        let names = names
            .chain(OptionType::ALL.iter().filter_map(|v| v.name()))
            .chain(ReplyType::ALL.iter().filter_map(|v| v.name()))
            .chain(Command::ALL.iter().filter_map(|v| v.name()))
            .chain(ChunkType::ALL.iter().filter_map(|v| v.name()));
        did_you_mean(word, names)
    }

    /// What the second word is.
    #[must_use]
    pub fn variant(self) -> VariantKind {
        match self {
            Self::Greeting => VariantKind::Style,
            Self::OptionReply(ReplyType::INFO) => VariantKind::Info,
            Self::SimpleReply => VariantKind::Error,
            Self::Reply => VariantKind::Outcome,
            _ => VariantKind::None,
        }
    }

    /// The fields of the message. `variant` is the second word, `None` where any will do.
    #[must_use]
    pub fn fields(self, variant: Option<&str>) -> Vec<FieldSpec> {
        use FieldKind as K;
        let words: &[(&'static str, FieldKind)] = match self {
            Self::Greeting => {
                return variant.map_or_else(Vec::new, |style| greeting::fields(style).0);
            }
            Self::ClientFlags => return greeting::client_flags_fields().0,
            Self::Option(option) => return option::fields(option).0,
            Self::OptionReply(reply) => {
                let info = match reply {
                    ReplyType::INFO => variant.and_then(|word| word.parse().ok()),
                    _ => None,
                };
                return option_reply::fields(reply, info).0;
            }
            Self::ExportInfo => return greeting::export_info_fields().0,
            Self::Request(command) => return request::fields(command).0,
            Self::SimpleReply => return simple_reply::fields().0,
            Self::Chunk(chunk) => return chunk::fields(chunk).0,
            Self::AnyError => &[("option", K::Option), ("message", K::Text), ("data", K::Payload)],
            Self::Reply => &[
                ("cookie", K::Cookie),
                ("error", K::Error),
                ("message", K::Text),
                ("offset", K::Int(u64::MAX)),
                ("chunks", K::Int(u64::MAX)),
                ("extents", K::Extents),
                ("data", K::Payload),
            ],
            Self::Bytes => &[("data", K::Payload)],
            Self::End => &[],
        };
        words.iter().map(|(key, kind)| FieldSpec { key, kind: *kind }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunk_types_are_not_taken_for_option_replies() {
        assert_eq!(Head::find("NBD_REPLY_TYPE_NONE"), Some(Head::Chunk(ChunkType::NONE)));
        assert_eq!(Head::find("NBD_REPLY_TYPE_0x7"), Some(Head::Chunk(ChunkType(7))));
        assert_eq!(Head::find("NBD_REP_0x7"), Some(Head::OptionReply(ReplyType(7))));
        assert_eq!(Head::find("NBD_OPT_GOO"), None);
    }

    #[test]
    fn knows_what_is_near() {
        let near = Head::did_you_mean("NBD_OPT_GOO");
        assert_eq!(near.as_deref(), Some("did you mean `NBD_OPT_GO`?"));
        assert_eq!(Head::did_you_mean("replay").as_deref(), Some("did you mean `reply`?"));
    }
}
