//! A warning that a server earns in whatever is asked of it is about the server: it is told once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::finding::{Finding, Severity, Verdict};
use crate::run::Outcome;
use crate::scenarios::SANITY;
use crate::script::ast::Script;

/// In more scenarios than this a warning is not about what they test.
const MANY: usize = 10;

/// A rule, and how it was broken.
type Trait = (&'static str, String);

/// Leaves a warning of the judge that shows in many scenarios to those that are about its rule, else
/// to the plainest one that has it, and says there how many more had it.
pub(super) fn tell_once(outcomes: &mut [Outcome], scripts: &[Arc<Script>]) {
    let mut seen: BTreeMap<Trait, BTreeSet<usize>> = BTreeMap::new();
    for (place, outcome) in outcomes.iter().enumerate() {
        for shown in outcome.findings.iter().filter_map(standing) {
            seen.entry(shown).or_default().insert(place);
        }
    }
    seen.retain(|_, places| places.len() > MANY);
    for (shown, places) in &seen {
        let claims = |place: &&usize| claims(scripts, &outcomes[**place].id, shown.0);
        let mut keepers: BTreeSet<usize> = places.iter().filter(claims).copied().collect();
        if keepers.is_empty() {
            let plainest = places.iter().find(|place| outcomes[**place].id == SANITY);
            keepers.extend(plainest.or(places.first()));
        }
        let others = places.len() - keepers.len();
        for place in places.difference(&keepers) {
            drop_finding(&mut outcomes[*place], shown);
        }
        if let Some(first) = keepers.first() {
            tell(&mut outcomes[*first], shown, others);
        }
    }
}

/// What a finding is, if it is a warning of the judge that no record explains.
fn standing(finding: &Finding) -> Option<Trait> {
    let is =
        finding.detail.judged && finding.known.is_none() && finding.severity() == Severity::Warning;
    is.then(|| (finding.requirement.id, finding.message.clone()))
}

fn claims(scripts: &[Arc<Script>], id: &str, rule: &str) -> bool {
    let script = scripts.iter().find(|script| script.id == id);
    script.is_some_and(|script| script.header.claims(rule))
}

fn drop_finding(outcome: &mut Outcome, shown: &Trait) {
    outcome.findings.retain(|finding| standing(finding).as_ref() != Some(shown));
    if outcome.verdict == Verdict::Warn {
        outcome.verdict = Verdict::of(&outcome.findings);
    }
}

fn tell(outcome: &mut Outcome, shown: &Trait, others: usize) {
    if others == 0 {
        return;
    }
    for finding in &mut outcome.findings {
        if standing(finding).as_ref() == Some(shown) {
            finding.message.push_str(&format!("; the same in {others} more scenarios"));
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::message::Side;
    use protocol::requirements::{self, id};

    use super::*;
    use crate::finding::Detail;

    fn scripts() -> Vec<Arc<Script>> {
        crate::scenarios::all().unwrap()
    }

    fn warned(script: &Script, message: &str) -> Outcome {
        let finding = Finding {
            requirement: requirements::find(id::BLOCK_SIZE_MAX_1_MIB).unwrap(),
            party: Side::Server,
            message: message.to_owned(),
            at: String::new(),
            detail: Detail { judged: true, ..Detail::default() },
            known: None,
        };
        let mut outcome = Outcome::new("server", script, "nbdcheck run");
        (outcome.verdict, outcome.findings) = (Verdict::Warn, vec![finding]);
        outcome
    }

    fn told(outcomes: &[Outcome]) -> Vec<&str> {
        outcomes.iter().flat_map(|it| &it.findings).map(|it| it.message.as_str()).collect()
    }

    #[test]
    fn a_warning_in_every_scenario_is_told_by_the_one_that_is_about_it() {
        let scripts = scripts();
        let script = |script: &&Arc<Script>| claims(&scripts, &script.id, id::BLOCK_SIZE_MAX_1_MIB);
        let about = scripts.iter().find(script).expect("a scenario is about it");
        let others = scripts.iter().filter(|script| script.id != about.id).take(20);
        let mut outcomes: Vec<Outcome> = others.map(|it| warned(it, "maximum=65536")).collect();
        outcomes.push(warned(about, "maximum=65536"));
        tell_once(&mut outcomes, &scripts);
        assert_eq!(told(&outcomes), ["maximum=65536; the same in 20 more scenarios"]);
        assert_eq!(outcomes.iter().filter(|it| it.verdict == Verdict::Pass).count(), 20);
        assert_eq!(outcomes.last().unwrap().verdict, Verdict::Warn);
    }

    #[test]
    fn without_such_a_scenario_the_first_one_tells() {
        let scripts = scripts();
        let mut outcomes: Vec<Outcome> =
            scripts.iter().take(12).map(|it| warned(it, "maximum=65536")).collect();
        tell_once(&mut outcomes, &[]);
        assert_eq!(told(&outcomes), ["maximum=65536; the same in 11 more scenarios"]);
        assert_eq!(outcomes[0].verdict, Verdict::Warn);
    }

    #[test]
    fn what_a_few_show_or_differs_stays_where_it_is() {
        let scripts = scripts();
        let mut few: Vec<Outcome> =
            scripts.iter().take(MANY).map(|it| warned(it, "maximum=65536")).collect();
        let differently = |(at, it): (usize, &Arc<Script>)| warned(it, &format!("maximum={at}"));
        let mut unlike: Vec<Outcome> =
            scripts.iter().take(20).enumerate().map(differently).collect();
        tell_once(&mut few, &scripts);
        tell_once(&mut unlike, &scripts);
        assert_eq!((told(&few).len(), told(&unlike).len()), (MANY, 20));
    }
}
