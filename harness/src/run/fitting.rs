//! What the names of configurations stand for: the harness starts servers so, and looks for an export that is so
//! on servers that somebody else runs. What scenarios need besides, they say themselves.

use protocol::values::{OptionType, TransmissionFlags};

use super::SkipKind;
use super::survey::Capabilities;

/// What makes such a scenario run.
const STARTED: &str = "`--peer` has servers that are set up so";
/// A sector, in bytes.
const SECTOR: u64 = 512;

/// Why an export of a server that somebody else runs is not what a configuration asks for, if it is
/// not.
#[must_use]
pub fn unfit(configuration: &str, found: &Capabilities) -> Option<(SkipKind, String)> {
    let told = |texts: &[&str]| found.evidence(texts).unwrap_or("no line of the server shows it");
    let unless = |fits: bool, why: &str, texts: &[&str]| {
        let reason = || (SkipKind::NotPossible, format!("{why}: {}", told(texts)));
        (!fits).then(reason)
    };
    // What has not been answered is unknown: it may be there.
    let lacks = |option| !found.offers(option) && found.why_unknown(option).is_none();
    let sized: &[&str] = &["size="];
    let (name, value) = match configuration.split_once('-') {
        Some(("size", value)) => ("size", value.parse::<u64>().ok()),
        _ => (configuration, None),
    };
    match name {
        "size" => {
            let wanted = value.unwrap_or_default();
            let why = format!(
                "no export of the size {wanted}, or of one like it (`--server` can start one)"
            );
            unless(is_like(wanted, found.size), &why, sized)
        }
        "odd-size" => {
            let odd = !found.size.is_multiple_of(SECTOR);
            unless(
                odd,
                "no export whose size is not a multiple of 512 (`--server` can start one)",
                sized,
            )
        }
        "read-only" => {
            let read_only = found.flags.has(TransmissionFlags::READ_ONLY);
            unless(read_only, "no export is read-only (`--server` can start one)", &["flags="])
        }
        "oldstyle" => unless(found.oldstyle, "the server is not oldstyle", &["greeting"]),
        "newstyle" => {
            let newstyle = !found.fixed && !found.oldstyle;
            unless(newstyle, "the server is not newstyle without the fixed flag", &["greeting"])
        }
        "no-list" => {
            let list = &["option=NBD_OPT_LIST"];
            unless(lacks(OptionType::LIST), "the server lists its exports", list)
        }
        "no-structured" => {
            let option = OptionType::STRUCTURED_REPLY;
            let texts = &["option=NBD_OPT_STRUCTURED_REPLY"];
            unless(lacks(option), "the server has structured replies", texts)
        }
        "errors" => setup("a bad sector at 512 KiB"),
        "slow" => setup("a disk that is slow"),
        // What they are about, `needs` says: a size, a flag, a context, that there are several.
        _ => None,
    }
}

/// What nobody has by chance.
fn setup(what: &str) -> Option<(SkipKind, String)> {
    Some((SkipKind::NotPossible, format!("it needs {what}: {STARTED}")))
}

/// Whether a size will do where another is asked for: none, less than a sector, or more than one
/// but no whole ones.
fn is_like(wanted: u64, size: u64) -> bool {
    if wanted == 0 || size == 0 {
        return size == wanted;
    }
    if wanted.is_multiple_of(SECTOR) {
        return size == wanted;
    }
    !size.is_multiple_of(SECTOR) && (size < SECTOR) == (wanted < SECTOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn export(size: u64, flags: TransmissionFlags) -> Capabilities {
        let lines = vec![format!("S: NBD_REP_INFO NBD_INFO_EXPORT size={size} flags={flags}")];
        Capabilities { size, flags, lines, fixed: true, ..Capabilities::default() }
    }

    #[test]
    fn an_export_will_do_that_is_like_what_is_asked_for() {
        let writable = TransmissionFlags::HAS_FLAGS;
        let fits = |name: &str, size| unfit(name, &export(size, writable)).is_none();
        for (name, right, wrong) in [
            ("size-0", vec![0], vec![1, 512]),
            ("size-1", vec![1, 7, 511], vec![0, 512, 513]),
            ("size-513", vec![513, 1_000_001], vec![511, 1024]),
            ("odd-size", vec![1, 1_000_001], vec![0, 1 << 20]),
            ("default", vec![0, 1, 1 << 20], vec![]),
            ("no-zeroes", vec![1], vec![]),
            ("errors", vec![], vec![1 << 20]),
        ] {
            assert!(right.into_iter().all(|size| fits(name, size)), "{name}");
            assert!(!wrong.into_iter().any(|size| fits(name, size)), "{name}");
        }
    }

    #[test]
    fn the_reason_quotes_what_the_server_told() {
        let (kind, reason) =
            unfit("read-only", &export(512, TransmissionFlags::HAS_FLAGS)).unwrap();
        assert_eq!(kind, SkipKind::NotPossible);
        insta::assert_snapshot!(reason, @"no export is read-only (`--server` can start one): S: NBD_REP_INFO NBD_INFO_EXPORT size=512 flags={HAS_FLAGS}");
        let (_, reason) = unfit("errors", &export(512, TransmissionFlags::HAS_FLAGS)).unwrap();
        insta::assert_snapshot!(reason, @"it needs a bad sector at 512 KiB: `--peer` has servers that are set up so");
    }
}
