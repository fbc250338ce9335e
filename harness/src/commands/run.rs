//! `nbdcheck run`: scenarios against servers and clients, a verdict, reports.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::again;
use super::targets::{TlsArgs, external, started};
use crate::capture::Captures;
use crate::finding::Verdict;
use crate::peer::{PeerFile, Transport};
use crate::report::begun::Begun;
use crate::report::terminal::{self, View};
use crate::report::{self, Report};
use crate::run::clients::{ClientTarget, run_client};
use crate::run::deviations::{Deviations, counts};
use crate::run::runner::{Limits, Options, SANITY, TargetRun, run_target};
use crate::run::select::Selection;
use crate::run::target::{Access, Target};
use crate::scenarios;
use crate::script::ast::{Replies, Script, Segmentation, TlsKind, Version};
use crate::{exit, output};

/// Command line of `nbdcheck run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A running server to test: `host:port`, `[v6]:port`, `nbd://host:port/name` or
    /// `nbd+unix:///name?socket=path`; `nbds` for TLS. Can be repeated
    #[arg(long, value_name = "ADDR|URI")]
    target: Vec<String>,
    /// A server that nbdcheck starts itself: `self`, `self@V` (behaves like qemu V), `self@all`,
    /// `qemu-nbd`, `nbdkit`, `nbd-server`, `qemu-storage-daemon`, `all`, or the path of a peer
    /// file. Can be repeated
    #[arg(long, value_name = "NAME|FILE")]
    peer: Vec<String>,
    /// A shell command that starts your server. It must contain `{port}` or `{socket}`; `{image}`,
    /// `{size}`, `{read-only:--option}` and others let nbdcheck configure it (see the README). Can
    /// be repeated
    #[arg(long, value_name = "CMD")]
    server: Vec<String>,
    /// A client to test: `self`, `self@V` (behaves like qemu V), `self@all`, `qemu-img`, `qemu-io`,
    /// `nbdinfo`, `nbdcopy`, `nbdsh`, `nbd-client`, `all`, the path of a peer file, or a command
    /// that contains `{uri}`. Can be repeated
    #[arg(long, value_name = "NAME|FILE|CMD")]
    client: Vec<String>,
    /// Allow scenarios to write to `--target`. This overwrites the export that you name, or all
    /// exports if you name none
    #[arg(long)]
    pub(super) allow_write: bool,
    /// Allow risky scenarios (malformed lengths, sessions that end midway) against `--target`
    #[arg(long)]
    pub(super) allow_hazard: bool,
    /// Scenarios to run: an id, a folder, a glob, or a script file of your own. Can be repeated
    #[arg(long, value_name = "GLOB|FILE")]
    scenario: Vec<String>,
    /// Variants to run the scenarios in: `default`, `all`, or values such as
    /// `replies=structured,send=bytewise,tls=x509,transport=unix`
    #[arg(long, value_name = "AXES", default_value = "default")]
    axes: String,
    /// Only features that appeared in this qemu version or later
    #[arg(long, value_name = "VERSION")]
    since: Option<Version>,
    /// Only features that appeared in this qemu version or earlier
    #[arg(long, value_name = "VERSION")]
    until: Option<Version>,
    /// Only scenarios of this feature (`nbdcheck list` shows the names)
    #[arg(long, value_name = "NAME")]
    feature: Option<String>,
    /// Name of the export to test on `--target` and `--server`
    #[arg(long, value_name = "NAME")]
    pub(super) export: Option<String>,
    #[command(flatten)]
    pub(super) tls: TlsArgs,
    /// Treat warnings (violations of a SHOULD) as failures
    #[arg(long)]
    pub(super) strict: bool,
    /// Print every failed scenario, the reason for every skip, and counts for every feature
    #[arg(short, long)]
    verbose: bool,
    /// Number of scenarios to run at the same time
    #[arg(long, value_name = "N", default_value_t = default_jobs(), value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
    /// Longest time to wait for one answer, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_TIMEOUT)]
    pub(super) timeout: f64,
    /// Time limit for the whole run, in seconds; scenarios that did not start by then are reported
    /// as not run
    #[arg(long, value_name = "SECONDS")]
    max_time: Option<f64>,
    /// Stop after N failed scenarios; known failures do not count
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_fail: Option<u32>,
    /// Stop at the first failure; the same as `--max-fail 1`
    #[arg(long, conflicts_with = "max_fail")]
    fail_fast: bool,
    /// Write a report at the end of the run, even if it was interrupted. FORMAT is `json`, `junit`,
    /// `tap`, `html` or `markdown`; PATH `-` is standard output. Can be repeated
    #[arg(long, value_name = "FORMAT=PATH")]
    report: Vec<Report>,
    /// Write one pcapng file per scenario to this folder
    #[arg(long, value_name = "DIR")]
    capture: Option<PathBuf>,
    /// File of known failures: TOML, or one `SCENARIO REQUIREMENT # reason` per line; any difference fails
    /// the run
    #[arg(long, value_name = "FILE")]
    expect: Option<PathBuf>,
    /// Run only part K of N of the scenarios
    #[arg(long, value_name = "K/N", value_parser = partition)]
    partition: Option<(usize, usize)>,
}

