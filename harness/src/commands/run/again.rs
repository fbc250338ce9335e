//! The command that a report names to run one scenario again: everything that was said and can change
//! its outcome.

use super::args::Args;
use crate::commands::runtime::DEFAULT_TIMEOUT;
use crate::peer::quoted;
use crate::run::clients::ClientTarget;
use crate::run::target::Target;

/// For a server, in a form of the axes (empty for the plain one), up to the scenario.
#[must_use]
pub(super) fn server(args: &Args, target: &Target, form: &str) -> String {
    let mut again = "nbdcheck run".to_owned();
    let export = args.export.iter().map(|export| format!(" --export {}", quoted(export)));
    match target {
        Target::External { name, .. } => {
            again.push_str(&format!(" --target {}", quoted(name)));
            again.extend(export);
            again.push_str(&args.tls.written());
            if args.allow_write {
                again.push_str(" --allow-write");
            }
            if args.allow_hazard {
                again.push_str(" --allow-hazard");
            }
        }
        Target::Reference { .. } => again.push_str(" --peer self"),
        Target::Profile(profile) => again.push_str(&format!(" --peer {}", profile.peer())),
        Target::Peer(file) if file.command().is_some() => {
            again.push_str(&format!(" --server {}", quoted(file.origin())));
            again.extend(export);
        }
        Target::Peer(file) => again.push_str(&format!(" --peer {}", quoted(file.origin()))),
    }
    if !form.is_empty() {
        again.push_str(&format!(" --axes {form}"));
    }
    again + &common(args)
}

/// For a client, up to the scenario.
#[must_use]
pub(super) fn client(args: &Args, client: &ClientTarget) -> String {
    format!("nbdcheck run --client {}{}", quoted(client.origin()), common(args))
}

fn common(args: &Args) -> String {
    let mut words = String::new();
    if args.timeout != DEFAULT_TIMEOUT {
        words.push_str(&format!(" --timeout {}", args.timeout));
    }
    if args.strict {
        words.push_str(" --strict");
    }
    words
}
