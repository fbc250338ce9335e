//! Grids as markdown, for pull requests and wikis.

use std::fmt::Write as _;

use super::grid::{Cell, Grid, Mark};
use crate::markup::markdown::{row, text};

/// The document as text.
#[must_use]
pub fn render(grids: &[Grid]) -> String {
    let grids: Vec<String> = grids.iter().map(grid).collect();
    grids.join("\n")
}

fn grid(grid: &Grid) -> String {
    let mut out = format!("## {}\n\n", text(&grid.title));
    let grouped = grid.is_grouped();
    let mut head = Vec::new();
    if grouped {
        head.push(text(&grid.corner.1));
    }
    head.push(text(&grid.corner.0));
    head.extend(grid.columns.iter().map(|column| match &column.detail {
        Some(detail) => format!("{} {}", text(&column.name), text(detail)),
        None => text(&column.name),
    }));
    out.push_str(&row(&head));
    out.push_str(&row(&vec!["---".to_owned(); head.len()]));
    for line in &grid.rows {
        let mut cells = Vec::new();
        if grouped {
            cells.push(text(line.group.as_deref().unwrap_or_default()));
        }
        cells.push(text(&line.name));
        cells.extend((0..grid.columns.len()).map(|at| line.cell(at).map(cell).unwrap_or_default()));
        out.push_str(&row(&cells));
    }
    let notes = grid.notes();
    if !notes.is_empty() {
        out.push('\n');
    }
    for note in notes {
        let mark = note.mark.map(|mark| format!(" ({})", mark.name())).unwrap_or_default();
        let _ = writeln!(out, "- {}{mark}: {}", text(&note.place()), text(note.text));
    }
    for (index, remark) in grid.remarks.iter().enumerate() {
        let gap = if index == 0 { "\n" } else { "" };
        let _ = writeln!(out, "{gap}{}  ", text(remark));
    }
    out
}

fn cell(cell: &Cell) -> String {
    let shown = text(cell.shown());
    match cell.mark {
        Some(Mark::Fail | Mark::Error) => format!("**{shown}**"),
        Some(Mark::NotOffered | Mark::NotTested) if !shown.is_empty() => format!("*{shown}*"),
        _ => shown,
    }
}
