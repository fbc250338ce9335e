//! `nbdcheck probe`: what a server offers.

use super::run;
use super::runtime::{DEFAULT_TIMEOUT, runtime, stopped, timeout};
use super::targets::{TlsArgs, servers};
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
#[must_use]
pub fn run(args: Args) -> u8 {
    let usage = |text: &str| run::complain(text, exit::USAGE);
    let limit = match timeout(args.timeout) {
        Ok(limit) => limit,
        Err(text) => return usage(&text),
    };
    let targets = servers(&args.target, args.export.as_deref(), &args.tls);
    let target = match targets.as_deref() {
        Ok([target]) => target,
        Ok(_) => return usage("one server at a time"),
        Err(text) => return usage(text),
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(text) => return run::complain(&text, exit::NO_VERDICT),
    };
    let asked = async {
        tokio::select! {
            biased;
            () = stopped() => Err("interrupted".to_owned()),
            found = ask(target, &args, limit) => found,
        }
    };
    let (name, found) = match runtime.block_on(asked) {
        Ok(found) => found,
        Err(text) => return run::complain(&text, exit::NO_VERDICT),
    };
    let shown = match args.format {
        Format::Text => text(&name, &found),
        Format::Json => json(&name, &found),
    };
    output::print(&shown);
    exit::OK
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
