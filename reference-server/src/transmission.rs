//! What was agreed for the transmission phase, and what that makes of a request. No sockets, no
//! clock; only [`Transmission::perform`] touches the store.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use protocol::message::{Extent, Request, RequestForm};
use protocol::values::{Command, CommandFlags, EXTENT_LIMIT, ErrorCode, TransmissionFlags};

use crate::config::{Config, Replies};
use crate::contexts::{Context, HOLE, Selected, ZERO};
use crate::distort::{self, FaultyStore};
use crate::export::Export;
use crate::fault::Fault;
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
    pub(crate) flags: TransmissionFlags,
    pub(crate) contexts: Vec<Selected>,
    store: Arc<dyn Store>,
}

/// What a server makes of a request before it does anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Serve,
    Refuse(Failure),
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
    /// The extents of each context, by its id.
    Status(Vec<(u32, Vec<Extent>)>),
    Failed(Failure),
}

impl Transmission {
    pub(crate) fn new(config: &Arc<Config>, export: &Arc<Export>, agreed: &Negotiated) -> Self {
        let store = match config.fault {
            Some(fault) => Arc::new(FaultyStore::new(fault, export.store().clone())),
            None => export.store().clone(),
        };
        let replies = match (config.fault, agreed.replies()) {
            (Some(Fault::StructuredForgotten), Replies::Structured) => Replies::Simple,
            (Some(Fault::StructuredUnasked), Replies::Simple) => Replies::Structured,
            (_, replies) => replies,
        };
        Self {
            flags: agreed.transmission_flags(config, export, replies),
            contexts: match config.breaks(Fault::ContextSelectionAnywhere) {
                true => agreed.contexts_of_any().to_vec(),
                false => agreed.contexts(export).to_vec(),
            },
            config: config.clone(),
            export: export.clone(),
            replies,
            store,
        }
    }

