//! What `nbdcheck explore` tells.

use std::fmt::Write as _;

use dissector::render::Plural;

use super::hunt::{Found, Tally};
use crate::finding::Verdict;
use crate::markup::clean;
use crate::report::terminal;

/// A failure: what was found, its conversation, and the shortest script that shows it.
#[must_use]
pub fn found(found: &Found, saved: &Result<String, &String>) -> String {
    let mut out = terminal::outcome(&found.outcome);
    let (shown, of) = found.times;
    if shown < of {
        let _ = writeln!(
            out,
            "  flaky   it showed in {shown} of {of} tries of the same script, which was not shortened"
        );
    }
    let body = body(&found.script.source.text);
    for (index, line) in body.lines().enumerate() {
        let word = if index == 0 { "script" } else { "      " };
        let _ = writeln!(out, "  {word}  {}", clean(line));
    }
    match saved {
        Ok(path) => {
            let _ = writeln!(out, "  saved   {path}\n");
        }
        Err(trouble) => {
            let _ = writeln!(out, "  saved   no: {trouble}\n");
        }
    }
    out
}

/// A script without its header.
pub(super) fn body(text: &str) -> &str {
    text.split_once("\n\n").map_or(text, |(_, body)| body)
}

/// The script of a failure as it is saved: it says what it shows.
#[must_use]
pub fn script(found: &Found, target: &str) -> String {
    let mut text = found.script.source.text.clone();
    let rules: Vec<&str> = {
        let mut rules: Vec<&str> =
            found.outcome.findings.iter().map(|finding| finding.requirement.id).collect();
        rules.sort_unstable();
        rules.dedup();
        rules
    };
    let (shown, of) = found.times;
    let flaky = match shown < of {
        true => format!(", in {shown} of {of} tries"),
        false => String::new(),
    };
    let _ = writeln!(
        text,
        "# Found by `nbdcheck explore` in {}{flaky}: {}",
        clean(target),
        rules.join(" ")
    );
    text
}

/// The end of it.
#[must_use]
pub fn summary(tally: &Tally, seed: u64) -> String {
    let mut out = String::new();
    if !tally.known.is_empty() {
        let _ = writeln!(out, "known deviations");
        for (rule, reason) in &tally.known {
            let _ = writeln!(out, "  {rule}: {}", clean(reason));
        }
        out.push('\n');
    }
    if let Some(problem) = &tally.problem {
        let _ = writeln!(out, "stopped: {}\n", clean(problem));
    }
    let count = |verdict| {
        tally.found.iter().filter(|found| found.outcome.verdict == verdict).count() as u64
    };
    let (failures, warnings) = (count(Verdict::Fail), count(Verdict::Warn));
    let version = tally.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
    let _ = write!(
        out,
        "{}{}: {} in {:.1?}, seed {seed}: {}, {}",
        clean(&tally.target),
        clean(&version),
        Plural(tally.sessions, "session"),
        tally.duration,
        Plural(failures, "failure"),
        Plural(warnings, "warning"),
    );
    not_tried(&mut out, &tally.untried);
    if tally.waits > 0 {
        let _ = write!(out, "; {} came late once", Plural(tally.waits, "answer"));
    }
    out.push('\n');
    out
}

/// How many sessions could not be played, with the last reason, if there are any.
pub(super) fn not_tried(out: &mut String, (count, reason): &(u64, Option<String>)) {
    if *count > 0 {
        let _ = write!(out, "; {count} not tried");
        if let Some(reason) = reason {
            let _ = write!(out, " ({})", clean(reason));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::explore::hunt::script_of;

    fn example(times: (u32, u32)) -> Found {
        let text = "nbd: 1\ntitle: one\nsince: 2.6\nfeature: explored sessions\ntests: server\n\n\
            -- to transmission\nC: NBD_CMD_FLUSH\nS: reply ok\n";
        let script = script_of(text, "explored-7-3", Path::new("explored")).unwrap();
        let mut outcome =
            crate::run::Outcome::new("example", &script, "nbdcheck run --peer example");
        outcome.verdict = Verdict::Fail;
        Found { session: 3, script: Arc::clone(&script), outcome, times }
    }

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn a_failure_is_told_with_its_script() {
        let saved = Ok("explored/explored-7-3.nbd".to_owned());
        insta::assert_snapshot!("failure", plain(&found(&example((3, 3)), &saved)));
        let trouble = "can't write it".to_owned();
        insta::assert_snapshot!("flaky", plain(&found(&example((1, 3)), &Err(&trouble))));
        insta::assert_snapshot!("saved", script(&example((2, 3)), "example"));
    }

    #[test]
    fn the_end_tells_what_was_done() {
        let tally = Tally {
            target: "example".to_owned(),
            version: Some("1.2".to_owned()),
            sessions: 12,
            untried: (2, Some("the export is read-only".to_owned())),
            waits: 1,
            duration: Duration::from_secs(60),
            found: vec![example((3, 3))],
            known: vec![("baseline-list", "it has no list".to_owned())],
            problem: Some("the server stopped answering".to_owned()),
            ..Tally::default()
        };
        insta::assert_snapshot!("summary", plain(&summary(&tally, 7)));
    }
}
