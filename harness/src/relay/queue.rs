//! What was heard and waits for whoever judges and records it. Passing bytes on never waits for that:
//! where too much would wait, bytes are left out, and counted.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dissector::session::Close;
use protocol::message::Side;

/// How much is read at once, in bytes.
pub(super) const PIECE: usize = 128 << 10;
/// So little is copied, to let go of the buffer that it was read to.
const SMALL: usize = 16 << 10;
/// How many buffers are kept to be used again.
const SPARE: usize = 32;
/// What an event costs besides its bytes, in bytes of memory; roughly.
const COST: usize = 128;
/// Less than this is gathered for a moment, so that both sides need not run in turns.
const GATHERED: usize = 1 << 20;
/// That moment.
const MOMENT: Duration = Duration::from_millis(5);

/// Something that was heard.
#[derive(Debug)]
pub struct Heard {
    /// The connection's number, from 1.
    pub connection: u64,
    /// When, in nanoseconds since 1970 (UTC); never less than that of what was heard before.
    pub time_ns: u64,
    /// What.
    pub what: What,
}

/// What can be heard.
#[derive(Debug)]
pub enum What {
    /// A connection between these addresses.
    Opened {
        /// The client's; made up where it has none.
        client: SocketAddr,
        /// The server's; made up where it has none.
        server: SocketAddr,
    },
    /// Bytes.
    Data {
        /// Who sent them.
        from: Side,
        /// How many bytes before them were left out.
        lost: u64,
        /// The bytes.
        bytes: Piece,
    },
    /// A side ended its direction.
    Closed {
        /// Which side.
        from: Side,
        /// How many bytes before that were left out.
        lost: u64,
        /// In order or not.
        how: Close,
    },
    /// The connection is over.
    Over,
}

/// Bytes that were read, shared by who passes them on and who judges them.
#[derive(Debug, Clone)]
pub struct Piece(Arc<Buffer>);

#[derive(Debug)]
struct Buffer {
    bytes: Vec<u8>,
    length: usize,
    home: Option<Arc<Spare>>,
}

impl Deref for Piece {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0.bytes[..self.0.length]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(home) = &self.home {
            home.give(std::mem::take(&mut self.bytes));
        }
    }
}

/// Buffers of [`PIECE`] bytes.
#[derive(Debug, Default)]
struct Spare(Mutex<Vec<Vec<u8>>>);

impl Spare {
    fn take(&self) -> Vec<u8> {
        locked(&self.0).pop().unwrap_or_else(|| vec![0; PIECE])
    }

    fn give(&self, buffer: Vec<u8>) {
        let mut spare = locked(&self.0);
        if spare.len() < SPARE {
            spare.push(buffer);
        }
    }
}

/// How much was left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// How often the judge fell behind.
    pub times: u64,
    /// Bytes that passed without it.
    pub bytes: u64,
}

#[derive(Debug)]
struct State {
    waiting: VecDeque<Heard>,
    /// The time of the last one, in nanoseconds since 1970.
    last_ns: u64,
    ended: bool,
    left_out: LeftOut,
    /// Bytes are left out until there is room again.
    full: bool,
    /// What is waiting, or was taken and is not done with, in bytes of memory.
    held: usize,
}

/// The queue. All its methods return at once but [`Queue::take`].
#[derive(Debug)]
pub struct Queue {
    state: Mutex<State>,
    more: Condvar,
    spare: Arc<Spare>,
    limit: usize,
    /// When it was made, by both clocks.
    began: (Instant, u64),
}

