//! One client against one server: does data come through?

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use protocol::message::Side;
use protocol::payload::place;
use protocol::uri::Uri;
use reference_server::client::{Client, ClientError, Options};
use tempfile::TempDir;

use super::relay::{Agreed, Relay};
use crate::matrix::grid::{Cell, Mark};
use crate::peer::{Address, ClientRun, KNOWN, Parameters};
use crate::run::clients::ClientTarget;
use crate::run::selfclient::FAREWELL;
use crate::run::target::{Access, Instance, Target, Unavailable};
use crate::script::ast::TlsKind;

/// The size of the export, in bytes.
const SIZE: u64 = 16 << 20;
/// What the client writes: seed, offset and length.
const WRITTEN: (u16, u64, u64) = (3, 2 << 20, 256 << 10);

/// How many steps a pair takes at most: starting, reading, writing, reading back; starting and
/// reading inside TLS.
const STEPS: u32 = 6;

/// What a client can do for it.
struct Ways {
    read: Option<&'static str>,
    write: Option<&'static str>,
}

/// How a pair got on where data came through.
#[derive(Debug, Default)]
struct Done {
    /// What it does not show, because the client can't do it.
    remark: &'static str,
    /// What went wrong besides.
    besides: BTreeSet<String>,
}

/// Tries a pair; whatever happens, it comes to an end.
pub(super) async fn cell(client: &ClientTarget, server: &Target, limit: Duration) -> Cell {
    if let Target::External { .. } = server {
        let reason = "nbdcheck did not start it, so it does not write to it";
        return Cell::new(Mark::NotTested).with_note(reason);
    }
    let all = limit.saturating_mul(STEPS);
    match tokio::time::timeout(all, tried(client, server, limit)).await {
        Ok(cell) => cell,
        Err(_) => Cell::new(Mark::Fail).with_note(format!("it takes longer than {all:?}")),
    }
}

async fn tried(client: &ClientTarget, server: &Target, limit: Duration) -> Cell {
    let instance = match server.start("default", Access::default()).await {
        Ok(instance) => instance,
        Err(Unavailable::NotPossible(reason)) => {
            return Cell::new(Mark::NotTested).with_note(reason);
        }
        Err(Unavailable::Failed(reason) | Unavailable::Stopped(reason)) => {
            return Cell::new(Mark::Error).with_note(reason);
        }
    };
    let cell = match Relay::start(instance.address.clone(), limit).await {
        Ok(relay) => {
            let done = exercise(client, &instance, &relay, limit).await;
            judge(client, done, &relay.agreed())
        }
        Err(error) => Cell::new(Mark::Error).with_note(error.to_string()),
    };
    instance.stop().await;
    if !matches!(cell.mark, Some(Mark::Pass | Mark::Warn)) {
        return cell;
    }
    match encrypted(client, server, limit).await {
        None => cell,
        Some(Ok(_)) => {
            let text = format!("{} tls", cell.text);
            cell.with_text(text)
        }
        Some(Err(reason)) => Cell::new(Mark::Fail).with_note(format!("inside TLS: {reason}")),
    }
}

/// Whether data comes through TLS as well; `None` where one of the two can't be told to use it.
async fn encrypted(
    client: &ClientTarget,
    server: &Target,
    limit: Duration,
) -> Option<Result<(), String>> {
    let access = Access { tls: Some(TlsKind::X509), ..Access::default() };
    let action = first(client, &["read", "copy-out", "info"])?;
    client.supports_tls(action, TlsKind::X509).ok()?;
    server.supports("default", access).ok()?;
    let instance = match server.start("default", access).await {
        Ok(instance) => instance,
        Err(Unavailable::NotPossible(_)) => return None,
        Err(Unavailable::Failed(reason) | Unavailable::Stopped(reason)) => {
            return Some(Err(reason));
        }
    };
    let export = instance.export.clone().unwrap_or_default();
    let mut with = Parameters::new(instance.address.clone(), &export);
    with.limit = limit;
    with.tls = instance.security.clone();
    let done = match tempfile::tempdir() {
        Ok(_) if action == "info" => succeed(client, action, with).await.map(drop),
        Ok(folder) => reads(client, action, &with, &folder).await.map(drop),
        Err(error) => Err(error.to_string()),
    };
    instance.stop().await;
    Some(done)
}

