//! What an export holds, as far as a client can know: it follows from what the session has written.

use std::ops::Range;

use protocol::payload::{Part, Payload};

/// What some bytes are known to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// Zeroes.
    Zero,
    /// `place(SEED)`.
    Place(u16),
    /// The same byte, which is not zero.
    Fill(u8),
    /// Nothing is known: several outcomes are lawful.
    Any,
}

impl Content {
    /// The same as a payload of so many bytes.
    fn part(self, length: u64) -> Part {
        match self {
            Self::Zero => Part::Zero(length),
            Self::Place(seed) => Part::Place(seed, length),
            Self::Fill(byte) => Part::Fill(byte, length),
            Self::Any => Part::Any(length),
        }
    }
}

/// Who has written something that not everybody need see yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Writer {
    /// The visit.
    pub(super) visit: usize,
    /// Visits from this one on see it: they began after it was flushed.
    pub(super) from: Option<usize>,
}

impl Writer {
    /// A visit that has not flushed what it wrote.
    pub(super) fn new(visit: usize) -> Self {
        Self { visit, from: None }
    }

    fn shows_to(self, visit: usize) -> bool {
        self.visit == visit || self.from.is_some_and(|from| visit >= from)
    }
}

/// A stretch of bytes with one history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stretch {
    start: u64,
    end: u64,
    content: Content,
    /// Who has written it, where others may not see it yet.
    writer: Option<Writer>,
    /// Nobody has touched it since the session began.
    pristine: bool,
}

/// The bytes of an export from its start on; beyond them nothing is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Model {
    stretches: Vec<Stretch>,
}

impl Model {
    /// An export of which the first `size` bytes are zero but for these stretches: what, offset and
    /// length in bytes.
    pub(super) fn new(size: u64, places: &[(Content, u64, u64)]) -> Self {
        let whole =
            Stretch { start: 0, end: size, content: Content::Zero, writer: None, pristine: true };
        let mut model = Self { stretches: vec![whole] };
        for (content, offset, length) in places {
            let range = (*offset).min(size)..(offset + length).min(size);
            model.put(range, *content, None, true);
        }
        model
    }

    /// An export of which nothing is known but its size.
    pub(super) fn unknown(size: u64) -> Self {
        let whole =
            Stretch { start: 0, end: size, content: Content::Any, writer: None, pristine: false };
        Self { stretches: vec![whole] }
    }

    /// A visit makes something of a range; `writer` where others may not see it yet.
    pub(super) fn set(
        &mut self,
        range: Range<u64>,
        content: Content,
        visit: usize,
        writer: Option<Writer>,
    ) {
        // Whose write comes last to the store is open, where the other one was not flushed.
        let open: Vec<Range<u64>> = self
            .within(&range)
            .filter(|it| it.writer.is_some_and(|writer| !writer.shows_to(visit)))
            .map(|it| it.start..it.end)
            .collect();
        self.put(range, content, writer, false);
        for part in open {
            self.put(part, Content::Any, None, false);
        }
    }

    /// What has been written is there for everybody.
    pub(super) fn flush_all(&mut self) {
        for stretch in &mut self.stretches {
            stretch.writer = None;
        }
    }

    /// What a visit has written is there for all visits from `next` on.
    pub(super) fn flush(&mut self, visit: usize, next: usize) {
        for writer in self.stretches.iter_mut().filter_map(|it| it.writer.as_mut()) {
            if writer.visit == visit && writer.from.is_none() {
                writer.from = Some(next);
            }
        }
    }

    /// What a visit must read there.
    pub(super) fn seen(&self, range: &Range<u64>, visit: usize) -> Seen {
        let mut seen = Seen::default();
        let mut at = range.start;
        for stretch in self.within(range) {
            let visible = stretch.writer.is_none_or(|writer| writer.shows_to(visit));
            let content = if visible { stretch.content } else { Content::Any };
            seen.push(content, stretch.end - stretch.start);
            at = stretch.end;
        }
        seen.push(Content::Any, range.end.saturating_sub(at));
        seen
    }

    /// Whether nobody has touched a range since the session began.
    pub(super) fn is_pristine(&self, range: &Range<u64>) -> bool {
        let mut at = range.start;
        for stretch in self.within(range) {
            if !stretch.pristine {
                return false;
            }
            at = stretch.end;
        }
        at >= range.end
    }

    fn within(&self, range: &Range<u64>) -> impl Iterator<Item = Stretch> {
        let (start, end) = (range.start, range.end);
        let inside = self.stretches.iter().filter(move |it| it.start < end && it.end > start);
        inside.map(move |it| Stretch { start: it.start.max(start), end: it.end.min(end), ..*it })
    }