impl Queue {
    /// One that holds at most so many bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ns = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        Self {
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                last_ns: now_ns,
                ended: false,
                left_out: LeftOut::default(),
                full: false,
                held: 0,
            }),
            more: Condvar::new(),
            spare: Arc::default(),
            limit,
            began: (Instant::now(), now_ns),
        }
    }

    /// The time now, in nanoseconds since 1970; a clock that is set does not touch it.
    fn now_ns(&self) -> u64 {
        let (began, began_ns) = self.began;
        let elapsed = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        began_ns.saturating_add(elapsed)
    }

    /// A buffer to read to.
    pub(super) fn buffer(&self) -> Vec<u8> {
        self.spare.take()
    }

    /// A buffer that was not needed.
    pub(super) fn give_back(&self, buffer: Vec<u8>) {
        self.spare.give(buffer);
    }

    /// What was read to a buffer of [`Queue::buffer`].
    pub(super) fn piece(&self, buffer: Vec<u8>, length: usize) -> Piece {
        if length < SMALL {
            let bytes = buffer[..length].to_vec();
            self.give_back(buffer);
            return Piece(Arc::new(Buffer { bytes, length, home: None }));
        }
        Piece(Arc::new(Buffer { bytes: buffer, length, home: Some(self.spare.clone()) }))
    }

    /// Something was heard that is never left out.
    pub(super) fn tell(&self, connection: u64, what: What) {
        let mut state = locked(&self.state);
        self.push(&mut state, connection, what, COST);
    }

    /// Bytes were heard. `lost` counts what was left out of this direction and could not be told yet.
    pub(super) fn data(&self, connection: u64, from: Side, lost: &mut u64, bytes: &Piece) {
        let cost = COST + bytes.0.bytes.len();
        let mut state = locked(&self.state);
        // Only a judge that has caught up for the most part is given more: otherwise it would see
        // a capture full of holes.
        if state.full && state.held <= self.limit / 2 {
            state.full = false;
        }
        if !state.full && state.held + cost > self.limit {
            state.full = true;
            state.left_out.times += 1;
        }
        if state.full {
            state.left_out.bytes += bytes.len() as u64;
            *lost += bytes.len() as u64;
            return;
        }
        let what = What::Data { from, lost: std::mem::take(lost), bytes: bytes.clone() };
        self.push(&mut state, connection, what, cost);
    }

    fn push(&self, state: &mut State, connection: u64, what: What, cost: usize) {
        // Below the lock, so that times never go back.
        let time_ns = self.now_ns().max(state.last_ns);
        state.last_ns = time_ns;
        let before = state.held;
        state.held += cost;
        state.waiting.push_back(Heard { connection, time_ns, what });
        if state.waiting.len() == 1 || (before < GATHERED && state.held >= GATHERED) {
            self.more.notify_one();
        }
    }

    /// Nothing more will be heard.
    pub fn end(&self) {
        locked(&self.state).ended = true;
        self.more.notify_one();
    }

    /// Takes all that waits; waits itself for something, at most for `limit`. `None` once there will
    /// be nothing more.
    pub fn take(&self, limit: Duration) -> Option<VecDeque<Heard>> {
        let state = locked(&self.state);
        let idle = |state: &mut State| state.waiting.is_empty() && !state.ended;
        let waited = self.more.wait_timeout_while(state, limit, idle);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let little =
            |state: &mut State| !state.waiting.is_empty() && state.held < GATHERED && !state.ended;
        let waited = self.more.wait_timeout_while(state, MOMENT, little);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.waiting.is_empty() && state.ended {
            return None;
        }
        Some(std::mem::take(&mut state.waiting))
    }

    /// Whoever took this is done with it.
    pub fn done(&self, heard: Heard) {
        let cost = match &heard.what {
            What::Data { bytes, .. } => COST + bytes.0.bytes.len(),
            _ => COST,
        };
        drop(heard);
        let mut state = locked(&self.state);
        state.held = state.held.saturating_sub(cost);
    }

    /// How much was left out so far.
    #[must_use]
    pub fn left_out(&self) -> LeftOut {
        locked(&self.state).left_out
    }
}

/// Whoever panicked with the lock left whole values behind.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(queue: &Queue, length: usize) -> Piece {
        queue.piece(queue.buffer(), length)
    }

    /// What was taken, as connection, bytes and what was left out before.
    fn taken(queue: &Queue) -> Vec<(u64, usize, u64)> {
        let all = queue.take(Duration::ZERO).unwrap();
        let told = all.into_iter().map(|heard| {
            let told = match &heard.what {
                What::Data { bytes, lost, .. } => (heard.connection, bytes.len(), *lost),
                What::Closed { lost, .. } => (heard.connection, 0, *lost),
                _ => (heard.connection, 0, 0),
            };
            queue.done(heard);
            told
        });
        told.collect()
    }

    #[test]
    fn what_is_too_much_is_left_out_and_told() {
        let queue = Queue::new(4 * (PIECE + COST));
        let big = piece(&queue, PIECE);
        let mut lost = 0;
        for _ in 0..6 {
            queue.data(1, Side::Server, &mut lost, &big);
        }
        assert_eq!(lost, 2 * PIECE as u64);
        assert_eq!(queue.left_out(), LeftOut { times: 1, bytes: lost });
        assert_eq!(taken(&queue), [(1, PIECE, 0); 4]);
        // There is room again, and where bytes are missing is told.
        queue.data(1, Side::Server, &mut lost, &piece(&queue, 7));
        assert_eq!(lost, 0);
        assert_eq!(taken(&queue), [(1, 7, 2 * PIECE as u64)]);
    }

    #[test]
    fn a_judge_that_has_not_caught_up_is_given_nothing() {
        let queue = Queue::new(4 * (PIECE + COST));
        let big = piece(&queue, PIECE);
        let mut lost = 0;
        for _ in 0..5 {
            queue.data(1, Side::Client, &mut lost, &big);
        }
        let mut waiting = queue.take(Duration::ZERO).unwrap();
        queue.done(waiting.pop_front().unwrap());
        queue.data(1, Side::Client, &mut lost, &piece(&queue, 1));
        assert_eq!(lost, PIECE as u64 + 1);
        queue.done(waiting.pop_front().unwrap());
        queue.data(1, Side::Client, &mut lost, &piece(&queue, 1));
        assert_eq!(lost, 0);
        assert_eq!(queue.left_out(), LeftOut { times: 1, bytes: PIECE as u64 + 1 });
    }

    #[test]
    fn times_do_not_go_back_and_the_end_is_told_once_all_is_taken() {
        let queue = Queue::new(1 << 20);
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        queue.tell(1, What::Opened { client: address, server: address });
        queue.tell(1, What::Closed { from: Side::Client, lost: 0, how: Close::End });
        queue.end();
        let all = queue.take(Duration::ZERO).unwrap();
        assert!(all[0].time_ns <= all[1].time_ns);
        assert!(queue.take(Duration::from_secs(60)).is_none());
    }

    #[test]
    fn buffers_come_back_and_small_pieces_do_not_keep_one() {
        let queue = Queue::new(1 << 20);
        let small = piece(&queue, 28);
        assert_eq!((small.len(), small.0.bytes.len()), (28, 28));
        let big = piece(&queue, SMALL);
        let place = big.as_ptr();
        let other = big.clone();
        drop(big);
        assert!(locked(&queue.spare.0).is_empty());
        drop(other);
        let again = queue.buffer();
        assert_eq!(again.as_ptr(), place);
    }
}
