//! What a program writes: the last of it, in bounded memory.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// The last bytes of a stream, kept by a thread that reads until its end.
#[derive(Debug, Clone)]
pub(super) struct Tail(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    bytes: VecDeque<u8>,
    dropped: u64,
    ended: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tail {
    /// Reads `from` until it ends or fails and keeps the last `limit` bytes.
    pub(super) fn of(mut from: impl Read + Send + 'static, limit: usize) -> Self {
        let shared = Arc::new(Shared { state: Mutex::default(), ended: Condvar::new() });
        let tail = Self(Arc::clone(&shared));
        thread::spawn(move || {
            let mut piece = [0; 4096];
            loop {
                match from.read(&mut piece) {
                    Ok(0) => break,
                    Ok(count) => {
                        let mut state = shared.lock();
                        state.bytes.extend(&piece[..count]);
                        let excess = state.bytes.len().saturating_sub(limit);
                        state.bytes.drain(..excess);
                        state.dropped += excess as u64;
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
            shared.lock().ended = true;
            shared.ended.notify_all();
        });
        tail
    }

    /// Waits for the end of the stream, at most `limit`. Blocks the thread: for short limits only.
    pub(super) fn wait_for_end(&self, limit: Duration) {
        let state = self.0.lock();
        // Whether it ended or not, what is there is used.
        let _ = self.0.ended.wait_timeout_while(state, limit, |state| !state.ended);
    }

    /// The bytes kept.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.0.lock().bytes.iter().copied().collect()
    }

    /// The bytes kept as printable text; says how much came before them. Control characters other
    /// than line ends and tabs are left out.
    pub(super) fn text(&self) -> String {
        let state = self.0.lock();
        let bytes: Vec<u8> = state.bytes.iter().copied().collect();
        let kept: String = String::from_utf8_lossy(&bytes)
            .chars()
            .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
            .collect();
        let kept = kept.trim_end();
        match state.dropped {
            0 => kept.to_owned(),
            dropped => format!("<{dropped} bytes before this>\n{kept}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(bytes: &'static [u8], limit: usize) -> Tail {
        let tail = Tail::of(bytes, limit);
        tail.wait_for_end(Duration::from_secs(10));
        tail
    }

    #[test]
    fn keeps_the_last_bytes_and_says_how_many_are_gone() {
        assert_eq!(tail(b"abc\n", 10).text(), "abc");
        assert_eq!(tail(b"0123456789", 4).text(), "<6 bytes before this>\n6789");
        assert_eq!(tail(b"0123456789", 4).bytes(), b"6789");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(tail(b"a\x1b[2Jb\r\n\tc\xff", 100).text(), "a[2Jb\n\tc\u{fffd}");
    }
}
