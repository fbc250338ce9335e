//! The verdict of what was played.

use reference_server::Profile;

use crate::finding::{Finding, Severity, Verdict};
use crate::interpret::{Ending, Played};
use crate::run::{Outcome, SkipKind};
use crate::script::ast::Version;

/// The verdict of what was played.
pub(in crate::run) fn conclude(outcome: &mut Outcome, played: Played) {
    outcome.requirements = played.exercised.into_iter().collect();
    outcome.verdict = match played.findings.iter().map(|finding| finding.severity).max() {
        Some(Severity::Failure) => Verdict::Fail,
        Some(Severity::Warning) => Verdict::Warn,
        None => Verdict::Pass,
    };
    outcome.findings = played.findings;
    match played.end {
        Ending::Done => {}
        Ending::Skipped(reason) if outcome.verdict == Verdict::Pass => {
            outcome.verdict = Verdict::Skip;
            outcome.skip(SkipKind::NotOffered, reason);
        }
        Ending::Error(reason) if outcome.verdict != Verdict::Fail => {
            outcome.fail_to_run(reason);
        }
        Ending::Skipped(_) | Ending::Error(_) => {}
    }
}

/// A profile of a release that is older than a scenario's feature is no worse for not having it.
pub(super) fn older(outcome: &mut Outcome, profile: &Profile) {
    let newer = profile.version().parse::<Version>().is_ok_and(|version| outcome.since > version);
    let unsupported = |finding: &Finding| finding.detail.received.contains("NBD_REP_ERR_UNSUP");
    if newer && outcome.verdict == Verdict::Fail && outcome.findings.iter().all(unsupported) {
        let received = outcome.findings.first().map(|finding| finding.detail.received.clone());
        let feature = outcome.feature.clone();
        outcome.findings.clear();
        outcome.verdict = Verdict::Skip;
        let reason = format!("{feature} is not offered: {}", received.unwrap_or_default());
        outcome.skip(SkipKind::NotOffered, reason);
    }
}
