//! Records with one entry per line: `SCENARIO REQUIREMENT [sometimes] # reason`.
//!
//! `sometimes` is for a race inside the peer: an entry that does not show is then no difference from the record.

use super::entry::{Deviation, DeviationError};

pub(super) fn parse(path: &str, text: &str) -> Result<Vec<Deviation>, DeviationError> {
    let mut entries = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let at = format!("{path}:{}", index + 1);
        let entry = entry(line, &at).map_err(|message| DeviationError::Line { at, message })?;
        entries.push(entry);
    }
    Ok(entries)
}

fn entry(line: &str, at: &str) -> Result<Deviation, String> {
    let (entry, reason) = line.split_once('#').ok_or("a reason is missing")?;
    let words: Vec<&str> = entry.split_whitespace().collect();
    let (scenario, requirement, sometimes) = match words[..] {
        [scenario, requirement] => (scenario, requirement, false),
        [scenario, requirement, "sometimes"] => (scenario, requirement, true),
        [_, _, word] => return Err(format!("expected `sometimes` or `#`, not `{word}`")),
        _ => {
            let count = words.len();
            return Err(format!("there are {count} words before the reason instead of 2"));
        }
    };
    if protocol::requirements::find(requirement).is_none() {
        return Err(format!("`{requirement}` is not in the catalogue"));
    }
    if reason.trim().is_empty() {
        return Err("a reason is missing".to_owned());
    }
    Ok(Deviation {
        scenario: scenario.to_owned(),
        requirement: requirement.to_owned(),
        sometimes,
        reason: reason.trim().to_owned(),
        at: at.to_owned(),
        versions: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_needs_a_reason_and_a_known_requirement() {
        let error = |text| parse("x.expect", text).unwrap_err().to_string();
        insta::assert_snapshot!(error("a/b baseline-read"), @r"
        x.expect:1: a reason is missing
        hint: an entry is `SCENARIO REQUIREMENT [sometimes] # reason`
        ");
        insta::assert_snapshot!(error("a/b baseline-read often # why"), @r"
        x.expect:1: expected `sometimes` or `#`, not `often`
        hint: an entry is `SCENARIO REQUIREMENT [sometimes] # reason`
        ");
        insta::assert_snapshot!(error("a/b baseline-reed # why"), @r"
        x.expect:1: `baseline-reed` is not in the catalogue
        hint: an entry is `SCENARIO REQUIREMENT [sometimes] # reason`
        ");
    }
}
