//! The state of a scenario that is played.

use std::collections::{BTreeMap, BTreeSet};

use protocol::message::Side;
use protocol::notation::ast::{Span, Spanned};
use protocol::requirements;
use tokio::sync::SemaphorePermit;

use super::collected::Others;
use super::conn::Conn;
use super::eval::Env;
use super::setup::Setup;
use crate::finding::Finding;
use crate::link::Entry;
use crate::script::ast::Script;

/// Plays a script.
pub(super) struct Interpreter<'s> {
    pub(super) script: &'s Script,
    pub(super) setup: Setup,
    pub(super) env: Env,
    pub(super) conns: BTreeMap<String, Conn>,
    pub(super) findings: Vec<Finding>,
    pub(super) exercised: BTreeSet<&'static str>,
    pub(super) transcript: Vec<Entry>,
    pub(super) large: Option<SemaphorePermit<'static>>,
    /// How often it was entered again for want of a place.
    pub(super) places_sought: u32,
    /// The other connections of a client under test.
    pub(super) others: Option<Others>,
}

impl Interpreter<'_> {
    pub(super) fn tested(&self) -> Side {
        self.setup.side.other()
    }

    pub(super) fn at(&self, span: Span) -> String {
        format!("{}:{}", self.script.source.path, self.script.source.line_of(span.start))
    }

    pub(super) fn reach(&mut self, tags: &[Spanned<String>]) {
        for tag in tags {
            if let Some(rule) = requirements::find(&tag.node) {
                self.exercised.insert(rule.id);
            }
        }
    }
}
