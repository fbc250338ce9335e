//! Every field of the wire with its place and its bytes.

use std::fmt;
use std::io::Write;

use protocol::describe::WirePart;
use protocol::message::{Chunk, ChunkBody, Message};
use protocol::payload::{self, Payload};

use super::time::Seconds;
use super::{Out, Plural, Renderer, TextRenderer};
use crate::dissect::{Record, Sink};
use crate::session::Seen;

/// The most bytes of a field that are shown.
const SHOWN: usize = 16;

/// Writes the notation, and below each message its bytes, field by field.
pub struct TreeRenderer<W> {
    text: TextRenderer<W>,
}

impl<W: Write> TreeRenderer<W> {
    /// On top of the lines of the notation.
    pub fn new(text: TextRenderer<W>) -> Self {
        Self { text }
    }

    /// Gives the writer back.
    pub fn into_inner(self) -> W {
        self.text.into_inner()
    }
}

impl<W: Write> Sink for TreeRenderer<W> {
    fn record(&mut self, record: Record<'_>) {
        self.text.record(record);
        if let Record::Message(_, seen) = record {
            fields(self.text.out(), seen);
        }
    }

    fn at_frame(&mut self, number: u64) {
        self.text.at_frame(number);
    }

    fn is_done(&self) -> bool {
        self.text.is_done()
    }
}

impl<W: Write> Renderer for TreeRenderer<W> {
    fn finish(&mut self) -> std::io::Result<()> {
        self.text.finish()
    }
}

fn fields<W: Write>(out: &mut Out<W>, seen: &Seen) {
    let head = seen.message.to_bytes();
    let took = Seconds(seen.end_ns.saturating_sub(seen.time_ns));
    let length = Plural(seen.length, "byte");
    let (number, offset) = (seen.number, seen.offset);
    out.write(|w| {
        writeln!(
            w,
            "#     message {number}, {length} at {offset} of the stream, complete after {took}"
        )
    });
    for WirePart { name, start, length, value } in seen.message.layout() {
        let bytes = usize::try_from(start).ok().and_then(|start| head.get(start..)).unwrap_or(&[]);
        row(out, start, length, bytes, format_args!("{name} = {value}"));
    }
    let start = head.len() as u64;
    if seen.length > start {
        let (length, bytes) = (seen.length - start, beginning(seen));
        match &seen.payload {
            Some(payload) => row(out, start, length, &bytes, format_args!("data = {payload}")),
            None => row(out, start, length, &bytes, format_args!("data")),
        }
    }
}

/// The first bytes of the bulk, as far as they are known: bulk is not kept, but patterns tell.
fn beginning(seen: &Seen) -> Vec<u8> {
    if let Some(head) = &seen.head {
        return head.to_vec();
    }
    let offset = match &seen.message {
        Message::Request(request) => Some(request.offset),
        Message::Chunk(Chunk { body: ChunkBody::Data { offset, .. }, .. }) => Some(*offset),
        _ => None,
    };
    let parts = seen.payload.iter().flat_map(|payload| &payload.0);
    let known = parts.take_while(|part| match part {
        payload::Part::Zero(_) | payload::Part::Fill(..) | payload::Part::Hex(_) => true,
        payload::Part::Place(..) => offset.is_some(),
        payload::Part::Digest(..) | payload::Part::Any(_) => false,
    });
    let known = Payload(known.cloned().collect());
    let count = usize::try_from(known.length()).map_or(SHOWN, |length| length.min(SHOWN));
    let mut bytes = vec![0; count];
    known.fill(offset.unwrap_or(0), 0, &mut bytes);
    bytes
}

/// A line about so many bytes, of which the first are given.
fn row<W: Write>(
    out: &mut Out<W>,
    start: u64,
    length: u64,
    bytes: &[u8],
    what: fmt::Arguments<'_>,
) {
    let count = usize::try_from(length).unwrap_or(usize::MAX);
    let shown: Vec<String> =
        bytes.iter().take(count.min(SHOWN)).map(|byte| format!("{byte:02x}")).collect();
    let more = if shown.len() < count && !shown.is_empty() { " ..." } else { "" };
    let hex = format!("{}{more}", shown.join(" "));
    out.write(|w| writeln!(w, "#     {start:>6} +{length:<6} {hex:<51} {what}"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dissect::{Options, dissect};
    use crate::render::{Only, TextOptions};
    use crate::session::Recognize;

    #[test]
    fn every_field_of_the_wire_is_shown() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/recorded/nbdsh-nbdkit.pcap");
        let file = std::fs::File::open(path).unwrap();
        let options = TextOptions { latency: true, ..TextOptions::default() };
        let mut tree = TreeRenderer::new(TextRenderer::with_options(Vec::new(), options));
        let look = Options { recognize: Recognize::FormAndHead, ..Options::default() };
        dissect(file, look, &mut Only::new(&mut tree, Some(1))).unwrap();
        tree.finish().unwrap();
        insta::assert_snapshot!(String::from_utf8(tree.into_inner()).unwrap());
    }
}
