//! Windows from another start (`from=`), months and years, against a slow calendar.

use crate::checked_limiter::{CheckedLimiter, DAY, HOUR, cases};
use crate::models::calendar::Begins;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;

const ZONES: &[&str] = &[
    "UTC",
    "Europe/Paris",
    "Europe/London",
    "Europe/Dublin",
    "Europe/Istanbul",
    "America/New_York",
    "America/Sao_Paulo",
    "America/St_Johns",
    "America/Santiago",
    "America/Havana",
    "America/Caracas",
    "Australia/Lord_Howe",
    "Australia/Adelaide",
    "Asia/Kathmandu",
    "Asia/Tehran",
    "Asia/Gaza",
    "Africa/Casablanca",
    "Africa/Cairo",
    "Pacific/Apia",
    "Pacific/Kiritimati",
    "Pacific/Chatham",
    "Antarctica/Troll",
];

fn begins() -> impl Strategy<Value = Begins> {
    prop_oneof![
        (0i64..24, prop::sample::select(vec![0i64, 1, 30, 59]))
            .prop_map(|(hour, minute)| Begins::Daily { hour, minute }),
        (0i64..7).prop_map(|weekday| Begins::Weekly { weekday }),
        prop_oneof![1i64..=31, 28i64..=31].prop_map(|day| Begins::Monthly { day }),
        prop_oneof![
            (1i64..=12, 1i64..=28).prop_map(|(month, day)| Begins::Yearly { month, day }),
            Just(Begins::Yearly { month: 2, day: 29 }),
            Just(Begins::Yearly { month: 12, day: 31 }),
        ],
    ]
}

/// Instants of 400 years; half of them close to a change of the clocks of some zone.
fn instants() -> impl Strategy<Value = (&'static str, u64)> {
    const YEAR: u64 = 365 * DAY + DAY / 4;
    let zone = prop::sample::select(ZONES);
    (zone, 3 * YEAR..400 * YEAR, any::<bool>(), 0..4 * DAY).prop_map(|(zone, at, close, off)| {
        let known = TimeZone::get(zone).unwrap();
        let instant = Timestamp::from_microsecond(at as i64).unwrap();
        let change = known.following(instant).next().map(|change| change.timestamp().as_microsecond() as u64);
        let near = change.filter(|_| close).map(|change| change + off - 2 * DAY);
        // Beyond the last rule that is known nothing changes.
        (zone, near.filter(|&near| near < 400 * YEAR).unwrap_or(at))
    })
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn windows_begin_where_the_slow_calendar_says(begins in begins(), (zone, now) in instants()) {
        let limit = format!("fixed:1/{}:tz={zone}", begins.text());
        let (start, end) = begins.window(&TimeZone::get(zone).unwrap(), now);
        for at in [now, start, end - 1] {
            let reply = CheckedLimiter::new(&limit).acquire(at, 1);
            prop_assert!(reply.is_granted());
            prop_assert_eq!(at + reply.status.reset.micros().unwrap(), end, "from {} in {}", at, limit);
        }
        let mut limiter = CheckedLimiter::new(&limit);
        limiter.acquire(now, 1);
        prop_assert!(!limiter.acquire(end - 1, 1).is_granted());
        prop_assert!(limiter.acquire(end, 1).is_granted());
        let limits = floodgate::core::limits::Limits::parse(limit.as_bytes()).unwrap();
        let covering = limits.as_slice()[0].covering_us().unwrap();
        prop_assert!(end - start <= covering, "{} hours in {}", (end - start) / HOUR, limit);
    }
}

