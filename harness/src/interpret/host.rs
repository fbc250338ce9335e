//! What `-- serve` serves on a connection.

use std::collections::BTreeSet;

use protocol::message::{Info, OptionBody, OptionRequest, ReplyBody};
use protocol::text::WireString;
use protocol::values::{InfoType, OptionType, ReplyType, TransmissionFlags};

use crate::script::ast::Replies;

/// What is served on a connection.
#[derive(Debug, Clone)]
pub(super) struct Host {
    pub(super) size: u64,
    pub(super) flags: TransmissionFlags,
    /// Minimum, preferred and maximum, where any is advertised.
    pub(super) sizes: Option<[u32; 3]>,
    /// Whether the client has said, by asking NBD_OPT_GO for them, that it keeps to them.
    pub(super) asked_sizes: bool,
    pub(super) replies: Replies,
    pub(super) may_structured: bool,
    pub(super) contexts: Option<Vec<(u32, WireString)>>,
    /// The ids of what the client has selected.
    pub(super) selected: BTreeSet<u32>,
}

impl Host {
    /// The replies to an option that is not NBD_OPT_EXPORT_NAME, the final one last.
    pub(super) fn answer(
        &mut self,
        option: &OptionRequest,
        export: &WireString,
        structured: bool,
    ) -> Vec<(ReplyType, ReplyBody)> {
        let only = |reply: ReplyType| vec![(reply, ReplyBody::Empty)];
        match (option.option, &option.body) {
            (OptionType::ABORT, _) => only(ReplyType::ACK),
            (OptionType::LIST, OptionBody::Empty) => {
                let name = export.clone();
                let body = ReplyBody::Server { name, description: WireString::default() };
                vec![(ReplyType::SERVER, body), (ReplyType::ACK, ReplyBody::Empty)]
            }
            (OptionType::STRUCTURED_REPLY, OptionBody::Empty) => only(match self.replies {
                Replies::Default if !self.may_structured => ReplyType::ERR_UNSUP,
                _ => ReplyType::ACK,
            }),
            (OptionType::EXTENDED_HEADERS, OptionBody::Empty) => only(match self.replies {
                Replies::Extended => ReplyType::ACK,
                Replies::Default | Replies::Structured => ReplyType::ERR_UNSUP,
            }),
            (OptionType::INFO | OptionType::GO, OptionBody::Info { name, requests }) => {
                self.asked_sizes = requests.contains(&InfoType::BLOCK_SIZE);
                if name != export {
                    return only(ReplyType::ERR_UNKNOWN);
                }
                let df = TransmissionFlags::SEND_DF;
                let flags = if structured { self.flags } else { self.flags.without(df) };
                let size = self.size;
                let mut replies =
                    vec![(ReplyType::INFO, ReplyBody::Info(Info::Export { size, flags }))];
                if let Some([minimum, preferred, maximum]) = self.sizes {
                    let sizes = Info::BlockSize { minimum, preferred, maximum };
                    replies.push((ReplyType::INFO, ReplyBody::Info(sizes)));
                }
                replies.push((ReplyType::ACK, ReplyBody::Empty));
                replies
            }
            (
                OptionType::LIST_META_CONTEXT | OptionType::SET_META_CONTEXT,
                OptionBody::Meta { export: wanted, queries },
            ) => {
                let Some(contexts) = &self.contexts else { return only(ReplyType::ERR_UNSUP) };
                let set = option.option == OptionType::SET_META_CONTEXT;
                if set {
                    self.selected.clear();
                }
                if !structured {
                    return only(ReplyType::ERR_INVALID);
                }
                if wanted != export {
                    return only(ReplyType::ERR_UNKNOWN);
                }
                let all = !set && queries.is_empty();
                let asked = |name: &WireString| {
                    let namespace = |query: &WireString| {
                        let query = query.as_bytes();
                        !set && query.ends_with(b":") && name.as_bytes().starts_with(query)
                    };
                    queries.iter().any(|query| query == name || namespace(query))
                };
                let mut replies = Vec::new();
                for (id, name) in contexts.iter().filter(|(_, name)| all || asked(name)) {
                    if set {
                        self.selected.insert(*id);
                    }
                    let body = ReplyBody::MetaContext { id: *id, name: name.clone() };
                    replies.push((ReplyType::META_CONTEXT, body));
                }
                replies.push((ReplyType::ACK, ReplyBody::Empty));
                replies
            }
            (
                OptionType::LIST
                | OptionType::STRUCTURED_REPLY
                | OptionType::EXTENDED_HEADERS
                | OptionType::INFO
                | OptionType::GO
                | OptionType::LIST_META_CONTEXT
                | OptionType::SET_META_CONTEXT,
                _,
            ) => only(ReplyType::ERR_INVALID),
            _ => only(ReplyType::ERR_UNSUP),
        }
    }
}
