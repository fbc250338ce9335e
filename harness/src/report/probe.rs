//! What `nbdcheck probe` shows.

use std::fmt::Write as _;
use std::time::Duration;

use dissector::render::Plural;
use protocol::values::TransmissionFlags;
use serde_json::{Value, json as object};

use super::digest;
use crate::markup::clean;
use crate::markup::json::escaped;
use crate::run::milestones::{Level, Offer};
use crate::run::survey::capacity::CAPACITY;
use crate::run::survey::export::{DESCRIBED, Export};
use crate::run::survey::kept::Kept;
use crate::run::survey::{Capabilities, Fact, Survey};

/// An opening that takes so long is told.
const SLOW: Duration = Duration::from_millis(300);

/// For people.
#[must_use]
pub fn text(name: &str, survey: &Survey) -> String {
    let found = &survey.capabilities;
    let mut out = format!("{}: {}, TLS {}\n", clean(name), handshake(survey), found.tls.name());
    let listed = found.listed.as_ref().map_or(0, Vec::len);
    out.push_str("\nexports\n");
    for export in &found.exports {
        describe(export, &mut out);
    }
    if listed > DESCRIBED {
        let _ = writeln!(out, "  and {} more", listed - DESCRIBED);
    }
    if found.listed.is_none() {
        out.push_str("  (not listed)\n");
    }
    if !found.contexts.is_empty() {
        let _ = writeln!(out, "\ncontexts of {}", survey.capabilities.shown_export());
        for name in &found.contexts {
            let _ = writeln!(out, "  {}", digest::cut(&name.to_string()));
        }
    }
    if !found.options.is_empty() {
        out.push_str("\noptions\n");
        for (option, reply) in &found.options {
            let _ = writeln!(out, "  {:<28} {reply}", option.to_string());
        }
    }
    used(found, &mut out);
    let _ = writeln!(
        out,
        "\nfeatures of {}, by the qemu version that brought them",
        survey.capabilities.shown_export()
    );
    for offer in &survey.offers {
        let word = word(offer);
        let line = format!("  {:>4}  {:<29} {word:<7} ", offer.since, offer.name);
        let evidence = offer.evidence.as_deref().map(digest::shortened).unwrap_or_default();
        let _ = writeln!(out, "{}", format!("{line}{evidence}").trim_end());
    }
    let _ = writeln!(out, "\nqemu feature level: {}", level(&survey.level));
    out
}

/// Whether it works at all, and what could not be found out.
fn used(found: &Capabilities, out: &mut String) {
    if let Some(connections) = found.capacity {
        let least = if connections >= CAPACITY { "at least " } else { "" };
        let reads = match &found.reads {
            Fact::Known((), _) => "reads work".to_owned(),
            Fact::Refused(why) => format!("reads fail: {}", digest::shortened(why)),
            Fact::Unknown(why) => format!("reads: unknown, {}", digest::shortened(why)),
        };
        let many = Plural(connections as u64, "connection");
        let _ = writeln!(out, "\nuse of {}", found.shown_export());
        let _ = writeln!(out, "  {reads}\n  {least}{many} at once");
        if found.opening >= SLOW {
            let _ = writeln!(out, "  slow to open: {:.1} s", found.opening.as_secs_f64());
        }
        if let Some(why) = &found.haggles_alone {
            let _ = writeln!(out, "  one handshake at a time: {why}");
        }
        if let Kept::Changes(why) = &found.kept {
            let _ = writeln!(out, "  the content changes: {}", digest::shortened(why));
        }
    }
    if found.block_size_required {
        out.push_str("\nclients must ask for the block size\n");
    }
    let unknown: Vec<_> =
        found.unknown.iter().filter(|(option, _)| !found.options.contains_key(option)).collect();
    let other = match &found.unknown_option {
        Fact::Unknown(why) if found.unknown_option != Fact::default() => Some(why),
        _ => None,
    };
    if !unknown.is_empty() || other.is_some() {
        out.push_str("\nunknown\n");
    }
    for (option, why) in unknown {
        let _ = writeln!(out, "  {:<28} {}", option.to_string(), digest::shortened(why));
    }
    if let Some(why) = other {
        let _ = writeln!(out, "  {:<28} {}", "any unknown option", digest::shortened(why));
    }
}

fn handshake(survey: &Survey) -> &'static str {
    match (survey.capabilities.oldstyle, survey.capabilities.fixed) {
        (true, _) => "oldstyle",
        (false, true) => "fixed newstyle",
        (false, false) => "newstyle",
    }
}

fn word(offer: &Offer) -> &'static str {
    match offer.offered {
        Some(true) => "yes",
        Some(false) => "no",
        None => "unknown",
    }
}

fn describe(export: &Export, out: &mut String) {
    let _ = write!(out, "  {}", digest::cut(&export.name.to_string()));
    if let Some(size) = export.size {
        let _ = write!(out, "  {}", Plural(size, "byte"));
    }
    if let Some(text) = export.description.as_ref().filter(|text| !text.is_empty()) {
        let _ = write!(out, "  {}", digest::cut(&text.to_string()));
    }
    out.push('\n');
    if let Some((minimum, preferred, maximum)) = export.block_size {
        let _ = writeln!(
            out,
            "    block size  minimum {minimum}, preferred {preferred}, maximum {maximum}"
        );
    }
    if let Some(flags) = export.flags {
        let _ = writeln!(out, "    flags       {}", flags.names().join(" "));
    }
    if export.tls_only {
        out.push_str("    only inside TLS\n");
    }
    if let Some(reply) = export.refused.filter(|_| !export.tls_only) {
        let _ = writeln!(out, "    refused     {reply}");
    }
}

