//! Faults in the answers to `NBD_CMD_BLOCK_STATUS`: honest extents go in, faulty ones come out.

use protocol::message::{Chunk, ChunkBody, Extent, Message, Request, SimpleReply};
use protocol::values::{ChunkType, Command, CommandFlags, ErrorCode, ReplyFlags};

use crate::contexts::{Context, Selected};
use crate::distortion::{ExtentFault, ReplyFault};
use crate::outgoing::{Part, Parts, chunk};

/// Changes the extents of a context.
pub(crate) fn distort_extents(
    fault: ExtentFault,
    request: &Request,
    size: u64,
    selected: &Selected,
    extents: &mut Vec<Extent>,
) {
    let one = request.flags.has(CommandFlags::REQ_ONE);
    let context = &selected.context;
    let Some(last) = extents.last_mut() else { return };
    match fault {
        ExtentFault::StatusExtentEmpty => extents.insert(0, Extent { length: 0, status: 0 }),
        ExtentFault::StatusNoExtent => extents.clear(),
        ExtentFault::StatusOneLonger if one => last.length += 65_536,
        ExtentFault::StatusOneTwice if one => split(extents),
        ExtentFault::StatusExtentTooMany if !one => {
            let status = u64::from(last.status == 0);
            extents.push(Extent { length: 512, status });
        }
        ExtentFault::StatusBeyondExport if !one => last.length += size,
        ExtentFault::StatusNeighboursEqual if !one => split(extents),
        ExtentFault::StatusCutAnywhere if !one => {
            if let Some(first) = extents.first_mut().filter(|first| first.length > 1000) {
                first.length = 1000;
                extents.truncate(1);
            }
        }
        ExtentFault::StatusReservedBits if matches!(context, Context::Allocation) => {
            extents.iter_mut().for_each(|extent| extent.status |= 1 << 4);
        }
        ExtentFault::StatusDataAsZero if matches!(context, Context::Allocation) => {
            extents.iter_mut().for_each(|extent| extent.status = 3);
        }
        ExtentFault::StatusHolesHidden if matches!(context, Context::Allocation) => {
            extents.iter_mut().for_each(|extent| extent.status = 0);
        }
        ExtentFault::BitmapOtherBits if matches!(context, Context::Bitmap(_)) => {
            extents.iter_mut().for_each(|extent| extent.status |= 2);
        }
        ExtentFault::BitmapAllDirty if matches!(context, Context::Bitmap(_)) => {
            extents.iter_mut().for_each(|extent| extent.status = 1);
        }
        ExtentFault::BitmapInverted if matches!(context, Context::Bitmap(_)) => {
            extents.iter_mut().for_each(|extent| extent.status ^= 1);
        }
        ExtentFault::DepthFromZero if matches!(context, Context::Depth) => {
            let less = |extent: &mut Extent| extent.status = extent.status.saturating_sub(1);
            extents.iter_mut().for_each(less);
        }
        _ => {}
    }
}

/// The first extent in two halves, if it can be.
fn split(extents: &mut Vec<Extent>) {
    if let Some(first) = extents.first_mut().filter(|first| first.length >= 1024) {
        let half = first.length / 1024 * 512;
        first.length -= half;
        let second = Extent { length: half, status: first.status };
        extents.insert(1, second);
    }
}

/// Changes the chunks of an answer.
pub(super) fn distort(fault: ReplyFault, request: &Request, parts: &mut Parts) {
    if request.command != Command::BLOCK_STATUS {
        return;
    }
    let is_status = |part: &Part| match part {
        Part::Message(Message::Chunk(chunk)) => {
            matches!(chunk.chunk, ChunkType::BLOCK_STATUS | ChunkType::BLOCK_STATUS_EXT)
        }
        _ => false,
    };
    if !parts.list.iter().any(is_status) {
        return;
    }
    match fault {
        ReplyFault::StatusChunkMissing => {
            let none = chunk(request, ReplyFlags::DONE, ChunkType::NONE, ChunkBody::Empty);
            parts.list = vec![Part::Message(none)];
        }
        ReplyFault::StatusSimple => {
            let reply = SimpleReply { error: ErrorCode::OK, cookie: request.cookie };
            parts.list = vec![Part::Message(Message::SimpleReply(reply))];
        }
        ReplyFault::StatusChunkLength => {
            for message in parts.messages_mut() {
                let Message::Chunk(Chunk { body, .. }) = message else { continue };
                let mut data = Vec::new();
                body.encode(&mut data);
                data.extend_from_slice(&[0; 2]);
                *body = ChunkBody::Raw(data);
            }
        }
        _ => {}
    }
}
