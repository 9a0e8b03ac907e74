//! Random histories of reservations against a model that keeps every grant and
//! every reservation as it was given, and counts again at each step.

use floodgate::core::limits::{Request, State, decide};
use floodgate::core::reservations::Stage;
use floodgate::core::time::Micros;
use floodgate::core::wire::Corrupt;
use floodgate::server::keys::data_type::NativeType as _;
use floodgate::server::main_thread::{MainThread, StandIn};
use floodgate::types::effect::ratelimit::{AppliedRateLimit, RateLimitChange, RateLimitEffect};
use floodgate::types::intern;
use floodgate::types::intern::ParsedLimits;
use floodgate::types::ratelimit::RateLimit;
use floodgate::types::ratelimit::hold;
use floodgate::types::ratelimit::reservations::Settlement;
use proptest::prelude::*;

const COUNT: u64 = 30;
const PERIOD: u64 = 1_000_000;
const PLACES: usize = 4;
const WEIGHT: u64 = 14;
const LIMITS: &str = "30/s,concurrent:4,concurrent:14:per=cost";

#[derive(Clone, Debug)]
enum Op {
    Reserve { id: u8, cost: u64, ttl: u64, partial: bool },
    Commit { id: u8, actual: u64 },
    Release { id: u8 },
    Renew { id: u8, ttl: u64 },
    Advance(u64),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let id = 0..8u8;
    // Times that meet each other: ends, windows and settlements at one moment.
    let time = || prop_oneof![(1..8u64).prop_map(|n| n * 250_000), 1..2_000_000u64];
    let op = prop_oneof![
        4 => (id.clone(), 1..12u64, time(), prop::bool::weighted(0.4))
            .prop_map(|(id, cost, ttl, partial)| Op::Reserve { id, cost, ttl, partial }),
        3 => (id.clone(), 0..50u64).prop_map(|(id, actual)| Op::Commit { id, actual }),
        1 => id.clone().prop_map(|id| Op::Release { id }),
        1 => (id, time()).prop_map(|(id, ttl)| Op::Renew { id, ttl }),
        4 => time().prop_map(Op::Advance),
    ];
    proptest::collection::vec(op, 1..60)
}

/// One that is not settled.
#[derive(Clone, Debug)]
struct Standing {
    id: u8,
    cost: u64,
    granted: u64,
    end: u64,
}

#[derive(Default)]
struct Model {
    /// Units with the moment since which they count.
    grants: Vec<(u64, u64)>,
    status: Vec<Standing>,
}

impl Model {
    fn used(&self, now: u64) -> u64 {
        self.grants.iter().filter(|(at, _)| at + PERIOD > now).map(|(_, units)| units).sum()
    }

    fn held(&self, now: u64) -> usize {
        self.status.iter().filter(|one| now < one.end).count()
    }

    /// What those held cost together.
    fn weight(&self, now: u64) -> u64 {
        self.status.iter().filter(|one| now < one.end).map(|one| one.cost).sum()
    }

    fn fits(&self, cost: u64, now: u64) -> bool {
        self.used(now) + cost <= COUNT && self.held(now) < PLACES && self.weight(now) + cost <= WEIGHT
    }

    fn open(&self, id: u8, now: u64) -> bool {
        self.status.iter().any(|one| one.id == id && now < one.end)
    }

    /// What is known of an id: open, or ended and still counted.
    fn stage(&self, id: u8, now: u64) -> Option<Stage> {
        let one = self.status.iter().find(|one| one.id == id)?;
        if now < one.end { Some(Stage::Open) } else { (now < one.granted + PERIOD).then_some(Stage::Ended) }
    }

    fn settle(&mut self, id: u8, actual: Option<u64>, now: u64) {
        let at = self.status.iter().position(|one| one.id == id).expect("it is known");
        let one = self.status.remove(at);
        let actual = actual.unwrap_or(0);
        if actual > one.cost {
            let most = (2 * COUNT).saturating_sub(self.used(now));
            self.grants.push((now, (actual - one.cost).min(most)));
        } else if now < one.granted + PERIOD {
            // Its own units, then, where a debt was cut off, the newest.
            let mut left = one.cost - actual;
            let own = self.grants.iter_mut().filter(|(at, _)| *at == one.granted);
            for (_, units) in own {
                let back = left.min(*units);
                *units -= back;
                left -= back;
            }
            assert_eq!(left, 0, "what was reserved is there");
        }
    }
}

/// The key as it is stored, changed only by effects.
struct Real {
    main: MainThread,
    value: Option<RateLimit>,
}

impl Real {
    fn apply(&mut self, now: u64, change: RateLimitChange<'_>) -> Result<(), Corrupt> {
        let effect = RateLimitEffect { now: Micros(now), expires: false, change };
        // As it travels to a replica.
        let mut payload = Vec::new();
        effect.encode(&mut payload);
        assert_eq!(RateLimitEffect::decode(&payload)?, effect);
        if let AppliedRateLimit::Created(value, _) = effect.apply(self.main, self.value.as_mut())? {
            self.value = Some(value);
        }
        Ok(())
    }

