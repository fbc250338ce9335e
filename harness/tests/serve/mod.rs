//! The reference server as a process of its own.

mod started;

use std::process::{Child, Stdio};

use started::started;

/// `nbdcheck serve` on a free port, for as long as it lives.
pub(crate) struct Serve {
    child: Child,
    /// Where it listens: `127.0.0.1:PORT`.
    pub(crate) address: String,
}

impl Serve {
    /// Starts it with further arguments.
    pub(crate) fn start(args: &[&str]) -> Self {
        let (child, _, uri) = started(args, Stdio::inherit());
        let address = uri.trim_start_matches("nbd://");
        let address = address.split('/').next().unwrap_or(address).to_owned();
        Self { child, address }
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
