//! What `nbdcheck differ` tells.

use std::fmt::Write as _;

use dissector::render::Plural;

use super::differ::{Compared, Parted};
use super::render::{body, not_tried};
use crate::markup::clean;

/// What differs: what was asked, what each answered, and the shortest script that shows it. `again` are the
/// commands that play it against each.
#[must_use]
pub fn parted(
    parted: &Parted,
    names: &[String; 2],
    again: &[String; 2],
    saved: &Result<String, &String>,
) -> String {
    let mut out = format!("DIFF {}\n", parted.script.id);
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or_default().max(7);
    let mut row = |word: &str, text: &str| {
        let _ = writeln!(out, "  {word:<width$}  {}", clean(text));
    };
    for difference in &parted.differences {
        let conn = match difference.conn.as_str() {
            "" => String::new(),
            name => format!(" @{name}"),
        };
        row("asked", &format!("{}{conn}", difference.asked));
        for (name, answers) in names.iter().zip(&difference.answers) {
            for (index, answer) in answers.iter().enumerate() {
                row(if index == 0 { name } else { "" }, answer);
            }
        }
    }
    let (shown, of) = parted.times;
    if shown < of {
        row("flaky", &format!("it showed in {shown} of {of} tries"));
    }
    for (index, command) in again.iter().enumerate() {
        row(if index == 0 { "again" } else { "" }, command);
    }
    for (index, line) in body(&parted.script.source.text).lines().enumerate() {
        row(if index == 0 { "script" } else { "" }, line);
    }
    match saved {
        Ok(path) => row("saved", path),
        Err(trouble) => row("saved", &format!("no: {trouble}")),
    }
    out.push('\n');
    out
}

/// The script of a difference as it is saved: it says what it shows.
#[must_use]
pub fn script(parted: &Parted, names: &[String; 2]) -> String {
    let mut text = parted.script.source.text.clone();
    for difference in &parted.differences {
        let _ = writeln!(text, "# Found by `nbdcheck differ`: {}", clean(&difference.asked));
        for (name, answers) in names.iter().zip(&difference.answers) {
            let _ = writeln!(text, "#   {}: {}", clean(name), clean(&answers.join("; ")));
        }
    }
    text
}

/// The end of it.
#[must_use]
pub fn summary(compared: &Compared, seed: u64) -> String {
    let mut out = String::new();
    if let Some(problem) = &compared.problem {
        let _ = writeln!(out, "stopped: {}\n", clean(problem));
    }
    let names = compared.targets.each_ref().map(|(name, version)| match version {
        Some(version) => clean(&format!("{name} {version}")),
        None => clean(name),
    });
    let _ = write!(
        out,
        "{} and {}: {} in {:.1?}, seed {seed}: {}",
        names[0],
        names[1],
        Plural(compared.sessions, "session"),
        compared.duration,
        Plural(compared.parted.len() as u64, "difference"),
    );
    not_tried(&mut out, &compared.untried);
    if compared.once > 0 {
        let _ = write!(out, "; {} differed once", Plural(compared.once, "session"));
    }
    out.push('\n');
    out
}

/// The same for programs.
#[must_use]
pub fn json(compared: &Compared, seed: u64) -> String {
    let targets: Vec<_> = compared
        .targets
        .iter()
        .map(|(name, version)| serde_json::json!({ "name": name, "version": version }))
        .collect();
    let differences: Vec<_> = compared
        .parted
        .iter()
        .flat_map(|parted| parted.differences.iter().map(move |it| (parted, it)))
        .map(|(parted, difference)| {
            serde_json::json!({
                "session": parted.session,
                "connection": difference.conn,
                "asked": difference.asked,
                "answers": difference.answers,
                "shown": parted.times.0,
                "played": parted.times.1,
                "script": parted.script.source.path,
                "text": parted.script.source.text,
            })
        })
        .collect();
    let document = serde_json::json!({
        "nbdcheck": env!("CARGO_PKG_VERSION"),
        "targets": targets,
        "seed": seed,
        "sessions": compared.sessions,
        "not_tried": compared.untried.0,
        "duration_ms": u64::try_from(compared.duration.as_millis()).unwrap_or(u64::MAX),
        "problem": compared.problem,
        "differences": differences,
    });
    let mut text = format!("{document:#}");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::explore::differ::Difference;
    use crate::explore::hunt::script_of;

    fn example(times: (u32, u32)) -> Parted {
        let text = "nbd: 1\ntitle: one\nsince: 2.6\nfeature: explored sessions\ntests: server\n\n\
            -- to transmission\nC: NBD_CMD_FLUSH\nS: reply ok\n";
        let script = script_of(text, "differ-7-3", Path::new("differ")).unwrap();
        let answers = [vec!["ok".to_owned()], vec!["NBD_EIO".to_owned(), "closes".to_owned()]];
        let difference = Difference::example("NBD_CMD_FLUSH", answers);
        Parted { session: 3, script, differences: vec![difference], times }
    }

    fn names() -> [String; 2] {
        ["self@8.2".to_owned(), "an example".to_owned()]
    }

    fn compared() -> Compared {
        Compared {
            targets: [
                ("self@8.2".to_owned(), None),
                ("example".to_owned(), Some("1.2".to_owned())),
            ],
            sessions: 12,
            untried: (2, Some("the export is read-only".to_owned())),
            once: 1,
            duration: std::time::Duration::from_secs(60),
            parted: vec![example((3, 3))],
            problem: Some("the server stopped answering".to_owned()),
        }
    }

    #[test]
    fn a_difference_is_told_with_its_script() {
        let again = ["nbdcheck run --peer self@8.2", "nbdcheck run --peer example"];
        let again = again.map(str::to_owned);
        let saved = Ok("differ/differ-7-3.nbd".to_owned());
        insta::assert_snapshot!("difference", parted(&example((3, 3)), &names(), &again, &saved));
        let trouble = "can't write it".to_owned();
        let text = parted(&example((2, 3)), &names(), &again, &Err(&trouble));
        insta::assert_snapshot!("flaky_difference", text);
        insta::assert_snapshot!("saved_difference", script(&example((3, 3)), &names()));
    }

    #[test]
    fn the_end_tells_what_was_compared() {
        insta::assert_snapshot!("comparison", summary(&compared(), 7));
        insta::assert_snapshot!("comparison_json", json(&compared(), 7));
    }
}
