//! `nbdcheck list`: the scenarios.

use comfy_table::{Cell, CellAlignment, Table, presets};

use super::CommandError;
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
///
/// # Errors
/// What it could not do.
pub fn run(args: Args) -> Result<u8, CommandError> {
    let scripts = scenarios::all().map_err(CommandError::script)?;
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
        let filter = args.filter.unwrap_or_default();
        let error = CommandError::usage(format_args!("no scenario contains `{filter}`"));
        return Err(error.hint("`nbdcheck list` shows all"));
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
    Ok(exit::OK)
}
