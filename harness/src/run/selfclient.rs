//! The reference client as a client under test.

use std::time::{Duration, Instant};

use protocol::uri::Uri;
use protocol::values::TransmissionFlags;
use reference_server::Habits;
use reference_server::client::{Client, ClientError, Haggling, Options};

use crate::peer::{ClientRun, Ended, Parameters};
use crate::tls::Security;

/// What it can be told to do.
pub const ACTIONS: [&str; 11] = [
    "info",
    "list",
    "read",
    "write",
    "copy-out",
    "copy-in",
    "flush",
    "trim",
    "zero",
    "zero-fast",
    "map",
];
/// The context that `map` asks about.
const ALLOCATION: &str = "base:allocation";
/// How long a server may take to hang up at `NBD_CMD_DISC` before the client does.
pub const FAREWELL: Duration = Duration::from_secs(2);

/// Whether it can do an action with these habits; `who` is for the reason.
///
/// # Errors
/// The reason why not.
pub fn supports(habits: &Habits, who: &str, action: &str) -> Result<(), String> {
    if !ACTIONS.contains(&action) {
        return Err(format!("the reference client has no action `{action}`"));
    }
    if action == "zero-fast" && !habits.fast_zero {
        return Err(format!("{who} has no action `{action}`"));
    }
    Ok(())
}

/// Does an action; the exit status is 0 if all went well. That a server does not hang up at the end
/// is no failure, and stands in what the client says on standard error.
pub async fn act(mut options: Options, action: &str, uri: &Uri, with: &Parameters) -> ClientRun {
    let began = Instant::now();
    options.timeout = with.limit;
    options.farewell = with.limit.min(FAREWELL);
    options.tls = with.tls.as_ref().map(Security::of_client);
    if action == "map" && options.contexts.is_empty() && options.profile.is_none() {
        options.contexts = vec![ALLOCATION.to_owned()];
    }
    let mut stdout = Vec::new();
    let result = perform(action, uri, &options, with, &mut stdout).await;
    let failed = result.is_err() && !options.habits.claims_success();
    let (Ok(stderr) | Err(stderr)) = result;
    ClientRun {
        command: format!("reference client: {action} {uri}"),
        ended: Some(Ended::Status(i32::from(failed))),
        stdout,
        stderr,
        took: began.elapsed(),
    }
}

/// Does it and leaves; what there is to remark, or why it failed.
async fn perform(
    action: &str,
    uri: &Uri,
    options: &Options,
    with: &Parameters,
    out: &mut Vec<u8>,
) -> Result<String, String> {
    let shown = |error: ClientError| error.to_string();
    if options.habits.probes() {
        Haggling::probe(uri, options).await.map_err(shown)?;
    }
    if action == "list" || options.habits.looks_first() {
        let mut haggling = Haggling::connect(uri, options).await.map_err(shown)?;
        // Leaving is polite, whatever came of the list.
        let listed = haggling.list().await.map_err(shown);
        for export in listed.iter().flatten().filter(|_| action == "list") {
            let printable = |text: &str| text.escape_debug().to_string();
            let line = match export.description.as_str() {
                "" => printable(&export.name),
                text => format!("{}: {}", printable(&export.name), printable(text)),
            };
            out.extend(line.bytes().chain([b'\n']));
        }
        let listed = listed.map(drop);
        let left = haggling.abort().await.map_err(shown);
        if action == "list" {
            return listed.and(left).map(|()| String::new());
        }
    }
    let client = Client::connect(uri, options).await.map_err(shown)?;
    let mut all = vec![client];
    let several = all[0].details().flags.has(TransmissionFlags::CAN_MULTI_CONN);
    if action.starts_with("copy-") && several {
        while all.len() < options.habits.connections() {
            all.push(Client::connect(uri, options).await.map_err(shown)?);
        }
    }
    let done = transmit(action, &all, with, out).await;
    let mut remark = String::new();
    for client in all {
        match client.disconnect().await {
            Ok(()) => {}
            Err(error @ ClientError::StaysOpen) => remark = error.to_string(),
            // What went wrong first says more.
            Err(error) => return done.and(Err(shown(error))),
        }
    }
    done.map(|()| remark)
}

/// The pieces in which a file is copied: offset and length, in bytes.
fn pieces(size: u64, piece: u64) -> impl Iterator<Item = (u64, u64)> {
    (0..size.div_ceil(piece)).map(move |index| (index * piece, piece.min(size - index * piece)))
}

async fn transmit(
    action: &str,
    all: &[Client],
    with: &Parameters,
    out: &mut Vec<u8>,
) -> Result<(), String> {
    let client = &all[0];
    let shown = |error: ClientError| error.to_string();
    let length = usize::try_from(with.length).map_err(|error| error.to_string())?;
    match action {
        "info" => {
            out.extend(format!("{} bytes, {}\n", client.size(), client.details().flags).bytes());
            Ok(())
        }
        "read" => {
            let bytes = client.read(with.offset, length).await.map_err(shown)?;
            save(with, bytes, out).await
        }
        "copy-out" => {
            let mut bytes = Vec::new();
            for (turn, (at, count)) in pieces(client.size(), client.habits().piece()).enumerate() {
                let client = &all[turn % all.len()];
                bytes.extend(client.read(at, count as usize).await.map_err(shown)?);
            }
            save(with, bytes, out).await
        }
        "copy-in" => {
            let path = with.file.as_ref().ok_or("no file to copy from")?;
            let bytes = tokio::fs::read(path).await.map_err(|error| error.to_string())?;
            if bytes.len() as u64 > client.size() {
                return Err("the file is larger than the export".to_owned());
            }
            let pieces = pieces(bytes.len() as u64, client.habits().piece());
            for (turn, (at, count)) in pieces.enumerate() {
                let part = &bytes[at as usize..(at + count) as usize];
                all[turn % all.len()].write(at, part).await.map_err(shown)?;
            }
            Ok(())
        }
        "write" => {
            let path = with.file.as_ref().ok_or("no file to write from")?;
            let mut bytes = tokio::fs::read(path).await.map_err(|error| error.to_string())?;
            bytes.truncate(length);
            client.write(with.offset, &bytes).await.map_err(shown)
        }
        "flush" => client.flush().await.map_err(shown),
        "trim" => client.trim(with.offset, with.length).await.map_err(shown),
        "map" => {
            let map = client.map(ALLOCATION, with.offset, with.length).await.map_err(shown)?;
            let mut at = with.offset;
            for extent in map {
                out.extend(format!("{at} {} {}\n", extent.length, extent.status).bytes());
                at += extent.length;
            }
            Ok(())
        }
        "zero" => client.zero(with.offset, with.length, false).await.map_err(shown),
        "zero-fast" => client.zero_fast(with.offset, with.length).await.map_err(shown),
        other => Err(format!("no action `{other}`")),
    }
}

async fn save(with: &Parameters, bytes: Vec<u8>, out: &mut Vec<u8>) -> Result<(), String> {
    match &with.file {
        Some(path) => tokio::fs::write(path, bytes).await.map_err(|error| error.to_string())?,
        None => *out = bytes,
    }
    Ok(())
}
