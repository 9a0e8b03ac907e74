//! The grammar: what is accepted, the shortest form, a reason for each refusal.

use crate::checked_limiter::{cases, parse};
use floodgate::core::limits::{Expression, Limit, Limits, LimitsError, Term};
use proptest::prelude::*;
use std::collections::HashSet;

/// (text, the limit that is named when it is not all of it, reason)
const MALFORMED: &[(&str, &str)] = &[
    ("", "empty"),
    (",", "nothing before the first comma"),
    (",1/s", "nothing before the first comma"),
    ("1/s,", "nothing after the last comma"),
    ("1/s,,2/m", "nothing between two commas"),
    ("100", "missing '/' and period"),
    ("100/", "missing period"),
    ("/s", "missing count"),
    ("/", "missing count"),
    ("1000000000001/s", "count is above 1000000000000"),
    ("99999999999999999999999/s", "count is above 1000000000000"),
    ("1x/s", "count is not a whole number"),
    ("1.5/s", "count is not a whole number"),
    ("1e3/s", "count is not a whole number"),
    (".5/s", "count is not a whole number"),
    ("1_000/s", "count is not a whole number"),
    ("-5/s", "count is negative"),
    ("+5/s", "count takes no sign"),
    ("10 /s", "has white space"),
    ("10/s\n", "has white space"),
    ("10/s\0", "has bytes other than printable ASCII"),
    ("10/µs", "has bytes other than printable ASCII"),
    ("10/us", "unknown unit of time"),
    ("10/century", "unknown unit of time"),
    ("10/m/s", "more than one '/'"),
    ("10/60", "period has no unit"),
    ("10/0s", "period is zero"),
    ("10/0ms", "period is zero"),
    ("10/1.5s", "period must be a whole number of its unit"),
    ("10/-1s", "period takes no sign"),
    ("10/367d", "period is longer than 366 days"),
    ("10/53w", "period is longer than 366 days"),
    ("10/99999999999999999999s", "period is longer than 366 days"),
    ("fixed:10/2month", "month takes no number but 1"),
    ("fixed:10/0month", "month takes no number but 1"),
    ("fixed:10/2ever", "ever takes no number but 1"),
    ("fixed:10/0ever", "ever takes no number but 1"),
    ("10/ever", "ever is only for fixed, write fixed:10/ever"),
    ("bucket:10/ever", "ever is only for fixed, write fixed:10/ever"),
    ("fixed:10/forever", "unknown unit of time 'forever', write ever"),
    ("fixed:10/ever:tz=Europe/Paris", "ever has no windows, it takes no tz="),
    ("fixed:10/ever:from=09:00", "ever has no windows, it takes no from="),
    ("fixed:10/ever:start=first", "ever has no windows, it takes no start="),
    ("fixed:10/ever:burst=5", "burst= is only for bucket, not for fixed"),
    ("10/month", "month is only for fixed windows"),
    ("bucket:10/month", "month is only for fixed windows"),
    ("leaky:10/s", "unknown algorithm 'leaky'"),
    ("abc", "unknown algorithm 'abc'"),
    ("throttle:4/1/60", "unknown algorithm 'throttle'"),
    (":10/s", "missing algorithm before ':'"),
    ("bucket", "missing ':' and count after bucket"),
    ("bucket:", "missing count"),
    ("bucket:10", "missing '/' and period"),
    ("10/s:", "empty option"),
    ("10/s::shadow", "empty option"),
    ("10/s:=5", "option without a name"),
    ("10/s:foo", "unknown option 'foo'"),
    ("10/s:foo=bar", "unknown option 'foo'"),
    ("10/s:name", "name= needs a value"),
    ("10/s:name=", "name= needs a value"),
    ("10/s:shadow=yes", "shadow takes no value"),
    ("10/s:shadow:shadow", "shadow is given twice"),
    ("10/s:name=a:NAME=b", "name is given twice"),
    ("10/s:name=a/b", "name has characters other than A-Z a-z 0-9 _ . -"),
    (
        "10/s:name=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "name is longer than 64 characters",
    ),
    ("10/s:burst=5", "burst= is only for bucket, not for sliding"),
    ("fixed:10/s:burst=5", "burst= is only for bucket, not for fixed"),
    ("bucket:10/s:burst=0", "burst must be at least 1"),
    ("bucket:10/s:burst=-1", "burst is negative"),
    ("bucket:10/s:burst=+1", "burst takes no sign"),
    ("bucket:10/s:burst=x", "burst is not a whole number"),
    ("bucket:10/s:burst=1000000000001", "burst is above 1000000000000"),
    ("10/d:tz=Europe/Paris", "tz= is only for fixed, not for sliding"),
    ("bucket:10/d:tz=Europe/Paris", "tz= is only for fixed, not for bucket"),
    ("fixed:10/d:tz=Europe/Atlantis", "unknown time zone"),
    ("fixed:10/h:from=09:00", "from= needs a period of one day, week, month or year"),
    ("fixed:10/day:from=25:00", "from= of a day must be HH:MM, such as 09:00"),
    ("fixed:10/h:tz=Europe/Paris", "tz= needs a period of whole days, weeks, a month or a year"),
    ("fixed:10/36h:tz=Europe/Paris", "tz= needs a period of whole days, weeks, a month or a year"),
    ("10/s:start=first", "start= is only for fixed, not for sliding"),
    ("fixed:10/s:start=second", "start= must be first"),
    ("fixed:10/d:start=first:tz=Europe/Paris", "start=first and tz= exclude each other"),
    ("fixed:10/month:start=first", "start=first takes no month"),
    ("10/s:per=second", "per= must be call"),
    ("10/s:per=cost", "per=cost is only for concurrent, other limits charge the cost anyway"),
    ("concurrent:5:per=second", "per= must be cost or call"),
    ("10/s:keep=10", "keep= needs a percent sign"),
    ("10/s:keep=0%", "keep= must be above 0%"),
    ("10/s:keep=0.00%", "keep= must be above 0%"),
    ("10/s:keep=100%", "keep= must be below 100%"),
    ("10/s:keep=99999999999999999999%", "keep= must be below 100%"),
    ("10/s:keep=1.234%", "keep= has more than two decimals"),
    ("10/s:keep=1.%", "keep= is not a percentage such as 10% or 12.5%"),
    ("10/s:keep=.5%", "keep= is not a percentage such as 10% or 12.5%"),
    ("10/s:keep=-5%", "keep= is not a percentage such as 10% or 12.5%"),
    ("10/s:keep=x%", "keep= is not a percentage such as 10% or 12.5%"),
    ("unlimited:shadow", "unlimited takes no options"),
    ("unlimited:5/s", "unlimited takes no options"),
    ("concurrent", "missing ':' and count after concurrent"),
    ("concurrent:5/s", "concurrent takes no period"),
    ("concurrent:5:burst=1", "burst= is only for bucket, not for concurrent"),
    ("@", "missing policy name after '@'"),
    ("@a/b", "policy name has characters other than A-Z a-z 0-9 _ . -"),
    ("@a:shadow", "a policy takes no options here"),
    ("**", "unknown algorithm '**'"),
];

