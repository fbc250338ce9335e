//! What deliberate faults make of requests that were honest.

use protocol::message::Cookie;
use protocol::values::{Command, CommandFlags, HISTORIC_MAGICS};

use super::error::ClientError;
use super::request::{Call, Form};
use crate::missteps::RequestFault;

/// A request with its data.
pub(super) fn request(
    form: Form,
    call: &Call,
    cookie: Cookie,
    fault: Option<RequestFault>,
) -> Result<Vec<u8>, ClientError> {
    let Some(fault) = fault else {
        let mut bytes = form.header(call, cookie)?;
        bytes.extend_from_slice(&call.data);
        return Ok(bytes);
    };
    let mut call = call.clone();
    let writes = matches!(call.command, Command::WRITE | Command::WRITE_ZEROES | Command::TRIM);
    let form = match fault {
        RequestFault::ExtendedUnasked => Form::Extended,
        RequestFault::CompactUnderExtended if form == Form::Extended => Form::Structured,
        _ => form,
    };
    match fault {
        RequestFault::CutsOffsets => call.offset &= u64::from(u32::MAX),
        RequestFault::FuaAlways if writes => call.flags = call.flags | CommandFlags::FUA,
        RequestFault::FastZeroAlways if call.command == Command::WRITE_ZEROES => {
            call.flags = call.flags | CommandFlags::FAST_ZERO;
        }
        RequestFault::SpareFlag => call.flags = call.flags | CommandFlags(1 << 9),
        RequestFault::FlushEverywhere if call.command == Command::FLUSH => call.length = 512,
        _ => {}
    }
    let mut bytes = form.header(&call, cookie)?;
    let is_write = call.command == Command::WRITE;
    match fault {
        RequestFault::OldMagic => bytes[..4].copy_from_slice(&HISTORIC_MAGICS[2].to_be_bytes()),
        RequestFault::OtherMagic => bytes[..4].copy_from_slice(&0x2560_9999_u32.to_be_bytes()),
        RequestFault::NoPayloadFlag if is_write => {
            let clear = call.flags.without(CommandFlags::PAYLOAD_LEN);
            bytes[4..6].copy_from_slice(&clear.0.to_be_bytes());
        }
        RequestFault::LittleEndian => bytes[..4].reverse(),
        RequestFault::NamesContextsOdd if !call.ids.is_empty() => {
            let length = 10 + 4 * call.ids.len() as u64;
            bytes[24..32].copy_from_slice(&length.to_be_bytes());
            bytes.extend([0, 0]);
        }
        _ => {}
    }
    bytes.extend_from_slice(&call.data);
    if fault == RequestFault::PayloadLong && is_write {
        bytes.push(0);
    }
    Ok(bytes)
}
