//! Times with units in the text of a filter.

use protocol::notation::ast::Span;
use protocol::units;

/// A text in which times are numbers of nanoseconds, and where they came from.
#[derive(Debug, Default)]
pub(super) struct Units {
    /// `10ms` has become `10000000`. Texts in quotes stay.
    pub(super) text: String,
    /// Each time: where it stands here, and where it stood.
    times: Vec<(Span, Span)>,
}

impl Units {
    pub(super) fn read(original: &str) -> Self {
        let mut read = Self::default();
        let is_between = |c: char| !c.is_ascii_alphanumeric() && c != '_';
        let (mut at, mut quoted) = (0, false);
        for piece in original.split_inclusive(is_between) {
            let body = piece.trim_end_matches(is_between);
            let digits = body.trim_end_matches(|c: char| c.is_ascii_alphabetic());
            let scale = units::scale(&body[digits.len()..], &units::TIMES);
            match (digits.parse::<u64>(), scale) {
                (Ok(number), Some(scale)) if !quoted => {
                    let start = read.text.len();
                    read.text.push_str(&number.saturating_mul(scale).to_string());
                    let here = Span { start, end: read.text.len() };
                    read.times.push((here, Span { start: at, end: at + body.len() }));
                    read.text.push_str(&piece[body.len()..]);
                }
                _ => read.text.push_str(piece),
            }
            at += piece.len();
            quoted ^= piece.ends_with('"');
        }
        read
    }

    /// Whether a time stands there.
    pub(super) fn is_time(&self, span: Span) -> bool {
        self.times.iter().any(|(here, _)| here.start == span.start)
    }

    /// Where something of this text stood.
    pub(super) fn original(&self, span: Span) -> Span {
        let place = |at: usize, is_end: bool| {
            let before = self
                .times
                .iter()
                .rev()
                .find(|(here, _)| here.start < at || (here.start == at && !is_end));
            match before {
                Some((here, there)) if at >= here.end => at - here.end + there.end,
                Some((_, there)) if is_end => there.end,
                Some((_, there)) => there.start,
                None => at,
            }
        };
        Span { start: place(span.start, false), end: place(span.end, true) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_become_nanoseconds_but_not_in_texts() {
        let text = |text: &str| Units::read(text).text;
        assert_eq!(text("latency>10ms"), "latency>10000000");
        assert_eq!(text("time >= 2s and x == \"3us\""), "time >= 2000000000 and x == \"3us\"");
        assert_eq!(text("name == NBD_CMD_READ"), "name == NBD_CMD_READ");
        assert_eq!(text("length == 64KiB"), "length == 64KiB");
    }

    #[test]
    fn places_are_those_of_the_original() {
        let original = "time > 2s and latency > 10ms and foo";
        let units = Units::read(original);
        for word in ["time", "and", "latency", "foo"] {
            let start = units.text.find(word).unwrap();
            let span = units.original(Span { start, end: start + word.len() });
            assert_eq!(&original[span.start..span.end], word);
        }
        let start = units.text.find("10000000").unwrap();
        let span = Span { start, end: start + 8 };
        let there = units.original(span);
        assert!(units.is_time(span));
        assert_eq!(&original[there.start..there.end], "10ms");
    }
}
