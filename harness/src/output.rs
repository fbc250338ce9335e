//! Standard output and standard error, which may be full, or have nobody who reads them.

use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

/// Prints a line on standard error. That it can't be written changes no verdict, and is no reason to
/// panic.
#[macro_export]
macro_rules! say {
    ($($words:tt)*) => {{
        use ::std::io::Write as _;
        let _ = ::std::writeln!(::anstream::stderr(), $($words)*);
    }};
}

/// Prints a text on standard error, as [`say`] does.
///
/// [`say`]: crate::say
pub fn tell(text: &str) {
    let _ = anstream::stderr().write_all(text.as_bytes());
}

/// Whether something could not be written to standard output.
static FAILED: AtomicBool = AtomicBool::new(false);

/// Whether something that was printed could not be written: then no exit status may say that all
/// is well.
#[must_use]
pub fn has_failed() -> bool {
    FAILED.load(Ordering::Relaxed)
}

/// Prints a text on standard output; colours are taken out where they are not wanted. A reader that
/// has gone wants no more of it, which is no error; any other error is told once, and kept for
/// [`has_failed`].
pub fn print(text: &str) {
    let mut out = anstream::stdout().lock();
    let result = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    if let Err(error) = forgiving(result)
        && !FAILED.swap(true, Ordering::Relaxed)
    {
        crate::say!("error: can't write to standard output: {error}");
    }
}

/// Prints bytes on standard output as they are. A reader that has gone is no error.
///
/// # Errors
/// What the system says: a full disk, for one.
pub fn print_bytes(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    forgiving(out.write_all(bytes).and_then(|()| out.flush()))
}

fn forgiving(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}
