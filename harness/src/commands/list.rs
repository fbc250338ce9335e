//! `nbdcheck list`: the scenarios.

use comfy_table::{Cell, CellAlignment, Table, presets};

use crate::exit;
use crate::output;
use crate::scenarios;
use crate::script::ast::Script;

/// Command line of `nbdcheck list`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show only scenarios whose id, title or feature contains this text
    filter: Option<String>,
}

/// Runs the command; gives the exit status.
#[must_use]
pub fn run(args: Args) -> u8 {
    let scripts = match scenarios::all_or_tell() {
        Ok(scripts) => scripts,
        Err(status) => return status,
    };
    let wanted = |script: &&std::sync::Arc<Script>| {
        args.filter.as_ref().is_none_or(|filter| {
            let header = &script.header;
            [&script.id, &header.title.node, &header.feature.node]
                .iter()
                .any(|text| text.to_lowercase().contains(&filter.to_lowercase()))
        })
    };
    let chosen: Vec<_> = scripts.iter().filter(wanted).collect();
    if chosen.is_empty() {
        crate::say!("error: no scenario contains `{}`", args.filter.unwrap_or_default());
        return exit::USAGE;
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["id", "since", "tests", "title"]);
    for script in &chosen {
        table.add_row(vec![
            Cell::new(&script.id),
            Cell::new(script.header.since.node).set_alignment(CellAlignment::Right),
            Cell::new(script.header.tests.name()),
            Cell::new(&script.header.title.node),
        ]);
    }
    output::print(&format!("{table}\n{} scenarios\n", chosen.len()));
    exit::OK
}
