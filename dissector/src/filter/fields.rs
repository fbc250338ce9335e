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
    field("session", Holds::Number, "number of the session"),
    field("number", Holds::Number, "number of the message within its session"),
    field("time", Holds::Time, "time since the session began"),
    field("latency", Holds::Time, "of a reply: time since the request or option it answers"),
    field("from", Holds::Side, "sender: client or server"),
    field("kind", Holds::Kind, "message kind, as in JSON: option, option-reply, request, ..."),
    field(
        "name",
        Holds::Name,
        "NBD_OPT_GO, NBD_CMD_READ, ...; for a simple reply, ok or its error",
    ),
    field(
        "variant",
        Holds::Variant,
        "second word of the line: fixed-newstyle, NBD_INFO_EXPORT, ok",
    ),
    field("bytes", Holds::Number, "length of the whole message"),
    field("tls", Holds::YesNo, "yes or no: sent inside TLS"),
    field("cookie", Holds::Number, "cookie of a request or reply"),
    field(
        "count",
        Holds::Number,
        "number of extents that NBD_REPLY_TYPE_BLOCK_STATUS_EXT announces",
    ),
    field("data", Holds::Payload, "payload, as printed"),
    field("description", Holds::Text, "description of an export"),
    field("effect-length", Holds::Number, "effect length in the payload of NBD_CMD_BLOCK_STATUS"),
    field("error", Holds::Error, "error of a reply: ok, NBD_EINVAL, ..."),
    field("export", Holds::Text, "name of an export or of a metadata context"),
    field("extents", Holds::Extents, "set such as {65536:0}"),
    field("flags", Holds::Flags, "set: FUA, DF, DONE, HAS_FLAGS, ..."),
    field("form", Holds::Form, "form of a header: compact, structured, extended"),
    field("handshake-flags", Holds::HandshakeFlags, "set, in an oldstyle greeting"),
    field("id", Holds::Number, "id of a metadata context"),
    field("ids", Holds::Ids, "set, in the payload of NBD_CMD_BLOCK_STATUS"),
    field(
        "info",
        Holds::Infos,
        "information types that an option requests (a set), or that NBD_REP_INFO carries",
    ),
    field("length", Holds::Number, "length of a request"),
    field("maximum", Holds::Number, "maximum payload size, in NBD_INFO_BLOCK_SIZE"),
    field("minimum", Holds::Number, "minimum block size"),
    field("preferred", Holds::Number, "preferred block size"),
    field("message", Holds::Text, "text of an error"),
    field("offset", Holds::Number, "offset of a request, of data, of a hole or of an error"),
    field("option", Holds::Option, "option that a reply answers: NBD_OPT_GO, ..."),
    field("padding", Holds::Payload, "the 124 zero bytes after the size and flags of an export"),
    field("queries", Holds::Texts, "set of texts, in options about metadata contexts"),
    field("request-offset", Holds::Number, "offset of the request, in an extended chunk header"),
    field("size", Holds::Number, "size of an export or of a hole"),
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
