//! Puts the reply to one request together and checks it on the way. No sockets, no clock.

use std::collections::BTreeMap;
use std::ops::Range;

use protocol::message::Extent;
use protocol::text::WireString;
use protocol::values::{ChunkType, Command, CommandFlags, ErrorCode};

use super::error::{ClientError, Violation};
use super::extents::Statuses;
use crate::missteps::{Minds, Overlooks};

/// Content may come in this many separate stretches at once.
const PIECES: usize = 1 << 16;
/// How much content is taken that has no place, in bytes, where that is overlooked.
const ELSEWHERE: usize = 64 << 20;

/// What a reply holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Answered {
    /// The data of a read.
    pub(crate) bytes: Vec<u8>,
    /// The extents of each context, by its id.
    pub(crate) extents: Vec<(u32, Vec<Extent>)>,
}

/// A reply that is coming in.
#[derive(Debug)]
pub(crate) struct Assembly {
    command: Command,
    flags: CommandFlags,
    offset: u64,
    bytes: Vec<u8>,
    /// End by start, neighbours merged, relative to the start of the read.
    covered: BTreeMap<u64, u64>,
    contents: usize,
    statuses: Statuses,
    failure: Option<(ErrorCode, WireString)>,
    overlooks: Option<Overlooks>,
    minds: Option<Minds>,
    /// What a client that minds lawful things has met.
    unbearable: Option<&'static str>,
    /// Where content goes that has no place, if that is overlooked.
    elsewhere: Vec<u8>,
    last_start: u64,
}

impl Assembly {
    /// For a request; `length` is that of a read's data, in bytes.
    pub(crate) fn new(command: Command, flags: CommandFlags, offset: u64, length: usize) -> Self {
        let length = if command == Command::READ { length } else { 0 };
        Self {
            command,
            flags,
            offset,
            bytes: vec![0; length],
            covered: BTreeMap::new(),
            contents: 0,
            statuses: Statuses::default(),
            failure: None,
            overlooks: None,
            minds: None,
            unbearable: None,
            elsewhere: Vec::new(),
            last_start: 0,
        }
    }

    /// For a client that does not notice some mistakes, or can't cope with what is none.
    pub(crate) fn allow(&mut self, overlooks: Option<Overlooks>, minds: Option<Minds>) {
        (self.overlooks, self.minds) = (overlooks, minds);
    }

    /// The request fails: the client can't cope with the reply.
    pub(crate) fn cant_cope(&mut self, why: &'static str) {
        self.unbearable.get_or_insert(why);
    }

    /// What was wrong, unless that is not noticed.
    pub(crate) fn mind(&self, checked: Result<(), Violation>) -> Result<(), Violation> {
        match (self.overlooks, &checked) {
            (
                Some(Overlooks::EmptyExtents),
                Err(Violation::EmptyExtent | Violation::EmptyExtendedExtent),
            )
            | (Some(Overlooks::OutOfBounds), Err(Violation::OutOfBounds { .. }))
            | (Some(Overlooks::Overlap), Err(Violation::Overlap { .. })) => Ok(()),
            _ => checked,
        }
    }

    /// An empty last chunk came.
    pub(crate) fn nothing_more(&mut self) {
        if self.minds == Some(Minds::EmptyLastChunk) && self.contents > 0 {
            self.cant_cope("empty last chunks");
        }
    }

    /// What there is, as if it were the whole answer.
    pub(crate) fn into_whatever_came(self) -> Answered {
        Answered { bytes: self.bytes, extents: self.statuses.into_whatever_came() }
    }

    /// For a block status: the ids of the contexts, and how far request and export go.
    pub(crate) fn expect_status(&mut self, ids: Vec<u32>, length: u64, room: u64) {
        self.statuses = Statuses::new(ids, length, room, self.flags.has(CommandFlags::REQ_ONE));
    }

    pub(crate) fn command(&self) -> Command {
        self.command
    }

