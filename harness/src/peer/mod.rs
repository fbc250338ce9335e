//! Peers under test: programs that the harness starts, as data files describe them.
//!
//! A server's file says for each *configuration* (`default`, `read-only`, `block-4096`...) how the
//! program is started; scenarios ask for a configuration by name (`export:`). A client's file says
//! for each *action* (`info`, `read`...) which arguments do it. The code knows only placeholders,
//! starting, readiness, stopping and versions; everything about a program is in its file under
//! `harness/peers/`, and `README.md` there documents the format.

mod address;
mod client;
mod command;
mod file;
mod greet;
mod image;
pub mod janitor;
mod listener;
mod own;
mod place;
mod process;
mod schema;
mod server;
mod tail;
mod template;
mod version;

#[cfg(test)]
mod file_tests;

pub use address::{Address, ByteStream, Connected};
pub use client::{ClientFile, ClientRun, Parameters, client_command, run_command};
pub use command::{CommandLine, quoted};
pub use greet::greet;
pub use image::{Content, KNOWN};
pub use process::Ended;
pub use schema::Transport;
pub use server::{PeerFile, Running, StartOptions, Stopped, Tls};

/// The names of the shipped servers, in alphabetical order.
#[must_use]
pub fn shipped_servers() -> Vec<String> {
    file::shipped_names("server")
}

/// The names of the shipped clients, in alphabetical order.
#[must_use]
pub fn shipped_clients() -> Vec<String> {
    file::shipped_names("client")
}

/// Why a peer can't be used at all: a matter of the command line or of a peer file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// No file of that name is shipped.
    #[error("there is no peer `{name}`\nhint: {hint}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        hint: String,
    },
    /// The file can't be read.
    #[error("`{path}` can't be read: {reason}")]
    Unreadable {
        /// The path.
        path: String,
        /// What the system says.
        reason: String,
    },
    /// A command line of the user's own that can't do as a peer.
    #[error("`{command}` can't be a peer: {reason}")]
    Command {
        /// The command line.
        command: String,
        /// What is wrong, with a hint if there is one.
        reason: String,
    },
    /// The file says something that has no meaning.
    #[error("`{path}` is not a peer file: {reason}")]
    Invalid {
        /// The path.
        path: String,
        /// What is wrong, with the place, and a hint if there is one.
        reason: String,
    },
}

/// Why a program did not start, or did not do what it was started for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The peer can't be what is wanted: whoever wanted it is skipped, with this reason.
    #[error("{0}")]
    Unsupported(String),
    /// The program is not installed.
    #[error("`{program}` is not installed\nhint: {hint}")]
    Missing {
        /// Its name.
        program: String,
        /// How to get it.
        hint: String,
    },
    /// It was started, or should have been, and something went wrong.
    #[error("{}", failure(.what, .command, .output))]
    Failed {
        /// What went wrong.
        what: String,
        /// The command line; empty if it did not come to that.
        command: String,
        /// The last it wrote.
        output: String,
    },
}

fn failure(what: &str, command: &str, output: &str) -> String {
    let mut text = what.to_owned();
    if !command.is_empty() {
        text.push_str(&format!("\n  command: {command}"));
    }
    for line in output.lines() {
        text.push_str(&format!("\n  | {line}"));
    }
    text
}

/// A command line as one would type it.
fn shown(program: &str, args: &[String]) -> String {
    let words = std::iter::once(program).chain(args.iter().map(String::as_str));
    words.map(quoted).collect::<Vec<_>>().join(" ")
}
