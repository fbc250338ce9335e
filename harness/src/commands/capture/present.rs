//! In a build with libpcap.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::time::Duration;

use dissector::capture::{CaptureWriter, LinkType, Packet};
use dissector::dissect::{Dissector, Sink as _};
use dissector::render::Plural;
use dissector::tls::KeyLog;
use protocol::values::DEFAULT_PORT;

use crate::commands::decode::name;
use crate::commands::view::{Shown, View};
use crate::exit;
use crate::live::{Limits, Listened, Live};

/// Command line of `nbdcheck capture`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
It ends at ^C, and then tells what the sessions that are still open come to. `listening` on \
standard error means that nothing is missed from there on.

Examples:
  nbdcheck capture -i lo
  nbdcheck capture -i eth0 --port 10810 -w traffic.pcapng --format summary
  nbdcheck capture -i any --filter 'error != ok or latency > 100ms'")]
pub struct Args {
    /// The interface, `any` for all of them
    #[arg(long, short, value_name = "IFACE")]
    interface: String,

    /// Also write the packets to a file, in pcapng
    #[arg(long, short, value_name = "FILE")]
    write: Option<PathBuf>,

    /// End after this many packets
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// End after this many seconds
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
#[must_use]
pub fn run(args: Args) -> u8 {
    let live = match Live::open(&args.interface, &args.view.port) {
        Ok(live) => live,
        Err(error) => {
            eprintln!("error: {error}");
            return exit::NO_VERDICT;
        }
    };
    let mut file = match args.write.as_deref().map(|path| Copy::create(path, live.link())) {
        None => None,
        Some(Ok(file)) => Some(file),
        Some(Err(status)) => return status,
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: can't wait for packets: {error}");
            return exit::NO_VERDICT;
        }
    };
    let link = live.link();
    let limits = Limits { count: args.count, duration: args.duration };
    let mut dissector = Dissector::new(args.view.options(KeyLog::default()));
    let listened = args.view.show(true, |sink: &mut Shown<'_>| {
        let listening = || {
            let ports = [&[DEFAULT_PORT], &*args.view.port].concat();
            let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
            let interface = args.interface.escape_default();
            eprintln!("listening on {interface} ({link}), TCP port {}", ports.join(", "));
        };
        let take = |packet: &Packet<'_>| {
            if let Some(file) = &mut file {
                file.packet(packet);
            }
            dissector.packet(packet, sink);
            !sink.is_done()
        };
        let listened = runtime.block_on(live.run(limits, listening, take));
        dissector.finish(sink);
        listened
    });
    let written = file.map_or(Ok(()), Copy::finish);
    let status = match listened {
        Ok(Ok(listened)) => ended(&args, &listened, dissector.sessions()),
        Ok(Err(error)) => {
            eprintln!("error: can't capture on {} any longer: {error}", args.interface);
            exit::NO_VERDICT
        }
        Err(status) => status,
    };
    written.map_or_else(|failed| failed, |()| status)
}

/// Says what came of it; gives the exit status.
fn ended(args: &Args, listened: &Listened, sessions: u64) -> u8 {
    let Listened { packets, dropped, .. } = *listened;
    let found = Plural(sessions, "session");
    eprintln!("{}, {found}", Plural(packets, "packet"));
    if let Some(dropped @ 1..) = dropped {
        eprintln!("warning: {} came too fast and are missing", Plural(dropped, "packet"));
    }
    match args.view.session {
        _ if sessions == 0 => {
            eprintln!("error: no NBD traffic seen");
            eprintln!("hint: `--port N` listens to other ports than {DEFAULT_PORT}");
            exit::NO_VERDICT
        }
        Some(wanted) if wanted > sessions => {
            eprintln!("error: no session {wanted}: there was {found}");
            exit::USAGE
        }
        _ => exit::OK,
    }
}

/// The file that packets are written to. The first error ends writing, and is told at the end.
struct Copy {
    name: String,
    writer: CaptureWriter<BufWriter<File>>,
    error: Option<io::Error>,
}

impl Copy {
    /// Complains and gives the exit status if that fails.
    fn create(path: &Path, link: LinkType) -> Result<Self, u8> {
        if path == Path::new("-") {
            eprintln!("error: standard output is for what is decoded, not for packets");
            eprintln!("hint: `-w FILE`");
            return Err(exit::USAGE);
        }
        let name = name(path);
        let writer = File::create(path).and_then(|file| {
            CaptureWriter::for_link(BufWriter::with_capacity(1 << 20, file), link)
        });
        match writer {
            Ok(writer) => Ok(Self { name, writer, error: None }),
            Err(error) => {
                eprintln!("error: can't write {name}: {error}");
                Err(exit::NO_VERDICT)
            }
        }
    }

    fn packet(&mut self, packet: &Packet<'_>) {
        if self.error.is_none()
            && let Err(error) = self.writer.captured(packet)
        {
            eprintln!("error: can't write {}: {error}; decoding goes on", self.name);
            self.error = Some(error);
        }
    }

    fn finish(mut self) -> Result<(), u8> {
        if self.error.is_some() {
            return Err(exit::NO_VERDICT);
        }
        self.writer.flush().map_err(|error| {
            eprintln!("error: can't write {}: {error}", self.name);
            exit::NO_VERDICT
        })
    }
}
