//! A count of 0 denies everything, whatever the algorithm and the history.

use crate::world::{World, cases, gap, parse};
use floodgate::core::limits::{Limits, Request, State, decide, realign, take};
use floodgate::core::retry_after::RetryAfter;
use floodgate::core::time::Micros;
use proptest::prelude::*;

/// A limit by its count; usage goes on from one count to another.
const PATTERNS: &[&str] = &[
    "{}/s",
    "{}/d:name=x",
    "bucket:{}/s",
    "bucket:{}/366d",
    "fixed:{}/m",
    "fixed:{}/day:from=09:00:tz=Europe/Paris",
    "fixed:{}/year",
    "fixed:{}/ever",
    "fixed:{}/s:start=first",
    "{}/s:keep=10%",
];

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn zero_denies_and_what_was_used_stays_used(
        pattern in prop::sample::select(PATTERNS),
        steps in prop::collection::vec((gap(), any::<bool>(), 1u64..12, any::<bool>()), 1..24),
    ) {
        let with = |count: u64| parse(&pattern.replace("{}", &count.to_string()));
        let (closed, open) = (with(0), with(10));
        let mut limits = open.clone();
        let mut states = vec![State::Fresh];
        let mut now = 1_800_000_000_000_000u64;
        for (gap, closes, cost, critical) in steps {
            now += gap.of(1_000_000);
            let wanted: &Limits = if closes { &closed } else { &open };
            let used = limits.as_slice()[0].rule().used(&states[0], Micros(now));
            let moved = realign(limits.as_slice(), states, Vec::new(), wanted.as_slice(), Micros(now));
            prop_assert!(moved.unlisted.is_empty());
            (states, limits) = (moved.states, wanted.clone());
            prop_assert_eq!(limits.as_slice()[0].rule().used(&states[0], Micros(now)), used);
            let request = Request { critical, ..Request::of(cost) };
            let decision = decide(limits.as_slice(), &states, Micros(now), &request);
            if closes {
                prop_assert!(!decision.is_granted());
                prop_assert_eq!(decision.status.retry, RetryAfter::Never);
                prop_assert_eq!((decision.status.limit, decision.status.remaining), (Some(0), Some(0)));
                let part = Request { partial: true, ..request };
                prop_assert!(!decide(limits.as_slice(), &states, Micros(now), &part).is_granted());
            } else if decision.is_granted() {
                take(limits.as_slice(), &mut states, Micros(now), &decision.taken);
            }
        }
    }
}

#[test]
fn zero_is_written_plainly() {
    for text in ["0/s", "bucket:0/h", "fixed:0/month:from=17", "concurrent:0", "0/m:name=closed"] {
        assert_eq!(parse(text).canonical(), text);
    }
    let reason = |text: &str| Limits::parse(text.as_bytes()).unwrap_err().to_string();
    assert_eq!(
        reason("bucket:0/s:burst=5"),
        "invalid limit 'bucket:0/s:burst=5': burst= needs a count of 1 or more"
    );
    assert_eq!(parse("00/s").canonical(), "0/s");
    assert_eq!(
        reason("bucket:10/s:burst=0"),
        "invalid limit 'bucket:10/s:burst=0': burst must be at least 1"
    );
    assert!(!World::new("0/s,10/s").acquire(7, 1).is_granted());
}
