//! The judge: follows both directions of one NBD connection, names the messages, and says which
//! rules of the specification were broken, by whom.
//!
//! It is sans-io: [`Session::received`] takes the bytes of a direction as they come, in any pieces,
//! and [`Session::next_event`] gives back what became known. The same judge reads captures and sits
//! on live connections.
//!
//! - Bulk payload is never kept: it is recognised piece by piece, and its message is told when the
//!   last byte has come. What is kept is bounded by [`Config::limits`].
//! - It never accuses on a guess. When a direction can't be followed any more (garbage, a hole in
//!   the capture), what depends on it is not judged, on either side. A party is free to hang up
//!   after the other one broke a MUST. Requests of length 0 may be answered in any way.
//! - Rules that take a stimulus, a store or a clock belong to the scenarios, not here. [`NOT_YET`]
//!   lists what could be seen on the wire and is not judged, with reasons. Where the extension
//!   "extended headers" is negotiated, its rules apply; what it leaves as it was is judged by the
//!   base rules.
//!
//! The order in which the two directions are handed in matters: a request before its reply. Whoever
//! plays a side hands in what it sends before it sends it, and what it received before it acts.

mod answers;
mod chunks;
mod commands;
mod compare;
mod config;
mod context;
mod coverage;
mod cut;
mod event;
mod export;
mod extended;
mod final_replies;
mod flight;
mod framing;
mod haggling;
mod handshake;
mod info;
mod judge;
mod option_replies;
mod options;
mod output;
mod phase;
mod progress;
mod replies;
mod requests;
mod resync;
mod rules;
mod selection;
mod status;
mod stream;
mod strings;
mod teardown;
#[cfg(test)]
mod tests;
mod tls;
mod verdict;
mod written;

pub use config::{Config, Recognize, Start};
pub use event::{Close, Event, HEAD, Problem, ProblemKind, Seen, Violation};
pub use export::{BlockSize, Export};
pub use judge::Session;
pub use phase::Phase;
pub use rules::{COVERED, NOT_YET, Rule};
pub use tls::{Begins, Tls, Unreadable};
