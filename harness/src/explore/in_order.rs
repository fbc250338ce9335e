//! Sessions that are played at once and come out in their order: what is found then depends on the seed,
//! not on which of them ends first.

use std::collections::BTreeMap;

use tokio::task::{JoinError, JoinSet};

/// Tasks that were begun, by their number.
pub(super) struct InOrder<T> {
    playing: JoinSet<(u64, T)>,
    done: BTreeMap<u64, T>,
    begun: u64,
    turn: u64,
}

impl<T: Send + 'static> InOrder<T> {
    pub(super) fn new() -> Self {
        Self { playing: JoinSet::new(), done: BTreeMap::new(), begun: 0, turn: 0 }
    }

    /// Whether fewer than `most` have been begun that have not come out.
    pub(super) fn has_room(&self, most: usize) -> bool {
        self.begun - self.turn < most as u64
    }

    /// How many have been begun: the number of the next.
    pub(super) fn begun(&self) -> u64 {
        self.begun
    }

    /// Begins the next.
    pub(super) fn begin(&mut self, task: impl Future<Output = T> + Send + 'static) {
        let number = self.begun;
        self.begun += 1;
        self.playing.spawn(async move { (number, task.await) });
    }

    /// What came of the next in order, and its number; `None` if none is left.
    ///
    /// # Errors
    /// One has panicked: those after it do not come out.
    pub(super) async fn next(&mut self) -> Option<Result<(u64, T), JoinError>> {
        loop {
            if let Some(done) = self.done.remove(&self.turn) {
                self.turn += 1;
                return Some(Ok((self.turn - 1, done)));
            }
            match self.playing.join_next().await? {
                Ok((number, done)) => drop(self.done.insert(number, done)),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn the_slow_come_out_before_the_quick_that_were_begun_later() {
        let mut tasks = InOrder::new();
        let (ended, quick_has) = oneshot::channel::<()>();
        tasks.begin(async move { quick_has.await.is_ok() });
        tasks.begin(async move { ended.send(()).is_err() });
        assert!(!tasks.has_room(2) && tasks.has_room(3));
        let mut seen = Vec::new();
        while let Some(Ok(next)) = tasks.next().await {
            seen.push(next);
        }
        assert_eq!(seen, [(0, true), (1, false)]);
        assert!(tasks.has_room(1));
    }
}
