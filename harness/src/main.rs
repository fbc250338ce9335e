//! The `nbdcheck` command.

use std::process::ExitCode;

use clap::Parser as _;
use harness::commands::{Cli, dispatch};

fn main() -> ExitCode {
    if harness::peer::janitor::work_if_called() {
        return ExitCode::SUCCESS;
    }
    ExitCode::from(dispatch(Cli::parse()))
}
