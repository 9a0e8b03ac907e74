//! Limits that change between calls, against one limiter for each identity that
//! nobody else ever touches.

use crate::checked_limiter::{CheckedLimiter, cases, gap, parse};
use crate::support::{Realigned, look_at, realign};
use floodgate::core::limits::{
    Limits, MAX_UNLISTED, Request, State, UnlistedLimit, count_unlisted, decide, full_at, take, touch,
};
use floodgate::core::retry_after::RetryAfter;
use floodgate::core::time::Micros;
use proptest::prelude::*;
use std::collections::HashMap;

/// A key whose limits change with every call.
struct Key {
    limits: Limits,
    states: Vec<State>,
    unlisted: Vec<UnlistedLimit>,
}

impl Key {
    fn new(text: &str) -> Self {
        let limits = parse(text);
        Self { states: vec![State::Fresh; limits.as_slice().len()], limits, unlisted: Vec::new() }
    }

    fn set(&mut self, text: &str, now: u64) {
        let new = parse(text);
        let states = std::mem::take(&mut self.states);
        let unlisted = std::mem::take(&mut self.unlisted);
        let Realigned { states, unlisted } =
            realign(self.limits.as_slice(), states, unlisted, new.as_slice(), Micros(now));
        *self = Self { limits: new, states, unlisted };
    }

    fn acquire(&mut self, now: u64, cost: u64) -> bool {
        let decision = decide(self.limits.as_slice(), &self.states, Micros(now), &Request::of(cost));
        if decision.is_granted() {
            take(self.limits.as_slice(), &mut self.states, Micros(now), &decision.taken);
        }
        decision.is_granted()
    }

    fn used(&self, index: usize, now: u64) -> u64 {
        self.limits.as_slice()[index].rule().used(&self.states[index], Micros(now))
    }
}

/// Each identity by several capacities.
const IDENTITIES: &[(&str, &[u64])] = &[
    ("{}/10ms", &[3, 5, 60]),
    ("{}/s", &[4, 9, 64]),
    ("{}/s:name=x", &[5, 7]),
    ("fixed:{}/20ms", &[2, 8]),
    ("fixed:{}/s:start=first", &[3, 6]),
    ("{}/s:per=call", &[4, 40]),
    ("bucket:{}/10ms:burst=20", &[7]),
    ("fixed:{}/d:tz=Europe/Paris", &[30, 70]),
    ("fixed:{}/ever", &[20, 45]),
];

fn listed() -> impl Strategy<Value = Vec<(usize, usize)>> {
    prop::sample::subsequence((0..IDENTITIES.len()).collect::<Vec<_>>(), 1..=4).prop_shuffle().prop_flat_map(
        |ids| {
            prop::collection::vec(0usize..3, ids.len())
                .prop_map(move |sizes| ids.iter().copied().zip(sizes).collect())
        },
    )
}

fn text_of(id: usize, size: usize) -> String {
    let (pattern, sizes) = IDENTITIES[id];
    pattern.replace("{}", &sizes[size % sizes.len()].to_string())
}

/// One name, or one period, at different paces.
const PACES: &[&str] = &[
    "6/20ms:name=x",
    "6/7ms:name=x",
    "70/20ms:name=x",
    "70/90ms:name=x",
    "6/90ms:name=x",
    "bucket:5/20ms:name=x",
    "bucket:9/20ms:name=x",
    "bucket:9/90ms:burst=11:name=x",
    "fixed:6/20ms:name=x",
    "fixed:9/7ms:name=x",
    "fixed:5/50ms:name=x",
    "fixed:6/30ms:start=first:name=x",
    "fixed:9/9ms:start=first:name=x",
    "fixed:9/ever:name=x",
    "fixed:12/ever:name=x",
    "bucket:5/20ms",
    "bucket:7/20ms:burst=11",
    "bucket:1/20ms:burst=11",
    "6/20ms:name=x,bucket:5/20ms,fixed:6/50ms",
];

/// The plain form of [`realign`]: all usage in one list, in which each new limit searches from the back.
fn realigned_plainly(
    old: &Limits,
    states: Vec<State>,
    unlisted: Vec<UnlistedLimit>,
    new: &Limits,
    now: Micros,
) -> Realigned {
    let listed =
        old.as_slice().iter().cloned().zip(states).map(|(limit, state)| UnlistedLimit { limit, state });
    let mut kept: Vec<UnlistedLimit> = unlisted.into_iter().chain(listed).collect();
    let mut states = Vec::new();
    for limit in new.as_slice() {
        let found = kept.iter().rposition(|one| one.limit.same_identity(limit));
        let found = found.map(|at| kept.remove(at));
        let alone = found.map(|UnlistedLimit { limit, state }| (Limits::from(limit), vec![state]));
        states.push(alone.map_or(State::Fresh, |(before, states)| {
            realign(before.as_slice(), states, Vec::new(), std::slice::from_ref(limit), now).states.remove(0)
        }));
    }
    let lasts = |one: &UnlistedLimit| count_unlisted(&[], &[], std::slice::from_ref(one), &[], now) == 1;
    kept.retain(lasts);
    Realigned { states, unlisted: kept }
}

