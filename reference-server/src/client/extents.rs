//! Checks the extents in the reply to one `NBD_CMD_BLOCK_STATUS`. No sockets, no clock.

use protocol::message::Extent;

use super::error::Violation;

/// What was asked, and the status chunks so far.
#[derive(Debug, Default)]
pub(crate) struct Statuses {
    /// The ids of the selected contexts.
    wanted: Vec<u32>,
    /// How long the range is, in bytes.
    length: u64,
    /// How far the export goes from the start of the range, in bytes.
    room: u64,
    /// Whether REQ_ONE was set.
    one: bool,
    seen: Vec<(u32, Vec<Extent>)>,
}

impl Statuses {
    pub(crate) fn new(wanted: Vec<u32>, length: u64, room: u64, one: bool) -> Self {
        Self { wanted, length, room, one, seen: Vec::new() }
    }

    /// Notes a status chunk.
    pub(crate) fn add(&mut self, id: u32, extents: Vec<Extent>) -> Result<(), Violation> {
        if !self.wanted.contains(&id) || self.seen.iter().any(|(seen, _)| *seen == id) {
            return Err(Violation::ContextUnexpected(id));
        }
        if extents.is_empty() || extents.iter().any(|extent| extent.length == 0) {
            return Err(Violation::EmptyExtent);
        }
        let sum = |extents: &[Extent]| {
            extents.iter().fold(0u64, |sum, extent| sum.saturating_add(extent.length))
        };
        let total = sum(&extents);
        if self.one && (extents.len() > 1 || total > self.length) {
            return Err(Violation::MoreThanOneExtent);
        }
        if sum(&extents[..extents.len() - 1]) >= self.length {
            return Err(Violation::ExtentAfterEnd);
        }
        if total > self.room {
            return Err(Violation::ExtentBeyondExport);
        }
        self.seen.push((id, extents));
        Ok(())
    }

    /// Notes a status chunk, whatever it says.
    pub(crate) fn add_anyway(&mut self, id: u32, extents: Vec<Extent>) {
        self.seen.push((id, extents));
    }

    /// What there is, whether complete or not.
    pub(crate) fn into_whatever_came(self) -> Vec<(u32, Vec<Extent>)> {
        self.seen
    }

    /// All of them, of a reply that is complete.
    pub(crate) fn finish(self) -> Result<Vec<(u32, Vec<Extent>)>, Violation> {
        let missing = |id: &&u32| !self.seen.iter().any(|(seen, _)| seen == *id);
        match self.wanted.iter().find(missing) {
            Some(id) => Err(Violation::ContextMissing(*id)),
            None => Ok(self.seen),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extents(list: &[u64]) -> Vec<Extent> {
        let extent =
            |(status, length): (usize, &u64)| Extent { length: *length, status: status as u64 };
        list.iter().enumerate().map(extent).collect()
    }

    fn add(one: bool, list: &[u64]) -> Result<(), Violation> {
        Statuses::new(vec![1], 1000, 5000, one).add(1, extents(list))
    }

    #[test]
    fn takes_extents_that_keep_the_rules() {
        for list in [&[1][..], &[1000], &[500, 100], &[999, 4001], &[5000]] {
            assert_eq!(add(false, list), Ok(()), "{list:?}");
        }
        assert_eq!(add(true, &[1000]), Ok(()));
    }

    #[test]
    fn refuses_extents_that_break_a_rule() {
        for (one, list, violation) in [
            (false, &[][..], Violation::EmptyExtent),
            (false, &[100, 0, 100], Violation::EmptyExtent),
            (true, &[100, 100], Violation::MoreThanOneExtent),
            (true, &[1001], Violation::MoreThanOneExtent),
            (false, &[600, 400, 1], Violation::ExtentAfterEnd),
            (false, &[999, 4002], Violation::ExtentBeyondExport),
            (false, &[u64::MAX, u64::MAX], Violation::ExtentAfterEnd),
        ] {
            assert_eq!(add(one, list), Err(violation), "{list:?}");
        }
    }

    #[test]
    fn each_context_comes_once() {
        let mut statuses = Statuses::new(vec![1, 9], 1000, 5000, false);
        assert_eq!(statuses.add(2, extents(&[1])), Err(Violation::ContextUnexpected(2)));
        statuses.add(9, extents(&[1])).unwrap();
        assert_eq!(statuses.add(9, extents(&[1])), Err(Violation::ContextUnexpected(9)));
        assert_eq!(statuses.finish(), Err(Violation::ContextMissing(1)));
    }
}
