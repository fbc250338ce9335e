//! Findings grouped by cause: the same rule, broken in the same form, after the same kind of
//! message. A server that hangs up on unknown options fails a dozen scenarios for one reason.

use std::collections::{HashMap, HashSet};

use protocol::message::Side;
use protocol::requirements::{Requirement, id};

use crate::finding::{EventKind, Finding, Sent, Severity, is_about_leaving};
use crate::run::Outcome;
use crate::run::result::TargetRun;

/// How many scenarios a cause must have before others can be told as following from it.
const WIDE: usize = 4;

/// What is written is what is read: the rules that speak of nothing else.
const PLAIN: &[&str] = &[id::BASELINE_READ, id::BASELINE_WRITE, id::WRITE_STORED];

/// What a group of findings amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Weight {
    /// A MUST was broken, and no record says so.
    Failure,
    /// A SHOULD was not kept, and no record says so.
    Warning,
    /// A record of known deviations explains it.
    Known,
}

impl Weight {
    /// The word in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Failure => "fail",
            Self::Warning => "warn",
            Self::Known => "known",
        }
    }

    /// Of one finding.
    #[must_use]
    pub fn of(finding: &Finding) -> Self {
        match (&finding.known, finding.severity()) {
            (Some(_), _) => Self::Known,
            (None, Severity::Failure) => Self::Failure,
            (None, Severity::Warning) => Self::Warning,
        }
    }
}

/// Findings with the same key have the same cause.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    weight: Weight,
    known: Option<String>,
    requirement: &'static str,
    party: &'static str,
    event: EventKind,
    after: Option<Sent>,
}

impl Key {
    /// The key of a finding.
    #[must_use]
    pub fn of(finding: &Finding) -> Self {
        let detail = &finding.detail;
        // What the judge says of a message stands in the message itself, whatever it answers.
        let about_itself = detail.judged && detail.event == EventKind::Message;
        let (event, after) = match leaves(finding) {
            // By the judge or by a line, and whatever was said before.
            true => (EventKind::Close, None),
            false if cuts_replies(finding) => (detail.event, None),
            false => (detail.event, (!about_itself).then(|| detail.sent.kind())),
        };
        Self {
            weight: Weight::of(finding),
            known: finding.known.clone(),
            requirement: finding.requirement.id,
            party: finding.party.name(),
            event,
            after,
        }
    }
}

/// Findings of one cause.
#[derive(Debug, Clone)]
pub struct Cause<'r> {
    /// What it amounts to.
    pub weight: Weight,
    /// The finding that is shown of it: the one with the shortest conversation.
    pub finding: &'r Finding,
    /// The scenario of that finding.
    pub outcome: &'r Outcome,
    /// After which kinds of messages it was seen, each once.
    pub after: Vec<Sent>,
    /// The scenarios, each once, by id.
    pub scenarios: Vec<&'r Outcome>,
    /// A wider cause that this one may follow from, or shows as well: its place in the list.
    pub within: Option<usize>,
    members: Vec<Member>,
}

/// A finding: the place of its outcome in the run, and its own in the outcome.
type Member = (usize, usize);

impl<'r> Cause<'r> {
    /// The rule.
    #[must_use]
    pub fn requirement(&self) -> &'static Requirement {
        self.finding.requirement
    }

    /// What happens, in a line that holds for all its scenarios.
    #[must_use]
    pub fn message(&self) -> String {
        match self.after.len() > 1 && cuts_replies(self.finding) {
            true => "sends only a part of its answers to options".to_owned(),
            false => message(self.finding),
        }
    }

    /// After which messages, in words; `None` where the peer had the first word.
    #[must_use]
    pub fn after(&self) -> Option<String> {
        let words: Vec<String> =
            self.after.iter().filter(|sent| **sent != Sent::Nothing).map(Sent::to_string).collect();
        (!words.is_empty()).then(|| words.join(", "))
    }

    /// Whether a finding is of this cause.
    #[must_use]
    pub fn covers(&self, finding: &Finding) -> bool {
        Key::of(finding) == Key::of(self.finding)
    }

    /// Whether all its scenarios are scenarios of another.
    #[must_use]
    pub fn is_part_of(&self, other: &Self) -> bool {
        let theirs: HashSet<&str> = other.ids().into_iter().collect();
        self.scenarios.iter().all(|outcome| theirs.contains(outcome.id.as_str()))
    }

    /// The ids of its scenarios.
    #[must_use]
    pub fn ids(&self) -> Vec<&'r str> {
        self.scenarios.iter().map(|outcome| outcome.id.as_str()).collect()
    }
}

/// Whether the form of a reply to an option is at fault: it has the same form whatever the option.
fn cuts_replies(finding: &Finding) -> bool {
    let detail = &finding.detail;
    finding.requirement.id == "option-reply-layout"
        && detail.event == EventKind::Stalled
        && matches!(detail.sent, Sent::Option(_))
}

