//! The answers to NBD_CMD_BLOCK_STATUS (sections "Metadata querying", NBD_REPLY_TYPE_BLOCK_STATUS
//! and NBD_CMD_BLOCK_STATUS). The chunks of extended replies follow the same rules.

use protocol::message::Extent;
use protocol::values::{ChunkType, CommandFlags, EXTENT_LIMIT};

use crate::plural::Plural;

use super::flight::InFlight;
use super::judge::Session;
use super::progress::Progress;
use super::rules::{Findings, Rule};
use super::selection::{Meaning, Selection};

impl Session {
    /// One status chunk.
    pub(super) fn check_status(
        &self,
        kind: ChunkType,
        id: u32,
        extents: &[Extent],
        request: &InFlight,
        state: &mut Progress,
        found: &mut Findings,
    ) {
        let twice = state.contexts.contains(&id);
        state.add_context(id);
        self.check_id(id, twice, request, found);
        check_count_limit(extents.len() as u64, "extents", found);
        // The length of an extent is not 0.
        if let Some(at) = extents.iter().position(|extent| extent.length == 0) {
            let text = format!("the length of extent {} is 0", at + 1);
            let rule = match kind {
                ChunkType::BLOCK_STATUS_EXT => Rule::ExtStatusExtentNonzero,
                _ => Rule::StatusExtentNonzero,
            };
            return found.server(rule, "extents", text);
        }
        self.check_meaning(id, extents, found);
        if request.is_unspecified() {
            return;
        }
        check_lengths(extents, request, found);
        // Neighbours should differ in status.
        let mut neighbours = extents.iter().zip(extents.iter().skip(1));
        if let Some((extent, _)) = neighbours.find(|(a, b)| a.status == b.status) {
            let text = format!("neighbouring extents have the same status {}", extent.status);
            found.server(Rule::StatusNeighboursDiffer, "extents", text);
        }
        self.check_borders(extents, request, found);
    }

    /// Whose status it is.
    fn check_id(&self, id: u32, twice: bool, request: &InFlight, found: &mut Findings) {
        // Exactly one chunk for each selected context.
        if twice {
            let text = format!("a second chunk with id={id} in one reply");
            return found.server(Rule::StatusOnePerContext, "id", text);
        }
        let Some(selection) = &self.negotiated.selection else { return };
        if !request.faulty && !selection.contexts.iter().any(|context| context.id == id) {
            let text = format!("id={id} is not that of a selected context");
            found.server(Rule::StatusOnePerContext, "id", text);
        }
    }

    /// What the bits of the status mean, where that is known.
    fn check_meaning(&self, id: u32, extents: &[Extent], found: &mut Findings) {
        let Some(Selection { contexts, .. }) = &self.negotiated.selection else { return };
        let Some(context) = contexts.iter().find(|context| context.id == id) else { return };
        // NBD_REPLY_TYPE_BLOCK_STATUS_EXT: the upper half is zero where the status has 32 bits.
        let upper = extents.iter().find(|extent| extent.status >> 32 != 0);
        if let Some(extent) = upper.filter(|_| context.meaning != Meaning::Unknown) {
            let text = format!("status {:#x} of a context with 32 bits", extent.status);
            return found.server(Rule::ExtStatusUpperZero, "extents", text);
        }
        let (bits, rule) = match context.meaning {
            // "base:allocation": the remainder of the flags should be zero.
            Meaning::BaseAllocation => (3, Rule::BaseReservedBits),
            // qemu's namespace: bit 0 is all there is.
            Meaning::DirtyBitmap => (1, Rule::QemuDirtyBitmapStatus),
            Meaning::OtherBase | Meaning::AllocationDepth | Meaning::Unknown => return,
        };
        if let Some(extent) = extents.iter().find(|extent| extent.status & !bits != 0) {
            let text = format!("status {:#x} has other bits than {bits:#x}", extent.status);
            found.server(rule, "extents", text);
        }
    }

    /// Where extents end.
    fn check_borders(&self, extents: &[Extent], request: &InFlight, found: &mut Findings) {
        let Some(export) = &self.export else { return };
        let minimum = export.block_size.map_or(1, |size| u64::from(size.minimum));
        let mut at = request.offset;
        for extent in extents {
            let end = at.saturating_add(extent.length);
            // The extents are consecutive portions of the export.
            if end > export.size {
                let text = format!("an extent ends at {end}, beyond size={}", export.size);
                return found.server(Rule::StatusWithinExport, "extents", text);
            }
            let odd = |unit: u64| extent.length % unit != 0 && end % unit != 0;
            // The ends of the export and of an unaligned query can't be helped.
            if end != export.size && end != request.end() {
                // Lengths should be multiples of the advertised minimum...
                if minimum.is_power_of_two() && minimum > 1 && odd(minimum) {
                    let length = extent.length;
                    let text = format!("length {length} is not a multiple of minimum={minimum}");
                    return found.server(Rule::StatusMultipleOfMin, "extents", text);
                }
                // ... and of 512 where possible.
                if odd(512) {
                    let text = format!("length {} is not a multiple of 512", extent.length);
                    return found.server(Rule::StatusMultipleOf512, "extents", text);
                }
            }
            at = end;
        }
    }

    /// A successful reply is complete.
    pub(super) fn check_contexts_complete(
        &self,
        request: &InFlight,
        state: &Progress,
        found: &mut Findings,
    ) {
        let Some(Selection { contexts, .. }) = &self.negotiated.selection else { return };
        let wanted = |id: u32| request.wanted.as_ref().is_none_or(|ids| ids.contains(&id));
        let missing = contexts.iter().find(|c| wanted(c.id) && !state.contexts.contains(&c.id));
        if let Some(context) = missing {
            // Exactly one chunk for each selected context.
            let text = format!("the reply is complete, and id={} was not sent", context.id);
            found.server(Rule::StatusOnePerContext, "flags", text);
        }
    }
}

/// How many extents a chunk has.
pub(super) fn check_count_limit(count: u64, field: &'static str, found: &mut Findings) {
    // Servers should not send more than 2^20 extents in a chunk.
    if count > EXTENT_LIMIT as u64 {
        let text = format!("{count} extents are more than {EXTENT_LIMIT}");
        found.server(Rule::StatusExtentLimit, field, text);
    }
}

/// How long extents are, compared with the request.
fn check_lengths(extents: &[Extent], request: &InFlight, found: &mut Findings) {
    let length = request.length;
    if request.flags.has(CommandFlags::REQ_ONE) {
        // With NBD_CMD_FLAG_REQ_ONE every chunk has exactly one extent...
        if extents.len() > 1 {
            let text = format!("{} extents, though REQ_ONE is set", extents.len());
            found.server(Rule::StatusReqOneSingle, "extents", text);
        }
        // ... that is no longer than the request.
        if let Some(extent) = extents.iter().find(|extent| extent.length > length) {
            let text = format!("length {} is larger than the requested {length}", extent.length);
            found.server(Rule::StatusReqOneLength, "extents", text);
        }
        return;
    }
    // Without it, all extents but the last add up to less than the requested length.
    let Some((_, before)) = extents.split_last() else { return };
    let sum = before.iter().fold(0u64, |sum, extent| sum.saturating_add(extent.length));
    if sum >= length {
        let sum = Plural(sum, "byte");
        let text = format!("{sum} before the last extent, of {length} requested");
        found.server(Rule::StatusSumBeforeLast, "extents", text);
    }
}
