//! `nbdcheck matrix`: many servers side by side, and clients against them.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use reference_server::Profile;
use tokio::task::JoinSet;

use super::CommandError;
use super::runtime::{DEFAULT_TIMEOUT, default_jobs, runtime, stopped, timeout};
use super::targets::{TlsArgs, known_of, servers};
use crate::exit;
use crate::matrix::grid::{Grid, Mark};
use crate::matrix::interop::{self, Interop};
use crate::matrix::tested::{self, Tested};
use crate::matrix::{features, html, json, markdown, terminal};
use crate::output;
use crate::peer::{PeerFile, StartError, shipped_servers};
use crate::report::begun::Begun;
use crate::report::{self, Report};
use crate::run::clients::ClientTarget;
use crate::run::deviations::Deviations;
use crate::run::milestones::MILESTONES;
use crate::run::runner::{Options, run_target};
use crate::run::target::Target;
use crate::scenarios;
use crate::script::ast::Script;

/// Command line of `nbdcheck matrix`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// JSON reports of `nbdcheck run` to show instead of running anything
    #[arg(value_name = "REPORT.json", conflicts_with_all = ["server", "client", "jobs", "timeout"])]
    reports: Vec<PathBuf>,
    /// A server: `self`, `self@V` (behaves like qemu V), a shipped peer, the path of a peer file,
    /// `host:port` or an NBD URI. Default: `self` and every installed peer; for the clients' table
    /// also every `self@V`. Can be repeated
    #[arg(long, value_name = "PEER|URI")]
    server: Vec<String>,
    /// A client: `self`, `self@V` (behaves like qemu V), a shipped peer, or the path of a peer
    /// file. Default: every `self@V`, and qemu-img, nbdcopy and nbdinfo if they are installed. If
    /// you name clients but no server, only the clients' table is made. Can be repeated
    #[arg(long, value_name = "CLIENT")]
    client: Vec<String>,
    /// Number of scenarios to run at the same time
    #[arg(long, value_name = "N", default_value_t = default_jobs(), value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
    /// Longest time to wait for one answer, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_TIMEOUT)]
    timeout: f64,
    /// Write the matrix to a file. FORMAT is `json`, `html` or `markdown`; PATH `-` is standard
    /// output. Can be repeated
    #[arg(long, value_name = "FORMAT=PATH")]
    report: Vec<Report<Format>>,
}

/// The formats of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The contract's JSON.
    Json,
    /// One HTML file.
    Html,
    /// Markdown.
    Markdown,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "json" => Ok(Self::Json),
            "html" => Ok(Self::Html),
            "markdown" => Ok(Self::Markdown),
            other => Err(format!("`{other}` is not a format: use json, html or markdown")),
        }
    }
}

/// Runs the command; gives the exit status.
///
/// # Errors
/// What it could not do.
pub fn run(args: Args) -> Result<u8, CommandError> {
    report::check(&args.report).map_err(CommandError::usage)?;
    let (grids, tested) = if args.reports.is_empty() {
        test(&args)?
    } else {
        let tested = read(&args.reports)?;
        (vec![features::grid(&tested)], tested)
    };
    Ok(if show(&args, &grids) { status(&tested, &grids) } else { exit::NO_VERDICT })
}

fn read(paths: &[PathBuf]) -> Result<Vec<Tested>, CommandError> {
    let mut tested = Vec::new();
    for path in paths {
        tested.extend(tested::read(path).map_err(CommandError::no_verdict)?);
    }
    Ok(tested)
}

