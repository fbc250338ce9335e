//! Findings: from the script's lines and from the judge.

use protocol::message::{Message, Side};
use protocol::notation::ast::Span;
use protocol::requirements;

use super::interpreter::Interpreter;
use super::matching::{self, Candidate, option_reply, seen_bytes};
use super::stop::{Flow, Stop};
use crate::finding::{Detail, Finding, Sent, is_about_leaving};
use crate::link::{Entry, Said};

/// How many lines of the conversation a finding shows.
const AFTER: usize = 12;
/// How many findings a scenario may have.
const FINDINGS: usize = 200;
/// How much of a line is kept, in bytes.
const LINE: usize = 16 << 10;

impl Interpreter<'_> {
    /// All messages so far, of both sides, with the connection that each was said on.
    pub(super) fn messages(&self) -> impl DoubleEndedIterator<Item = (&str, &Message)> {
        self.transcript.iter().filter_map(|entry| match &entry.said {
            Said::Message(seen) => Some((entry.conn.as_str(), &seen.message)),
            _ => None,
        })
    }

    pub(super) fn find(&mut self, id: &str, message: &str, span: Span, mut detail: Detail) -> Flow {
        let Some(requirement) = requirements::find(id) else {
            return Err(Stop::Error(format!("`{id}` is not in the catalogue of requirements")));
        };
        self.collect();
        let at = self.at(span);
        let again = |finding: &Finding| finding.requirement.id == id && finding.at == at;
        if self.findings.iter().any(again) || self.findings.len() >= FINDINGS {
            return Ok(());
        }
        limit(&mut detail);
        detail.after = self.lines_before(&detail.received);
        detail.sent = sent_last(&self.transcript, self.setup.side, None);
        self.findings.push(Finding {
            requirement,
            party: self.tested(),
            message: message.to_owned(),
            at,
            detail,
            known: None,
        });
        Ok(())
    }

    /// The last lines of the conversation, without the one that is shown as received.
    pub(super) fn lines_before(&self, received: &str) -> Vec<String> {
        let several = self.conns.len() > 1;
        let mut lines = last_lines(
            &self.transcript[self.transcript.len().saturating_sub(AFTER + 1)..],
            several,
        );
        if lines.last().is_some_and(|last| last == received) {
            lines.pop();
        }
        lines.split_off(lines.len().saturating_sub(AFTER))
    }

    /// What the harness sent that a message of this connection answers.
    fn answered(&self, conn: &str, number: Option<u64>) -> Option<Sent> {
        let number = number?;
        self.transcript.iter().rev().find_map(|entry| match &entry.said {
            Said::Message(seen) if seen.number == number && entry.conn == conn => {
                (seen.from == self.setup.side).then(|| Sent::of(&seen.message))
            }
            _ => None,
        })
    }

    /// Takes over what the connections recorded and what the judge found.
    pub(super) fn collect(&mut self) {
        let tested = self.tested();
        let mut judged = Vec::new();
        for conn in self.conns.values_mut() {
            self.transcript.extend(conn.link.take_transcript());
            judged.extend(conn.link.take_judged());
        }
        crate::link::shorten(&mut self.transcript);
        self.serve_others();
        for judged in judged {
            let violation = &judged.violation;
            if violation.party != tested {
                continue;
            }
            let at = format!("{}:{}", self.script.source.path, judged.line);
            let seen = self.findings.iter().any(|finding| {
                finding.requirement.id == violation.requirement.id && finding.at == at
            });
            if seen || self.findings.len() >= FINDINGS {
                continue;
            }
            let several = self.conns.len() > 1;
            let place = self.transcript.iter().rposition(|entry| {
                entry.conn == judged.conn
                    && matches!(&entry.said, Said::Message(seen) if seen.number == violation.message)
            });
            // What is wrong with how somebody leaves is not the last thing that was said.
            let place = place.filter(|_| !is_about_leaving(violation.requirement));
            let mut detail = Detail {
                expected: vec![violation.requirement.summary.to_owned()],
                judged: true,
                ..Detail::default()
            };
            if let Some(place) = place {
                let entry = &self.transcript[place];
                detail.received = entry.text(several);
                detail.reply = match &entry.said {
                    Said::Message(seen) => option_reply(&seen.message),
                    _ => None,
                };
                if let (Some(key), Said::Message(seen)) = (violation.field, &entry.said) {
                    detail.mark = matching::find_field(&detail.received, key, &violation.text);
                    detail.bytes = seen_bytes(seen, key);
                }
                detail.sent = match &entry.said {
                    Said::Message(seen) => self.answered(&entry.conn, seen.answers),
                    _ => None,
                }
                .unwrap_or_else(|| {
                    sent_last(&self.transcript[..place], self.setup.side, Some(&entry.conn))
                });
                let before = &self.transcript[place.saturating_sub(AFTER)..place];
                detail.after = last_lines(before, several);
            } else {
                detail.received = violation.text.clone();
                detail.after = self.lines_before("");
                detail.sent = sent_last(&self.transcript, self.setup.side, Some(&judged.conn));
                // The judge speaks of no message where a connection ended, or stayed silent.
                if let Some(end) = self.conns.get(&judged.conn).and_then(|conn| conn.link.ended()) {
                    detail.event = Candidate::End(end).event();
                }
            }
            limit(&mut detail);
            self.findings.push(Finding {
                requirement: violation.requirement,
                party: tested,
                message: violation.text.clone(),
                at,
                detail,
                known: None,
            });
        }
    }
}

/// The lines of the end of a conversation.
fn last_lines(entries: &[Entry], several: bool) -> Vec<String> {
    entries.iter().map(|entry| cut(entry.text(several))).collect()
}

/// Keeps no more of the evidence than a person can read.
fn limit(detail: &mut Detail) {
    detail.received = cut(std::mem::take(&mut detail.received));
    for expected in &mut detail.expected {
        *expected = cut(std::mem::take(expected));
    }
}

fn cut(mut line: String) -> String {
    if line.len() > LINE {
        let end = (0..=LINE).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
        let left = line.len() - end;
        line.truncate(end);
        line.push_str(&format!("... ({left} bytes more)"));
    }
    line
}

/// What `side` sent last in a conversation, on one connection or on all.
pub(crate) fn sent_last(transcript: &[Entry], side: Side, conn: Option<&str>) -> Sent {
    transcript
        .iter()
        .rev()
        .filter(|entry| conn.is_none_or(|conn| entry.conn == conn))
        .find_map(|entry| match &entry.said {
            Said::Message(seen) if seen.from == side => Some(Sent::of(&seen.message)),
            Said::Bytes(from, _) if *from == side => Some(Sent::Bytes),
            _ => None,
        })
        .unwrap_or_default()
}
