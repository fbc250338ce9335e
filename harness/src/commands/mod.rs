//! The subcommands, a module each: `Args` for the command line and `run` for the work.

pub mod capture;
mod captures;
pub mod client;
mod color;
mod court;
pub mod coverage;
mod cut_short;
pub mod decode;
pub mod differ;
mod error;
pub mod explain;
pub mod explore;
pub mod fmt;
pub mod list;
mod made_up;
pub mod matrix;
mod on_purpose;
pub mod probe;
pub mod relay;
pub mod report;
pub mod run;
mod runtime;
pub mod selftest;
pub mod serve;
pub mod shell;
pub mod targets;
mod touched;
mod typed;
pub mod validate;
mod view;
mod watch;

#[cfg(test)]
mod error_tests;
#[cfg(test)]
mod tests;

use clap::{CommandFactory as _, Parser, Subcommand};

pub use color::Color;
pub use error::CommandError;

use crate::{exit, output};

/// Conformance suite, interop matrix and traffic analyzer for NBD (Network Block Device).
#[derive(Debug, Parser)]
#[command(name = "nbdcheck", version, propagate_version = true)]
pub struct Cli {
    /// When to use colour: `auto` means on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t)]
    pub color: Color,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run scenarios against a server or a client and report a verdict
    Run(run::Args),
    /// Look for failures that no scenario is about: made up sessions, shrunk to the shortest script
    Explore(explore::Args),
    /// Show what two servers answer differently: made up sessions, shrunk to the shortest script
    Differ(differ::Args),
    /// Compare servers feature by feature, and show which clients work with which servers
    Matrix(matrix::Args),
    /// Compare the reports of earlier runs
    Report(report::Args),
    /// Show what a server offers, and the qemu version whose features it has
    Probe(probe::Args),
    /// Decode NBD traffic from a capture file
    Decode(decode::Args),
    /// Report protocol violations in captures; exits with 1 if there are any
    Validate(validate::Args),
    /// Decode NBD traffic live from a network interface
    Capture(capture::Args),
    /// Pass bytes between clients and a server, and record or check what they say
    Relay(relay::Args),
    /// Serve exports with the reference server
    Serve(serve::Args),
    /// Use a server with the reference client
    Client(client::Args),
    /// List the scenarios
    List(list::Args),
    /// Explain a requirement, or print a scenario
    Explain(explain::Args),
    /// Format scenario scripts
    Fmt(fmt::Args),
    /// Show how many requirements are checked, and by what
    Coverage(coverage::Args),
    /// Test nbdcheck itself: are the deliberate faults of its server and client found?
    Selftest(selftest::Args),
    /// Print a shell completion script
    Completions(shell::CompletionArgs),
    /// Print the manual page
    Man,
}

/// Runs what the command line asks for, and says what could not be done; gives the exit status.
#[must_use]
pub fn dispatch(cli: Cli) -> u8 {
    cli.color.choose();
    let status = execute(cli.command).unwrap_or_else(|error| error.tell());
    if output::has_failed() { exit::NO_VERDICT } else { status }
}

fn execute(command: Command) -> Result<u8, CommandError> {
    match command {
        Command::Run(args) => run::run(args),
        Command::Explore(args) => explore::run(args),
        Command::Differ(args) => differ::run(args),
        Command::Matrix(args) => matrix::run(args),
        Command::Report(args) => report::run(args),
        Command::Probe(args) => probe::run(args),
        Command::Decode(args) => decode::run(args),
        Command::Validate(args) => validate::run(args),
        Command::Capture(args) => capture::run(args),
        Command::Relay(args) => relay::run(args),
        Command::Serve(args) => serve::run(args),
        Command::Client(args) => client::run(args),
        Command::List(args) => list::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Fmt(args) => fmt::run(args),
        Command::Coverage(args) => coverage::run(args),
        Command::Selftest(args) => selftest::run(args),
        Command::Completions(args) => Ok(shell::completions(args, Cli::command())),
        Command::Man => shell::man(Cli::command()),
    }
}
