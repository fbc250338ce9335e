//! Every field with its place and its bytes.

use std::io::Write;

use protocol::describe::{Field, Value};

use super::time::Seconds;
use super::{Out, Renderer, TextRenderer};
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
    let described = seen.message.describe(seen.payload.as_ref());
    let took = Seconds(seen.end_ns.saturating_sub(seen.time_ns));
    out.write(|w| {
        writeln!(
            w,
            "#     message {}, {} bytes at {} of the stream, complete after {took}",
            seen.number, seen.length, seen.offset
        )
    });
    let mut fields: Vec<&Field> = described.fields.iter().filter(|field| field.at.1 > 0).collect();
    fields.sort_by_key(|field| field.at.0);
    let mut at = 0;
    for field in fields {
        let (start, count) = field.at;
        row(out, &head, at, start, None);
        row(out, &head, start, start + count, Some(field));
        at = at.max(start + count);
    }
    row(out, &head, at, head.len() as u64, None);
}

/// The bytes from `start` up to `end`; without a field they are of the header: magic, type, length.
fn row<W: Write>(out: &mut Out<W>, head: &[u8], start: u64, end: u64, field: Option<&Field>) {
    if start >= end {
        return;
    }
    let bytes = usize::try_from(start).ok().and_then(|start| head.get(start..)).unwrap_or(&[]);
    let count = usize::try_from(end - start).unwrap_or(usize::MAX);
    let shown: Vec<String> =
        bytes.iter().take(count.min(SHOWN)).map(|byte| format!("{byte:02x}")).collect();
    let more = if count > SHOWN || shown.len() < count { " ..." } else { "" };
    let hex = match shown.len() {
        // Bulk is not kept.
        0 => String::new(),
        _ => format!("{}{more}", shown.join(" ")),
    };
    let what = match field {
        Some(Field { key, value: Value::Payload(payload), .. }) => format!("{key} = {payload}"),
        Some(Field { key, value, .. }) => format!("{key} = {value}"),
        None => "header".to_owned(),
    };
    out.write(|w| writeln!(w, "#     {start:>6} +{:<6} {hex:<51} {what}", end - start));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dissect::{Options, dissect};
    use crate::render::{Only, TextOptions};

    #[test]
    fn every_byte_of_a_header_is_shown() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../golden/recorded/nbdsh-nbdkit.pcap");
        let file = std::fs::File::open(path).unwrap();
        let options = TextOptions { latency: true, ..TextOptions::default() };
        let mut tree = TreeRenderer::new(TextRenderer::with_options(Vec::new(), options));
        dissect(file, Options::default(), &mut Only::new(&mut tree, Some(1))).unwrap();
        tree.finish().unwrap();
        insta::assert_snapshot!(String::from_utf8(tree.into_inner()).unwrap());
    }
}
