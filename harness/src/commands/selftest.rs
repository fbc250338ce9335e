//! `nbdcheck selftest`: does the suite find each deliberate fault of the reference server, or client?

use std::fmt::Write as _;
use std::str::FromStr;
use std::sync::Arc;

use comfy_table::{Cell, CellAlignment, Table, presets};
use protocol::message::Side;

use super::error::CommandError;
use super::runtime::runtime;
use crate::exit;
use crate::output;
use crate::report::Report;
use crate::scenarios;
use crate::script::ast::Script;
use crate::selftest::{self, AnyFault, Means, Outcome, Trial};

/// Command line of `nbdcheck selftest`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Plays the scenarios against the reference server with one deliberate fault at a time, until every \
requirement that the fault breaks has been named. With `--client`, it tests the reference client in the \
same way. `nbdcheck serve --list-faults` and `nbdcheck client --list-faults` list the faults. The exit \
status is 1 if a fault survives, or if one that breaks a MUST causes only warnings. With `--outside`, some \
faults of servers look lawful to those who did not set the server up: they are listed with the reason.

Examples:
  nbdcheck selftest
  nbdcheck selftest --area tls --area greeting
  nbdcheck selftest --fault cookie-wrong
  nbdcheck selftest --client
  nbdcheck selftest --outside --report json=faults.json")]
pub struct Args {
    /// Try the faults of the reference client; otherwise those of the server
    #[arg(long)]
    client: bool,

    /// Try only the faults of this area. Can be repeated
    #[arg(long, value_name = "AREA")]
    area: Vec<String>,

    /// Try only this fault. Can be repeated
    #[arg(long, value_name = "NAME")]
    fault: Vec<String>,

    /// Test the faulty servers as external ones, as `run --target` does, and the faulty clients as
    /// commands
    #[arg(long)]
    outside: bool,

    /// Try this many faults at the same time
    #[arg(long, value_name = "N", default_value_t = super::runtime::default_jobs(), value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,

    /// Also write the result to a file: `json=PATH`; `-` for standard output
    #[arg(long, value_name = "FORMAT=PATH")]
    report: Vec<Report<Json>>,
}

/// The one format of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Json;

impl FromStr for Json {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "json" => Ok(Self),
            other => Err(format!("`{other}` is not a format; there is `json`")),
        }
    }
}

/// Runs the command; gives the exit status.
///
/// # Errors
/// What it could not do.
pub fn run(args: Args) -> Result<u8, CommandError> {
    let scripts = scenarios::all().map_err(CommandError::script)?;
    let faults = wanted(&args)?;
    let means = match (args.outside, std::env::current_exe()) {
        (true, Ok(program)) => Means::Outside(program.display().to_string()),
        _ => Means::Inside,
    };
    let trials = runtime()?.block_on(trials(faults, &scripts, &means, args.jobs));
    if !args.report.iter().any(Report::is_stdout) {
        output::print(&told(&trials, args.side()));
    }
    for report in &args.report {
        report
            .put(&json(&trials))
            .map_err(|error| CommandError::cannot_write(report.path.display(), &error))?;
    }
    let bad = |trial: &Trial| matches!(trial.outcome, Outcome::OnlyWarned | Outcome::Survived);
    Ok(if trials.iter().any(bad) { exit::FAILED } else { exit::OK })
}

impl Args {
    fn side(&self) -> Side {
        if self.client { Side::Client } else { Side::Server }
    }
}

/// The faults that are to be tried.
fn wanted(args: &Args) -> Result<Vec<AnyFault>, CommandError> {
    let all = AnyFault::all(args.side());
    let areas = AnyFault::areas(args.side());
    if let Some(area) = args.area.iter().find(|area| !areas.contains(&area.as_str())) {
        let error = CommandError::usage(format_args!("there is no area `{area}`"));
        return Err(error.hint(format_args!("there are {}", areas.join(", "))));
    }
    for name in &args.fault {
        let known = match args.side() {
            Side::Server => super::serve::parse_fault(name).map(drop),
            Side::Client => super::client::parse_fault(name).map(drop),
        };
        known.map_err(CommandError::usage)?;
    }
    let every = args.area.is_empty() && args.fault.is_empty();
    let wanted = |fault: &AnyFault| {
        every
            || args.fault.iter().any(|name| name == fault.name())
            || args.area.iter().any(|area| area == fault.area())
    };
    Ok(all.into_iter().filter(wanted).collect())
}

