//! Lawful requests and what must come of them.

use protocol::values::TransmissionFlags as T;

use super::facts::{DEPTHS, DIRTY};
use super::model::Content;
use super::session::{Anchor, Ask, Form, Inner, Length, Round, Setting, Spot};
use super::writer::{Awaited, COOKIE, Deed, Issue, Writer};

const KIB: u64 = 1 << 10;
/// What can't be read in the configuration `errors`, in whole pages.
const BAD: std::ops::Range<u64> = 0x80000..0x81000;
/// How much of a large export one question about its status is about, in bytes.
const FAR: u64 = 1 << 30;

/// A line of the server, with places for its connection and its cookie.
pub(super) fn reply(what: &str) -> String {
    format!("S\u{3}: reply {what}")
}

/// A set of flags as a field; nothing where there are none.
fn flags(names: &[(bool, &str)]) -> String {
    let set: Vec<&str> = names.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect();
    if set.is_empty() { String::new() } else { format!(" flags={{{}}}", set.join(" ")) }
}

/// How much is written to be changed in part.
const WHOLE: Length = Length::Pages(16);

impl Writer<'_> {
    /// What one has read, another writes and makes visible; it is read again.
    pub(super) fn round(
        &mut self,
        (reader, writer): (usize, usize),
        at: (Spot, Length),
        how: Round,
        parts: u8,
    ) {
        if !self.facts.is_writable() {
            return;
        }
        let (mut spot, mut length) = at;
        let read = |spot, length| Ask::Read { spot, length, whole: false, fua: false };
        if parts >= 4 {
            match how {
                Round::Cache => self.ask(reader, Ask::Cache { spot, length }, false),
                Round::Flush | Round::Fua => self.ask(reader, read(spot, length), false),
            }
            // Where it was is where it is.
            (spot, length) = (Spot { anchor: Anchor::Again, shift: 0, ..spot }, Length::Again);
        }
        if parts >= 1 {
            self.ask(writer, Ask::Write { spot, length, fua: how == Round::Fua }, false);
            (spot, length) = (Spot { anchor: Anchor::Again, shift: 0, ..spot }, Length::Again);
        }
        if parts >= 3 && how != Round::Fua {
            self.ask(writer, Ask::Flush { fua: false }, false);
        }
        if parts != 1 {
            self.ask(reader, read(spot, length), false);
        }
    }

    /// A part of what was written is changed, and all of it is read.
    pub(super) fn patch(&mut self, on: usize, spot: Spot, ask: Ask, how: Inner, parts: u8) {
        if !self.facts.is_writable() {
            return;
        }
        let mut inner = spot;
        let mut whole = None;
        if parts == 1 || parts == 2 || parts >= 4 {
            self.ask(on, Ask::Write { spot, length: WHOLE, fua: false }, false);
            whole = Some(self.last());
            inner = Spot { anchor: Anchor::Again, shift: how.shift, unit: how.unit };
        }
        let length = how.length;
        if parts == 0 || parts >= 3 {
            let spot = inner;
            let ask = match ask {
                Ask::Read { fua, .. } | Ask::Write { fua, .. } | Ask::Flush { fua } => {
                    Ask::Write { spot, length, fua }
                }
                Ask::Zeroes { no_hole, fast, fua, .. } => {
                    Ask::Zeroes { spot, length, no_hole, fast, fua }
                }
                Ask::Trim { fua, .. } => Ask::Trim { spot, length, fua },
                Ask::Cache { .. } => Ask::Cache { spot, length },
                Ask::Status { one, payload, .. } => Ask::Status { spot, length, one, payload },
            };
            self.ask(on, ask, false);
        }
        if parts >= 2 {
            if let Some(whole) = whole {
                self.look_at(whole);
            }
            let spot = Spot { anchor: Anchor::Again, shift: 0, ..inner };
            let read = Ask::Read { spot, length: Length::Again, whole: false, fua: false };
            self.ask(on, read, false);
        }
    }

    pub(super) fn ask(&mut self, on: usize, ask: Ask, held: bool) {
        let writable = self.facts.is_writable();
        // What a setting is about comes most often there.
        let about_status = matches!(self.facts.setting, Setting::Bitmap | Setting::Backing);
        match ask {
            Ask::Read { spot, length, whole, .. } if about_status && spot.shift % 2 == 0 => {
                self.status(on, (spot, length), whole, false);
            }
            Ask::Read { spot, length, whole, fua } if self.facts.setting == Setting::Errors => {
                let anchor = match spot.anchor {
                    Anchor::Hole | Anchor::Island | Anchor::Far => Anchor::Inside,
                    anchor => anchor,
                };
                self.read(on, (Spot { anchor, ..spot }, length), whole, fua, held);
            }
            Ask::Read { spot, length, whole, fua } => {
                self.read(on, (spot, length), whole, fua, held)
            }
            Ask::Write { spot, length, fua } if writable => {
                self.write(on, (spot, length), fua, held)
            }
            Ask::Zeroes { spot, length, no_hole, fast, fua }
                if writable && self.facts.has(T::SEND_WRITE_ZEROES) =>
            {
                self.zeroes(on, (spot, length), (no_hole, fast, fua), held);
            }
            Ask::Trim { spot, length, fua } if writable && self.facts.has(T::SEND_TRIM) => {
                self.trim(on, (spot, length), fua, held);
            }
            // What is cached may be copied to the layer in front.
            Ask::Cache { .. } if self.facts.setting == Setting::Backing => {}
            Ask::Cache { spot, length } if self.facts.has(T::SEND_CACHE) => {
                self.cache(on, (spot, length), held);
            }
            Ask::Flush { fua } if self.facts.has(T::SEND_FLUSH) => self.flush(on, fua),
            Ask::Status { spot, length, one, payload } => {
                self.status(on, (spot, length), one, payload);
            }
            _ => {}
        }
    }

    fn read(&mut self, on: usize, at: (Spot, Length), whole: bool, fua: bool, held: bool) {
        let Some((offset, length)) = self.place(at.0, at.1) else { return };
        if !self.may_move(length) {
            return;
        }
        let Some(visit) = self.visit(on) else { return };
        let (id, form, name) = (visit.id, visit.form, visit.name);
        let range = offset..offset + length;
        let whole = whole && form != Form::Simple && self.facts.has(T::SEND_DF);
        let fua = fua && self.facts.has(T::SEND_FUA);
        let with = flags(&[(whole, "DF"), (fua, "FUA")]);
        let bad = range.start < BAD.end && range.end > BAD.start;
        if self.facts.setting == Setting::Errors && bad {
            // Whoever fails in the middle of a simple reply has to hang up.
            self.settle(on);
            let (offset, length) = (BAD.start, length.max(BAD.end - BAD.start));
            self.pen.client(name, &format!("NBD_CMD_READ offset={offset} length={length}{with}"));
            self.pen.line("either {");
            self.pen.server(name, "reply error [read-simple-error-code]");
            self.pen.line("} or {");
            self.pen.server(name, "end");
            self.pen.line("}");
            self.abandon(on);
            return;
        }
        if self.counts_on_content() {
            self.pen.need("content");
        }
        let rest = format!("offset={offset} length={length}{with}");
        if whole && length > 64 * KIB {
            let data = self.seen(&range, id).payload();
            let lines = vec![
                "either {".to_owned(),
                reply(&format!("ok{COOKIE} data={data}")),
                "} or {".to_owned(),
                reply(&format!("NBD_EOVERFLOW{COOKIE}")),
                "}".to_owned(),
            ];
            // What is in flight changes nothing of it later.
            let awaited = Awaited::Other(lines);
            self.issue(on, Issue { command: "NBD_CMD_READ", rest, range, awaited }, false);
            return;
        }
        // That it comes at all is one rule, and what it is is another.
        let comes = match (fua, whole) {
            (true, _) => "cmdflag-fua-accepted-everywhere",
            (_, true) => "read-df-65536-served",
            _ => "baseline-read",
        };
        let awaited = Awaited::Data(self.model.seen(&range, id), self.rule(&range, id), comes);
        self.issue(on, Issue { command: "NBD_CMD_READ", rest, range, awaited }, held);
    }

    fn write(&mut self, on: usize, at: (Spot, Length), fua: bool, held: bool) {
        let Some((offset, length)) = self.place(at.0, at.1) else { return };
        if !self.may_move(length) {
            return;
        }
        let Some(visit) = self.visit(on) else { return };
        let id = visit.id;
        let fua = fua && self.facts.has(T::SEND_FUA);
        let seed = self.seed();
        let range = offset..offset + length;
        self.pen.need("write");
        self.did(&range, Deed::Wrote, id);
        let rest = format!("offset={offset} data=place({seed})*{length}{}", flags(&[(fua, "FUA")]));
        let rule = if fua { " [cmdflag-fua-accepted-everywhere]" } else { " [baseline-write]" };
        let lines = vec![reply(&format!("ok{COOKIE}{rule}"))];
        let content = Content::Place(seed);
        let awaited = Awaited::Change { content, clashes: Vec::new(), fua, lines };
        self.issue(on, Issue { command: "NBD_CMD_WRITE", rest, range, awaited }, held);
    }

    fn zeroes(
        &mut self,
        on: usize,
        at: (Spot, Length),
        (no_hole, fast, fua): (bool, bool, bool),
        held: bool,
    ) {
        let Some((offset, length)) = self.place(at.0, at.1) else { return };
        let Some(visit) = self.visit(on) else { return };
        let (id, name) = (visit.id, visit.name);
        let fua = fua && self.facts.has(T::SEND_FUA);
        let fast = fast && self.facts.has(T::SEND_FAST_ZERO);
        let range = offset..offset + length;
        self.pen.need("write");
        self.pen.need("SEND_WRITE_ZEROES");
        self.pen.since((2, 8));
        let with = flags(&[(no_hole, "NO_HOLE"), (fast, "FAST_ZERO"), (fua, "FUA")]);
        let rest = format!("offset={offset} length={length}{with}");
        if fast {
            self.pen.need("SEND_FAST_ZERO");
            self.pen.since((4, 2));
            self.settle(on);
            let before = self.seen(&range, id).payload();
            let read = format!("NBD_CMD_READ offset={offset} length={length}");
            self.pen.client(name, &format!("NBD_CMD_WRITE_ZEROES {rest}"));
            self.pen.line("either {");
            self.pen.server(name, "reply ok");
            self.pen.client(name, &read);
            self.pen.server(name, &format!("reply ok data=zero*{length} [write-zeroes-stored]"));
            self.pen.line("} or {");
            self.pen.server(name, "reply NBD_ENOTSUP");
            self.pen.client(name, &read);
            let line = super::pen::server(
                name,
                &format!("reply ok data={before} [write-zeroes-fast-enotsup-unchanged]"),
            );
            self.pen.line(format!("should {line}"));
            self.pen.line("} or {");
            self.pen.server(name, "reply NBD_ENOSPC");
            self.pen.line("} or warn write-zeroes-fast-no-eoverflow {");
            self.pen.server(name, "reply NBD_EOVERFLOW");
            self.pen.line("}");
            self.disturb(range, id);
            return;
        }
        self.did(&range, Deed::Zeroed, id);
        let lines = match no_hole {
            // There may be no room for it.
            true => vec![
                "either {".to_owned(),
                reply(&format!("ok{COOKIE} [cmdflag-no-hole-supported]")),
                "} or {".to_owned(),
                reply(&format!("NBD_ENOSPC{COOKIE}")),
                "}".to_owned(),
            ],
            false => vec![reply(&format!("ok{COOKIE} [tflag-not-unsupported]"))],
        };
        let content = if no_hole { Content::Any } else { Content::Zero };
        let awaited = Awaited::Change { content, clashes: Vec::new(), fua, lines };
        self.issue(
            on,
            Issue { command: "NBD_CMD_WRITE_ZEROES", rest, range: range.clone(), awaited },
            held,
        );
        if no_hole && !held {
            // Nobody runs out of space here.
            let author = super::model::Writer::new(id);
            self.model.set(range, Content::Zero, id, Some(author));
        }
    }

    fn trim(&mut self, on: usize, at: (Spot, Length), fua: bool, held: bool) {
        let Some((offset, length)) = self.place(at.0, at.1) else { return };
        let Some(visit) = self.visit(on) else { return };
        let id = visit.id;
        let fua = fua && self.facts.has(T::SEND_FUA);
        let range = offset..offset + length;
        self.pen.need("write");
        self.pen.need("SEND_TRIM");
        self.did(&range, Deed::Trimmed, id);
        let rest = format!("offset={offset} length={length}{}", flags(&[(fua, "FUA")]));
        let lines = vec![
            "either {".to_owned(),
            reply(&format!("ok{COOKIE} [tflag-not-unsupported]")),
            "} or {".to_owned(),
            reply(&format!("error{COOKIE} error!=NBD_EINVAL")),
            "}".to_owned(),
        ];
        let awaited = Awaited::Change { content: Content::Any, clashes: Vec::new(), fua, lines };
        self.issue(on, Issue { command: "NBD_CMD_TRIM", rest, range, awaited }, held);
    }

    fn cache(&mut self, on: usize, at: (Spot, Length), held: bool) {
        let Some((offset, length)) = self.place(at.0, at.1) else { return };
        let Some(visit) = self.visit(on) else { return };
        let id = visit.id;
        let range = offset..offset + length;
        self.pen.need("SEND_CACHE");
        self.pen.since((3, 0));
        self.did(&range, Deed::Cached, id);
        let rest = format!("offset={offset} length={length}");
        let awaited = Awaited::Other(vec![reply(&format!("_{COOKIE}"))]);
        self.issue(on, Issue { command: "NBD_CMD_CACHE", rest, range, awaited }, held);
    }

    fn flush(&mut self, on: usize, fua: bool) {
        let Some(visit) = self.visit(on) else { return };
        let id = visit.id;
        let fua = fua && self.facts.has(T::SEND_FUA);
        self.pen.need("SEND_FLUSH");
        // It covers what was answered before it was sent, and nothing of what is in flight.
        self.flushed(id);
        let rule = if fua { "cmdflag-fua-accepted-everywhere" } else { "tflag-not-unsupported" };
        let awaited = Awaited::Other(vec![reply(&format!("ok{COOKIE} [{rule}]"))]);
        let rest = flags(&[(fua, "FUA")]);
        self.issue(on, Issue { command: "NBD_CMD_FLUSH", rest, range: 0..0, awaited }, false);
    }

    fn status(&mut self, on: usize, at: (Spot, Length), one: bool, payload: bool) {
        let Some((offset, length)) = self.place(at.0, at.1) else { return };
        let Some(visit) = self.visit(on) else { return };
        if visit.contexts.is_empty() {
            return;
        }
        let (id, name, form) = (visit.id, visit.name, visit.form);
        let contexts = visit.contexts.clone();
        let length = match self.facts.setting {
            Setting::Large if length > 1 << 20 => FAR.min(self.facts.end() - offset),
            _ => length,
        };
        let length = length - length % self.facts.minimum();
        if length == 0 {
            return;
        }
        let range = offset..offset + length;
        self.pen.since((2, 12));
        for (context, _) in &contexts {
            self.pen.need(format!("context={context}"));
        }
        self.settle(on);
        let with = flags(&[(one, "REQ_ONE")]);
        if payload
            && form == Form::Extended
            && self.facts.found.extended_flags.has(T::BLOCK_STATUS_PAYLOAD)
            && let Some((_, Some(variable))) = contexts.first()
        {
            self.pen.since((8, 2));
            let number = self.number();
            self.pen.client(
                name,
                &format!(
                    "NBD_CMD_BLOCK_STATUS cookie=p{number} offset={offset} effect-length={length} ids={{${variable}}}{with}"
                ),
            );
            self.pen.server(
                name,
                &format!("NBD_REPLY_TYPE_BLOCK_STATUS_EXT cookie=p{number} id=${variable} [ext-status-payload-filters]"),
            );
            self.refuse_more(name, number, contexts.len());
            return;
        }
        let single = match contexts.as_slice() {
            [(context, _)] if self.facts.write || self.facts.owned => Some(context.clone()),
            _ => None,
        };
        let checks = single.map(|context| self.status_checks(&context, &range, id));
        let checks = checks.unwrap_or_default();
        let number = self.number();
        let capture =
            if checks.is_empty() { String::new() } else { format!(" extents=?e{number}") };
        let lines = vec![reply(&format!("ok{COOKIE}{capture} [status-one-chunk-per-context]"))];
        let rest = format!("offset={offset} length={length}{with}");
        let awaited = Awaited::Other(lines);
        self.issue(on, Issue { command: "NBD_CMD_BLOCK_STATUS", rest, range, awaited }, false);
        for check in checks {
            self.pen.line(check.replace("$e", &format!("$e{number}")));
        }
    }

    /// A payload that names one context brings that one alone.
    fn refuse_more(&mut self, name: &str, number: usize, selected: usize) {
        if selected > 1 {
            self.pen.line("maybe {");
            self.pen.server(name, &format!("NBD_REPLY_TYPE_NONE cookie=p{number}"));
            self.pen.line("}");
        }
    }

    /// What must be true of the extents of one context, which are `$e` in it.
    fn status_checks(
        &mut self,
        context: &str,
        range: &std::ops::Range<u64>,
        id: usize,
    ) -> Vec<String> {
        let seen = self.seen(range, id);
        let pristine = self.model.is_pristine(range);
        let trusted = self.facts.owned && self.facts.described;
        let length = range.end - range.start;
        let mut checks = Vec::new();
        match context {
            "base:allocation" => {
                if self.counts_on_content() {
                    self.pen.need("content");
                }
                match seen.first() {
                    Some((Content::Place(_) | Content::Fill(_), _)) => {
                        checks.push(
                            "check status($e) % 4 < 2 [base-alloc-zero-flag-true]".to_owned(),
                        );
                    }
                    Some((Content::Zero, zero)) if zero < length && !seen.is_open_after(zero) => {
                        checks.push(format!(
                            "check status($e) % 4 < 2 or first($e) <= {zero} [status-extents-consecutive]"
                        ));
                    }
                    // Of holes that nobody filled, whoever made them knows.
                    Some((Content::Zero, zero))
                        if trusted
                            && pristine
                            && zero == length
                            && range.start.is_multiple_of(64 * KIB)
                            && length >= 64 * KIB
                            && self.facts.setting == Setting::Default =>
                    {
                        self.pen.need("owned");
                        checks.push(
                            "should check status($e) % 4 > 0 [status-known-reported]".to_owned(),
                        );
                    }
                    _ => {}
                }
            }
            "qemu:dirty-bitmap:bm0" if trusted && self.facts.setting == Setting::Bitmap => {
                let granule = range.start - range.start % (64 * KIB);
                let granule = granule..granule + 64 * KIB;
                let within = |(at, length): &(u64, u64)| (*at..at + length).contains(&range.start);
                let settled =
                    self.model.is_pristine(&granule) && !self.seen(&granule, id).is_open();
                let dirty = DIRTY.iter().any(within);
                let first = seen.first();
                if dirty || settled {
                    self.pen.need("owned");
                    let bit = u64::from(dirty);
                    checks.push(format!("check status($e) == {bit} [qemu-dirty-bitmap-content]"));
                } else if matches!(first, Some((Content::Place(_), _))) {
                    self.pen.need("owned");
                    checks.push("check status($e) == 1 [qemu-dirty-bitmap-content]".to_owned());
                }
            }
            "qemu:allocation-depth" if trusted && self.facts.setting == Setting::Backing => {
                let granule = range.start - range.start % (64 * KIB);
                if self.model.is_pristine(&(granule..granule + 64 * KIB))
                    && !self.seen(&(granule..granule + 64 * KIB), id).is_open()
                {
                    let within = |(at, length, _): &&(u64, u64, u64)| {
                        (*at..at + length).contains(&range.start)
                    };
                    let depth = DEPTHS.iter().find(within).map_or(0, |(_, _, depth)| *depth);
                    self.pen.need("owned");
                    checks.push(format!(
                        "check status($e) == {depth} [qemu-allocation-depth-status]"
                    ));
                }
            }
            _ => {}
        }
        checks
    }
}
