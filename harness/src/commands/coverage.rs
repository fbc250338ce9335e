//! `nbdcheck coverage`: which requirements are checked, and by what.

use std::collections::BTreeMap;
use std::sync::Arc;

use comfy_table::{Cell, CellAlignment, Table, presets};
use dissector::session::{COVERED, Rule};
use protocol::requirements::{self, Observable, Requirement};

use super::CommandError;
use crate::exit;
use crate::output;
use crate::scenarios;
use crate::script::ast::Script;

/// Requirements whose only scenario is not published: `REQUIREMENT # reason`.
static WITHHELD: &str = include_str!("../../../scenarios/withheld.txt");

/// Command line of `nbdcheck coverage`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// List every requirement that nothing checks yet
    #[arg(long)]
    missing: bool,
}

fn judged(id: &str) -> bool {
    Rule::ALL.iter().any(|rule| rule.id() == id)
        || COVERED.iter().any(|(covered, _)| *covered == id)
}

fn scripted(id: &str, scripts: &[Arc<Script>]) -> bool {
    scripts.iter().any(|script| script.header.checks.iter().any(|check| check.node == id))
}

/// The requirements whose only scenario is not published, with the reason.
fn withheld() -> Vec<(&'static str, &'static str)> {
    let lines = WITHHELD.lines().filter_map(|line| line.split_once('#'));
    lines.map(|(id, reason)| (id.trim(), reason.trim())).filter(|(id, _)| !id.is_empty()).collect()
}

fn named(rule: &Requirement) -> String {
    format!("{:8} {:10} {}\n", rule.observable.name(), rule.level, rule.id)
}

/// What is withheld, as text; nothing if nothing is.
fn told(withheld: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (id, reason) in withheld {
        let Some(rule) = requirements::find(id) else { continue };
        text.push_str(&named(rule));
        text.push_str(&format!("    withheld: {reason}\n"));
    }
    text
}

/// Runs the command; gives the exit status.
///
/// # Errors
/// What it could not do.
pub fn run(args: Args) -> Result<u8, CommandError> {
    let scripts = scenarios::all().map_err(CommandError::script)?;
    let withheld = withheld();
    let mut rows: BTreeMap<Observable, [usize; 4]> = BTreeMap::new();
    let mut missing = Vec::new();
    for rule in requirements::all() {
        let by_judge = judged(rule.id);
        let by_script = scripted(rule.id, &scripts);
        let row = rows.entry(rule.observable).or_default();
        row[0] += 1;
        row[1] += usize::from(by_judge);
        row[2] += usize::from(by_script);
        if by_judge || by_script {
            row[3] += 1;
        } else if rule.observable != Observable::None
            && !withheld.iter().any(|(id, _)| *id == rule.id)
        {
            missing.push(rule);
        }
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["observable", "requirements", "by the judge", "by scenarios", "by either"]);
    for (observable, counts) in rows {
        let mut cells = vec![Cell::new(observable.name())];
        cells.extend(counts.iter().map(|n| Cell::new(n).set_alignment(CellAlignment::Right)));
        table.add_row(cells);
    }
    let mut text = format!("{table}\n");
    if args.missing {
        for rule in missing {
            text.push_str(&named(rule));
        }
    }
    text.push_str(&told(&withheld));
    output::print(&text);
    Ok(exit::OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_withheld_is_in_the_catalogue_and_has_no_check() {
        let scripts = scenarios::all().expect("the scenarios can be read");
        for (id, reason) in withheld() {
            assert!(requirements::find(id).is_some(), "`{id}` is not in the catalogue");
            assert!(!judged(id) && !scripted(id, &scripts), "`{id}` is checked: the line can go");
            assert!(!reason.is_empty(), "`{id}` has no reason");
        }
    }

    #[test]
    fn what_is_withheld_is_told_with_its_reason() {
        insta::assert_snapshot!(told(&withheld()), @r"
        active   SHOULD     write-zeroes-unadvertised-fast-einval
            withheld: ends a release of a server that is in use
        ");
    }
}
