//! Strings as they came over the wire: bytes that should be UTF-8 but need not be.

use std::fmt;

/// A string of the protocol (section "Conventions"): export names, descriptions, queries,
/// messages. Holds whatever bytes came, so that a peer's mistakes can be shown.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WireString(pub Vec<u8>);

impl WireString {
    /// The bytes as they are on the wire.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no byte at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text, if it is valid UTF-8.
    #[must_use]
    pub fn to_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl From<&str> for WireString {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl From<String> for WireString {
    fn from(text: String) -> Self {
        Self(text.into_bytes())
    }
}

impl From<&[u8]> for WireString {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

/// Prints in double quotes. Everything that could act on a terminal is escaped: `\n`, `\t`,
/// `\"`, `\\`, `\u{1b}`; bytes that are not UTF-8 as `\xff`.
impl fmt::Display for WireString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '"' => f.write_str("\\\"")?,
                    '\\' => f.write_str("\\\\")?,
                    '\n' => f.write_str("\\n")?,
                    '\t' => f.write_str("\\t")?,
                    '\r' => f.write_str("\\r")?,
                    '\0' => f.write_str("\\0")?,
                    c if is_risky(c) => write!(f, "\\u{{{:x}}}", u32::from(c))?,
                    c => write!(f, "{c}")?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        f.write_str("\"")
    }
}

impl fmt::Debug for WireString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Control characters, and the invisible ones that turn text around.
fn is_risky(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Reads what stands between the quotes of [`WireString`]'s printed form.
///
/// # Errors
/// The byte position in `inner` of an escape that is unknown or cut off.
pub fn unescape(inner: &str) -> Result<WireString, usize> {
    let mut out = Vec::with_capacity(inner.len());
    let mut chars = inner.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c != '\\' {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        match chars.next().map(|(_, c)| c) {
            Some('"') => out.push(b'"'),
            Some('\\') => out.push(b'\\'),
            Some('n') => out.push(b'\n'),
            Some('t') => out.push(b'\t'),
            Some('r') => out.push(b'\r'),
            Some('0') => out.push(0),
            Some('x') => {
                let digits: String = chars.by_ref().take(2).map(|(_, c)| c).collect();
                if digits.len() != 2 {
                    return Err(at);
                }
                out.push(u8::from_str_radix(&digits, 16).map_err(|_| at)?);
            }
            Some('u') => {
                if chars.next().map(|(_, c)| c) != Some('{') {
                    return Err(at);
                }
                let digits: String =
                    chars.by_ref().map(|(_, c)| c).take_while(|c| *c != '}').collect();
                let c = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32).ok_or(at)?;
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            _ => return Err(at),
        }
    }
    Ok(WireString(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    // qemu-nbd -L and nbd-client -l print a server's escape sequences unfiltered.
    #[test]
    fn escapes_what_a_terminal_would_obey() {
        let text = WireString::from("a\x1b[31m\"\u{202e}");
        assert_eq!(text.to_string(), r#""a\u{1b}[31m\"\u{202e}""#);
    }

    proptest::proptest! {
        #[test]
        fn unescape_undoes_display(bytes: Vec<u8>) {
            let text = WireString(bytes);
            let printed = text.to_string();
            proptest::prop_assert_eq!(unescape(&printed[1..printed.len() - 1]), Ok(text));
        }

        #[test]
        fn unescape_never_panics(text: String) {
            let _ = unescape(&text);
        }
    }
}