/// The first of some actions that a client can do.
fn first(client: &ClientTarget, ways: &[&'static str]) -> Option<&'static str> {
    ways.iter().find(|action| client.supports(action).is_ok()).copied()
}

/// What was seen, as a cell.
fn judge(client: &ClientTarget, done: Result<Done, String>, agreed: &Agreed) -> Cell {
    let mut text = agreed.summary();
    if agreed.entered > 2 && matches!(client, ClientTarget::Peer(_)) {
        // Reading is one run of the client and writing another.
        text.push_str(" *");
    }
    let by = |side: Side| if side == Side::Client { "client" } else { "server" };
    let broken: Vec<String> =
        agreed.violations.iter().map(|(side, text)| format!("{}: {text}", by(*side))).collect();
    let done = match done {
        Err(reason) => return Cell::new(Mark::Fail).with_note(reason),
        Ok(done) => done,
    };
    let wrong: Vec<String> = broken.into_iter().chain(done.besides).collect();
    let cell = match wrong.as_slice() {
        [] => Cell::new(Mark::Pass).with_text(text),
        _ => Cell::new(Mark::Warn).with_text(format!("{text} !")),
    };
    let remark = (!done.remark.is_empty()).then(|| done.remark.to_owned());
    let notes: Vec<String> = remark.into_iter().chain(wrong).collect();
    if notes.is_empty() { cell } else { cell.with_note(notes.join("\n")) }
}

async fn exercise(
    client: &ClientTarget,
    instance: &Instance,
    relay: &Relay,
    limit: Duration,
) -> Result<Done, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let ways = Ways {
        read: first(client, &["read", "copy-out"]),
        write: first(client, &["write", "copy-in"]),
    };
    let export = instance.export.clone().unwrap_or_default();
    let mut with = Parameters::new(relay.address(), &export);
    with.limit = limit;
    let mut done = Done::default();
    if let Some(action) = ways.read {
        done.besides.extend(reads(client, action, &with, &folder).await?);
    }
    if let Some(action) = ways.write {
        done.besides.extend(writes(client, action, &with, &folder, &instance.address).await?);
    }
    done.remark = match (ways.read, ways.write) {
        (Some(_), Some(_)) => "",
        (Some(_), None) => "it reads; it does not write data",
        (None, Some(_)) => "it writes; it does not read data",
        (None, None) => {
            done.besides.extend(succeed(client, "info", with).await?);
            "it connects; it neither reads nor writes data"
        }
    };
    Ok(done)
}

/// Runs an action that must succeed; what the client has against the server all the same.
async fn succeed(
    client: &ClientTarget,
    action: &str,
    with: Parameters,
) -> Result<Option<String>, String> {
    let run: ClientRun =
        client.clone().act(action.to_owned(), with).await.map_err(|error| error.to_string())?;
    if run.is_success() {
        let ours = matches!(client, ClientTarget::Reference | ClientTarget::Profile(_));
        return Ok((ours && !run.stderr.is_empty()).then(|| stays_open(&run.stderr)));
    }
    let said = run.stderr.lines().last().unwrap_or("it says nothing").to_owned();
    Err(match run.ended {
        Some(_) => format!("{action} fails: {said}"),
        None => format!("{action} takes longer than {:?}: {said}", run.took),
    })
}

/// That a server does not hang up at the end loses nobody's data.
fn stays_open(remark: &str) -> String {
    format!("server: disc-server-closes: {remark}")
}

/// What the client reads of the known content is what is there.
async fn reads(
    client: &ClientTarget,
    action: &'static str,
    with: &Parameters,
    folder: &TempDir,
) -> Result<Option<String>, String> {
    let (_, offset, length) = KNOWN[1];
    let path = folder.path().join("read");
    let with = Parameters { offset, length, file: Some(path.clone()), ..with.clone() };
    let besides = succeed(client, action, with).await?;
    let got = read_file(path).await?;
    let range = if action == "read" { offset..offset + length } else { 0..SIZE };
    same(&content(range, false), &got, "the client reads")?;
    Ok(besides)
}

/// What the client writes is there afterwards, and nothing else is changed, as another client sees
/// it that goes straight to the server.
async fn writes(
    client: &ClientTarget,
    action: &'static str,
    with: &Parameters,
    folder: &TempDir,
    server: &Address,
) -> Result<Option<String>, String> {
    let (_, offset, length) = WRITTEN;
    let path = folder.path().join("write");
    let range = if action == "write" { offset..offset + length } else { 0..SIZE };
    write_file(&path, content(range, true)).await?;
    let export = with.export.clone();
    let with = Parameters { offset, length, file: Some(path), ..with.clone() };
    let limit = with.limit;
    let besides = succeed(client, action, with).await?;
    let uri = match server {
        Address::Tcp { host, port } => Uri::tcp(host.clone(), *port),
        Address::Unix(path) => Uri::unix(path),
    };
    let farewell = limit.min(FAREWELL);
    let options = Options { timeout: limit, farewell, ..Options::default() };
    let shown = |error: ClientError| format!("what was written can't be read back: {error}");
    let reader = Client::connect(&uri.with_export(export), &options).await.map_err(shown)?;
    let got = reader.read(0, SIZE as usize).await.map_err(shown)?;
    let besides = match reader.disconnect().await {
        Ok(()) => besides,
        Err(remark @ ClientError::StaysOpen) => Some(stays_open(&remark.to_string())),
        Err(error) => return Err(shown(error)),
    };
    same(&content(0..SIZE, true), &got, "the server holds")?;
    Ok(besides)
}

/// The content of a range of the export, before the client writes or after.
fn content(range: std::ops::Range<u64>, written: bool) -> Vec<u8> {
    let mut bytes = vec![0; SIZE as usize];
    let more = written.then_some(WRITTEN);
    for (seed, offset, length) in KNOWN.into_iter().chain(more) {
        place(seed, offset, &mut bytes[offset as usize..(offset + length) as usize]);
    }
    bytes.drain(range.end as usize..);
    bytes.drain(..range.start as usize);
    bytes
}

fn same(wanted: &[u8], got: &[u8], who: &str) -> Result<(), String> {
    if wanted == got {
        return Ok(());
    }
    let at =
        wanted.iter().zip(got).position(|(a, b)| a != b).unwrap_or(wanted.len().min(got.len()));
    Err(format!(
        "{who} other bytes: {} instead of {}, different from byte {at} on",
        got.len(),
        wanted.len()
    ))
}

async fn read_file(path: PathBuf) -> Result<Vec<u8>, String> {
    tokio::fs::read(&path).await.map_err(|error| format!("the client left no file: {error}"))
}

async fn write_file(path: &Path, bytes: Vec<u8>) -> Result<(), String> {
    tokio::fs::write(path, bytes).await.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_told_with_its_place() {
        assert_eq!(same(b"abc", b"abc", "it holds"), Ok(()));
        insta::assert_snapshot!(
            same(b"abc", b"abd", "the server holds").unwrap_err(),
            @"the server holds other bytes: 3 instead of 3, different from byte 2 on"
        );
        assert!(same(b"abc", b"ab", "it holds").is_err());
    }

    #[test]
    fn what_is_written_is_not_there_before() {
        let (_, offset, length) = WRITTEN;
        let range = offset..offset + length;
        assert!(content(range.clone(), false).iter().all(|byte| *byte == 0));
        assert!(content(range, true).iter().any(|byte| *byte != 0));
    }
}
