//! Reports of `validate`: what was found, for programs.

use std::fmt::Write as _;
use std::str::FromStr;

use dissector::dissect::{SessionInfo, Totals};
use dissector::session::Violation;
use protocol::requirements::Requirement;
use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};
use serde_json::{Value, json};

/// So many findings are kept; more are counted.
const KEPT: usize = 10_000;

/// The formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// One object.
    Json,
    /// JUnit XML, a suite for each file and a case for each session.
    Junit,
    /// SARIF 2.1.0, as code hosts show it.
    Sarif,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "json" => Ok(Self::Json),
            "junit" => Ok(Self::Junit),
            "sarif" => Ok(Self::Sarif),
            other => Err(format!("`{other}` is not a format: use json, junit or sarif")),
        }
    }
}

/// What was found in all captures.
#[derive(Default)]
pub(super) struct Collected {
    files: Vec<Capture>,
    kept: usize,
    more: u64,
}

/// What was found in a capture.
#[derive(Default)]
struct Capture {
    name: String,
    sessions: Vec<Judged>,
    findings: Vec<Finding>,
    /// Why it has no verdict.
    error: Option<String>,
}

/// A session that is over.
struct Judged {
    info: SessionInfo,
    totals: Totals,
}

/// A rule that was broken.
struct Finding {
    session: u64,
    message: u64,
    frame: Option<u64>,
    time_ns: u64,
    offset: u64,
    requirement: &'static Requirement,
    party: &'static str,
    text: String,
}

impl Finding {
    fn is_binding(&self) -> bool {
        self.requirement.level.is_binding()
    }

    fn json(&self) -> Value {
        json!({
            "session": self.session,
            "message": self.message,
            "frame": self.frame,
            "time_ns": self.time_ns,
            "offset": self.offset,
            "requirement": self.requirement.id,
            "level": self.requirement.level.name(),
            "party": self.party,
            "text": self.text,
        })
    }

    /// In a line.
    fn line(&self) -> String {
        let Self { message, party, text, requirement, .. } = self;
        let frame = self.frame.map(|frame| format!(", frame {frame}")).unwrap_or_default();
        format!(
            "{} {party} {}: {text} (message {message}{frame})",
            requirement.level, requirement.id
        )
    }
}

impl Collected {
    /// What follows is of this capture.
    pub(super) fn begin(&mut self, name: &str) {
        self.files.push(Capture { name: name.to_owned(), ..Capture::default() });
    }

    /// A rule was broken; `frame`: the number of the packet that showed it.
    pub(super) fn add(&mut self, info: &SessionInfo, violation: &Violation, frame: Option<u64>) {
        let Some(file) = self.files.last_mut() else { return };
        if self.kept == KEPT {
            self.more += 1;
            return;
        }
        self.kept += 1;
        file.findings.push(Finding {
            session: info.number,
            message: violation.message,
            frame,
            time_ns: violation.time_ns,
            offset: violation.offset,
            requirement: violation.requirement,
            party: violation.party.name(),
            text: violation.text.clone(),
        });
    }

    /// A session is over.
    pub(super) fn closed(&mut self, info: &SessionInfo, totals: &Totals) {
        if let Some(file) = self.files.last_mut()
            && file.sessions.len() < KEPT
        {
            file.sessions.push(Judged { info: info.clone(), totals: totals.clone() });
        }
    }

    /// The capture has no verdict.
    pub(super) fn failed(&mut self, why: String) {
        if let Some(file) = self.files.last_mut() {
            file.error = Some(why);
        }
    }

    /// The report as text.
    pub(super) fn render(&self, format: Format) -> String {
        let mut text = match format {
            Format::Json => pretty(&self.json()),
            Format::Sarif => pretty(&self.sarif()),
            Format::Junit => self.junit(),
        };
        if !text.ends_with('\n') {
            text.push('\n');
        }
        text
    }

    fn json(&self) -> Value {
        let mut all = Totals::default();
        for session in self.files.iter().flat_map(|file| &file.sessions) {
            all.add(&session.totals);
        }
        let files = self.files.iter().map(|file| {
            let sessions = file.sessions.iter().map(|Judged { info, totals }| {
                json!({
                    "session": info.number,
                    "client": info.client.to_string(),
                    "server": info.server.to_string(),
                    "start_ns": info.start_ns,
                    "end_ns": totals.end_ns,
                    "messages": totals.messages.iter().sum::<u64>(),
                    "violations": totals.violations,
                    "warnings": totals.warnings,
                    "judged": totals.judged,
                    "unjudged": totals.unjudged,
                })
            });
            json!({
                "file": file.name,
                "error": file.error,
                "sessions": sessions.collect::<Vec<_>>(),
                "findings": file.findings.iter().map(Finding::json).collect::<Vec<_>>(),
            })
        });
        json!({
            "nbdcheck": env!("CARGO_PKG_VERSION"),
            "summary": {
                "sessions": all.sessions,
                "messages": all.messages.iter().sum::<u64>(),
                "violations": all.violations,
                "warnings": all.warnings,
                "judged": all.judged,
                "unjudged": all.unjudged,
                "left_out": self.more,
            },
            "files": files.collect::<Vec<_>>(),
        })
    }

