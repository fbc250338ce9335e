//! `nbdcheck relay`: stands between clients and a server, and hears what they say.

use std::collections::HashMap;
use std::io::{self, LineWriter};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dissector::capture::{Conversation, LinkType, Packet, PacketSink};
use dissector::dissect::{Options, Record, Sink};
use dissector::net::Segment;
use dissector::render::Plural;
use dissector::session::{Close, Recognize};
use protocol::uri::Uri;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::CommandError;
use super::runtime::runtime;
use super::serve::resolve;
use super::validate::findings::Findings;
use super::watch::{Copy, Logs, Watch, Watched};
use crate::exit;
use crate::peer::Address;
use crate::relay::{Event, Heard, Hearing, Queue, Relay, What};

/// How long whoever judges waits for something to be heard, before it looks at other things.
const IDLE: Duration = Duration::from_secs(1);
/// The same while a session waits for its secrets.
const AWAITS_SECRETS: Duration = Duration::from_millis(20);

/// Command line of `nbdcheck relay`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Bytes pass unchanged, and so do ends and resets. They never wait for the checks or the file: if
more than --buffer MiB are waiting, bytes pass unseen. A warning says so, their number is printed
at the end, and the exit status is 3 (no verdict) unless a violation was found in the rest.

Examples:
  qemu-nbd -t -k /tmp/server.sock disk.qcow2 &
  nbdcheck relay --listen /tmp/nbd.sock --to /tmp/server.sock -w session.pcapng --validate
  qemu-img info 'nbd+unix:///?socket=/tmp/nbd.sock'

  nbdcheck relay --listen 127.0.0.1:10810 --to 10.0.0.5:10809
  nbdcheck relay --listen 127.0.0.1:10810 --to /tmp/server.sock --keylog keys.log --sessions 1")]
pub struct Args {
    /// Where clients connect: `host:port`, or the path of a Unix socket (with a `/`); port 0 picks
    /// a free port
    #[arg(long, value_name = "ADDR|SOCKET", value_parser = parse_listen)]
    listen: Listen,

    /// The server: `host:port`, or the path of a Unix socket (with a `/`)
    #[arg(long, value_name = "ADDR|SOCKET", value_parser = parse_server)]
    to: Address,

    /// Write everything to this pcapng file, as TCP packets with made-up headers
    #[arg(long, short, value_name = "FILE")]
    write: Option<PathBuf>,

    /// Check both sides, and print each violation when it is found [default if there is no
    /// `--write`]
    #[arg(long)]
    validate: bool,

    /// What makes the exit status 1: a broken MUST, or also a broken SHOULD [default: must]. Implies
    /// `--validate`
    #[arg(long, value_enum, value_name = "LEVEL")]
    fail_on: Option<FailOn>,

    /// TLS key log that programs write meanwhile (if SSLKEYLOGFILE is set); the file need not exist
    /// yet. A session waits up to one second for its secrets to be checked. Can be repeated
    #[arg(long, value_name = "FILE")]
    keylog: Vec<PathBuf>,

    /// Do not warn about reads that contradict earlier writes; see `validate`
    #[arg(long)]
    no_data: bool,

    /// Stop after N connections have ended
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    sessions: Option<u64>,

    /// How many MiB may wait to be checked and written
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    buffer: u16,