    fn put(&mut self, range: Range<u64>, content: Content, writer: Option<Writer>, pristine: bool) {
        let most = self.stretches.last().map_or(0, |last| last.end);
        let (start, end) = (range.start, range.end.min(most));
        if start >= end {
            return;
        }
        let mut stretches = Vec::with_capacity(self.stretches.len() + 2);
        for old in &self.stretches {
            if old.start < start {
                stretches.push(Stretch { end: old.end.min(start), ..*old });
            }
            if old.end > end {
                stretches.push(Stretch { start: old.start.max(end), ..*old });
            }
        }
        stretches.push(Stretch { start, end, content, writer, pristine });
        stretches.sort_by_key(|it| it.start);
        self.stretches = stretches;
    }
}

/// What a read must give, piece by piece.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen(Vec<(Content, u64)>);

impl Seen {
    fn push(&mut self, content: Content, length: u64) {
        match self.0.last_mut() {
            _ if length == 0 => {}
            Some((last, so_far)) if *last == content => *so_far += length,
            _ => self.0.push((content, length)),
        }
    }

    /// A part of it is open: something that was in flight at the same time may have changed it.
    pub(super) fn blur(&mut self, from: u64, to: u64) {
        let mut blurred = Self::default();
        let mut at = 0;
        for (content, length) in &self.0 {
            let (low, high) = (from.clamp(at, at + length), to.clamp(at, at + length));
            blurred.push(*content, low - at);
            blurred.push(Content::Any, high - low);
            blurred.push(*content, at + length - high);
            at += length;
        }
        *self = blurred;
    }

    /// Whether nothing is known of it.
    pub(super) fn is_open(&self) -> bool {
        self.0.iter().all(|(content, _)| *content == Content::Any)
    }

    /// Whether nothing is known of the piece that begins at `at`.
    pub(super) fn is_open_after(&self, at: u64) -> bool {
        let mut from = 0;
        for (content, length) in &self.0 {
            if from >= at {
                return *content == Content::Any;
            }
            from += length;
        }
        true
    }

    /// The first piece.
    pub(super) fn first(&self) -> Option<(Content, u64)> {
        self.0.first().copied()
    }

    /// As scripts write it.
    pub(super) fn payload(&self) -> Payload {
        Payload(self.0.iter().map(|(content, length)| content.part(*length)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(model: &Model, range: Range<u64>, visit: usize) -> String {
        model.seen(&range, visit).payload().to_string()
    }

    #[test]
    fn what_was_written_is_read() {
        let mut model = Model::new(100, &[(Content::Place(1), 0, 40)]);
        model.set(20..60, Content::Place(7), 0, None);
        assert_eq!(seen(&model, 0..100, 0), "place(1)*20 ++ place(7)*40 ++ zero*40");
        assert_eq!(seen(&model, 90..120, 0), "zero*10 ++ any*20");
        assert!(model.is_pristine(&(60..100)) && !model.is_pristine(&(50..70)));
        assert!(!model.is_pristine(&(90..120)), "nothing is known beyond the end");
    }

    #[test]
    fn others_see_it_when_it_is_flushed() {
        let mut model = Model::new(100, &[]);
        model.set(0..50, Content::Place(7), 1, Some(Writer::new(1)));
        assert_eq!(seen(&model, 0..60, 1), "place(7)*50 ++ zero*10");
        assert_eq!(seen(&model, 0..60, 2), "any*50 ++ zero*10");
        model.flush(1, 3);
        assert_eq!(seen(&model, 0..60, 2), "any*50 ++ zero*10");
        assert_eq!(seen(&model, 0..60, 3), "place(7)*50 ++ zero*10");
        model.flush_all();
        assert_eq!(seen(&model, 0..60, 2), "place(7)*50 ++ zero*10");
    }

    #[test]
    fn whose_unflushed_write_comes_last_is_open() {
        let mut model = Model::new(100, &[]);
        model.set(0..50, Content::Place(7), 1, Some(Writer::new(1)));
        model.set(40..60, Content::Place(8), 2, Some(Writer::new(2)));
        assert_eq!(seen(&model, 0..60, 1), "place(7)*40 ++ any*20");
        assert_eq!(seen(&model, 0..60, 2), "any*50 ++ place(8)*10");
    }

    #[test]
    fn what_was_in_flight_at_the_same_time_is_open() {
        let mut read = Model::new(100, &[(Content::Place(1), 0, 50)]).seen(&(0..100), 0);
        read.blur(40, 60);
        assert_eq!(read.payload().to_string(), "place(1)*40 ++ any*20 ++ zero*40");
        assert!(!read.is_open());
        read.blur(0, 100);
        assert!(read.is_open());
    }
}
