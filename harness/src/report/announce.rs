//! Failures as they happen: a line for each new cause.

use std::collections::HashSet;

use super::causes::{self, Key};
use super::digest;
use crate::finding::{Finding, Verdict};
use crate::run::Outcome;
use crate::run::deviations::{Deviations, counts};

/// Makes the lines of one run. What fails for a cause that was told already is told no more: the
/// recap at the end lists it.
#[derive(Debug)]
pub struct Announcer {
    known: Deviations,
    strict: bool,
    seen: HashSet<Key>,
    reasons: HashSet<String>,
}

impl Announcer {
    /// With the record of what is known; with `strict` warnings are told as well.
    #[must_use]
    pub fn new(known: Deviations, strict: bool) -> Self {
        Self { known, strict, seen: HashSet::new(), reasons: HashSet::new() }
    }

    /// The line for an outcome, if it has anything new.
    pub fn line(&mut self, outcome: &Outcome) -> Option<String> {
        if outcome.verdict == Verdict::Error {
            let reason = outcome.reason.clone().unwrap_or_default();
            let line = format!("ERROR {}: {}", outcome.id, digest::shortened(&reason));
            return self.reasons.insert(reason).then_some(line);
        }
        let mut outcome = outcome.clone();
        self.known.mark(&mut outcome);
        if !counts(&outcome, self.strict) {
            return None;
        }
        let bad = |finding: &&Finding| finding.known.is_none();
        let first = outcome
            .findings
            .iter()
            .filter(bad)
            .enumerate()
            // The earliest of the worst: what comes after may follow from it.
            .max_by_key(|(index, finding)| (finding.severity(), std::cmp::Reverse(*index)))
            .map(|(_, finding)| finding)?;
        let is_new = !self.seen.contains(&Key::of(first));
        self.seen.extend(outcome.findings.iter().map(Key::of));
        let message = digest::shortened(&causes::message(first));
        is_new.then(|| format!("FAIL {}: {message} [{}]", outcome.id, first.requirement.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{finding, outcome};

    #[test]
    fn a_cause_is_told_once() {
        let mut announcer = Announcer::new(Deviations::default(), false);
        let mut failed = |id: &str, rule: &str| {
            let findings = vec![finding(rule)];
            announcer.line(&outcome(id, Verdict::Fail, findings))
        };
        let first = failed("2.10-go/block-size", "block-size-min-power-of-2");
        insta::assert_snapshot!(first.unwrap(), @"FAIL 2.10-go/block-size: minimum=768 is not a power of 2 [block-size-min-power-of-2]");
        assert_eq!(failed("2.10-go/other", "block-size-min-power-of-2"), None);
        assert!(failed("2.10-go/other", "string-utf8").is_some());
    }

    #[test]
    fn what_is_known_or_only_advice_is_not_told() {
        let known = Deviations::parse("x", "a/b string-utf8 # says why").unwrap();
        let mut announcer = Announcer::new(known, false);
        let findings = vec![finding("string-utf8")];
        assert_eq!(announcer.line(&outcome("a/b", Verdict::Fail, findings)), None);
        let findings = vec![finding("export-size-multiple-of-min")];
        assert_eq!(announcer.line(&outcome("c/d", Verdict::Warn, findings)), None);
        let mut error = outcome("e/f", Verdict::Error, Vec::new());
        error.reason = Some("the peer could not be started".to_owned());
        assert_eq!(
            announcer.line(&error).as_deref(),
            Some("ERROR e/f: the peer could not be started")
        );
        assert_eq!(announcer.line(&error), None);
    }
}
