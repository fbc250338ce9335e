//! JUnit XML: a suite for each target, a case for each scenario.

use std::io;

use chrono::{DateTime, Utc};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::terminal;
use crate::finding::Verdict;
use crate::run::Outcome;
use crate::run::result::TargetRun;

/// The document as text.
///
/// # Errors
/// Never in practice: the text is made in memory.
pub fn render(runs: &[TargetRun]) -> io::Result<String> {
    let mut report = Report::new("nbdcheck");
    for run in runs {
        let mut suite = TestSuite::new(run.name.as_str());
        suite.set_timestamp(DateTime::<Utc>::from(run.started)).set_time(run.duration);
        suite.add_test_cases(run.outcomes.iter().map(case));
        if let Some(problem) = &run.problem {
            let kind = if run.stopped { NonSuccessKind::Failure } else { NonSuccessKind::Error };
            let mut status = TestCaseStatus::non_success(kind);
            status.set_message(problem.as_str());
            suite.add_test_case(TestCase::new("target", status));
        }
        report.add_test_suite(suite);
    }
    let mut text = report.to_string().map_err(io::Error::other)?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

fn case(outcome: &Outcome) -> TestCase {
    let status = match outcome.verdict {
        Verdict::Pass | Verdict::Warn => TestCaseStatus::success(),
        Verdict::Fail if outcome.is_known() => TestCaseStatus::success(),
        Verdict::Skip => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(outcome.reason.clone().unwrap_or_default());
            status
        }
        Verdict::Fail => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            if let Some(finding) = outcome.findings.first() {
                status.set_type(finding.requirement.id);
                status.set_message(finding.message.as_str());
            }
            status.set_description(terminal::outcome_text(outcome));
            status
        }
        Verdict::Error => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
            status.set_message(outcome.reason.clone().unwrap_or_default());
            status
        }
    };
    let mut case = TestCase::new(outcome.id.as_str(), status);
    // Jenkins and GitLab take what is before the last dot for a package, and split that at dots.
    let words = [&outcome.target, &outcome.feature].map(|word| word.replace('.', "_"));
    case.set_classname(words.join(".")).set_time(outcome.duration);
    if let Some(finding) = outcome.findings.first() {
        if let Some((file, line)) = finding.at.rsplit_once(':') {
            case.extra.insert("file".into(), file.into());
            case.extra.insert("line".into(), line.into());
        }
        let rule = finding.requirement;
        case.add_property(("requirement", rule.id)).add_property(("level", rule.level.name()));
        case.add_property(("section", rule.section));
    }
    if let Some(capture) = &outcome.capture {
        case.add_property(("capture", capture.as_str()));
    }
    if !outcome.findings.is_empty() && outcome.verdict != Verdict::Fail || outcome.is_known() {
        case.set_system_out(terminal::outcome_text(outcome));
    }
    case
}
