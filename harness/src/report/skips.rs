//! Why scenarios were not run: by reason, and in short.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::markup::clean;
use crate::run::SkipKind;
use crate::run::result::TargetRun;

/// The most reasons that are told one by one.
pub const FEW: usize = 6;
/// The most reasons that are told of a class.
const REASONS: usize = 6;
/// The most words that reasons of one shape are told with.
const WORDS: usize = 4;
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
            let count = reasons.iter().map(|(_, count)| count).sum();
            if reasons.len() > REASONS + 1 {
                let more = reasons.split_off(REASONS);
                let scenarios = more.iter().map(|(_, count)| count).sum();
                reasons.push((format!("{} more reasons", more.len()), scenarios));
            }
            Class { kind, count, reasons }
        })
        .collect()
}

/// Reasons that differ in names and numbers only.
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
                // Numbers by size.
                words.sort_by_key(|word| (word.len(), *word));
                words.dedup();
                let few = if words.len() > WORDS + 1 { WORDS } else { words.len() };
                out.push_str(&words[..few].join(", "));
                if words.len() > few {
                    let _ = write!(out, " and {} more", words.len() - few);
                }
            }
            out.push_str(part);
        }
        out
    }
}

/// A reason with gaps where names and numbers stand, and these.
fn shape(reason: &str) -> (String, Vec<String>) {
    let (mut gaps, mut words) = (String::new(), Vec::new());
    let mut rest = reason;
    let mut before = ' ';
    while let Some(first) = rest.chars().next() {
        let length = if before.is_alphanumeric() || before == '_' { 0 } else { name(rest) };
        if length > 0 {
            gaps.push('\0');
            words.push(rest[..length].to_owned());
            rest = &rest[length..];
            before = '0';
        } else {
            gaps.push(first);
            rest = &rest[first.len_utf8()..];
            before = first;
        }
    }
    (gaps, words)
}

/// How long the name or number is that a text begins with, in bytes: a quoted word, a number, a
/// constant of the specification.
fn name(text: &str) -> usize {
    for quote in ['`', '"'] {
        if let Some(inner) = text.strip_prefix(quote) {
            return inner.find(quote).map_or(0, |end| end + 2);
        }
    }
    let word = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    let word = &text[..word];
    let is_number = !word.is_empty() && word.chars().all(|c| c.is_ascii_digit());
    let constant = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let is_constant = word.contains('_') && word.chars().all(constant);
    if is_number || is_constant { word.len() } else { 0 }
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
        let (gaps, words) = shape("needs size>=512, and the configuration `many`");
        assert_eq!(gaps, "needs size>=\0, and the configuration \0");
        assert_eq!(words, ["512", "`many`"]);
        assert_eq!(shape("no SEND_DF").0, "no \0");
        assert_eq!(shape("TLS in 2.6").0, "TLS in \0.\0");
        // A name of the peer's with one backquote in it.
        assert_eq!(shape("no `x").0, "no `x");
    }
}
