//! What each session comes to.

use std::collections::BTreeMap;
use std::io::{self, Write};

use protocol::requirements::Level;

use super::time::{Seconds, Utc};
use super::{Out, Plural, Renderer};
use crate::dissect::{Note, Record, SessionInfo, Sink, Totals};
use crate::session::Violation;

/// Of the names of messages: `extended-chunk NBD_REPLY_TYPE_BLOCK_STATUS_EXT` is the longest.
const WIDTH: usize = 46;

/// How often, and how the first time.
struct First {
    times: u64,
    message: u64,
    text: String,
}

/// What is kept of a session until it ends. As many entries as there are rules and kinds of
/// problem, at most.
#[derive(Default)]
struct Findings {
    broken: BTreeMap<(Level, &'static str, &'static str), First>,
    problems: BTreeMap<&'static str, First>,
}

/// Writes a block of text for each session when it ends, and one for all if there are several.
pub struct SummaryRenderer<W> {
    out: Out<W>,
    totals: Totals,
    /// By session; 0 for the file.
    findings: BTreeMap<u64, Findings>,
}

impl<W: Write> SummaryRenderer<W> {
    /// Writes to this.
    pub fn new(writer: W) -> Self {
        Self { out: Out::new(writer), totals: Totals::default(), findings: BTreeMap::new() }
    }

    /// Gives the writer back.
    pub fn into_inner(self) -> W {
        self.out.writer
    }

    fn violation(&mut self, session: u64, violation: &Violation) {
        let Violation { requirement, party, message, text, .. } = violation;
        let key = (requirement.level, party.name(), requirement.id);
        let broken = &mut self.findings.entry(session).or_default().broken;
        let first = || First { times: 0, message: *message, text: text.clone() };
        broken.entry(key).or_insert_with(first).times += 1;
    }

    fn problem(&mut self, session: u64, note: &Note) {
        let problems = &mut self.findings.entry(session).or_default().problems;
        let first = || First { times: 0, message: 0, text: note.text.clone() };
        problems.entry(note.kind).or_insert_with(first).times += 1;
    }

    fn closed(&mut self, info: &SessionInfo, totals: &Totals) {
        let findings = self.findings.remove(&info.number).unwrap_or_default();
        let gap = if self.totals.sessions > 0 { "\n" } else { "" };
        self.totals.add(totals);
        self.out.write(|out| {
            let SessionInfo { number, client, server, .. } = info;
            writeln!(out, "{gap}session {number}: {client} -> {server}")?;
            write_totals(out, totals)?;
            findings.write(out)
        });
    }
}

fn write_totals(out: &mut impl Write, totals: &Totals) -> io::Result<()> {
    let [client, server] = *totals.messages.as_array();
    let lasted = Seconds(totals.end_ns.saturating_sub(totals.start_ns));
    writeln!(out, "  began     {} UTC, lasted {lasted} s", Utc(totals.start_ns))?;
    let all = client + server;
    writeln!(out, "  messages  {all}: {client} from the client, {server} from the server")?;
    let [client, server] = *totals.bytes.as_array();
    writeln!(out, "  bytes     {client} from the client, {server} from the server")?;
    if totals.retransmitted > 0 {
        writeln!(out, "  packets   {} retransmitted", totals.retransmitted)?;
    }
    if totals.copies > 0 {
        writeln!(out, "  packets   {} captured twice", totals.copies)?;
    }
    for ((kind, name), count) in totals.counts.by_kind() {
        let what = format!("{} {name}", kind.name());
        writeln!(out, "    {what:<WIDTH$} {count:>10}")?;
    }
    let violations = Plural(totals.violations, "violation");
    writeln!(out, "  findings  {violations}, {}", Plural(totals.warnings, "warning"))
}

impl Findings {
    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        for ((level, party, id), First { times, message, text }) in &self.broken {
            let often = if *times > 1 { format!(", {times} times") } else { String::new() };
            writeln!(out, "    {level} {party} [{id}] {text} (message {message}{often})")?;
        }
        for (kind, First { times, text, .. }) in &self.problems {
            let often = if *times > 1 { format!(" ({times} times)") } else { String::new() };
            writeln!(out, "    -- {kind}: {text}{often}")?;
        }
        Ok(())
    }
}

impl<W: Write> Sink for SummaryRenderer<W> {
    fn record(&mut self, record: Record<'_>) {
        match record {
            Record::Violation(info, violation) => self.violation(info.number, violation),
            Record::Problem(info, note) => self.problem(info.map_or(0, |info| info.number), note),
            Record::Closed(info, totals) => self.closed(info, totals),
            Record::Opened(_) | Record::Message(..) | Record::Tls(..) | Record::Ended(..) => {}
        }
    }

    fn wants_messages(&self) -> bool {
        false
    }

    fn is_done(&self) -> bool {
        self.out.is_broken()
    }
}

impl<W: Write> Renderer for SummaryRenderer<W> {
    fn finish(&mut self) -> io::Result<()> {
        let findings = self.findings.remove(&0).unwrap_or_default();
        let totals = std::mem::take(&mut self.totals);
        self.out.write(|out| {
            if totals.sessions > 1 {
                writeln!(out, "\nall {} sessions", totals.sessions)?;
                write_totals(out, &totals)?;
            }
            findings.write(out)
        });
        self.out.finish()
    }
}

#[cfg(test)]
mod tests {
    use protocol::describe::Kind;
    use protocol::values::{ChunkType, Command, OptionType, ReplyType};

    use super::*;

    #[test]
    fn every_name_fits_into_its_column() {
        let options = OptionType::ALL.iter().map(|name| (Kind::Option, name.to_string()));
        let replies = ReplyType::ALL.iter().map(|name| (Kind::OptionReply, name.to_string()));
        let commands = Command::ALL.iter().map(|name| (Kind::ExtendedRequest, name.to_string()));
        let chunks = ChunkType::ALL.iter().map(|name| (Kind::ExtendedChunk, name.to_string()));
        for (kind, name) in options.chain(replies).chain(commands).chain(chunks) {
            assert!(format!("{} {name}", kind.name()).len() <= WIDTH, "{name}");
        }
    }
}
