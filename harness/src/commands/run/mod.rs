//! `nbdcheck run`: scenarios against servers and clients, a verdict, reports.

pub(super) mod again;
mod args;
mod forms;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use args::Args;
use forms::{Form, forms};

use super::CommandError;
use super::runtime::{long, runtime, stopped, timeout};
use super::targets::{external, known_of, started};
use crate::capture::Captures;
use crate::finding::Verdict;
use crate::peer::PeerFile;
use crate::report::begun::Begun;
use crate::report::terminal::{self, View};
use crate::report::{self, Report};
use crate::run::clients::{ClientTarget, run_client};
use crate::run::deviations::{Deviations, counts};
use crate::run::result::TargetRun;
use crate::run::runner::{Limits, Options, run_target};
use crate::run::select::Selection;
use crate::run::target::{Access, Target};
use crate::scenarios;
use crate::script::ast::{Replies, Script, Segmentation};
use crate::{exit, output};

/// Runs the command; gives the exit status.
///
/// # Errors
/// What it could not do.
pub fn run(args: Args) -> Result<u8, CommandError> {
    let plan = prepare(&args)?;
    runtime()?.block_on(execute(&args, plan))
}

/// Everything that is decided before anything runs.
struct Plan {
    servers: Vec<(Target, Deviations)>,
    clients: Vec<ClientTarget>,
    for_servers: Vec<Arc<Script>>,
    for_clients: Vec<Arc<Script>>,
    sanity: Option<Arc<Script>>,
    forms: Vec<Form>,
    expect: Option<Deviations>,
    captures: Option<Captures>,
}

impl Plan {
    /// The names of all runs, in their order.
    fn names(&self) -> Vec<String> {
        let servers = self.servers.iter().filter(|_| !self.for_servers.is_empty());
        let clients = self.clients.iter().filter(|_| !self.for_clients.is_empty());
        servers
            .flat_map(|(target, _)| self.forms.iter().map(|form| form.name(target)))
            .chain(clients.map(|client| client.name().to_owned()))
            .collect()
    }

    /// What is known of a target: what is shipped, and what `--expect` adds.
    fn record(&self, shipped: Deviations) -> Deviations {
        match &self.expect {
            Some(expect) => shipped.with(expect.clone()),
            None => shipped,
        }
    }
}

fn prepare(args: &Args) -> Result<Plan, CommandError> {
    let selection = Selection {
        scenarios: args.scenario.clone(),
        since: args.since,
        until: args.until,
        feature: args.feature.clone(),
        partition: args.partition,
    };
    // Whoever only runs files of their own need not wait for the rest.
    let all = if selection.is_files_only() {
        Vec::new()
    } else {
        scenarios::all().map_err(CommandError::script)?
    };
    let mut scripts = selection.choose(&all).map_err(CommandError::usage)?;
    for path in selection.files() {
        scripts.push(Arc::new(own_script(path)?));
    }
    timeout(args.timeout)?;
    args.max_time.map(|seconds| long("--max-time", seconds)).transpose()?;
    let mut servers = Vec::new();
    for text in &args.target {
        let target = external(text, args.export.as_deref(), &args.tls)?;
        servers.push((target, Deviations::default()));
    }
    for name in &args.peer {
        servers.extend(started(name)?.into_iter().map(|target| (target, Deviations::default())));
    }
    for command in &args.server {
        let file = PeerFile::from_command(command, args.export.as_deref());
        let file = file.map_err(CommandError::usage)?;
        let file = file.greeting_within(Duration::from_secs_f64(args.timeout));
        servers.push((Target::Peer(Box::new(file)), Deviations::default()));
    }
    let mut clients = Vec::new();
    for name in &args.client {
        clients.extend(ClientTarget::find(name).map_err(CommandError::usage)?);
    }
    if servers.is_empty() && clients.is_empty() {
        // The tool proves itself, both ways.
        servers.push((Target::reference(), Deviations::default()));
        clients.extend(ClientTarget::find("self").map_err(CommandError::usage)?);
    }
    let (for_servers, for_clients): (Vec<_>, Vec<_>) = scripts
        .into_iter()
        .partition(|script| script.header.tests == protocol::message::Side::Server);
    let expect = match &args.expect {
        Some(path) => {
            let (shown, text) = read(path)?;
            Some(Deviations::parse(&shown, &text).map_err(CommandError::usage)?)
        }
        None => None,
    };
    let sanity = scenarios::find(scenarios::SANITY);
    let forms = forms(&args.axes).map_err(CommandError::usage)?;
    // Better to know now than when all is over.
    report::check(&args.report).map_err(CommandError::usage)?;
    let captures = args.capture.as_deref().map(|folder| {
        let shown = folder.display();
        Captures::below(folder).map_err(|error| {
            CommandError::usage(format_args!("can't write captures to {shown}: {error}"))
        })
    });
    Ok(Plan {
        servers,
        clients,
        for_servers,
        for_clients,
        sanity,
        forms,
        expect,
        captures: captures.transpose()?,
    })
}

/// A file that the command line names: how it is shown, and what is in it.
fn read(path: &Path) -> Result<(String, String), CommandError> {
    let shown = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => Ok((shown, text)),
        Err(error) => Err(CommandError::usage(format_args!("can't read {shown}: {error}"))),
    }
}

fn own_script(path: &Path) -> Result<Script, CommandError> {
    let (shown, text) = read(path)?;
    // A script below a folder `scenarios` has the id that it has when it is embedded.
    let id = shown.trim_end_matches(".nbd");
    let id = id.rsplit_once("scenarios/").map_or(id, |(_, id)| id);
    scenarios::load(id, &shown, &text).map_err(CommandError::script)
}

