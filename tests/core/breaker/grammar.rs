//! Breakers as text.

use floodgate::core::breaker::{Breaker, Permit};
use proptest::prelude::*;

/// Malformed text and the reason that the error gives.
const MALFORMED: &[(&str, &str)] = &[
    ("", "missing trip: a number of failures, or a rate such as 50%/60s"),
    (":open=1s", "missing trip: a number of failures, or a rate such as 50%/60s"),
    ("abc", "expected a number of failures, or a rate such as 50%/60s"),
    ("%/60s", "expected a number of failures, or a rate such as 50%/60s"),
    ("-1", "expected a number of failures, or a rate such as 50%/60s"),
    (" 5", "expected a number of failures, or a rate such as 50%/60s"),
    ("5 ", "expected '/' or '%/' after the number, not ' '"),
    ("5x", "expected '/' or '%/' after the number, not 'x'"),
    ("50%60s", "expected '/' or '%/' after the number, not '%60s'"),
    ("50%%/60s", "expected '/' or '%/' after the number, not '%%/60s'"),
    ("0", "failures must be 1 to 1000000"),
    ("1000001", "failures must be 1 to 1000000"),
    ("99999999999999999999999", "failures must be 1 to 1000000"),
    ("0/60s", "failures must be 1 to 1000000"),
    ("1.5", "a number of failures has no decimals"),
    ("1.5/60s", "a number of failures has no decimals"),
    ("5/", "missing period"),
    ("50%/", "missing period"),
    ("50%", "missing period: a rate is over a period or a number of calls"),
    ("50%/60", "missing unit of the period"),
    ("5/60", "missing unit of the period"),
    ("5/fortnight", "unknown period 'fortnight'"),
    ("5/month", "unknown period 'month'"),
    ("5/60calls", "unknown period '60calls'"),
    ("50%/-1s", "unknown period '-1s'"),
    ("50%/0s", "period must be 1ms to 366d"),
    ("50%/367d", "period must be 1ms to 366d"),
    ("5/99999999999999999999d", "period must be 1ms to 366d"),
    ("0%/60s", "a percentage must be 0.01% to 100%"),
    ("0.00%/60s", "a percentage must be 0.01% to 100%"),
    ("100.01%/60s", "a percentage must be 0.01% to 100%"),
    ("99999999999999999999%/60s", "a percentage must be 0.01% to 100%"),
    ("50.%/60s", "missing decimals after the point"),
    ("50.125%/60s", "at most two decimals"),
    ("5.0.0%/60s", "at most two decimals"),
    ("5..%/60s", "malformed decimals"),
    ("5..5%/60s", "malformed decimals"),
    (".5%/60s", "'.5' is not a number"),
    ("50%/calls", "missing number of calls"),
    ("50%/0calls", "calls must be 1 to 1000"),
    ("50%/1001calls", "calls must be 1 to 1000"),
    ("5:", "empty option"),
    ("5::open=1s", "empty option"),
    ("5:open=1s:", "empty option"),
    ("5:shut=1s", "unknown option 'shut'"),
    ("5:=1s", "unknown option ''"),
    ("5:open", "missing value of open"),
    ("5:open=", "missing value of open"),
    ("5:open=1s:OPEN=2s", "open is given twice"),
    ("5:open=0", "open must be at least 1ms"),
    ("5:open=1y", "open=1y: unknown unit"),
    ("5:open=x", "open=x: expected a number with a unit, such as 30s"),
    ("5:open=367d", "open=367d: longer than 366 days"),
    ("5:lease=0s", "lease must be at least 1ms"),
    ("5:idle=0ms", "idle must be at least 1ms"),
    ("5:ramp=-1", "ramp=-1: takes no sign"),
    ("5:maxopen=0", "maxopen must be at least 1ms"),
    ("5:maxopen=30s", "maxopen is shorter than open"),
    ("5:open=2h:maxopen=1h", "maxopen is shorter than open"),
    ("5:backoff=0.99", "backoff must be 1 to 100"),
    ("5:backoff=100.01", "backoff must be 1 to 100"),
    ("5:backoff=2.", "missing decimals after the point"),
    ("5:backoff=two", "'two' is not a number"),
    ("5:backoff=1.001", "at most two decimals"),
    ("5:probes=0", "probes must be 1 to 100"),
    ("5:probes=101", "probes must be 1 to 100"),
    ("5:probes=many", "probes must be 1 to 100"),
    ("5:reporters=0", "reporters must be 1 to 8"),
    ("5:reporters=9", "reporters must be 1 to 8"),
    ("5:reporters=1.5", "reporters must be 1 to 8"),
    ("5:reporters", "missing value of reporters, as in reporters=2"),
    ("5:reporters=2:reporters=2", "reporters is given twice"),
    ("5:instances=2", "unknown option 'instances', write reporters=2"),
    ("5:min=5", "min is only for rates (P%/...)"),
    ("5/60s:min=5", "min is only for rates (P%/...)"),
    ("5:slow=1s", "slow is only for rates (P%/...)"),
    ("5/60s:slow=1s", "slow is only for rates (P%/...)"),
    ("5:slowrate=50%", "slowrate is only for rates (P%/...)"),
    ("50%/60s:slowrate=50%", "slowrate needs slow"),
    ("50%/60s:slow=1s:slowrate=50", "slowrate must be a percentage such as 50%"),
    ("50%/60s:slow=1s:slowrate=%", "missing number"),
    ("50%/60s:slow=1s:slowrate=0%", "a percentage must be 0.01% to 100%"),
    ("50%/60s:slow=0", "slow must be at least 1ms"),
    ("50%/60s:min=0", "min must be 1 to 1000000"),
    ("50%/60s:min=1000001", "min must be 1 to 1000000"),
    ("50%/10calls:min=11", "min is more than the calls in the window"),
    ("50%/5calls:reporters=6", "reporters is more than the calls in the window"),
    ("50%/60s,5", "unknown period '60s,5'"),
];