    /// Also print each connection to standard error
    #[arg(long, short)]
    verbose: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum FailOn {
    /// A MUST or MUST NOT
    Must,
    /// Also a SHOULD or SHOULD NOT
    Should,
    /// Nothing
    Never,
}

/// Where to listen.
#[derive(Debug, Clone)]
enum Listen {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

fn parse_listen(text: &str) -> Result<Listen, String> {
    if text.contains("://") {
        return match parse_server(text)? {
            Address::Unix(path) => Ok(Listen::Unix(path)),
            address @ Address::Tcp { .. } => resolve(&address.to_string()).map(Listen::Tcp),
        };
    }
    if text.contains('/') {
        return Ok(Listen::Unix(text.into()));
    }
    resolve(text).map(Listen::Tcp).map_err(|error| with_hint(error, text))
}

fn parse_server(text: &str) -> Result<Address, String> {
    if text.contains("://") {
        let uri = text.parse::<Uri>().map_err(|error| error.to_string())?;
        return Ok(uri.endpoint.into());
    }
    text.parse::<Address>().map_err(|error| with_hint(error.to_string(), text))
}

/// Paths are told from hosts by their `/`.
fn with_hint(error: String, text: &str) -> String {
    match text.contains(':') {
        true => error,
        false => format!("{error}\nhint: for a socket in this directory write `./{text}`"),
    }
}

/// Runs the command; gives the exit status.
///
/// # Errors
/// What it could not do.
pub fn run(args: Args) -> Result<u8, CommandError> {
    let logs = Logs::open(&args.keylog)?;
    let mut file =
        args.write.as_deref().map(|path| Copy::create(path, LinkType::RAW)).transpose()?;
    let runtime = runtime()?;
    more_files();
    let queue = Arc::new(Queue::new(usize::from(args.buffer) << 20));
    let judges = args.validate || args.fail_on.is_some() || args.write.is_none();
    let options = Options {
        ports: match args.to {
            Address::Tcp { port, .. } => vec![port],
            Address::Unix(_) => Vec::new(),
        },
        recognize: match judges && !args.no_data {
            true => Recognize::Contradictions,
            false => Recognize::Nothing,
        },
        keys: logs.keys(),
    };
    let mut findings = judges
        .then(|| Findings::new("", LineWriter::new(io::stdout()), LineWriter::new(io::stderr())));
    let (relayed, watched) = std::thread::scope(|scope| {
        let heard = queue.clone();
        let (file, mut sink) = (file.as_mut(), Heed(findings.as_mut()));
        let judging = scope.spawn(move || {
            let mut watch = Watch::new(options, logs, &mut sink, file);
            judge(&heard, &mut watch);
            watch.finish()
        });
        let relayed = runtime.block_on(relay(&args, queue.clone()));
        // In any case, or the other thread would wait for ever.
        queue.end();
        drop(runtime);
        (relayed, judging.join())
    });
    let written = file.map_or(Ok(()), Copy::finish);
    relayed?;
    let Ok(watched) = watched else {
        let text = "internal fault: the judge has failed; what passed after that is not judged";
        return Err(CommandError::no_verdict(text));
    };
    let summarised = summarised(&args, &queue, findings, watched);
    match (summarised, written) {
        (Ok(status), Err(error)) if status != exit::FAILED => Err(error),
        (summarised, written) => {
            if let Err(error) = written {
                error.tell();
            }
            summarised
        }
    }
}

/// Says what came of it; gives the exit status.
fn summarised(
    args: &Args,
    queue: &Queue,
    findings: Option<Findings<'_, impl io::Write>>,
    watched: Watched,
) -> Result<u8, CommandError> {
    watched.warn(&args.keylog);
    let left_out = queue.left_out();
    if left_out.bytes > 0 {
        let (bytes, times) = (Plural(left_out.bytes, "byte"), Plural(left_out.times, "time"));
        crate::say!(
            "warning: {bytes} passed unseen: the checks and the file fell behind {times}\nhint: `--buffer` lets more wait"
        );
    }
    // What was not seen may be anything.
    let clean = || match left_out.bytes {
        0 => no_sessions(watched.sessions),
        _ => Ok(exit::NO_VERDICT),
    };
    let Some(mut findings) = findings else {
        crate::say!("{}", Plural(watched.sessions, "session"));
        return clean();
    };
    findings.tell_contradictions();
    findings.flush();
    crate::say!("{}", findings.totals());
    let totals = findings.totals();
    match args.fail_on.unwrap_or(FailOn::Must) {
        FailOn::Must if totals.violations() > 0 => Ok(exit::FAILED),
        FailOn::Should if totals.violations() + totals.warnings() > 0 => Ok(exit::FAILED),
        _ if watched.sessions > 0 && findings.totals().judged() == 0 => {
            Err(CommandError::no_verdict("nothing of it could be judged"))
        }
        _ => clean(),
    }
}

/// The exit status where nothing was broken.
fn no_sessions(sessions: u64) -> Result<u8, CommandError> {
    match sessions {
        0 => Err(CommandError::no_verdict("no NBD traffic passed")),
        _ => Ok(exit::OK),
    }
}

/// Each connection takes two files, and the system's usual limit is low.
fn more_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limits = getrlimit(Resource::Nofile);
    // If we may not, accepting says so when it matters.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limits.maximum, ..limits });
}

/// Relays until it is told to end.
async fn relay(args: &Args, queue: Arc<Queue>) -> Result<(), CommandError> {
    let failed = |what: &str, error: io::Error| {
        CommandError::no_verdict(format_args!("can't listen on {what}: {error}"))
    };
    // Before anything is announced, so that no signal is missed.
    let (mut first, mut second) = match (Signals::new(), Signals::new()) {
        (Ok(first), Ok(second)) => (first, second),
        (Err(error), _) | (_, Err(error)) => return Err(failed("signals", error)),
    };
    let relay = match &args.listen {
        Listen::Tcp(address) => {
            Relay::tcp(*address).await.map_err(|error| failed(&address.to_string(), error))
        }
        Listen::Unix(path) => {
            Relay::unix(path).await.map_err(|error| failed(&path.display().to_string(), error))
        }
    }?;
    crate::say!("listening on {}, relaying to {}", relay.address(), args.to);
    let verbose = args.verbose;
    let tell = move |event: Event| match event {
        Event::Opened { connection, from } if verbose => {
            crate::say!("connection {connection}: from {from}");
        }
        Event::Opened { .. } => {}
        Event::Failed { from, why } => {
            crate::say!("error: a client ({from}) was turned away: can't connect to {why}");
        }
        Event::NotAccepted(error) => crate::say!("error: can't accept a client: {error}"),
    };
    let hearing = Hearing { queue, tell: Arc::new(tell) };
    // A second signal means at once.
    let at_once = async {
        second.next().await;
        second.next().await;
    };
    relay.run(args.to.clone(), args.sessions, hearing, first.next(), at_once).await;
    Ok(())
}

/// The signals that ask us to end.
struct Signals(Signal, Signal);

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self(signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?))
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}

