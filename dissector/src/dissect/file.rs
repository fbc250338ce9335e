//! From a capture file to records.

use super::record::End;
use super::{Dissector, Note, Options, Record, Sink, parallel};
use crate::capture::{CaptureReader, Input, Item, ReadError};
use crate::plural::Plural;
use crate::tls::Growth;

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
    let lanes = if capture.mapping().is_some() { parallel::lanes() } else { 0 };
    read(&mut capture, options, lanes, sink)
}

/// Decodes a capture with so many lanes; all in this thread for 0.
pub(super) fn read<S: Sink>(
    capture: &mut CaptureReader<'_>,
    mut options: Options,
    lanes: usize,
    sink: &mut S,
) -> Result<u64, ReadError> {
    if capture.may_hold_secrets() {
        options.keys.set_growth(Growth::AmongPackets);
    }
    let End { sessions, last_ns, result } = match lanes {
        0 => alone(capture, options, sink),
        _ => parallel::decode(capture, options, lanes, sink),
    };
    let dropped = capture.dropped();
    if dropped > 0 {
        let packets = Plural(dropped, "packet");
        let text =
            format!("{packets} {} lost while the capture was made, as it says", packets.were());
        sink.record(Record::Problem(None, &Note { kind: "dropped", time_ns: last_ns, text }));
    }
    match result {
        Ok(()) => Ok(sessions),
        Err(error) if error.is_partial() => {
            let kind = match error {
                ReadError::Cut { .. } => "cut-file",
                _ => "corrupt-file",
            };
            let note = Note { kind, time_ns: last_ns, text: error.to_string() };
            sink.record(Record::Problem(None, &note));
            Ok(sessions)
        }
        Err(error) => Err(error),
    }
}

fn alone<S: Sink>(capture: &mut CaptureReader<'_>, options: Options, sink: &mut S) -> End {
    let mut dissector = Dissector::new(options);
    let mut last_ns = 0;
    let result = loop {
        match capture.next_item() {
            Ok(Some(Item::Packet(packet))) => {
                last_ns = packet.time_ns;
                dissector.packet(&packet, sink);
                if sink.is_done() {
                    return End { sessions: dissector.sessions(), last_ns, result: Ok(()) };
                }
            }
            Ok(Some(Item::TlsKeyLog(log))) => dissector.secrets(log),
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    dissector.finish(sink);
    End { sessions: dissector.sessions(), last_ns, result }
}
