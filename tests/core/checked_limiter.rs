//! A key with limits on which histories are played, and what every history has
//! in common: gaps between requests, and checks of each reply against what the
//! limiter then does.

use floodgate::core::limits::{
    Decision, Limit, Limits, Request, State, decide, full_at, give_back, take, touch,
};
use floodgate::core::retry_after::RetryAfter;
use floodgate::core::time::Micros;
use proptest::prelude::*;

/// Ten thousand cases of each property; more with `PROPTEST_CASES`.
pub fn cases() -> ProptestConfig {
    let asked = ProptestConfig::default();
    ProptestConfig { cases: asked.cases.max(10_000), max_shrink_iters: 2_000, ..asked }
}

pub fn parse(text: &str) -> Limits {
    Limits::parse(text.as_bytes()).unwrap_or_else(|why| panic!("{why}"))
}

/// What RL.REFUND of so many units gives back, at most, on any limit.
pub fn refund(limits: &[Limit], states: &mut [State], now: Micros, units: u64) -> u64 {
    let given = limits.iter().zip(states).map(|(limit, state)| give_back(limit, state, now, 0, units));
    given.max().unwrap_or(0)
}

pub const HOUR: u64 = 3_600_000_000;
pub const DAY: u64 = 24 * HOUR;

/// Counts of every size, small ones and both sides of 64 most of all.
pub fn count() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 1u64..=9,
        2 => prop::sample::select(vec![13, 63, 64, 65, 66, 100, 101]),
        1 => prop::sample::select(vec![997, 1_000, 999_999_999_989, 1_000_000_000_000]),
    ]
}

/// Periods in milliseconds, the shortest, the longest and odd ones among them.
pub fn period_ms() -> impl Strategy<Value = u64> {
    prop::sample::select(vec![1, 2, 7, 10, 49, 1_000, 1_009, 60_000, 3_600_000, 86_400_000, 366 * 86_400_000])
}

/// A time of no particular beauty, sometimes at the very start.
pub fn start() -> impl Strategy<Value = u64> {
    prop_oneof![1 => 0u64..100, 9 => 1_700_000_000_000_000u64..1_900_000_000_000_000]
}

/// The time between two requests, relative to a period.
#[derive(Clone, Copy, Debug)]
pub enum Gap {
    None,
    Micros(u64),
    /// So many thousandths of the period.
    Thousandths(u64),
    /// So many fiftieths, as long as a slot of a coarse window each.
    Fiftieths(u64),
    AlmostFiftieths(u64),
    AlmostPeriod,
    Period,
    /// Two periods and so many microseconds.
    TwoPeriodsAnd(u64),
}

impl Gap {
    pub fn of(self, period: u64) -> u64 {
        match self {
            Self::None => 0,
            Self::Micros(us) => us,
            Self::Thousandths(n) => period / 1000 * n,
            Self::Fiftieths(n) => period / 50 * n,
            Self::AlmostFiftieths(n) => period / 50 * n - 1,
            Self::AlmostPeriod => period - 1,
            Self::Period => period,
            Self::TwoPeriodsAnd(us) => period * 2 + us,
        }
    }
}

pub fn gap() -> impl Strategy<Value = Gap> {
    (0u8..=14, 0u16..1000).prop_map(|(kind, part)| {
        let part = u64::from(part);
        match kind {
            0..=3 => Gap::None,
            4 => Gap::Micros(part % 3),
            5..=7 => Gap::Thousandths(part % 200),
            8 => Gap::Fiftieths(part % 53),
            9 => Gap::Thousandths(part),
            10 => Gap::AlmostPeriod,
            11 => Gap::Period,
            12 => Gap::Fiftieths(51),
            13 => Gap::AlmostFiftieths(51),
            _ => Gap::TwoPeriodsAnd(part),
        }
    })
}

/// One request: after which gap, for which part of a capacity (of 1000).
pub fn steps(most: usize) -> impl Strategy<Value = Vec<(Gap, u16)>> {
    prop::collection::vec((gap(), prop_oneof![3 => 0u16..200, 1 => 0u16..=1000]), 1..most)
}

/// A cost of 1 to the capacity.
pub fn cost_of(part: u16, capacity: u64) -> u64 {
    ((u128::from(capacity) * u128::from(part) / 1000) as u64).clamp(1, capacity)
}

#[derive(Clone, Debug)]
pub struct CheckedLimiter {
    pub limits: Limits,
    pub states: Vec<State>,
    /// A second copy that only applies what was decided here.
    pub replica: Vec<State>,
}

