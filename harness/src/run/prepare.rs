//! Gives an external target, which the run may write to, the content that scenarios know.

use std::time::Duration;

use protocol::payload::place;
use protocol::uri::Uri;
use reference_server::client::{Client, ClientError, Options};

use crate::peer::{Address, KNOWN};
use crate::tls::Security;

/// How far the content is made, in bytes; beyond it scenarios know nothing.
pub const PREPARED: u64 = 16 << 20;
/// How much is written at a time, in bytes.
const PIECE: u64 = 1 << 20;

/// Writes zeroes, and unless it is to be blank the known stretches, over the first bytes of the
/// export.
///
/// # Errors
/// Why the export can't be written.
pub async fn prepare(
    address: &Address,
    tls: Option<&Security>,
    export: &str,
    blank: bool,
    limit: Duration,
) -> Result<(), String> {
    let uri = match address {
        Address::Tcp { host, port } => Uri::tcp(host.clone(), *port),
        Address::Unix(path) => Uri::unix(path),
    };
    let tls = tls.map(Security::of_client);
    let options = Options { timeout: limit, tls, ..Options::default() };
    let shown = |error: ClientError| format!("the export can't be given known content: {error}");
    let client = Client::connect(&uri.with_export(export), &options).await.map_err(shown)?;
    let end = client.size().min(PREPARED);
    let mut at = 0;
    while at < end {
        let mut piece = vec![0; PIECE.min(end - at) as usize];
        if !blank {
            known(at, &mut piece);
        }
        client.write(at, &piece).await.map_err(shown)?;
        at += piece.len() as u64;
    }
    client.disconnect().await.map_err(shown)
}

/// The known content that belongs to `at` and after.
fn known(at: u64, piece: &mut [u8]) {
    let end = at + piece.len() as u64;
    for (seed, offset, length) in KNOWN {
        let (from, to) = (at.max(offset), end.min(offset + length));
        if from < to {
            place(seed, from, &mut piece[(from - at) as usize..(to - at) as usize]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_hold_the_part_of_the_content_that_is_theirs() {
        let mut piece = vec![0; PIECE as usize];
        known(8 << 20, &mut piece);
        let mut wanted = vec![0; 64 << 10];
        place(2, 8 << 20, &mut wanted);
        assert!(piece[..64 << 10] == wanted && piece[64 << 10..].iter().all(|b| *b == 0));
    }
}
