//! What commands that play scenarios share: the runtime, its limits, and the signals that end it.

use std::time::Duration;

use super::error::CommandError;
use crate::roomy;

/// How long one wait may take, in seconds, if nothing else is said.
pub(super) const DEFAULT_TIMEOUT: f64 = 5.0;

pub(super) fn default_jobs() -> u16 {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    u16::try_from(cores * 2).unwrap_or(16).clamp(2, 16)
}

pub(super) fn runtime() -> Result<tokio::runtime::Runtime, CommandError> {
    roomy::runtime().map_err(|error| CommandError::no_verdict(format_args!("can't start: {error}")))
}

/// The wait that `--timeout` allows.
pub(super) fn timeout(seconds: f64) -> Result<Duration, CommandError> {
    within("--timeout", seconds, 3600.0)
}

/// The time that `--time` or `--max-time` allows: at most a week.
pub(super) fn long(option: &str, seconds: f64) -> Result<Duration, CommandError> {
    within(option, seconds, 604_800.0)
}

fn within(option: &str, seconds: f64, most: f64) -> Result<Duration, CommandError> {
    if seconds > 0.0 && seconds <= most {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        let text = format_args!("{option} takes more than 0 and at most {most} seconds");
        Err(CommandError::usage(text))
    }
}

/// Returns when the user, or the system, wants the run to end: `SIGINT`, `SIGTERM`, `SIGHUP`,
/// `SIGQUIT`.
pub(super) async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    let kinds = [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
        SignalKind::quit(),
    ];
    // One that can't be listened to ends the program as it always did.
    let mut signals: Vec<_> = kinds.into_iter().filter_map(|kind| signal(kind).ok()).collect();
    std::future::poll_fn(|context| {
        let came = signals.iter_mut().any(|signal| signal.poll_recv(context).is_ready());
        if came { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

/// A seed that nobody chose.
pub(super) fn any_seed() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    // Short enough to be typed again.
    RandomState::new().hash_one(std::process::id()) % 1_000_000
}
