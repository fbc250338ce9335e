//! What is about a requirement: rules of the judge, scenarios, deliberate faults, quirks; and where the
//! specification says it.

use std::sync::Arc;

use dissector::session::{COVERED, Rule};
use protocol::message::Side;
use reference_server::{ClientQuirk, Quirk};

use crate::script::ast::Script;
use crate::selftest::AnyFault;

/// The specification, up to the heading.
const SPECIFICATION: &str = "https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md#";
/// The same of its extension for extended headers.
const EXTENSION: &str =
    "https://github.com/NetworkBlockDevice/nbd/blob/extension-ext-header/doc/proto.md#";
/// The same of URIs.
const URI: &str = "https://github.com/NetworkBlockDevice/nbd/blob/master/doc/uri.md#";
/// What qemu says of its namespace.
const QEMU: &str = "https://gitlab.com/qemu-project/qemu/-/blob/master/docs/interop/nbd.rst";

/// What is about a requirement.
#[derive(Debug)]
pub(super) struct Touched<'a> {
    /// The rules of the judge that find it broken, in any session.
    pub(super) rules: Vec<&'static str>,
    /// The scenarios that check it.
    pub(super) scenarios: Vec<&'a Script>,
    /// The deliberate faults that break it.
    pub(super) faults: Vec<AnyFault>,
    /// The quirks that it permits: the name, and what the party does.
    pub(super) quirks: Vec<(Side, &'static str, &'static str)>,
}

impl<'a> Touched<'a> {
    /// What is about the requirement of this id.
    pub(super) fn by(id: &str, scripts: &'a [Arc<Script>]) -> Self {
        let own = Rule::ALL.iter().filter(|rule| rule.id() == id);
        let covering = COVERED.iter().filter(|(covered, _)| *covered == id);
        let rules = own.chain(covering.flat_map(|(_, rules)| rules.iter()));
        let checks = |script: &&Script| script.header.claims(id);
        let faults = [Side::Server, Side::Client].into_iter().flat_map(AnyFault::all);
        let is_other = |letter: char| !letter.is_ascii_alphanumeric() && letter != '-';
        let permits = |why: &str| why.split(is_other).any(|word| word == id);
        let servers = Quirk::ALL.iter().filter(|quirk| permits(quirk.lawful()));
        let clients = ClientQuirk::ALL.iter().filter(|quirk| permits(quirk.lawful()));
        Self {
            rules: rules.map(|rule| rule.id()).collect(),
            scenarios: scripts.iter().map(AsRef::as_ref).filter(checks).collect(),
            faults: faults.filter(|fault| fault.expected().contains(&id)).collect(),
            quirks: servers
                .map(|quirk| (Side::Server, quirk.name(), quirk.summary()))
                .chain(clients.map(|quirk| (Side::Client, quirk.name(), quirk.summary())))
                .collect(),
        }
    }

    /// Whether the judge or a scenario would find it broken.
    pub(super) fn is_checked(&self) -> bool {
        !self.rules.is_empty() || !self.scenarios.is_empty()
    }
}

/// Where a section is to be read: its nearest heading.
pub(super) fn link(section: &str) -> String {
    let (place, section) = match section.split_once(": ") {
        Some(("ext", section)) => (EXTENSION, section),
        Some(("uri", section)) => (URI, section),
        Some(("qemu", _)) => return QEMU.to_owned(),
        _ => (SPECIFICATION, section),
    };
    // Options, replies and commands are items of lists, below a heading.
    let heading = section.split(" / ").filter(|part| !part.starts_with("NBD_")).last();
    format!("{place}{}", anchor(heading.unwrap_or_default()))
}

/// What a heading is called in a link.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter_map(|letter| match letter {
        ' ' => Some('-'),
        '-' | '_' => Some(letter),
        _ if letter.is_alphanumeric() => Some(letter.to_ascii_lowercase()),
        _ => None,
    });
    kept.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::requirements;

    #[test]
    fn a_section_is_linked_by_its_nearest_heading() {
        for (section, end) in [
            ("Option types / NBD_OPT_INFO", "/master/doc/proto.md#option-types"),
            (
                "Metadata querying / The base: metadata namespace / base:allocation metadata context",
                "/master/doc/proto.md#baseallocation-metadata-context",
            ),
            (
                "ext: Request types / NBD_CMD_READ",
                "/extension-ext-header/doc/proto.md#request-types",
            ),
            ("uri: NBD URI scheme", "/master/doc/uri.md#nbd-uri-scheme"),
            ("qemu: Features by version", "/docs/interop/nbd.rst"),
        ] {
            let link = link(section);
            assert!(link.ends_with(end), "{section}: {link}");
        }
    }

    #[test]
    fn every_requirement_has_a_link_to_a_heading() {
        for rule in requirements::all() {
            for section in rule.section.split(" ; ") {
                assert!(!link(section).ends_with('#'), "{}: {section}", rule.id);
            }
        }
    }
}
