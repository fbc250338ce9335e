//! Metadata contexts: their names and their selection (section "Metadata querying").

use protocol::message::Side;
use protocol::text::WireString;
use protocol::values::OptionType;

use super::haggling::Outstanding;
use super::rules::{Findings, Rule};
use super::selection::{Context, LIMIT, Meaning};
use super::strings;

/// How the names of the contexts that the specification defines begin.
const BASE: &[u8] = b"base:";

/// Whether there are queries, and all are for the namespace `base`.
pub(super) fn only_base(queries: Option<&Vec<WireString>>) -> bool {
    queries.is_some_and(|queries| {
        !queries.is_empty() && queries.iter().all(|query| query.as_bytes().starts_with(BASE))
    })
}

/// A query of the client.
pub(super) fn check_query(query: &WireString, found: &mut Findings) {
    strings::check(query, Side::Client, "queries", found);
    match query.as_bytes().iter().position(|byte| *byte == b':') {
        // NBD_OPT_LIST_META_CONTEXT, NBD_OPT_SET_META_CONTEXT: a query starts with a (non-empty)
        // namespace and a colon.
        None | Some(0) => {
            let text = format!("query {query} does not begin with a namespace and a colon");
            found.client(Rule::MetaQueryForm, "queries", text);
        }
        Some(colon) => {
            let namespace = query.as_bytes().get(..colon).unwrap_or_default();
            check_namespace(namespace, query, Side::Client, "queries", found);
        }
    }
}

/// "Metadata querying": a namespace consists of printable non-whitespace characters. Whether it is
/// empty is for the caller to say.
fn check_namespace(
    namespace: &[u8],
    name: &WireString,
    party: Side,
    field: &'static str,
    found: &mut Findings,
) {
    if let Ok(text) = std::str::from_utf8(namespace)
        && text.chars().any(|c| c.is_control() && c != '\0' || c.is_whitespace())
    {
        let text = format!("the namespace of {name} has blanks or control characters");
        found.add(Rule::MetaNamespaceCharacters, party, field, text);
    }
}

/// A context in the server's answer. `option` is what it answers: LIST or SET.
pub(super) fn check_context(
    id: u32,
    name: &WireString,
    option: &mut Outstanding,
    found: &mut Findings,
) {
    let listed = option.option == OptionType::LIST_META_CONTEXT;
    check_name(name, listed, found);
    if listed {
        // NBD_OPT_LIST_META_CONTEXT: the id is reserved and should be 0.
        if id != 0 {
            found.server(Rule::ListMetaIdZero, "id", format!("id={id} in a listed context"));
        }
        return;
    }
    // NBD_OPT_SET_META_CONTEXT: without queries no context is selected.
    match option.queries.as_deref() {
        Some([]) => {
            let text = "a context was selected, though there was no query";
            found.server(Rule::SetMetaZeroQueries, "", text);
        }
        Some(queries) => check_wildcards(name, queries, found),
        None => {}
    }
    // NBD_OPT_SET_META_CONTEXT: each selected context has a unique id.
    if option.contexts.iter().any(|context| context.id == id) {
        found.server(Rule::SetMetaUniqueIds, "id", format!("id={id} is used more than once"));
    }
    if option.contexts.len() < LIMIT {
        let meaning = match name.as_bytes() {
            b"base:allocation" => Meaning::BaseAllocation,
            b"qemu:allocation-depth" => Meaning::AllocationDepth,
            name if name.starts_with(BASE) => Meaning::OtherBase,
            name if name.starts_with(b"qemu:dirty-bitmap:") => Meaning::DirtyBitmap,
            _ => Meaning::Unknown,
        };
        option.contexts.push(Context { id, meaning });
    } else {
        option.overflow = true;
    }
}

/// A context that NBD_OPT_SET_META_CONTEXT selected: wildcards are for listing only.
fn check_wildcards(name: &WireString, queries: &[WireString], found: &mut Findings) {
    let asked = |query: &[u8]| queries.iter().any(|it| it.as_bytes() == query);
    let bytes = name.as_bytes();
    let Some(colon) = bytes.iter().position(|byte| *byte == b':') else { return };
    let (namespace, _) = bytes.split_at(colon + 1);
    if asked(bytes) {
        return;
    }
    let (rule, wildcard) = match namespace {
        // "base metadata contexts": in NBD_OPT_SET_META_CONTEXT the bare `base:` is ignored.
        BASE if asked(BASE) => (Rule::BaseWildcardIgnored, "base:"),
        // qemu's namespace: the same, and so is `qemu:dirty-bitmap:`.
        b"qemu:" if asked(namespace) => (Rule::QemuWildcardsSelectNothing, "qemu:"),
        b"qemu:" if asked(b"qemu:dirty-bitmap:") => {
            (Rule::QemuWildcardsSelectNothing, "qemu:dirty-bitmap:")
        }
        // "Metadata querying": an empty leaf name should not select contexts.
        _ if namespace != BASE && asked(namespace) => {
            (Rule::EmptyLeafSelectsNothing, "the bare namespace")
        }
        _ => return,
    };
    found.server(rule, "name", format!("{name} was selected, though only {wildcard} was queried"));
}

fn check_name(name: &WireString, listed: bool, found: &mut Findings) {
    // NBD_REP_META_CONTEXT: the name is valid UTF-8; "Metadata querying": the whole name follows
    // the restrictions for strings.
    let limits = Rule::MetaNameStringLimits;
    let utf8 = Rule::MetaContextUtf8;
    strings::check_as(utf8, limits, limits, name, Side::Server, "name", found);
    let bytes = name.as_bytes();
    let Some(colon) = bytes.iter().position(|byte| *byte == b':') else {
        // NBD_OPT_LIST_META_CONTEXT: each name begins with its namespace and a colon; "Metadata
        // querying": a name is a namespace, a colon and a leaf name.
        let rule = if listed { Rule::ListMetaNameForm } else { Rule::MetaNameForm };
        return found.server(rule, "name", format!("{name} has no colon after a namespace"));
    };
    let namespace = bytes.get(..colon).unwrap_or_default();
    if namespace.is_empty() {
        // "Metadata querying": a namespace is not empty.
        let text = format!("the namespace of {name} is empty");
        return found.server(Rule::MetaNamespaceCharacters, "name", text);
    }
    check_namespace(namespace, name, Side::Server, "name", found);
    // "Metadata querying": base, nbd-server, x-* or registered.
    let registered: [&[u8]; 3] = [b"base", b"nbd-server", b"qemu"];
    if !registered.contains(&namespace) && !namespace.starts_with(b"x-") {
        let text = format!("the namespace of {name} is not registered");
        found.server(Rule::MetaNamespaceRegistered, "name", text);
    }
    // qemu's namespace: allocation-depth and dirty-bitmap:NAME. Wildcards may be listed.
    if let Some(leaf) = bytes.strip_prefix(b"qemu:") {
        let bitmap = leaf.strip_prefix(b"dirty-bitmap:");
        let wildcard = leaf.is_empty() || leaf == b"dirty-bitmap:";
        let known = leaf == b"allocation-depth" || bitmap.is_some_and(|name| !name.is_empty());
        let may_list = listed && wildcard;
        if !known && !may_list {
            let text = format!("{name} is neither allocation depth nor a dirty bitmap");
            found.server(Rule::QemuContextNames, "name", text);
        }
    }
}