#[test]
fn malformed_text_names_itself_and_the_reason() {
    for (text, reason) in MALFORMED {
        let error = Breaker::parse(text.as_bytes()).expect_err(text).to_string();
        // The way out stands behind the reason: see tests/server/module/newcomer_errors.rs.
        let begins = format!("invalid breaker '{text}': {reason}");
        assert!(error.starts_with(&begins), "{error}\n{begins}");
    }
}

/// A duration needs a unit. What version 0.1 kept without one is milliseconds, and
/// has one when it is written again.
#[test]
fn durations_of_options_need_a_unit() {
    for option in ["open", "slow", "maxopen", "lease", "ramp", "idle"] {
        let text = |value: &str| format!("50%/60s:open=1s:{option}={value}").replace("open=1s:open", "open");
        let bare = text("3600000");
        let error = Breaker::parse(bare.as_bytes()).expect_err(&bare).to_string();
        let reason = format!("{option}=3600000: needs a unit, such as 3600000s or 3600000ms");
        assert!(error.ends_with(&reason), "{error}");
        let kept = Breaker::parse_stored(bare.as_bytes()).unwrap();
        assert_eq!(kept, Breaker::parse(text("1h").as_bytes()).unwrap());
        assert_eq!(Breaker::parse(kept.canonical().as_bytes()), Ok(kept));
        assert_eq!(Breaker::with_units(&bare), text("3600000ms"));
        assert_eq!(Breaker::with_units(&text("0")), text("0"));
    }
    assert!(Breaker::parse(b"5:ramp=0").is_ok());
    assert!(Breaker::parse_stored(b"5:open=").is_err());
}

#[test]
fn what_was_stored_is_read_although_it_can_never_open() {
    let text = "50%/5calls:reporters=6";
    let stored = Breaker::parse_stored(text.as_bytes()).unwrap();
    assert_eq!((stored.can_open(), stored.canonical()), (false, text.to_owned()));
    assert!(Breaker::parse(b"50%/6calls:reporters=6").unwrap().can_open());
}

