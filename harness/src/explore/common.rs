//! What two servers have in common: sessions for both keep within it.

use protocol::values::{OptionType, ReplyType, TransmissionFlags as T};

use super::facts::Facts;
use crate::run::survey::Capabilities;

/// What a session can count on with both servers; `None` where they have no handshake or no TLS in common.
pub(super) fn common(a: &Facts, b: &Facts) -> Option<Facts> {
    let found = capabilities(&a.found, &b.found)?;
    let facts = Facts {
        setting: a.setting,
        found,
        owned: a.owned && b.owned,
        described: a.described && b.described,
        content: a.content && b.content,
        places: a.places.min(b.places),
        write: a.write && b.write,
        hazard: a.hazard && b.hazard,
    };
    Some(facts)
}

fn capabilities(a: &Capabilities, b: &Capabilities) -> Option<Capabilities> {
    if a.fixed != b.fixed || a.oldstyle != b.oldstyle || a.tls != b.tls {
        return None;
    }
    let names = |it: &Capabilities| {
        it.listed
            .as_ref()
            .is_some_and(|all| all.iter().any(|name| name.as_bytes() == it.export.as_bytes()))
    };
    let both = |name: &&_| b.contexts.contains(name);
    Some(Capabilities {
        size: a.size.min(b.size),
        flags: flags(a.flags, b.flags),
        extended_flags: flags(a.extended_flags, b.extended_flags),
        block_size: block_size(a.block_size, b.block_size),
        block_size_required: a.block_size_required || b.block_size_required,
        refuses_unknown: a.refuses_unknown && b.refuses_unknown,
        leaves_at_unknown: a.leaves_at_unknown || b.leaves_at_unknown,
        unserved: a.unserved || b.unserved,
        served: a.served.into_iter().chain(b.served).min(),
        listed: (names(a) && names(b)).then(|| vec![a.export.as_str().into()]),
        contexts: a.contexts.iter().filter(both).cloned().collect(),
        options: options(a, b),
        ..a.clone()
    })
}

/// What either may do; read-only if one is.
fn flags(a: T, b: T) -> T {
    T((a.0 & b.0) | ((a.0 | b.0) & T::READ_ONLY.0))
}

/// The narrower limits.
fn block_size(a: Option<(u32, u32, u32)>, b: Option<(u32, u32, u32)>) -> Option<(u32, u32, u32)> {
    match (a, b) {
        (Some(a), Some(b)) => Some((a.0.max(b.0), a.1.max(b.1), a.2.min(b.2))),
        (one, other) => one.or(other),
    }
}

/// What both answer in the same way.
fn options(
    a: &Capabilities,
    b: &Capabilities,
) -> std::collections::BTreeMap<OptionType, ReplyType> {
    let same = |(option, reply): &(&OptionType, &ReplyType)| b.options.get(option) == Some(reply);
    a.options.iter().filter(same).map(|(option, reply)| (*option, *reply)).collect()
}