async fn execute(args: &Args, plan: Plan) -> Result<u8, CommandError> {
    let mut runs = Vec::new();
    let begun = Begun::announcing(args.strict);
    // Signals first, or one that comes early ends the program without a report.
    let interrupted = tokio::select! {
        biased;
        () = stopped() => true,
        () = work(args, &plan, &begun, &mut runs) => false,
    };
    let mut unwritten = false;
    if interrupted {
        if let Some((run, known)) = begun.take() {
            finish(args, run, &known, &mut runs);
        }
        for name in plan.names().into_iter().skip(runs.len()) {
            runs.push(TargetRun::unplayed(&name, "interrupted before it began"));
        }
    }
    for report in &args.report {
        if let Err(error) = report.write(&runs) {
            unwritten = true;
            CommandError::cannot_write(report.path.display(), &error).tell();
        }
    }
    if let Some(trouble) = plan.captures.as_ref().and_then(Captures::trouble) {
        unwritten = true;
        CommandError::no_verdict(format_args!("captures are missing or incomplete: {trouble}"))
            .tell();
    }
    if interrupted {
        let kept =
            if args.report.is_empty() { "" } else { ": the reports show the results so far" };
        return Err(CommandError::no_verdict(format_args!("interrupted{kept}")));
    }
    if unwritten {
        return Ok(exit::NO_VERDICT);
    }
    let mismatches = plan.expect.map_or_else(Vec::new, |expect| expect.mismatches(&runs));
    for mismatch in &mismatches {
        CommandError::failed(mismatch).tell();
    }
    verdict(&runs, args.strict, !mismatches.is_empty())
}

async fn work(args: &Args, plan: &Plan, begun: &Begun, runs: &mut Vec<TargetRun>) {
    let time = args.max_time.map(Duration::from_secs_f64);
    let failures = args.fail_fast.then_some(1).or(args.max_fail.map(|most| most as usize));
    let limits = Limits {
        time: time.map(|time| (time, Instant::now() + time)),
        failures,
        strict: args.strict,
        ..Limits::default()
    };
    if !plan.for_servers.is_empty() {
        for (target, _) in &plan.servers {
            for form in &plan.forms {
                let mut options = options(args, plan, target, *form);
                let name = form.name(target);
                let known = plan.record(known_of(target).await);
                options.limits = Limits { record: known.clone(), ..limits.clone() };
                let events = begun.begin(&name, known.clone(), plan.for_servers.len());
                let mut run =
                    run_target(target, &plan.for_servers, plan.sanity.clone(), &options, events)
                        .await;
                run.name = name;
                begun.end().await;
                finish(args, run, &known, runs);
            }
        }
    }
    if !plan.for_clients.is_empty() {
        for client in &plan.clients {
            let mut options = client_options(args, plan, client);
            let version = client.version().await;
            let known = plan.record(Deviations::shipped(client.record(), version.as_deref()));
            options.limits = Limits { record: known.clone(), ..limits.clone() };
            let events = begun.begin(client.name(), known.clone(), plan.for_clients.len());
            let run = run_client(client, &plan.for_clients, &options, events).await;
            begun.end().await;
            finish(args, run, &known, runs);
        }
    }
}

fn finish(args: &Args, mut run: TargetRun, known: &Deviations, runs: &mut Vec<TargetRun>) {
    if let Some(version) = run.version.as_deref().filter(|version| !known.knows(version)) {
        crate::say!("note: no record for {} {version}: its deviations count", run.name);
    }
    let machine = args.report.iter().any(Report::is_stdout);
    for outcome in &mut run.outcomes {
        known.mark(outcome);
    }
    let text = terminal::render(&run, View { strict: args.strict, verbose: args.verbose });
    if machine {
        output::tell(&text);
    } else {
        output::print(&text);
    }
    runs.push(run);
}

fn options(args: &Args, plan: &Plan, target: &Target, form: Form) -> Options {
    Options {
        write: args.allow_write,
        hazard: args.allow_hazard,
        jobs: usize::from(args.jobs),
        timeout: Duration::from_secs_f64(args.timeout),
        capture: plan.captures.clone(),
        replies: form.replies,
        segmentation: form.segmentation,
        access: form.access,
        again: again::server(args, target, &form.suffix()),
        keep: false,
        limits: Limits::default(),
    }
}

fn client_options(args: &Args, plan: &Plan, client: &ClientTarget) -> Options {
    let (replies, segmentation) = (Replies::Default, Segmentation::Whole);
    let form = Form { replies, segmentation, access: Access::default() };
    let target = Target::reference();
    Options { again: again::client(args, client), ..options(args, plan, &target, form) }
}

fn verdict(runs: &[TargetRun], strict: bool, differs: bool) -> Result<u8, CommandError> {
    let outcomes = || runs.iter().flat_map(|run| &run.outcomes);
    let stopped = runs.iter().any(|run| run.stopped);
    if stopped || outcomes().any(|outcome| counts(outcome, strict)) || differs {
        return Ok(exit::FAILED);
    }
    let errors = outcomes().any(|outcome| outcome.verdict == Verdict::Error);
    let unserved = runs.iter().any(|run| {
        run.problem.is_some() || run.outcomes.iter().all(|outcome| outcome.verdict == Verdict::Skip)
    });
    if runs.is_empty() {
        let text = "nothing was tested: no selected scenario is for this side";
        return Err(CommandError::no_verdict(text));
    }
    Ok(if errors || unserved { exit::NO_VERDICT } else { exit::OK })
}
