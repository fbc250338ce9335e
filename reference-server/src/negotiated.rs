//! What haggling has agreed on, apart from TLS and the export. No sockets, no clock.

use std::sync::Arc;

use protocol::values::TransmissionFlags;

use crate::behaviour::ContextIds;
use crate::config::Config;
use crate::contexts::{Context, Selected};
use crate::export::Export;
use crate::features::Replies;

/// The state that options build up. STARTTLS throws it away (section "Option types").
#[derive(Debug, Default)]
pub(crate) struct Negotiated {
    pub(crate) structured: bool,
    pub(crate) extended: bool,
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

impl Negotiated {
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

    /// Forgets the selection.
    pub(crate) fn deselect(&mut self) {
        self.selection = None;
    }

    /// Selects contexts of an export, with new ids.
    pub(crate) fn select(
        &mut self,
        export: Arc<Export>,
        contexts: Vec<Context>,
        ids: ContextIds,
    ) -> &[Selected] {
        let number = |context: Context| Selected { id: self.id(ids, &context, &export), context };
        let contexts = contexts.into_iter().map(number).collect();
        &self.selection.insert(Selection { export, contexts }).contexts
    }

    /// The id of a context that is selected. Unless it goes by the kind, no context of this session has
    /// had it.
    fn id(&mut self, ids: ContextIds, context: &Context, export: &Export) -> u32 {
        let count = self.ids;
        self.ids = self.ids.wrapping_add(1);
        match ids {
            // An odd factor: no two numbers give the same product.
            ContextIds::Scattered => self.ids.wrapping_mul(0x9e37_79b1),
            ContextIds::FromZero => count,
            ContextIds::Descending => !count,
            ContextIds::ByKind(first) => match context {
                Context::Allocation => 0,
                Context::Depth => 1,
                Context::Bitmap(bitmap) => {
                    let mut all = export.bitmaps().iter();
                    let index = all.position(|one| Arc::ptr_eq(one, bitmap)).unwrap_or_default();
                    first.saturating_add(u32::try_from(index).unwrap_or(u32::MAX))
                }
            },
        }
    }

    /// What can be done with an export, given what was agreed.
    pub(crate) fn transmission_flags(
        &self,
        config: &Config,
        export: &Arc<Export>,
        replies: Replies,
    ) -> TransmissionFlags {
        use TransmissionFlags as F;
        let behaviour = &config.behaviour;
        let features = &behaviour.features;
        let writable = !export.is_read_only();
        let changes = writable || behaviour.trim_on_read_only;
        let zeroes = features.write_zeroes && changes;
        let chunks = replies != Replies::Simple;
        let extended = replies == Replies::Extended;
        let contexts = !self.contexts(export).is_empty();
        [
            (F::HAS_FLAGS, true),
            (F::READ_ONLY, !writable),
            (F::SEND_FLUSH, features.flush),
            (F::SEND_FUA, features.fua),
            (F::ROTATIONAL, export.is_rotational()),
            (F::SEND_TRIM, features.trim && changes),
            (F::SEND_WRITE_ZEROES, zeroes),
            (F::SEND_DF, features.df && chunks),
            (F::CAN_MULTI_CONN, features.multi_conn && behaviour.multi_conn.applies(export)),
            (F::SEND_CACHE, features.cache),
            (F::SEND_FAST_ZERO, zeroes && features.fast_zero),
            (F::BLOCK_STATUS_PAYLOAD, features.status_payload && extended && contexts),
        ]
        .into_iter()
        .filter(|(_, on)| *on)
        .fold(F::EMPTY, |flags, (flag, _)| flags | flag)
    }
}
