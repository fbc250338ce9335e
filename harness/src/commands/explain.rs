//! `nbdcheck explain`: a requirement, or a scenario.

use protocol::nearest::the_nearest;
use protocol::requirements;

use super::CommandError;
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
///
/// # Errors
/// What it could not do.
pub fn run(args: Args) -> Result<u8, CommandError> {
    let scripts = scenarios::all().map_err(CommandError::script)?;
    if let Some(script) = scripts.iter().find(|script| script.id == args.id) {
        output::print(&script.source.text);
        return Ok(exit::OK);
    }
    let Some(rule) = requirements::find(&args.id) else {
        let rules = requirements::all().iter().map(|rule| rule.id);
        let known = rules.chain(scripts.iter().map(|script| script.id.as_str()));
        let hint = the_nearest(&args.id, known, 3);
        let text = format_args!("`{}` is neither a requirement nor a scenario", args.id);
        return Err(CommandError::usage(text).hint(hint));
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
    Ok(exit::OK)
}
