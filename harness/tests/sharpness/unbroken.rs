//! Every requirement that binds a side is broken by a fault of that side, or stands in a list with the reason.

use std::collections::{BTreeMap, BTreeSet};

use harness::selftest::AnyFault;
use protocol::message::Side;
use protocol::requirements::{self, Level, Observable};

/// Compares a list with the faults of a side; gives how many requirements it has.
pub(crate) fn check(side: Side, list: &str) -> usize {
    let lines = list.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let reasons: BTreeMap<&str, &str> = lines.map(|line| line.split_once(' ').unwrap()).collect();
    let faults = AnyFault::all(side).into_iter();
    let broken: BTreeSet<&str> = faults.flat_map(AnyFault::expected).copied().collect();
    let mut wrong = Vec::new();
    for requirement in requirements::all() {
        let binds = requirement.actor != Some(side.other())
            && requirement.level != Level::May
            && requirement.observable != Observable::None;
        let (faults, reason) =
            (broken.contains(requirement.id), reasons.contains_key(requirement.id));
        if binds && faults == reason {
            wrong.push(format!("{}: fault {faults}, reason {reason}", requirement.id));
        }
    }
    let known = |id: &&&str| requirements::find(id).is_some();
    wrong.extend(reasons.keys().filter(|id| !known(id)).map(|id| format!("{id} is unknown")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    reasons.len()
}
