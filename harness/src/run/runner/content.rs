//! What an external target holds, and keeping it so while scenarios need it.

use std::time::Duration;

use protocol::notation::ast::{MessageLine, Word};
use protocol::values::TransmissionFlags;

use super::known_content::{Change, Contents, Guard, Laid, There};
use super::state::{Runner, Shared};
use crate::run::prepare::{Answered, Place, Wanted, is_known};
use crate::run::survey::kept::Kept;
use crate::run::survey::{Capabilities, TlsMode};
use crate::run::target::Instance;
use crate::script::ast::Script;
use crate::script::walk::any_line;

/// What scenarios about large exports know.
const FAR: Wanted = Wanted { blank: false, far: true };

/// How often content is given to a server that hangs up on some connections.
const TRIES: u32 = 4;

/// Gives a server that the harness started what its configuration says, unless it came with it.
/// It is nobody's: there is no need to ask.
///
/// # Errors
/// Why it can't be had.
pub(super) async fn fill(
    instance: &Instance,
    capabilities: &Capabilities,
    configuration: &str,
    limit: Duration,
) -> Result<(), String> {
    if !instance.owned || (instance.described && instance.content) {
        return Ok(());
    }
    let unkept = |why: &String| Err(format!("the export does not keep known content: {why}"));
    match &capabilities.kept {
        Kept::Changes(why) | Kept::Nothing(why) => return unkept(why),
        _ if instance.content => return Ok(()),
        Kept::Private(why) => return unkept(why),
        _ => {}
    }
    let unknown = "what the export holds is unknown";
    if capabilities.flags.has(TransmissionFlags::READ_ONLY) {
        return Err(format!(
            "{unknown}, and it is read-only: `{{image}}` in the command changes that"
        ));
    }
    let (place, wanted) = place_of(instance, capabilities, configuration, limit);
    place.lay(wanted, true, None).await
}

/// The export of a server that the harness started, and what its configuration says it holds.
pub(super) fn place_of<'i>(
    instance: &'i Instance,
    capabilities: &'i Capabilities,
    configuration: &str,
    limit: Duration,
) -> (Place<'i>, Wanted) {
    let tls = instance.security.as_ref().filter(|_| capabilities.tls != TlsMode::Off);
    let wanted = Wanted { blank: configuration == "blank", far: is_far(configuration) };
    let (export, most) = (capabilities.export.as_str(), capabilities.maximum());
    let answered = Answered::by(capabilities);
    let (address, stays_open) = (&instance.address, capabilities.stays_open);
    (Place { address, tls, export, limit, most, answered, stays_open }, wanted)
}

impl Runner {
    /// Gives an external target the content that a scenario needs, and keeps it so while the
    /// scenario runs.
    ///
    /// # Errors
    /// Why the export can't have it.
    pub(super) async fn with_content(
        &self,
        script: &Script,
        configuration: &str,
        shared: &Shared,
    ) -> Result<Guard<'_>, String> {
        let wanted = wanted(script, configuration);
        if wanted.is_none() && !script.header.has_need("write") {
            return Ok(Guard::Together(self.contents.read().await));
        }
        let mut contents = self.contents.write().await;
        let export = &shared.capabilities.export;
        if let Some(wanted) = wanted {
            let laid = contents.exports.entry(export.clone()).or_default();
            // What can't be written to was looked at before.
            if laid.there.is_none() {
                let mut laid = std::mem::take(laid);
                let done = self.lay(shared, &contents, &mut laid, wanted).await;
                contents.exports.insert(export.clone(), laid);
                done?;
            }
        }
        if script.header.has_need("write") {
            // Until it has come to its end it may change anything.
            contents.changes.push(Change { export: export.clone(), stretches: None });
            return Ok(Guard::Alone(contents));
        }
        Ok(Guard::Together(contents.downgrade()))
    }

    async fn lay(
        &self,
        shared: &Shared,
        contents: &Contents,
        laid: &mut Laid,
        wanted: Wanted,
    ) -> Result<(), String> {
        if let Some(refusal) = &laid.refusal {
            return Err(refusal.clone());
        }
        // What the survey has found out need not be found out again.
        if let Kept::Changes(why) | Kept::Nothing(why) | Kept::Private(why) =
            &shared.capabilities.kept
        {
            return Err(format!("the export does not keep known content: {why}"));
        }
        let within = laid.content.take().and_then(|(content, changes)| {
            let changed = contents.since(&shared.capabilities.export, changes)?;
            Some(content.differing(wanted, changed))
        });
        let fresh = !std::mem::replace(&mut laid.touched, true);
        let far = wanted.far || within.as_ref().is_some_and(|(far, _)| *far);
        let (within, held) = (within.map(|(_, within)| within), Wanted { far, ..wanted });
        let mut done = self.place(shared).lay(held, fresh, within.as_deref()).await;
        if shared.capabilities.hangs_up.is_some() {
            for _ in 0..TRIES {
                if done.is_ok() {
                    break;
                }
                done = self.place(shared).lay(held, fresh, None).await;
            }
        }
        match done {
            Ok(()) => laid.content = Some((held, contents.changes.len())),
            Err(refusal) => {
                laid.refusal = Some(refusal.clone());
                return Err(refusal);
            }
        }
        Ok(())
    }

    /// Does something that may change an export, while no scenario looks at any.
    pub(super) async fn changing<T>(&self, export: &str, what: impl Future<Output = T>) -> T {
        let mut contents = self.contents.write().await;
        contents.changes.push(Change { export: export.to_owned(), stretches: None });
        what.await
    }

    /// What an export holds that can't be written to; looked at once.
    pub(super) async fn there(&self, shared: &Shared) -> Option<There> {
        let mut contents = self.contents.write().await;
        let laid = contents.exports.entry(shared.capabilities.export.clone()).or_default();
        if let Some(there) = &laid.there {
            return there.clone();
        }
        // Who can't be read from is for scenarios to name.
        let there = match (&shared.capabilities.kept, self.place(shared).read().await) {
            (Kept::Changes(_), _) | (_, Err(_)) => None,
            (_, Ok(bytes)) => {
                let known = is_known(&bytes);
                let far = known && self.place(shared).holds(FAR).await.unwrap_or(false);
                Some(There { bytes: bytes.into(), known, far })
            }
        };
        laid.there = Some(there.clone());
        there
    }
}

/// Whether what a scenario knows of an export's content shows in what it reads only: then whatever
/// was read before will do. Which parts are data and which are holes, nobody can know beforehand.
pub(super) fn only_reads(script: &Script) -> bool {
    let mut forms = |line: &MessageLine| {
        matches!(&line.head.node, Word::Name(name) if name.starts_with("NBD_REPLY_TYPE_"))
            || line.fields.iter().any(|field| field.key.node == "extents")
    };
    !script.header.has_need("write") && !any_line(&script.body, &mut forms)
}

/// Whether scenarios look beyond the first 16 MiB in a configuration.
pub(super) fn is_far(configuration: &str) -> bool {
    matches!(configuration, "large" | "vast" | "vast-blocks")
}

/// The content that a scenario asks for.
fn wanted(script: &Script, configuration: &str) -> Option<Wanted> {
    let far = is_far(configuration);
    if configuration == "blank" {
        return Some(Wanted { blank: true, far: false });
    }
    let known = script.header.has_need("content");
    known.then_some(Wanted { blank: false, far })
}
