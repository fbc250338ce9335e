//! JSON that can be shown on a terminal.

use std::fmt::Write as _;

/// JSON text with the control characters escaped that the format lets through as they are: DEL and
/// those above ASCII. They stand in strings only, so the meaning stays.
#[must_use]
pub fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for character in json.chars() {
        if character.is_control() && character >= '\u{7f}' {
            let _ = write!(out, "\\u{:04x}", u32::from(character));
        } else {
            out.push(character);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_meaning_stays() {
        let text = "a\u{9b}31m\u{7f}\u{1b}é\n";
        let json = serde_json::to_string(text).unwrap();
        let shown = escaped(&json);
        assert_eq!(shown, r#""a\u009b31m\u007f\u001bé\n""#);
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), text);
    }
}
