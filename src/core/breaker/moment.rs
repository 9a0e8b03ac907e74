//! The moment at which something is asked of a circuit.

use super::answer::Transitions;
use crate::core::time::Micros;

/// A time, and the least number that an epoch may have that begins then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The time.
    pub now: Micros,
    /// The least number of a new epoch. The circuit also goes by its own epoch and by the time.
    pub least_epoch: u64,
}

impl From<Micros> for Moment {
    fn from(now: Micros) -> Self {
        Self { now, least_epoch: 0 }
    }
}

impl Moment {
    /// The time within its bounds, and the transitions to come.
    pub(super) fn start(self) -> (Micros, Transitions) {
        (self.now.min(Micros::MAX), Transitions::from_epoch(self.least_epoch))
    }
}
