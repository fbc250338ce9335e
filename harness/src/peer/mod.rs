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
mod error;
mod file;
mod greet;
mod image;
pub mod janitor;
mod listener;
mod mark;
mod own;
mod place;
mod process;
mod release;
mod schema;
mod server;
mod tail;
mod template;
mod version;

#[cfg(test)]
mod file_tests;

pub use address::Address;
pub use client::{ClientFile, ClientRun, Parameters, client_command, run_command};
pub use command::{CommandLine, quoted};
pub use error::{PeerError, StartError};
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
