//! Grids for people at a terminal. What is too wide for it is shown in several tables.

use std::fmt::Write as _;

use comfy_table::{Attribute, Cell as Shown, Color, ColumnConstraint, ContentArrangement, Table};
use comfy_table::{Width, presets};

use super::grid::{Cell, Column, Grid, Mark};
use crate::markup::clean;

/// The width where there is no terminal to ask.
pub const WIDTH: u16 = 118;
/// Columns are not made wider than this; longer words are wrapped.
const WIDEST: usize = 26;

/// How grids are shown.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// The width of the terminal in characters.
    pub width: u16,
    /// Whether verdicts are coloured; only a terminal should see that.
    pub colour: bool,
}

impl Default for Look {
    fn default() -> Self {
        Self { width: WIDTH, colour: false }
    }
}

/// The grids one below the other.
#[must_use]
pub fn render(grids: &[Grid], look: Look) -> String {
    let grids: Vec<String> = grids.iter().map(|one| grid(one, look)).collect();
    grids.join("\n")
}

fn grid(grid: &Grid, look: Look) -> String {
    let mut out = format!("{}\n", clean(&grid.title));
    for band in bands(grid, look.width.into()) {
        let table = table(grid, &band, look);
        let _ = writeln!(out, "{table}");
    }
    for remark in &grid.remarks {
        let _ = writeln!(out, "{}", clean(remark));
    }
    let notes = grid.notes();
    if !notes.is_empty() {
        out.push('\n');
    }
    for note in notes {
        let mark = note.mark.map(|mark| format!(" ({})", mark.name())).unwrap_or_default();
        let place = clean(&format!("{}{mark}", note.place()));
        let _ = writeln!(out, "  {place}:");
        for line in clean(note.text).lines() {
            let _ = writeln!(out, "      {}", shortened(line));
        }
    }
    out
}

/// Evidence may be very long; a few lines are enough to know it again.
fn shortened(line: &str) -> String {
    const LIMIT: usize = 240;
    match line.char_indices().nth(LIMIT) {
        Some((at, _)) => format!("{}...", &line[..at]),
        None => line.to_owned(),
    }
}

fn table(grid: &Grid, columns: &[usize], look: Look) -> Table {
    let grouped = grid.is_grouped();
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(look.width);
    if look.colour {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    let mut head = Vec::new();
    if grouped {
        head.push(Shown::new(clean(&grid.corner.1)));
    }
    head.push(Shown::new(clean(&grid.corner.0)));
    head.extend(columns.iter().map(|at| Shown::new(heading(&grid.columns[*at]))));
    table.set_header(head);
    for row in &grid.rows {
        let mut cells = Vec::new();
        if grouped {
            cells.push(Shown::new(clean(row.group.as_deref().unwrap_or_default())));
        }
        cells.push(Shown::new(clean(&row.name)));
        cells.extend(columns.iter().map(|at| match row.cell(*at) {
            Some(found) => coloured(found),
            None => Shown::new(""),
        }));
        table.add_row(cells);
    }
    // Labels keep their width; findings share what is left.
    let labels = if grouped { 2 } else { 1 };
    for (at, column) in table.column_iter_mut().enumerate() {
        if at >= labels {
            let width = Width::Fixed(u16::try_from(WIDEST + 2).unwrap_or(u16::MAX));
            column.set_constraint(ColumnConstraint::UpperBoundary(width));
        } else {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    table
}

fn heading(column: &Column) -> String {
    match &column.detail {
        Some(detail) => format!("{}\n{}", clean(&column.name), clean(detail)),
        None => clean(&column.name),
    }
}

fn coloured(cell: &Cell) -> Shown {
    let shown = Shown::new(clean(cell.shown()));
    match cell.mark {
        Some(Mark::Pass) => shown.fg(Color::DarkGreen),
        Some(Mark::Warn | Mark::Known) => shown.fg(Color::DarkYellow),
        Some(Mark::Fail | Mark::Error) => shown.fg(Color::DarkRed).add_attribute(Attribute::Bold),
        Some(Mark::NotOffered | Mark::NotTested) => shown.fg(Color::DarkGrey),
        None => shown,
    }
}

/// Which columns stand in which table, so that none is wider than `width`.
fn bands(grid: &Grid, width: usize) -> Vec<Vec<usize>> {
    let longest = |texts: &mut dyn Iterator<Item = &str>| {
        texts.flat_map(str::lines).map(|line| line.chars().count()).max().unwrap_or_default()
    };
    let names = &mut grid.rows.iter().map(|row| row.name.as_str()).chain([grid.corner.0.as_str()]);
    // Each column has a space on both sides, and one character towards the next.
    let mut labels = 1 + longest(names) + 3;
    if grid.is_grouped() {
        let groups = grid.rows.iter().filter_map(|row| row.group.as_deref());
        labels += longest(&mut groups.chain([grid.corner.1.as_str()])) + 3;
    }
    let mut bands: Vec<Vec<usize>> = Vec::new();
    let mut used = 0;
    for (at, column) in grid.columns.iter().enumerate() {
        let heads = [column.name.as_str(), column.detail.as_deref().unwrap_or_default()];
        let cells = grid.rows.iter().filter_map(|row| row.cell(at)).map(Cell::shown);
        let needed = longest(&mut cells.chain(heads)).min(WIDEST) + 3;
        match bands.last_mut() {
            Some(band) if used + needed <= width => {
                band.push(at);
                used += needed;
            }
            _ => {
                bands.push(vec![at]);
                used = labels + needed;
            }
        }
    }
    bands
}