    fn breaks(&self, fault: Fault) -> bool {
        self.config.breaks(fault)
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
    fn extents_at_most(&self) -> u64 {
        let maximum = u64::from(self.export.block_sizes().maximum());
        let share = self.config.limits.buffers / self.contexts.len().max(1) as u64;
        (maximum.min(share) / EXTENT_SIZE).clamp(1, EXTENT_LIMIT as u64)
    }

    fn maximum(&self) -> u64 {
        u64::from(self.export.block_sizes().maximum())
    }

    /// Judges a request by its header alone.
    pub(crate) fn check(&self, request: &Request) -> Verdict {
        match (request.form, self.replies) {
            (RequestForm::Extended, Replies::Extended) => {
                let length = request.payload_length();
                if length > self.maximum() {
                    return Verdict::Close(format!("a payload of {length} bytes"));
                }
            }
            (RequestForm::Compact, Replies::Extended) => {
                return Verdict::Close("a compact request after extended headers".into());
            }
            (RequestForm::Extended, _) => {
                return Verdict::Close("an extended request that was not agreed".into());
            }
            (RequestForm::Compact, _) => {}
        }
        let large = request.command == Command::WRITE && request.length > self.maximum();
        if large && self.config.manners.large_write_closes {
            return Verdict::Close(format!("a write of {} bytes", request.length));
        }
        let carries = matches!(request.command, Command::READ | Command::WRITE);
        match self.config.fault {
            Some(Fault::ReadLargeCloses) if carries && request.length > 1 << 20 => {
                return Verdict::Close("a large payload".into());
            }
            Some(Fault::ReadZeroCloses)
                if request.command == Command::READ && request.length == 0 =>
            {
                return Verdict::Close("an empty read".into());
            }
            Some(Fault::StatusZeroCloses)
                if request.command == Command::BLOCK_STATUS && effect_length(request) == 0 =>
            {
                return Verdict::Close("a status of nothing".into());
            }
            Some(Fault::CommandUnknownCloses) if !self.knows(request.command) => {
                return Verdict::Close("an unknown command".into());
            }
            Some(Fault::CommandUnknownSucceeds) if !self.knows(request.command) => {
                return Verdict::Serve;
            }
            Some(Fault::ZeroesLongCloses)
                if request.command == Command::WRITE_ZEROES && request.length > self.maximum() =>
            {
                return Verdict::Close("a long range of zeroes".into());
            }
            Some(Fault::ZeroesEmptyCloses)
                if request.command == Command::WRITE_ZEROES && request.length == 0 =>
            {
                return Verdict::Close("an empty range of zeroes".into());
            }
            Some(Fault::FastZeroOverflow) if request.flags.has(CommandFlags::FAST_ZERO) => {
                let why = "too long to be zeroed fast";
                return Verdict::Refuse(Failure::new(ErrorCode::EOVERFLOW, why));
            }
            Some(Fault::ZeroesEnotsup) if request.command == Command::WRITE_ZEROES => {
                let why = "zeroes can't be written fast";
                return Verdict::Refuse(Failure::new(ErrorCode::ENOTSUP, why));
            }
            _ => {}
        }
        let checks =
            [Self::check_command, Self::check_flags, Self::check_access, Self::check_status];
        let ranged = [Self::check_range, Self::check_sizes];
        let ranged = if request.command == Command::FLUSH { &[][..] } else { &ranged };
        match checks.iter().chain(ranged).try_for_each(|check| check(self, request)) {
            Ok(()) => Verdict::Serve,
            Err(failure) => Verdict::Refuse(failure),
        }
    }

    fn knows(&self, command: Command) -> bool {
        let features = &self.config.features;
        match command {
            Command::READ | Command::WRITE | Command::DISC => true,
            Command::FLUSH => features.flush && !self.breaks(Fault::FlushAdvertisedOnly),
            Command::TRIM => features.trim,
            Command::WRITE_ZEROES => features.write_zeroes,
            Command::CACHE => features.cache,
            Command::BLOCK_STATUS => features.meta_context && self.replies != Replies::Simple,
            _ => false,
        }
    }

    fn check_command(&self, request: &Request) -> Result<(), Failure> {
        if self.knows(request.command) {
            return Ok(());
        }
        let why = format!("{} is not supported", request.command);
        Err(Failure::new(ErrorCode::EINVAL, why))
    }

    /// FUA goes with every command once it is advertised (section "Command flags").
    fn check_flags(&self, request: &Request) -> Result<(), Failure> {
        use CommandFlags as F;
        let extended = request.form == RequestForm::Extended;
        let has = |flag, allowed| if self.flags.has(flag) { allowed } else { F::EMPTY };
        let mut allowed = match request.command {
            Command::READ => has(TransmissionFlags::SEND_DF, F::DF),
            // The clients of qemu leave PAYLOAD_LEN out (`ext-write-payload-flag`). What else they
            // could mean is open to nobody, so they are served; see `Request::payload_length`.
            Command::WRITE if extended => F::PAYLOAD_LEN,
            Command::WRITE_ZEROES => {
                let fast = has(TransmissionFlags::SEND_FAST_ZERO, F::FAST_ZERO);
                if self.breaks(Fault::NoHoleRefused) { fast } else { fast | F::NO_HOLE }
            }
            Command::BLOCK_STATUS => {
                has(TransmissionFlags::BLOCK_STATUS_PAYLOAD, F::PAYLOAD_LEN) | F::REQ_ONE
            }
            _ => F::EMPTY,
        };
        let on_read = request.command == Command::READ && self.breaks(Fault::FuaRefusedOnRead);
        if self.flags.has(TransmissionFlags::SEND_FUA) && !on_read {
            allowed = allowed | F::FUA;
        }
        let unwanted = match self.config.fault {
            Some(Fault::FlagUnknownAccepted) => {
                request.flags.without(allowed).without(request.flags.unknown())
            }
            Some(Fault::FlagInapplicableAccepted) => request.flags.without(allowed).unknown(),
            Some(Fault::CacheFlagsUnchecked) if request.command == Command::CACHE => F::EMPTY,
            Some(Fault::DfRefused) => request.flags.without(allowed.without(F::DF)),
            _ if self.config.manners.ignores_flags => {
                request.flags.without(allowed).without(request.flags.unknown())
            }
            _ => request.flags.without(allowed),
        };
        if unwanted == F::EMPTY {
            return Ok(());
        }
        let why = format!("the flags {unwanted} do not go with {} here", request.command);
        Err(Failure::new(ErrorCode::EINVAL, why))
    }

    fn check_access(&self, request: &Request) -> Result<(), Failure> {
        let writes =
            matches!(request.command, Command::WRITE | Command::TRIM | Command::WRITE_ZEROES);
        if !writes || !self.export.is_read_only() || self.breaks(Fault::ReadOnlyWritable) {
            return Ok(());
        }
        let error = match self.config.fault {
            Some(Fault::ReadOnlyEio) => ErrorCode::EIO,
            _ => self.config.manners.read_only,
        };
        Err(Failure::new(error, "the export is read-only"))
    }

    /// Contexts must have been selected, and a payload must name some of them, each once.
    fn check_status(&self, request: &Request) -> Result<(), Failure> {
        if request.command != Command::BLOCK_STATUS {
            return Ok(());
        }
        let refusal = |why: &str| Err(Failure::new(ErrorCode::EINVAL, why));
        if self.contexts.is_empty() {
            return refusal("no metadata context was selected for this export");
        }
        match &request.status {
            None if request.flags.has(CommandFlags::PAYLOAD_LEN) => {
                return refusal("the payload must be a length and context ids");
            }
            Some(_) if self.breaks(Fault::StatusPayloadUnchecked) => {}
            Some(status) => {
                for (index, id) in status.ids.iter().enumerate() {
                    if status.ids[..index].contains(id) {
                        return refusal(&format!("the context id {id:#x} comes twice"));
                    }
                    if !self.contexts.iter().any(|selected| selected.id == *id) {
                        return refusal(&format!("the context id {id:#x} is unknown"));
                    }
                }
                if status.ids.is_empty() {
                    return refusal("the payload names no context");
                }
            }
            None => {}
        }
        // An extent can't be empty.
        if effect_length(request) == 0 { refusal("there is no status of no bytes") } else { Ok(()) }
    }

    /// Section "Error values": ENOSPC for what would grow the export, EINVAL for the rest.
    fn check_range(&self, request: &Request) -> Result<(), Failure> {
        let (size, length) = (self.export.size(), effect_length(request));
        let end = match self.config.fault {
            Some(Fault::ReadOffsetWraps) => Some(request.offset.wrapping_add(length)),
            _ => request.offset.checked_add(length),
        };
        if end.is_some_and(|end| end <= size) {
            return Ok(());
        }
        let error = match (request.command, self.config.fault) {
            (Command::READ, Some(Fault::ReadPastEnd))
            | (Command::WRITE, Some(Fault::WritePastEnd))
            | (Command::BLOCK_STATUS, Some(Fault::StatusPastEnd))
            | (Command::WRITE_ZEROES, Some(Fault::ZeroesPastEnd))
            | (Command::CACHE, Some(Fault::CachePastEnd)) => return Ok(()),
            (Command::WRITE, Some(Fault::WritePastEndEio)) => ErrorCode::EIO,
            (Command::WRITE | Command::WRITE_ZEROES, _) => self.config.manners.past_end,
            _ => ErrorCode::EINVAL,
        };
        let why =
            format!("{length} bytes at {} end beyond the export of {size} bytes", request.offset);
        Err(Failure::new(error, why))
    }

    /// Section "Size constraints".
    fn check_sizes(&self, request: &Request) -> Result<(), Failure> {
        let sizes = self.export.block_sizes();
        let minimum = u64::from(sizes.minimum());
        let aligned = request.offset.is_multiple_of(minimum)
            && effect_length(request).is_multiple_of(minimum);
        let any = self.config.manners.serves_unaligned;
        if !aligned && !any && !self.breaks(Fault::ReadUnaligned) {
            let why = format!("offset and length must be multiples of {minimum}");
            return Err(Failure::new(ErrorCode::EINVAL, why));
        }
        let maximum = self.maximum();
        let carries = matches!(request.command, Command::READ | Command::WRITE);
        if carries && request.length > maximum {
            let why = format!("a payload has at most {maximum} bytes, not {}", request.length);
            return Err(Failure::new(ErrorCode::EINVAL, why));
        }
        Ok(())
    }

    /// Does what a request that passed [`Transmission::check`] asks for.
    pub(crate) fn perform(&self, request: &Request, payload: &[u8]) -> Outcome {
        match self.try_perform(request, payload) {
            Ok(outcome) => outcome,
            Err(error) => Outcome::Failed(Failure::new(code_of(&error), error.to_string())),
        }
    }

    fn try_perform(&self, request: &Request, payload: &[u8]) -> io::Result<Outcome> {
        let Request { offset, length, .. } = *request;
        match request.command {
            Command::READ => {
                let length = usize::try_from(length).map_err(io::Error::other)?;
                let (mut bytes, mut runs) = (vec![0; length], Vec::new());
                self.store.read(offset, &mut bytes, &mut runs)?;
                return Ok(Outcome::Data { bytes, runs });
            }
            Command::WRITE => {
                self.mark(offset, length);
                self.store.write(offset, payload)?;
            }
            Command::TRIM => {
                self.mark(offset, length);
                self.store.trim(offset, length)?;
            }
            Command::WRITE_ZEROES => {
                let provision = request.flags.has(CommandFlags::NO_HOLE);
                if !request.flags.has(CommandFlags::FAST_ZERO) {
                    self.mark(offset, length);
                    self.store.zero(offset, length, provision)?;
                } else if self.store.zero_fast(offset, length, provision)? {
                    self.mark(offset, length);
                } else {
                    let why = "zeroes would not be faster than a write";
                    return Ok(Outcome::Failed(Failure::new(ErrorCode::ENOTSUP, why)));
                }
            }
            Command::CACHE => {
                self.store.cache(offset, length)?;
                return Ok(Outcome::Done);
            }
            Command::BLOCK_STATUS => return self.status(request),
            Command::FLUSH => {
                self.store.flush()?;
                return Ok(Outcome::Done);
            }
            _ => return Ok(Outcome::Done),
        }
        // What FUA covers was just stored; making everything stable covers it.
        if request.flags.has(CommandFlags::FUA) {
            self.store.flush()?;
        }
        Ok(Outcome::Done)
    }
}

impl Transmission {
    /// Notes a change in the dirty bitmaps, before it is made: they may say too much for a moment,
    /// but never too little.
    fn mark(&self, offset: u64, length: u64) {
        if self.breaks(Fault::BitmapWritesUnmarked) {
            return;
        }
        for bitmap in self.export.bitmaps() {
            bitmap.mark(offset, length);
        }
    }

