//! `nbdcheck explore`: made up sessions against a server, and the shortest script of each that fails.

use std::path::PathBuf;
use std::time::Duration;

use super::CommandError;
use super::made_up::{MadeUpArgs, save_script};
use super::run::again::{Access, against};
use super::runtime::{DEFAULT_TIMEOUT, default_jobs, runtime, stopped, timeout};
use super::targets::{TlsArgs, known_of, not_one, servers, started};
use crate::explore::{Found, Tally, hunt, render};
use crate::finding::Verdict;
use crate::peer::PeerFile;
use crate::run::runner::Options;
use crate::run::target::{Target, Unavailable};
use crate::{exit, output};

/// Command line of `nbdcheck explore`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A running server to test: `host:port`, `[v6]:port` or an NBD URI
    #[arg(value_name = "TARGET", required_unless_present_any = ["peer", "server"])]
    target: Option<String>,
    /// A server that nbdcheck starts itself: `self`, `self@V` (behaves like qemu V), `qemu-nbd`,
    /// `nbdkit`, `nbd-server`, `qemu-storage-daemon`, or the path of a peer file
    #[arg(long, value_name = "NAME|FILE", conflicts_with = "target")]
    peer: Option<String>,
    /// A shell command that starts your server; see `nbdcheck run --help`
    #[arg(long, value_name = "CMD", conflicts_with_all = ["target", "peer"])]
    server: Option<String>,
    #[command(flatten)]
    made_up: MadeUpArgs,
    /// Allow sessions to write to a server that is already running. This overwrites the export
    #[arg(long)]
    allow_write: bool,
    /// Allow risky sessions (malformed options, long names) against a server that is already running
    #[arg(long)]
    allow_hazard: bool,
    /// Name of the export to test
    #[arg(long, value_name = "NAME")]
    export: Option<String>,
    #[command(flatten)]
    tls: TlsArgs,
    /// Treat warnings (violations of a SHOULD) as failures
    #[arg(long)]
    strict: bool,
    /// Stop after N failures
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_fail: Option<u32>,
    /// Number of sessions to play at the same time, against servers that nbdcheck starts
    #[arg(long, value_name = "N", default_value_t = default_jobs(), value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
    /// Longest time to wait for one answer, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_TIMEOUT)]
    timeout: f64,
    /// Folder for the scripts of what fails
    #[arg(long, value_name = "DIR", default_value = "explored")]
    save: PathBuf,
}

/// Runs the command; gives the exit status.
///
/// # Errors
/// What it could not do.
pub fn run(args: Args) -> Result<u8, CommandError> {
    let target = prepare(&args)?;
    runtime()?.block_on(execute(&args, &target))
}

fn prepare(args: &Args) -> Result<Target, CommandError> {
    timeout(args.timeout)?;
    args.made_up.check()?;
    if let Some(command) = &args.server {
        let file = PeerFile::from_command(command, args.export.as_deref());
        let file = file.map_err(CommandError::usage)?;
        return Ok(Target::Peer(Box::new(file)));
    }
    let (text, mut targets) = match (&args.peer, &args.target) {
        (Some(peer), _) => (peer.as_str(), started(peer)?),
        (None, Some(target)) => {
            (target.as_str(), servers(target, args.export.as_deref(), &args.tls)?)
        }
        (None, None) => return Err(CommandError::usage("nothing to test is named")),
    };
    match (targets.pop(), targets.is_empty()) {
        (Some(target), true) => Ok(target),
        _ => Err(not_one(text, "explore")),
    }
}

async fn execute(args: &Args, target: &Target) -> Result<u8, CommandError> {
    let limits = args.made_up.limits(args.max_fail, &args.save);
    let seed = limits.seed;
    let options = Options {
        write: args.allow_write,
        hazard: args.allow_hazard,
        jobs: usize::from(args.jobs),
        timeout: Duration::from_secs_f64(args.timeout),
        again: again(args, target),
        ..Options::default()
    };
    crate::say!("note: exploring {} for {} seconds, seed {seed}", target.name(), args.made_up.time);
    let mut unsaved = None;
    let mut told = |found: &Found| {
        let saved = save(found, args, target);
        let text = render::found(found, &saved.as_ref().map(|path| path.display().to_string()));
        output::print(&text);
        if let Err(trouble) = saved {
            unsaved = Some(trouble);
        }
    };
    let known = known_of(target).await;
    let hunted = tokio::select! {
        biased;
        hunted = hunt(target, &options, &limits, known, &mut told) => hunted,
        () = stopped() => return Err(CommandError::no_verdict("interrupted")),
    };
    let tally = hunted.map_err(|unavailable| match unavailable {
        Unavailable::Stopped(reason) => CommandError::failed(reason),
        unavailable => CommandError::no_verdict(unavailable.into_reason()),
    })?;
    output::print(&render::summary(&tally, seed));
    if let Some(trouble) = unsaved {
        return Err(CommandError::no_verdict(trouble));
    }
    Ok(verdict(&tally, args.strict))
}

fn verdict(tally: &Tally, strict: bool) -> u8 {
    let counts = |found: &Found| strict || found.outcome.verdict == Verdict::Fail;
    if tally.found.iter().any(counts) {
        exit::FAILED
    } else if tally.problem.is_some() || tally.sessions == tally.untried.0 {
        exit::NO_VERDICT
    } else {
        exit::OK
    }
}

/// Writes the script of a failure, with what it is about.
fn save(found: &Found, args: &Args, target: &Target) -> Result<PathBuf, String> {
    let text = render::script(found, target.name());
    save_script(&args.save, &found.script, &text)
}

/// The command that plays a script again, up to the script.
fn again(args: &Args, target: &Target) -> String {
    let may = Access { write: args.allow_write, hazard: args.allow_hazard };
    let mut again = against(target, args.export.as_deref(), &args.tls.written(), may);
    if args.timeout != DEFAULT_TIMEOUT {
        again.push_str(&format!(" --timeout {}", args.timeout));
    }
    again
}
