//! The scenarios that are part of the program.

use std::sync::{Arc, LazyLock};

use include_dir::{Dir, include_dir};

use super::ast::Script;
use super::{ScriptError, parse};

static SCENARIOS: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../scenarios");

/// An embedded script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Path below `scenarios/` without `.nbd`: `2.10-go/block-size`.
    pub id: String,
    /// The script.
    pub text: &'static str,
}

impl Entry {
    /// The script's path, as messages show it.
    #[must_use]
    pub fn path(&self) -> String {
        format!("scenarios/{}.nbd", self.id)
    }

    /// Reads the script. That it makes sense is checked by a test, not at each start.
    ///
    /// # Errors
    /// Its mistakes; the tests see to it that there are none.
    pub fn load(&self) -> Result<Arc<Script>, Vec<ScriptError>> {
        parse(&self.id, &self.path(), self.text).map(Arc::new)
    }
}

/// What `--scenario` takes to name a script: its id if it is part of the program, else its path.
#[must_use]
pub fn selector(script: &Script) -> &str {
    let own = |entry: &Entry| entry.id == script.id && entry.text == script.source.text;
    if entries().iter().any(own) { &script.id } else { &script.source.path }
}

static ENTRIES: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    let mut entries = Vec::new();
    collect(&SCENARIOS, &mut entries);
    entries.sort_by(|a: &Entry, b| a.id.cmp(&b.id));
    entries
});

fn collect(dir: &Dir<'static>, entries: &mut Vec<Entry>) {
    for file in dir.files() {
        if let Some(path) = file.path().to_str()
            && let Some(id) = path.strip_suffix(".nbd")
            && let Some(text) = file.contents_utf8()
        {
            entries.push(Entry { id: id.replace('\\', "/"), text });
        }
    }
    dir.dirs().for_each(|dir| collect(dir, entries));
}

/// Every embedded script, sorted by id.
#[must_use]
pub fn entries() -> &'static [Entry] {
    &ENTRIES
}

/// Every embedded script, sorted by id.
///
/// # Errors
/// The mistakes of all scripts together; the tests see to it that there are none.
pub fn scripts() -> Result<Vec<Arc<Script>>, Vec<ScriptError>> {
    let mut scripts = Vec::new();
    let mut errors = Vec::new();
    for entry in entries() {
        match entry.load() {
            Ok(script) => scripts.push(script),
            Err(found) => errors.extend(found),
        }
    }
    if errors.is_empty() { Ok(scripts) } else { Err(errors) }
}

#[cfg(test)]
mod tests {
    use super::super::{format, lint, load, render};
    use super::*;

    /// With `FORMAT_SCENARIOS` in the environment the files are rewritten in canonical form.
    #[test]
    fn every_scenario_is_readable_sensible_and_canonical() {
        let rewrite = std::env::var_os("FORMAT_SCENARIOS").is_some();
        let mut told = String::new();
        for entry in entries() {
            match load(&entry.id, &entry.path(), entry.text) {
                Err(errors) => told += &render(&errors, false),
                Ok(script) => told += &render(&lint(&script), false),
            }
            let path = entry.path();
            match format(&path, entry.text) {
                Ok(canonical) if canonical != entry.text && rewrite => {
                    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../");
                    std::fs::write(format!("{file}{path}"), canonical).expect("it can be written");
                }
                Ok(canonical) if canonical != entry.text => {
                    told += &format!("{path} is not in canonical form; it should be\n{canonical}");
                    told += "hint: `FORMAT_SCENARIOS=1 cargo test -p nbdcheck canonical` does it\n";
                }
                _ => {}
            }
        }
        assert!(told.is_empty(), "{told}");
    }

    const SECURITY: &str = include_str!("../../../scenarios/security/README.md");
    const FORMS: &str = "## The general forms";

    /// The table of general forms names scenarios that exist, and all of its own folder.
    #[test]
    fn the_table_of_general_forms_is_true() {
        let (_, forms) = SECURITY.split_once(FORMS).expect("the section is there");
        let ids: Vec<&str> = entries().iter().map(|entry| entry.id.as_str()).collect();
        let mut named = Vec::new();
        for row in forms.lines().filter(|line| line.starts_with('|')).skip(2) {
            let scenarios: Vec<&str> = row.split('`').skip(1).step_by(2).collect();
            assert!(!scenarios.is_empty(), "no scenario: {row}");
            for id in &scenarios {
                assert!(ids.contains(id), "no such scenario: {id}, in {row}");
            }
            named.extend(scenarios);
        }
        for id in ids.iter().filter(|id| id.starts_with("security/")) {
            assert!(named.contains(id), "{id} stands in no row of the table");
        }
    }

    /// What went wrong in somebody's program stands in one place, without what led to it; what leads
    /// to such things stands here, without whose program it was.
    #[test]
    fn no_scenario_names_a_flaw_of_a_program_and_no_flaw_its_scenario() {
        let (field, _) = SECURITY.split_once(FORMS).expect("the section is there");
        for entry in entries() {
            assert!(!field.contains(&entry.id), "{} stands beside a flaw", entry.id);
            assert!(!entry.text.contains("CVE"), "{} names a flaw of a program", entry.id);
        }
    }

    /// `hazard:` says what kind of care a scenario takes, not who did not take it.
    #[test]
    fn a_hazard_names_no_program() {
        let programs = ["qemu", "nbdkit", "nbd-server", "nbd-client", "libnbd", "nbdinfo", "CVE"];
        for script in scripts().expect("they can be read") {
            let Some(hazard) = &script.header.hazard else { continue };
            let named = programs.iter().find(|program| hazard.node.contains(**program));
            assert_eq!(named, None, "{}: {}", script.id, hazard.node);
        }
    }

    #[test]
    fn there_are_scenarios() {
        assert!(!entries().is_empty());
    }
}