/// How long one wait may take, in seconds, if nothing else is said.
pub(super) const DEFAULT_TIMEOUT: f64 = 5.0;
/// The longest `--max-time`, in seconds: a week.
const MAX_TIME: f64 = 604_800.0;
/// The stack of a thread that plays scripts, in bytes.
const STACK: usize = 8 << 20;

pub(super) fn default_jobs() -> u16 {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    u16::try_from(cores * 2).unwrap_or(16).clamp(2, 16)
}

fn partition(text: &str) -> Result<(usize, usize), String> {
    let parts = text.split_once('/').and_then(|(k, n)| Some((k.parse().ok()?, n.parse().ok()?)));
    match parts {
        Some((k, n)) if k >= 1 && k <= n => Ok((k, n)),
        _ => Err("expected K/N with 1 <= K <= N, such as 1/4".to_owned()),
    }
}

/// One combination of forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Form {
    replies: Replies,
    segmentation: Segmentation,
    access: Access,
}

/// The combinations that `--axes` asks for.
fn forms(text: &str) -> Result<Vec<Form>, String> {
    let plain = Form {
        replies: Replies::Default,
        segmentation: Segmentation::Whole,
        access: Access::default(),
    };
    let mut forms = vec![plain];
    let values: Vec<(&str, &str)> = match text {
        "default" => Vec::new(),
        "all" => vec![("replies", "all"), ("send", "all"), ("tls", "all"), ("transport", "all")],
        values => {
            let pairs = values.split(',').map(|value| value.split_once('=').ok_or(value));
            pairs.collect::<Result<_, _>>().map_err(no_axis)?
        }
    };
    for (axis, value) in values {
        let chosen = axis_values(axis, value).ok_or_else(|| no_axis(&format!("{axis}={value}")))?;
        forms =
            forms.iter().flat_map(|form| chosen.iter().map(|change| change.apply(*form))).collect();
    }
    Ok(forms)
}

fn no_axis(value: &str) -> String {
    format!(
        "`{value}` is not an axis\nhint: `default`, `all`, `replies=simple|structured|extended|all`, `send=whole|bytewise|coalesced|all`, `tls=plain|x509|psk|all`, `transport=tcp|unix|all`"
    )
}

/// A value of an axis.
#[derive(Clone, Copy)]
enum Choice {
    Replies(Replies),
    Send(Segmentation),
    Tls(Option<TlsKind>),
    Transport(Transport),
}

impl Choice {
    fn apply(self, form: Form) -> Form {
        let access = form.access;
        match self {
            Self::Replies(replies) => Form { replies, ..form },
            Self::Send(segmentation) => Form { segmentation, ..form },
            Self::Tls(tls) => Form { access: Access { tls, ..access }, ..form },
            Self::Transport(transport) => Form { access: Access { transport, ..access }, ..form },
        }
    }
}