/// Where the named limit is not the whole text.
const MALFORMED_IN_LISTS: &[(&str, &str, &str)] = &[
    ("*,1/s", "*", "'*' stands alone"),
    ("1/s,*", "*", "'*' stands alone"),
    ("1/s,-1/m,x", "-1/m", "count is negative"),
    ("1/s:name=a,bucket:5/s:name=a", "bucket:5/s:name=a", "another limit has the same name"),
    ("1/s,2/s:twin=1", "2/s:twin=1", "unknown option 'twin'"),
    ("1/s,2/m,3/h,4/d,5/2s,6/3s,7/4s,8/5s,9/6s", "9/6s", "more than 8 limits"),
    ("1/s,@", "@", "missing policy name after '@'"),
];

fn error(text: &str) -> String {
    Expression::parse(text.as_bytes()).unwrap_err().to_string()
}

#[test]
fn every_refusal_has_its_reason() {
    for &(text, reason) in MALFORMED {
        let shown = floodgate::core::text::token::shown(text.as_bytes());
        // The way out stands behind the reason: see tests/server/module/newcomer_errors.rs.
        let begins = format!("invalid limit '{shown}': {reason}");
        assert!(error(text).starts_with(&begins), "{}\n{begins}", error(text));
        assert!(Limits::parse(text.as_bytes()).is_err());
    }
    for &(text, token, reason) in MALFORMED_IN_LISTS {
        let begins = format!("invalid limit '{token}': {reason}");
        assert!(error(text).starts_with(&begins), "{}\n{begins}", error(text));
    }
    assert!(MALFORMED.len() + MALFORMED_IN_LISTS.len() >= 100);
    let reasons: HashSet<&str> =
        MALFORMED.iter().map(|m| m.1).chain(MALFORMED_IN_LISTS.iter().map(|m| m.2)).collect();
    assert!(reasons.len() >= 60, "{} different reasons", reasons.len());
    assert!(error(&"x".repeat(5000)).ends_with("longer than 4096 bytes"));
}

