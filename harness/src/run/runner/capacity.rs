//! How many connections a server serves at once.

use std::time::Duration;

use protocol::message::Side;

use crate::dial::connect;
use crate::link::{Incoming, Link};
use crate::peer::Address;

/// How many connections a server that the harness started is taken to serve at once, and up to how
/// many an external one is tried.
pub(super) const CAPACITY: usize = 12;

/// How many clients a server greets while the others stay connected.
pub(super) async fn capacity(address: &Address, limit: Duration) -> usize {
    let mut open = Vec::new();
    while open.len() < CAPACITY {
        let Ok(stream) = connect(address, limit).await else { break };
        let mut link = Link::new("", Side::Client, stream, None);
        // The first may take its time; whoever gets no place gets no greeting at all.
        let patience = if open.is_empty() { limit } else { Duration::from_secs(1) };
        match link.receive(patience).await {
            Incoming::Message(_) => open.push(link),
            Incoming::End(_) => break,
        }
    }
    // Not to wait for the places to be free would leave the next connection without one.
    for link in &mut open {
        link.close(false, limit).await;
    }
    open.len().max(1)
}