    fn status(&self, request: &Request) -> io::Result<Outcome> {
        let one = request.flags.has(CommandFlags::REQ_ONE);
        let most = self.extents_at_most() as usize;
        let unit = u64::from(self.export.block_sizes().minimum());
        let mut range = request.offset..request.offset.saturating_add(effect_length(request));
        if self.breaks(Fault::StatusBefore) {
            range = range.start.saturating_sub(65_536)..range.end.saturating_sub(65_536);
        }
        let asked = |id: &u32| match &request.status {
            Some(status) if !self.breaks(Fault::StatusPayloadIgnored) => status.ids.contains(id),
            _ => true,
        };
        let mut all = Vec::new();
        for selected in self.contexts.iter().filter(|selected| asked(&selected.id)) {
            let context = &selected.context;
            let few = one || (self.config.manners.one_extent && context.is_allocation());
            let limit = if few { 1 } else { most };
            let mut extents = context.extents(&*self.store, range.clone(), unit, limit)?;
            self.shape(context, &range, one, &mut extents);
            if let Some(fault) = self.config.fault {
                distort::distort_extents(
                    fault,
                    request,
                    self.export.size(),
                    selected,
                    &mut extents,
                );
            }
            all.push((selected.id, extents));
        }
        Ok(Outcome::Status(all))
    }

