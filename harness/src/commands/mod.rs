//! The subcommands, a module each: `Args` for the command line and `run` for the work.

mod again;
pub mod capture;
mod color;
mod court;
pub mod coverage;
pub mod decode;
pub mod explain;
pub mod fmt;
pub mod list;
pub mod matrix;
pub mod probe;
pub mod run;
pub mod serve;
pub mod shell;
pub mod targets;
pub mod validate;
mod view;

use clap::{Parser, Subcommand};

pub use color::Color;

use crate::{exit, output};

/// Conformance suite, interop matrix and traffic analyzer for NBD (Network Block Device).
#[derive(Debug, Parser)]
#[command(name = "nbdcheck", version, propagate_version = true)]
pub struct Cli {
    /// When to colour what people read; `auto`: on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t)]
    pub color: Color,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run scenarios against a server or client and report a verdict
    Run(run::Args),
    /// Show servers side by side: which features of which qemu version each has, and has right
    Matrix(matrix::Args),
    /// Ask a server what it offers, and with which qemu version it is level
    Probe(probe::Args),
    /// Decode a capture of NBD traffic
    Decode(decode::Args),
    /// Report the violations in captures; exit 1 if there are any
    Validate(validate::Args),
    /// Decode NBD traffic while it passes an interface
    Capture(capture::Args),
    /// Serve exports with the reference server
    Serve(serve::Args),
    /// List the scenarios
    List(list::Args),
    /// Explain a requirement, or show a scenario
    Explain(explain::Args),
    /// Bring scripts into their canonical form
    Fmt(fmt::Args),
    /// Count which requirements are checked, and by what
    Coverage(coverage::Args),
    /// Print a completion script for a shell
    Completions(shell::CompletionArgs),
    /// Print the manual page
    Man,
}

/// Runs what the command line asks for; gives the exit status.
#[must_use]
pub fn dispatch(cli: Cli) -> u8 {
    cli.color.choose();
    let status = match cli.command {
        Command::Run(args) => run::run(args),
        Command::Matrix(args) => matrix::run(args),
        Command::Probe(args) => probe::run(args),
        Command::Decode(args) => decode::run(args),
        Command::Validate(args) => validate::run(args),
        Command::Capture(args) => capture::run(args),
        Command::Serve(args) => serve::run(args),
        Command::List(args) => list::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Fmt(args) => fmt::run(args),
        Command::Coverage(args) => coverage::run(args),
        Command::Completions(args) => shell::completions(args),
        Command::Man => shell::man(),
    };
    if output::has_failed() { exit::NO_VERDICT } else { status }
}
