//! The reference client as a client under test.

use std::time::{Duration, Instant};

use protocol::uri::Uri;
use reference_server::Profile;
use reference_server::client::{Client, ClientError, Haggling, Options};

use crate::peer::{ClientRun, Ended, Parameters};
use crate::tls::Security;

/// What it can be told to do.
const ACTIONS: [&str; 10] =
    ["info", "list", "read", "write", "copy-out", "flush", "trim", "zero", "zero-fast", "map"];
/// The context that `map` asks about.
const ALLOCATION: &str = "base:allocation";
/// How much `copy-out` reads at a time, in bytes.
const PIECE: u64 = 1 << 20;
/// How long a server may take to hang up at `NBD_CMD_DISC` before the client does.
pub const FAREWELL: Duration = Duration::from_secs(2);

/// Whether it can do an action.
///
/// # Errors
/// The reason why not.
pub fn supports(profile: Option<&Profile>, action: &str) -> Result<(), String> {
    if !ACTIONS.contains(&action) {
        return Err(format!("the reference client has no action `{action}`"));
    }
    match profile {
        Some(profile) if action == "zero-fast" && !profile.habits().fast_zero => {
            Err(format!("qemu {} has no action `{action}`", profile.version()))
        }
        _ => Ok(()),
    }
}

/// Does an action; the exit status is 0 if all went well. That a server does not hang up at the end
/// is no failure, and stands in what the client says on standard error.
pub async fn act(profile: Option<&'static Profile>, action: &str, with: &Parameters) -> ClientRun {
    let began = Instant::now();
    let uri = with.uri();
    let mut options = profile.map_or_else(Options::default, Options::of_release);
    options.timeout = with.limit;
    options.farewell = with.limit.min(FAREWELL);
    options.tls = with.tls.as_ref().map(Security::of_client);
    if profile.is_none() && action == "map" {
        options.contexts = vec![ALLOCATION.to_owned()];
    }
    let result = perform(action, &uri, &options, with).await;
    let ended = Some(Ended::Status(i32::from(result.is_err())));
    let (Ok(stderr) | Err(stderr)) = result;
    ClientRun {
        command: format!("reference client: {action} {uri}"),
        ended,
        stdout: Vec::new(),
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
) -> Result<String, String> {
    let shown = |error: ClientError| error.to_string();
    if action == "list" {
        let mut haggling = Haggling::connect(uri, options).await.map_err(shown)?;
        // Leaving is polite, whatever came of the list.
        let listed = haggling.list().await.map(drop).map_err(shown);
        return listed.and(haggling.abort().await.map_err(shown)).map(|()| String::new());
    }
    let client = Client::connect(uri, options).await.map_err(shown)?;
    let done = transmit(action, &client, with).await;
    let left = match client.disconnect().await {
        Ok(()) => Ok(String::new()),
        Err(remark @ ClientError::StaysOpen) => Ok(remark.to_string()),
        Err(error) => Err(shown(error)),
    };
    done.and(left)
}

async fn transmit(action: &str, client: &Client, with: &Parameters) -> Result<(), String> {
    let shown = |error: ClientError| error.to_string();
    let length = usize::try_from(with.length).map_err(|error| error.to_string())?;
    match action {
        "info" => Ok(()),
        "read" => {
            let bytes = client.read(with.offset, length).await.map_err(shown)?;
            save(with, &bytes).await
        }
        "copy-out" => {
            let mut bytes = Vec::new();
            while (bytes.len() as u64) < client.size() {
                let at = bytes.len() as u64;
                let count = (client.size() - at).min(PIECE) as usize;
                bytes.extend(client.read(at, count).await.map_err(shown)?);
            }
            save(with, &bytes).await
        }
        "write" => {
            let path = with.file.as_ref().ok_or("no file to write from")?;
            let mut bytes = tokio::fs::read(path).await.map_err(|error| error.to_string())?;
            bytes.truncate(length);
            client.write(with.offset, &bytes).await.map_err(shown)
        }
        "flush" => client.flush().await.map_err(shown),
        "trim" => client.trim(with.offset, with.length).await.map_err(shown),
        "map" => client.map(ALLOCATION, with.offset, with.length).await.map(drop).map_err(shown),
        "zero" => client.zero(with.offset, with.length, false).await.map_err(shown),
        "zero-fast" => client.zero_fast(with.offset, with.length).await.map_err(shown),
        other => Err(format!("no action `{other}`")),
    }
}

async fn save(with: &Parameters, bytes: &[u8]) -> Result<(), String> {
    match &with.file {
        Some(path) => tokio::fs::write(path, bytes).await.map_err(|error| error.to_string()),
        None => Ok(()),
    }
}
