//! Makes a script of a session: every line that the server must answer with, as the rules say.

use std::ops::Range;

use protocol::values::TransmissionFlags as T;

use super::facts::Facts;
use super::model::{Content, Model, Seen, Writer as Author};
use super::pen::{Header, Pen};
use super::session::{
    Act, Anchor, CONNECTIONS, Form, Length, Sending, Session, Setting, Spot, Unit,
};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
/// The names of the connections.
const NAMES: [&str; CONNECTIONS] = ["a", "b", "c"];
/// The seeds of what is written begin here: 1 and 2 are what was there before.
const SEEDS: u16 = 11;
/// How far a range that is rounded outwards may change its neighbours, in bytes.
const NEIGHBOURS: u64 = 128 * KIB;
/// A payload of more than that is moved seldom, in bytes.
const MUCH: u64 = 8 * MIB;

/// The script of a session against a server, or nothing if the server leaves nothing to do.
pub(crate) fn write(session: &Session, facts: &Facts, title: &str) -> Option<String> {
    let mut writer = Writer::new(session, facts);
    for act in &session.acts {
        writer.act(act);
    }
    for on in 0..CONNECTIONS {
        writer.settle(on);
    }
    if writer.pen.is_empty() {
        return None;
    }
    let export = (facts.setting != Setting::Default).then(|| facts.setting.name());
    Some(writer.pen.finish(&Header { title: title.to_owned(), export }))
}

/// What somebody did to a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    Wrote,
    Zeroed,
    Trimmed,
    Cached,
}

/// Somebody at the server: a connection from when it has entered the export to its end.
#[derive(Debug)]
pub(super) struct Visit {
    pub(super) id: usize,
    pub(super) name: &'static str,
    pub(super) form: Form,
    /// The metadata contexts that it has selected, and the variables that hold their ids.
    pub(super) contexts: Vec<(String, Option<String>)>,
    waiting: Vec<Waiting>,
}

/// A request whose answer is awaited later.
#[derive(Debug)]
struct Waiting {
    label: String,
    range: Range<u64>,
    awaited: Awaited,
}

/// What comes of a request.
#[derive(Debug)]
pub(super) enum Awaited {
    /// Data: the rule of what it is, and the rule of that it comes.
    Data(Seen, &'static str, &'static str),
    /// The bytes are this afterwards; what was changed besides may be anything.
    Change { content: Content, clashes: Vec<Range<u64>>, fua: bool, lines: Vec<String> },
    /// Nothing that matters.
    Other(Vec<String>),
}

/// A request as it is issued: the line up to its cookie is `NAME cookie=LABEL rest`.
pub(super) struct Issue {
    pub(super) command: &'static str,
    pub(super) rest: String,
    pub(super) range: Range<u64>,
    pub(super) awaited: Awaited,
}

/// Stands for the field of the cookie in lines that are awaited.
pub(super) const COOKIE: &str = "\u{2}";

/// Writes one script.
pub(super) struct Writer<'f> {
    pub(super) facts: &'f Facts,
    pub(super) pen: Pen,
    pub(super) model: Model,
    pub(super) session: &'f Session,
    open: [Option<Visit>; CONNECTIONS],
    visits: usize,
    numbers: usize,
    seeds: u16,
    last: (u64, u64),
    moved: u64,
    deeds: Vec<(Range<u64>, Deed, usize)>,
}

