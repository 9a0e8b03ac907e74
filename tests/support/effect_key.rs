//! A limiter's key that effects alone change, without a server around it.

use super::handed_on::realign;
use floodgate::core::limits::{Limits, State, Taken};
use floodgate::core::reservations::Stage;
use floodgate::core::time::Micros;
use floodgate::server::keys::data_type::NativeType as _;
use floodgate::server::main_thread::MainThread;
use floodgate::types::effect::ratelimit::{
    AppliedRateLimit, GiveBack, RateLimitChange, RateLimitEffect, Reserve, Settle, TakeUnits,
};
use floodgate::types::ratelimit::reservations::Settlement;
use floodgate::types::ratelimit::{Lifetime, RateLimit};
use floodgate::types::until::Until;

/// The value of one key, and until when it was told to last.
pub struct EffectKey {
    main: MainThread,
    /// Effects tell when the key ends.
    expires: bool,
    pub value: Option<RateLimit>,
    pub until: Option<Until>,
}

impl EffectKey {
    pub const fn new(main: MainThread) -> Self {
        Self { main, expires: true, value: None, until: None }
    }

    /// A key whose effects tell no end.
    pub fn without_expiry(main: MainThread) -> Self {
        Self { expires: false, ..Self::new(main) }
    }

    /// Applies a change as a replica gets it, which must fit.
    pub fn apply(&mut self, now: u64, change: RateLimitChange<'_>) {
        let sent = RateLimitEffect { now: Micros(now), expires: self.expires, change };
        let mut payload = Vec::new();
        sent.encode(&mut payload);
        let effect = RateLimitEffect::decode(&payload).expect("what was encoded");
        assert_eq!(effect, sent);
        let lifetime = match effect.apply(self.main, self.value.as_mut()).expect("it fits") {
            AppliedRateLimit::InPlace(lifetime) => lifetime,
            AppliedRateLimit::Created(value, lifetime) => {
                self.value = Some(value);
                lifetime
            }
            AppliedRateLimit::Nothing => return,
        };
        self.until = match lifetime {
            Lifetime::Over => None,
            Lifetime::Until(until) | Lifetime::StillUntil(until) | Lifetime::AsBefore(until) => Some(until),
        };
        if self.until.is_none() {
            self.value = None;
        }
    }

    pub fn take(&mut self, now: u64, limit: &str, units: u64) {
        self.apply(now, RateLimitChange::Take(TakeUnits { limits: Some(limit), taken: Taken::new([units]) }));
    }

    pub fn reserve(&mut self, now: u64, limit: &str, id: u8, cost: u64, end: u64) {
        let (limits, taken, end) = (Some(limit), Taken::new([cost]), Micros(end));
        self.apply(now, RateLimitChange::Reserve(Reserve { limits, taken, id: &[id], cost, end }));
    }

    /// Settles a reservation at so many units; at 0 it is released.
    pub fn settle(&mut self, now: u64, id: u8, actual: u64) {
        let how = if actual == 0 { Settlement::Release } else { Settlement::At(actual) };
        self.apply(now, RateLimitChange::Settle(Settle { id: &[id], how }));
    }

    pub fn refund(&mut self, now: u64, units: u64) {
        self.apply(now, RateLimitChange::GiveBack(GiveBack { limits: None, units, calls: 1 }));
    }

    /// Ends the key when its time is over, as the server does.
    pub fn expire(&mut self, now: u64) {
        if self.until.is_some_and(|until| !until.lasts(Micros(now))) {
            (self.value, self.until) = (None, None);
        }
    }

    /// Saves and loads it, as a restart does: nothing may be lost.
    pub fn reload(&mut self) {
        let Some(value) = &self.value else { return };
        let mut saved = Vec::new();
        value.save(self.main, &mut saved);
        if saved.is_empty() {
            self.value = None;
            return;
        }
        let loaded = RateLimit::load(self.main, RateLimit::ENCODING, &saved).expect("what was saved");
        let mut again = Vec::new();
        loaded.save(self.main, &mut again);
        assert_eq!(again, saved);
        self.value = Some(loaded);
    }

    /// What a decision on these limits sees.
    pub fn seen_by(&self, limits: &Limits, now: u64) -> Vec<State> {
        match &self.value {
            Some(value) => value.seen_by(self.main, limits.as_slice(), Micros(now)),
            None => vec![State::default(); limits.as_slice().len()],
        }
    }

    /// What a grant on these limits starts from.
    pub fn taken_over_by(&self, limits: &Limits, now: u64) -> Vec<State> {
        match &self.value {
            Some(value) => taken_over(self.main, value, limits, now),
            None => vec![State::default(); limits.as_slice().len()],
        }
    }

    /// Units in use, of each limit.
    pub fn used(&self, limits: &Limits, now: u64) -> Vec<u64> {
        let states = self.taken_over_by(limits, now);
        let pairs = limits.as_slice().iter().zip(&states);
        pairs.map(|(limit, state)| limit.rule().used(state, Micros(now))).collect()
    }

    /// What is known of a reservation.
    pub fn stage(&self, id: u8, now: u64) -> Option<Stage> {
        self.value.as_ref()?.stage_of(self.main, &[id], Micros(now))
    }
}

/// What a grant on these limits starts from: each state is found by the identity of its limit.
pub fn taken_over(main: MainThread, value: &RateLimit, limits: &Limits, now: u64) -> Vec<State> {
    let old = value.limits().map(|old| old.get(main));
    let old = old.as_ref().map_or(&[][..], |set| set.limits());
    let states = value.with_states(<[_]>::to_vec);
    realign(old, states, value.unlisted().to_vec(), limits.as_slice(), Micros(now)).states
}
