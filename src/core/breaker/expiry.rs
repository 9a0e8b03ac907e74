//! How long a circuit is remembered.

use super::circuit::Circuit;
use super::phase::Phase;
use super::spec::Breaker;
use crate::core::time::Micros;

impl Circuit {
    /// When the circuit may be forgotten; `None` for never.
    ///
    /// This is `idle` after its last result. But a circuit is not forgotten while that would admit
    /// calls that it denies. So an opening is remembered until a trial had the time to begin, and a
    /// trial is remembered until the end of the opening that its loss would cause.
    pub fn expires_at(&self, breaker: &Breaker, now: Micros) -> Option<Micros> {
        let idle = self.idle_end(breaker, now);
        let kept = self.windows.kept_until().minus(self.touched.since(now));
        let needed = match &self.phase {
            Phase::Closed { ramp: None } => Micros(0),
            Phase::Closed { ramp: Some(ramp) } => self.since.plus(ramp.length_us),
            Phase::Open { deadline } => deadline.plus(breaker.lease_us()),
            Phase::HalfOpen(round) => round.latest_lease().map_or(Micros(0), |end| {
                let reopened = breaker.open_time_us(self.openings.saturating_add(1));
                end.plus(reopened).plus(breaker.lease_us())
            }),
            Phase::ForcedOpen(hold) | Phase::ForcedClosed(hold) => hold.until?,
        };
        Some(idle.max(kept).max(needed))
    }

    /// When the circuit has had no result for `idle`.
    #[inline]
    fn idle_end(&self, breaker: &Breaker, now: Micros) -> Micros {
        self.touched.min(now).plus(breaker.idle_us())
    }

    /// True if the last result is younger than `idle`, so that the circuit is not forgotten yet.
    #[inline]
    pub fn was_touched_within_idle(&self, breaker: &Breaker, now: Micros) -> bool {
        now < self.idle_end(breaker, now)
    }
}
