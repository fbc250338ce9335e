//! Metadata contexts and block status, from the client's side.

use protocol::message::{Extent, OptionBody, OptionReply, ReplyBody};
use protocol::text::WireString;
use protocol::values::{Command, CommandFlags, OptionType, TransmissionFlags};

use super::context::MetaContext;
use super::error::{ClientError, Violation, text};
use super::haggling::{Haggling, check_name};
use super::request::Call;
use super::transmission::Client;
use crate::missteps::{Minds, RequestFault};

/// How many extents of one map are kept.
const EXTENTS: usize = 1 << 22;

impl Haggling {
    /// `NBD_OPT_SET_META_CONTEXT`: those that the server has of the contexts that the queries name,
    /// for this export. They replace any selection before.
    ///
    /// # Errors
    /// No replies in chunks were agreed, or the server refuses or misbehaves.
    pub async fn set_meta_contexts(
        &mut self,
        export: &str,
        queries: &[String],
    ) -> Result<Vec<MetaContext>, ClientError> {
        if !self.is_structured() {
            return Err(ClientError::NotOffered("replies in chunks, which contexts need"));
        }
        self.select(export, Vec::new());
        let option = OptionType::SET_META_CONTEXT;
        let queries = queries.iter().map(|query| WireString::from(query.as_str())).collect();
        let body = OptionBody::Meta { export: check_name(export)?, queries };
        let mut contexts: Vec<MetaContext> = Vec::new();
        for OptionReply { reply, body, .. } in self.ask(option, body).await? {
            let ReplyBody::MetaContext { id, name } = body else {
                return Err(Violation::UnfitReply { option, reply }.into());
            };
            if contexts.iter().any(|context| context.id == id) {
                return Err(Violation::ContextIdTwice(id).into());
            }
            let shortened = self.habits().minds(Minds::LargeContextIds);
            let id = if shortened { id & 0xffff } else { id };
            contexts.push(MetaContext { id, name: text(name)? });
        }
        self.select(export, contexts.clone());
        Ok(contexts)
    }
}

impl Client {
    /// `NBD_CMD_BLOCK_STATUS` in one request: the extents of each selected context, by its id. With
    /// `one` there is one extent for each, within the range; else the last may reach beyond it.
    ///
    /// # Errors
    /// As for [`Client::call`], or no context was selected.
    pub async fn block_status(
        &self,
        offset: u64,
        length: u64,
        one: bool,
    ) -> Result<Vec<(u32, Vec<Extent>)>, ClientError> {
        if self.contexts().is_empty() {
            return Err(ClientError::NotOffered("any of the metadata contexts"));
        }
        let flags = if one { CommandFlags::REQ_ONE } else { CommandFlags::EMPTY };
        let call = Call::new(Command::BLOCK_STATUS, offset, length).with_flags(flags);
        Ok(self.answered(call).await?.extents)
    }

    /// The extents of a context that cover a range, neighbours of the same status joined.
    ///
    /// # Errors
    /// As for [`Client::block_status`], or the range breaks the rules for clients.
    pub async fn map(
        &self,
        context: &str,
        offset: u64,
        length: u64,
    ) -> Result<Vec<Extent>, ClientError> {
        let end = self.check_range(offset, length)?;
        let context = self.contexts().iter().find(|one| one.name == context);
        let id = context.ok_or(ClientError::NotOffered("the metadata context"))?.id;
        // Of several contexts only the one is asked about, where the server knows how.
        let habits = self.habits();
        let filters = self.is_extended()
            && self.contexts().len() > 1
            && self.details().flags.has(TransmissionFlags::BLOCK_STATUS_PAYLOAD);
        let names = matches!(
            habits.request_fault,
            Some(RequestFault::NamesContexts | RequestFault::NamesContextsOdd)
        ) && self.is_extended();
        let ids = if filters || names { vec![id] } else { Vec::new() };
        let flags = if habits.one_extent { CommandFlags::REQ_ONE } else { CommandFlags::EMPTY };
        let (mut at, mut map) = (offset, Vec::new());
        while at < end {
            let piece = (end - at).min(self.largest_effect());
            let call = Call::new(Command::BLOCK_STATUS, at, piece).with_flags(flags);
            let call = call.with_ids(ids.clone());
            let told = self.answered(call).await?.extents;
            let extents = told.into_iter().find(|(of, _)| *of == id);
            let before = at;
            for extent in extents.map(|(_, extents)| extents).unwrap_or_default() {
                if habits.minds(Minds::SpareStatusBits) && extent.status > 3 {
                    return Err(ClientError::CantCope("unknown bits of a status"));
                }
                let same = map.last().is_some_and(|last: &Extent| last.status == extent.status);
                if habits.minds(Minds::EqualNeighbours) && same {
                    return Err(ClientError::CantCope("neighbours of the same status"));
                }
                let length = extent.length.min(end - at);
                push(&mut map, Extent { length, ..extent })?;
                at += length;
            }
            if at == before {
                // Nobody tells of the rest.
                break;
            }
        }
        Ok(map)
    }
}

/// Adds an extent, to the last one if that has the same status.
fn push(map: &mut Vec<Extent>, extent: Extent) -> Result<(), ClientError> {
    let full = map.len() >= EXTENTS;
    match map.last_mut() {
        Some(last) if last.status == extent.status => last.length += extent.length,
        _ if extent.length == 0 => {}
        _ if full => return Err(Violation::TooManyExtents.into()),
        _ => map.push(extent),
    }
    Ok(())
}
