//! Grids as one HTML file.

use maud::{Markup, html};

use super::grid::{Cell, Grid, Row};
use crate::markup::html::{page, text};

/// The document as text.
#[must_use]
pub fn render(title: &str, grids: &[Grid]) -> String {
    page(
        title,
        &html! {
            h1 { (text(title)) }
            @for one in grids { (grid(one)) }
        },
    )
}

fn grid(grid: &Grid) -> Markup {
    let grouped = grid.is_grouped();
    html! {
        h2 { (text(&grid.title)) }
        div.scroll { table {
            thead { tr {
                @if grouped { th scope="col" { (text(&grid.corner.1)) } }
                th scope="col" { (text(&grid.corner.0)) }
                @for column in &grid.columns {
                    th scope="col" {
                        (text(&column.name))
                        @if let Some(detail) = &column.detail { small { (text(detail)) } }
                    }
                }
            } }
            tbody { @for line in &grid.rows { (row(line, grouped, grid.columns.len())) } }
        } }
        @for remark in &grid.remarks { p.quiet { (text(remark)) } }
        @let notes = grid.notes();
        @if !notes.is_empty() {
            details {
                summary { "Reasons and evidence (" (notes.len()) ")" }
                ul { @for note in notes {
                    li {
                        @if let Some(mark) = note.mark {
                            span.badge.(mark.name()) { (mark.name()) } " "
                        }
                        strong { (text(&note.rows.join(", "))) } ", " (text(&note.columns.join(", "))) ": "
                        code { (text(note.text)) }
                    }
                } }
            }
        }
    }
}

fn row(row: &Row, grouped: bool, width: usize) -> Markup {
    html! { tr {
        @if grouped { td { (text(row.group.as_deref().unwrap_or_default())) } }
        th scope="row" { (text(&row.name)) }
        @for at in 0..width {
            @match row.cell(at) {
                Some(found) => (cell(found)),
                None => td {},
            }
        }
    } }
}

fn cell(cell: &Cell) -> Markup {
    let class = cell.mark.map_or("plain", |mark| mark.name());
    let note = cell.note.as_deref().map(crate::markup::clean);
    html! { td.(class) title=[note] { (text(cell.shown())) } }
}
