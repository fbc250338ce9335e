//! `nbdcheck probe`: what a server offers.

use super::error::CommandError;
use super::runtime::{DEFAULT_TIMEOUT, runtime, stopped, timeout};
use super::targets::{TlsArgs, not_one, servers};
use crate::exit;
use crate::output;
use crate::report::probe::{json, text};
use crate::run::survey::{Ask, Survey, Whom, survey};
use crate::run::target::{Access, Target, Unavailable};

/// Command line of `nbdcheck probe`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// `host`, `host:port`, `[v6]:port`, an NBD URI, or a server that nbdcheck starts: `self`, a
    /// shipped peer, or the path of a peer file
    #[arg(value_name = "TARGET")]
    target: String,
    /// Export to examine; by default the default export, or else the first one listed
    #[arg(long, value_name = "NAME")]
    export: Option<String>,
    /// Configuration of a server that nbdcheck starts, named as in the `export:` line of scenarios
    #[arg(long, value_name = "NAME", default_value = "default")]
    configuration: String,
    #[command(flatten)]
    tls: TlsArgs,
    /// Longest time to wait for one answer, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_TIMEOUT)]
    timeout: f64,
    /// Output format
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// The forms of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

/// Runs the command; gives the exit status.
///
/// # Errors
/// What it could not do.
pub fn run(args: Args) -> Result<u8, CommandError> {
    let limit = timeout(args.timeout)?;
    let targets = servers(&args.target, args.export.as_deref(), &args.tls)?;
    let [target] = targets.as_slice() else {
        return Err(not_one(&args.target, "probe"));
    };
    let asked = async {
        tokio::select! {
            biased;
            () = stopped() => Err(CommandError::no_verdict("interrupted")),
            found = ask(target, &args, limit) => found.map_err(CommandError::no_verdict),
        }
    };
    let (name, found) = runtime()?.block_on(asked)?;
    let shown = match args.format {
        Format::Text => text(&name, &found),
        Format::Json => json(&name, &found),
    };
    output::print(&shown);
    Ok(exit::OK)
}

async fn ask(
    target: &Target,
    args: &Args,
    limit: std::time::Duration,
) -> Result<(String, Survey), String> {
    let configuration = args.configuration.as_str();
    let started = target.start(configuration, Access::default()).await;
    let instance = started.map_err(Unavailable::into_reason)?;
    let whom = Whom {
        address: &instance.address,
        security: instance.security.as_ref(),
        insists: target.insists_on_tls(),
    };
    let export = args.export.as_deref().or(instance.export.as_deref());
    let ask = Ask {
        export,
        limit,
        strange: !target.is_owned(),
        forced: false,
        places: true,
        write: false,
    };
    let found = survey(whom, &ask, configuration).await.map_err(|trouble| trouble.to_string());
    let version = target.version().await.map(|version| format!(" {version}")).unwrap_or_default();
    instance.stop().await;
    Ok((format!("{}{version}", target.name()), found?))
}
