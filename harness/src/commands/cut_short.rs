//! A capture that somebody cuts short while it is read.
//!
//! Large files are mapped, and touching a part that is no longer there raises SIGBUS. Who did so can't
//! go on: the handler of the signal says why, and ends the process.

use std::path::Path;
use std::sync::Once;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use super::captures::name;
use crate::exit;

/// The longest message, in bytes.
const LONGEST: usize = 512;

static INSTALLED: Once = Once::new();
/// What the handler says, and how long it is: a handler may not lock or allocate.
static MESSAGE: [AtomicU8; LONGEST] = [const { AtomicU8::new(0) }; LONGEST];
static LENGTH: AtomicUsize = AtomicUsize::new(0);

/// From here on this file is read.
pub(super) fn reads(path: &Path) {
    let text = format!("error: {}: the file was cut short while it was read\n", name(path));
    for (place, byte) in MESSAGE.iter().zip(text.bytes()) {
        place.store(byte, Ordering::Relaxed);
    }
    LENGTH.store(text.len().min(LONGEST), Ordering::Release);
    INSTALLED.call_once(install);
}

extern "C" fn tell(_signal: libc::c_int) {
    let mut text = [0; LONGEST];
    let length = LENGTH.load(Ordering::Acquire);
    for (byte, place) in text.iter_mut().zip(&MESSAGE).take(length) {
        *byte = place.load(Ordering::Relaxed);
    }
    // Where that fails there is nobody to tell.
    let _ = rustix::io::write(rustix::stdio::stderr(), &text[..length]);
    leave();
}

#[expect(unsafe_code, reason = "a handler may only leave by this, which has no safe form")]
fn leave() -> ! {
    // SAFETY: it ends the process, and may be called in a handler.
    unsafe { libc::_exit(i32::from(exit::NO_VERDICT)) }
}

#[expect(unsafe_code, reason = "the safe libraries call the handler of before too, which aborts")]
fn install() {
    // SAFETY: all zeroes is a valid `sigaction`; the handler only does what handlers may do: it reads
    // atomics, writes to a file, and ends the process. Nobody else here handles SIGBUS.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = tell as extern "C" fn(libc::c_int) as usize;
        action.sa_flags = libc::SA_ONSTACK;
        // Without it the system ends the process, in its own words.
        libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut());
    }
}
