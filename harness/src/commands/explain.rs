//! `nbdcheck explain`: a requirement, or a scenario.

use protocol::requirements;

use crate::exit;
use crate::output;
use crate::scenarios;

/// Command line of `nbdcheck explain`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Id of a requirement (such as `cookie-echoed`) or of a scenario
    id: String,
}

/// Runs the command; gives the exit status.
#[must_use]
pub fn run(args: Args) -> u8 {
    let scripts = match scenarios::all_or_tell() {
        Ok(scripts) => scripts,
        Err(status) => return status,
    };
    if let Some(script) = scripts.iter().find(|script| script.id == args.id) {
        output::print(&script.source.text);
        return exit::OK;
    }
    let Some(rule) = requirements::find(&args.id) else {
        let mut near: Vec<(f64, &str)> = requirements::all()
            .iter()
            .map(|rule| rule.id)
            .chain(scripts.iter().map(|script| script.id.as_str()))
            .map(|id| (strsim::jaro_winkler(&args.id, id), id))
            .collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0));
        let names: Vec<String> = near.iter().take(3).map(|(_, id)| format!("`{id}`")).collect();
        crate::say!(
            "error: `{}` is neither a requirement nor a scenario\nhint: the nearest are {}",
            args.id,
            names.join(", ")
        );
        return exit::USAGE;
    };
    let party = rule.actor.map_or("both", protocol::message::Side::name);
    let mut text = format!(
        "{}\n  {}\n\n  level       {}\n  binds       {party}\n  phase       {}\n  observable  {}\n  check       {}\n",
        rule.id,
        rule.summary,
        rule.level,
        rule.phase,
        rule.observable.name(),
        rule.how,
    );
    for (index, section) in rule.section.split(" ; ").enumerate() {
        let word = if index == 0 { "section" } else { "       " };
        text.push_str(&format!("  {word}     {section}\n"));
    }
    let checking = scripts
        .iter()
        .filter(|script| script.header.checks.iter().any(|check| check.node == rule.id));
    for (index, script) in checking.enumerate() {
        let word = if index == 0 { "scenarios" } else { "         " };
        text.push_str(&format!("  {word}   {}: {}\n", script.id, script.header.title.node));
    }
    output::print(&text);
    exit::OK
}
