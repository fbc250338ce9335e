//! What waits for the secrets of its TLS: programs log them while they shake hands, so whoever
//! looks on may see a connection before its secrets.

use crate::tcp::Delivery;

/// How long a connection waits for its secrets, in nanoseconds.
const PATIENCE_NS: u64 = 1_000_000_000;
/// How much memory what comes meanwhile may take, in bytes; what comes then waits no longer.
const LIMIT: usize = 1 << 20;

/// Deliveries of one connection, in order.
#[derive(Default)]
pub(super) struct AwaitingSecrets {
    deliveries: Vec<Kept>,
    memory: usize,
    /// When the wait began.
    since_ns: u64,
}

/// A delivery apart from its bytes.
struct Kept(Delivery<'static>, Vec<u8>);

impl AwaitingSecrets {
    /// The wait begins.
    pub(super) fn since(since_ns: u64) -> Self {
        Self { since_ns, ..Self::default() }
    }

    /// How much memory it takes, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }

    /// Whether the wait has been long enough.
    pub(super) fn is_enough(&self, now_ns: u64) -> bool {
        self.memory > LIMIT || now_ns.saturating_sub(self.since_ns) >= PATIENCE_NS
    }

    pub(super) fn keep(&mut self, delivery: &Delivery<'_>) {
        let kept = Kept::from(delivery);
        self.memory += size_of::<Kept>() + kept.1.len();
        self.deliveries.push(kept);
    }

    /// Hands on what was kept.
    pub(super) fn release(&mut self, mut take: impl FnMut(&Delivery<'_>)) {
        self.memory = 0;
        for kept in std::mem::take(&mut self.deliveries) {
            take(&kept.delivery());
        }
    }
}

impl Kept {
    fn delivery(&self) -> Delivery<'_> {
        match self.0 {
            Delivery::Data { from, time_ns, informed, .. } => {
                Delivery::Data { from, time_ns, bytes: &self.1, informed }
            }
            other => other,
        }
    }
}

impl From<&Delivery<'_>> for Kept {
    fn from(delivery: &Delivery<'_>) -> Self {
        let other = match *delivery {
            Delivery::Data { from, time_ns, bytes, informed } => {
                return Self(
                    Delivery::Data { from, time_ns, bytes: &[], informed },
                    bytes.to_vec(),
                );
            }
            Delivery::Gap { from, time_ns, missing, cut } => {
                Delivery::Gap { from, time_ns, missing, cut }
            }
            Delivery::Conflict { from, time_ns, length } => {
                Delivery::Conflict { from, time_ns, length }
            }
            Delivery::End { from, time_ns, informed } => Delivery::End { from, time_ns, informed },
            Delivery::Reset { from, time_ns } => Delivery::Reset { from, time_ns },
            Delivery::Aside { from, time_ns, what } => Delivery::Aside { from, time_ns, what },
        };
        Self(other, Vec::new())
    }
}
