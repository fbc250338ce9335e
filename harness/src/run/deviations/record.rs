//! Records in TOML, as those in `harness/known`.
//!
//! ```toml
//! program = "qemu-nbd"           # optional
//! examined = "7.2*, 10.0*"       # versions that somebody examined; what is not listed here is new in them
//!
//! [[known]]
//! scenario = "2.6-write/read-only"
//! requirement = "write-read-only-eperm"
//! versions = "10.0*"             # optional: only these
//! sometimes = true               # optional: a race inside the peer, which need not show
//! reason = "what it does, and the section that says otherwise"
//! evidence = "S: reply NBD_EINVAL"  # optional
//! ```

use std::sync::Arc;

use serde::Deserialize;
use toml::Spanned;

use super::entry::{Deviation, DeviationError, Read, in_catalogue};
use crate::run::versions::Versions;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    #[serde(rename = "program")]
    _program: Option<String>,
    examined: Option<Spanned<String>>,
    #[serde(default)]
    known: Vec<Spanned<Known>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    scenario: String,
    requirement: Spanned<String>,
    versions: Option<Spanned<String>>,
    #[serde(default)]
    sometimes: bool,
    reason: Spanned<String>,
    evidence: Option<String>,
}

pub(super) fn parse(path: &str, text: &str) -> Result<Read, DeviationError> {
    let line = |offset: usize| 1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count();
    let at = |offset: usize| format!("{path}:{}", line(offset));
    let fail = |offset: usize, message: String| DeviationError::Record { at: at(offset), message };
    let versions = |text: &Spanned<String>| {
        let versions = text.get_ref().parse::<Versions>();
        versions.map(Arc::new).map_err(|message| fail(text.span().start, message))
    };
    let record: Record = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or_else(|| path.to_owned(), |span| at(span.start));
        DeviationError::Record { at, message: error.message().to_owned() }
    })?;
    let mut entries = Vec::new();
    for known in record.known {
        let start = known.span().start;
        let known = known.into_inner();
        let requirement = known.requirement.get_ref();
        in_catalogue(requirement)
            .map_err(|message| fail(known.requirement.span().start, message))?;
        let reason = known.reason.get_ref().trim();
        if reason.is_empty() {
            return Err(fail(known.reason.span().start, "the reason is empty".to_owned()));
        }
        entries.push(Deviation {
            requirement: requirement.clone(),
            reason: match &known.evidence {
                Some(evidence) => format!("{reason}; evidence: {evidence}"),
                None => reason.to_owned(),
            },
            at: at(start),
            versions: known.versions.as_ref().map(versions).transpose()?,
            scenario: known.scenario,
            sometimes: known.sometimes,
        });
    }
    let examined = record.examined.as_ref().map(versions).transpose()?;
    Ok(Read { entries, examined: examined.into_iter().collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_shown_with_their_line() {
        let error = |text: &str| parse("x.toml", text).unwrap_err().to_string();
        let entry = "[[known]]\nscenario = \"a/b\"\nrequirement = \"baseline-read\"\n";
        insta::assert_snapshot!(error(entry));
        insta::assert_snapshot!(error(&format!("{entry}reason = \" \"")));
        insta::assert_snapshot!(error(&format!("{entry}reason = \"why\"\nsince = 3")));
        insta::assert_snapshot!(error(&format!("{entry}reason = \"why\"\nversions = \">1.x, \"")));
        insta::assert_snapshot!(error(&entry.replace("read\"", "reed\"\nreason = \"why\"")));
        insta::assert_snapshot!(error("[[known]\n"));
    }

    #[test]
    fn evidence_is_shown_with_the_reason() {
        let text = "[[known]]\nscenario = \"a/b\"\nrequirement = \"baseline-read\"\n\
                    reason = \"reads too little\"\nevidence = \"S: x\"\nsometimes = true\n";
        let Read { entries, examined } = parse("x.toml", text).unwrap();
        assert_eq!(entries[0].reason, "reads too little; evidence: S: x");
        assert!(entries[0].sometimes && examined.is_empty());
    }
}
