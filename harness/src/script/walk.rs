//! Going through everything in a script.

use std::collections::BTreeSet;

use protocol::notation::ast::{Expr, MessageLine, PartExpr, Pattern, Spanned};

use super::ast::{Event, EventLine, Items, Script, Statement, StatementKind};

/// Visits each statement, outer ones first, in the order of lines.
pub(crate) fn statements<'s>(body: &'s [Statement], visit: &mut impl FnMut(&'s Statement)) {
    for statement in body {
        visit(statement);
        for block in blocks(statement) {
            statements(block, visit);
        }
    }
}

/// The names of the connections of a script.
pub(crate) fn connections(body: &[Statement]) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    statements(body, &mut |statement| {
        let conn = match &statement.kind {
            StatementKind::Message(line) => &line.conn,
            StatementKind::Event(line) => &line.conn,
            _ => return,
        };
        names.insert(conn.as_ref().map_or("", |conn| conn.node.as_str()));
    });
    names
}

/// The blocks of a statement.
pub(super) fn blocks(statement: &Statement) -> Vec<&[Statement]> {
    match &statement.kind {
        StatementKind::Message(_) | StatementKind::Event(_) | StatementKind::Check { .. } => {
            Vec::new()
        }
        StatementKind::AnyOrder(body)
        | StatementKind::Maybe(body)
        | StatementKind::Repeat { body, .. }
        | StatementKind::Until { body, .. }
        | StatementKind::For { body, .. }
        | StatementKind::Given { body, .. } => vec![body],
        StatementKind::Either(branches) => branches.iter().map(|branch| &branch.body[..]).collect(),
    }
}

/// The message line of a statement: its own, or the one that ends `until`.
pub(super) fn line(statement: &Statement) -> Option<&MessageLine> {
    match &statement.kind {
        StatementKind::Message(line) | StatementKind::Until { line, .. } => Some(line),
        _ => None,
    }
}

/// Whether something is true of one of the message lines, those of blocks included.
pub(crate) fn any_line(body: &[Statement], is: &mut impl FnMut(&MessageLine) -> bool) -> bool {
    let mut found = false;
    statements(body, &mut |statement| found = found || line(statement).is_some_and(&mut *is));
    found
}

/// Whether something is true of an expression in a script, or of a part of one.
pub(crate) fn mentions(script: &Script, is: &impl Fn(&Expr) -> bool) -> bool {
    let mut found = false;
    statements(&script.body, &mut |statement| {
        for whole in exprs(statement) {
            expr(whole, &mut |part| found = found || is(&part.node));
        }
    });
    found
}

/// The tags of a statement, and the id that a branch warns of.
pub(super) fn ids(statement: &Statement) -> Vec<&Spanned<String>> {
    match &statement.kind {
        StatementKind::Message(line) | StatementKind::Until { line, .. } => {
            line.tags.iter().collect()
        }
        StatementKind::Check { tags, .. } => tags.iter().collect(),
        StatementKind::Event(event) => event.tags.iter().collect(),
        StatementKind::Either(branches) => {
            branches.iter().filter_map(|branch| branch.warn.as_ref()).collect()
        }
        _ => Vec::new(),
    }
}

/// The expressions of a statement itself, blocks left out.
pub(crate) fn exprs(statement: &Statement) -> Vec<&Spanned<Expr>> {
    match &statement.kind {
        StatementKind::Message(line) | StatementKind::Until { line, .. } => {
            line.fields.iter().map(|field| &field.value).collect()
        }
        StatementKind::Check { expr, .. } => vec![expr],
        StatementKind::Event(EventLine { event: Event::Serve(serve), .. }) => {
            serve.fields.iter().map(|field| &field.value).collect()
        }
        StatementKind::Event(EventLine { event: Event::Judge(fields), .. }) => {
            fields.iter().map(|field| &field.value).collect()
        }
        StatementKind::Repeat { least, most, .. } => {
            std::iter::once(least).chain(most.as_ref()).collect()
        }
        StatementKind::For { items: Items::List(items), .. } => items.iter().collect(),
        StatementKind::For { items: Items::Range(from, to), .. } => vec![from, to],
        _ => Vec::new(),
    }
}

/// Visits an expression and everything in it, outer ones first.
pub(crate) fn expr<'s>(whole: &'s Spanned<Expr>, visit: &mut impl FnMut(&'s Spanned<Expr>)) {
    visit(whole);
    match &whole.node {
        Expr::Set(items) | Expr::Call(_, items) => {
            items.iter().for_each(|item| expr(item, visit));
        }
        Expr::Pair(a, b) | Expr::Binary(_, a, b) => {
            expr(a, visit);
            expr(b, visit);
        }
        Expr::Not(inner) => expr(inner, visit),
        Expr::Payload(parts) => {
            for PartExpr { pattern, count } in parts {
                if let Pattern::Fill(argument) | Pattern::Place(argument) = pattern {
                    expr(argument, visit);
                }
                if let Some(count) = count {
                    expr(count, visit);
                }
            }
        }
        Expr::Int(_)
        | Expr::Text(_)
        | Expr::Name(_)
        | Expr::Any
        | Expr::Capture(_)
        | Expr::Variable(_) => {}
    }
}

/// Every id in tags and after `warn`, in the order of lines, repeats included.
pub(super) fn all_ids(script: &Script) -> Vec<&Spanned<String>> {
    let mut found = Vec::new();
    statements(&script.body, &mut |statement| found.extend(ids(statement)));
    found
}
