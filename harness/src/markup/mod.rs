//! What the HTML, markdown and JSON of all reports share: the page, and how foreign text is made harmless.

pub mod html;
pub mod json;
pub mod markdown;

use std::fmt::Write as _;

/// A text whose control characters are written out, so that a peer's words can neither drive a
/// terminal nor turn the direction of a page. Line ends and tabs stay.
#[must_use]
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        let drives = character.is_control() && !matches!(character, '\n' | '\t');
        // Marks, embeddings and isolates of the bidirectional algorithm.
        let turns = matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if drives || turns {
            let _ = write!(out, "\\u{{{:x}}}", u32::from(character));
        } else {
            out.push(character);
        }
    }
    out
}

/// A text in lines of at most `width` characters, broken between words; a longer word has a line of its
/// own.
pub(crate) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last().map_or(0, |line| line.chars().count());
        if line > 0 && line + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else if let Some(last) = lines.last_mut() {
            if line > 0 {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_written_out() {
        assert_eq!(
            clean("a\x1b[31mb\r\n\tc\u{202e}d\u{85}"),
            "a\\u{1b}[31mb\\u{d}\n\tc\\u{202e}d\\u{85}"
        );
        assert_eq!(clean("drei €"), "drei €");
    }
}
