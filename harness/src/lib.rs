//! The harness behind the `nbdcheck` command: scripts and their interpreter, peers, the runner,
//! reports.

pub mod commands;
pub mod exit;
pub mod peer;
pub mod script;
