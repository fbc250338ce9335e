//! How many connections a server serves at once.

use std::time::{Duration, Instant};

use super::asker::Asker;
use super::capabilities::Route;
use super::fact::NoAnswer;
use super::surveyor::Surveyor;
use super::way::Way;
use crate::link::seconds;

/// How many connections are tried at once, and how many a server that the harness set up is taken
/// to serve: some scenarios need 17.
pub const CAPACITY: usize = 20;
/// How long may be spent on it.
const SPENT: Duration = Duration::from_secs(10);
/// How often a place is asked for again that was just left.
const TRIES: u32 = 5;

/// Counts the connections on which the export can be used at the same time.
pub(super) async fn count(surveyor: &mut Surveyor<'_>, way: &Way<'_>, block: u64) -> usize {
    let began = Instant::now();
    let mut open = Vec::new();
    while open.len() < CAPACITY && began.elapsed() < SPENT {
        // The first may take its time; whoever gets no place is left waiting.
        let limit = if open.is_empty() { surveyor.patience() } else { surveyor.briefly() };
        let Ok(limit) = limit else { break };
        let mut used = use_one(way, block, limit).await;
        for _ in 0..TRIES {
            match used {
                // Who was turned away when nobody else was there is so now, whatever places there are.
                Err(NoAnswer::TurnedAway(_)) if surveyor.was_turned_away() => {}
                _ => break,
            }
            used = use_one(way, block, limit).await;
        }
        match used {
            Ok(asker) => open.push(asker),
            Err(_) => break,
        }
    }
    let served = open.len().max(1);
    for asker in open {
        surveyor.leave(asker).await;
    }
    if served < CAPACITY {
        // Others would find the places taken still.
        for _ in 0..TRIES {
            let Ok(limit) = surveyor.briefly() else { break };
            if let Ok(asker) = use_one(way, block, limit).await {
                surveyor.leave(asker).await;
                break;
            }
        }
    }
    served
}

/// Why nobody else is served while a client has not entered an export yet, if that is so.
pub(super) async fn haggles_alone(
    surveyor: &mut Surveyor<'_>,
    way: &Way<'_>,
    block: u64,
) -> Option<String> {
    if way.route == Route::Oldstyle {
        return None;
    }
    let idle = surveyor.haggle(surveyor.inside).await.ok()?;
    let limit = surveyor.briefly();
    let meanwhile = match limit {
        Ok(limit) => Some(use_one(way, block, limit).await),
        Err(_) => None,
    };
    surveyor.leave(idle).await;
    match meanwhile? {
        Ok(asker) => {
            surveyor.leave(asker).await;
            None
        }
        // Only if it comes to an end with the other is it due to that.
        Err(NoAnswer::Silent(waited)) => {
            let limit = surveyor.briefly().ok()?;
            let asker = use_one(way, block, limit).await.ok()?;
            surveyor.leave(asker).await;
            let waited = seconds(waited);
            Some(format!(
                "while one client was in the handshake, another one was not served within {waited}"
            ))
        }
        Err(_) => None,
    }
}

/// A connection counts when it is used, not when it is greeted.
async fn use_one(way: &Way<'_>, block: u64, limit: Duration) -> Result<Asker, NoAnswer> {
    let (mut asker, _) = way.enter(limit).await?;
    if block > 0 {
        asker.read(0, block).await?;
    }
    Ok(asker)
}
