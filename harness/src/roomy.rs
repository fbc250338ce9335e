//! Where scenarios are played: scripts nest, and so do the futures that play them, so threads that poll
//! them need a larger stack than usual.

use std::io;
use std::thread;

use tokio::runtime::{Builder, Runtime};

/// The stack of a thread that plays scripts, in bytes.
const STACK: usize = 8 << 20;

/// A runtime whose threads have room for nested scripts.
///
/// # Errors
/// The system gives no threads.
pub fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread().enable_all().thread_stack_size(STACK).build()
}

/// Does something on a thread that has room for nested scripts, as `block_on` needs it that does not play
/// on the main thread; a panic goes on in the caller.
///
/// # Errors
/// The system gives no thread.
pub fn within<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let joined = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work)?.join();
        Ok(joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}
