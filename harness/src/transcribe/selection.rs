//! What a script says of contexts that were selected.

use protocol::message::{OptionBody, OptionRequest};
use protocol::text::WireString;

use super::answers::right_reply;

/// The acknowledged selection of contexts.
pub(super) struct Selection {
    /// For which export.
    export: Option<WireString>,
    /// The contexts that right servers select too.
    names: Vec<WireString>,
    /// The server was accused of how it told a context: which ones it has, is open.
    doubtful: bool,
    /// Right servers may refuse it.
    refusable: bool,
    /// Right servers refuse it.
    refused: bool,
}

impl Selection {
    /// What a server selected for an option; `doubtful`: it was accused of how it told a context.
    pub(super) fn new(asked: &OptionRequest, mut names: Vec<WireString>, doubtful: bool) -> Self {
        let (export, queries) = match &asked.body {
            OptionBody::Meta { export, queries } => (Some(export.clone()), queries.as_slice()),
            _ => (None, [].as_slice()),
        };
        // In the namespaces of the specification and of qemu a selection takes the whole name.
        names.retain(|name| {
            let known = ["base:", "qemu:"].iter().any(|start| name.0.starts_with(start.as_bytes()));
            !known || queries.contains(name)
        });
        let mut once: Vec<WireString> = Vec::with_capacity(names.len());
        for name in names {
            if !once.contains(&name) {
                once.push(name);
            }
        }
        Self { export, names: once, doubtful, refusable: false, refused: false }
    }

    pub(super) fn names(&self) -> &[WireString] {
        &self.names
    }

    /// The server was accused of the final reply.
    pub(super) fn accused(&mut self, id: &str) {
        if let Some(right) = right_reply(ACKNOWLEDGED, id) {
            let open = right.starts_with("either ");
            self.refusable |= open;
            self.refused |= !open;
        }
    }

    /// The lines of the script, where the session entered this export, if any.
    pub(super) fn lines(&self, entered: Option<&WireString>) -> Vec<String> {
        const ERROR: &str = "S: error option=NBD_OPT_SET_META_CONTEXT";
        const ANY: &str = "until S: NBD_REP_ACK { S: NBD_REP_META_CONTEXT }";
        if self.refused {
            return vec![format!("{ERROR}  # what the capture has is against the rules")];
        }
        // Another server may have no such export beside the one that is entered.
        let elsewhere = entered.is_some() && entered != self.export.as_ref();
        if elsewhere || self.refusable {
            return vec![format!("either {{ {ANY} }}\nor {{ {ERROR} }}")];
        }
        if self.doubtful {
            return vec![ANY.to_owned()];
        }
        let mut lines: Vec<String> =
            self.names.iter().map(|name| format!("S: NBD_REP_META_CONTEXT name={name}")).collect();
        if lines.len() > 1 {
            lines.insert(0, "any-order {".to_owned());
            lines.push("}".to_owned());
        }
        lines.push(ACKNOWLEDGED.to_owned());
        lines
    }
}

/// The final reply to a selection.
const ACKNOWLEDGED: &str = "S: NBD_REP_ACK";

#[cfg(test)]
mod tests {
    use protocol::requirements::id;
    use protocol::values::OptionType;

    use super::*;

    fn name(text: &str) -> WireString {
        WireString(text.as_bytes().to_vec())
    }

    fn selection(doubtful: bool) -> Selection {
        let body =
            OptionBody::Meta { export: name("disk"), queries: vec![name("base:allocation")] };
        let asked = OptionRequest { option: OptionType::SET_META_CONTEXT, body };
        // The second was selected twice, the third was not asked for.
        let told = ["base:allocation", "base:allocation", "qemu:dirty-bitmap:a"].map(name);
        Selection::new(&asked, told.to_vec(), doubtful)
    }

    #[test]
    fn right_servers_select_what_was_asked_for_once() {
        let lines = ["S: NBD_REP_META_CONTEXT name=\"base:allocation\"", "S: NBD_REP_ACK"];
        assert_eq!(selection(false).lines(None), lines);
        assert_eq!(selection(false).lines(Some(&name("disk"))), lines);
    }

    #[test]
    fn what_right_servers_need_not_select_is_open() {
        let elsewhere = selection(false).lines(Some(&name("other"))).concat();
        assert!(elsewhere.starts_with("either {") && elsewhere.contains("S: error"), "{elsewhere}");
        let doubtful = selection(true).lines(None).concat();
        assert!(doubtful.starts_with("until S: NBD_REP_ACK {"), "{doubtful}");
    }

    #[test]
    fn a_selection_that_came_too_early_is_refused_without_contexts() {
        let mut early = selection(false);
        early.accused(id::OPT_SET_META_EARLY_INVALID);
        let lines = early.lines(None).concat();
        assert!(lines.starts_with("S: error option=NBD_OPT_SET_META_CONTEXT"), "{lines}");
    }
}
