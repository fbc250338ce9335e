//! What was agreed for the transmission phase, and what can come of a request. No sockets, no clock.

use std::sync::Arc;

use protocol::message::{Extent, Request};
use protocol::values::{Command, EXTENT_LIMIT, ErrorCode, TransmissionFlags};

use crate::behaviour::ReplyForm;
use crate::config::Config;
use crate::contexts::Selected;
use crate::distort::FaultyStore;
use crate::distortion::StoreFault;
use crate::export::Export;
use crate::features::Replies;
use crate::negotiated::Negotiated;
use crate::store::{Run, Store};

/// The size of an extent in the longer of its two forms, in bytes.
const EXTENT_SIZE: u64 = 16;

/// What was agreed for the transmission phase.
#[derive(Debug)]
pub(crate) struct Transmission {
    pub(crate) config: Arc<Config>,
    pub(crate) export: Arc<Export>,
    pub(crate) replies: Replies,
    /// Whether reply chunks have compact headers although extended ones were agreed, by a fault.
    pub(crate) chunks_stay_compact: bool,
    pub(crate) flags: TransmissionFlags,
    pub(crate) contexts: Vec<Selected>,
    pub(crate) store: Arc<dyn Store>,
}

/// What a server makes of a request before it does anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Serve,
    Refuse(Failure),
    /// Its payload, if it has one, is not read.
    RefuseAndClose(Failure),
    Close(String),
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) error: ErrorCode,
    pub(crate) why: String,
}

impl Failure {
    pub(crate) fn new(error: ErrorCode, why: impl Into<String>) -> Self {
        Self { error, why: why.into() }
    }
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    Data {
        bytes: Vec<u8>,
        runs: Vec<Run>,
    },
    /// What could be read before it failed.
    Part {
        bytes: Vec<u8>,
        runs: Vec<Run>,
        failure: Failure,
    },
    /// The extents of each context, by its id.
    Status(Vec<(u32, Vec<Extent>)>),
    Failed(Failure),
}

impl Transmission {
    pub(crate) fn new(config: &Arc<Config>, export: &Arc<Export>, agreed: &Negotiated) -> Self {
        let behaviour = &config.behaviour;
        // What is beyond the end must read as something where it is served.
        let endless = behaviour.serves_past_end.is_some() || behaviour.wraps_offsets;
        let store = match behaviour.store_fault.or(endless.then_some(StoreFault::NoEnd)) {
            Some(fault) => Arc::new(FaultyStore::new(fault, export.store().clone())),
            None => export.store().clone(),
        };
        let replies = match (behaviour.reply_form, agreed.replies()) {
            (ReplyForm::NeverStructured, Replies::Structured) => Replies::Simple,
            (ReplyForm::AlwaysStructured, Replies::Simple) => Replies::Structured,
            (_, replies) => replies,
        };
        Self {
            flags: agreed.transmission_flags(config, export, replies),
            contexts: match behaviour.selects_for_any_export {
                true => agreed.contexts_of_any().to_vec(),
                false => agreed.contexts(export).to_vec(),
            },
            config: config.clone(),
            export: export.clone(),
            chunks_stay_compact: behaviour.reply_form == ReplyForm::StructuredFirst
                && agreed.structured,
            replies,
            store,
        }
    }

    /// Whether serving a request may block the thread.
    pub(crate) fn blocks(&self) -> bool {
        self.store.blocks()
    }

    /// How many bytes of memory serving the request takes.
    pub(crate) fn memory(&self, request: &Request) -> u64 {
        match request.command {
            Command::READ | Command::WRITE => request.length,
            Command::BLOCK_STATUS => {
                let extents = (effect_length(request) / 512 + 2).min(self.extents_at_most());
                extents * EXTENT_SIZE * self.contexts.len() as u64
            }
            _ => 0,
        }
    }

    /// How many extents of a context one reply may have: a chunk's content is bounded by the
    /// maximum payload, and the whole reply by the memory of a session.
    pub(crate) fn extents_at_most(&self) -> u64 {
        let maximum = u64::from(self.export.block_sizes().maximum());
        let share = self.config.limits.buffers / self.contexts.len().max(1) as u64;
        (maximum.min(share) / EXTENT_SIZE).clamp(1, EXTENT_LIMIT as u64)
    }

    pub(crate) fn maximum(&self) -> u64 {
        u64::from(self.export.block_sizes().maximum())
    }
}

/// How much of the export a request is about: the payload form of `NBD_CMD_BLOCK_STATUS` says so
/// itself.
pub(crate) fn effect_length(request: &Request) -> u64 {
    request.status.as_ref().map_or(request.length, |status| status.effect_length)
}