#[test]
fn only_written_out_limits() {
    let refused = |text: &str| Limits::parse(text.as_bytes()).unwrap_err().to_string();
    assert_eq!(refused("*"), "invalid limit '*': '*' cannot stand here, write the limits out");
    assert_eq!(
        refused("1/s,@gold"),
        "invalid limit '@gold': a policy cannot stand here, write the limits out"
    );
    assert_eq!(Limits::new(vec![]), Err(LimitsError::Empty));
    assert_eq!(Limits::new(vec![Limit::unlimited(); 9]), Err(LimitsError::TooMany));
    let named = Limits::parse(b"5/m:name=a").unwrap().as_slice()[0].clone();
    let twice = Limits::new(vec![named; 2]).unwrap_err();
    assert_eq!(twice.to_string(), "another limit has the same name (5/m:name=a)");
}

#[test]
fn limits_that_count_alike_own_a_usage_each() {
    let alone = parse("100/m");
    let tried = parse("50/m:shadow,100/60s");
    let (shadow, enforced) = (&tried.as_slice()[0], &tried.as_slice()[1]);
    assert!(!shadow.same_identity(enforced));
    // The enforced one goes on where one stood alone, wherever it is written.
    assert!(enforced.same_identity(&alone.as_slice()[0]));
    assert!(!shadow.same_identity(&alone.as_slice()[0]));
    let turned = parse("100/m,50/m:shadow");
    assert!(turned.as_slice()[1].same_identity(shadow));
    // Else the order decides.
    let three = parse("5/s,6/s,7/s:per=call");
    assert!(three.as_slice()[0].same_identity(&parse("9/s").as_slice()[0]));
    assert!(!three.as_slice()[1].same_identity(&three.as_slice()[0]));
    assert!(three.as_slice()[2].same_identity(&parse("9/s:per=call").as_slice()[0]));
    // The place among those that count alike is nobody's to write, but is kept.
    assert_eq!(shadow.canonical(), "50/m:shadow");
    assert_eq!(&Limit::parse_stored(shadow.stored().as_bytes()).unwrap(), shadow);
    assert!(Limit::parse_stored(b"5/m:twin=256").is_err());
    assert!(Limit::parse_stored(b"@gold").is_err());
}

#[test]
fn expressions() {
    assert_eq!(Expression::parse(b"*"), Ok(Expression::ServerChosen));
    let Ok(Expression::Terms(terms)) = Expression::parse(b"@Gold-1,10/s") else { panic!("no terms") };
    assert!(matches!(&terms[0], Term::Policy(name) if name.as_str() == "Gold-1"));
    assert!(matches!(&terms[1], Term::Limit(limit) if limit.capacity() == Some(10)));
}

