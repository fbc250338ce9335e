//! Whether a server offers what a scenario needs. "Not offered" quotes the line that shows it.

use protocol::notation::ast::{Expr, Op, Spanned};
use protocol::text::WireString;
use protocol::values::{OptionType, TransmissionFlags};
use reference_server::TlsMode;

use super::SkipKind;
use super::secured::Wanted;
use super::survey::Capabilities;
use super::survey::relies::device_prevents;
use crate::interpret::eval::Env;
use crate::interpret::matching::symbol;
use crate::script::ast::{Need, Script, TlsKind};

/// What a run allows and knows.
#[derive(Debug, Clone, Copy)]
pub struct Allowed {
    /// The run may write to the export.
    pub write: bool,
    /// The run may put the server at risk.
    pub hazard: bool,
    /// The harness started the server, so its content is known and it can be replaced.
    pub owned: bool,
    /// The export holds the content that scenarios know, or can be given it.
    pub content: bool,
    /// Another export of the server can be named.
    pub other: bool,
    /// The server refuses an export that it can't have.
    pub names: bool,
}

/// Why a scenario can't be run, if it can't.
#[must_use]
pub fn missing(
    script: &Script,
    capabilities: &Capabilities,
    allowed: Allowed,
) -> Option<(SkipKind, String)> {
    if let Some(hazard) = &script.header.hazard
        && !allowed.hazard
        && !allowed.owned
    {
        let reason = format!("hazardous ({}): `--allow-hazard` runs it all the same", hazard.node);
        return Some((SkipKind::NotAllowed, reason));
    }
    let capabilities = &*capabilities.for_script(script);
    // What the server lacks says more than what the run does not allow.
    let unmet = script.header.needs.iter().filter_map(|need| unmet(need, capabilities, allowed));
    unmet
        .min_by_key(|(kind, _)| *kind)
        .or_else(|| Some((SkipKind::NotPossible, device_prevents(script, capabilities)?)))
}

/// The same as far as size, flags and block sizes of an export tell, when nobody has entered it yet.
#[must_use]
pub fn apparently_missing(
    script: &Script,
    told: &Capabilities,
    allowed: Allowed,
) -> Option<(SkipKind, String)> {
    const APPARENT: [&str; 7] =
        ["write", "read-only", "size", "minimum", "preferred", "maximum", "block-size"];
    let flags = TransmissionFlags::ALL.iter().map(|(_, name)| *name);
    let hidden = TransmissionFlags::BLOCK_STATUS_PAYLOAD.names();
    let apparent = |need: &&Need| {
        let name = need.name.node.as_str();
        let flag = name.strip_prefix("no-").unwrap_or(name);
        APPARENT.contains(&name)
            || (flags.clone().any(|known| known == flag) && !hidden.iter().any(|one| one == flag))
    };
    let told = &*told.for_script(script);
    script.header.needs.iter().filter(apparent).find_map(|need| unmet(need, told, allowed))
}

