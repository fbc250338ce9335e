//! The command line of `nbdcheck run`.

use std::path::PathBuf;

use crate::commands::runtime::{DEFAULT_TIMEOUT, default_jobs};
use crate::commands::targets::TlsArgs;
use crate::report::Report;
use crate::script::ast::Version;

/// Command line of `nbdcheck run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A running server to test: `host:port`, `[v6]:port`, `nbd://host:port/name` or
    /// `nbd+unix:///name?socket=path`; `nbds` for TLS. Can be repeated
    #[arg(long, value_name = "ADDR|URI")]
    pub(super) target: Vec<String>,
    /// A server that nbdcheck starts itself: `self`, `self@V` (behaves like qemu V), `self@all`,
    /// `qemu-nbd`, `nbdkit`, `nbd-server`, `qemu-storage-daemon`, `all`, or the path of a peer
    /// file. Can be repeated
    #[arg(long, value_name = "NAME|FILE")]
    pub(super) peer: Vec<String>,
    /// A shell command that starts your server. It must contain `{port}` or `{socket}`; `{image}`,
    /// `{size}`, `{read-only:--option}` and others let nbdcheck configure it (see the README). Can
    /// be repeated
    #[arg(long, value_name = "CMD")]
    pub(super) server: Vec<String>,
    /// A client to test: `self`, `self@V` (behaves like qemu V), `self@all`, `qemu-img`, `qemu-io`,
    /// `nbdinfo`, `nbdcopy`, `nbdsh`, `nbd-client`, `all`, the path of a peer file, or a command
    /// that contains `{uri}`. Can be repeated
    #[arg(long, value_name = "NAME|FILE|CMD")]
    pub(super) client: Vec<String>,
    /// Allow scenarios to write to `--target`. This overwrites the export that you name, or all
    /// exports if you name none
    #[arg(long)]
    pub(super) allow_write: bool,
    /// Allow risky scenarios (malformed lengths, sessions that end midway) against `--target`
    #[arg(long)]
    pub(super) allow_hazard: bool,
    /// Scenarios to run: an id, a folder, a glob, or a script file of your own. Can be repeated
    #[arg(long, value_name = "GLOB|FILE")]
    pub(super) scenario: Vec<String>,
    /// Variants to run the scenarios in: `default`, `all`, or values such as
    /// `replies=structured,send=bytewise,tls=x509,transport=unix`
    #[arg(long, value_name = "AXES", default_value = "default")]
    pub(super) axes: String,
    /// Only features that appeared in this qemu version or later
    #[arg(long, value_name = "VERSION")]
    pub(super) since: Option<Version>,
    /// Only features that appeared in this qemu version or earlier
    #[arg(long, value_name = "VERSION")]
    pub(super) until: Option<Version>,
    /// Only scenarios of this feature (`nbdcheck list` shows the names)
    #[arg(long, value_name = "NAME")]
    pub(super) feature: Option<String>,
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
    pub(super) verbose: bool,
    /// Number of scenarios to run at the same time
    #[arg(long, value_name = "N", default_value_t = default_jobs(), value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(super) jobs: u16,
    /// Longest time to wait for one answer, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_TIMEOUT)]
    pub(super) timeout: f64,
    /// Time limit for the whole run, in seconds; scenarios that did not start by then are reported
    /// as not run
    #[arg(long, value_name = "SECONDS")]
    pub(super) max_time: Option<f64>,
    /// Stop after N failed scenarios; known failures do not count
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) max_fail: Option<u32>,
    /// Stop at the first failure; the same as `--max-fail 1`
    #[arg(long, conflicts_with = "max_fail")]
    pub(super) fail_fast: bool,
    /// Write a report at the end of the run, even if it was interrupted. FORMAT is `json`, `junit`,
    /// `tap`, `html` or `markdown`; PATH `-` is standard output. Can be repeated
    #[arg(long, value_name = "FORMAT=PATH")]
    pub(super) report: Vec<Report>,
    /// Write one pcapng file per scenario to this folder
    #[arg(long, value_name = "DIR")]
    pub(super) capture: Option<PathBuf>,
    /// File of known failures: TOML, or one `SCENARIO REQUIREMENT # reason` per line; any difference fails
    /// the run
    #[arg(long, value_name = "FILE")]
    pub(super) expect: Option<PathBuf>,
    /// Run only part K of N of the scenarios
    #[arg(long, value_name = "K/N", value_parser = partition)]
    pub(super) partition: Option<(usize, usize)>,
}

fn partition(text: &str) -> Result<(usize, usize), String> {
    let parts = text.split_once('/').and_then(|(k, n)| Some((k.parse().ok()?, n.parse().ok()?)));
    match parts {
        Some((k, n)) if k >= 1 && k <= n => Ok((k, n)),
        _ => Err("expected K/N with 1 <= K <= N, such as 1/4".to_owned()),
    }
}