proptest! {
    #![proptest_config(cases())]

    /// Usage is handed on in place as it is in one list: in the same order, too.
    #[test]
    fn usage_is_handed_on_as_in_one_list(
        versions in prop::collection::vec(listed(), 2..5),
        calls in prop::collection::vec((gap(), 0usize..5, 1u64..6), 1..16),
    ) {
        let mut key = Key::new("unlimited");
        let mut now = 1_800_000_000_000_777u64;
        for (gap, version, cost) in calls {
            now += gap.of(10_000);
            let version = &versions[version % versions.len()];
            let texts: Vec<String> = version.iter().map(|&(id, size)| text_of(id, size)).collect();
            let new = parse(&texts.join(","));
            let plain =
                realigned_plainly(&key.limits, key.states.clone(), key.unlisted.clone(), &new, Micros(now));
            key.set(&texts.join(","), now);
            prop_assert_eq!(&key.states, &plain.states);
            prop_assert_eq!(&key.unlisted, &plain.unlisted);
            key.acquire(now, cost);
        }
    }

    #[test]
    fn each_limit_owns_its_usage(
        versions in prop::collection::vec(listed(), 1..4),
        calls in prop::collection::vec((gap(), 0usize..4, 1u64..6), 1..16),
    ) {
        let mut key = Key::new("unlimited");
        // identity -> (limit as last listed, its state)
        let mut apart: HashMap<usize, State> = HashMap::new();
        let mut now = 1_800_000_000_000_777u64;
        for (gap, version, cost) in calls {
            now += gap.of(10_000);
            let version = &versions[version % versions.len()];
            let texts: Vec<String> = version.iter().map(|&(id, size)| text_of(id, size)).collect();
            key.set(&texts.join(","), now);
            let mut grants = true;
            for (index, (&(id, _), text)) in version.iter().zip(&texts).enumerate() {
                let limit = parse(text);
                let state = apart.entry(id).or_default();
                let mine = limit.as_slice()[0].rule().used(state, Micros(now));
                prop_assert_eq!(key.used(index, now), mine, "{}", text);
                grants &= decide(limit.as_slice(), std::slice::from_ref(state), Micros(now), &Request::of(cost)).is_granted();
            }
            prop_assert_eq!(key.acquire(now, cost), grants);
            if grants {
                for (&(id, _), text) in version.iter().zip(&texts) {
                    let limit = parse(text);
                    let state = apart.get_mut(&id).unwrap();
                    let decision = decide(limit.as_slice(), std::slice::from_ref(state), Micros(now), &Request::of(cost));
                    take(limit.as_slice(), std::slice::from_mut(state), Micros(now), &decision.taken);
                }
            }
            prop_assert!(key.unlisted.iter().all(|o| full_at(std::slice::from_ref(&o.limit), std::slice::from_ref(&o.state), Micros(now)).0 > now));
        }
    }

    /// Two versions with a bucket of the same period: the tokens missing stay,
    /// and refill at the rate that was last listed.
    #[test]
    fn buckets_keep_what_is_missing(calls in prop::collection::vec((0u64..20_000, 0usize..3, 1u64..8), 1..24)) {
        const VERSIONS: &[(u64, u64)] = &[(7, 9), (3, 30), (50, 5)];
        let mut key = Key::new("bucket:7/10ms:burst=9");
        let mut at_rate = 7;
        let mut missing = 0u64; // in 1/10000 of a token
        let mut now = 1_800_000_000_000_777u64;
        for (gap, version, cost) in calls {
            now += gap;
            missing = missing.saturating_sub(gap * at_rate);
            let (rate, burst) = VERSIONS[version];
            at_rate = rate;
            key.set(&format!("bucket:{rate}/10ms:burst={burst}"), now);
            prop_assert_eq!(key.used(0, now), missing.div_ceil(10_000));
            let fits = missing + cost * 10_000 <= burst * 10_000;
            prop_assert_eq!(key.acquire(now, cost), fits);
            if fits {
                missing += cost * 10_000;
            }
        }
    }

    /// Sliding limits around 64: S1 holds for every count that is listed, with
    /// all grants of all versions.
    #[test]
    fn sliding_keeps_s1_across_64(
        calls in prop::collection::vec((gap(), prop::sample::select(vec![1u64, 5, 63, 64, 65, 200, 1_000_000_000_000]), 0u16..=1000), 1..24),
    ) {
        let mut key = Key::new("5/20ms");
        let mut grants: Vec<(u64, u64)> = Vec::new();
        let mut now = 1_800_000_000_000_777u64;
        for (gap, count, part) in calls {
            now += gap.of(20_000);
            key.set(&format!("{count}/20ms"), now);
            let within: u64 = grants.iter().filter(|g| g.0 + 20_000 > now).map(|g| g.1).sum();
            let late: u64 = grants.iter().filter(|g| g.0 + 20_400 > now).map(|g| g.1).sum();
            prop_assert!(key.used(0, now) >= within && key.used(0, now) <= late);
            let cost = crate::checked_limiter::cost_of(part, count);
            if key.acquire(now, cost) {
                prop_assert!(within + cost <= count, "S1");
                grants.push((now, cost));
            } else {
                prop_assert!(late + cost > count, "S2");
            }
        }
    }

    /// Until a grant, usage comes back at the pace of the limits that it is kept under:
    /// at the time that is told the same request is granted, and not before.
    #[test]
    fn a_look_tells_when_other_limits_grant(
        text in prop::sample::select(PACES),
        other in prop::sample::select(PACES),
        calls in prop::collection::vec((gap(), 1u64..6), 1..12),
        wait in gap(),
        back in prop::bool::weighted(0.2),
        cost in 1u64..12,
    ) {
        let mut key = Key::new(text);
        let mut now = 1_800_000_000_000_777u64;
        for (gap, cost) in calls {
            now += gap.of(20_000);
            key.acquire(now, cost);
        }
        now = if back { now - 70_000 } else { now + wait.of(20_000) };
        let new = parse(other);
        if key.limits.as_slice().iter().zip(&key.states).any(|(limit, state)| limit.rule().stepped_back(state, Micros(now))) {
            touch(key.limits.as_slice(), &mut key.states, Micros(now));
        }
        let ask = |at: u64| {
            let see = |states: &[State]| {
                let seen = look_at(key.limits.as_slice(), states, &[], new.as_slice(), Micros(at));
                decide(new.as_slice(), &seen, Micros(at), &Request::of(cost))
            };
            let told = see(&key.states);
            // Nothing changes if a call forgets what is free, or the key expires.
            let mut swept = key.states.clone();
            touch(key.limits.as_slice(), &mut swept, Micros(at));
            assert_eq!(see(&swept), told);
            if full_at(key.limits.as_slice(), &key.states, Micros(at)).0 <= at {
                swept.fill(State::Fresh);
                assert_eq!(see(&swept), told);
            }
            told
        };
        let first = ask(now);
        // What is looked at is what a grant takes over.
        let taken = realign(key.limits.as_slice(), key.states.clone(), Vec::new(), new.as_slice(), Micros(now));
        let taken = decide(new.as_slice(), &taken.states, Micros(now), &Request::of(cost));
        prop_assert_eq!(first.granted, taken.granted);
        prop_assert_eq!(first.status.remaining, taken.status.remaining);
        match first.status.retry {
            RetryAfter::Now => prop_assert!(first.is_granted()),
            RetryAfter::Never => prop_assert!(
                new.as_slice().iter().any(|limit| limit.capacity() < Some(cost))
                    || text.contains("ever") && other.contains("ever")
            ),
            RetryAfter::After(us) => {
                prop_assert!(ask(now + us).is_granted());
                prop_assert!(us == 1 || !ask(now + us - 1).is_granted());
                prop_assert!(!ask(now + us / 2).is_granted() || us < 2);
            }
        }
        if !first.is_granted() && first.status.retry != RetryAfter::Never && !other.contains("ever") {
            let reset = first.status.reset.micros().unwrap();
            let seen = look_at(key.limits.as_slice(), &key.states, &[], new.as_slice(), Micros(now + reset));
            let bound = first.binding.unwrap();
            prop_assert_eq!(new.as_slice()[bound].rule().used(&seen[bound], Micros(now + reset)), 0);
        }
    }

    /// A named limit whose period changes forgets nothing that it still knew
    /// and that lies within the new period.
    #[test]
    fn named_periods_change_conservatively(
        calls in prop::collection::vec((0u64..30_000, prop::sample::select(vec![1u64, 7, 20, 1000, 366 * 86_400_000]), prop::sample::select(vec![5u64, 64, 100])), 1..24),
    ) {
        let mut key = Key::new("5/7ms:name=x");
        // Each grant with the time from which the key may have forgotten it.
        let mut grants: Vec<(u64, u64)> = Vec::new();
        let mut now = 1_800_000_000_000_777u64;
        let mut last = (7, 5);
        for (gap, ms, count) in calls {
            now += gap;
            let known: Vec<(u64, u64)> = grants.iter().copied().filter(|g| g.0 + last.0 * 1000 > now).collect();
            key.set(&format!("{count}/{ms}ms:name=x"), now);
            let at_least: u64 = known.iter().filter(|g| g.0 + ms * 1000 > now).map(|g| g.1).sum();
            prop_assert!(key.used(0, now) >= at_least);
            grants = known;
            if key.acquire(now, 1) {
                prop_assert!(at_least < count);
                grants.push((now, 1));
            }
            last = (ms, count);
        }
    }
}

