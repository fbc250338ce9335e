//! Features by version against servers: a row for each feature that a version of qemu brought, a
//! column for each server.

use super::grid::{Cell, Column, Grid, Mark, Row};
use super::tested::{Scenario, Tested};
use crate::finding::Verdict;
use crate::run::SkipKind;
use crate::run::milestones::{Level, MILESTONES, Milestone, Offer, level};

/// The matrix of some servers.
#[must_use]
pub fn grid(servers: &[Tested]) -> Grid {
    let mut rows: Vec<Row> = MILESTONES
        .iter()
        .map(|milestone| Row {
            group: Some(milestone.since.to_string()),
            name: milestone.name.to_owned(),
            cells: servers.iter().map(|server| cell(milestone, server)).collect(),
        })
        .collect();
    rows.push(Row {
        group: None,
        name: "qemu feature level".to_owned(),
        cells: servers.iter().map(|server| level_cell(&server.offers)).collect(),
    });
    let columns = servers
        .iter()
        .map(|server| Column { name: server.name.clone(), detail: server.version.clone() });
    let problems = servers.iter().filter_map(|server| {
        server.problem.as_ref().map(|problem| format!("{}: no verdict: {problem}", server.name))
    });
    Grid {
        title: "Features by the version of qemu that brought them".to_owned(),
        corner: ("feature".to_owned(), "since".to_owned()),
        columns: columns.collect(),
        rows,
        remarks: problems
            .chain(["level: the newest version of qemu whose every feature the server offers"
                .to_owned()])
            .collect(),
    }
}

/// How a server came out at a feature.
fn cell(milestone: &Milestone, server: &Tested) -> Cell {
    let about: Vec<&Scenario> = server
        .scenarios
        .iter()
        .filter(|scenario| milestone.covers(&scenario.feature, scenario.since))
        .collect();
    let count = |wanted: fn(&Scenario) -> bool| about.iter().filter(|s| wanted(s)).count();
    let passed = count(|scenario| scenario.verdict == Verdict::Pass);
    let warned = count(|scenario| scenario.verdict == Verdict::Warn);
    let known = count(|scenario| scenario.verdict == Verdict::Fail && scenario.known);
    let failed = count(|scenario| scenario.verdict == Verdict::Fail && !scenario.known);
    let errors = count(|scenario| scenario.verdict == Verdict::Error);
    let ran = passed + warned + known + failed;
    let offer = server.offers.iter().find(|offer| offer.name == milestone.name);
    let first = |wanted: fn(&Scenario) -> bool| about.iter().copied().find(|s| wanted(s));
    let of = |mark: Mark, count: usize| {
        Cell::new(mark).with_text(format!("{} {count}/{ran}", mark.name()))
    };
    let with = |cell: Cell, scenario: Option<&Scenario>| match scenario {
        Some(scenario) => cell.with_note(scenario.in_a_line()),
        None => cell,
    };
    if failed > 0 {
        return with(of(Mark::Fail, failed), first(|s| s.verdict == Verdict::Fail && !s.known));
    }
    // What tests a server that does not offer a feature is no sign that it does.
    if let Some(Offer { offered: Some(false), evidence, .. }) = offer {
        let cell = Cell::new(Mark::NotOffered);
        return match evidence {
            Some(line) => cell.with_note(line),
            None => cell,
        };
    }
    if errors > 0 && ran == 0 {
        return with(Cell::new(Mark::Error), first(|s| s.verdict == Verdict::Error));
    }
    if known > 0 {
        return with(of(Mark::Known, known), first(|s| s.known));
    }
    if warned > 0 {
        return with(of(Mark::Warn, warned), first(|s| s.verdict == Verdict::Warn));
    }
    if passed > 0 {
        return Cell::new(Mark::Pass).with_text(format!("pass {passed}"));
    }
    let not_offered = first(|s| s.skipped == Some(SkipKind::NotOffered));
    let is_offered = offer.is_some_and(|offer| offer.offered == Some(true));
    match not_offered {
        Some(scenario) if !is_offered => with(Cell::new(Mark::NotOffered), Some(scenario)),
        _ => with(Cell::new(Mark::NotTested), about.first().copied()),
    }
}

fn level_cell(offers: &[Offer]) -> Cell {
    let Level { whole, aside, without } = level(offers);
    let cell = Cell::plain(whole.map_or("-".to_owned(), |version| version.to_string()));
    match aside {
        Some(version) if aside > whole => {
            cell.with_note(format!("{version} except {}", without.join(", ")))
        }
        _ => cell,
    }
}