/// Runs the scenarios of the matrix against each server, and each client against each server.
fn test(args: &Args) -> Result<(Vec<Grid>, Vec<Tested>), CommandError> {
    let limit = timeout(args.timeout)?;
    let all = scenarios::all().map_err(CommandError::script)?;
    let scripts: Vec<Arc<Script>> = all
        .into_iter()
        .filter(|script| {
            let header = &script.header;
            header.tests == protocol::message::Side::Server
                && MILESTONES.iter().any(|one| one.covers(&header.feature.node, header.since.node))
        })
        .collect();
    let mut named = Vec::new();
    for name in &args.server {
        named.extend(servers(name, None, &TlsArgs::default())?);
    }
    let mut clients = Vec::new();
    for name in &args.client {
        clients.extend(ClientTarget::find(name).map_err(CommandError::usage)?);
    }
    runtime()?.block_on(async {
        let working = async {
            let (mut grids, mut tested) = (Vec::new(), Vec::new());
            let installed = if named.is_empty() { installed().await } else { Vec::new() };
            if !named.is_empty() || clients.is_empty() {
                let targets = if named.is_empty() { &installed } else { &named };
                tested = play(args, limit, targets, &scripts).await;
                grids.push(features::grid(&tested));
            }
            let mut servers = named.clone();
            if servers.is_empty() {
                servers.extend(Profile::ALL.iter().map(Target::Profile));
                // The reference server itself is the last of its profiles.
                let peers = |target: &Target| matches!(target, Target::Peer(_));
                servers.extend(installed.into_iter().filter(peers));
            }
            if clients.is_empty() {
                clients = interop::usual_clients().await;
            }
            // Where nothing may be written, nothing can be shown to come through.
            if servers.iter().any(Target::is_owned) {
                let jobs = usize::from(args.jobs);
                let interop = Interop { servers, clients: clients.clone(), jobs, limit };
                grids.push(interop.run().await);
            }
            (grids, tested)
        };
        tokio::select! {
            biased;
            () = stopped() => Err(CommandError::no_verdict("interrupted")),
            made = working => Ok(made),
        }
    })
}

/// The reference server and every shipped peer that is here.
async fn installed() -> Vec<Target> {
    let mut targets = vec![Target::reference()];
    for name in shipped_servers() {
        if let Ok(file) = PeerFile::find(&name)
            && !matches!(file.version().await, Err(StartError::Missing { .. }))
        {
            targets.push(Target::Peer(Box::new(file)));
        }
    }
    targets
}

/// All servers at once: each waits more than it works.
async fn play(
    args: &Args,
    limit: Duration,
    targets: &[Target],
    scripts: &[Arc<Script>],
) -> Vec<Tested> {
    let begun = Begun::default();
    let events = begun.begin("matrix", Deviations::default(), scripts.len() * targets.len());
    let options = Options { jobs: usize::from(args.jobs), timeout: limit, ..Options::default() };
    let mut tasks = JoinSet::new();
    for (index, target) in targets.iter().cloned().enumerate() {
        let (scripts, options, events) = (scripts.to_vec(), options.clone(), events.clone());
        tasks.spawn(async move {
            let known = known_of(&target).await;
            let sanity = scenarios::find(scenarios::SANITY);
            let mut run = run_target(&target, &scripts, sanity, &options, events).await;
            for outcome in &mut run.outcomes {
                known.mark(outcome);
            }
            (index, Tested::from(&run))
        });
    }
    drop(events);
    let mut tested = tasks.join_all().await;
    begun.end().await;
    tested.sort_by_key(|(index, _)| *index);
    tested.into_iter().map(|(_, tested)| tested).collect()
}

/// Prints the matrix and writes the reports; gives whether all of them could be written.
fn show(args: &Args, grids: &[Grid]) -> bool {
    let width = comfy_table::Table::new().width().unwrap_or(terminal::WIDTH).max(60);
    // The stream takes the colours out where they are not wanted.
    let text = terminal::render(grids, terminal::Look { width, colour: true });
    if args.report.iter().any(Report::is_stdout) {
        output::tell(&text);
    } else {
        output::print(&text);
    }
    let mut written = true;
    for report in &args.report {
        let text = match report.format {
            Format::Json => json::render(grids),
            Format::Html => Ok(html::render("nbdcheck matrix", grids)),
            Format::Markdown => Ok(markdown::render(grids)),
        };
        if let Err(error) = text.and_then(|text| report.put(&text)) {
            written = false;
            CommandError::cannot_write(report.path.display(), &error).tell();
        }
    }
    written
}

fn status(tested: &[Tested], grids: &[Grid]) -> u8 {
    let has = |wanted: Mark| {
        let cells = grids.iter().flat_map(|grid| &grid.rows).flat_map(|row| &row.cells);
        cells.into_iter().any(|cell| cell.mark == Some(wanted))
    };
    if has(Mark::Fail) {
        exit::FAILED
    } else if has(Mark::Error) || tested.iter().any(|one| one.problem.is_some()) {
        exit::NO_VERDICT
    } else {
        exit::OK
    }
}
