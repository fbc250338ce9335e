//! The features of a run, by the version of qemu that brought them.

use std::collections::BTreeMap;

use crate::run::milestones::{MILESTONES, Offer};
use crate::run::result::TargetRun;
use crate::run::{Outcome, SkipKind, Totals};
use crate::script::ast::Version;

/// A feature's verdict over its scenarios.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeatureVerdict {
    /// Every scenario that ran passed.
    Pass,
    /// Some warned, none failed.
    Warn,
    /// Some failed.
    Fail,
    /// The peer does not offer it.
    NotOffered,
    /// No scenario ran, for another reason.
    NotTested,
}

impl FeatureVerdict {
    /// The contract's word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::NotOffered => "not-offered",
            Self::NotTested => "not-tested",
        }
    }
}

/// Whether the server was seen not to offer what a feature is.
fn is_withheld(offers: &[Offer], feature: &str, since: Version) -> bool {
    let about = |offer: &&Offer| {
        let milestone = MILESTONES.iter().find(|milestone| milestone.name == offer.name);
        milestone.is_some_and(|milestone| milestone.covers(feature, since))
    };
    let mut about = offers.iter().filter(about).peekable();
    about.peek().is_some() && about.all(|offer| offer.offered == Some(false))
}

/// A feature and its scenarios.
#[derive(Debug, Clone)]
pub struct Feature<'o> {
    /// The qemu version that brought it.
    pub since: Version,
    /// Its name.
    pub name: &'o str,
    /// How its scenarios came out.
    pub totals: Totals,
    /// In a word.
    pub verdict: FeatureVerdict,
}

/// Groups the outcomes of a run by version and feature, in this order. What tests a server that does not
/// offer a feature is no sign that it does.
#[must_use]
pub fn features(run: &TargetRun) -> Vec<Feature<'_>> {
    let mut groups: BTreeMap<(Version, &str), Vec<&Outcome>> = Default::default();
    for outcome in &run.outcomes {
        groups.entry((outcome.since, &outcome.feature)).or_default().push(outcome);
    }
    groups
        .into_iter()
        .map(|((since, name), outcomes)| {
            let totals = Totals::of(outcomes.iter().copied());
            let verdict = if totals.failed > 0 || totals.known > 0 {
                FeatureVerdict::Fail
            } else if is_withheld(&run.offers, name, since) {
                FeatureVerdict::NotOffered
            } else if totals.warned > 0 {
                FeatureVerdict::Warn
            } else if totals.passed > 0 {
                FeatureVerdict::Pass
            } else if outcomes.iter().any(|o| o.skipped == Some(SkipKind::NotOffered)) {
                FeatureVerdict::NotOffered
            } else {
                FeatureVerdict::NotTested
            };
            Feature { since, name, totals, verdict }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Verdict;
    use crate::script::ast::Script;

    #[test]
    fn what_tests_a_server_without_a_feature_is_no_sign_that_it_has_it() {
        let scripts = crate::scenarios::all().unwrap();
        let is = |script: &&std::sync::Arc<Script>| script.id == "2.11-structured/not-asked";
        let mut run = TargetRun::new("server");
        let mut outcome = Outcome::new("server", scripts.iter().find(is).unwrap(), "nbdcheck run");
        outcome.verdict = Verdict::Pass;
        run.outcomes.push(outcome);
        let milestone = MILESTONES.iter().find(|it| it.name == "structured replies").unwrap();
        for (offered, verdict) in [
            (Some(false), FeatureVerdict::NotOffered),
            (Some(true), FeatureVerdict::Pass),
            (None, FeatureVerdict::Pass),
        ] {
            run.offers = vec![Offer {
                name: milestone.name.to_owned(),
                since: milestone.since,
                setup: false,
                offered,
                hidden: false,
                evidence: None,
            }];
            assert_eq!(features(&run)[0].verdict, verdict);
        }
    }
}
