//! `nbdcheck coverage`: which requirements are checked, and by what.

use std::collections::BTreeMap;
use std::io::Write as _;

use comfy_table::{Cell, CellAlignment, Table, presets};
use dissector::session::{COVERED, Rule};
use protocol::requirements::{self, Observable};

use crate::exit;
use crate::scenarios;

/// Command line of `nbdcheck coverage`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name each requirement that nothing checks yet
    #[arg(long)]
    missing: bool,
}

fn judged(id: &str) -> bool {
    Rule::ALL.iter().any(|rule| rule.id() == id)
        || COVERED.iter().any(|(covered, _)| *covered == id)
}

/// Runs the command; gives the exit status.
#[must_use]
pub fn run(args: Args) -> u8 {
    let scripts = match scenarios::all_or_tell() {
        Ok(scripts) => scripts,
        Err(status) => return status,
    };
    let mut rows: BTreeMap<Observable, [usize; 4]> = BTreeMap::new();
    let mut missing = Vec::new();
    for rule in requirements::all() {
        let by_judge = judged(rule.id);
        let by_script = scripts
            .iter()
            .any(|script| script.header.checks.iter().any(|check| check.node == rule.id));
        let row = rows.entry(rule.observable).or_default();
        row[0] += 1;
        row[1] += usize::from(by_judge);
        row[2] += usize::from(by_script);
        if by_judge || by_script {
            row[3] += 1;
        } else if rule.observable != Observable::None {
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
            text.push_str(&format!("{:8} {:10} {}\n", rule.observable.name(), rule.level, rule.id));
        }
    }
    let _ = write!(anstream::stdout(), "{text}");
    exit::OK
}