/// What happened, in a line that says when.
#[must_use]
pub fn message(finding: &Finding) -> String {
    headline(finding).unwrap_or_else(|| finding.message.clone())
}

/// Whether the last line before is a reply to the option that was sent.
fn has_begun(finding: &Finding) -> bool {
    let about = format!(" option={}", finding.detail.sent);
    let last = finding.detail.after.iter().rfind(|line| !line.starts_with("--"));
    last.is_some_and(|line| line.starts_with("S: ") && line.contains(&about))
}

/// What a peer does that ends a conversation, or keeps it waiting; `None` where the finding's own
/// message says it better.
fn headline(finding: &Finding) -> Option<String> {
    let sent = finding.detail.sent;
    let on = sent.occasion();
    Some(match finding.detail.event {
        EventKind::Close => format!("closes the connection {on}"),
        EventKind::CutOff => format!("closes the connection in the middle of a message {on}"),
        EventKind::Reset => format!("resets the connection {on}"),
        EventKind::Garbage if sent == Sent::Bytes => {
            "sends bytes that are not a message".to_owned()
        }
        EventKind::Garbage => format!("sends bytes that are not a message {on}"),
        EventKind::Stalled => match sent {
            Sent::Option(_) | Sent::Request(_) => {
                format!("sends only a part of its answer to {sent}")
            }
            _ => format!("sends only a part of a message {on}"),
        },
        EventKind::Timeout if sent.is_farewell() => format!("does not close the connection {on}"),
        EventKind::Timeout => match (sent, finding.party) {
            (Sent::Nothing, Side::Server) => "sends no greeting".to_owned(),
            (Sent::Option(_), _) if has_begun(finding) => {
                format!("does not end its answer to {sent}")
            }
            (Sent::Option(_) | Sent::Request(_), _) => format!("does not answer {sent}"),
            _ => format!("sends nothing {on}"),
        },
        EventKind::Content => format!("data that is read is wrong: {}", finding.message),
        EventKind::Message if finding.message == finding.requirement.summary => {
            format!("answers {}", finding.detail.answer.as_ref()?)
        }
        EventKind::Message
        | EventKind::Check
        | EventKind::Oversized
        | EventKind::Death
        | EventKind::Refused
        | EventKind::Handshake => return None,
    })
}

/// The causes of what a run found: failures first, then warnings, then what is known; of each those
/// with the most scenarios first.
#[must_use]
pub fn causes(run: &TargetRun) -> Vec<Cause<'_>> {
    let mut causes: Vec<Cause<'_>> = Vec::new();
    let mut places: HashMap<Key, usize> = HashMap::new();
    for (at, outcome) in run.outcomes.iter().enumerate() {
        for (index, finding) in outcome.findings.iter().enumerate() {
            let place = *places.entry(Key::of(finding)).or_insert_with(|| {
                causes.push(Cause {
                    weight: Weight::of(finding),
                    finding,
                    outcome,
                    after: Vec::new(),
                    scenarios: Vec::new(),
                    within: None,
                    members: Vec::new(),
                });
                causes.len() - 1
            });
            let cause = &mut causes[place];
            cause.members.push((at, index));
            if cause.scenarios.last().is_none_or(|last| last.id != outcome.id) {
                cause.scenarios.push(outcome);
            }
            if !cause.after.iter().any(|sent| sent.kind() == finding.detail.sent.kind()) {
                cause.after.push(finding.detail.sent);
            }
            if telling(finding) < telling(cause.finding) {
                (cause.finding, cause.outcome) = (finding, outcome);
            }
        }
    }
    causes.sort_by(|a, b| {
        let count = |cause: &Cause<'_>| std::cmp::Reverse(cause.scenarios.len());
        (a.weight, count(a), &a.scenarios[0].id).cmp(&(b.weight, count(b), &b.scenarios[0].id))
    });
    put_within(&mut causes);
    causes
}

/// The less the better to show: something was said, but not much.
fn telling(finding: &Finding) -> (bool, usize) {
    (finding.detail.after.is_empty(), finding.detail.after.len())
}

