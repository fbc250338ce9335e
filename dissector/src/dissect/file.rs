//! From a capture file to records.

use super::{Dissector, Note, Options, Record, Sink};
use crate::capture::{CaptureReader, Input, Item, ReadError};

/// Decodes a capture file as far as it can be read. Where a file is cut off or corrupt, that is
/// told as a problem, and what came before counts. Gives the number of sessions.
///
/// # Errors
/// The file can't be read at all, is no capture, or reading fails midway.
pub fn dissect<'a, S: Sink>(
    input: impl Into<Input<'a>>,
    options: Options,
    sink: &mut S,
) -> Result<u64, ReadError> {
    let mut capture = CaptureReader::new(input)?;
    let mut dissector = Dissector::new(options);
    let mut last_ns = 0;
    let result = loop {
        match capture.next_item() {
            Ok(Some(Item::Packet(packet))) => {
                last_ns = packet.time_ns;
                dissector.packet(&packet, sink);
                if sink.is_done() {
                    return Ok(dissector.sessions());
                }
            }
            Ok(Some(Item::TlsKeyLog(log))) => dissector.secrets(log),
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    dissector.finish(sink);
    match result {
        Ok(()) => Ok(dissector.sessions()),
        Err(error) if error.is_partial() => {
            let kind = match error {
                ReadError::Cut { .. } => "cut-file",
                _ => "corrupt-file",
            };
            let note = Note { kind, time_ns: last_ns, text: error.to_string() };
            sink.record(Record::Problem(None, &note));
            Ok(dissector.sessions())
        }
        Err(error) => Err(error),
    }
}