#[test]
fn unprintable_and_long_text_is_cut() {
    let error = Breaker::parse(b"\xff\x00:open").unwrap_err().to_string();
    assert!(error.starts_with("invalid breaker '\\xff\\x00:open': "), "{error}");
    let mut text = b"5".to_vec();
    text.resize(1024, b'0');
    assert!(Breaker::parse(&text).unwrap_err().reason.starts_with("failures"));
    text.push(b'0');
    assert_eq!(Breaker::parse(&text).unwrap_err().reason, "longer than 1024 bytes");
}

#[test]
fn canonical_text_is_the_shortest() {
    for (text, canonical) in [
        ("5", "5"),
        ("005", "5"),
        ("5/60s", "5/1m"),
        ("5/MINUTE", "5/1m"),
        ("50%/60s", "50%/1m"),
        ("12.50%/week", "12.5%/7d"),
        ("0.01%/1ms", "0.01%/1ms"),
        ("100.00%/10Calls", "100%/10calls"),
        ("50%/10calls:min=10", "50%/10calls"),
        ("50%/60s:min=20:slow=1000ms", "50%/1m:slow=1s"),
        ("50%/60s:slow=1s:slowrate=100%", "50%/1m:slow=1s"),
        ("5:open=60s:backoff=1.00:maxopen=1h:probes=1:lease=60s:ramp=0:idle=24h", "5"),
        ("5:Idle=1H:BACKOFF=1.05:open=2h", "5:open=2h:backoff=1.05:idle=1h"),
        ("5:open=2h:maxopen=2h", "5:open=2h"),
        ("5:backoff=2.50:ramp=90s", "5:backoff=2.5:ramp=90s"),
        ("5:reporters=1", "5"),
        ("5/m:REPORTERS=08:idle=1h", "5/1m:idle=1h:reporters=8"),
    ] {
        let breaker = Breaker::parse(text.as_bytes()).unwrap();
        assert_eq!(breaker.canonical(), canonical, "{text}");
        assert_eq!(Breaker::parse(canonical.as_bytes()).unwrap(), breaker);
    }
}

#[test]
fn defaults_are_those_of_the_contract() {
    let breaker = Breaker::parse(b"50%/60s").unwrap();
    assert_eq!(breaker.min(), 20);
    assert_eq!((breaker.slow_us(), breaker.slowrate().hundredths()), (None, 10_000));
    assert_eq!((breaker.open_us(), breaker.maxopen_us()), (60_000_000, 3_600_000_000));
    assert_eq!((breaker.backoff().to_string().as_str(), breaker.probes()), ("1", 1));
    assert_eq!((breaker.lease_us(), breaker.ramp_us()), (60_000_000, 0));
    assert_eq!((breaker.idle_us(), breaker.reporters()), (86_400_000_000, 1));
    assert_eq!(Breaker::parse(b"50%/64calls").unwrap().min(), 64);
}

/// A length as people write it: any unit, from 1 ms to 366 days.
fn length() -> impl Strategy<Value = String> {
    prop_oneof![
        (1u64..31_622_400_000).prop_map(|n| format!("{n}ms")),
        (1u64..=8784).prop_map(|n| format!("{n}h")),
        (1u64..=52).prop_map(|n| format!("{n}Weeks")),
    ]
}

fn percentage() -> impl Strategy<Value = String> {
    prop_oneof![
        (1u32..=100).prop_map(|p| format!("{p}%")),
        (0u32..100, 1u32..100).prop_map(|(whole, rest)| format!("{whole}.{rest:02}%")),
    ]
}