/// What a value of an axis stands for: several forms in the case of `all`.
fn axis_values(axis: &str, value: &str) -> Option<Vec<Choice>> {
    let all: &[(&str, Choice)] = match axis {
        "replies" => &[
            ("simple", Choice::Replies(Replies::Default)),
            ("structured", Choice::Replies(Replies::Structured)),
            ("extended", Choice::Replies(Replies::Extended)),
        ],
        "send" => &[
            ("whole", Choice::Send(Segmentation::Whole)),
            ("bytewise", Choice::Send(Segmentation::Bytewise)),
            ("coalesced", Choice::Send(Segmentation::Coalesced)),
        ],
        "tls" => &[
            ("plain", Choice::Tls(None)),
            ("x509", Choice::Tls(Some(TlsKind::X509))),
            ("psk", Choice::Tls(Some(TlsKind::Psk))),
        ],
        "transport" => &[
            ("tcp", Choice::Transport(Transport::Tcp)),
            ("unix", Choice::Transport(Transport::Unix)),
        ],
        _ => return None,
    };
    let chosen: Vec<Choice> = all
        .iter()
        .filter(|(name, _)| value == "all" || *name == value)
        .map(|(_, choice)| *choice)
        .collect();
    (!chosen.is_empty()).then_some(chosen)
}

impl Form {
    /// The name of a target's run in this form.
    fn name(self, target: &Target) -> String {
        match self.suffix().as_str() {
            "" => target.name().to_owned(),
            suffix => format!("{} ({suffix})", target.name()),
        }
    }

    /// What to add to a target's name; nothing for the plain form.
    fn suffix(self) -> String {
        let mut words = Vec::new();
        match self.replies {
            Replies::Default => {}
            Replies::Structured => words.push("replies=structured"),
            Replies::Extended => words.push("replies=extended"),
        }
        match self.segmentation {
            Segmentation::Whole => {}
            Segmentation::Bytewise => words.push("send=bytewise"),
            Segmentation::Coalesced => words.push("send=coalesced"),
        }
        match self.access.tls {
            None => {}
            Some(TlsKind::X509) => words.push("tls=x509"),
            Some(TlsKind::Psk) => words.push("tls=psk"),
        }
        if self.access.transport == Transport::Unix {
            words.push("transport=unix");
        }
        words.join(",")
    }
}

/// Runs the command; gives the exit status.
#[must_use]
pub fn run(args: Args) -> u8 {
    match prepare(&args) {
        Ok(plan) => match runtime() {
            Ok(runtime) => runtime.block_on(execute(&args, plan)),
            Err(text) => complain(&text, exit::NO_VERDICT),
        },
        Err(Refusal::Usage(text)) => complain(&text, exit::USAGE),
        // A script's mistakes are rendered with their lines already.
        Err(Refusal::Script(text)) => {
            output::tell(&text);
            exit::USAGE
        }
    }
}

/// Where scenarios are played: scripts nest, and so do the futures that play them.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(STACK)
        .build()
        .map_err(|error| format!("no runtime: {error}"))
}

/// The wait that `--timeout` allows.
pub(super) fn timeout(seconds: f64) -> Result<Duration, String> {
    if seconds.is_finite() && seconds > 0.0 && seconds <= 3600.0 {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("--timeout takes more than 0 and at most 3600 seconds".to_owned())
    }
}

pub(super) fn complain(text: &str, status: u8) -> u8 {
    crate::say!("error: {text}");
    status
}

enum Refusal {
    Usage(String),
    Script(String),
}

impl From<String> for Refusal {
    fn from(text: String) -> Self {
        Self::Usage(text)
    }
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

fn prepare(args: &Args) -> Result<Plan, Refusal> {
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
        scenarios::all().map_err(Refusal::Script)?
    };
    let mut scripts = selection.choose(&all).map_err(|error| error.to_string())?;
    for path in selection.files() {
        scripts.push(Arc::new(own_script(path)?));
    }
    timeout(args.timeout)?;
    if let Some(seconds) = args.max_time
        && !(seconds > 0.0 && seconds <= MAX_TIME)
    {
        let text = format!("--max-time takes more than 0 and at most {MAX_TIME} seconds");
        return Err(Refusal::Usage(text));
    }
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
        let file = file.map_err(|error| error.to_string())?;
        let file = file.greeting_within(Duration::from_secs_f64(args.timeout));
        servers.push((Target::Peer(Box::new(file)), Deviations::default()));
    }
    let mut clients = Vec::new();
    for name in &args.client {
        clients.extend(ClientTarget::find(name).map_err(Refusal::Usage)?);
    }
    if servers.is_empty() && clients.is_empty() {
        // The tool proves itself, both ways.
        servers.push((Target::reference(), Deviations::default()));
        clients.extend(ClientTarget::find("self").map_err(Refusal::Usage)?);
    }
    let (for_servers, for_clients): (Vec<_>, Vec<_>) = scripts
        .into_iter()
        .partition(|script| script.header.tests == protocol::message::Side::Server);
    let expect = match &args.expect {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| format!("can't read {}: {error}", path.display()))?;
            let shown = path.display().to_string();
            Some(Deviations::parse(&shown, &text).map_err(|error| error.to_string())?)
        }
        None => None,
    };
    let sanity = scenarios::find(SANITY);
    let forms = forms(&args.axes)?;
    // Better to know now than when all is over.
    report::check(&args.report)?;
    let captures = args.capture.as_deref().map(|folder| {
        let told = |error| format!("can't write captures to {}: {error}", folder.display());
        Captures::below(folder).map_err(told)
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

fn own_script(path: &std::path::Path) -> Result<Script, Refusal> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Refusal::Usage(format!("can't read {shown}: {error}")))?;
    // A script below a folder `scenarios` has the id that it has when it is embedded.
    let id = shown.trim_end_matches(".nbd");
    let id = id.rsplit_once("scenarios/").map_or(id, |(_, id)| id);
    scenarios::load(id, &shown, &text).map_err(Refusal::Script)
}

