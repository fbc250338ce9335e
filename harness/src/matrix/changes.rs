//! What has changed between two reports.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::tested::{Scenario, Tested};
use crate::finding::Verdict;
use crate::markup::clean;

/// What a scenario amounts to for whoever compares two runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Passed,
    /// It failed, and a record of known failures says so.
    Known,
    Warned,
    /// It failed, or could not be played to its end.
    Failed,
    /// It was skipped, or its turn did not come.
    NotRun,
}

impl Standing {
    fn of(scenario: Option<&Scenario>) -> Self {
        let Some(scenario) = scenario else { return Self::NotRun };
        match scenario.verdict {
            Verdict::Pass => Self::Passed,
            Verdict::Warn => Self::Warned,
            Verdict::Skip => Self::NotRun,
            Verdict::Fail if scenario.known => Self::Known,
            Verdict::Fail | Verdict::Error => Self::Failed,
        }
    }
}

/// How a scenario came to stand otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// It fails, and did not fail before.
    Broken,
    /// It fails as before, but by another requirement.
    FailsOtherwise,
    /// It warns, and did not before.
    Warns,
    /// It was run before, and is not any more.
    NotRun,
    /// It fails as before, and a record of known failures says so now.
    Known,
    /// It does not fail or warn any more.
    Mended,
    /// It was not run before, and passes.
    Came,
}

impl Change {
    const ALL: [Self; 7] = [
        Self::Broken,
        Self::FailsOtherwise,
        Self::Warns,
        Self::NotRun,
        Self::Known,
        Self::Mended,
        Self::Came,
    ];

    /// The word before each scenario.
    const fn word(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::FailsOtherwise => "fails otherwise",
            Self::Warns => "warns now",
            Self::NotRun => "not run any more",
            Self::Known => "known now",
            Self::Mended => "mended",
            Self::Came => "new",
        }
    }

    /// What became of a scenario; `None` if nothing did that matters.
    fn of(old: Option<&Scenario>, new: Option<&Scenario>) -> Option<Self> {
        match (Standing::of(old), Standing::of(new)) {
            (Standing::Failed, Standing::Failed) => {
                let rule = |it: Option<&'_ Scenario>| it.and_then(|it| it.requirement.clone());
                (rule(old) != rule(new)).then_some(Self::FailsOtherwise)
            }
            (_, Standing::Failed) => Some(Self::Broken),
            (before, now) if before == now => None,
            (_, Standing::NotRun) => Some(Self::NotRun),
            (Standing::NotRun, Standing::Passed) => Some(Self::Came),
            (Standing::Failed, Standing::Known) => Some(Self::Known),
            (Standing::Failed, _) => Some(Self::Mended),
            (_, Standing::Warned) => Some(Self::Warns),
            (Standing::Warned | Standing::Known, Standing::Passed) => Some(Self::Mended),
            _ => None,
        }
    }
}

/// What has changed of one target.
#[derive(Debug)]
pub struct Changes<'r> {
    name: &'r str,
    /// By kind, then by id: the scenario, as it is now if it is there.
    list: Vec<(Change, &'r Scenario)>,
    /// What kept the new run from its end, and not the old one.
    problem: Option<&'r str>,
}

impl<'r> Changes<'r> {
    fn between(old: &'r Tested, new: &'r Tested) -> Self {
        let (before, now) = (by_id(old), by_id(new));
        let ids: BTreeSet<&str> = before.keys().chain(now.keys()).copied().collect();
        let mut list: Vec<(Change, &Scenario)> = ids
            .into_iter()
            .filter_map(|id| {
                let (old, new) = (before.get(id).copied(), now.get(id).copied());
                Some((Change::of(old, new)?, new.or(old)?))
            })
            .collect();
        // Stable: the ids stay in order.
        list.sort_by_key(|(change, _)| *change);
        let problem = new.problem.as_deref().filter(|_| old.problem.is_none());
        Self { name: &new.name, list, problem }
    }

    fn count(&self, change: Change) -> usize {
        self.list.iter().filter(|(it, _)| *it == change).count()
    }

    /// Whether something fails that did not fail before.
    #[must_use]
    pub fn is_worse(&self) -> bool {
        self.problem.is_some() || self.count(Change::Broken) > 0
    }

    fn render(&self, out: &mut String) {
        let _ = writeln!(out, "{}", clean(self.name));
        if let Some(problem) = self.problem {
            let _ = writeln!(out, "  problem           {}", clean(problem));
        }
        for (change, scenario) in &self.list {
            let text = match change {
                Change::Mended | Change::Came => scenario.id.clone(),
                _ => scenario.in_a_line(),
            };
            let _ = writeln!(out, "  {:<16}  {}", change.word(), clean(&text));
        }
        let counts: Vec<String> = Change::ALL
            .into_iter()
            .filter(|change| self.count(*change) > 0)
            .map(|change| format!("{} {}", self.count(change), change.word()))
            .collect();
        let counts = if counts.is_empty() { "no change".to_owned() } else { counts.join(", ") };
        let _ = writeln!(out, "  {counts}");
    }
}

