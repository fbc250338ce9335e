//! Why a peer can't be used or started.

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
