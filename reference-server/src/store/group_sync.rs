//! One `fdatasync` for all who wait for one.

use std::io;
use std::sync::{Condvar, Mutex, PoisonError};

/// Lets callers that come while a file is being made stable share the next call.
#[derive(Debug, Default)]
pub(super) struct GroupSync {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// How many calls have begun.
    begun: u64,
    /// The newest that has ended.
    ended: u64,
    /// The newest that failed, with its error number.
    failed: Option<(u64, Option<i32>)>,
}

impl GroupSync {
    /// Returns when a call of `sync` that began after this one has ended.
    ///
    /// # Errors
    /// Such a call failed.
    pub(super) fn sync(&self, sync: impl Fn() -> io::Result<()>) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // A call that runs now may have begun before the writes that this one is about.
        let wanted = state.begun + 1;
        while state.ended < wanted {
            if state.begun > state.ended {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.begun += 1;
            let mine = state.begun;
            drop(state);
            let result = sync();
            state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.ended = mine;
            if let Err(error) = &result {
                state.failed = Some((mine, error.raw_os_error()));
            }
            self.changed.notify_all();
        }
        match state.failed {
            Some((call, number)) if call >= wanted => {
                Err(number
                    .map_or_else(|| io::ErrorKind::Other.into(), io::Error::from_raw_os_error))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc;

    #[test]
    fn those_who_wait_share_a_call() {
        let group = GroupSync::default();
        let calls = AtomicU32::new(0);
        let (begun, has_begun) = mpsc::channel();
        let (release, released) = mpsc::channel();
        std::thread::scope(|threads| {
            let (group, calls) = (&group, &calls);
            threads.spawn(move || {
                let slow = || {
                    calls.fetch_add(1, Ordering::Relaxed);
                    // Both ends live as long as the test.
                    let _ = begun.send(());
                    let _ = released.recv();
                    Ok(())
                };
                // `sync` needs a function that can be called again; this one is called once.
                group.sync(slow).unwrap();
            });
            has_begun.recv().unwrap();
            let waiting: Vec<_> = (0..8)
                .map(|_| {
                    threads.spawn(move || {
                        group.sync(|| {
                            calls.fetch_add(1, Ordering::Relaxed);
                            Ok(())
                        })
                    })
                })
                .collect();
            release.send(()).unwrap();
            for thread in waiting {
                thread.join().unwrap().unwrap();
            }
        });
        // At most each on its own, at least one after the slow one.
        let calls = calls.load(Ordering::Relaxed);
        assert!((2..=9).contains(&calls), "{calls}");
    }

    #[test]
    fn an_error_reaches_its_caller_and_not_the_next() {
        let group = GroupSync::default();
        let failed = group.sync(|| Err(io::Error::from_raw_os_error(28))).unwrap_err();
        assert_eq!(failed.raw_os_error(), Some(28));
        group.sync(|| Ok(())).unwrap();
    }
}