#[test]
fn named_limits_change_shape() {
    let now = 1_800_000_000_000_777;
    let mut key = Key::new("10/s:name=x");
    assert!(key.acquire(now, 6));
    key.set("bucket:10/s:name=x", now);
    assert_eq!(key.used(0, now), 0, "another algorithm starts fresh");
    assert!(key.unlisted.is_empty());
    assert!(key.acquire(now, 5));
    key.set("bucket:10/m:name=x", now);
    assert_eq!(key.used(0, now), 5);
    key.set("fixed:10/m:name=y", now);
    assert_eq!(key.unlisted.len(), 1);
    assert!(key.acquire(now, 5));
    key.set("fixed:20/h:name=y", now);
    assert_eq!(key.used(0, now), 5);
    key.set("fixed:20/h:start=first:name=y", now + 1);
    assert_eq!(key.used(0, now + 1), 5);
}

#[test]
fn unlisted_limits_are_bounded() {
    let mut key = Key::new("unlimited");
    let now = 1_800_000_000_000_777;
    for name in 0..100 {
        key.set(&format!("5/{}s:name=n{name}", 1000 + name), now);
        assert!(key.acquire(now, 1));
        let next = parse(&format!("5/{}s:name=n{}", 1001 + name, name + 1));
        let aside =
            count_unlisted(key.limits.as_slice(), &key.states, &key.unlisted, next.as_slice(), Micros(now));
        assert_eq!(aside, MAX_UNLISTED.min(name) + 1);
    }
    key.set("unlimited", now);
    assert_eq!(key.unlisted.len(), MAX_UNLISTED);
    // Those that are empty soonest went.
    assert!(key.unlisted.iter().all(|one| one.limit.period_us().unwrap() >= 1044 * 1_000_000));
    key.set("unlimited", now + 3_000_000_000);
    assert!(key.unlisted.is_empty());
}