prop_compose! {
    /// Any well-formed text.
    fn text()(
        kind in 0..4,
        n in 1u32..=1_000_000,
        calls in 1u32..=1000,
        rate in percentage(),
        lengths in proptest::collection::vec(length(), 5),
        given in any::<[bool; 11]>(),
        share in percentage(),
        backoff in (1u32..100, 0u32..100),
        probes in 1u32..=100,
        min in 1u32..=1_000_000,
        reporters in 1u32..=8,
    ) -> String {
        let mut text = match kind {
            0 => n.to_string(),
            1 => format!("{n}/{}", lengths[0]),
            2 => format!("{rate}/{}", lengths[0]),
            _ => format!("{rate}/{calls}CALLS"),
        };
        let mut option = |given: bool, name: &str, value: &str| if given {
            text.push_str(&[":", name, "=", value].concat());
        };
        if kind >= 2 {
            let min = if kind == 3 { min % calls + 1 } else { min };
            option(given[0], "min", &min.to_string());
            option(given[1], "slow", &lengths[1]);
            option(given[1] && given[2], "slowrate", &share);
        }
        option(given[3], "open", &lengths[2]);
        option(given[4], "maxopen", "366d");
        option(given[5], "backoff", &format!("{}.{:02}", backoff.0, backoff.1));
        option(given[6], "probes", &probes.to_string());
        option(given[7], "lease", &lengths[3]);
        option(given[8], "ramp", &lengths[4]);
        option(given[9], "idle", &lengths[1]);
        let reporters = if kind == 3 { reporters.min(calls) } else { reporters };
        option(given[10], "reporters", &reporters.to_string());
        text
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn canonical_text_parses_to_the_same_breaker(text in text()) {
        let breaker = Breaker::parse(text.as_bytes()).unwrap();
        let canonical = breaker.canonical();
        prop_assert_eq!(Breaker::parse(canonical.as_bytes()), Ok(breaker));
        prop_assert_eq!(Breaker::parse(canonical.as_bytes()).unwrap().canonical(), canonical);
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in "[0-9.%/:=,a-z ]{0,40}", noise in any::<Vec<u8>>()) {
        for text in [text.as_bytes(), &noise] {
            if let Ok(breaker) = Breaker::parse(text) {
                prop_assert_eq!(Breaker::parse(breaker.canonical().as_bytes()), Ok(breaker));
            }
        }
    }

    #[test]
    fn broken_text_is_parsed_or_refused(text in text(), at in any::<usize>(), byte in any::<u8>()) {
        let mut text = text.into_bytes();
        let at = at % text.len();
        text[at] = byte;
        if let Ok(breaker) = Breaker::parse(&text) {
            prop_assert_eq!(Breaker::parse(breaker.canonical().as_bytes()), Ok(breaker));
        }
    }

    #[test]
    fn permits_round_trip(epoch in any::<u64>(), trial in any::<u64>(), noise in "[ct0-9-]{0,12}") {
        for permit in [Permit::Closed { epoch }, Permit::Trial { epoch, trial }] {
            let text = permit.text();
            prop_assert!(text.as_bytes().is_ascii());
            prop_assert_eq!(Permit::parse(text.as_bytes()), Ok(permit));
        }
        // One text for each permit: whatever parses is what would be written.
        if let Ok(permit) = Permit::parse(noise.as_bytes()) {
            let text = permit.text();
            prop_assert_eq!(text.as_bytes(), noise.as_bytes());
        }
    }
}

#[test]
fn permits_are_short_and_foreign_ones_refused() {
    let longest = Permit::Trial { epoch: (1 << 53) - 1, trial: u64::MAX };
    assert!(longest.text().as_bytes().len() <= 40);
    assert_eq!(Permit::Closed { epoch: 7 }.text().as_bytes(), b"c-7");
    assert_eq!(Permit::Trial { epoch: 7, trial: 10 }.text().as_bytes(), b"t-7-10");
    for text in [
        "",
        "c",
        "c-",
        "c-x",
        "c-01",
        "c-1-1",
        "t-1",
        "t-1-",
        "t--1",
        "t-1-1-1",
        "C-1",
        " c-1",
        "t-1-01",
        "c--1",
        "c-99999999999999999999",
    ] {
        let error = Permit::parse(text.as_bytes()).expect_err(text).to_string();
        assert_eq!(error, format!("invalid token '{text}': CB.ACQUIRE gave no such token"));
    }
}
