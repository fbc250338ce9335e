//! The command that a report names to run one scenario again: everything that was said and can change
//! its outcome.

use super::args::Args;
use crate::commands::runtime::DEFAULT_TIMEOUT;
use crate::peer::quoted;
use crate::run::clients::ClientTarget;
use crate::run::target::Target;

/// What may be done to a target that is somebody else's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Access {
    pub(crate) write: bool,
    pub(crate) hazard: bool,
}

/// `nbdcheck run` and what chooses this target, and what may be done to it.
#[must_use]
pub(crate) fn against(target: &Target, export: Option<&str>, tls: &str, may: Access) -> String {
    let mut again = "nbdcheck run".to_owned();
    let export = export.map(|export| format!(" --export {}", quoted(export)));
    match target {
        Target::External { name, .. } => {
            again.push_str(&format!(" --target {}", quoted(name)));
            again.extend(export);
            again.push_str(tls);
            if may.write {
                again.push_str(" --allow-write");
            }
            if may.hazard {
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
    again
}

/// For a server, in a form of the axes (empty for the plain one), up to the scenario.
#[must_use]
pub(super) fn server(args: &Args, target: &Target, form: &str) -> String {
    let may = Access { write: args.allow_write, hazard: args.allow_hazard };
    let mut again = against(target, args.export.as_deref(), &args.tls.written(), may);
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
