//! Records with one entry per line: `SCENARIO REQUIREMENT [sometimes] # reason`.
//!
//! `sometimes` is for a race inside the peer: an entry that does not show is then no difference from the record.
//! A line `# version: PATTERN` says which versions of the peer the entries after it are about: `1.32*`,
//! `>=1.38 <1.44`, `3.24*, 3.26*`.

use std::sync::Arc;

use super::entry::{Deviation, DeviationError, Read, in_catalogue};
use crate::run::versions::Versions;

pub(super) fn parse(path: &str, text: &str) -> Result<Read, DeviationError> {
    let mut read = Read::default();
    let mut versions: Option<Arc<Versions>> = None;
    for (index, line) in text.lines().enumerate() {
        let at = format!("{path}:{}", index + 1);
        let fail = |message: String| DeviationError::Line { at: at.clone(), message };
        let line = line.trim();
        if let Some(pattern) = line.strip_prefix("# version:") {
            let these = Arc::new(pattern.parse::<Versions>().map_err(fail)?);
            read.examined.push(these.clone());
            versions = Some(these);
        } else if !line.is_empty() && !line.starts_with('#') {
            let entry = entry(line, &at).map_err(fail)?;
            read.entries.push(Deviation { versions: versions.clone(), ..entry });
        }
    }
    Ok(read)
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
    in_catalogue(requirement)?;
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
    fn a_line_says_which_versions_the_entries_after_it_are_about() {
        let text =
            "a/b baseline-read # x\n# version: 10.*\nc/d baseline-read # x\n# version: 9.*\n";
        let read = parse("x.expect", text).unwrap();
        let about = |version| -> Vec<&str> {
            let entries = read.entries.iter().filter(|entry| entry.is_about(Some(version)));
            entries.map(|entry| entry.at.as_str()).collect()
        };
        assert_eq!(about("10.0.2"), ["x.expect:1", "x.expect:3"]);
        assert_eq!(about("9.1"), ["x.expect:1"]);
        assert_eq!(read.examined.len(), 2);
    }

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
