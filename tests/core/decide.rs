//! Several limits as one, against the single decisions of each; PARTIAL against
//! trying every cost; keep, shadow and per=call.

use crate::checked_limiter::{CheckedLimiter, cases, gap, refund};
use floodgate::core::limits::{
    Decision, HeldPlaces, Keep, Request, State, charge, charge_all, charges, decide, full_at, limit_quota,
};
use floodgate::core::retry_after::RetryAfter;
use floodgate::core::text::percent::Percent;
use floodgate::core::time::Micros;
use proptest::prelude::*;

/// Limits that differ in identity, one or more of each kind.
const MENU: &[&str] = &[
    "5/10ms",
    "12/s",
    "100/s:name=hundred",
    "bucket:7/10ms",
    "bucket:3/s:burst=9",
    "fixed:6/20ms",
    "fixed:9/s:start=first",
    "4/s:per=call",
    "bucket:5/s:per=call",
    "10/20ms:keep=25%",
    "bucket:10/20ms:keep=33.33%",
    "fixed:8/30ms:keep=99%",
    "fixed:30/ever",
    "fixed:20/ever:per=call:keep=10%",
    "unlimited",
];

fn menu() -> impl Strategy<Value = Vec<(&'static str, bool)>> {
    prop::sample::subsequence(MENU, 1..=5).prop_shuffle().prop_flat_map(|picked| {
        prop::collection::vec(prop::bool::weighted(0.25), picked.len())
            .prop_map(move |shadows| picked.iter().copied().zip(shadows).collect())
    })
}

/// The limits as a call has them; those that are marked are shadows.
fn text(picked: &[(&str, bool)]) -> String {
    let limits = picked.iter().map(|&(limit, shadow)| match shadow && limit != "unlimited" {
        true => format!("{limit}:shadow"),
        false => limit.to_owned(),
    });
    limits.collect::<Vec<_>>().join(",")
}

fn request() -> impl Strategy<Value = Request> {
    (1u64..12, prop::bool::weighted(0.3), prop::bool::weighted(0.3))
        .prop_map(|(cost, partial, critical)| Request { cost, calls: 1, partial, critical })
}

/// The decision of one limit alone, as if it were enforced.
fn alone(limiter: &CheckedLimiter, index: usize, now: u64, request: &Request) -> Decision {
    let limit = limiter.limits.as_slice()[index].canonical().replace(":shadow", "");
    let single = CheckedLimiter::new(&limit);
    decide(single.limits.as_slice(), &limiter.states[index..=index], Micros(now), request)
}

