//! `nbdcheck serve`: exports over NBD, as the specification wants them or with one fault.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dissector::session::Recognize;
use protocol::values::DEFAULT_PORT;
use reference_server::spec::ExportSpec;
use reference_server::store::MemoryStore;
use reference_server::tls::{Acceptor, ClientCertificates, Identity, PskKeys, Versions};
use reference_server::{
    Builder, Ear, Event, Export, Fault, Features, Handshake, Limits, Profile, Quirk, Server,
    ServerTls, StartError, TlsMode,
};
use tokio::signal::unix::{SignalKind, signal};

use super::CommandError;
use super::court::Bench;
use super::on_purpose;
use super::runtime::runtime;
use super::typed::typed;
use crate::exit;
use crate::judge::Listener;
use crate::output;
use crate::report::{self, Report};

/// The size of the export that is served when none is named, in bytes.
const DEFAULT_SIZE: u64 = 16 << 20;

/// Command line of `nbdcheck serve`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exports:
  mem:SIZE      sparse memory; SIZE in bytes, or with the suffix KiB, MiB, GiB or TiB
  pattern:SIZE  memory that initially holds a pattern made from the offset
  file:PATH     a raw file or block device; holes are kept

Options of an export, each after a comma (write a comma inside a path or text twice):
  ro                           read-only
  desc=TEXT                    description, for NBD_OPT_LIST and NBD_INFO_DESCRIPTION
  min=SIZE,pref=SIZE,max=SIZE  block sizes
  required                     refuse clients that do not ask for the block sizes
  rotational, single           set the flag ROTATIONAL; do not offer CAN_MULTI_CONN
  hidden                       leave the export out of NBD_OPT_LIST
  tls                          only inside TLS (with --tls selective)
  seed=N                       seed of the pattern
  backing=KIND:WHAT            (mem) initial content, from another export specification
  bitmap=NAME,granularity=SIZE a dirty bitmap; bitmap= can be repeated

Examples:
  nbdcheck serve
  nbdcheck serve --socket /tmp/nbd.sock --export disk=file:disk.img,ro
  nbdcheck serve --export a=mem:1GiB,min=512 --export b=pattern:1MiB --default a
  nbdcheck serve --tls forced --tls-cert cert.pem --tls-key key.pem --tls-ca ca.pem
  nbdcheck serve --export disk=mem:1GiB,backing=file:base.img,bitmap=b0
  nbdcheck serve --profile qemu-2.6 --export disk=mem:1GiB
  nbdcheck serve --judge --sessions 1 --judge-report json=client.json
  nbdcheck serve --quirk chunks-tiny --quirk replies-reversed
  nbdcheck serve --fault cookie-truncated")]
pub struct Args {
    /// Listen on this TCP address; port 0 picks a free port [default: 127.0.0.1:10809, unless
    /// `--socket` is given]. Can be repeated
    #[arg(long, value_name = "HOST[:PORT]")]
    bind: Vec<String>,

    /// Listen on this Unix socket. Can be repeated
    #[arg(long, value_name = "PATH")]
    socket: Vec<PathBuf>,

    /// Serve an export; an empty name makes it the default export [default: =mem:16MiB]. Can be
    /// repeated
    #[arg(long = "export", value_name = "NAME=SPEC", value_parser = parse_export)]
    exports: Vec<(String, ExportSpec)>,

    /// Serve this export to clients that ask for the empty name
    #[arg(long, value_name = "NAME")]
    default: Option<String>,

    /// Offer and answer what this qemu release does: `qemu-2.6` or `2.6`, up to `8.2`
    #[arg(long, value_name = "VERSION", value_parser = parse_profile)]
    profile: Option<&'static Profile>,

    /// Break one rule on purpose
    #[arg(long, value_name = "NAME", value_parser = parse_fault)]
    fault: Option<Fault>,

    /// Do something lawful that few servers do. Can be repeated
    #[arg(long = "quirk", value_name = "NAME", value_parser = parse_quirk)]
    quirks: Vec<Quirk>,

    /// List the quirks and why each one is lawful, then exit
    #[arg(long)]
    list_quirks: bool,

    /// List the faults and the requirement that each one breaks, then exit
    #[arg(long)]
    list_faults: bool,

    /// Use the oldstyle handshake: one export, no negotiation
    #[arg(long, conflicts_with = "newstyle")]
    oldstyle: bool,

    /// Offer newstyle negotiation, but not fixed newstyle
    #[arg(long)]
    newstyle: bool,

    /// Do not offer structured replies
    #[arg(long)]
    no_structured: bool,

