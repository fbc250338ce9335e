//! JUnit XML: a suite for each target, a case for each scenario.

use std::io;

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
        suite.set_time(run.duration);
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
    case.set_classname(format!("{}.{}", outcome.target, outcome.feature));
    case.set_time(outcome.duration);
    if !outcome.findings.is_empty() && outcome.verdict != Verdict::Fail || outcome.is_known() {
        case.set_system_out(terminal::outcome_text(outcome));
    }
    case
}
