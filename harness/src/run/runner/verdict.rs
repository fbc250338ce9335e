//! The verdict of what was played.

use protocol::message::Side;
use protocol::requirements::{self, id};
use protocol::values::ReplyType;
use reference_server::Profile;

use crate::finding::{Detail, EventKind, Finding, Verdict};
use crate::interpret::{Ending, Played};
use crate::run::{Outcome, SkipKind};
use crate::scenarios::SANITY;
use crate::script::ast::Version;

/// A maximum payload below this is below what the specification recommends.
const SMALL_MAXIMUM: &str = id::BLOCK_SIZE_MAX_1_MIB;
/// Larger chunks than that maximum.
const LARGER_CHUNKS: &str = id::CHUNK_VARIABLE_PART_LIMIT;

/// What is added to the first of these rules then.
const SERVED: &str = "; larger requests are served all the same";

/// A server that tells a maximum below 1 MiB and sends more than that means something else by the
/// number: that is one mistake, and the first rule names it.
fn fold_small_maximum(findings: &mut Vec<Finding>) {
    let is = |rule: &'static str| move |finding: &Finding| finding.requirement.id == rule;
    if !findings.iter().any(is(SMALL_MAXIMUM)) || !findings.iter().any(is(LARGER_CHUNKS)) {
        return;
    }
    findings.retain(|finding| !is(LARGER_CHUNKS)(finding));
    for finding in findings.iter_mut().filter(|finding| is(SMALL_MAXIMUM)(finding)) {
        finding.message.push_str(SERVED);
    }
}

/// What one scenario has shown of the maximum is said wherever the maximum is told.
pub(super) fn tell_small_maximum(outcomes: &mut [Outcome]) {
    let findings =
        || outcomes.iter().flat_map(|outcome| &outcome.findings).map(|finding| &finding.message);
    if !findings().any(|message| message.ends_with(SERVED)) {
        return;
    }
    for finding in outcomes.iter_mut().flat_map(|outcome| &mut outcome.findings) {
        if finding.requirement.id == SMALL_MAXIMUM && !finding.message.ends_with(SERVED) {
            finding.message.push_str(SERVED);
        }
    }
}

/// What the judge finds and the script too, by a check or in the same message, is one mistake, and the
/// judge says more of it.
fn fold_judged(findings: &mut Vec<Finding>) {
    let judged: Vec<_> = findings
        .iter()
        .filter(|it| it.detail.judged)
        .map(|it| (it.requirement.id, it.detail.received.clone()))
        .collect();
    findings.retain(|finding| {
        let Detail { received, event, .. } = &finding.detail;
        let same = |(id, shown): &(&str, String)| {
            *id == finding.requirement.id && (*event == EventKind::Check || shown == received)
        };
        finding.detail.judged || !judged.iter().any(same)
    });
}

/// The rule that a server breaks by ending connections before its greeting.
const GREETS: &str = id::SESSION_NO_UNJUSTIFIED_HARD_DISCONNECT;

/// Of a server that has ended so many of so many connections before its greeting, also where no other
/// client was there.
pub(super) fn hang_up(early: u32, of: u32) -> Finding {
    Finding {
        requirement: requirements::find(GREETS).expect("the catalogue has this rule"),
        party: Side::Server,
        message: format!("closed {early} of {of} connections before its greeting"),
        at: "survey".to_owned(),
        detail: Detail {
            expected: vec!["S: greeting".to_owned()],
            received: "close: the peer closed the connection".to_owned(),
            event: EventKind::Refused,
            ..Detail::default()
        },
        known: None,
    }
}

/// No scenario is about that: the plainest one tells it, or `spare` where it was not chosen.
pub(super) fn tell_hang_up(outcomes: &mut Vec<Outcome>, finding: Finding, spare: Option<Outcome>) {
    let id = spare.as_ref().map_or(SANITY, |spare| spare.id.as_str());
    let place = match outcomes.iter().position(|outcome| outcome.id == id) {
        Some(place) => place,
        None => {
            let Some(spare) = spare else { return };
            outcomes.push(spare);
            outcomes.len() - 1
        }
    };
    let outcome = &mut outcomes[place];
    (outcome.verdict, outcome.skipped, outcome.reason) = (Verdict::Fail, None, None);
    outcome.findings.push(finding);
}

/// The verdict of what was played.
pub(in crate::run) fn conclude(outcome: &mut Outcome, mut played: Played) {
    fold_small_maximum(&mut played.findings);
    fold_judged(&mut played.findings);
    outcome.requirements = played.exercised.into_iter().collect();
    outcome.verdict = Verdict::of(&played.findings);
    outcome.findings = played.findings;
    match played.end {
        Ending::Done => {}
        Ending::Skipped(reason) if outcome.verdict == Verdict::Pass => {
            outcome.verdict = Verdict::Skip;
            outcome.skip(SkipKind::NotOffered, reason);
        }
        Ending::Unfit(reason) if outcome.verdict == Verdict::Pass => {
            outcome.verdict = Verdict::Skip;
            outcome.skip(SkipKind::NotPossible, reason);
        }
        Ending::Error(reason) if outcome.verdict != Verdict::Fail => {
            outcome.fail_to_run(reason);
        }
        Ending::Skipped(_) | Ending::Unfit(_) | Ending::Error(_) => {}
    }
}

/// A profile of a release that is older than a scenario's feature is no worse for not having it.
pub(super) fn older(outcome: &mut Outcome, profile: &Profile) {
    let newer = profile.version().parse::<Version>().is_ok_and(|version| outcome.since > version);
    let unsupported = |finding: &Finding| finding.detail.reply == Some(ReplyType::ERR_UNSUP);
    if newer && outcome.verdict == Verdict::Fail && outcome.findings.iter().all(unsupported) {
        let received = outcome.findings.first().map(|finding| finding.detail.received.clone());
        let feature = outcome.feature.clone();
        outcome.findings.clear();
        outcome.verdict = Verdict::Skip;
        let reason = format!("{feature} is not offered: {}", received.unwrap_or_default());
        outcome.skip(SkipKind::NotOffered, reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Severity;

    fn finding(id: &str) -> Finding {
        Finding {
            requirement: requirements::find(id).unwrap(),
            party: Side::Server,
            message: "maximum=4096".to_owned(),
            at: String::new(),
            detail: Detail::default(),
            known: None,
        }
    }

    #[test]
    fn what_the_judge_and_a_check_find_is_told_once() {
        let mut judged = finding(SMALL_MAXIMUM);
        judged.detail.judged = true;
        let mut check = finding(SMALL_MAXIMUM);
        check.detail.event = EventKind::Check;
        let mut alone = vec![check.clone(), finding(LARGER_CHUNKS)];
        fold_judged(&mut alone);
        assert_eq!(alone.len(), 2);
        let mut both = vec![check, judged];
        fold_judged(&mut both);
        assert!(matches!(&both[..], [one] if one.detail.judged), "{both:?}");
    }

    #[test]
    fn a_small_maximum_that_is_not_meant_is_one_mistake() {
        let larger = finding(LARGER_CHUNKS);
        let small = finding(SMALL_MAXIMUM);
        let mut alone = vec![larger.clone()];
        fold_small_maximum(&mut alone);
        assert_eq!(alone.len(), 1, "a chunk beyond a proper maximum is a failure");
        let mut both = vec![small, larger];
        fold_small_maximum(&mut both);
        let [one] = &both[..] else { panic!("{both:?}") };
        assert_eq!(one.severity(), Severity::Warning);
        insta::assert_snapshot!(one.message, @"maximum=4096; larger requests are served all the same");
    }
}