    /// Do not offer extended headers
    #[arg(long)]
    no_extended: bool,

    /// Do not offer metadata contexts or block status
    #[arg(long)]
    no_contexts: bool,

    /// Turn features off: `flush`, `fua`, `trim`, `write-zeroes`, `fast-zero`, `cache`, `df`,
    /// `multi-conn`, `list`, `info-and-go`, `block-size`, `no-zeroes`, `structured-reply`,
    /// `extended-headers`, `meta-context`, `base-allocation`, `dirty-bitmaps`, `allocation-depth`,
    /// `status-payload`
    #[arg(
        long,
        value_name = "FEATURE",
        value_delimiter = ',',
        value_parser = clap::builder::PossibleValuesParser::new(Features::NAMES),
        hide_possible_values = true
    )]
    without: Vec<String>,

    /// Serve at most N connections at the same time; further ones are closed without a greeting
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    max_connections: Option<u16>,

    /// Wait this long before each greeting, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0, hide_default_value = true, value_parser = clap::value_parser!(u16).range(..=60_000))]
    delay: u16,

    /// TLS mode: `off`, `selective` (for clients that ask for it, and for exports with the option
    /// `tls`) or `forced` (nothing is served without TLS) [default: forced if there are
    /// credentials, otherwise off]
    #[arg(long, value_name = "MODE", value_parser = ["off", "selective", "forced"])]
    tls: Option<String>,

    /// Server certificate, followed by its intermediate certificates (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// Private key of the server certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// CA certificates that verify clients (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_ca: Option<PathBuf>,

    /// Client certificates: `none` (not requested), `optional` or `require` [default: require with
    /// `--tls-ca`, otherwise none]
    #[arg(long, value_name = "WHETHER", value_parser = ["none", "optional", "require"], requires = "tls_cert")]
    tls_verify: Option<String>,

    /// Pre-shared keys to use instead of certificates, one `user:hexkey` per line, as psktool
    /// writes them (requires the build feature `psk`)
    #[arg(long, value_name = "FILE", conflicts_with = "tls_cert")]
    tls_psk: Option<PathBuf>,

    /// Append TLS secrets to this file, for Wireshark and `nbdcheck decode --keylog`
    #[arg(long, value_name = "FILE", env = "SSLKEYLOGFILE", hide_env_values = true)]
    tls_key_log: Option<PathBuf>,

    /// Check the clients that connect: print every rule that one breaks, with the messages before
    /// it. The exit status is 1 if a MUST was broken, and 3 if no client connected
    #[arg(long)]
    judge: bool,

    /// Stop after N sessions; connections on which the client sends nothing do not count
    #[arg(long, value_name = "N", requires = "judge", value_parser = clap::value_parser!(u64).range(1..))]
    sessions: Option<u64>,

    /// Write what was found to a file, in a format of `nbdcheck run --report`. Can be repeated
    #[arg(long, value_name = "FORMAT=PATH", requires = "judge")]
    judge_report: Vec<Report>,

    /// Log every connection to standard error
    #[arg(long, short)]
    verbose: bool,
}

fn parse_export(text: &str) -> Result<(String, ExportSpec), String> {
    let (name, spec) = text.split_once('=').ok_or("write `NAME=SPEC`, such as `disk=mem:16MiB`")?;
    let spec = spec.parse().map_err(|error| format!("{error}"))?;
    Ok((name.to_owned(), spec))
}

pub(super) fn parse_profile(text: &str) -> Result<&'static Profile, String> {
    Profile::find(text).map_err(|error| error.to_string())
}

pub(super) fn parse_fault(text: &str) -> Result<Fault, String> {
    let names = Fault::ALL.iter().map(|fault| fault.name());
    on_purpose::parse(text, names, "nbdcheck serve --list-faults")
}

fn parse_quirk(text: &str) -> Result<Quirk, String> {
    let names = Quirk::ALL.iter().map(|quirk| quirk.name());
    on_purpose::parse(text, names, "nbdcheck serve --list-quirks")
}

