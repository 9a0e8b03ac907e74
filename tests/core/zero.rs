//! A count of 0 denies everything, whatever the algorithm and the history.

use crate::checked_limiter::{CheckedLimiter, cases, gap, parse};
use crate::support::{look_at, realign};
use floodgate::core::limits::{Limits, Request, State, charge, decide, take};
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

    /// What is used comes back as if the limit had never been closed.
    #[test]
    fn zero_denies_and_what_was_used_comes_back_as_ever(
        pattern in prop::sample::select(PATTERNS),
        steps in prop::collection::vec((gap(), any::<bool>(), 1u64..12, any::<bool>()), 1..24),
    ) {
        let with = |count: u64| parse(&pattern.replace("{}", &count.to_string()));
        let (closed, open) = (with(0), with(10));
        let mut limits = open.clone();
        let (mut states, mut unlisted) = (vec![State::Fresh], Vec::new());
        // The same limit where nobody ever closes it.
        let mut ever_open = [State::Fresh];
        let mut now = 1_800_000_000_000_000u64;
        for (gap, closes, cost, critical) in steps {
            now += gap.of(1_000_000);
            let wanted: &Limits = if closes { &closed } else { &open };
            let seen = look_at(limits.as_slice(), &states, &unlisted, wanted.as_slice(), Micros(now));
            let used = open.as_slice()[0].rule().used(&ever_open[0], Micros(now));
            if !closes {
                let request = Request::of(cost);
                let reply = decide(open.as_slice(), &ever_open, Micros(now), &request).status;
                prop_assert_eq!(decide(open.as_slice(), &seen, Micros(now), &request).status, reply);
            }
            let moved = realign(limits.as_slice(), states, unlisted, wanted.as_slice(), Micros(now));
            (states, unlisted, limits) = (moved.states, moved.unlisted, wanted.clone());
            if !closes {
                prop_assert_eq!(limits.as_slice()[0].rule().used(&states[0], Micros(now)), used);
            }
            // A charge on a closed limit counts nothing: its capacity is 0.
            if closes {
                prop_assert_eq!(charge(&limits.as_slice()[0], &mut states[0], Micros(now), cost), 0);
            }
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
                take(limits.as_slice(), &mut ever_open, Micros(now), &decision.taken);
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
    assert!(!CheckedLimiter::new("0/s,10/s").acquire(7, 1).is_granted());
}