    /// Makes of a range's extents what the manners make of them.
    fn shape(&self, context: &Context, range: &Range<u64>, one: bool, extents: &mut Vec<Extent>) {
        let manners = &self.config.manners;
        match context {
            Context::Allocation if !manners.zeroes_are_holes => {
                for extent in extents.iter_mut().filter(|extent| extent.status == HOLE | ZERO) {
                    extent.status = ZERO;
                }
                // Neighbours that were different may be so no more.
                extents.dedup_by(|next, last| {
                    let same = next.status == last.status;
                    if same {
                        last.length += next.length;
                    }
                    same
                });
            }
            // A single extent must not be longer than what was asked about.
            Context::Bitmap(bitmap) if manners.bitmaps_run_over && !one => {
                let (end, size) = (range.end, self.export.size());
                let whole: u64 = extents.iter().map(|extent| extent.length).sum();
                if end >= size || range.start + whole != end {
                    return;
                }
                let (dirty, until) = bitmap.at(end, size);
                if let Some(last) = extents.last_mut()
                    && last.status == u64::from(dirty)
                    // Of the compact form, whose lengths have 32 bits.
                    && last.length + (until - end) <= u64::from(u32::MAX)
                {
                    last.length += until - end;
                }
            }
            _ => {}
        }
    }
}

/// How much of the export a request is about: the payload form of `NBD_CMD_BLOCK_STATUS` says so
/// itself.
fn effect_length(request: &Request) -> u64 {
    request.status.as_ref().map_or(request.length, |status| status.effect_length)
}

/// The error value for what a store reports (section "Error values").
fn code_of(error: &io::Error) -> ErrorCode {
    use io::ErrorKind as K;
    match error.kind() {
        K::StorageFull | K::QuotaExceeded | K::FileTooLarge => ErrorCode::ENOSPC,
        K::PermissionDenied | K::ReadOnlyFilesystem => ErrorCode::EPERM,
        K::InvalidInput => ErrorCode::EINVAL,
        _ => ErrorCode::EIO,
    }
}
