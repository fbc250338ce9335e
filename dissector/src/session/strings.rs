//! The rules for every string (section "Conventions").

use protocol::message::Side;
use protocol::text::WireString;
use protocol::values::{STRING_LIMIT, STRING_SOFT_LIMIT};

use super::rules::{Findings, Rule};

/// Checks a string that has no rules of its own.
pub(super) fn check(text: &WireString, party: Side, field: &'static str, found: &mut Findings) {
    check_as(Rule::StringUtf8, Rule::StringNoNul, Rule::StringHardLimit, text, party, field, found);
}

/// Checks a string; the three binding rules may be those that the field's own section repeats.
pub(super) fn check_as(
    utf8: Rule,
    no_nul: Rule,
    limit: Rule,
    text: &WireString,
    party: Side,
    field: &'static str,
    found: &mut Findings,
) {
    // A string is a sequence of UTF-8 code points.
    if text.to_str().is_none() {
        found.add(utf8, party, field, format!("{field} is not valid UTF-8"));
    }
    // It contains no NUL.
    if let Some(at) = text.as_bytes().iter().position(|byte| *byte == 0) {
        found.add(no_nul, party, field, format!("{field} has a NUL at byte {at}"));
    }
    let length = text.len();
    if length > STRING_LIMIT {
        // It is no longer than 4096 bytes.
        let text = format!("{field} of {length} bytes is longer than {STRING_LIMIT}");
        found.add(limit, party, field, text);
    } else if length > STRING_SOFT_LIMIT && !(party == Side::Client && field == "name") {
        // It should be no longer than 256 bytes. A client repeats the name that an export has.
        let text = format!("{field} of {length} bytes is longer than {STRING_SOFT_LIMIT}");
        found.add(Rule::StringSoftLimit, party, field, text);
    }
}
