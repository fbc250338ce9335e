//! The `nbdcheck` command.

use std::process::ExitCode;

use clap::Parser as _;
use harness::commands::{Cli, dispatch};

fn main() -> ExitCode {
    ExitCode::from(dispatch(Cli::parse()))
}
