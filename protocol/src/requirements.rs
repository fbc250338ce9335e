//! The catalogue of requirements: every normative statement of the specification, with a stable id.
//!
//! The data is `requirements.tsv` beside this crate; `requirements.md` explains its columns and the
//! stance taken where the specification is ambiguous.

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

use crate::message::Side;

/// How binding a requirement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// Breaking it is a failure. Covers statements that bind without a keyword.
    Must,
    /// Breaking it is a failure.
    MustNot,
    /// Breaking it is a warning.
    Should,
    /// Breaking it is a warning.
    ShouldNot,
    /// A permission: nobody fails for using it.
    May,
}

impl Level {
    /// The specification's keyword.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Must => "MUST",
            Self::MustNot => "MUST NOT",
            Self::Should => "SHOULD",
            Self::ShouldNot => "SHOULD NOT",
            Self::May => "MAY",
        }
    }

    /// Whether breaking it is a failure, not just a warning.
    #[must_use]
    pub const fn is_binding(self) -> bool {
        matches!(self, Self::Must | Self::MustNot)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How a requirement can be observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Observable {
    /// A passive observer can judge it in ordinary traffic.
    Wire,
    /// It takes a deliberate stimulus, or two exchanges compared.
    Active,
    /// It takes the backing store, fault injection or several connections.
    Storage,
    /// It can't be tested from outside, or is a permission.
    None,
}

impl Observable {
    /// The catalogue's word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wire => "wire",
            Self::Active => "active",
            Self::Storage => "storage",
            Self::None => "none",
        }
    }
}

/// One normative statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// Stable slug.
    pub id: &'static str,
    /// Headings in the specification, joined by ` ; `.
    pub section: &'static str,
    /// How binding it is.
    pub level: Level,
    /// Whom it binds; `None` for both parties.
    pub actor: Option<Side>,
    /// `handshake`, `options`, `tls`, `transmission`, `teardown` or `any`.
    pub phase: &'static str,
    /// How it can be observed.
    pub observable: Observable,
    /// How to check it.
    pub how: &'static str,
    /// What it says, in our words.
    pub summary: &'static str,
    /// The sentence of the specification that says so. `None` where several sentences do together, a
    /// table or a layout does, or the sentence does not stand for itself.
    pub quote: Option<&'static str>,
}

/// The id of each requirement, under its name in capitals: a misspelt one does not compile.
pub mod id {
    include!(concat!(env!("OUT_DIR"), "/requirement_ids.rs"));
}

/// An id that is written out; in a constant, one that is not in the catalogue does not compile.
///
/// # Panics
/// No requirement has this id.
#[must_use]
#[expect(
    clippy::indexing_slicing,
    reason = "between 0 and the length; a constant function has no `get`"
)]
pub const fn known(id: &'static str) -> &'static str {
    let (mut from, mut to) = (0, id::SORTED.len());
    while from < to {
        let middle = from.midpoint(to);
        match order(id.as_bytes(), id::SORTED[middle].as_bytes()) {
            0 => return id,
            1.. => from = middle + 1,
            _ => to = middle,
        }
    }
    panic!("no requirement has this id")
}

/// Below 0, 0 or above 0, as the first is less than, equal to or greater than the second.
const fn order(mut a: &[u8], mut b: &[u8]) -> i32 {
    loop {
        match (a, b) {
            ([], []) => return 0,
            ([], _) => return -1,
            (_, []) => return 1,
            ([first, rest @ ..], [other, others @ ..]) => {
                if *first != *other {
                    return *first as i32 - *other as i32;
                }
                (a, b) = (rest, others);
            }
        }
    }
}

const TABLE: &str = include_str!("../requirements.tsv");

/// Sentences of the specification, word for word except for line breaks.
const QUOTES: &str = include_str!("../quotes.tsv");

static QUOTE_OF: LazyLock<HashMap<&'static str, &'static str>> =
    LazyLock::new(|| QUOTES.lines().skip(1).filter_map(|line| line.split_once('\t')).collect());

static ALL: LazyLock<Vec<Requirement>> =
    LazyLock::new(|| TABLE.lines().skip(1).filter_map(row).collect());

static BY_ID: LazyLock<HashMap<&'static str, &'static Requirement>> =
    LazyLock::new(|| ALL.iter().map(|requirement| (requirement.id, requirement)).collect());

fn row(line: &'static str) -> Option<Requirement> {
    let mut columns = line.split('\t');
    let mut next = || columns.next();
    let id = next()?;
    Some(Requirement {
        id,
        section: next()?,
        level: match next()? {
            "MUST" | "must (implied)" => Level::Must,
            "MUST NOT" => Level::MustNot,
            "SHOULD" => Level::Should,
            "SHOULD NOT" => Level::ShouldNot,
            "MAY" => Level::May,
            _ => return None,
        },
        actor: match next()? {
            "client" => Some(Side::Client),
            "server" => Some(Side::Server),
            "both" => None,
            _ => return None,
        },
        phase: next()?,
        observable: match next()? {
            "wire" => Observable::Wire,
            "active" => Observable::Active,
            "storage" => Observable::Storage,
            "none" => Observable::None,
            _ => return None,
        },
        how: next()?,
        summary: next()?,
        quote: QUOTE_OF.get(id).copied(),
    })
}

/// Every requirement, in the catalogue's order.
#[must_use]
pub fn all() -> &'static [Requirement] {
    &ALL
}

/// The requirement with this id.
#[must_use]
pub fn find(id: &str) -> Option<&'static Requirement> {
    BY_ID.get(id).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_understood_and_ids_are_unique() {
        assert_eq!(all().len(), TABLE.lines().count() - 1);
        assert_eq!(BY_ID.len(), all().len());
    }

    #[test]
    fn every_quote_belongs_to_a_requirement_in_the_catalogues_order() {
        let ids: Vec<_> = QUOTES
            .lines()
            .skip(1)
            .map(|line| line.split('\t').next().unwrap_or_default())
            .collect();
        let quoted: Vec<_> = all().iter().filter(|it| it.quote.is_some()).map(|it| it.id).collect();
        assert_eq!(ids, quoted);
        for requirement in all() {
            let Some(quote) = requirement.quote else { continue };
            let words = quote.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(quote, words, "{}: one line, single spaces", requirement.id);
        }
    }

    #[test]
    fn a_quote_has_the_keyword_of_its_requirement() {
        // What the specification says otherwise: MAY NOT for MUST NOT, lists below a sentence, and
        // permissions and duties in plain words.
        let mut without = Vec::new();
        for requirement in all().iter().filter(|it| it.level.is_binding()) {
            let Some(quote) = requirement.quote else { continue };
            if !["MUST", "MAY NOT", "SHALL"].iter().any(|word| quote.contains(word)) {
                without.push(requirement.id);
            }
        }
        insta::assert_snapshot!(without.join("\n"));
    }
}