fn unmet(need: &Need, capabilities: &Capabilities, allowed: Allowed) -> Option<(SkipKind, String)> {
    let name = need.name.node.as_str();
    if let Some((op, wanted)) = &need.condition
        && name == "tls"
    {
        return tls(*op, &wanted.node, capabilities);
    }
    if let Some((op, wanted)) = &need.condition {
        return unmet_comparison(name, *op, wanted, capabilities);
    }
    let not_offered = |what: &str, texts: &[&str]| {
        Some((SkipKind::NotOffered, shown_by(what, texts, capabilities)))
    };
    // It offers more than the scenario is about.
    let not_possible = |what: &str, texts: &[&str]| {
        Some((SkipKind::NotPossible, shown_by(what, texts, capabilities)))
    };
    match name {
        "write" if capabilities.flags.has(TransmissionFlags::READ_ONLY) => {
            not_offered("the export is read-only", ENTERED)
        }
        "write" if !allowed.write => {
            let reason = "it writes: `--allow-write` lets it".to_owned();
            Some((SkipKind::NotAllowed, reason))
        }
        "write" => None,
        "read-only" if !capabilities.flags.has(TransmissionFlags::READ_ONLY) => {
            not_possible("the export is writable", ENTERED)
        }
        "read-only" => None,
        "owned" if !allowed.owned => {
            let reason =
                "only for a server that the harness starts and sets up: `--peer` does".to_owned();
            Some((SkipKind::NotPossible, reason))
        }
        "owned" => None,
        "content" if !allowed.content => content(capabilities),
        "content" => None,
        "listed" if !is_listed(capabilities) => {
            not_offered("the list of exports does not have it", &["option=NBD_OPT_LIST"])
        }
        "listed" => None,
        "other" if !allowed.other => {
            not_possible("the server has no second export, as far as is known", &["NBD_OPT_LIST"])
        }
        "other" => None,
        "names" if !allowed.names => {
            let reason = "the server serves an export of any name, or can't be asked".to_owned();
            Some((SkipKind::NotPossible, reason))
        }
        "names" => None,
        "fixed" if !capabilities.fixed => not_offered("no fixed newstyle", &["greeting"]),
        "fixed" => None,
        "oldstyle" if !capabilities.oldstyle => not_offered("not oldstyle", &["greeting"]),
        "oldstyle" => None,
        "newstyle" if capabilities.fixed || capabilities.oldstyle => {
            not_offered("not newstyle without the fixed flag", &["greeting"])
        }
        "newstyle" => None,
        "structured" => option(OptionType::STRUCTURED_REPLY, capabilities),
        "extended" => option(OptionType::EXTENDED_HEADERS, capabilities),
        "block-size" if capabilities.block_size.is_none() => {
            if let Some(skip) = not_entered(capabilities) {
                return Some(skip);
            }
            let told = capabilities.evidence(&["NBD_REP_INFO"]).is_some();
            let texts = if told { ["NBD_REP_INFO"] } else { ["option=NBD_OPT_GO"] };
            not_offered("no NBD_INFO_BLOCK_SIZE", &texts)
        }
        "block-size" => None,
        "list" => option(OptionType::LIST, capabilities),
        name => match name.parse::<OptionType>() {
            Ok(wanted) => option(wanted, capabilities),
            Err(_) => unmet_flag(name, capabilities),
        },
    }
}

/// A transmission flag that is needed, or with `no-` must not be set.
fn unmet_flag(name: &str, capabilities: &Capabilities) -> Option<(SkipKind, String)> {
    let (wanted, flag) = match name.strip_prefix("no-") {
        Some(flag) => (false, flag),
        None => (true, name),
    };
    let flags = capabilities.flags | capabilities.extended_flags;
    match flag.parse::<TransmissionFlags>() {
        Ok(mask) if flags.has(mask) == wanted => None,
        Ok(_) if not_entered(capabilities).is_some() => not_entered(capabilities),
        Ok(_) if wanted => {
            Some((SkipKind::NotOffered, shown_by(&format!("no {flag}"), ENTERED, capabilities)))
        }
        Ok(_) => {
            let what = format!("{flag} is set");
            Some((SkipKind::NotPossible, shown_by(&what, ENTERED, capabilities)))
        }
        Err(_) => Some((SkipKind::NotPossible, format!("`{name}` is not a known need"))),
    }
}

/// What a line that tells of the export that was entered has.
const ENTERED: &[&str] = &["size=", "flags="];

/// A reason, with the first line that has one of these texts.
fn shown_by(what: &str, texts: &[&str], capabilities: &Capabilities) -> String {
    let evidence = capabilities.evidence(texts).unwrap_or("no line of the server shows it");
    format!("{what}: {evidence}")
}

/// Where no export could be entered, its size and flags are unknown, not missing.
fn not_entered(capabilities: &Capabilities) -> Option<(SkipKind, String)> {
    let why = capabilities.why_unknown(OptionType::EXPORT_NAME)?;
    let entered = capabilities.route.is_some() || capabilities.size > 0;
    (!entered).then(|| {
        let reason = format!("no export could be entered (NBD_OPT_EXPORT_NAME: {why})");
        (SkipKind::NotPossible, reason)
    })
}

/// Why an external target does not hold the content that scenarios know.
fn content(capabilities: &Capabilities) -> Option<(SkipKind, String)> {
    let read_only = capabilities.flags.has(TransmissionFlags::READ_ONLY);
    Some(if read_only {
        let reason = "the export holds something else than scenarios know, and is read-only";
        (SkipKind::NotPossible, reason.to_owned())
    } else {
        let reason = "the export holds something else than scenarios know: `--allow-write` lets known content be written";
        (SkipKind::NotAllowed, reason.to_owned())
    })
}

fn is_listed(capabilities: &Capabilities) -> bool {
    let name = capabilities.export.as_bytes();
    capabilities.listed.iter().flatten().any(|listed| listed.as_bytes() == name)
}

