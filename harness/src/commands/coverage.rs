//! `nbdcheck coverage`: which requirements are checked, and by what.

use std::collections::BTreeMap;
use std::sync::Arc;

use comfy_table::{Cell, CellAlignment, Table, presets};
use protocol::requirements::{self, Observable, Requirement};

use super::CommandError;
use super::touched::Touched;
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

    /// List every requirement with the rules of the judge, the scenarios, the deliberate faults and the
    /// quirks that are about it
    #[arg(long, conflicts_with = "missing")]
    list: bool,
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

/// A requirement, with all that is about it.
fn listed(rule: &Requirement, scripts: &[Arc<Script>]) -> String {
    let touched = Touched::by(rule.id, scripts);
    let mut text = named(rule);
    let mut line = |word: &str, names: Vec<&str>| {
        if !names.is_empty() {
            text.push_str(&format!("    {word:<10} {}\n", names.join(" ")));
        }
    };
    line("judge", touched.rules);
    line("scenarios", touched.scenarios.iter().map(|script| script.id.as_str()).collect());
    line("faults", touched.faults.iter().map(|fault| fault.name()).collect());
    line("quirks", touched.quirks.iter().map(|(_, name, _)| *name).collect());
    text
}

/// Runs the command; gives the exit status.
///
/// # Errors
/// What it could not do.
pub fn run(args: Args) -> Result<u8, CommandError> {
    let scripts = scenarios::all().map_err(CommandError::script)?;
    if args.list {
        let all = requirements::all().iter();
        output::print(&all.map(|rule| listed(rule, &scripts)).collect::<String>());
        return Ok(exit::OK);
    }
    let withheld = withheld();
    let mut rows: BTreeMap<Observable, [usize; 4]> = BTreeMap::new();
    let mut missing = Vec::new();
    for rule in requirements::all() {
        let touched = Touched::by(rule.id, &scripts);
        let (by_judge, by_script) = (!touched.rules.is_empty(), !touched.scenarios.is_empty());
        let row = rows.entry(rule.observable).or_default();
        row[0] += 1;
        row[1] += usize::from(by_judge);
        row[2] += usize::from(by_script);
        if touched.is_checked() {
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
            let is_checked = Touched::by(id, &scripts).is_checked();
            assert!(!is_checked, "`{id}` is checked: the line can go");
            assert!(!reason.is_empty(), "`{id}` has no reason");
        }
    }

    #[test]
    fn a_requirement_is_listed_with_all_that_is_about_it() {
        let scripts = scenarios::all().expect("the scenarios can be read");
        let rule = |id| requirements::find(id).expect("it is in the catalogue");
        let ids =
            ["disc-no-reply", "ext-reply-cookie-matches", "tls-handshake-initiator-tolerated"];
        let text: String = ids.into_iter().map(|id| listed(rule(id), &scripts)).collect();
        insta::assert_snapshot!(text);
    }

    #[test]
    fn what_is_withheld_is_told_with_its_reason() {
        insta::assert_snapshot!(told(&withheld()), @r"
        active   SHOULD     write-zeroes-unadvertised-fast-einval
            withheld: ends a release of a server that is in use
        ");
    }
}
