//! Grids as JSON, a contract with users' scripts: fields may be added.
//!
//! ```json
//! {"nbdcheck": "0.1.0",
//!  "grids": [{"title": "...",
//!             "columns": [{"name": "qemu-nbd", "detail": "10.0.2"}],
//!             "rows": [{"group": "2.10", "name": "NBD_OPT_GO",
//!                       "cells": [{"verdict": "pass", "text": "4 of 4", "note": null}]}],
//!             "remarks": []}]}
//! ```
//!
//! `verdict` is `pass`, `warn`, `known`, `fail`, `not-offered`, `not-tested`, `error`, or null for
//! plain facts. A row has a cell for each column, in their order. `group` and `detail` may be null.

use std::io;

use serde::Serialize;

use super::grid::{Cell, Column, Grid, Row};
use crate::markup::json::escaped;

#[derive(Serialize)]
struct Document<'g> {
    nbdcheck: &'static str,
    grids: Vec<GridJson<'g>>,
}

#[derive(Serialize)]
struct GridJson<'g> {
    title: &'g str,
    columns: Vec<ColumnJson<'g>>,
    rows: Vec<RowJson<'g>>,
    remarks: &'g [String],
}

#[derive(Serialize)]
struct ColumnJson<'g> {
    name: &'g str,
    detail: Option<&'g str>,
}

#[derive(Serialize)]
struct RowJson<'g> {
    group: Option<&'g str>,
    name: &'g str,
    cells: Vec<CellJson<'g>>,
}

#[derive(Serialize, Default)]
struct CellJson<'g> {
    verdict: Option<&'static str>,
    text: &'g str,
    note: Option<&'g str>,
}

/// The document as text.
///
/// # Errors
/// Never in practice: everything can be written as JSON.
pub fn render(grids: &[Grid]) -> io::Result<String> {
    let document =
        Document { nbdcheck: env!("CARGO_PKG_VERSION"), grids: grids.iter().map(grid).collect() };
    let mut text = escaped(&serde_json::to_string_pretty(&document)?);
    text.push('\n');
    Ok(text)
}

fn grid(grid: &Grid) -> GridJson<'_> {
    let width = grid.columns.len();
    GridJson {
        title: &grid.title,
        columns: grid.columns.iter().map(column).collect(),
        rows: grid.rows.iter().map(|of| row(of, width)).collect(),
        remarks: &grid.remarks,
    }
}

fn column(column: &Column) -> ColumnJson<'_> {
    ColumnJson { name: &column.name, detail: column.detail.as_deref() }
}

fn row(row: &Row, width: usize) -> RowJson<'_> {
    RowJson {
        group: row.group.as_deref(),
        name: &row.name,
        cells: (0..width).map(|at| row.cell(at).map(cell).unwrap_or_default()).collect(),
    }
}

fn cell(cell: &Cell) -> CellJson<'_> {
    CellJson {
        verdict: cell.mark.map(|mark| mark.name()),
        text: cell.shown(),
        note: cell.note.as_deref(),
    }
}
