//! What comes of a request that passed the checks: the only module that touches a store. No sockets,
//! no clock.

use std::io;
use std::ops::Range;

use protocol::message::{Extent, Request};
use protocol::values::{Command, CommandFlags, ErrorCode};

use crate::behaviour::Trims;
use crate::contexts::{Context, HOLE, ZERO};
use crate::distort;
use crate::store::push_run;
use crate::transmission::{Failure, Outcome, Transmission, effect_length};

/// Up to which length a request is served where it was read rather than by a task of its own, in
/// bytes: to hand it over would cost more than to serve it.
const AT_ONCE: u64 = 32 << 10;
/// How much of a trimmed range is garbage at most, in bytes.
const GARBAGE: u64 = 64 << 10;
/// The unit in which a range is cut, in bytes.
const UNIT: u64 = 512;

impl Transmission {
    /// Does what a request that passed [`Transmission::check`] asks for.
    pub(crate) fn perform(&self, request: &Request, payload: &[u8]) -> Outcome {
        match self.try_perform(request, payload) {
            Ok(outcome) => outcome,
            Err(error) => Outcome::Failed(Failure::new(code_of(&error), error.to_string())),
        }
    }

    /// Does what a small request asks for if that needs no waiting; else nothing has come of it, and
    /// [`Transmission::perform`] does it from the start.
    pub(crate) fn perform_at_once(&self, request: &Request, payload: &[u8]) -> Option<Outcome> {
        let Request { offset, length, .. } = *request;
        if length > AT_ONCE {
            return None;
        }
        match request.command {
            Command::READ => {
                let (mut bytes, mut runs) = (vec![0; length as usize], Vec::new());
                let done = self.store.read_at_once(offset, &mut bytes, &mut runs);
                // An error has its own path.
                done.ok()?.then_some(Outcome::Data { bytes, runs })
            }
            Command::WRITE if !request.flags.has(CommandFlags::FUA) => {
                self.mark(offset, length);
                self.store.write_at_once(offset, payload).ok()?.then_some(Outcome::Done)
            }
            Command::BLOCK_STATUS => None,
            _ if self.store.blocks() => None,
            _ => Some(self.perform(request, payload)),
        }
    }

    fn try_perform(&self, request: &Request, payload: &[u8]) -> io::Result<Outcome> {
        let Request { offset, length, .. } = *request;
        match request.command {
            Command::READ => {
                let length = usize::try_from(length).map_err(io::Error::other)?;
                let (mut bytes, mut runs) = (vec![0; length], Vec::new());
                return match self.store.read(offset, &mut bytes, &mut runs) {
                    Ok(()) => Ok(Outcome::Data { bytes, runs }),
                    Err(error) if self.config.behaviour.data_before_error => {
                        Ok(self.read_up_to_error(request, &error))
                    }
                    Err(error) => Err(error),
                };
            }
            Command::WRITE => {
                self.mark(offset, length);
                if request.flags.has(CommandFlags::FUA) {
                    self.store.write_stable(offset, payload)?;
                    return Ok(Outcome::Done);
                }
                self.store.write(offset, payload)?;
            }
            Command::TRIM => {
                self.trim(offset, length)?;
            }
            Command::WRITE_ZEROES => {
                let provision = request.flags.has(CommandFlags::NO_HOLE)
                    || self.config.behaviour.zeroes_provision;
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

    fn trim(&self, offset: u64, length: u64) -> io::Result<()> {
        let trims = self.config.behaviour.trims;
        if trims == Trims::Nothing {
            return Ok(());
        }
        self.mark(offset, length);
        self.store.trim(offset, length)?;
        if trims == Trims::Garbage {
            self.store.write(offset, &vec![0xa5; length.min(GARBAGE) as usize])?;
        }
        Ok(())
    }

    /// What can be read before the error.
    fn read_up_to_error(&self, request: &Request, error: &io::Error) -> Outcome {
        let failure = Failure::new(code_of(error), error.to_string());
        let (mut bytes, mut runs) = (Vec::new(), Vec::new());
        while (bytes.len() as u64) < request.length {
            let at = request.offset + bytes.len() as u64;
            let step = (UNIT - at % UNIT).min(request.length - bytes.len() as u64);
            let mut piece = vec![0; step as usize];
            let mut found = Vec::new();
            if self.store.read(at, &mut piece, &mut found).is_err() {
                break;
            }
            bytes.extend(piece);
            found.iter().for_each(|run| push_run(&mut runs, run.length, run.hole));
        }
        Outcome::Part { bytes, runs, failure }
    }

    /// Notes a change in the dirty bitmaps, before it is made: they may say too much for a moment,
    /// but never too little.
    fn mark(&self, offset: u64, length: u64) {
        if !self.config.behaviour.marks_bitmaps {
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
        let behaviour = &self.config.behaviour;
        let before = behaviour.status_before;
        range = range.start.saturating_sub(before)..range.end.saturating_sub(before);
        let asked = |id: &u32| match &request.status {
            Some(status) if behaviour.filters_contexts => status.ids.contains(id),
            _ => true,
        };
        if behaviour.status_half {
            let half = (range.end - range.start).div_ceil(2).next_multiple_of(unit.max(UNIT));
            range.end = range.end.min(range.start + half);
        }
        let most = behaviour.extents_at_most.map_or(most, |few| few.min(most));
        let mut all = Vec::new();
        for selected in self.contexts.iter().filter(|selected| asked(&selected.id)) {
            let context = &selected.context;
            let few = one || (behaviour.one_extent && context.is_allocation());
            let limit = if few { 1 } else { most };
            let mut extents = context.extents(&*self.store, range.clone(), unit, limit)?;
            self.shape(context, &range, one, &mut extents);
            if behaviour.extents_run_over && !one {
                self.run_over(context, &range, unit, &mut extents)?;
            }
            if let Some(fault) = behaviour.extent_fault {
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
        if behaviour.status_reversed {
            all.reverse();
        }
        Ok(Outcome::Status(all))
    }

    /// Lets the last extent reach as far as the export is like that.
    fn run_over(
        &self,
        context: &Context,
        range: &Range<u64>,
        unit: u64,
        extents: &mut [Extent],
    ) -> io::Result<()> {
        let (end, size) = (range.end, self.export.size());
        let whole: u64 = extents.iter().map(|extent| extent.length).sum();
        if end >= size || range.start + whole != end || end % unit != 0 {
            return Ok(());
        }
        let mut more = context.extents(&*self.store, end..size, unit, 1)?;
        self.shape(context, &(end..size), true, &mut more);
        if let (Some(last), Some(next)) = (extents.last_mut(), more.first())
            && last.status == next.status
            // Of the compact form, whose lengths have 32 bits.
            && last.length + next.length <= u64::from(u32::MAX)
        {
            last.length += next.length;
        }
        Ok(())
    }

    /// Makes of a range's extents what the server's choices make of them.
    fn shape(&self, context: &Context, range: &Range<u64>, one: bool, extents: &mut Vec<Extent>) {
        let behaviour = &self.config.behaviour;
        match context {
            Context::Allocation if !behaviour.zeroes_are_holes => {
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
            Context::Bitmap(bitmap) if behaviour.bitmaps_run_over && !one => {
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