proptest! {
    #![proptest_config(cases())]

    /// One limit has a shorter way through the decision. Beside a limit that always
    /// grants it takes the long one.
    #[test]
    fn one_limit_is_decided_as_among_several(
        limit in prop::sample::select(MENU),
        requests in prop::collection::vec((gap(), request()), 1..16),
    ) {
        let (mut alone, mut among) = (CheckedLimiter::new(limit), CheckedLimiter::new(&format!("{limit},unlimited")));
        let mut now = 1_800_000_000_000_777u64;
        for (gap, request) in requests {
            now += gap.of(10_000);
            let (one, other) = (alone.ask(now, &request), among.ask(now, &request));
            prop_assert_eq!((one.granted, one.status, one.binding), (other.granted, other.status, other.binding));
            prop_assert_eq!(one.taken.units(0), other.taken.units(0));
            prop_assert_eq!(one.record_clock, other.record_clock);
        }
    }

    #[test]
    fn all_or_nothing(
        picked in menu(),
        steps in prop::collection::vec((gap(), request()), 1..12),
    ) {
        let mut limiter = CheckedLimiter::new(&text(&picked));
        let limits = limiter.limits.clone();
        let limits = limits.as_slice();
        let enforced: Vec<usize> = (0..limits.len()).filter(|&i| !limits[i].shadow()).collect();
        let mut now = 1_800_000_000_000_777;
        for (gap, request) in steps {
            now += gap.of(20_000);
            let before = limiter.states.clone();
            let whole = Request { partial: false, ..request };
            let grants = |cost: u64| enforced.iter().all(|&i| alone(&limiter, i, now, &Request { cost, ..whole }).is_granted());
            let expected = if request.partial {
                (1..=request.cost).rev().find(|&cost| grants(cost)).unwrap_or(0)
            } else if grants(request.cost) { request.cost } else { 0 };
            // The binding limit, from what each would have said for what was granted.
            let said: Vec<(usize, Decision)> = enforced
                .iter()
                .map(|&i| {
                    let asked = if expected > 0 { Request { cost: expected, ..whole } } else { request };
                    (i, alone(&limiter, i, now, &asked))
                })
                .collect();
            let infinite = |d: &Decision| d.status.remaining.unwrap_or(u64::MAX);
            let binding = if expected > 0 {
                said.iter().rev().min_by(|a, b| infinite(&a.1).cmp(&infinite(&b.1)).then(a.0.cmp(&b.0)))
            } else {
                said.iter().max_by(|a, b| a.1.status.retry.cmp(&b.1.status.retry).then(b.0.cmp(&a.0)))
            };
            let shadows: Vec<(usize, Decision)> = (0..limits.len())
                .filter(|&i| limits[i].shadow())
                .map(|i| {
                    let cost = if expected > 0 { expected } else { request.cost };
                    let own = if request.partial { Request { cost, ..request } } else { request };
                    (i, alone(&limiter, i, now, &own))
                })
                .collect();

            let reply = limiter.ask(now, &request);
            prop_assert_eq!(reply.granted, expected);
            prop_assert_eq!(reply.binding, binding.map(|&(i, _)| i));
            if let Some((_, said)) = binding {
                prop_assert_eq!(reply.status, said.status);
            } else {
                prop_assert_eq!(reply.status.limit, None);
                prop_assert_eq!(reply.granted, request.cost);
            }
            for &i in &enforced {
                let units = if limits[i].capacity().is_none() || expected == 0 { 0 }
                    else if limits[i].per_call() { 1 } else { expected };
                prop_assert_eq!(reply.taken.units(i), units);
            }
            for (i, said) in shadows {
                prop_assert_eq!(reply.shadow_denied.contains(i), !said.is_granted());
                let units = if expected == 0 || !said.is_granted() { 0 }
                    else if limits[i].per_call() { 1 } else { said.granted };
                prop_assert_eq!(reply.taken.units(i), units);
            }
            for (i, limit) in limits.iter().enumerate() {
                let was = limit.rule().used(&before[i], Micros(now));
                prop_assert_eq!(limiter.used(i, now), was + reply.taken.units(i));
            }
            limiter.check_reply(now, &request, &reply);
            limiter.check_full(now);
        }
    }

    /// What a look says is what asking does.
    #[test]
    fn looking_foretells(
        limit in prop::sample::select(MENU),
        steps in prop::collection::vec((gap(), request()), 1..12),
    ) {
        let mut limiter = CheckedLimiter::new(limit);
        let mut now = 1_800_000_000_000_777;
        for (gap, request) in steps {
            now += gap.of(20_000);
            limiter.ask(now, &request);
            let seen = limit_quota(&limiter.limits.as_slice()[0], &limiter.states[0], Micros(now), request.cost);
            let asked = limiter.would(now, &Request::of(request.cost));
            prop_assert_eq!(seen.limit, asked.status.limit);
            prop_assert_eq!(seen.retry, asked.status.retry);
            prop_assert_eq!(seen.retry == RetryAfter::Now, asked.is_granted());
            match seen.reset.moment(Micros(now)) {
                Some(at) => prop_assert_eq!(at.0, limiter.full_at(now)),
                None => prop_assert_eq!(limiter.full_at(now), if seen.used > 0 { Micros::NEVER.0 } else { now }),
            }
            if let Some(remaining) = seen.remaining {
                if !limiter.limits.as_slice()[0].per_call() {
                    prop_assert!(remaining == 0 || limiter.would(now, &Request::of(remaining)).is_granted());
                    prop_assert!(!limiter.would(now, &Request::of(remaining + 1)).is_granted());
                }
                prop_assert!(seen.used <= seen.limit.unwrap());
            }
        }
    }

    /// A charge counts on every limit, whatever is left, and leaves a debt of one capacity at
    /// most.
    #[test]
    fn a_charge_counts_on_every_limit(
        picked in menu(),
        steps in prop::collection::vec((gap(), 1u64..40, prop::bool::ANY), 1..16),
    ) {
        let mut limiter = CheckedLimiter::new(&text(&picked));
        let limits = limiter.limits.clone();
        let limits = limits.as_slice();
        let mut now = 1_800_000_000_000_777;
        for (gap, units, asks) in steps {
            now += gap.of(20_000);
            if asks {
                limiter.acquire(now, units);
                continue;
            }
            let before: Vec<u64> = (0..limits.len()).map(|i| limiter.used(i, now)).collect();
            let charged = charges(limits, &limiter.states, Micros(now), units);
            charge_all(limits, &mut limiter.states, Micros(now), &charged);
            limiter.replica = limiter.states.clone();
            for (i, limit) in limits.iter().enumerate() {
                let wanted = if limit.per_call() { 1 } else { units };
                let owed = limit.capacity().map_or(0, |all| (before[i] + wanted).min(2 * all).max(before[i]));
                prop_assert_eq!(limiter.used(i, now), owed);
            }
            let one = Request::of(1);
            let reply = limiter.ask(now, &one);
            limiter.check_reply(now, &one, &reply);
            limiter.check_full(now);
        }
    }

    /// Debt is at most one capacity, is worked off, and can be forgiven.
    #[test]
    fn debt_is_bounded(
        limit in prop::sample::select(vec!["5/10ms", "64/10ms", "100/s", "bucket:7/10ms", "bucket:3/s:burst=9", "fixed:6/20ms"]),
        steps in prop::collection::vec((gap(), 0u64..300, prop::bool::ANY), 1..24),
    ) {
        let mut limiter = CheckedLimiter::new(limit);
        let limits = limiter.limits.clone();
        let limits = limits.as_slice();
        let capacity = limits[0].capacity().unwrap();
        let mut now = 1_800_000_000_000_777;
        for (gap, units, back) in steps {
            now += gap.of(10_000);
            let used = limiter.used(0, now);
            if back {
                let given = refund(limits, &mut limiter.states, Micros(now), units);
                prop_assert_eq!(given, units.min(used));
                prop_assert_eq!(limiter.used(0, now), used.saturating_sub(units));
            } else {
                let charged = charge(&limits[0], &mut limiter.states[0], Micros(now), units);
                let owed = (used + units).min(capacity * 2);
                prop_assert_eq!(limiter.used(0, now), owed);
                // The last unit may fit in part, where one of a bucket has come back in part.
                let in_part = limit.starts_with("bucket") && charged == units.min(owed - used + 1);
                prop_assert!(charged == owed - used || in_part, "{}", charged);
            }
            limiter.replica = limiter.states.clone();
            prop_assert_eq!(limiter.would(now, &Request::of(1)).is_granted(), limiter.used(0, now) < capacity);
            let request = Request::of(1 + units % capacity);
            let reply = limiter.ask(now, &request);
            limiter.check_reply(now, &request, &reply);
            limiter.check_full(now);
        }
    }
}