#[test]
fn unlimited_keeps_nothing() {
    let mut limiter = CheckedLimiter::new("unlimited");
    assert!(limiter.acquire(5, 1_000_000_000_000).is_granted());
    assert_eq!(limiter.states, [State::Fresh]);
}

/// A window that opens with the first grant may have opened with the last of the units that another
/// window counted. So these never make more than its count possible, until the other window ends.
#[test]
fn a_window_from_first_takes_over_what_may_lie_in_it() {
    let day = 1_800_000_000_000_000 / 86_400_000_000 * 86_400_000_000;
    let noon = day + 43_200_000_000;
    for (before, after, ends) in [
        ("fixed:5/d:name=a", "fixed:5/h:start=first:name=a", day + 86_400_000_000),
        ("fixed:5/h:name=a", "fixed:5/2h:start=first:name=a", noon + 3_600_000_000),
        ("fixed:5/m:start=first:name=a", "fixed:5/9s:start=first:name=a", noon + 60_000_000),
    ] {
        let mut key = Key::new(before);
        assert!(key.acquire(noon, 1));
        assert!(key.acquire(noon + 10_000_000, 4));
        let now = noon + 10_000_001;
        let new = parse(after);
        let seen = look_at(key.limits.as_slice(), &key.states, &key.unlisted, new.as_slice(), Micros(now));
        let denied = decide(new.as_slice(), &seen, Micros(now), &Request::of(1));
        let RetryAfter::After(wait) = denied.status.retry else { panic!("{after}: granted") };
        assert_eq!(now + wait, ends, "{after}");
        // The time that it tells is right, to the microsecond.
        for (then, granted) in [(now + wait - 1, false), (now + wait, true)] {
            let seen =
                look_at(key.limits.as_slice(), &key.states, &key.unlisted, new.as_slice(), Micros(then));
            let decision = decide(new.as_slice(), &seen, Micros(then), &Request::of(1));
            assert_eq!(decision.is_granted(), granted, "{after}");
        }
        key.set(after, now);
        assert!(!key.acquire(now, 1), "{after}");
    }
}