fn by_id(tested: &Tested) -> BTreeMap<&str, &Scenario> {
    tested.scenarios.iter().map(|scenario| (scenario.id.as_str(), scenario)).collect()
}

/// The targets of two reports, compared by name. A single one on each side is compared whatever its
/// name: its address may have changed.
#[must_use]
pub fn compare<'r>(old: &'r [Tested], new: &'r [Tested]) -> Vec<Changes<'r>> {
    if let ([old], [new]) = (old, new) {
        return vec![Changes::between(old, new)];
    }
    let pair = |new: &'r Tested| {
        let old = old.iter().find(|old| old.name == new.name)?;
        Some(Changes::between(old, new))
    };
    new.iter().filter_map(pair).collect()
}

/// What has changed, as text, and which targets only one of the reports has.
#[must_use]
pub fn render(old: &[Tested], new: &[Tested], changes: &[Changes<'_>]) -> String {
    let mut out = String::new();
    for changes in changes {
        changes.render(&mut out);
    }
    let several = old.len() > 1 || new.len() > 1;
    for (these, those, word) in [(old, new, "old"), (new, old, "new")] {
        for run in these.iter().filter(|_| several) {
            if !those.iter().any(|other| other.name == run.name) {
                let _ = writeln!(out, "{}: only in the {word} report", clean(&run.name));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::tested::parse;

    fn report(target: &str, scenarios: &[(&str, &str, bool, &str)]) -> String {
        let scenarios: Vec<serde_json::Value> = scenarios
            .iter()
            .map(|(id, verdict, known, rule)| {
                let finding = serde_json::json!({ "requirement": rule, "message": "it is wrong" });
                let findings = if rule.is_empty() { vec![] } else { vec![finding] };
                serde_json::json!({
                    "id": id, "since": "2.6", "feature": "baseline", "verdict": verdict, "known": known, "findings": findings,
                    "reason": (*verdict == "skip").then_some("no SEND_TRIM"),
                })
            })
            .collect();
        let target = serde_json::json!({ "name": target });
        serde_json::json!({ "target": target, "problem": null, "scenarios": scenarios }).to_string()
    }

    fn text(old: &str, new: &str) -> (String, bool) {
        let read = |text: &str| parse(text.as_bytes()).unwrap();
        let (old, new) = (read(old), read(new));
        let changes = compare(&old, &new);
        (render(&old, &new, &changes), changes.iter().any(Changes::is_worse))
    }

    #[test]
    fn each_change_has_its_line() {
        let old = report(
            "127.0.0.1:1",
            &[
                ("a/breaks", "pass", false, ""),
                ("a/fails", "fail", false, "cookie-echoed"),
                ("a/fails-otherwise", "fail", false, "cookie-echoed"),
                ("a/is-known-now", "fail", false, "cookie-echoed"),
                ("a/is-mended", "warn", false, "cookie-echoed"),
                ("a/is-not-run", "pass", false, ""),
                ("a/warns", "pass", false, ""),
            ],
        );
        let new = report(
            "127.0.0.1:2",
            &[
                ("a/breaks", "fail", false, "write-stored"),
                ("a/comes", "pass", false, ""),
                ("a/comes-broken", "error", false, ""),
                ("a/fails", "fail", false, "cookie-echoed"),
                ("a/fails-otherwise", "fail", false, "write-stored"),
                ("a/is-known-now", "fail", true, "cookie-echoed"),
                ("a/is-mended", "pass", false, ""),
                ("a/is-not-run", "skip", false, ""),
                ("a/warns", "warn", false, "write-stored"),
            ],
        );
        let (text, worse) = text(&old, &new);
        assert!(worse);
        insta::assert_snapshot!(text);
    }

    #[test]
    fn what_has_not_changed_is_no_change() {
        let one = report("here", &[("a/fails", "fail", false, "cookie-echoed")]);
        assert_eq!(text(&one, &one), ("here\n  no change\n".to_owned(), false));
    }

    #[test]
    fn several_targets_are_compared_by_name() {
        let [a, b, c] = ["a", "b", "c"].map(|name| report(name, &[]));
        let old = format!("{{\"runs\": [{a}, {b}]}}");
        let new = format!("{{\"runs\": [{b}, {c}]}}");
        let wanted = "b\n  no change\na: only in the old report\nc: only in the new report\n";
        assert_eq!(text(&old, &new), (wanted.to_owned(), false));
    }
}