#[test]
fn from_is_written_plainly_and_refused_with_the_way_out() {
    use floodgate::core::limits::Limits;
    for (text, canonical) in [
        ("fixed:9/day:from=09:00", "fixed:9/d:from=09:00"),
        (
            "fixed:9/day:FROM=09:00:name=shift:tz=Europe/Paris",
            "fixed:9/d:tz=Europe/Paris:from=09:00:name=shift",
        ),
        ("fixed:9/24h:from=00:00", "fixed:9/d"),
        ("fixed:9/week:from=MON", "fixed:9/w"),
        ("fixed:9/w:from=sun:tz=UTC", "fixed:9/w:from=sun"),
        ("fixed:9/month:from=1", "fixed:9/month"),
        ("fixed:9/month:from=17", "fixed:9/month:from=17"),
        ("fixed:9/YEAR", "fixed:9/year"),
        ("fixed:9/1year:from=03-01", "fixed:9/year:from=03-01"),
        ("fixed:9/year:from=01-01", "fixed:9/year"),
    ] {
        let limits = Limits::parse(text.as_bytes()).unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(limits.canonical(), canonical);
        assert_eq!(Limits::parse_stored(canonical.as_bytes()).unwrap(), limits, "{canonical}");
    }
    for (text, reason) in [
        ("fixed:9/day:from=9:00", "from= of a day must be HH:MM, such as 09:00"),
        ("fixed:9/day:from=24:00", "from= of a day must be HH:MM, such as 09:00"),
        ("fixed:9/day:from=09", "from= of a day must be HH:MM, such as 09:00"),
        ("fixed:9/week:from=sunday", "from= of a week must be mon, tue, wed, thu, fri, sat or sun"),
        ("fixed:9/week:from=09:00", "from= of a week must be mon, tue, wed, thu, fri, sat or sun"),
        ("fixed:9/month:from=0", "from= of a month must be a day of it, 1 to 31"),
        ("fixed:9/month:from=32", "from= of a month must be a day of it, 1 to 31"),
        ("fixed:9/year:from=02-30", "from= of a year must be MM-DD, such as 03-01"),
        ("fixed:9/year:from=3-1", "from= of a year must be MM-DD, such as 03-01"),
        ("fixed:9/2d:from=09:00", "from= needs a period of one day, week, month or year"),
        ("fixed:9/h:from=09:00", "from= needs a period of one day, week, month or year"),
        ("fixed:9/day:start=first:from=09:00", "start=first and from= exclude each other"),
        ("fixed:9/year:start=first", "start=first takes no year"),
        ("9/year", "year is only for fixed windows"),
        ("fixed:9/2year", "year takes no number but 1"),
        ("9/day:from=09:00", "from= is only for fixed, not for sliding"),
    ] {
        let error = Limits::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}

/// As billing does: the 31st of a shorter month is its last day.
#[test]
fn a_month_that_lacks_the_day_begins_on_its_last() {
    let at = |text: &str| text.parse::<Timestamp>().unwrap().as_microsecond() as u64;
    let end = |limit: &str, now: &str| {
        let now = at(now);
        now + CheckedLimiter::new(limit).acquire(now, 1).status.reset.micros().unwrap()
    };
    assert_eq!(end("fixed:5/month:from=31", "2027-02-10T00:00:00Z"), at("2027-02-28T00:00:00Z"));
    assert_eq!(end("fixed:5/month:from=31", "2027-02-28T00:00:00Z"), at("2027-03-31T00:00:00Z"));
    assert_eq!(end("fixed:5/month:from=17", "2026-11-28T00:00:00Z"), at("2026-12-17T00:00:00Z"));
    assert_eq!(end("fixed:5/year:from=02-29", "2027-01-01T00:00:00Z"), at("2027-02-28T00:00:00Z"));
    assert_eq!(end("fixed:5/year:from=02-29", "2027-03-01T00:00:00Z"), at("2028-02-29T00:00:00Z"));
    assert_eq!(end("fixed:5/year", "2027-03-01T00:00:00Z"), at("2028-01-01T00:00:00Z"));
    assert_eq!(end("fixed:5/week:from=sun", "2026-11-28T12:00:00Z"), at("2026-11-29T00:00:00Z"));
    // Paris skips 02:00 to 03:00 on 2027-03-28: 02:30 is 03:30 there.
    let night = "fixed:5/day:from=02:30:tz=Europe/Paris";
    assert_eq!(end(night, "2027-03-28T00:00:00Z"), at("2027-03-28T01:30:00Z"));
    // On 2026-10-25 the hour from 02:00 comes twice: the first counts.
    assert_eq!(end(night, "2026-10-25T00:00:00Z"), at("2026-10-25T00:30:00Z"));
    assert_eq!(end(night, "2026-10-25T00:30:00Z"), at("2026-10-26T01:30:00Z"));
    assert_eq!(HOUR * 24, DAY);
}