    fn sarif(&self) -> Value {
        let mut rules: Vec<&'static Requirement> = Vec::new();
        let mut results = Vec::new();
        for file in &self.files {
            for finding in &file.findings {
                let rule = finding.requirement;
                if !rules.iter().any(|known| known.id == rule.id) {
                    rules.push(rule);
                }
                results.push(json!({
                    "ruleId": rule.id,
                    "level": if finding.is_binding() { "error" } else { "warning" },
                    "message": { "text": format!("{}: {}", finding.party, finding.text) },
                    "locations": [{
                        "physicalLocation": { "artifactLocation": { "uri": uri(&file.name) } },
                        "logicalLocations": [{
                            "fullyQualifiedName":
                                format!("session {} message {}", finding.session, finding.message),
                        }],
                    }],
                    "properties": finding.json(),
                }));
            }
        }
        let rules = rules.into_iter().map(|rule| {
            json!({
                "id": rule.id,
                "shortDescription": { "text": rule.summary },
                "help": { "text": format!("{}, section {}", rule.level, rule.section) },
            })
        });
        json!({
            "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
            "version": "2.1.0",
            "runs": [{
                "tool": { "driver": {
                    "name": "nbdcheck",
                    "version": env!("CARGO_PKG_VERSION"),
                    "rules": rules.collect::<Vec<_>>(),
                } },
                "results": results,
            }],
        })
    }

    fn junit(&self) -> String {
        let mut report = quick_junit::Report::new("nbdcheck validate");
        for file in &self.files {
            let mut suite = TestSuite::new(file.name.as_str());
            suite.add_test_cases(file.sessions.iter().map(|session| case(file, session)));
            if let Some(error) = &file.error {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
                status.set_message(error.as_str());
                suite.add_test_case(TestCase::new("capture", status));
            }
            report.add_test_suite(suite);
        }
        // It is made in memory, of text alone.
        report.to_string().unwrap_or_default()
    }
}

fn case(file: &Capture, session: &Judged) -> TestCase {
    let Judged { info, totals } = session;
    let findings = || file.findings.iter().filter(|finding| finding.session == info.number);
    let mut lines = String::new();
    for finding in findings() {
        let _ = writeln!(lines, "{}", finding.line());
    }
    let binding = findings().find(|finding| finding.is_binding());
    let status = match binding {
        Some(first) => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_type(first.requirement.id).set_message(first.text.as_str());
            status.set_description(lines.as_str());
            status
        }
        None if totals.judged == 0 => {
            let mut status = TestCaseStatus::skipped();
            status.set_message("nothing of it could be judged");
            status
        }
        None => TestCaseStatus::success(),
    };
    let name = format!("session {}: {} -> {}", info.number, info.client, info.server);
    let mut case = TestCase::new(name, status);
    case.set_classname("nbdcheck.validate");
    case.set_time(std::time::Duration::from_nanos(totals.end_ns.saturating_sub(totals.start_ns)));
    if binding.is_none() && !lines.is_empty() {
        case.set_system_out(lines);
    }
    case
}

/// A path as a relative or absolute reference.
fn uri(path: &str) -> String {
    let mut out = String::new();
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

fn pretty(value: &Value) -> String {
    // It is made in memory, of text and numbers alone.
    serde_json::to_string_pretty(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use protocol::message::Side;
    use protocol::requirements;

    use super::*;

    fn collected() -> Collected {
        let address = |port| SocketAddr::from(([10, 0, 0, 1], port));
        let info = SessionInfo {
            number: 1,
            client: address(40000),
            server: address(10809),
            start_ns: 1_000_000_000,
        };
        let violation = |id, party| Violation {
            message: 12,
            time_ns: 1_250_000_000,
            offset: 345,
            requirement: requirements::find(id).unwrap(),
            party,
            text: "cookie=0x1 was never sent".to_owned(),
            field: None,
        };
        let mut collected = Collected::default();
        collected.begin("dir/a b.pcap");
        collected.add(&info, &violation("cookie-echoed", Side::Server), Some(17));
        collected.add(&info, &violation("session-client-quits-softly", Side::Client), None);
        let mut totals = Totals {
            sessions: 1,
            messages: protocol::message::Both::new(6, 7),
            judged: 900,
            ..Totals::default()
        };
        (totals.violations, totals.warnings, totals.unjudged) = (1, 1, 8);
        (totals.start_ns, totals.end_ns) = (1_000_000_000, 1_500_000_000);
        collected.closed(&info, &totals);
        collected.begin("none.pcap");
        collected.failed("no NBD traffic found".to_owned());
        collected
    }

    #[test]
    fn json() {
        insta::assert_snapshot!(collected().render(Format::Json));
    }

    #[test]
    fn junit() {
        let text = collected().render(Format::Junit);
        let line = |line: &str| !line.starts_with("<testsuites ");
        insta::assert_snapshot!(text.lines().filter(|it| line(it)).collect::<Vec<_>>().join("\n"));
    }

    #[test]
    fn sarif() {
        let text = collected().render(Format::Sarif);
        insta::assert_snapshot!(text.replace(env!("CARGO_PKG_VERSION"), "VERSION"));
    }

    #[test]
    fn findings_are_counted_beyond_a_limit() {
        let mut collected = collected();
        let address = SocketAddr::from(([10, 0, 0, 1], 1));
        let info = SessionInfo { number: 1, client: address, server: address, start_ns: 0 };
        let violation = Violation {
            message: 1,
            time_ns: 0,
            offset: 0,
            requirement: requirements::find("cookie-echoed").unwrap(),
            party: Side::Server,
            text: String::new(),
            field: None,
        };
        for _ in 0..KEPT {
            collected.add(&info, &violation, None);
        }
        assert_eq!(collected.json()["summary"]["left_out"], 2);
    }
}