#[test]
fn canonical_texts() {
    for (text, canonical) in [
        ("100/minute", "100/m"),
        ("SLIDING:100/60sec", "100/m"),
        ("0100/5min", "100/5m"),
        ("100/1000ms", "100/s"),
        ("100/1ms", "100/ms"),
        ("100/90s", "100/90s"),
        ("100/11s", "100/11s"),
        ("100/w", "100/7d"),
        ("Bucket:10/Second:Burst=50", "bucket:10/s:burst=50"),
        ("bucket:10/s:burst=10", "bucket:10/s"),
        ("fixed:1000/24h:tz=europe/paris", "fixed:1000/d:tz=Europe/Paris"),
        ("fixed:1000/day:tz=utc", "fixed:1000/d"),
        ("fixed:1/month:tz=UTC", "fixed:1/month"),
        ("fixed:5/1week", "fixed:5/w"),
        ("fixed:5/2weeks", "fixed:5/2w"),
        ("fixed:5/7d", "fixed:5/7d"),
        ("fixed:5/1w:start=First", "fixed:5/7d:start=first"),
        ("fixed:5/1Month:tz=America/New_York", "fixed:5/month:tz=America/New_York"),
        ("concurrent:20:keep=010.50%", "concurrent:20:keep=10.5%"),
        ("concurrent:20:per=call", "concurrent:20"),
        ("concurrent:20:name=x:PER=Cost", "concurrent:20:per=cost:name=x"),
        ("5/s:shadow:keep=0.05%:PER=Call:name=Ab.c", "5/s:per=call:keep=0.05%:shadow:name=Ab.c"),
        ("UNLIMITED", "unlimited"),
        ("10/s,1000/h", "10/s,1000/h"),
    ] {
        assert_eq!(parse(text).canonical(), canonical);
        assert_eq!(parse(canonical), parse(text));
    }
}

#[test]
fn identity_and_names() {
    let same = |a: &str, b: &str| parse(a).as_slice()[0].same_identity(&parse(b).as_slice()[0]);
    assert!(same("5/s", "9/1000ms:shadow:keep=5%"));
    assert!(same("bucket:5/s", "bucket:6/s:burst=50"));
    assert!(same("fixed:5/d", "fixed:6/24h"));
    assert!(same("5/s:name=a", "bucket:9/h:per=call:name=a"));
    assert!(!same("5/s:name=a", "5/s:name=A"));
    assert!(!same("5/s:name=a", "5/s"));
    assert!(!same("5/s", "5/m"));
    assert!(!same("5/s", "5/s:per=call"));
    assert!(same("concurrent:20", "concurrent:9:per=call"));
    assert!(same("concurrent:20:per=cost", "concurrent:9:per=cost:keep=10%"));
    assert!(!same("concurrent:20", "concurrent:20:per=cost"));
    assert!(!same("5/s", "bucket:5/s"));
    assert!(!same("fixed:5/d", "fixed:5/d:start=first"));
    assert!(!same("fixed:5/d", "fixed:5/d:tz=Europe/Paris"));
    assert!(!same("fixed:5/d:tz=Europe/Berlin", "fixed:5/d:tz=Europe/Paris"));
    assert!(!same("fixed:5/w", "fixed:5/7d"));
    let label = |text: &str| parse(text).as_slice()[0].label().into_owned();
    assert_eq!(label("100/minute"), "100/m");
    assert_eq!(label("bucket:10/s:burst=50"), "bucket:10/s");
    assert_eq!(label("fixed:5/d:tz=Europe/Paris:name=Day"), "Day");
    let limits = parse("fixed:5/month,concurrent:3,unlimited,bucket:5/s:burst=7");
    let periods: Vec<Option<u64>> = limits.as_slice().iter().map(Limit::period_us).collect();
    assert_eq!(periods, [Some(31 * crate::checked_limiter::DAY), None, None, Some(1_000_000)]);
    let capacities: Vec<Option<u64>> = limits.as_slice().iter().map(Limit::capacity).collect();
    assert_eq!(capacities, [Some(5), Some(3), None, Some(7)]);
    assert!(limits.has_concurrent() && !limits.has_throttle());
}

