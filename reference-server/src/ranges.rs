//! Sets of ranges of an export.

use std::collections::BTreeMap;
use std::ops::Range;

/// Ranges that neither overlap nor touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ranges {
    /// End by start.
    map: BTreeMap<u64, u64>,
}

impl Ranges {
    /// How many ranges there are: what a set costs.
    pub(crate) fn count(&self) -> usize {
        self.map.len()
    }

    pub(crate) fn clear(&mut self) {
        self.map.clear();
    }

    /// Adds a range; what overlaps or touches it becomes one with it.
    pub(crate) fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let (mut start, mut end) = (range.start, range.end);
        while let Some((near, until)) = self.map.range(..=end).next_back()
            && *until >= start
        {
            let near = *near;
            start = start.min(near);
            end = end.max(*until);
            self.map.remove(&near);
        }
        self.map.insert(start, end);
    }

    /// Adds a range to a set that is to stay below `limit` ranges: where it can't, what lies
    /// between the range and its neighbour is added too.
    pub(crate) fn insert_bounded(&mut self, range: Range<u64>, limit: usize) {
        let start = range.start;
        self.insert(range);
        if self.count() > limit {
            let (at, end) = match self.map.range(..start).next_back() {
                Some((_, end)) => (start, *end),
                None => (start, start),
            };
            match self.map.range(at + 1..).next() {
                // Towards the start, unless there is nothing.
                _ if end < at => self.insert(end..at),
                Some((next, _)) => self.insert(at..*next),
                None => {}
            }
        }
    }

    /// Takes a range out.
    pub(crate) fn remove(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        while let Some((near, until)) = self.map.range(..range.end).next_back()
            && *until > range.start
        {
            let (start, end) = (*near, *until);
            self.map.remove(&start);
            if end > range.end {
                self.map.insert(range.end, end);
            }
            if start < range.start {
                self.map.insert(start, range.start);
            }
        }
    }

    /// Whether `at` is in the set, and up to where (below `end`) that is so.
    pub(crate) fn at(&self, at: u64, end: u64) -> (bool, u64) {
        match self.map.range(..=at).next_back() {
            Some((_, until)) if *until > at => (true, (*until).min(end)),
            _ => {
                let next = self.map.range(at..).next();
                (false, next.map_or(end, |(start, _)| (*start).min(end)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn members(set: &Ranges) -> Vec<bool> {
        (0..64).map(|at| set.at(at, 64).0).collect()
    }

    #[test]
    fn a_full_set_says_too_much_rather_than_too_little() {
        let mut set = Ranges::default();
        for at in [10, 50, 30, 2] {
            set.insert_bounded(at..at + 1, 2);
            assert!(set.at(at, 64).0);
            assert!(set.count() <= 2);
        }
    }

    proptest! {
        #[test]
        fn behaves_like_an_array_of_flags(
            steps in prop::collection::vec((any::<bool>(), 0u64..64, 0u64..64), 0..20),
            limit in 1usize..4,
        ) {
            let (mut set, mut bounded) = (Ranges::default(), Ranges::default());
            let mut model = vec![false; 64];
            for (add, a, b) in steps {
                let range = a.min(b)..a.max(b);
                model[range.start as usize..range.end as usize].fill(add);
                if add {
                    set.insert(range.clone());
                    bounded.insert_bounded(range, limit);
                    prop_assert!(bounded.count() <= limit);
                } else {
                    set.remove(range);
                }
                prop_assert_eq!(&members(&set), &model);
                let seen = members(&bounded);
                prop_assert!(model.iter().zip(seen).all(|(flag, there)| !flag || there));
                for at in 0..64 {
                    let (flag, until) = set.at(at, 64);
                    prop_assert!(until > at);
                    prop_assert!((at..until).all(|at| model[at as usize] == flag));
                    prop_assert!(until == 64 || model[until as usize] != flag);
                }
            }
        }
    }
}