impl CheckedLimiter {
    pub fn new(text: &str) -> Self {
        let limits = parse(text);
        let states = vec![State::Fresh; limits.as_slice().len()];
        Self { limits, replica: states.clone(), states }
    }

    pub fn would(&self, now: u64, request: &Request) -> Decision {
        decide(self.limits.as_slice(), &self.states, Micros(now), request)
    }

    pub fn ask(&mut self, now: u64, request: &Request) -> Decision {
        let before = self.states.clone();
        let decision = self.would(now, request);
        assert_eq!(before, self.states);
        let at = Micros(now);
        if decision.is_granted() {
            take(self.limits.as_slice(), &mut self.states, at, &decision.taken);
            take(self.limits.as_slice(), &mut self.replica, at, &decision.taken);
        } else if decision.record_clock {
            touch(self.limits.as_slice(), &mut self.states, at);
            touch(self.limits.as_slice(), &mut self.replica, at);
        }
        assert_eq!(self.states, self.replica);
        decision
    }

    pub fn acquire(&mut self, now: u64, cost: u64) -> Decision {
        self.ask(now, &Request::of(cost))
    }

    pub fn used(&self, index: usize, now: u64) -> u64 {
        self.limits.as_slice()[index].rule().used(&self.states[index], Micros(now))
    }

    pub fn full_at(&self, now: u64) -> u64 {
        full_at(self.limits.as_slice(), &self.states, Micros(now)).0
    }

    /// What the reply says is what the limiter does. For a single limit that is
    /// charged by cost, or several where only the waits are looked at.
    pub fn check_reply(&self, now: u64, request: &Request, reply: &Decision) {
        let whole = Request { partial: false, ..*request };
        let by_cost = self.limits.as_slice().len() == 1 && !self.limits.as_slice()[0].per_call();
        if let Some(remaining) = reply.status.remaining.filter(|_| by_cost) {
            if remaining > 0 {
                assert!(self.would(now, &Request { cost: remaining, ..whole }).is_granted(), "remaining");
            }
            assert!(!self.would(now, &Request { cost: remaining + 1, ..whole }).is_granted(), "one more");
            let comes_back = self.limits.as_slice()[0].comes_back();
            assert_eq!(reply.status.reset.micros().is_some(), comes_back);
            // Longer waits than some 290 000 years are not told apart.
            let reset = reply.status.reset.micros().unwrap_or(u64::MAX);
            let told_apart = reset < u64::MAX / 4;
            assert!(!told_apart || self.used(0, now + reset) == 0, "reset too early");
            assert!(!told_apart || reset == 0 || self.used(0, now + reset - 1) > 0, "reset too late");
        }
        match reply.status.retry {
            RetryAfter::Now => assert!(reply.is_granted()),
            RetryAfter::Never => {
                assert!(!reply.is_granted());
                let later = self.full_at(now).min(now + (1 << 50)) + 1;
                assert!(!self.would(later, request).is_granted());
            }
            RetryAfter::After(us) if us > u64::MAX / 4 => {}
            RetryAfter::After(us) => {
                assert!(!reply.is_granted() && us > 0);
                assert!(self.would(now + us, request).is_granted(), "still denied at the retry time");
                assert!(!self.would(now + us - 1, request).is_granted(), "granted before the retry time");
                let in_ms = us.div_ceil(1000);
                assert!(self.would(now + in_ms * 1000, request).is_granted());
                if in_ms >= 2 {
                    assert!(!self.would(now + (in_ms - 2) * 1000, request).is_granted());
                }
            }
        }
    }

    /// D4: when it is full it answers as a fresh one does.
    pub fn check_full(&self, now: u64) {
        let at = self.full_at(now);
        assert!(at >= now);
        if at > u64::MAX / 4 {
            return;
        }
        let fresh = Self {
            states: vec![State::Fresh; self.states.len()],
            replica: Vec::new(),
            limits: self.limits.clone(),
        };
        for later in [at, at + 1, at + 12_345] {
            for cost in [1, 2, self.limits.as_slice()[0].capacity().unwrap_or(3)] {
                assert_eq!(self.would(later, &Request::of(cost)), fresh.would(later, &Request::of(cost)));
            }
        }
        if at > now {
            assert!((0..self.states.len()).any(|index| self.used(index, at - 1) > 0), "full earlier");
        }
    }
}
