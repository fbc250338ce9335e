//! JSON that can be shown on a terminal.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter};

/// Writes a value as JSON, with the control characters escaped that the format lets through as they
/// are: DEL and those above ASCII. A peer chose what names and messages say.
pub(crate) fn write(writer: impl Write, value: &impl Serialize) -> serde_json::Result<()> {
    value.serialize(&mut serde_json::Serializer::with_formatter(writer, Harmless(CompactFormatter)))
}

struct Harmless(CompactFormatter);

impl Formatter for Harmless {
    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + Write,
    {
        let mut rest = fragment;
        // Nearly all are; without an early end the compiler looks at many bytes at once.
        if rest.bytes().fold(true, |plain, byte| plain & (b' '..0x7f).contains(&byte)) {
            return self.0.write_string_fragment(writer, rest);
        }
        while let Some((at, control)) = rest.char_indices().find(|(_, c)| c.is_control()) {
            let (plain, after) = rest.split_at(at);
            writer.write_all(plain.as_bytes())?;
            write!(writer, "\\u{:04x}", u32::from(control))?;
            rest = after.strip_prefix(control).unwrap_or_default();
        }
        self.0.write_string_fragment(writer, rest)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_meaning_stays() {
        let text = "a\u{9b}31m\u{7f}\u{1b}é\n\u{85}";
        let mut json = Vec::new();
        super::write(&mut json, &text).unwrap();
        assert_eq!(str::from_utf8(&json).unwrap(), r#""a\u009b31m\u007f\u001bé\n\u0085""#);
        assert_eq!(serde_json::from_slice::<String>(&json).unwrap(), text);
    }
}
