//! What a filter can ask for; the one place that lists it.

/// What can be asked of a message, and what it means.
pub(super) struct Field {
    pub(super) name: &'static str,
    what: &'static str,
}

const fn field(name: &'static str, what: &'static str) -> Field {
    Field { name, what }
}

/// First what every message has, then the fields of the notation.
pub(super) const FIELDS: &[Field] = &[
    field("session", "the session's number"),
    field("number", "the message's number in its session"),
    field("time", "since the session began"),
    field("latency", "of a reply: since the request or option that it answers"),
    field("from", "client, server"),
    field("kind", "option, option-reply, request, ..., as in JSON"),
    field("name", "NBD_OPT_GO, NBD_CMD_READ, ...; of a simple reply ok or its error"),
    field("variant", "the second word of the line: fixed-newstyle, NBD_INFO_EXPORT, ok"),
    field("bytes", "the length of the whole message"),
    field("tls", "yes, no: whether it came inside TLS"),
    field("cookie", "of requests and replies"),
    field("count", "the extents that an NBD_REPLY_TYPE_BLOCK_STATUS_EXT claims"),
    field("data", "a payload, as it prints"),
    field("description", "of an export"),
    field("effect-length", "in the payload of NBD_CMD_BLOCK_STATUS"),
    field("error", "of a reply: ok, NBD_EINVAL, ..."),
    field("export", "a name: of an export, of a context"),
    field("extents", "a set such as {\"65536:0\"}"),
    field("flags", "a set: FUA, DF, DONE, HAS_FLAGS, ..."),
    field("form", "of a header: compact, structured, extended"),
    field("handshake-flags", "a set, of an oldstyle greeting"),
    field("id", "of a metadata context"),
    field("ids", "a set, in the payload of NBD_CMD_BLOCK_STATUS"),
    field("info", "the information that an option asks for (a set), and of NBD_REP_INFO"),
    field("length", "that a request asks for"),
    field("maximum", "in NBD_INFO_BLOCK_SIZE, as the next two"),
    field("minimum", "block size"),
    field("preferred", "block size"),
    field("message", "the text of an error"),
    field("offset", "of a request, of data, of a hole, of an error"),
    field("option", "that a reply answers: NBD_OPT_GO"),
    field("padding", "the 124 bytes after an export's size and flags"),
    field("queries", "a set of texts, of the options about metadata contexts"),
    field("request-offset", "of a chunk under extended headers"),
    field("size", "of an export, of a hole"),
];

/// The names of all fields.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    FIELDS.iter().map(|field| field.name)
}

/// A line for each field that a filter can ask for, with what it means.
#[must_use]
pub fn fields() -> String {
    let lines = FIELDS.iter().map(|Field { name, what }| format!("  {name:<16} {what}\n"));
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