    /// Where the request begins, in bytes.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) fn is_read(&self) -> bool {
        self.command == Command::READ
    }

    /// The whole range, for a simple reply.
    pub(crate) fn whole(&mut self) -> &mut [u8] {
        let length = self.bytes.len() as u64;
        if length > 0 {
            self.covered.insert(0, length);
        }
        &mut self.bytes
    }

    /// Notes a content chunk; the place is for its data, which is zero until then.
    pub(crate) fn content(
        &mut self,
        chunk: ChunkType,
        offset: u64,
        length: u64,
    ) -> Result<&mut [u8], Violation> {
        if !self.is_read() {
            return Err(Violation::UnfitChunk { command: self.command, chunk });
        }
        if length == 0 {
            return Err(Violation::EmptyContent(chunk));
        }
        let place = match self.place(offset, length) {
            Ok(place) => place,
            Err(violation) => {
                self.mind(Err(violation))?;
                let kept = if chunk == ChunkType::OFFSET_HOLE { 0 } else { length };
                self.elsewhere = vec![0; usize::try_from(kept).unwrap_or(0).min(ELSEWHERE)];
                return Ok(&mut self.elsewhere);
            }
        };
        let covered = self.cover(&place, offset);
        self.mind(covered)?;
        self.contents += 1;
        if self.minds == Some(Minds::ChunkOrder) && place.start < self.last_start {
            self.cant_cope("chunks out of order");
        }
        if self.minds == Some(Minds::Holes) && chunk == ChunkType::OFFSET_HOLE {
            self.cant_cope("holes");
        }
        self.last_start = place.start;
        if self.contents > 1 && self.flags.has(CommandFlags::DF) {
            return Err(Violation::Fragmented);
        }
        Ok(&mut self.bytes[place.start as usize..place.end as usize])
    }

    fn place(&self, offset: u64, length: u64) -> Result<Range<u64>, Violation> {
        let start = offset.checked_sub(self.offset);
        start
            .and_then(|start| Some(start..start.checked_add(length)?))
            .filter(|place| place.end <= self.bytes.len() as u64)
            .ok_or(Violation::OutOfBounds { offset, length })
    }

    fn cover(&mut self, place: &Range<u64>, offset: u64) -> Result<(), Violation> {
        let (mut start, mut end) = (place.start, place.end);
        if let Some((before, until)) = self.covered.range(..place.end).next_back() {
            if *until > place.start {
                return Err(Violation::Overlap { offset, length: place.end - place.start });
            }
            if *until == place.start {
                start = *before;
            }
        }
        if let Some(until) = self.covered.remove(&place.end) {
            end = until;
        }
        self.covered.insert(start, end);
        if self.covered.len() > PIECES { Err(Violation::TooManyPieces) } else { Ok(()) }
    }

    /// Notes a status chunk.
    pub(crate) fn status(
        &mut self,
        chunk: ChunkType,
        id: u32,
        extents: Vec<Extent>,
    ) -> Result<(), Violation> {
        if self.command != Command::BLOCK_STATUS {
            return Err(Violation::UnfitChunk { command: self.command, chunk });
        }
        let added = self.statuses.add(id, extents.clone());
        if self.minds == Some(Minds::LargeContextIds) && added.is_err() {
            self.cant_cope("large ids of contexts");
            return Ok(());
        }
        let overlooked = added.is_err() && self.mind(added.clone()).is_ok();
        if overlooked {
            self.statuses.add_anyway(id, extents);
            return Ok(());
        }
        added
    }

    /// Notes a failure; the first one counts.
    pub(crate) fn failed(&mut self, error: ErrorCode, message: WireString) {
        self.failure.get_or_insert((error, message));
    }

    /// The data of a read, the extents of a block status, nothing for the rest, or why the request
    /// failed.
    pub(crate) fn finish(self) -> Result<Answered, ClientError> {
        if let Some(why) = self.unbearable {
            return Err(ClientError::CantCope(why));
        }
        if self.passes_over_failure() {
            return Ok(self.into_whatever_came());
        }
        if let Some((received, message)) = self.failure {
            let error = received.name().map_or(ErrorCode::EINVAL, |_| received);
            return Err(ClientError::Failed { command: self.command, error, received, message });
        }
        let covered: u64 = self.covered.iter().map(|(start, end)| end - start).sum();
        match self.bytes.len() as u64 - covered {
            _ if self.overlooks.is_some_and(Self::takes_less) => Ok(self.into_whatever_came()),
            0 => Ok(Answered { bytes: self.bytes, extents: self.statuses.finish()? }),
            missing => Err(Violation::Incomplete { missing }.into()),
        }
    }
}

