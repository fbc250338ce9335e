//! What the features came to: in short, or as a table with counts.

use std::fmt::Write as _;

use comfy_table::{Cell, CellAlignment, Table, presets};

use super::style::{BAD, DOUBT, GOOD, QUIET, styled, wrapped};
use crate::report::digest;
use crate::run::Totals;
use crate::run::features::{Feature, FeatureVerdict, features};
use crate::run::result::TargetRun;

/// The features by the qemu version that brought them, those that came out alike together; at the
/// end those of which nothing was tested.
pub(super) fn overview(run: &TargetRun) -> String {
    let all = features(run);
    let mut out = String::new();
    let mut rest = all.as_slice();
    while let Some(first) = rest.first() {
        let same = rest.iter().take_while(|feature| feature.since == first.since).count();
        let (version, others) = rest.split_at(same);
        rest = others;
        let mut words: Vec<&str> = version.iter().map(digest::word).collect();
        words.retain(|word| !UNTESTED.contains(word));
        words.sort_by_key(|word| place(word));
        words.dedup();
        let mut since = first.since.to_string();
        for word in words {
            let of_word = version.iter().filter(|feature| digest::word(feature) == word);
            row(
                &std::mem::take(&mut since),
                word,
                &of_word.map(name).collect::<Vec<_>>(),
                &mut out,
            );
        }
    }
    for word in UNTESTED {
        let mut versions: Vec<(&str, Vec<String>)> = Vec::new();
        for feature in all.iter().filter(|feature| digest::word(feature) == word) {
            match versions.iter_mut().find(|(name, _)| *name == feature.name) {
                Some((_, versions)) => versions.push(feature.since.to_string()),
                None => versions.push((feature.name, vec![feature.since.to_string()])),
            }
        }
        let names = versions.iter().map(|(name, since)| format!("{name} ({})", since.join(", ")));
        let names: Vec<String> = names.collect();
        if !names.is_empty() {
            row("", word, &names, &mut out);
        }
    }
    out
}

/// Words for features of which no scenario ran.
const UNTESTED: [&str; 2] = ["not-offered", "not-tested"];

fn row(since: &str, word: &str, names: &[String], out: &mut String) {
    let padded = styled(style(word), format!("{word:<12}"));
    let lines = wrapped(&names.join(", "));
    let _ = writeln!(out, "{since:>6}  {padded} {}", lines.join(&format!("\n{:21}", "")));
}

/// The worst first.
fn place(word: &str) -> usize {
    let order = ["fail", "error", "fail (known)", "warn", "pass", "not-offered", "not-tested"];
    order.iter().position(|known| *known == word).unwrap_or(order.len())
}

fn style(word: &str) -> anstyle::Style {
    match word {
        "pass" => GOOD,
        "fail" | "error" => BAD,
        "warn" | "fail (known)" => DOUBT,
        _ => QUIET,
    }
}

/// With how many of its scenarios failed, or warned, of those that ran.
fn name(feature: &Feature<'_>) -> String {
    let Totals { warned, failed, known, errors, .. } = feature.totals;
    let ran = feature.totals.ran() + errors;
    let bad = match feature.verdict {
        FeatureVerdict::Fail => failed + errors + known,
        FeatureVerdict::Warn => warned,
        _ => errors,
    };
    match bad {
        0 => feature.name.to_owned(),
        bad => format!("{} {bad}/{ran}", feature.name),
    }
}

/// Each feature with the counts of its scenarios.
pub(super) fn table(run: &TargetRun) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header(["since", "feature", "verdict", "pass", "warn", "fail", "known", "skip"]);
    for feature in features(run) {
        let Totals { passed, warned, failed, known, skipped, errors, .. } = feature.totals;
        let number = |n: usize| {
            let text = if n == 0 { "·".to_owned() } else { n.to_string() };
            Cell::new(text).set_alignment(CellAlignment::Right)
        };
        table.add_row(vec![
            Cell::new(feature.since).set_alignment(CellAlignment::Right),
            Cell::new(feature.name),
            Cell::new(digest::word(&feature)),
            number(passed),
            number(warned),
            number(failed + errors),
            number(known),
            number(skipped),
        ]);
    }
    table
}
