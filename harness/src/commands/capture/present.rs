//! In a build with libpcap.

use std::path::PathBuf;
use std::time::Duration;

use dissector::capture::{LinkType, Packet};
use dissector::render::Plural;
use protocol::values::DEFAULT_PORT;

use crate::commands::CommandError;
use crate::commands::view::{Shown, View};
use crate::commands::watch::{Copy, Logs, Watch, Watched};
use crate::exit;
use crate::live::{Limits, Listened, Listener, Live};

/// Command line of `nbdcheck capture`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
It runs until ^C, and then summarises the sessions that are still open. Every packet after the \
line `listening` on standard error is captured.

Examples:
  nbdcheck capture -i lo
  nbdcheck capture -i eth0 --port 10810 -w traffic.pcapng --format summary
  nbdcheck capture -i any --filter 'error != ok or latency > 100ms'
  nbdcheck capture -i lo --keylog keys.log  # then SSLKEYLOGFILE=keys.log nbdcopy nbds://...")]
pub struct Args {
    /// Network interface to listen on; `any` for all of them
    #[arg(long, short, value_name = "IFACE")]
    interface: String,

    /// Also write the packets, and the TLS secrets that were used, to this pcapng file
    #[arg(long, short, value_name = "FILE")]
    write: Option<PathBuf>,

    /// TLS key log that programs write meanwhile (if SSLKEYLOGFILE is set); the file need not exist
    /// yet. A session waits up to one second for its secrets. Can be repeated
    #[arg(long, value_name = "FILE")]
    keylog: Vec<PathBuf>,

    /// Stop after N packets
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// Stop after N seconds
    #[arg(long, value_name = "S", value_parser = seconds)]
    duration: Option<Duration>,

    #[command(flatten)]
    view: View,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// Runs the command; gives the exit status: that of `decode` for the same traffic.
///
/// # Errors
/// What it could not do.
pub fn run(args: Args) -> Result<u8, CommandError> {
    let live = Live::open(&args.interface, &args.view.port).map_err(CommandError::no_verdict)?;
    let mut file = args.write.as_deref().map(|path| Copy::create(path, live.link())).transpose()?;
    let logs = Logs::open(&args.keylog)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
            CommandError::no_verdict(format_args!("can't wait for packets: {error}"))
        })?;
    let link = live.link();
    let limits = Limits { count: args.count, duration: args.duration };
    let options = args.view.options(logs.keys());
    let listened = args.view.show(true, |sink: &mut Shown<'_>| {
        let watch = Watch::new(options, logs, sink, file.as_mut());
        let mut listening = Listening { args: &args, link, watch };
        let listened = runtime.block_on(live.run(limits, &mut listening));
        let watched = listening.watch.finish();
        listened.map(|listened| (listened, watched))
    });
    let written = file.map_or(Ok(()), Copy::finish);
    let ended = match listened {
        Ok(Some(Ok((listened, watched)))) => ended(&args, &listened, &watched),
        Ok(Some(Err(error))) => Err(CommandError::no_verdict(format_args!(
            "can't capture on {} any longer: {error}",
            args.interface
        ))),
        Ok(None) => Ok(exit::OK),
        Err(error) => Err(error),
    };
    let Err(unwritten) = written else { return ended };
    if let Err(error) = ended {
        error.tell();
    }
    Err(unwritten)
}

/// What is done with what is heard.
struct Listening<'a, 'b> {
    args: &'a Args,
    link: LinkType,
    watch: Watch<'a, Shown<'b>>,
}

impl Listener for Listening<'_, '_> {
    fn ready(&mut self) {
        let ports = [&[DEFAULT_PORT], &*self.args.view.port].concat();
        let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
        let interface = self.args.interface.escape_default();
        crate::say!("listening on {interface} ({}), TCP port {}", self.link, ports.join(", "));
    }

    fn packet(&mut self, packet: &Packet<'_>) -> bool {
        self.watch.packet(packet);
        !self.watch.is_done()
    }

    fn pause(&mut self) {
        self.watch.pause();
    }
}

/// Says what came of it; gives the exit status.
fn ended(args: &Args, listened: &Listened, watched: &Watched) -> Result<u8, CommandError> {
    let sessions = watched.sessions;
    let Listened { packets, dropped, .. } = *listened;
    let found = Plural(sessions, "session");
    crate::say!("{}, {found}", Plural(packets, "packet"));
    if let Some(dropped @ 1..) = dropped {
        crate::say!("warning: {} came too fast and are missing", Plural(dropped, "packet"));
    }
    watched.warn(&args.keylog);
    match args.view.session {
        _ if sessions == 0 => {
            let hint = format_args!("`--port N` listens to other ports than {DEFAULT_PORT}");
            Err(CommandError::no_verdict("no NBD traffic seen").hint(hint))
        }
        Some(wanted) if wanted > sessions => {
            Err(CommandError::usage(format_args!("no session {wanted}: there was {found}")))
        }
        _ => Ok(exit::OK),
    }
}