/// Runs the command; gives the exit status.
///
/// # Errors
/// What it could not do.
pub fn run(args: Args) -> Result<u8, CommandError> {
    if args.list_faults {
        return Ok(list_faults());
    }
    if args.list_quirks {
        return Ok(list_quirks());
    }
    // What can't be written is told before clients come, not after.
    report::check(&args.judge_report).map_err(CommandError::usage)?;
    let bench = args.judge.then(|| Arc::new(Bench::new(args.fault.is_some(), output::print)));
    let builder = judged(builder(&args)?, &args, bench.as_ref());
    let runtime = runtime()?;
    let name = args.exports.first().map_or("", |(name, _)| name);
    let until = bench.clone().zip(args.sessions);
    let served = runtime.block_on(serve(builder, name, until));
    // Sessions that were cut short are judged as far as they came.
    drop(runtime);
    served.map_err(|error| match error {
        StartError::Listen { .. } => CommandError::no_verdict(error),
        StartError::Export(_)
        | StartError::NoExport
        | StartError::NoTls(_)
        | StartError::NoPsk(_)
        | StartError::NoTlsOverUnix(_)
        | StartError::TlsHandshake => CommandError::usage(error),
    })?;
    bench.map_or(Ok(exit::OK), |bench| verdict(&bench, &args.judge_report))
}

/// The server with the judge on its connections, if one is wanted, and the observer.
fn judged(builder: Builder, args: &Args, bench: Option<&Arc<Bench>>) -> Builder {
    let verbose = args.verbose;
    let ended = bench.cloned();
    let builder = builder.observer(move |event| {
        if verbose {
            crate::say!("{}", line(&event));
        }
        if let (Event::Closed { connection, .. }, Some(bench)) = (&event, &ended) {
            bench.closed(*connection);
        }
    });
    let Some(bench) = bench.cloned() else { return builder };
    builder.ears(move |connection, peer| {
        let listener = Listener::new(connection, peer, Recognize::Nothing, bench.clone());
        Some(Box::new(listener) as Box<dyn Ear>)
    })
}

/// Sums up what the judge found; gives the exit status.
fn verdict(bench: &Bench, reports: &[Report]) -> Result<u8, CommandError> {
    if !reports.iter().any(Report::is_stdout) {
        output::print(&bench.summary());
    }
    for fault in bench.own_faults() {
        crate::say!("internal fault: the judge accuses this server itself: {fault}");
    }
    let runs = [bench.run("clients of serve", &typed())];
    for report in reports {
        report
            .write(&runs)
            .map_err(|error| CommandError::cannot_write(report.path.display(), &error))?;
    }
    if !bench.has_heard() {
        return Err(CommandError::no_verdict("no client came"));
    }
    Ok(if bench.has_failed() { exit::FAILED } else { exit::OK })
}

fn list_faults() -> u8 {
    on_purpose::list(Fault::ALL, |fault| {
        let breaks = format!("breaks {}", fault.expected().join(", "));
        [format!("the server {}", fault.summary()), breaks]
    })
}

fn list_quirks() -> u8 {
    on_purpose::list(Quirk::ALL, |quirk| {
        [format!("the server {}", quirk.summary()), format!("lawful: {}", quirk.lawful())]
    })
}

fn builder(args: &Args) -> Result<Builder, CommandError> {
    let mut builder = Server::builder().quirks(args.quirks.iter().copied()).fault(args.fault);
    let mut features = Features::default();
    if let Some(profile) = args.profile {
        builder = builder.profile(profile);
        features = profile.behaviour().features;
    }
    let mut features = Features {
        handshake: match (args.oldstyle, args.newstyle) {
            (true, _) => Handshake::Oldstyle,
            (_, true) => Handshake::Newstyle,
            _ => Handshake::FixedNewstyle,
        },
        structured_reply: features.structured_reply && !args.no_structured,
        extended_headers: features.extended_headers && !args.no_extended,
        meta_context: features.meta_context && !args.no_contexts,
        ..features
    };
    for name in &args.without {
        features.leave_out(name);
    }
    builder = builder.features(features);
    if let Some(connections) = args.max_connections {
        builder = builder.limits(Limits { connections: connections.into(), ..Limits::default() });
    }
    if args.delay > 0 {
        let opening = Duration::from_millis(args.delay.into());
        builder = builder.opening(opening);
    }
    builder = builder.tls(tls(args)?);
    if args.exports.is_empty() {
        builder = builder.export(Export::new("", MemoryStore::new(DEFAULT_SIZE)));
    }
    for (name, spec) in &args.exports {
        builder = builder.export(spec.open(name).map_err(CommandError::usage)?);
    }
    if let Some(name) = &args.default {
        builder = builder.default_export(name);
    }
    for path in &args.socket {
        builder = builder.unix(path);
    }
    let default = format!("127.0.0.1:{DEFAULT_PORT}");
    let bind = if args.bind.is_empty() && args.socket.is_empty() {
        std::slice::from_ref(&default)
    } else {
        &args.bind
    };
    for text in bind {
        builder = builder.tcp(resolve(text).map_err(CommandError::usage)?);
    }
    Ok(builder)
}