fn level(level: &Level) -> String {
    let whole = level.whole.map_or("none".to_owned(), |version| version.to_string());
    match level.aside {
        Some(version) if level.aside > level.whole => {
            format!("{whole}; {version} except {}", level.without.join(", "))
        }
        _ => whole,
    }
}

/// For programs: a contract, fields may be added.
#[must_use]
pub fn json(name: &str, survey: &Survey) -> String {
    let found = &survey.capabilities;
    let options: serde_json::Map<String, Value> = found
        .options
        .iter()
        .map(|(option, reply)| (option.to_string(), reply.to_string().into()))
        .collect();
    let extended = found.extended_flags;
    let value = object!({
        "nbdcheck": env!("CARGO_PKG_VERSION"),
        "target": name,
        "handshake": handshake(survey),
        "tls": found.tls.name(),
        "export": found.export,
        "exports_listed": found.listed.as_ref().map(Vec::len),
        "exports": found.exports.iter().map(export).collect::<Vec<_>>(),
        "contexts": found.contexts.iter().map(|name| lossy(name.as_bytes())).collect::<Vec<_>>(),
        "extended_flags": (extended != TransmissionFlags::EMPTY).then(|| extended.names()),
        "options": options,
        "unknown": unknown(found),
        "block_size_required": found.block_size_required,
        "reads": fact(&found.reads, found.capacity.is_some()),
        "connections_at_once": found.capacity,
        "opening_seconds": found.capacity.map(|_| found.opening.as_secs_f64()),
        "features": survey.offers.iter().map(|offer| object!({
            "since": offer.since.to_string(),
            "feature": offer.name,
            "setup": offer.setup,
            "offered": offer.offered,
            "evidence": offer.evidence,
        })).collect::<Vec<_>>(),
        "level": {
            "qemu": survey.level.whole.map(|version| version.to_string()),
            "aside": survey.level.aside.map(|version| version.to_string()),
            "without": survey.level.without,
        },
    });
    escaped(&format!("{value:#}\n"))
}

fn unknown(found: &Capabilities) -> Value {
    let unknown = found.unknown.iter().filter(|(option, _)| !found.options.contains_key(option));
    let unknown = unknown.map(|(option, why)| (option.to_string(), why.as_str().into()));
    Value::Object(unknown.collect())
}

/// Whether something works; `null` where that was not asked.
fn fact(fact: &Fact<()>, asked: bool) -> Value {
    let (works, why) = match fact {
        _ if !asked => return Value::Null,
        Fact::Known((), line) => (Some(true), line),
        Fact::Refused(line) => (Some(false), line),
        Fact::Unknown(why) => (None, why),
    };
    object!({ "works": works, "evidence": why })
}

fn export(export: &Export) -> Value {
    object!({
        "name": lossy(export.name.as_bytes()),
        "description": export.description.as_ref().map(|text| lossy(text.as_bytes())),
        "size": export.size,
        "flags": export.flags.map(|flags| flags.names()),
        "block_size": export.block_size.map(|(minimum, preferred, maximum)| object!({
            "minimum": minimum,
            "preferred": preferred,
            "maximum": maximum,
        })),
        "refused": export.refused.map(|reply| reply.to_string()),
        "tls_only": export.tls_only,
    })
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use protocol::text::WireString;
    use protocol::values::{OptionType, ReplyType};

    use super::*;
    use crate::run::milestones;

    /// A server whose words mean something to terminals.
    fn survey() -> Survey {
        let entered =
            "S: NBD_REP_INFO NBD_INFO_EXPORT option=NBD_OPT_GO size=512 flags={HAS_FLAGS}";
        let mut capabilities = Capabilities {
            fixed: true,
            export: "a\u{1b}[2J".to_owned(),
            size: 512,
            flags: TransmissionFlags::HAS_FLAGS,
            listed: Some(vec![WireString::default(); DESCRIBED + 3]),
            contexts: vec![WireString::from("base:allocation\u{202e}")],
            options: [
                (OptionType::GO, ReplyType::ACK),
                (OptionType::STRUCTURED_REPLY, ReplyType::ACK),
                (OptionType::LIST_META_CONTEXT, ReplyType::ACK),
                (OptionType::EXTENDED_HEADERS, ReplyType::ERR_UNSUP),
            ]
            .into(),
            lines: vec![entered.to_owned()],
            ..Capabilities::default()
        };
        capabilities.exports = vec![
            Export {
                name: WireString::from("a\u{1b}[2J"),
                description: Some(WireString::from("x".repeat(600).as_str())),
                size: Some(512),
                flags: Some(TransmissionFlags::HAS_FLAGS),
                block_size: Some((1, 4096, 1 << 25)),
                ..Export::default()
            },
            Export {
                name: WireString::from("b"),
                refused: Some(ReplyType::ERR_POLICY),
                ..Export::default()
            },
        ];
        let offers = milestones::offers([("default", &capabilities)]);
        let level = milestones::level(&offers);
        Survey { capabilities, offers, level }
    }

    #[test]
    fn as_text() {
        let shown = text("example", &survey());
        assert!(!shown.contains('\u{1b}') && !shown.contains('\u{202e}'), "{shown}");
        insta::assert_snapshot!(shown);
    }

    #[test]
    fn as_json() {
        insta::assert_snapshot!(json("example", &survey()));
    }
}