fn option(wanted: OptionType, capabilities: &Capabilities) -> Option<(SkipKind, String)> {
    // What the server has not answered is unknown: it is played, and fails by its own rule.
    if capabilities.offers(wanted) || capabilities.why_unknown(wanted).is_some() {
        return None;
    }
    let field = format!("option={wanted}");
    let evidence = capabilities
        .evidence(&[&field, "NBD_REP_ERR"])
        .or_else(|| capabilities.evidence(&["greeting"]))
        .unwrap_or("the server was not asked");
    Some((SkipKind::NotOffered, format!("{wanted} is not offered: {evidence}")))
}

/// Whether a metadata context can be selected, as the list of them says.
fn context(wanted: &WireString, capabilities: &Capabilities) -> Option<(SkipKind, String)> {
    if capabilities.contexts.contains(wanted) {
        return None;
    }
    // An option can be asked for without knowing whether it is there, a context can't.
    if let Some(why) = capabilities.why_unknown(OptionType::LIST_META_CONTEXT) {
        return Some((
            SkipKind::NotPossible,
            format!("whether there is {wanted} is unknown: {why}"),
        ));
    }
    if !capabilities.offers(OptionType::LIST_META_CONTEXT) {
        return option(OptionType::LIST_META_CONTEXT, capabilities);
    }
    let evidence = capabilities
        .evidence(&["NBD_REP_META_CONTEXT"])
        .or_else(|| capabilities.evidence(&["option=NBD_OPT_LIST_META_CONTEXT"]))
        .unwrap_or("the server was not asked");
    Some((SkipKind::NotOffered, format!("no context {wanted}: {evidence}")))
}

/// What a configuration asks for whose TLS somebody else has set up.
pub(super) fn unmet_tls(wanted: Wanted, capabilities: &Capabilities) -> Option<(SkipKind, String)> {
    let word = |word: &str| Expr::Name(word.to_owned());
    let mode = match wanted.mode {
        TlsMode::Forced => "forced",
        TlsMode::Selective => "selective",
    };
    tls(Op::Eq, &word(mode), capabilities).or_else(|| {
        // Without credentials the kind is not known; what needs them is skipped for that.
        capabilities.tls_kind?;
        tls(Op::Eq, &word(wanted.kind.name()), capabilities)
    })
}

/// `tls=forced`, `tls=psk`, `tls!=off`.
fn tls(op: Op, wanted: &Expr, capabilities: &Capabilities) -> Option<(SkipKind, String)> {
    let Expr::Name(wanted) = wanted else {
        return Some((SkipKind::NotPossible, "`tls` is compared with a word".to_owned()));
    };
    let mode = capabilities.tls.name();
    let kind = capabilities.tls_kind.map_or("nothing", TlsKind::name);
    let (has, equal) = match wanted.as_str() {
        "x509" | "psk" => (kind, kind == wanted),
        wanted => (mode, mode == wanted),
    };
    if equal == (op == Op::Eq) {
        return None;
    }
    let evidence = capabilities
        .evidence(&["option=NBD_OPT_STARTTLS"])
        .or_else(|| capabilities.evidence(&["greeting"]))
        .unwrap_or("the server was not asked");
    let reason = format!("needs tls{}{wanted}, has {has}: {evidence}", symbol(op));
    Some((SkipKind::NotOffered, reason))
}

/// A number of the server, and what a line that shows it contains.
fn number(name: &str, capabilities: &Capabilities) -> Option<(u64, &'static [&'static str])> {
    let limits = capabilities.limits();
    Some(match name {
        "size" => (limits.size, &["size="]),
        "exports" => {
            (capabilities.listed.as_ref().map_or(0, |names| names.len() as u64), &["NBD_OPT_LIST"])
        }
        "minimum" => (limits.minimum, &["minimum="]),
        "preferred" => (limits.preferred, &["preferred="]),
        "maximum" if capabilities.served.is_some() => (limits.maximum, &["NBD_CMD_READ"]),
        "maximum" => (limits.maximum, &["maximum="]),
        _ => return None,
    })
}

