//! What became known, to be fetched.

use std::collections::VecDeque;

use protocol::message::{Both, Side};

use super::event::{Event, Seen, Violation};
use super::rules::{Finding, Findings, Rule};

/// Events to be fetched, and what numbers messages.
#[derive(Default)]
pub(super) struct Output {
    pub(super) events: VecDeque<Event>,
    pub(super) messages: u64,
    pub(super) last: Both<u64>,
    /// Whether a party broke a MUST: the other one may hang up.
    pub(super) broke: Both<bool>,
    pub(super) now_ns: u64,
    /// Where the next message of each side begins in its bytes; once a side has ended, how far they
    /// came.
    pub(super) positions: Both<u64>,
}

impl Output {
    /// The number of the next message to be complete.
    pub(super) fn next_number(&self) -> u64 {
        self.messages + 1
    }

    pub(super) fn message(&mut self, mut seen: Seen, findings: Findings) {
        self.messages += 1;
        let (number, time_ns, offset) = (self.messages, seen.end_ns, seen.offset);
        seen.number = number;
        self.last[seen.from] = number;
        self.events.push_back(Event::Message(seen));
        for finding in findings.0 {
            self.violation(finding, number, time_ns, offset);
        }
    }

    fn violation(&mut self, finding: Finding, message: u64, time_ns: u64, offset: u64) {
        let Finding { rule, party, field, text } = finding;
        let requirement = rule.requirement();
        self.broke[party] |= requirement.level.is_binding();
        let violation = Violation { message, time_ns, offset, requirement, party, text, field };
        self.events.push_back(Event::Violation(violation));
    }

    /// Accuses `party` of something that is not a message of its own.
    pub(super) fn accuse(&mut self, rule: Rule, party: Side, text: impl Into<String>) {
        let finding = Finding { rule, party, field: None, text: text.into() };
        let offset = self.positions[party];
        self.violation(finding, self.last[party], self.now_ns, offset);
    }
}
