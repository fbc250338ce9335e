//! What haggling has agreed on, apart from TLS and the export. No sockets, no clock.

use std::sync::Arc;

use protocol::codec::layout_error;
use protocol::message::{Message, OptionBody, OptionRequest, ReplyBody};
use protocol::text::WireString;
use protocol::values::{OptionType, ReplyType, STRING_LIMIT};

use crate::config::{Config, Replies};
use crate::contexts::{self, Context, Selected};
use crate::export::Export;
use crate::fault::Fault;
use crate::negotiation::{Answer, Next, check_name, message, refuse, reply, shortened};
use crate::parts::Parts;

/// How many queries one option may hold; more are too big.
const QUERIES: usize = 1024;

/// The state that options build up. STARTTLS throws it away (section "Option types").
#[derive(Debug, Default)]
pub(crate) struct Agreed {
    structured: bool,
    extended: bool,
    selection: Option<Selection>,
    /// How many ids have been given out.
    ids: u32,
}

/// The contexts of the last `NBD_OPT_SET_META_CONTEXT`, if it did not fail.
#[derive(Debug)]
struct Selection {
    export: Arc<Export>,
    contexts: Vec<Selected>,
}

impl Agreed {
    /// The form of replies in transmission; extended headers win.
    pub(crate) fn replies(&self) -> Replies {
        match (self.extended, self.structured) {
            (true, _) => Replies::Extended,
            (_, true) => Replies::Structured,
            _ => Replies::Simple,
        }
    }

    /// The contexts that `NBD_CMD_BLOCK_STATUS` tells of once that export is entered.
    pub(crate) fn contexts(&self, export: &Arc<Export>) -> &[Selected] {
        match &self.selection {
            Some(selection) if Arc::ptr_eq(&selection.export, export) => &selection.contexts,
            _ => &[],
        }
    }

    /// The contexts of the last selection, whatever export it was for: only a fault tells them.
    pub(crate) fn contexts_of_any(&self) -> &[Selected] {
        self.selection.as_ref().map_or(&[], |selection| &selection.contexts)
    }

    /// `NBD_OPT_STRUCTURED_REPLY`.
    pub(crate) fn structured_reply(&mut self, config: &Config, body: &OptionBody) -> Answer {
        let option = OptionType::STRUCTURED_REPLY;
        if *body != OptionBody::Empty && !config.breaks(Fault::StructuredDataAccepted) {
            let why = "NBD_OPT_STRUCTURED_REPLY takes no data";
            return refuse(option, ReplyType::ERR_INVALID, why);
        }
        if self.extended {
            let why = "extended headers have been agreed, and take precedence";
            return refuse(option, ReplyType::ERR_EXT_HEADER_REQD, why);
        }
        if self.structured && config.manners.structured_once {
            let why = "structured replies have been agreed already";
            return refuse(option, ReplyType::ERR_INVALID, why);
        }
        self.structured = true;
        reply(option, ReplyType::ACK, ReplyBody::Empty)
    }

    /// `NBD_OPT_EXTENDED_HEADERS`.
    pub(crate) fn extended_headers(&mut self, body: &OptionBody) -> Answer {
        let option = OptionType::EXTENDED_HEADERS;
        if *body != OptionBody::Empty {
            let why = "NBD_OPT_EXTENDED_HEADERS takes no data";
            return refuse(option, ReplyType::ERR_INVALID, why);
        }
        self.extended = true;
        reply(option, ReplyType::ACK, ReplyBody::Empty)
    }

    /// `NBD_OPT_LIST_META_CONTEXT`.
    pub(crate) fn list_contexts(
        &self,
        config: &Config,
        tls: bool,
        request: &OptionRequest,
    ) -> Answer {
        match self.query(config, tls, request) {
            Ok((export, queries)) => {
                let all = contexts::available(&config.features, &export);
                let listed = contexts::listed(all, queries);
                tell(request.option, listed.into_iter().map(|context| (0, context)))
            }
            Err(answer) => answer,
        }
    }

