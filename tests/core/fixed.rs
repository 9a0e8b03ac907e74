//! Fixed windows against a map from the name of a window to what is used in it.

use crate::checked_limiter::{CheckedLimiter, DAY, HOUR, cases, cost_of, gap, start, steps};
use crate::models::calendar::WindowName;
use floodgate::core::limits::Request;
use jiff::Timestamp;
use proptest::prelude::*;
use std::collections::HashMap;

const ZONES: &[&str] = &[
    "UTC",
    "Europe/Paris",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
    "Asia/Kathmandu",
    "Africa/Casablanca",
    "Pacific/Apia",
    "Pacific/Kiritimati",
];

fn windows() -> impl Strategy<Value = (String, WindowName)> {
    prop_oneof![
        prop::sample::select(vec![1u64, 7, 1009, 60_000, 3_600_000, 5 * 3_600_000, 86_400_000])
            .prop_map(|ms| (format!("{ms}ms"), WindowName::Every(ms * 1000))),
        prop::sample::select(vec![1i64, 2, 7, 30, 366]).prop_map(|n| (format!("{n}d"), WindowName::Days(n))),
        prop::sample::select(vec![1i64, 2, 52]).prop_map(|n| (format!("{n}week"), WindowName::Weeks(n))),
        Just(("month".to_owned(), WindowName::Month)),
    ]
}

/// Around changes of the clocks: Paris in March and October, midnight skipped in
/// São Paulo, a day skipped in Apia, the end of a year, a leap day.
fn eventful() -> impl Strategy<Value = u64> {
    let times = [
        "2026-03-29T00:00:00Z",
        "2026-10-25T00:00:00Z",
        "2018-11-04T02:00:00Z",
        "2018-02-18T02:00:00Z",
        "2011-12-30T09:00:00Z",
        "2027-12-31T22:00:00Z",
        "2028-02-29T12:00:00Z",
        "2026-11-01T05:30:00Z",
        "2027-03-14T06:30:00Z",
    ];
    let times: Vec<u64> =
        times.iter().map(|t| t.parse::<Timestamp>().unwrap().as_microsecond() as u64).collect();
    (prop::sample::select(times), 0u64..4 * DAY).prop_map(|(time, off)| time + off - 2 * DAY)
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn counts_per_window(
        (period, naming) in windows(),
        zone in prop::sample::select(ZONES),
        count in prop_oneof![1u64..20, Just(1_000_000_000_000)],
        start in prop_oneof![1 => start(), 3 => eventful()],
        steps in prop::collection::vec((prop_oneof![
            3 => Just(0u64), 2 => 0u64..1_000_000, 2 => 0u64..3 * HOUR, 2 => 0u64..3 * DAY, 1 => 0u64..40 * DAY
        ], 0u16..=1000), 1..16),
    ) {
        let zoned = !matches!(naming, WindowName::Every(_));
        let zone = if zoned { zone } else { "UTC" };
        let tz = if zoned { format!(":tz={zone}") } else { String::new() };
        let mut limiter = CheckedLimiter::new(&format!("fixed:{count}/{period}{tz}"));
        let mut used: HashMap<i64, u64> = HashMap::new();
        let mut now = start;
        for (gap, part) in steps {
            now += gap;
            let cost = cost_of(part, count);
            let window = naming.at(zone, now);
            let spent = used.entry(window).or_default();
            let reply = limiter.acquire(now, cost);
            prop_assert_eq!(reply.is_granted(), *spent + cost <= count);
            if reply.is_granted() {
                *spent += cost;
            }
            prop_assert_eq!(reply.status.remaining, Some(count - *spent));
            if *spent > 0 {
                // It is full again exactly when the next window begins.
                let end = now + reply.status.reset.micros().unwrap();
                prop_assert_ne!(naming.at(zone, end), window);
                prop_assert_eq!(naming.at(zone, end - 1), window);
            }
            limiter.check_reply(now, &Request::of(cost), &reply);
            limiter.check_full(now);
        }
    }

    #[test]
    fn first_grant_opens_the_window(
        count in 1u64..20,
        ms in prop::sample::select(vec![1u64, 7, 1009, 60_000, 86_400_000]),
        start in start(),
        steps in steps(24),
    ) {
        let mut limiter = CheckedLimiter::new(&format!("fixed:{count}/{ms}ms:start=first"));
        let period = ms * 1000;
        let mut window: Option<(u64, u64)> = None;
        let mut now = start;
        for (gap, part) in steps {
            now += gap.of(period);
            let cost = cost_of(part, count);
            window = window.filter(|&(opened, _)| now < opened + period);
            let spent = window.map_or(0, |(_, spent)| spent);
            let reply = limiter.acquire(now, cost);
            prop_assert_eq!(reply.is_granted(), spent + cost <= count);
            if reply.is_granted() {
                window = Some((window.map_or(now, |(opened, _)| opened), spent + cost));
            }
            let (opened, spent) = window.unwrap();
            prop_assert_eq!(reply.status.remaining, Some(count - spent));
            prop_assert_eq!(reply.status.reset.micros().unwrap(), opened + period - now);
            limiter.check_reply(now, &Request::of(cost), &reply);
            limiter.check_full(now);
        }
    }

    /// Where local dates come twice (clocks back over midnight), windows still
    /// follow one another without gap or overlap.
    #[test]
    fn every_instant_has_one_window(
        off in 0u64..2 * DAY,
        gaps in prop::collection::vec(gap(), 1..8),
    ) {
        // Newfoundland, 2010-11-07 00:01, back to 23:01 of the day before.
        let change = "2010-11-07T02:31:00Z".parse::<Timestamp>().unwrap().as_microsecond() as u64;
        let mut now = change - DAY + off;
        let mut limiter = CheckedLimiter::new("fixed:3/d:tz=America/St_Johns");
        for gap in gaps {
            now += gap.of(HOUR);
            let reply = limiter.acquire(now, 1);
            // Midnights: in summer time until the first of the 7th, then in winter time.
            let midnight = change - 60_000_000;
            let ends = [midnight - DAY, midnight, midnight + DAY + HOUR, midnight + 2 * DAY + HOUR];
            let end = ends.into_iter().find(|&end| end > now).unwrap_or(now + reply.status.reset.micros().unwrap());
            prop_assert_eq!(now + reply.status.reset.micros().unwrap(), end);
            limiter.check_reply(now, &Request::of(1), &reply);
        }
    }
}

/// A week from Monday is not seven days from Thursday.
#[test]
fn weeks_start_on_monday() {
    let at = |text: &str| text.parse::<Timestamp>().unwrap().as_microsecond() as u64;
    let end = |limit: &str, now: u64| {
        let reply = CheckedLimiter::new(limit).acquire(now, 1);
        now + reply.status.reset.micros().unwrap()
    };
    let friday = at("2026-11-20T15:00:00Z");
    assert_eq!(end("fixed:5/w", friday), at("2026-11-23T00:00:00Z"));
    assert_eq!(end("fixed:5/7d", friday), at("2026-11-26T00:00:00Z"));
    assert_eq!(end("fixed:5/month", friday), at("2026-12-01T00:00:00Z"));
    assert_eq!(end("fixed:5/w:tz=Europe/Paris", friday), at("2026-11-22T23:00:00Z"));
    assert_eq!(end("fixed:5/day:tz=Europe/Paris", at("2026-03-29T12:00:00Z")), at("2026-03-29T22:00:00Z"));
    assert_eq!(end("fixed:5/w", 0), 4 * DAY);
}
