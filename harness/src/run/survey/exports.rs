//! The exports that a server lists, as it describes them.

use protocol::message::{OptionBody, ReplyBody};
use protocol::text::WireString;
use protocol::values::{InfoType, OptionType, ReplyType};

use super::capabilities::TlsMode;
use super::export::{DESCRIBED, Export};
use super::fact::NoAnswer;
use super::surveyor::Surveyor;
use super::way::Way;

/// How many are asked for on one connection: nbdkit closes after 32 options.
const AT_ONCE: usize = 16;
/// How many are entered to be known, where there is no INFO.
const ENTERED: usize = 8;

/// Describes the export that was entered and the first [`DESCRIBED`] that are listed, as far as the
/// server tells.
pub(super) async fn describe(surveyor: &mut Surveyor<'_>) {
    let found = &surveyor.found;
    let mut names: Vec<WireString> = found.listed.iter().flatten().cloned().collect();
    names.truncate(DESCRIBED);
    let entered = WireString::from(found.export.as_str());
    if found.route.is_some() && !names.contains(&entered) {
        names.insert(0, entered.clone());
    }
    let mut exports: Vec<Export> = names.into_iter().map(Export::named).collect();
    if found.offers(OptionType::INFO) {
        let inside = surveyor.inside;
        for group in exports.chunks_mut(AT_ONCE) {
            // Who hangs up keeps the rest to himself.
            if ask(surveyor, inside, group).await.is_err() {
                break;
            }
        }
    } else {
        enter(surveyor, &mut exports, &entered).await;
    }
    if surveyor.found.tls == TlsMode::Selective && surveyor.whom.security.is_some() {
        look_inside(surveyor, &mut exports).await;
    }
    // What entering has shown holds, also of servers that can't be asked.
    let found = &surveyor.found;
    if found.route.is_some()
        && let Some(export) = exports.iter_mut().find(|export| export.name == entered)
    {
        export.size = Some(found.size);
        export.flags = Some(found.flags);
        export.block_size = export.block_size.or(found.block_size);
    }
    surveyor.found.exports = exports;
}

/// Asks for these exports on one connection.
async fn ask(
    surveyor: &mut Surveyor<'_>,
    inside: bool,
    exports: &mut [Export],
) -> Result<(), NoAnswer> {
    let mut asker = surveyor.haggle(inside).await?;
    surveyor.asking("NBD_OPT_INFO");
    let mut asked = Ok(());
    if let Some(structured) = surveyor.structured() {
        // Some flags show only then.
        asked = asker.option(structured, OptionBody::Empty).await.map(|_| ());
    }
    let selective = surveyor.found.tls == TlsMode::Selective;
    for export in exports {
        if asked.is_err() {
            break;
        }
        let requests = [InfoType::BLOCK_SIZE, InfoType::DESCRIPTION];
        match asker.info(OptionType::INFO, &export.name, &requests).await {
            Ok(reply) => {
                export.learn(reply.items);
                export.refused = (reply.last != ReplyType::ACK).then_some(reply.last);
                export.tls_only |= reply.last == ReplyType::ERR_TLS_REQD && selective;
            }
            Err(error) => asked = Err(error),
        }
    }
    surveyor.count(asked.as_ref().err());
    surveyor.leave(asker).await;
    asked
}

/// What is hidden in the clear: exports that are listed inside TLS only, and what is told there of
/// those that take it.
async fn look_inside(surveyor: &mut Surveyor<'_>, exports: &mut Vec<Export>) {
    if !surveyor.inside
        && surveyor.found.listed.is_some()
        && let Ok(mut asker) = surveyor.haggle(true).await
    {
        let listed = asker.option(OptionType::LIST, OptionBody::Empty).await;
        surveyor.count(listed.as_ref().err());
        surveyor.leave(asker).await;
        for reply in listed.into_iter().flat_map(|reply| reply.items) {
            if let ReplyBody::Server { name, .. } = reply.body
                && exports.len() < DESCRIBED
                && exports.iter().all(|export| export.name != name)
            {
                exports.push(Export { tls_only: true, ..Export::named(name) });
            }
        }
    }
    let mut hidden: Vec<Export> =
        exports.iter().filter(|export| export.tls_only).take(AT_ONCE).cloned().collect();
    if !hidden.is_empty() && ask(surveyor, true, &mut hidden).await.is_ok() {
        for told in hidden {
            if let Some(export) = exports.iter_mut().find(|export| export.name == told.name) {
                *export = told;
            }
        }
    }
}

/// Without INFO an export is known by entering it.
async fn enter(surveyor: &mut Surveyor<'_>, exports: &mut [Export], but: &WireString) {
    let Some(way) = surveyor.way() else { return };
    for export in exports.iter_mut().filter(|export| export.name != *but).take(ENTERED) {
        let way = Way { name: export.name.clone(), ..way.clone() };
        let Ok(limit) = surveyor.patience() else { return };
        match surveyor.enter_by(&way, limit).await {
            Ok((asker, told)) => {
                (export.size, export.flags) = (Some(told.size), Some(told.flags));
                export.block_size = told.block_size;
                surveyor.leave(asker).await;
            }
            Err(error @ (NoAnswer::Silent(_) | NoAnswer::Unreachable(_))) => {
                return surveyor.count(Some(&error));
            }
            Err(_) => {}
        }
    }
}
