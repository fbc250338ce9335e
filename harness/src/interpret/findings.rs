//! Findings: from the script's lines and from the judge.

use super::*;

impl Interpreter<'_> {
    pub(super) fn find(
        &mut self,
        id: &str,
        severity: Severity,
        message: &str,
        span: Span,
        mut detail: Detail,
    ) -> Flow {
        let Some(requirement) = requirements::find(id) else {
            return Err(Stop::Error(format!("`{id}` is not in the catalogue of requirements")));
        };
        self.collect();
        let at = self.at(span);
        let again = |finding: &Finding| finding.requirement.id == id && finding.at == at;
        if self.findings.iter().any(again) {
            return Ok(());
        }
        detail.after = self.lines_before(&detail.received);
        self.findings.push(Finding {
            requirement,
            severity,
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
        let mut lines: Vec<String> =
            self.transcript.iter().map(|entry| entry.text(several)).collect();
        if lines.last().is_some_and(|last| last == received) {
            lines.pop();
        }
        lines.split_off(lines.len().saturating_sub(AFTER))
    }

    /// Takes over what the connections recorded and what the judge found.
    pub(super) fn collect(&mut self) {
        let tested = self.tested();
        let mut judged = Vec::new();
        for conn in self.conns.values_mut() {
            self.transcript.extend(conn.link.take_transcript());
            judged.extend(conn.link.take_judged());
        }
        for judged in judged {
            let violation = &judged.violation;
            if violation.party != tested {
                continue;
            }
            let at = format!("{}:{}", self.script.source.path, judged.line);
            let seen = self.findings.iter().any(|finding| {
                finding.requirement.id == violation.requirement.id && finding.at == at
            });
            if seen {
                continue;
            }
            let several = self.conns.len() > 1;
            let place = self.transcript.iter().rposition(|entry| {
                entry.conn == judged.conn
                    && matches!(&entry.said, Said::Message(seen) if seen.number == violation.message)
            });
            let mut detail = Detail {
                expected: vec![violation.requirement.summary.to_owned()],
                ..Detail::default()
            };
            if let Some(place) = place {
                let entry = &self.transcript[place];
                detail.received = entry.text(several);
                if let (Some(key), Said::Message(seen)) = (violation.field, &entry.said) {
                    detail.mark = matching::find_field(&detail.received, key, &violation.text);
                    detail.bytes = seen_bytes(seen, key);
                }
                let lines: Vec<String> =
                    self.transcript[..place].iter().map(|entry| entry.text(several)).collect();
                detail.after = lines[lines.len().saturating_sub(AFTER)..].to_vec();
            } else {
                detail.received = violation.text.clone();
                detail.after = self.lines_before("");
            }
            self.findings.push(Finding {
                requirement: violation.requirement,
                severity: Severity::of(violation.requirement.level),
                party: tested,
                message: violation.text.clone(),
                at,
                detail,
                known: None,
            });
        }
    }
}

/// The bytes of a field of a message that the judge saw.
pub(super) fn seen_bytes(seen: &dissector::session::Seen, key: &str) -> Option<String> {
    let received = Received {
        message: seen.message.clone(),
        bulk: bytes::Bytes::new(),
        bulk_offset: 0,
        stream_offset: seen.offset,
        request: None,
    };
    let description = seen.message.describe(seen.payload.as_ref());
    matching::field_bytes(&received, &description, key)
}
