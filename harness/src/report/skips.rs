//! Why scenarios were not run: by reason, and in short.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::markup::clean;
use crate::run::SkipKind;
use crate::run::runner::TargetRun;

/// The most reasons that are told one by one.
pub const FEW: usize = 6;
/// The most words that reasons of one shape are told with.
const WORDS: usize = 8;
/// The most characters of a reason in the short form.
const HEAD: usize = 110;

/// The scenarios that were skipped, by reason: for each the ids.
#[must_use]
pub fn by_reason(run: &TargetRun) -> Vec<(&str, Vec<&str>)> {
    let mut groups: BTreeMap<(SkipKind, &str), Vec<&str>> = BTreeMap::new();
    for outcome in &run.outcomes {
        if let (Some(kind), Some(reason)) = (outcome.skipped, &outcome.reason) {
            groups.entry((kind, reason)).or_default().push(&outcome.id);
        }
    }
    groups.into_iter().map(|((_, reason), ids)| (reason, ids)).collect()
}

/// Scenarios that were skipped for the same kind of reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Class {
    /// The kind.
    pub kind: SkipKind,
    /// How many scenarios.
    pub count: usize,
    /// The reasons without evidence, those of most scenarios first: each with how many it concerns.
    pub reasons: Vec<(String, usize)>,
}

/// The scenarios that were skipped, in a few classes.
#[must_use]
pub fn classes(run: &TargetRun) -> Vec<Class> {
    let mut kinds: BTreeMap<SkipKind, BTreeMap<String, Reason>> = BTreeMap::new();
    for outcome in &run.outcomes {
        if let (Some(kind), Some(reason)) = (outcome.skipped, &outcome.reason) {
            let (shape, words) = shape(&head(reason));
            let group = kinds.entry(kind).or_default().entry(shape).or_default();
            group.count += 1;
            if !group.words.contains(&words) {
                group.words.push(words);
            }
        }
    }
    kinds
        .into_iter()
        .map(|(kind, shapes)| {
            let mut reasons: Vec<(String, usize)> =
                shapes.iter().map(|(shape, group)| (group.text(shape), group.count)).collect();
            reasons.sort_by(|(a, most), (b, least)| least.cmp(most).then(a.cmp(b)));
            Class { kind, count: reasons.iter().map(|(_, count)| count).sum(), reasons }
        })
        .collect()
}

/// Reasons that differ in what stands between backquotes only.
#[derive(Default)]
struct Reason {
    count: usize,
    words: Vec<Vec<String>>,
}

impl Reason {
    fn text(&self, shape: &str) -> String {
        let mut out = String::new();
        for (index, part) in shape.split('\0').enumerate() {
            if index > 0 {
                let mut words: Vec<&str> = self
                    .words
                    .iter()
                    .filter_map(|words| words.get(index - 1).map(String::as_str))
                    .collect();
                words.sort_unstable();
                words.dedup();
                let quoted = words.iter().take(WORDS).map(|word| format!("`{word}`"));
                out.push_str(&quoted.collect::<Vec<_>>().join(", "));
                if words.len() > WORDS {
                    let _ = write!(out, " and {} more", words.len() - WORDS);
                }
            }
            out.push_str(part);
        }
        out
    }
}

/// A reason with gaps where words stand between backquotes, and those words.
fn shape(reason: &str) -> (String, Vec<String>) {
    let parts: Vec<&str> = reason.split('`').collect();
    if parts.len().is_multiple_of(2) {
        return (reason.to_owned(), Vec::new());
    }
    let texts: Vec<&str> = parts.iter().step_by(2).copied().collect();
    let words = parts.iter().skip(1).step_by(2).map(|word| (*word).to_owned()).collect();
    (texts.join("\0"), words)
}

/// A reason without the evidence: what stands in parentheses, and the line of the conversation.
fn head(reason: &str) -> String {
    let line = clean(reason.lines().next().unwrap_or_default());
    let evidence = [": S: ", ": C: ", ": S@", ": C@", ": -- "];
    let end = evidence.iter().filter_map(|mark| line.find(mark)).min().unwrap_or(line.len());
    let mut out = String::new();
    let mut depth = 0usize;
    for character in line[..end].chars() {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ if depth == 0 => out.push(character),
            _ => {}
        }
    }
    let out = out.replace(" :", ":").replace(" ,", ",").replace("  ", " ");
    match out.char_indices().nth(HEAD) {
        Some((at, _)) => format!("{}...", out[..at].trim_end()),
        None => out.trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_is_left_out_and_quoted_words_are_gaps() {
        let reason = "no CAN_MULTI_CONN: S: NBD_REP_INFO NBD_INFO_EXPORT flags={HAS_FLAGS}";
        assert_eq!(head(reason), "no CAN_MULTI_CONN");
        let reason = "hazardous (half a message (or less) is sent): `--allow-hazard` runs it";
        assert_eq!(head(reason), "hazardous: `--allow-hazard` runs it");
        let (gaps, words) = shape("needs the configuration `many`, which only");
        assert_eq!(
            (gaps.as_str(), words.as_slice()),
            ("needs the configuration \0, which only", ["many".to_owned()].as_slice())
        );
        // A name of the peer's with one backquote in it.
        assert_eq!(shape("no `x").0, "no `x");
    }
}