impl Assembly {
    /// Whether it is not noticed that the request failed.
    fn passes_over_failure(&self) -> bool {
        let Some((error, _)) = &self.failure else { return false };
        let writes = matches!(self.command, Command::WRITE | Command::WRITE_ZEROES);
        match self.overlooks {
            Some(Overlooks::Errors) => true,
            Some(Overlooks::UnknownErrors) => error.name().is_none(),
            Some(Overlooks::ErrorsAfterData) => self.contents > 0,
            Some(Overlooks::Writes) => writes,
            _ => false,
        }
    }

    /// Whether it is not noticed that content is missing: with the mistake as such, or as what
    /// another one leads to.
    fn takes_less(overlooks: Overlooks) -> bool {
        matches!(
            overlooks,
            Overlooks::Missing
                | Overlooks::OutOfBounds
                | Overlooks::Overlap
                | Overlooks::UnfitChunks
                | Overlooks::ErrorChunks
                | Overlooks::UnknownErrorChunks
                | Overlooks::Layouts
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DATA: ChunkType = ChunkType::OFFSET_DATA;

    fn read(offset: u64, length: usize) -> Assembly {
        Assembly::new(Command::READ, CommandFlags::EMPTY, offset, length)
    }

    #[test]
    fn content_in_any_order_makes_the_read() {
        let mut reply = read(100, 6);
        reply.content(DATA, 104, 2).unwrap().copy_from_slice(b"ef");
        reply.content(DATA, 100, 2).unwrap().copy_from_slice(b"ab");
        reply.content(ChunkType::OFFSET_HOLE, 102, 2).unwrap();
        assert_eq!(reply.finish().unwrap().bytes, b"ab\0\0ef");
    }

    #[test]
    fn refuses_content_that_overlaps_or_is_outside() {
        let mut reply = read(100, 6);
        reply.content(DATA, 102, 2).unwrap();
        for (offset, length) in [(102, 2), (101, 2), (103, 1), (100, 6), (103, 3)] {
            let error = reply.content(DATA, offset, length).unwrap_err();
            assert_eq!(error, Violation::Overlap { offset, length });
        }
        for (offset, length) in [(99, 1), (106, 1), (104, 3), (u64::MAX, 1), (100, u64::MAX)] {
            let error = reply.content(DATA, offset, length).unwrap_err();
            assert_eq!(error, Violation::OutOfBounds { offset, length });
        }
        assert_eq!(reply.finish(), Err(Violation::Incomplete { missing: 4 }.into()));
    }

    #[test]
    fn an_error_counts_more_than_missing_content() {
        let mut reply = read(0, 4);
        reply.failed(ErrorCode(9999), "why".into());
        assert_eq!(reply.finish().unwrap_err().to_string(), r#"NBD_CMD_READ: NBD_EINVAL: "why""#);
    }

    #[test]
    fn refuses_fragments_of_an_unfragmented_read() {
        let mut reply = Assembly::new(Command::READ, CommandFlags::DF, 0, 4);
        reply.content(DATA, 0, 2).unwrap();
        assert_eq!(reply.content(DATA, 2, 2), Err(Violation::Fragmented));
    }

    proptest! {
        #[test]
        fn agrees_with_a_map_of_bytes(chunks: Vec<(u8, u8)>) {
            let mut reply = read(50, 100);
            let mut seen = [false; 100];
            for (offset, length) in chunks {
                let (offset, length) = (u64::from(offset), u64::from(length % 20));
                let range = offset..offset + length;
                let inside = length > 0 && offset >= 50 && range.end <= 150;
                let free = inside && range.clone().all(|at| !seen[at as usize - 50]);
                prop_assert_eq!(reply.content(DATA, offset, length).is_ok(), free);
                if free {
                    range.for_each(|at| seen[at as usize - 50] = true);
                }
            }
            prop_assert_eq!(reply.finish().is_ok(), seen.iter().all(|byte| *byte));
        }
    }
}