/// Makes packets of what was heard, and hands them on, until there is nothing more.
fn judge<S: Sink>(queue: &Queue, watch: &mut Watch<'_, S>) {
    let mut talks: HashMap<u64, Conversation> = HashMap::new();
    let mut fell_behind = false;
    loop {
        let limit = if watch.awaits_secrets() { AWAITS_SECRETS } else { IDLE };
        let Some(all) = queue.take(limit) else { return };
        for heard in all {
            hear(&heard, &mut talks, watch);
            queue.done(heard);
        }
        watch.pause();
        watch.flush();
        if !fell_behind && queue.left_out().times > 0 {
            fell_behind = true;
            crate::say!(
                "warning: the checks and the file are slower than the traffic; some bytes pass unseen"
            );
        }
    }
}

fn hear<S: Sink>(heard: &Heard, talks: &mut HashMap<u64, Conversation>, watch: &mut Watch<'_, S>) {
    let Heard { connection, time_ns, what } = heard;
    let mut to = Packets(watch);
    if let What::Opened { client, server } = what {
        let mut talk = Conversation::new(*client, *server).overheard();
        // Packets are taken without an error; what can't be written is told elsewhere.
        let _ = talk.opened(&mut to, *time_ns);
        talks.insert(*connection, talk);
        return;
    }
    let Some(talk) = talks.get_mut(connection) else { return };
    let _ = match what {
        What::Opened { .. } => Ok(()),
        What::Data { from, lost, bytes } => talk
            .lost(&mut to, *from, *time_ns, *lost)
            .and_then(|()| talk.data(&mut to, *from, *time_ns, bytes)),
        What::Closed { from, lost, how } => talk
            .lost(&mut to, *from, *time_ns, *lost)
            .and_then(|()| talk.closed(&mut to, *from, *time_ns, *how == Close::Reset)),
        What::Over => {
            talks.remove(connection);
            Ok(())
        }
    };
}

/// Hands packets on.
struct Packets<'a, 'b, S>(&'a mut Watch<'b, S>);

impl<S: Sink> PacketSink for Packets<'_, '_, S> {
    fn packet(&mut self, time_ns: u64, data: &[u8]) -> io::Result<()> {
        let original_length = u32::try_from(data.len()).unwrap_or(u32::MAX);
        self.0.packet(&Packet { time_ns, link: LinkType::RAW, data, original_length });
        Ok(())
    }

    fn unpacked(&mut self, time_ns: u64, segment: &Segment<'_>) -> bool {
        self.0.unpacked(time_ns, segment)
    }
}

/// Prints findings, if they are wanted.
struct Heed<'a, S>(Option<&'a mut S>);

impl<S: Sink> Sink for Heed<'_, S> {
    fn record(&mut self, record: Record<'_>) {
        if let Some(sink) = &mut self.0 {
            sink.record(record);
        }
    }

    fn at_frame(&mut self, number: u64) {
        if let Some(sink) = &mut self.0 {
            sink.at_frame(number);
        }
    }

    fn wants_messages(&self) -> bool {
        self.0.as_ref().is_some_and(|sink| sink.wants_messages())
    }
}