/// Finds those that a wider cause may have brought about, or shows as well.
fn put_within(causes: &mut [Cause<'_>]) {
    let failures = causes.iter().take_while(|cause| cause.weight == Weight::Failure).count();
    for wide in 0..failures {
        if causes[wide].within.is_some() {
            continue;
        }
        let (before, after) = causes.split_at_mut(wide + 1);
        let wide_cause = &before[wide];
        for narrow in &mut after[..failures - wide - 1] {
            let follows = comes_after(wide_cause, narrow)
                || is_told_again(wide_cause, narrow)
                || is_as_wrong(wide_cause, narrow)
                || never_takes_leave(wide_cause, narrow);
            if narrow.within.is_none() && follows {
                narrow.within = Some(wide);
            }
        }
    }
}

/// In each scenario of the one the other came before it.
fn comes_after(wide: &Cause<'_>, narrow: &Cause<'_>) -> bool {
    let count = wide.scenarios.len();
    let mut first: HashMap<usize, usize> = HashMap::new();
    for (outcome, index) in &wide.members {
        first.entry(*outcome).or_insert(*index);
    }
    let mut after = narrow
        .members
        .iter()
        .map(|(outcome, index)| first.get(outcome).is_some_and(|first| first < index));
    count >= WIDE && narrow.scenarios.len() * 2 <= count && after.all(|after| after)
}

/// The same rule, in the same scenarios: by the judge and by a line of the script.
fn is_told_again(wide: &Cause<'_>, narrow: &Cause<'_>) -> bool {
    wide.requirement().id == narrow.requirement().id
        && wide.finding.party == narrow.finding.party
        && narrow.is_part_of(wide)
}

/// Where what was written is not what is read, nothing else can be concluded from what is read.
fn is_as_wrong(wide: &Cause<'_>, narrow: &Cause<'_>) -> bool {
    let is_content = |cause: &Cause<'_>| cause.finding.detail.event == EventKind::Content;
    PLAIN.contains(&wide.requirement().id)
        && is_content(wide)
        && is_content(narrow)
        && wide.scenarios.len() > 1
}

/// A client that leaves without a word in plain sessions does so after whatever else.
fn never_takes_leave(wide: &Cause<'_>, narrow: &Cause<'_>) -> bool {
    let expected = |line: &String| line.starts_with("C: NBD_CMD_DISC");
    let detail = &narrow.finding.detail;
    leaves(wide.finding)
        && wide.scenarios.len() >= WIDE
        && narrow.finding.party == Side::Client
        && matches!(detail.event, EventKind::Close | EventKind::Reset)
        && detail.expected.iter().any(expected)
}

/// A client that leaves in another way than it must.
fn leaves(finding: &Finding) -> bool {
    finding.party == Side::Client && is_about_leaving(finding.requirement)
}

/// How many causes have failed how many scenarios.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Causes; without those that may follow from another.
    pub causes: usize,
    /// Scenarios.
    pub scenarios: usize,
}

/// Counts the causes of failures.
#[must_use]
pub fn count(causes: &[Cause<'_>]) -> Count {
    let failures = || causes.iter().filter(|cause| cause.weight == Weight::Failure);
    let ids: HashSet<&str> = failures().flat_map(Cause::ids).collect();
    Count {
        causes: failures().filter(|cause| cause.within.is_none()).count(),
        scenarios: ids.len(),
    }
}

#[cfg(test)]
mod tests {
    use protocol::values::{Command, OptionType};

    use super::*;
    use crate::report::tests::finding;

    #[test]
    fn each_event_has_its_words() {
        let read = Sent::Request(Command::READ);
        let cases = [
            (EventKind::Close, Sent::Nothing),
            (EventKind::Close, Sent::Option(OptionType(0x4e42_4421))),
            (EventKind::Close, Sent::Request(Command(42))),
            (EventKind::CutOff, read),
            (EventKind::Reset, Sent::Bytes),
            (EventKind::Garbage, Sent::Option(OptionType::GO)),
            (EventKind::Timeout, Sent::Nothing),
            (EventKind::Timeout, Sent::ClientFlags),
            (EventKind::Timeout, read),
            (EventKind::Timeout, Sent::Request(Command::DISC)),
            (EventKind::Timeout, Sent::OptionReply(OptionType::GO)),
            (EventKind::Stalled, read),
            (EventKind::Stalled, Sent::Reply),
            (EventKind::Message, read),
        ];
        let lines: Vec<String> = cases
            .into_iter()
            .map(|(event, sent)| {
                let mut finding = finding("baseline-read");
                (finding.detail.event, finding.detail.sent) = (event, sent);
                message(&finding)
            })
            .collect();
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn replies_that_are_cut_are_one_cause_whatever_the_option() {
        let cut = |id, event, option| {
            let mut finding = finding(id);
            (finding.detail.event, finding.detail.sent) = (event, Sent::Option(option));
            Key::of(&finding)
        };
        let layout = "option-reply-layout";
        let go = cut(layout, EventKind::Stalled, OptionType::GO);
        assert_eq!(go, cut(layout, EventKind::Stalled, OptionType::LIST));
        assert_ne!(go, cut("option-reply-one-final", EventKind::Stalled, OptionType::LIST));
        let timeouts = [OptionType::GO, OptionType::LIST]
            .map(|option| cut("option-reply-one-final", EventKind::Timeout, option));
        assert_ne!(timeouts[0], timeouts[1]);
    }
}
