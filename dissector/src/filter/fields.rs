//! What a filter can ask for; the one place that lists it.

use super::values::Holds;

/// What can be asked of a message, and what it means.
#[derive(Debug, PartialEq)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) holds: Holds,
    what: &'static str,
}

const fn field(name: &'static str, holds: Holds, what: &'static str) -> Field {
    Field { name, holds, what }
}

/// First what every message has, then the fields of the notation.
pub(super) const FIELDS: &[Field] = &[
    field("session", Holds::Number, "the session's number"),
    field("number", Holds::Number, "the message's number in its session"),
    field("time", Holds::Time, "since the session began"),
    field("latency", Holds::Time, "of a reply: since the request or option that it answers"),
    field("from", Holds::Side, "client, server"),
    field("kind", Holds::Kind, "option, option-reply, request, ..., as in JSON"),
    field("name", Holds::Name, "NBD_OPT_GO, NBD_CMD_READ, ...; of a simple reply ok or its error"),
    field(
        "variant",
        Holds::Variant,
        "the second word of the line: fixed-newstyle, NBD_INFO_EXPORT, ok",
    ),
    field("bytes", Holds::Number, "the length of the whole message"),
    field("tls", Holds::YesNo, "yes, no: whether it came inside TLS"),
    field("cookie", Holds::Number, "of requests and replies"),
    field("count", Holds::Number, "the extents that an NBD_REPLY_TYPE_BLOCK_STATUS_EXT claims"),
    field("data", Holds::Payload, "a payload, as it prints"),
    field("description", Holds::Text, "of an export"),
    field("effect-length", Holds::Number, "in the payload of NBD_CMD_BLOCK_STATUS"),
    field("error", Holds::Error, "of a reply: ok, NBD_EINVAL, ..."),
    field("export", Holds::Text, "a name: of an export, of a context"),
    field("extents", Holds::Extents, "a set such as {65536:0}"),
    field("flags", Holds::Flags, "a set: FUA, DF, DONE, HAS_FLAGS, ..."),
    field("form", Holds::Form, "of a header: compact, structured, extended"),
    field("handshake-flags", Holds::HandshakeFlags, "a set, of an oldstyle greeting"),
    field("id", Holds::Number, "of a metadata context"),
    field("ids", Holds::Ids, "a set, in the payload of NBD_CMD_BLOCK_STATUS"),
    field(
        "info",
        Holds::Infos,
        "the information that an option asks for (a set), and of NBD_REP_INFO",
    ),
    field("length", Holds::Number, "that a request asks for"),
    field("maximum", Holds::Number, "in NBD_INFO_BLOCK_SIZE, as the next two"),
    field("minimum", Holds::Number, "block size"),
    field("preferred", Holds::Number, "block size"),
    field("message", Holds::Text, "the text of an error"),
    field("offset", Holds::Number, "of a request, of data, of a hole, of an error"),
    field("option", Holds::Option, "that a reply answers: NBD_OPT_GO"),
    field("padding", Holds::Payload, "the 124 bytes after an export's size and flags"),
    field("queries", Holds::Texts, "a set of texts, of the options about metadata contexts"),
    field("request-offset", Holds::Number, "of a chunk under extended headers"),
    field("size", Holds::Number, "of an export, of a hole"),
];

/// The field with this name.
pub(super) fn find(name: &str) -> Option<&'static Field> {
    FIELDS.iter().find(|field| field.name == name)
}

/// The names of all fields.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    FIELDS.iter().map(|field| field.name)
}

/// A line for each field that a filter can ask for, with what it means.
#[must_use]
pub fn fields() -> String {
    let lines = FIELDS.iter().map(|Field { name, what, .. }| format!("  {name:<16} {what}\n"));
    lines.collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use protocol::notation::vocabulary::Head;
    use protocol::values::{ChunkType, Command, InfoType, OptionType, ReplyType};

    use super::*;

    #[test]
    fn every_field_of_the_notation_can_be_asked_for() {
        let heads = [Head::Greeting, Head::ClientFlags, Head::ExportInfo, Head::SimpleReply];
        let heads = heads
            .into_iter()
            .chain(OptionType::ALL.iter().map(|option| Head::Option(*option)))
            .chain(ReplyType::ALL.iter().map(|reply| Head::OptionReply(*reply)))
            .chain(Command::ALL.iter().map(|command| Head::Request(*command)))
            .chain(ChunkType::ALL.iter().map(|chunk| Head::Chunk(*chunk)));
        let infos = InfoType::ALL.iter().filter_map(|info| info.name());
        let variants: Vec<&str> = infos.chain(["oldstyle", "newstyle"]).collect();
        let known: BTreeSet<&str> = names().collect();
        for head in heads {
            for variant in &variants {
                for field in head.fields(Some(variant)) {
                    // Only sent lines state a magic; the name of the notation is `export` here.
                    let asked = match field.key {
                        "magic" => continue,
                        "name" => "export",
                        key => key,
                    };
                    assert!(known.contains(asked), "{asked} of {head:?}");
                }
            }
        }
        assert_eq!(known.len(), FIELDS.len());
    }
}
