//! Which scenarios a run takes.

use std::path::Path;
use std::sync::Arc;

use globset::{Glob, GlobSet, GlobSetBuilder};
use protocol::nearest::{closest, the_nearest};

use crate::script::ast::{Script, Version};

/// What the command line asks for.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Globs over ids, ids, folders, and paths of files; empty for all.
    pub scenarios: Vec<String>,
    /// Only features of this version and later.
    pub since: Option<Version>,
    /// Only features of this version and earlier.
    pub until: Option<Version>,
    /// Only this feature; case does not matter.
    pub feature: Option<String>,
    /// Part `.0` (from 1) of `.1`.
    pub partition: Option<(usize, usize)>,
}

/// A selection that can't be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// Nothing matches.
    #[error("no scenario matches `{pattern}`\nhint: {hint}")]
    NoMatch {
        /// What was asked for.
        pattern: String,
        /// The nearest names.
        hint: String,
    },
    /// The glob is malformed.
    #[error("`{pattern}` is not a pattern: {reason}")]
    Pattern {
        /// What was asked for.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Selection {
    /// The patterns that are files of the user's own.
    #[must_use]
    pub fn files(&self) -> Vec<&Path> {
        self.scenarios.iter().filter(|name| is_file(name)).map(Path::new).collect()
    }

    /// Whether only files of the user's own are asked for.
    #[must_use]
    pub fn is_files_only(&self) -> bool {
        !self.scenarios.is_empty() && self.scenarios.iter().all(|name| is_file(name))
    }

    /// The embedded scenarios that are selected, in order.
    ///
    /// # Errors
    /// A pattern that matches nothing, with the nearest names; a malformed pattern.
    pub fn choose(&self, all: &[Arc<Script>]) -> Result<Vec<Arc<Script>>, SelectError> {
        let patterns: Vec<&String> = self.scenarios.iter().filter(|name| !is_file(name)).collect();
        for pattern in &patterns {
            let one = globs([pattern.as_str()])?;
            if !all.iter().any(|script| one.is_match(&script.id)) {
                return Err(SelectError::NoMatch {
                    pattern: (*pattern).clone(),
                    hint: nearest(pattern, all),
                });
            }
        }
        let globs = globs(patterns.iter().map(|pattern| pattern.as_str()))?;
        let only_files = patterns.is_empty() && !self.scenarios.is_empty();
        let chosen: Vec<Arc<Script>> = all
            .iter()
            .filter(|script| !only_files && (patterns.is_empty() || globs.is_match(&script.id)))
            .filter(|script| self.fits(script))
            .cloned()
            .collect();
        if chosen.is_empty() && !only_files {
            return Err(SelectError::NoMatch { pattern: self.describe(), hint: self.hint(all) });
        }
        Ok(match self.partition {
            Some((part, of)) => {
                let mine = |index: usize| index % of == part - 1;
                chosen.into_iter().enumerate().filter(|(i, _)| mine(*i)).map(|(_, s)| s).collect()
            }
            None => chosen,
        })
    }

    fn fits(&self, script: &Script) -> bool {
        let since = script.header.since.node;
        self.since.is_none_or(|wanted| since >= wanted)
            && self.until.is_none_or(|wanted| since <= wanted)
            && self
                .feature
                .as_ref()
                .is_none_or(|wanted| script.header.feature.node.eq_ignore_ascii_case(wanted))
    }

    fn describe(&self) -> String {
        let mut words = self.scenarios.clone();
        words.extend(self.since.map(|version| format!("--since {version}")));
        words.extend(self.until.map(|version| format!("--until {version}")));
        words.extend(self.feature.as_ref().map(|feature| format!("--feature {feature}")));
        words.join(" ")
    }

    fn hint(&self, all: &[Arc<Script>]) -> String {
        let mut features: Vec<&str> =
            all.iter().map(|script| script.header.feature.node.as_str()).collect();
        features.sort_unstable();
        features.dedup();
        match &self.feature {
            Some(feature) if !features.iter().any(|known| known.eq_ignore_ascii_case(feature)) => {
                the_nearest(feature, features.iter().copied(), 3)
            }
            _ => "`--since`, `--until` and `--feature` together leave nothing".to_owned(),
        }
    }
}

fn is_file(name: &str) -> bool {
    name.ends_with(".nbd")
}

/// A pattern matches an id; a folder's name matches what is in it.
fn globs<'p>(patterns: impl IntoIterator<Item = &'p str>) -> Result<GlobSet, SelectError> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        for pattern in [pattern.to_owned(), format!("{}/**", pattern.trim_end_matches('/'))] {
            let glob = Glob::new(&pattern).map_err(|error| SelectError::Pattern {
                pattern: pattern.clone(),
                reason: error.kind().to_string(),
            })?;
            set.add(glob);
        }
    }
    set.build()
        .map_err(|error| SelectError::Pattern { pattern: String::new(), reason: error.to_string() })
}

fn nearest(pattern: &str, all: &[Arc<Script>]) -> String {
    let ids: Vec<&str> = all.iter().map(|script| script.id.as_str()).collect();
    let mut folders: Vec<&str> =
        ids.iter().filter_map(|id| id.split_once('/')).map(|(folder, _)| folder).collect();
    folders.dedup();
    let near = match pattern.split_once('/') {
        Some((folder, _)) if !folders.contains(&folder) => {
            let near = closest(folder, folders, 1);
            format!("the nearest is `{}/*`", near.first().unwrap_or(&""))
        }
        Some(_) => the_nearest(pattern, ids, 3),
        None => the_nearest(pattern, ids.iter().chain(&folders).copied(), 3),
    };
    format!("{near}; `nbdcheck list` shows all")
}
