//! `nbdcheck explain`: a requirement, or a scenario.

use std::sync::Arc;

use protocol::message::Side;
use protocol::nearest::the_nearest;
use protocol::requirements::{self, Requirement};

use super::CommandError;
use super::touched::{Touched, link};
use crate::exit;
use crate::markup::wrapped;
use crate::output;
use crate::scenarios;
use crate::script::ast::Script;
use crate::selftest::AnyFault;

/// How many characters of a quoted sentence stand on one line.
const WIDTH: usize = 80;

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
    output::print(&told(rule, &scripts));
    Ok(exit::OK)
}

/// A requirement, and all that is about it.
fn told(rule: &Requirement, scripts: &[Arc<Script>]) -> String {
    let party = rule.actor.map_or("both", Side::name);
    let mut text = format!(
        "{}\n  {}\n\n  level       {}\n  binds       {party}\n  phase       {}\n  observable  {}\n  check       {}\n",
        rule.id,
        rule.summary,
        rule.level,
        rule.phase,
        rule.observable.name(),
        rule.how,
    );
    if let Some(quote) = rule.quote {
        list(&mut text, "quote", wrapped(&format!("\u{201c}{quote}\u{201d}"), WIDTH).into_iter());
    }
    let sections = || rule.section.split(" ; ");
    list(&mut text, "section", sections().map(str::to_owned));
    // Neighbouring items of a list have the same heading.
    let mut links: Vec<String> = sections().map(link).collect();
    links.dedup();
    list(&mut text, "link", links.into_iter());
    let touched = Touched::by(rule.id, scripts);
    let judged = touched.rules.iter().map(|id| match *id == rule.id {
        true => "found in any session".to_owned(),
        false => format!("found in any session, as `{id}`"),
    });
    list(&mut text, "judge", judged);
    let scenario = |script: &&Script| format!("{}: {}", script.id, script.header.title.node);
    list(&mut text, "scenarios", touched.scenarios.iter().map(scenario));
    let fault = |fault: &AnyFault| {
        format!("{fault}: the {} {}", fault.side().name(), plain(fault.summary()))
    };
    list(&mut text, "faults", touched.faults.iter().map(fault));
    let quirk = |(side, name, what): &(Side, &str, &str)| {
        format!("{name}: the {} {}", side.name(), plain(what))
    };
    list(&mut text, "quirks", touched.quirks.iter().map(quirk));
    text
}

/// Lines that begin with what they list; nothing where there are none.
fn list(text: &mut String, word: &str, lines: impl Iterator<Item = String>) {
    for (index, line) in lines.enumerate() {
        let word = if index == 0 { word } else { "" };
        text.push_str(&format!("  {word:<12}{line}\n"));
    }
}

/// Without the marks of documentation.
fn plain(text: &str) -> String {
    text.replace('`', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_requirement_is_shown_with_all_that_is_about_it() {
        let scripts = scenarios::all().expect("the scenarios can be read");
        for id in ["disc-no-reply", "ext-reply-cookie-matches", "tls-version-1-2"] {
            let rule = requirements::find(id).expect("it is in the catalogue");
            insta::assert_snapshot!(id, told(rule, &scripts));
        }
    }
}