fn unmet_comparison(
    name: &str,
    op: Op,
    wanted: &Spanned<Expr>,
    capabilities: &Capabilities,
) -> Option<(SkipKind, String)> {
    if let ("context", Expr::Text(context)) = (name, &wanted.node) {
        return self::context(context, capabilities);
    }
    let mut env = Env::default();
    for (name, value) in capabilities.limits().variables() {
        env.set(name, value);
    }
    let (Ok(wanted), Some((has, texts))) = (env.int(wanted), number(name, capabilities)) else {
        return Some((SkipKind::NotPossible, format!("`{name}` can't be compared so")));
    };
    if op.holds(has, wanted) {
        return None;
    }
    if name != "exports"
        && let Some(skip) = not_entered(capabilities)
    {
        return Some(skip);
    }
    let evidence = capabilities.evidence(texts).unwrap_or("nothing told");
    let reason = format!("needs {name}{}{wanted}, has {has}: {evidence}", symbol(op));
    Some((SkipKind::NotOffered, reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::notation::ast::Span;
    use protocol::values::ReplyType;

    fn need(name: &str) -> Need {
        Need { name: Spanned::new(name.to_owned(), Span::default()), condition: None }
    }

    const ALL: Allowed =
        Allowed { write: true, hazard: true, owned: true, content: true, other: true, names: true };

    #[test]
    fn not_offered_quotes_the_line_that_shows_it() {
        let capabilities = Capabilities {
            flags: TransmissionFlags::HAS_FLAGS,
            lines: vec!["S: NBD_REP_INFO NBD_INFO_EXPORT size=1 flags={HAS_FLAGS}".to_owned()],
            ..Capabilities::default()
        };
        assert_eq!(
            unmet(&need("SEND_TRIM"), &capabilities, ALL),
            Some((
                SkipKind::NotOffered,
                "no SEND_TRIM: S: NBD_REP_INFO NBD_INFO_EXPORT size=1 flags={HAS_FLAGS}".to_owned()
            ))
        );
        assert_eq!(unmet(&need("no-SEND_TRIM"), &capabilities, ALL), None);
    }

    #[test]
    fn a_server_that_offers_more_lacks_nothing() {
        let flags = TransmissionFlags::HAS_FLAGS | TransmissionFlags::SEND_TRIM;
        let capabilities = Capabilities { flags, ..Capabilities::default() };
        for name in ["no-SEND_TRIM", "read-only"] {
            let (kind, _) = unmet(&need(name), &capabilities, ALL).unwrap();
            assert_eq!(kind, SkipKind::NotPossible, "{name}");
        }
    }

    #[test]
    fn an_export_that_could_not_be_entered_is_unknown_and_lacks_nothing() {
        let silent = (OptionType::EXPORT_NAME, "no answer within 5 s".to_owned());
        let capabilities = Capabilities { unknown: [silent].into(), ..Capabilities::default() };
        for name in ["SEND_TRIM", "block-size"] {
            let (kind, reason) = unmet(&need(name), &capabilities, ALL).unwrap();
            assert_eq!(kind, SkipKind::NotPossible, "{name}");
            assert_eq!(
                reason,
                "no export could be entered (NBD_OPT_EXPORT_NAME: no answer within 5 s)"
            );
        }
    }

    #[test]
    fn a_context_is_there_if_it_is_listed() {
        let found = "S: NBD_REP_META_CONTEXT option=NBD_OPT_LIST_META_CONTEXT id=0 name=\"a:b\"";
        let capabilities = Capabilities {
            contexts: vec!["a:b".into()],
            options: [(OptionType::LIST_META_CONTEXT, ReplyType::ACK)].into(),
            lines: vec![found.to_owned()],
            ..Capabilities::default()
        };
        assert_eq!(context(&"a:b".into(), &capabilities), None);
        let skip = context(&"a:c".into(), &capabilities);
        let reason = format!("no context \"a:c\": {found}");
        assert_eq!(skip, Some((SkipKind::NotOffered, reason)));
    }

    #[test]
    fn a_context_is_not_looked_for_where_the_list_has_no_answer() {
        let capabilities = Capabilities {
            unknown: [(OptionType::LIST_META_CONTEXT, "no answer within 5 s".to_owned())].into(),
            ..Capabilities::default()
        };
        let (kind, reason) = context(&"a:b".into(), &capabilities).unwrap();
        assert_eq!(kind, SkipKind::NotPossible);
        assert_eq!(reason, "whether there is \"a:b\" is unknown: no answer within 5 s");
    }

    #[test]
    fn writing_must_be_allowed() {
        let capabilities = Capabilities::default();
        assert_eq!(unmet(&need("write"), &capabilities, ALL), None);
        let careful = Allowed { write: false, ..ALL };
        let skip = unmet(&need("write"), &capabilities, careful).unwrap();
        assert_eq!(skip.0, SkipKind::NotAllowed);
    }
}
