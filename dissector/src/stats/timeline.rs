//! How a number went over time, in a fixed number of columns.

/// The most columns. When time runs beyond them, two become one.
const COLUMNS: usize = 128;

/// The most in each stretch of time; stretches grow with the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeline {
    /// How long each stretch is, in nanoseconds.
    width: u64,
    most: Vec<u32>,
    /// The number now.
    last: u32,
}

impl Default for Timeline {
    fn default() -> Self {
        Self { width: 1000, most: Vec::new(), last: 0 }
    }
}

impl Timeline {
    /// From this time on, in nanoseconds since the session began, the number is this.
    pub fn set(&mut self, time: u64, number: u32) {
        while usize::try_from(time / self.width).map_or(true, |column| column >= COLUMNS) {
            self.most =
                self.most.chunks(2).map(|two| two.iter().copied().max().unwrap_or(0)).collect();
            self.width *= 2;
        }
        let column = usize::try_from(time / self.width).unwrap_or(COLUMNS - 1);
        // In between it was what it was before.
        let from = self.most.len();
        if from <= column {
            self.most.resize(column + 1, self.last);
        }
        if let Some(most) = self.most.get_mut(column) {
            *most = (*most).max(number);
        }
        self.last = number;
    }

    /// How long each stretch is, in nanoseconds.
    #[must_use]
    pub fn width_ns(&self) -> u64 {
        self.width
    }

    /// The most in each stretch.
    #[must_use]
    pub fn columns(&self) -> &[u32] {
        &self.most
    }

    /// The most of all.
    #[must_use]
    pub fn most(&self) -> u32 {
        self.most.iter().copied().max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_merge_when_time_runs_on() {
        let mut line = Timeline::default();
        line.set(0, 3);
        line.set(5_000, 1);
        assert_eq!(line.columns(), [3, 3, 3, 3, 3, 3]);
        line.set(1_000_000_000, 7);
        assert!(line.columns().len() <= COLUMNS);
        assert_eq!((line.columns()[0], line.most()), (3, 7));
        assert_eq!(line.columns()[1], 1);
        line.set(u64::MAX, 0);
        assert_eq!(line.most(), 7);
    }
}
