//! Metadata contexts as a client knows them.

use protocol::message::Extent;

use super::error::Violation;

/// A metadata context that the server has selected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaContext {
    /// What its status chunks carry, in this session.
    pub id: u32,
    /// Namespace, colon, leaf.
    pub name: String,
}

/// What only an extended status chunk can get wrong. No context that is known here has more than
/// 32 bits of status; others may.
pub(crate) fn check_extended(
    context: Option<&MetaContext>,
    count: u32,
    extents: &[Extent],
) -> Result<(), Violation> {
    if count == 0 || (!extents.is_empty() && count as usize != extents.len()) {
        return Err(Violation::ExtentCount { count, found: extents.len() });
    }
    if extents.is_empty() || extents.iter().any(|extent| extent.length == 0) {
        return Err(Violation::EmptyExtendedExtent);
    }
    let known = context.is_some_and(|context| {
        context.name.starts_with("base:") || context.name.starts_with("qemu:")
    });
    match extents.iter().find(|extent| extent.status > u64::from(u32::MAX)) {
        Some(extent) if known => Err(Violation::LongStatus(extent.status)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extended_status_is_counted_not_empty_and_as_long_as_its_context() {
        let (base, other) = ("base:allocation", "x-none:a");
        let extent = |length, status| Extent { length, status };
        for (name, count, extents, checked) in [
            (base, 1, &[extent(1 << 40, 3)][..], Ok(())),
            (base, 2, &[extent(1, 1), extent(2, 0)], Ok(())),
            (other, 1, &[extent(1, 1 << 32)], Ok(())),
            (base, 1, &[extent(1, 1 << 32)], Err(Violation::LongStatus(1 << 32))),
            (base, 0, &[], Err(Violation::ExtentCount { count: 0, found: 0 })),
            (base, 1, &[], Err(Violation::EmptyExtendedExtent)),
            (base, 1, &[extent(0, 1)], Err(Violation::EmptyExtendedExtent)),
            (base, 2, &[extent(1, 1)], Err(Violation::ExtentCount { count: 2, found: 1 })),
        ] {
            let context = MetaContext { id: 1, name: name.to_owned() };
            assert_eq!(check_extended(Some(&context), count, extents), checked, "{extents:?}");
        }
    }
}