/// The TLS that the options ask for.
fn tls(args: &Args) -> Result<Option<ServerTls>, CommandError> {
    let given = args.tls_cert.is_some() || args.tls_psk.is_some();
    let mode = match args.tls.as_deref() {
        Some("off") => return Ok(None),
        Some("selective") => TlsMode::Selective,
        Some(_) => TlsMode::Forced,
        None if given => TlsMode::Forced,
        None => return Ok(None),
    };
    let key_log = args.tls_key_log.as_deref().map(crate::tls::key_log_file).transpose();
    let key_log = key_log.map_err(CommandError::usage)?;
    let acceptor = if let Some(path) = &args.tls_psk {
        let keys = PskKeys::read(path).map_err(CommandError::usage)?;
        Acceptor::psk(keys, Versions::All, key_log).map_err(CommandError::usage)?
    } else if let (Some(certificate), Some(key)) = (&args.tls_cert, &args.tls_key) {
        let identity = Identity { certificate: certificate.clone(), key: key.clone() };
        let clients = match (args.tls_verify.as_deref(), &args.tls_ca) {
            (Some("none"), _) | (None, None) => ClientCertificates::None,
            (Some("optional"), _) => ClientCertificates::Optional,
            _ => ClientCertificates::Require,
        };
        Acceptor::x509(&identity, clients, args.tls_ca.as_ref(), Versions::All, key_log)
            .map_err(CommandError::usage)?
    } else {
        let error = CommandError::usage("TLS requires credentials");
        return Err(error.hint("`--tls-cert` and `--tls-key`, or `--tls-psk`"));
    };
    Ok(Some(ServerTls { mode, acceptor }))
}

/// The first address of a `host`, `host:port`, `[v6]` or `[v6]:port`.
pub(super) fn resolve(text: &str) -> Result<SocketAddr, String> {
    let (host, port) = match text.parse::<SocketAddr>() {
        Ok(address) => return Ok(address),
        Err(_) => match text.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                let port = port.parse().map_err(|_| format!("`{port}` is not a port"))?;
                (host, port)
            }
            _ => (text, DEFAULT_PORT),
        },
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let mut found =
        (host, port).to_socket_addrs().map_err(|error| format!("can't find `{host}`: {error}"))?;
    found.next().ok_or_else(|| format!("`{host}` has no address"))
}

async fn serve(
    builder: Builder,
    name: &str,
    until: Option<(Arc<Bench>, u64)>,
) -> Result<(), StartError> {
    // Before anything is announced, so that no signal is missed.
    let listen = |kind| {
        signal(kind).map_err(|error| StartError::Listen { address: "signals".to_owned(), error })
    };
    let (mut interrupt, mut terminate) =
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    let server = builder.start().await?;
    for uri in server.uris(name) {
        output::print(&format!("{uri}\n"));
    }
    let enough = async {
        match &until {
            Some((bench, sessions)) => bench.ended(*sessions).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        () = enough => {}
    }
    // A second signal means at once.
    tokio::select! {
        () = server.shutdown() => {}
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

fn line(event: &Event) -> String {
    match event {
        Event::Opened { connection, peer } => format!("connection {connection}: from {peer}"),
        Event::Entered { connection, export, replies } => {
            format!("connection {connection}: export `{export}`, {} replies", replies.name())
        }
        Event::Closed { connection, ending } => format!("connection {connection}: {ending}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reference_server::Replies;

    #[test]
    fn addresses_have_a_default_port() {
        assert_eq!(resolve("127.0.0.1").unwrap(), ([127, 0, 0, 1], DEFAULT_PORT).into());
        assert_eq!(resolve("127.0.0.1:0").unwrap().port(), 0);
        assert_eq!(resolve("[::1]:99").unwrap().to_string(), "[::1]:99");
        assert_eq!(resolve("::1").unwrap().to_string(), "[::1]:10809");
        assert!(resolve("127.0.0.1:x").is_err());
    }

    #[test]
    fn an_unknown_fault_is_answered_with_the_nearest() {
        insta::assert_snapshot!(parse_fault("cookie-truncate").unwrap_err(), @"
        there is no fault named `cookie-truncate`
        hint: the nearest is `cookie-truncated`; `nbdcheck serve --list-faults` shows all
        ");
    }

    #[test]
    fn events_are_told_in_a_line() {
        let replies = Replies::Structured;
        let entered = Event::Entered { connection: 3, export: "a".into(), replies };
        assert_eq!(line(&entered), "connection 3: export `a`, structured replies");
    }
}