/// Any limit that users can write, in any spelling.
fn limit_text() -> impl Strategy<Value = String> {
    let period =
        (1u64..=100, prop::sample::select(vec!["ms", "S", "sec", "m", "Min", "h", "hours", "d", "day"]))
            .prop_map(|(n, unit)| format!("{n}{unit}"));
    let fixed_period = prop_oneof![
        3 => period.clone(),
        1 => (1u64..=52).prop_map(|n| format!("{n}w")),
        1 => Just("month".to_owned()),
    ];
    let count = prop_oneof![1u64..2000, 1u64..=1_000_000_000_000];
    let head = prop_oneof![
        (count.clone(), period.clone()).prop_map(|(c, p)| format!("{c}/{p}")),
        (count.clone(), period.clone()).prop_map(|(c, p)| format!("bucket:{c}/{p}")),
        (count.clone(), period.clone(), count.clone())
            .prop_map(|(c, p, b)| format!("bucket:{c}/{p}:burst={b}")),
        (count.clone(), fixed_period).prop_map(|(c, p)| format!("fixed:{c}/{p}")),
        (count.clone(), period).prop_map(|(c, p)| format!("fixed:{c}/{p}:start=first")),
        (
            count.clone(),
            1u64..=52,
            prop::sample::select(vec!["d", "w", "month"]),
            prop::sample::select(vec![
                "Europe/Paris",
                "america/new_york",
                "UTC",
                "Etc/GMT+5",
                "Asia/Kathmandu"
            ])
        )
            .prop_map(|(c, n, unit, tz)| {
                if unit == "month" {
                    format!("fixed:{c}/month:tz={tz}")
                } else {
                    format!("fixed:{c}/{n}{unit}:tz={tz}")
                }
            }),
        count.prop_map(|c| format!("concurrent:{c}")),
    ];
    (head, prop::option::of(1u16..10_000), any::<(bool, bool)>(), prop::option::of("[A-Za-z0-9_.-]{1,64}"))
        .prop_map(|(mut text, keep, (call, shadow), name)| {
            if let Some(keep) = keep {
                text += &format!(":keep={}.{:02}%", keep / 100, keep % 100);
            }
            let per = if text.starts_with("concurrent") { ":per=cost" } else { ":per=call" };
            text += if call { per } else { "" };
            text += if shadow { ":Shadow" } else { "" };
            text + &name.map_or(String::new(), |name| format!(":name={name}"))
        })
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn canonical_round_trip(texts in prop::collection::vec(limit_text(), 1..=8)) {
        let limits: Vec<Limit> = texts.iter().map(|text| parse(text).as_slice()[0].clone()).collect();
        if let Ok(limits) = Limits::new(limits) {
            let text = limits.canonical();
            prop_assert!(text.len() <= 4096);
            prop_assert_eq!(&Limits::parse(text.as_bytes()).unwrap(), &limits);
            prop_assert_eq!(&Limits::parse_stored(text.as_bytes()).unwrap(), &limits);
            for limit in limits.as_slice() {
                let stored = limit.stored();
                prop_assert_eq!(&Limit::parse_stored(stored.as_bytes()).unwrap(), limit);
            }
            let as_written = texts.join(",");
            prop_assert_eq!(Limits::parse(as_written.as_bytes()), Ok(limits));
        } else {
            prop_assert!(Limits::parse(texts.join(",").as_bytes()).is_err());
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop_oneof![
        prop::collection::vec(any::<u8>(), 0..100),
        "[a-z0-9/:=%,@*.+-]{0,40}".prop_map(String::into_bytes),
        (limit_text(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(text, at, byte)| {
            let mut bytes = text.into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes
        }),
    ]) {
        if let Ok(limits) = Limits::parse(&bytes) {
            prop_assert_eq!(Limits::parse(limits.canonical().as_bytes()), Ok(limits));
        }
        if let Err(why) = Expression::parse(&bytes) {
            let text = why.to_string();
            prop_assert!(text.bytes().all(|b| b.is_ascii_graphic() || b == b' '));
            prop_assert!(text.len() < 400);
        }
    }
}
