//! Which versions of a program something is about: `10*`, `>=1.38 <1.44`, `3.24*, 3.26*`.

use std::cmp::Ordering;
use std::str::FromStr;

use globset::{Glob, GlobMatcher};

/// A set of versions: alternatives, separated by commas, of conditions, separated by blanks, that all
/// hold. A condition is a glob, or `<`, `<=`, `>`, `>=` and a version.
#[derive(Debug, Clone)]
pub struct Versions {
    text: String,
    alternatives: Vec<Vec<Condition>>,
}

#[derive(Debug, Clone)]
enum Condition {
    Glob(GlobMatcher),
    /// How a version compares with this one, one way or the other.
    Bound([Ordering; 2], String),
}

impl Versions {
    /// Whether a version is among them.
    #[must_use]
    pub fn has(&self, version: &str) -> bool {
        self.alternatives.iter().any(|all| all.iter().all(|condition| condition.holds(version)))
    }
}

impl PartialEq for Versions {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Versions {}

impl Condition {
    fn holds(&self, version: &str) -> bool {
        match self {
            Self::Glob(glob) => glob.is_match(version),
            Self::Bound(orders, bound) => orders.contains(&compare(version, bound)),
        }
    }
}

impl FromStr for Versions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let alternative =
            |part: &str| part.split_whitespace().map(condition).collect::<Result<Vec<_>, _>>();
        let alternatives = text.split(',').map(alternative).collect::<Result<Vec<_>, _>>()?;
        if alternatives.iter().any(Vec::is_empty) {
            return Err(format!("`{text}` lacks a version"));
        }
        Ok(Self { text: text.to_owned(), alternatives })
    }
}

fn condition(word: &str) -> Result<Condition, String> {
    use Ordering::{Equal, Greater, Less};
    let bounds = [
        ("<=", [Less, Equal]),
        (">=", [Greater, Equal]),
        ("<", [Less, Less]),
        (">", [Greater, Greater]),
    ];
    for (sign, orders) in bounds {
        if let Some(bound) = word.strip_prefix(sign) {
            return if bound.starts_with(|c: char| c.is_ascii_digit()) {
                Ok(Condition::Bound(orders, bound.to_owned()))
            } else {
                Err(format!("expected a version after `{sign}`, as in `{sign}1.38`"))
            };
        }
    }
    let glob = Glob::new(word).map_err(|error| error.to_string())?;
    Ok(Condition::Glob(glob.compile_matcher()))
}

/// Compares the numbers of two versions one by one: `1.9` is older than `1.10`, and `1.38` the same as
/// `1.38.0`. What stands behind the digits of a number does not count.
fn compare(a: &str, b: &str) -> Ordering {
    let numbers = |text: &str| -> Vec<u64> {
        let digits =
            |part: &str| -> String { part.chars().take_while(char::is_ascii_digit).collect() };
        text.split('.').map(|part| digits(part).parse().unwrap_or(0)).collect()
    };
    let (mut a, mut b) = (numbers(a), numbers(b));
    let length = a.len().max(b.len());
    a.resize(length, 0);
    b.resize(length, 0);
    a.cmp(&b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(pattern: &str, versions: [&str; 4]) -> [bool; 4] {
        let pattern: Versions = pattern.parse().expect("a pattern");
        versions.map(|version| pattern.has(version))
    }

    #[test]
    fn versions_are_globs_ranges_and_alternatives() {
        assert_eq!(has("10*", ["10.0.2", "10.0", "9.2", "1.0"]), [true, true, false, false]);
        let range = ">=1.38 <1.44";
        assert_eq!(has(range, ["1.38.0", "1.43.9", "1.44.0", "1.4"]), [true, true, false, false]);
        assert_eq!(has(range, ["1.38", "1.38-rc1", "1.100", "2.0"]), [true, true, false, false]);
        let either = "3.24*, >3.26 <=3.27.1";
        assert_eq!(has(either, ["3.24", "3.26", "3.27.1", "3.26.1"]), [true, false, true, true]);
    }

    #[test]
    fn a_pattern_that_says_nothing_is_refused() {
        let error = |text: &str| text.parse::<Versions>().expect_err("no pattern");
        insta::assert_snapshot!(error(""), @"`` lacks a version");
        insta::assert_snapshot!(error("1.2, "), @"`1.2,` lacks a version");
        insta::assert_snapshot!(error(">= 1.2"), @"expected a version after `>=`, as in `>=1.38`");
        insta::assert_snapshot!(error("1.[2"), @"error parsing glob '1.[2': unclosed character class; missing ']'");
    }
}