impl<'f> Writer<'f> {
    fn new(session: &'f Session, facts: &'f Facts) -> Self {
        Self {
            facts,
            pen: Pen::default(),
            model: facts.model(),
            session,
            open: Default::default(),
            visits: 0,
            numbers: 0,
            seeds: SEEDS,
            last: (0, facts.block()),
            moved: 0,
            deeds: Vec::new(),
        }
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Ask { on, ask, held } => self.ask(usize::from(*on) % CONNECTIONS, *ask, *held),
            Act::Leave { on } => self.leave(usize::from(*on) % CONNECTIONS),
            Act::Drop { on, reset } => self.drop_out(usize::from(*on) % CONNECTIONS, *reset),
            Act::Haggle { options, aborts } => self.haggle(options, *aborts),
            Act::Round { reader, writer, spot, length, how, parts } => {
                let on = (usize::from(*reader) % CONNECTIONS, usize::from(*writer) % CONNECTIONS);
                self.round(on, (*spot, *length), *how, *parts);
            }
            Act::Patch { on, spot, ask, how, parts } => {
                self.patch(usize::from(*on) % CONNECTIONS, *spot, *ask, *how, *parts);
            }
            Act::Slip(slip) => self.slip(*slip),
        }
    }

    /// Where the last request was: offset and length in bytes.
    pub(super) fn last(&self) -> (u64, u64) {
        self.last
    }

    /// That is taken for the last one.
    pub(super) fn look_at(&mut self, place: (u64, u64)) {
        self.last = place;
    }

    /// A number that no other name has.
    pub(super) fn number(&mut self) -> usize {
        self.numbers += 1;
        self.numbers
    }

    /// The number of somebody who comes now.
    pub(super) fn visitor(&mut self) -> usize {
        self.visits += 1;
        self.visits
    }

    /// A seed that nothing was written with.
    pub(super) fn seed(&mut self) -> u16 {
        self.seeds += 1;
        self.seeds
    }

    /// Makes room for so many connections more, where the server has few places.
    pub(super) fn make_room(&mut self, more: usize) {
        for on in 0..CONNECTIONS {
            let open = self.open.iter().flatten().count();
            if open + more > self.facts.places {
                self.leave(on);
            }
        }
    }

    pub(super) fn visit(&mut self, on: usize) -> Option<&mut Visit> {
        if self.open[on].is_none() {
            self.make_room(1);
            let entry = self.session.entries.get(on)?.clone();
            let (form, contexts) = self.enter(NAMES[on], &entry)?;
            if self.session.sending == Sending::Coalesced {
                self.pen.event(NAMES[on], "send coalesced");
            }
            let id = self.visitor();
            let visit = Visit { id, name: NAMES[on], form, contexts, waiting: Vec::new() };
            self.open[on] = Some(visit);
        }
        self.open[on].as_mut()
    }

    /// Sends a request; its answer is awaited at once unless it is held.
    pub(super) fn issue(&mut self, on: usize, issue: Issue, held: bool) {
        let Issue { command, rest, range, mut awaited } = issue;
        let changes = matches!(awaited, Awaited::Change { .. });
        for waiting in self.open.iter_mut().flatten().flat_map(|visit| &mut visit.waiting) {
            let (low, high) =
                (waiting.range.start.max(range.start), waiting.range.end.min(range.end));
            if low >= high {
                continue;
            }
            match (&mut waiting.awaited, &mut awaited) {
                (Awaited::Data(seen, ..), Awaited::Change { .. }) => {
                    seen.blur(low - waiting.range.start, high - waiting.range.start);
                }
                (Awaited::Change { .. }, Awaited::Data(seen, ..)) => {
                    seen.blur(low - range.start, high - range.start);
                }
                (
                    Awaited::Change { clashes: theirs, .. },
                    Awaited::Change { clashes: ours, .. },
                ) => {
                    theirs.push(low..high);
                    ours.push(low..high);
                }
                _ => {}
            }
        }
        let number = self.number();
        let Some(visit) = &mut self.open[on] else { return };
        let label = match held || !visit.waiting.is_empty() {
            true => format!(" cookie=r{number}"),
            false => String::new(),
        };
        let name = visit.name;
        visit.waiting.push(Waiting { label: label.clone(), range: range.clone(), awaited });
        self.pen.client(name, &format!("{command}{label} {rest}"));
        if changes || range.end > range.start {
            self.last = (range.start, range.end - range.start);
        }
        if !held {
            self.settle(on);
        }
    }

    /// Awaits what is in flight.
    pub(super) fn settle(&mut self, on: usize) {
        let Some(visit) = &mut self.open[on] else { return };
        let (id, name) = (visit.id, visit.name);
        for waiting in std::mem::take(&mut visit.waiting) {
            let Waiting { label, range, awaited } = waiting;
            match awaited {
                Awaited::Data(seen, is, comes) => {
                    let data = seen.payload();
                    if seen.is_open() {
                        self.pen.server(name, &format!("reply ok{label} data={data}"));
                        continue;
                    }
                    // Among others in flight each reply has one line.
                    if is == comes || !label.is_empty() {
                        let is = if is == "baseline-read" { comes } else { is };
                        self.pen.server(name, &format!("reply ok{label} data={data} [{is}]"));
                        continue;
                    }
                    self.pen.line("either {");
                    self.pen.server(name, &format!("reply ok{label} data={data} [{is}]"));
                    self.pen.line("} or {");
                    self.pen.server(name, &format!("reply error{label}"));
                    self.pen.line(format!("check 0 == 1 [{comes}]"));
                    self.pen.line("}");
                }
                Awaited::Change { content, clashes, fua, lines } => {
                    self.expect(name, &label, lines);
                    let author = self.author(id, fua);
                    self.model.set(range, content, id, author);
                    for clash in clashes {
                        self.model.set(clash, Content::Any, id, None);
                    }
                }
                Awaited::Other(lines) => self.expect(name, &label, lines),
            }
        }
    }

    fn expect(&mut self, name: &str, label: &str, lines: Vec<String>) {
        for line in lines {
            self.pen.line(line.replace(COOKIE, label).replace('\u{3}', &super::pen::at(name)));
        }
    }

    /// Who need not see yet what a visit has written.
    fn author(&self, visit: usize, fua: bool) -> Option<Author> {
        match (fua, self.facts.has(T::CAN_MULTI_CONN)) {
            (true, true) => None,
            (true, false) => Some(Author { visit, from: Some(self.visits + 1) }),
            (false, _) => Some(Author::new(visit)),
        }
    }

    /// What a visit has written is flushed.
    pub(super) fn flushed(&mut self, visit: usize) {
        match self.facts.has(T::CAN_MULTI_CONN) {
            true => self.model.flush_all(),
            false => self.model.flush(visit, self.visits + 1),
        }
    }

    /// What a read must give now, with what is in flight.
    pub(super) fn seen(&self, range: &Range<u64>, visit: usize) -> Seen {
        let mut seen = self.model.seen(range, visit);
        for waiting in self.open.iter().flatten().flat_map(|visit| &visit.waiting) {
            let (low, high) =
                (waiting.range.start.max(range.start), waiting.range.end.min(range.end));
            if low < high && matches!(waiting.awaited, Awaited::Change { .. }) {
                seen.blur(low - range.start, high - range.start);
            }
        }
        seen
    }

    /// A visit changes a range now: it may be anything afterwards, and what is in flight may meet it.
    pub(super) fn disturb(&mut self, range: Range<u64>, visit: usize) {
        for waiting in self.open.iter_mut().flatten().flat_map(|visit| &mut visit.waiting) {
            let (low, high) =
                (waiting.range.start.max(range.start), waiting.range.end.min(range.end));
            match &mut waiting.awaited {
                _ if low >= high => {}
                Awaited::Data(seen, ..) => {
                    seen.blur(low - waiting.range.start, high - waiting.range.start);
                }
                Awaited::Change { clashes, .. } => clashes.push(low..high),
                Awaited::Other(_) => {}
            }
        }
        self.model.set(range, Content::Any, visit, None);
    }

    /// Somebody does something to a range.
    pub(super) fn did(&mut self, range: &Range<u64>, deed: Deed, visit: usize) {
        self.deeds.push((range.clone(), deed, visit));
    }

    /// The rule that says what is read there: of what was done last.
    pub(super) fn rule(&self, range: &Range<u64>, visit: usize) -> &'static str {
        let reaches = |it: &Range<u64>, by: u64| {
            it.start.saturating_sub(by) < range.end && it.end.saturating_add(by) > range.start
        };
        for (there, deed, by) in self.deeds.iter().rev() {
            let multi = *by != visit && self.facts.has(T::CAN_MULTI_CONN);
            match deed {
                Deed::Wrote if reaches(there, 0) && multi => return "tflag-multi-conn-consistent",
                Deed::Wrote if reaches(there, 0) => return "write-stored",
                Deed::Zeroed if reaches(there, NEIGHBOURS) => return "write-zeroes-stored",
                Deed::Trimmed if reaches(there, NEIGHBOURS) => return "trim-confined",
                Deed::Cached if reaches(there, 0) => return "cache-no-semantic-effect",
                _ => {}
            }
        }
        "baseline-read"
    }

    /// Whether the export holds what scenarios know.
    pub(super) fn counts_on_content(&self) -> bool {
        self.facts.content && !matches!(self.facts.setting, Setting::Bitmap | Setting::Backing)
    }

    /// Whether a payload of this length may still be moved: a session takes its time.
    pub(super) fn may_move(&mut self, length: u64) -> bool {
        if length > MUCH && self.moved > MUCH {
            return false;
        }
        self.moved += length;
        true
    }

    /// Where a request is, within what every server takes: offset and length in bytes; `None` where the
    /// export is too small for any.
    pub(super) fn place(&self, spot: Spot, length: Length) -> Option<(u64, u64)> {
        let (end, minimum, block) = (self.facts.end(), self.facts.minimum(), self.facts.block());
        if block == 0 || end < block {
            return None;
        }
        let page = (4 * KIB).max(minimum);
        let wanted = match length {
            Length::Block => block,
            Length::Again => self.last.1,
            Length::Pages(pages) => u64::from(pages) * page,
            Length::Pieces(pieces) => u64::from(pieces) * 64 * KIB,
            Length::Odd(bytes) => u64::from(bytes).next_multiple_of(minimum),
            Length::Large(mebibytes) => u64::from(mebibytes) * MIB,
            Length::Maximum => self.facts.maximum(),
        };
        let most = self.facts.maximum().min(end);
        let length = wanted.min(most);
        let length = (length - length % minimum).max(minimum);
        let base = match spot.anchor {
            Anchor::Start => 0,
            Anchor::Again => self.last.0,
            Anchor::DataEnd => MIB,
            Anchor::Hole => 3 * MIB,
            Anchor::Island => 8 * MIB,
            Anchor::End => end - length,
            Anchor::Inside => 512 * KIB,
            Anchor::Dirty => 4 * MIB,
            Anchor::Far => 4 << 30,
        };
        let unit = match spot.unit {
            Unit::Large => 64 * KIB,
            Unit::Page => page,
            Unit::Block => block,
            Unit::Byte => minimum,
        };
        let step = unit * u64::from(spot.shift.unsigned_abs());
        let offset = match spot.shift < 0 {
            true => base.saturating_sub(step),
            false => base + step,
        };
        let offset = offset.min(end - length);
        Some((offset - offset % minimum, length))
    }

    /// A connection is no longer used: the server may have left it.
    pub(super) fn abandon(&mut self, on: usize) {
        if let Some(visit) = self.open[on].take() {
            self.pen.event(visit.name, "close");
        }
    }

    fn leave(&mut self, on: usize) {
        if self.open[on].is_none() {
            return;
        }
        self.settle(on);
        if let Some(visit) = self.open[on].take() {
            self.pen.client(visit.name, "NBD_CMD_DISC");
            self.pen.server(visit.name, "end [disc-server-closes]");
            self.pen.event(visit.name, "close");
        }
    }

    fn drop_out(&mut self, on: usize, reset: bool) {
        if self.open[on].is_none() {
            return;
        }
        self.settle(on);
        if let Some(visit) = self.open[on].take() {
            self.pen.event(visit.name, if reset { "reset" } else { "close" });
        }
    }
}