#[test]
fn keep_is_for_critical_requests() {
    let mut limiter = CheckedLimiter::new("10/m:keep=20%");
    let now = 1_800_000_000_000_000;
    let reply = limiter.acquire(now, 9);
    assert_eq!((reply.granted, reply.status.retry), (0, RetryAfter::Never));
    assert_eq!(limiter.acquire(now, 8).status.remaining, Some(0));
    assert!(!limiter.acquire(now, 1).is_granted());
    let critical = Request { critical: true, ..Request::of(1) };
    assert_eq!(limiter.ask(now, &critical).status.remaining, Some(1));
    assert_eq!(limiter.ask(now, &critical).status.remaining, Some(0));
    assert!(!limiter.ask(now, &critical).is_granted());
    // What is kept is rounded down to whole units: here none.
    for limits in
        ["1/m:keep=0.01%", "1/m:keep=99.99%", "1/s:keep=10%", "bucket:5/s:keep=1%", "fixed:9/s:keep=11%"]
    {
        let mut limiter = CheckedLimiter::new(limits);
        let capacity = limiter.limits.as_slice()[0].capacity().unwrap();
        assert_eq!(limiter.acquire(now, capacity).granted, capacity, "{limits}");
    }
}

/// The part that is kept, against counting in hundredths of a percent: the most
/// whole units that are at most P % of the capacity.
#[test]
fn keep_is_rounded_down_to_whole_units() {
    for capacity in (0..300).chain([1_000, 9_999, 10_001, 1_000_000_000_000]) {
        for hundredths in [1, 99, 100, 101, 999, 1_000, 3_333, 5_000, 9_900, 9_999_u32] {
            let keep = Percent::new(hundredths).and_then(Keep::new).unwrap();
            let kept = u128::from(capacity - keep.usable(capacity));
            let share = u128::from(capacity) * u128::from(hundredths);
            assert!(kept * 10_000 <= share && share < (kept + 1) * 10_000, "{capacity} {hundredths}");
        }
    }
}