    /// `NBD_OPT_SET_META_CONTEXT`: replaces what was selected before, also when it fails.
    pub(crate) fn set_contexts(
        &mut self,
        config: &Config,
        tls: bool,
        request: &OptionRequest,
    ) -> Answer {
        if !config.breaks(Fault::ContextSelectionKept) {
            self.selection = None;
        }
        let (export, queries) = match self.query(config, tls, request) {
            Ok(asked) => asked,
            Err(answer) => return answer,
        };
        let all = contexts::available(&config.features, &export);
        let named = match config.fault {
            Some(Fault::ContextWithoutQuery) if queries.is_empty() => all,
            Some(Fault::ContextWildcardSelects) if !queries.is_empty() => {
                contexts::listed(all, queries)
            }
            Some(Fault::ContextPrefixSelects) => contexts::begun(all, queries),
            _ => contexts::named(all, queries),
        };
        let select = |context| Selected { id: self.id(), context };
        let contexts: Vec<Selected> = named.into_iter().map(select).collect();
        let told = contexts.iter().map(|selected| (selected.id, selected.context.clone()));
        let answer = tell(request.option, told);
        self.selection = Some(Selection { export, contexts });
        answer
    }

    /// The next id: unlike those before it, and unlike an index, for clients must not guess.
    fn id(&mut self) -> u32 {
        self.ids = self.ids.wrapping_add(1);
        // An odd factor: no two numbers give the same product.
        self.ids.wrapping_mul(0x9e37_79b1)
    }

    /// The export and the queries of a context option, or the refusal.
    fn query<'a>(
        &self,
        config: &Config,
        tls: bool,
        request: &'a OptionRequest,
    ) -> Result<(Arc<Export>, &'a [WireString]), Answer> {
        let option = request.option;
        let refusal = |error, why: &str| Err(refuse(option, error, why));
        let (name, queries) = match &request.body {
            OptionBody::Meta { export, queries } => (export, queries),
            OptionBody::Bulk(_) => return refusal(ReplyType::ERR_TOO_BIG, "the data is too long"),
            _ => {
                let error = layout_error(&Message::Option(request.clone()));
                let why = error.map_or("the data is missing".to_owned(), |error| error.to_string());
                return refusal(ReplyType::ERR_INVALID, &why);
            }
        };
        let early = (option == OptionType::LIST_META_CONTEXT
            && config.manners.lists_contexts_early)
            || config.breaks(Fault::ContextEarly);
        if self.replies() == Replies::Simple && !early {
            let why = "structured replies or extended headers must be agreed first";
            return refusal(ReplyType::ERR_INVALID, why);
        }
        if let Err(why) = check_name(name, config.manners.name_limit) {
            return refusal(ReplyType::ERR_INVALID, why);
        }
        if queries.len() > QUERIES {
            let why = format!("there are {} queries, more than {QUERIES}", queries.len());
            return refusal(ReplyType::ERR_TOO_BIG, &why);
        }
        if queries.iter().any(|query| query.len() > STRING_LIMIT) {
            return refusal(ReplyType::ERR_INVALID, "a query has at most 4096 bytes");
        }
        match config.exports.find(name.as_bytes()) {
            // Not ERR_TLS_REQD, which selective TLS has for INFO and GO only.
            Some(export) if export.is_tls_only() && !tls => {
                refusal(ReplyType::ERR_POLICY, "the export is served inside TLS only")
            }
            Some(export) => Ok((export.clone(), queries)),
            None => {
                let why = format!("no export is named {}", shortened(name));
                refusal(ReplyType::ERR_UNKNOWN, &why)
            }
        }
    }
}

/// A reply for each context, and the ACK.
fn tell(option: OptionType, contexts: impl Iterator<Item = (u32, Context)>) -> Answer {
    let mut parts = Parts::default();
    for (id, context) in contexts {
        let body = ReplyBody::MetaContext { id, name: context.name().into() };
        parts.message(message(option, ReplyType::META_CONTEXT, body));
    }
    parts.message(message(option, ReplyType::ACK, ReplyBody::Empty));
    Answer { parts, next: Next::Option }
}