/// Tries the faults, some at the same time.
async fn trials(
    faults: Vec<AnyFault>,
    scripts: &[Arc<Script>],
    means: &Means,
    jobs: u16,
) -> Vec<Trial> {
    let mut waiting = faults.into_iter();
    let mut running = tokio::task::JoinSet::new();
    let mut trials = Vec::new();
    loop {
        while running.len() < usize::from(jobs)
            && let Some(fault) = waiting.next()
        {
            let (scripts, means) = (scripts.to_vec(), means.clone());
            running.spawn(async move { selftest::test(fault, &scripts, &means).await });
        }
        match running.join_next().await {
            Some(Ok(trial)) => trials.push(trial),
            Some(Err(error)) => crate::say!("error: a trial came to no end: {error}"),
            None => break,
        }
    }
    trials.sort_by_key(|trial| trial.fault);
    trials
}

/// The result for people.
fn told(trials: &[Trial], side: Side) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    // Inside, everything can be seen.
    let outcomes: Vec<Outcome> = [
        Outcome::Named,
        Outcome::Found,
        Outcome::OnlyWarned,
        Outcome::Survived,
        Outcome::NotVisible,
    ]
    .into_iter()
    .filter(|it| *it != Outcome::NotVisible || trials.iter().any(|trial| trial.outcome == *it))
    .collect();
    table.set_header(["area", "faults"].into_iter().chain(outcomes.iter().map(|it| it.name())));
    let row = |name: &str, trials: &[&Trial]| {
        let count = |outcome| trials.iter().filter(|trial| trial.outcome == outcome).count();
        let mut counts = vec![trials.len()];
        counts.extend(outcomes.iter().copied().map(count));
        let mut cells = vec![Cell::new(name)];
        cells
            .extend(counts.into_iter().map(|it| Cell::new(it).set_alignment(CellAlignment::Right)));
        cells
    };
    for area in AnyFault::areas(side) {
        let of: Vec<&Trial> = trials.iter().filter(|trial| trial.fault.area() == *area).collect();
        if !of.is_empty() {
            table.add_row(row(area, &of));
        }
    }
    table.add_row(row("all", &trials.iter().collect::<Vec<_>>()));
    let mut out = format!("{table}\n");
    for trial in trials.iter().filter(|trial| trial.outcome != Outcome::Named) {
        let Trial { fault, outcome, found } = trial;
        let _ =
            writeln!(out, "{}: {fault}: the {} {}", outcome.name(), side.name(), fault.summary());
        if let Some(why) = trial.why_not_visible() {
            let _ = writeln!(out, "    {why}");
            continue;
        }
        let _ = writeln!(out, "    not named: {}", trial.missed().join(", "));
        if !found.is_empty() {
            let found: Vec<_> = found.iter().copied().collect();
            let _ = writeln!(out, "    found: {}", found.join(", "));
        }
    }
    out
}

/// The result for programs.
fn json(trials: &[Trial]) -> String {
    let faults: Vec<_> = trials
        .iter()
        .map(|trial| {
            serde_json::json!({
                "fault": trial.fault.name(),
                "area": trial.fault.area(),
                "outcome": trial.outcome.name(),
                "breaks": trial.fault.expected(),
                "found": trial.found,
                "why": trial.why_not_visible(),
            })
        })
        .collect();
    let mut text = format!("{:#}", serde_json::json!({ "faults": faults }));
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use reference_server::Fault;

    #[test]
    fn each_outcome_is_told() {
        let trial = |fault, outcome, found: &[&'static str]| Trial {
            fault: AnyFault::Server(fault),
            outcome,
            found: found.iter().copied().collect(),
        };
        let trials = [
            trial(Fault::CookieWrong, Outcome::Named, &["cookie-echoed"]),
            trial(Fault::ReplyTwice, Outcome::Found, &["session-client-in-sync"]),
            trial(Fault::ReplyMissing, Outcome::OnlyWarned, &["string-soft-limit-256"]),
            trial(Fault::DiscIgnored, Outcome::Survived, &[]),
        ];
        insta::assert_snapshot!("inside", told(&trials, Side::Server));
        let trials =
            [&trials[..], &[trial(Fault::WriteNotStored, Outcome::NotVisible, &[])]].concat();
        insta::assert_snapshot!(told(&trials, Side::Server));
        insta::assert_snapshot!("json", json(&trials));
    }
}