#[test]
fn tokens_and_calls_together() {
    let mut limiter = CheckedLimiter::new("90000/m,60/m:per=call");
    let now = 1_800_000_000_000_000;
    let reply = limiter.acquire(now, 1500);
    assert_eq!((reply.granted, reply.binding, reply.status.remaining), (1500, Some(1), Some(59)));
    for _ in 0..59 {
        assert!(limiter.acquire(now, 1).is_granted());
    }
    let reply = limiter.acquire(now, 1);
    assert_eq!((reply.granted, reply.binding, reply.status.limit), (0, Some(1), Some(60)));
}

#[test]
fn only_shadows_reply_as_unlimited() {
    let mut limiter = CheckedLimiter::new("1/m:shadow");
    let now = 1_800_000_000_000_000;
    for expected in [false, true, true] {
        let reply = limiter.acquire(now, 1);
        assert_eq!((reply.granted, reply.binding), (1, None));
        assert_eq!((reply.status.limit, reply.status.remaining), (None, None));
        assert_eq!(reply.shadow_denied.contains(0), expected);
    }
}

#[test]
fn the_slowest_times_are_never_never() {
    let mut limiter = CheckedLimiter::new("bucket:1/366d:burst=1000000000000");
    let now = 1_800_000_000_000_000;
    assert!(limiter.acquire(now, 1_000_000_000_000).is_granted());
    assert!(matches!(limiter.acquire(now, 1_000_000_000_000).status.retry, RetryAfter::After(_)));
}

#[test]
fn concurrent_counts_what_is_held() {
    let mut limiter = CheckedLimiter::new("concurrent:2");
    assert!(limiter.limits.has_concurrent());
    let now = 1_800_000_000_000_000;
    // Two are held, until 5 and 9 ms from now; one taken now would be until 7 ms.
    let ends = |ms: u64| Micros(now + ms * 1000);
    limiter.states =
        vec![State::Concurrent(HeldPlaces::new(2, ends(9), ends(7), [Some((1, ends(5))), None]))];
    let denied = decide(limiter.limits.as_slice(), &limiter.states, Micros(now), &Request::of(1));
    assert!(!denied.is_granted());
    assert_eq!(denied.status.retry, RetryAfter::After(5000));
    assert_eq!(denied.status.remaining, Some(0));
    assert_eq!(full_at(limiter.limits.as_slice(), &limiter.states, Micros(now)), ends(9));
    // Only settling a reservation frees its place.
    assert_eq!(refund(limiter.limits.as_slice(), &mut limiter.states, Micros(now), 5), 0);
    assert_eq!(limiter.used(0, now), 2);
    limiter.states = vec![State::Concurrent(HeldPlaces::new(1, ends(9), ends(7), [None, None]))];
    let granted = decide(limiter.limits.as_slice(), &limiter.states, Micros(now), &Request::of(1));
    assert!(granted.is_granted());
}
