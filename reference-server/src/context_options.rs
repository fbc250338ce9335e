//! The options that list and select metadata contexts (section "Metadata querying"). No sockets, no
//! clock.

use std::sync::Arc;

use protocol::codec::layout_error;
use protocol::message::{Message, OptionBody, OptionRequest, ReplyBody};
use protocol::text::WireString;
use protocol::values::{OptionType, ReplyType, STRING_LIMIT};

use crate::answer::{Answer, Next, check_name, message, refuse, shortened};
use crate::behaviour::Selects;
use crate::config::Config;
use crate::contexts::{self, Context};
use crate::export::Export;
use crate::features::Replies;
use crate::negotiated::Negotiated;
use crate::outgoing::Parts;

/// How many queries one option may hold; more are too big.
const QUERIES: usize = 1024;

/// `NBD_OPT_LIST_META_CONTEXT`.
pub(crate) fn list(
    agreed: &Negotiated,
    config: &Config,
    tls: bool,
    request: &OptionRequest,
) -> Answer {
    match query(agreed, config, tls, request) {
        Ok((export, queries)) => {
            let all = available(config, &export);
            let listed = contexts::listed(all, queries);
            tell(request.option, listed.into_iter().map(|context| (0, context)))
        }
        Err(answer) => answer,
    }
}

/// `NBD_OPT_SET_META_CONTEXT`: replaces what was selected before, also when it fails.
pub(crate) fn set(
    agreed: &mut Negotiated,
    config: &Config,
    tls: bool,
    request: &OptionRequest,
) -> Answer {
    if !config.behaviour.keeps_selection {
        agreed.deselect();
    }
    let (export, queries) = match query(agreed, config, tls, request) {
        Ok(asked) => asked,
        Err(answer) => return answer,
    };
    let all = available(config, &export);
    let named = match config.behaviour.selects {
        Selects::AllWithoutQuery if queries.is_empty() => all,
        Selects::Listed if !queries.is_empty() => contexts::listed(all, queries),
        Selects::Begun => contexts::begun(all, queries),
        _ => contexts::named(all, queries),
    };
    let selected = agreed.select(export, named, config.behaviour.context_ids);
    tell(request.option, selected.iter().map(|it| (it.id, it.context.clone())))
}

/// The export and the queries of a context option, or the refusal.
fn query<'a>(
    agreed: &Negotiated,
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
    let early = match option {
        OptionType::LIST_META_CONTEXT => config.behaviour.lists_contexts_early,
        _ => config.behaviour.sets_contexts_early,
    };
    if agreed.replies() == Replies::Simple && !early {
        let why = "structured replies or extended headers must be agreed first";
        return refusal(ReplyType::ERR_INVALID, why);
    }
    if let Err(why) = check_name(name, config.behaviour.name_limit) {
        return refusal(ReplyType::ERR_INVALID, why);
    }
    if queries.len() > QUERIES {
        let why = format!("there are {} queries, more than {QUERIES}", queries.len());
        return refusal(ReplyType::ERR_TOO_BIG, &why);
    }
    let passes = config.behaviour.passes_long_queries;
    if !passes && queries.iter().any(|query| query.len() > STRING_LIMIT) {
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

/// The contexts of an export, in the order in which they are told.
fn available(config: &Config, export: &Export) -> Vec<Context> {
    let mut all = contexts::available(&config.behaviour.features, export);
    if config.behaviour.contexts_reversed {
        all.reverse();
    }
    all
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