async fn execute(args: &Args, plan: Plan) -> u8 {
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
            crate::say!("error: can't write {}: {error}", report.path.display());
        }
    }
    if let Some(trouble) = plan.captures.as_ref().and_then(Captures::trouble) {
        unwritten = true;
        crate::say!("error: captures are missing or incomplete: {trouble}");
    }
    if interrupted {
        let kept =
            if args.report.is_empty() { "" } else { ": the reports show the results so far" };
        return complain(&format!("interrupted{kept}"), exit::NO_VERDICT);
    }
    if unwritten {
        return exit::NO_VERDICT;
    }
    let mismatches = plan.expect.map_or_else(Vec::new, |expect| expect.mismatches(&runs));
    for mismatch in &mismatches {
        crate::say!("error: {mismatch}");
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

/// Returns when the user, or the system, wants the run to end: `SIGINT`, `SIGTERM`, `SIGHUP`,
/// `SIGQUIT`.
pub(super) async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    let kinds = [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
        SignalKind::quit(),
    ];
    // One that can't be listened to ends the program as it always did.
    let mut signals: Vec<_> = kinds.into_iter().filter_map(|kind| signal(kind).ok()).collect();
    std::future::poll_fn(|context| {
        let came = signals.iter_mut().any(|signal| signal.poll_recv(context).is_ready());
        if came { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

/// The shipped record of a target's known deviations.
pub(super) async fn known_of(target: &Target) -> Deviations {
    match target {
        // A command may start a program that we know.
        Target::Peer(file) => match file.recognized() {
            Some(known) => match known.version().await {
                Ok(version) => Deviations::shipped(known.record(), Some(&version)),
                Err(_) => Deviations::default(),
            },
            None => Deviations::shipped(file.record(), target.version().await.as_deref()),
        },
        Target::External { .. } | Target::Reference { .. } | Target::Profile(_) => {
            Deviations::default()
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
        limits: Limits::default(),
    }
}

fn client_options(args: &Args, plan: &Plan, client: &ClientTarget) -> Options {
    let (replies, segmentation) = (Replies::Default, Segmentation::Whole);
    let form = Form { replies, segmentation, access: Access::default() };
    let target = Target::reference();
    Options { again: again::client(args, client), ..options(args, plan, &target, form) }
}

fn verdict(runs: &[TargetRun], strict: bool, differs: bool) -> u8 {
    let outcomes = || runs.iter().flat_map(|run| &run.outcomes);
    let stopped = runs.iter().any(|run| run.stopped);
    if stopped || outcomes().any(|outcome| counts(outcome, strict)) || differs {
        return exit::FAILED;
    }
    let errors = outcomes().any(|outcome| outcome.verdict == Verdict::Error);
    let unserved = runs.iter().any(|run| {
        run.problem.is_some() || run.outcomes.iter().all(|outcome| outcome.verdict == Verdict::Skip)
    });
    if runs.is_empty() {
        return complain(
            "nothing was tested: no selected scenario is for this side",
            exit::NO_VERDICT,
        );
    }
    if errors || unserved { exit::NO_VERDICT } else { exit::OK }
}
