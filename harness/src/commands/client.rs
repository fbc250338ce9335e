//! `nbdcheck client`: one session with a server by the reference client, as the specification wants it
//! or with one fault.

use std::path::PathBuf;
use std::time::Duration;

use protocol::units::size;
use protocol::uri::Uri;
use reference_server::client::Options;
use reference_server::{ClientFault, ClientQuirk, Profile};

use super::CommandError;
use super::on_purpose;
use super::runtime::runtime;
use crate::peer::{Address, Ended, Parameters};
use crate::run::selfclient::{self, ACTIONS};
use crate::{exit, output};

/// Command line of `nbdcheck client`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Actions:
  info                   enter the export and leave
  list                   list the exports
  read, write            LENGTH bytes at OFFSET; into FILE or standard output, from FILE
  copy-out, copy-in      the whole export into FILE, FILE to the start of the export
  flush                  NBD_CMD_FLUSH
  trim, zero, zero-fast  LENGTH bytes at OFFSET
  map                    ask for the block status of LENGTH bytes at OFFSET

The exit status is 1 if the action fails.

Examples:
  nbdcheck client info nbd://localhost/disk
  nbdcheck client read nbd://localhost/disk --offset 4096 --length 512 | xxd
  nbdcheck client copy-out nbd://localhost/disk --file disk.img --profile 2.12
  nbdcheck client map nbd://localhost/disk --length 1048576 --fault status-empty
  nbdcheck run --client 'nbdcheck client --quirk dribbles {action} {uri} --offset {offset} \
--length {length} --file {file}'")]
pub struct Args {
    /// What to do
    #[arg(value_name = "ACTION", required_unless_present_any = ["list_faults", "list_quirks"], value_parser = clap::builder::PossibleValuesParser::new(ACTIONS), hide_possible_values = true)]
    action: Option<String>,

    /// The server and the export: `nbd://host:port/name` or `nbd+unix:///name?socket=path`; `nbds`
    /// for TLS
    #[arg(value_name = "URI", required_unless_present_any = ["list_faults", "list_quirks"])]
    uri: Option<Uri>,

    /// Where to begin: bytes, or a size such as `4KiB`
    #[arg(long, value_name = "BYTES", default_value = "0", value_parser = size)]
    offset: u64,

    /// How much: bytes, or a size such as `4KiB`
    #[arg(long, value_name = "BYTES", default_value = "512", value_parser = size)]
    length: u64,

    /// The local file to read or write
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// Ask for and do what this qemu release does: `qemu-2.6` or `2.6`, up to `8.2`
    #[arg(long, value_name = "VERSION", value_parser = super::serve::parse_profile)]
    profile: Option<&'static Profile>,

    /// Break one rule on purpose
    #[arg(long, value_name = "NAME", value_parser = parse_fault, conflicts_with = "profile")]
    fault: Option<ClientFault>,

    /// Do something lawful that few clients do. Can be repeated
    #[arg(long = "quirk", value_name = "NAME", value_parser = parse_quirk, conflicts_with_all = ["profile", "fault"])]
    quirks: Vec<ClientQuirk>,

    /// List the quirks and why each one is lawful, then exit
    #[arg(long)]
    list_quirks: bool,

    /// List the faults and the requirement that each one breaks, then exit
    #[arg(long)]
    list_faults: bool,

    /// Longest time to wait for one answer, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=3600))]
    timeout: u16,
}

pub(super) fn parse_fault(text: &str) -> Result<ClientFault, String> {
    let names = ClientFault::ALL.iter().map(|fault| fault.name());
    on_purpose::parse(text, names, "nbdcheck client --list-faults")
}

fn parse_quirk(text: &str) -> Result<ClientQuirk, String> {
    let names = ClientQuirk::ALL.iter().map(|quirk| quirk.name());
    on_purpose::parse(text, names, "nbdcheck client --list-quirks")
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
    let (Some(action), Some(uri)) = (&args.action, &args.uri) else {
        return Err(CommandError::usage("an action and a URI are needed"));
    };
    let options = match (args.profile, args.fault) {
        (Some(profile), _) => Options::of_release(profile),
        (None, Some(fault)) => Options::of_habits(fault.habits()),
        (None, None) => Options::of_habits(ClientQuirk::habits(args.quirks.iter().copied())),
    };
    let who = args.profile.map_or_else(|| "the client".to_owned(), ToString::to_string);
    selfclient::supports(&options.habits, &who, action).map_err(CommandError::usage)?;
    let mut with = Parameters::new(Address::from(uri.endpoint.clone()), &uri.export);
    with.offset = args.offset;
    with.length = args.length;
    with.file = args.file;
    with.limit = Duration::from_secs(args.timeout.into());
    let done = runtime()?.block_on(selfclient::act(options, action, uri, &with));
    if !done.stderr.is_empty() {
        crate::say!("{}", done.stderr);
    }
    output::print_bytes(&done.stdout)
        .map_err(|error| CommandError::cannot_write("to standard output", &error))?;
    Ok(match done.ended {
        Some(Ended::Status(0)) => exit::OK,
        _ => exit::FAILED,
    })
}

fn list_faults() -> u8 {
    on_purpose::list(ClientFault::ALL, |fault| {
        let breaks = format!("breaks {}", fault.expected().join(", "));
        [format!("the client {}", fault.summary()), breaks]
    })
}

fn list_quirks() -> u8 {
    on_purpose::list(ClientQuirk::ALL, |quirk| {
        [format!("the client {}", quirk.summary()), format!("lawful: {}", quirk.lawful())]
    })
}
