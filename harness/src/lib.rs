//! The harness behind the `nbdcheck` command: scripts and their interpreter, peers, the runner,
//! reports.

pub mod capture;
pub mod commands;
pub mod dial;
mod excuse;
pub mod exit;
pub mod explore;
pub mod finding;
pub mod interpret;
pub mod judge;
pub mod link;
#[cfg(feature = "live")]
pub mod live;
pub mod markup;
pub mod matrix;
pub mod output;
pub mod peer;
pub mod relay;
pub mod report;
pub mod roomy;
pub mod run;
pub mod scenarios;
pub mod script;
pub mod selftest;
pub mod socket;
pub mod tls;
pub mod transcribe;