    /// Saves and loads it: nothing may be lost.
    fn reload(&mut self) {
        if let Some(value) = &self.value {
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
    }

    fn states(&self, now: u64, next: u64, request: &Request) -> Vec<State> {
        let Ok(ParsedLimits::Limits(limits)) = intern::want(self.main, LIMITS.as_bytes()) else { panic!() };
        let set = limits.get(self.main);
        let mut states = match &self.value {
            Some(value) => value.realigned(self.main, set.limits(), Micros(now)).0,
            None => vec![State::default(); 3],
        };
        let (value, now, next) = (self.value.as_ref(), Micros(now), Micros(next));
        hold(self.main, value, set.limits(), &mut states, now, next, request);
        states
    }

    fn stage(&self, id: u8, now: u64) -> Option<Stage> {
        self.value.as_ref()?.book()?.get(&[id])?.stage_at(Micros(now))
    }
}

fn history(ops: &[Op]) {
    let stand_in = StandIn::enter();
    let main = stand_in.main();
    let Ok(ParsedLimits::Limits(limits)) = intern::want(main, LIMITS.as_bytes()) else { panic!() };
    let rules = limits.get(main).limits().to_vec();
    let mut real = Real { main, value: None };
    let mut model = Model::default();
    let mut now = 1_800_000_000_000_000;
    for (step, op) in ops.iter().enumerate() {
        match *op {
            Op::Advance(us) => now += us,
            Op::Reserve { id, .. } if model.open(id, now) => {
                assert_eq!(real.stage(id, now), Some(Stage::Open));
            }
            Op::Reserve { id, cost, ttl, partial } => {
                let request = Request { partial, ..Request::of(cost) };
                let states = real.states(now, now + ttl, &request);
                let decision = decide(&rules, &states, Micros(now), &request);
                let least = if partial { 1 } else { cost };
                let granted = (least..=cost).rev().find(|&cost| model.fits(cost, now)).unwrap_or(0);
                assert_eq!(decision.granted, granted, "step {step}");
                if granted > 0 {
                    let cost = granted;
                    model.status.retain(|one| one.id != id);
                    model.status.push(Standing { id, cost, granted: now, end: now + ttl });
                    model.grants.push((now, cost));
                    let (taken, end) = (decision.taken, Micros(now + ttl));
                    let change =
                        RateLimitChange::Reserve { limits: Some(LIMITS), taken, id: &[id], cost, end };
                    real.apply(now, change).expect("it fits");
                }
            }
            Op::Commit { id, .. } | Op::Release { id } => {
                let stage = model.stage(id, now);
                assert_eq!(real.stage(id, now), stage, "step {step}");
                if stage.is_some() {
                    let actual = if let Op::Commit { actual, .. } = *op { Some(actual) } else { None };
                    model.settle(id, actual, now);
                    let how = actual.map_or(Settlement::Release, Settlement::At);
                    real.apply(now, RateLimitChange::Settle { id: &[id], how }).expect("it fits");
                }
            }
            Op::Renew { id, ttl } => {
                if model.open(id, now) {
                    let one = model.status.iter_mut().find(|one| one.id == id).expect("it is open");
                    one.end = now + ttl;
                    let change = RateLimitChange::Renew { id: &[id], end: Micros(now + ttl) };
                    real.apply(now, change).expect("it fits");
                }
            }
        }
        if step % 7 == 0 {
            real.reload();
        }
        let cost = step as u64 % WEIGHT + 1;
        let states = real.states(now, now, &Request::of(cost));
        let used: Vec<u64> =
            rules.iter().zip(&states).map(|(rule, state)| rule.rule().used(state, Micros(now))).collect();
        assert_eq!(used, [model.used(now), model.held(now) as u64, model.weight(now)], "step {step}");
        // When the next place is free, and when so many units are, if nobody does anything.
        let mut ends: Vec<u64> = model.status.iter().map(|one| one.end.max(now)).chain([now]).collect();
        ends.sort_unstable();
        let at = ends.iter().copied().find(|&at| model.held(at) < PLACES);
        let free = rules[1].rule().falls_to(&states[1], Micros(now), PLACES as u64 - 1);
        assert_eq!(Some(free.0), at, "step {step}");
        let at = ends.iter().copied().find(|&at| model.weight(at) + cost <= WEIGHT);
        let free = rules[2].rule().falls_to(&states[2], Micros(now), WEIGHT - cost);
        assert_eq!(Some(free.0), at, "step {step}");
    }
}

proptest! {
    #![proptest_config(crate::world::cases())]

    #[test]
    fn usage_places_and_stages_are_those_of_the_model(ops in ops()) {
        history(&ops);
    }
}
