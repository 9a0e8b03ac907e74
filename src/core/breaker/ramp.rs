//! The ramp by which a circuit that closed admits a growing share of calls.

use super::spec::Breaker;

/// A ramp. It began with the closed state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ramp {
    /// The length of the ramp in microseconds: the longest `ramp` of the breakers that asked.
    pub length_us: u64,
    /// The part of a call that was offered and not admitted yet, in microseconds: `length_us`
    /// stands for a whole call.
    pub credit: u64,
}

impl Ramp {
    /// A ramp of this length. The credit of half a call at the start rounds the number of admitted
    /// calls to the nearest whole number instead of down.
    pub const fn new(length_us: u64) -> Self {
        Self { length_us, credit: length_us / 2 }
    }

    /// True if the ramp admits a call under this breaker, `elapsed_us` after it began.
    ///
    /// Each call that is offered earns the share `elapsed / ramp` of an admitted call. So the
    /// number of admitted calls is the sum of all shares, rounded to the nearest whole number. Each
    /// breaker asks with its own `ramp`. A call whose breaker has no ramp, or whose ramp is over,
    /// is admitted and leaves the credit to the others.
    pub fn admits(&mut self, breaker: &Breaker, elapsed_us: u64) -> bool {
        let ramp_us = breaker.ramp_us();
        if ramp_us > self.length_us {
            self.credit = scaled(self.credit, ramp_us, self.length_us);
            self.length_us = ramp_us;
        }
        if elapsed_us >= ramp_us {
            return true;
        }
        self.credit = self.credit.saturating_add(scaled(elapsed_us, self.length_us, ramp_us));
        let admits = self.credit >= self.length_us;
        if admits {
            self.credit -= self.length_us;
        }
        admits
    }
}

/// `number` × `to` / `from`, rounded down.
fn scaled(number: u64, to: u64, from: u64) -> u64 {
    let scaled = u128::from(number) * u128::from(to) / u128::from(from.max(1));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}
