//! `nbdcheck differ`: the same made up sessions against two servers, and the shortest script of each
//! difference.

use std::path::PathBuf;
use std::time::Duration;

use super::CommandError;
use super::made_up::{MadeUpArgs, save_script};
use super::run::again::{Access, against};
use super::runtime::{DEFAULT_TIMEOUT, default_jobs, runtime, stopped, timeout};
use super::selftest::Json;
use super::targets::{TlsArgs, servers};
use crate::explore::{Compared, Parted, differ, tell_differences};
use crate::peer::PeerFile;
use crate::report::{self, Report};
use crate::run::runner::Options;
use crate::run::target::{Target, Unavailable};
use crate::{exit, output};

/// Command line of `nbdcheck differ`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Plays the sessions of `nbdcheck explore` against both servers, and reports where a client can see different \
answers. What both offer is what sessions use. These are not compared, since every server may choose them:
  - cookies, and in which order requests are answered
  - how a reply is cut into chunks, and which of them are holes
  - texts of errors, and descriptions of exports
  - ids of metadata contexts
  - the order of items in answers to options
  - metadata status and its extents, but for what a script checks
  - data that several outcomes are lawful for

The exit status is 0 if nothing differs, 1 if something does, and 3 if nothing could be compared.

Examples:
  nbdcheck differ self@8.2 qemu-nbd
  nbdcheck differ 127.0.0.1:10809 127.0.0.1:10810 --allow-write
  nbdcheck differ --server './old --port {port} {image}' --server './new --port {port} {image}'")]
pub struct Args {
    /// The servers: for each `host:port`, `[v6]:port`, an NBD URI, `self`, `self@V` (behaves like qemu V),
    /// `qemu-nbd`, `nbdkit`, `nbd-server`, `qemu-storage-daemon`, or the path of a peer file
    #[arg(value_name = "SERVER", num_args = 0..=2)]
    targets: Vec<String>,
    /// A shell command that starts a server, in place of one of the two; see `nbdcheck run --help`. Can be
    /// given twice
    #[arg(long, value_name = "CMD")]
    server: Vec<String>,
    #[command(flatten)]
    made_up: MadeUpArgs,
    /// Allow sessions to write to servers that are already running. This overwrites their exports
    #[arg(long)]
    allow_write: bool,
    /// Allow risky sessions (malformed options, long names) against servers that are already running
    #[arg(long)]
    allow_hazard: bool,
    /// Name of the export to use
    #[arg(long, value_name = "NAME")]
    export: Option<String>,
    #[command(flatten)]
    tls: TlsArgs,
    /// Stop after N differences
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_differences: Option<u32>,
    /// Number of sessions to play at the same time
    #[arg(long, value_name = "N", default_value_t = default_jobs(), value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
    /// Longest time to wait for one answer, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_TIMEOUT)]
    timeout: f64,
    /// Folder for the scripts of what differs
    #[arg(long, value_name = "DIR", default_value = "differ")]
    save: PathBuf,
    /// Also write the result to a file: `json=PATH`; `-` for standard output
    #[arg(long, value_name = "FORMAT=PATH")]
    report: Vec<Report<Json>>,
}

/// Runs the command; gives the exit status.
///
/// # Errors
/// What it could not do.
pub fn run(args: Args) -> Result<u8, CommandError> {
    timeout(args.timeout)?;
    args.made_up.check()?;
    report::check(&args.report).map_err(CommandError::no_verdict)?;
    let targets = prepare(&args)?;
    runtime()?.block_on(execute(&args, &targets))
}

fn prepare(args: &Args) -> Result<[Target; 2], CommandError> {
    let mut all = Vec::new();
    for text in &args.targets {
        let mut targets = servers(text, args.export.as_deref(), &args.tls)?;
        match (targets.pop(), targets.is_empty()) {
            (Some(target), true) => all.push(target),
            _ => {
                let error = CommandError::usage(format_args!("`{text}` is not one server"));
                return Err(
                    error.hint("`nbdcheck differ` compares two servers, each named by itself")
                );
            }
        }
    }
    for command in &args.server {
        let file = PeerFile::from_command(command, args.export.as_deref());
        all.push(Target::Peer(Box::new(file.map_err(CommandError::usage)?)));
    }
    let count = all.len();
    all.try_into().map_err(|_| {
        let error = CommandError::usage(format_args!("two servers are compared, not {count}"));
        error.hint("for example: `nbdcheck differ self@8.2 qemu-nbd`")
    })
}

async fn execute(args: &Args, targets: &[Target; 2]) -> Result<u8, CommandError> {
    let limits = args.made_up.limits(args.max_differences, &args.save);
    let seed = limits.seed;
    let options = Options {
        write: args.allow_write,
        hazard: args.allow_hazard,
        jobs: usize::from(args.jobs),
        timeout: Duration::from_secs_f64(args.timeout),
        ..Options::default()
    };
    let [a, b] = targets;
    let names = names(a, b);
    crate::say!(
        "note: comparing {} and {} for {} seconds, seed {seed}",
        names[0],
        names[1],
        args.made_up.time
    );
    let machine = args.report.iter().any(Report::is_stdout);
    let show = |text: &str| if machine { output::tell(text) } else { output::print(text) };
    let mut unsaved = None;
    let mut told = |parted: &Parted| {
        let saved = save(parted, args, &names);
        let again = [a, b].map(|target| again(args, target, parted));
        let shown = saved.as_ref().map(|path| path.display().to_string());
        show(&tell_differences::parted(parted, &names, &again, &shown));
        if let Err(trouble) = saved {
            unsaved = Some(trouble);
        }
    };
    let compared = tokio::select! {
        biased;
        compared = differ([a, b], &options, &limits, &mut told) => compared,
        () = stopped() => return Err(CommandError::no_verdict("interrupted")),
    };
    let compared = compared
        .map_err(|unavailable: Unavailable| CommandError::no_verdict(unavailable.into_reason()))?;
    show(&tell_differences::summary(&compared, seed));
    for report in &args.report {
        report
            .put(&tell_differences::json(&compared, seed))
            .map_err(|error| CommandError::cannot_write(report.path.display(), &error))?;
    }
    if let Some(trouble) = unsaved {
        return Err(CommandError::no_verdict(trouble));
    }
    Ok(verdict(&compared))
}

fn verdict(compared: &Compared) -> u8 {
    if !compared.parted.is_empty() {
        exit::FAILED
    } else if compared.problem.is_some() || compared.sessions == compared.untried.0 {
        exit::NO_VERDICT
    } else {
        exit::OK
    }
}

/// What the two are called; numbered where one name would stand for both.
fn names(a: &Target, b: &Target) -> [String; 2] {
    match a.name() == b.name() {
        true => [format!("{} (1)", a.name()), format!("{} (2)", b.name())],
        false => [a.name().to_owned(), b.name().to_owned()],
    }
}

fn save(parted: &Parted, args: &Args, names: &[String; 2]) -> Result<PathBuf, String> {
    let text = tell_differences::script(parted, names);
    save_script(&args.save, &parted.script, &text)
}

/// The command that plays a script against one of the two.
fn again(args: &Args, target: &Target, parted: &Parted) -> String {
    let may = Access { write: args.allow_write, hazard: args.allow_hazard };
    let again = against(target, args.export.as_deref(), &args.tls.written(), may);
    format!("{again} --scenario {}", crate::peer::quoted(&parted.script.source.path))
}
