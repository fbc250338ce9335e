//! Markdown (GitHub's) from text that may hold anything.

use super::clean;

/// Text as it stands within a line or a table's cell: nothing in it is markup, line ends become
/// spaces.
#[must_use]
pub fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let text = clean(text);
    let mut before = ' ';
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        let after = rest.peek().copied().unwrap_or(' ');
        let marks = match character {
            '\\' | '`' | '*' | '{' | '}' | '[' | ']' | '<' | '>' | '#' | '|' | '~' | '&' | '!'
            | '@' => true,
            // Within a word it marks nothing, and names are full of them.
            '_' => !(before.is_alphanumeric() && after.is_alphanumeric()),
            // An address would become a link.
            ':' => after == '/',
            _ => false,
        };
        if marks {
            out.push('\\');
        }
        out.push(if matches!(character, '\n' | '\t') { ' ' } else { character });
        before = character;
    }
    out
}

/// A block of text that is shown as it is: its fence is longer than any run of backticks in it.
#[must_use]
pub fn block(text: &str) -> String {
    let text = clean(text);
    let mut longest = 0;
    let mut run = 0;
    for character in text.chars() {
        run = if character == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}text\n{}\n{fence}\n", text.trim_end_matches('\n'))
}

/// A row of a table; the cells are markdown already.
#[must_use]
pub fn row(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn markup_is_taken_as_text() {
        assert_eq!(text("<b>|`x`|\n[a](b)"), "\\<b\\>\\|\\`x\\`\\| \\[a\\](b)");
        assert!(block("``` out\n").starts_with("````text\n"));
    }

    proptest! {
        #[test]
        fn a_cell_stays_one_cell(any in "\\PC*") {
            let mut escaped = false;
            for character in text(&any).chars() {
                prop_assert!(character != '\n' && (escaped || character != '|'));
                escaped = character == '\\' && !escaped;
            }
        }

        #[test]
        fn a_block_ends_where_it_should(any in "[`\\n a]*") {
            let shown = block(&any);
            let fence = shown.split("text").next().unwrap_or_default();
            prop_assert_eq!(shown.lines().filter(|line| line.trim() == fence).count(), 1);
        }
    }
}
