//! Usage against a model that keeps every event and counts anew each time.

use crate::models::usage::{Event, UsageModel};
use floodgate::core::text::duration::{DAY, HOUR};
use floodgate::core::time::Micros;
use floodgate::core::usage::{Decided, Durations, SeriesPeriod, Spend, UsageSeries, UsageTally, WorkOutcome};
use floodgate::core::wire::Reader;
use proptest::prelude::*;

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0..100_u64, 0..100_u64).prop_map(|(granted, denied)| Event::Decided(Decided { granted, denied })),
        (
            any::<bool>(),
            any::<bool>(),
            1..50_u64,
            -i128::from(u64::MAX)..i128::from(u64::MAX),
            prop::option::of(0..10_000_000_u64)
        )
            .prop_map(|(ok, cached, count, spend, duration_ms)| {
                Event::Outcome(WorkOutcome { ok, cached, count, spend: Spend(spend), duration_ms })
            }),
        (-200..200_i64).prop_map(Event::Corrected),
    ]
}

/// Mostly small steps, now and then a gap, and forward without losing an hour
/// that is still shown.
fn step() -> impl Strategy<Value = i64> {
    let hour = i64::try_from(HOUR).unwrap();
    prop_oneof![
        20 => 0..hour / 2,
        5 => 0..hour * 5,
        2 => 0..hour * 24 * 12,
        1 => -hour * 60..0,
    ]
}

proptest! {
    #[test]
    fn equals_counting_anew(events in prop::collection::vec((step(), event()), 1..120)) {
        let mut now = 1_795_186_800_000_000_u64;
        let mut usage = UsageSeries::new(Micros(now));
        let mut model = UsageModel::default();
        let mut latest = now;
        for (step, event) in events {
            now = now.saturating_add_signed(step);
            match event {
                Event::Decided(decided) => usage.decided(Micros(now), decided),
                Event::Outcome(outcome) => usage.record(Micros(now), &outcome),
                Event::Corrected(units) => usage.corrected(Micros(now), units),
            }
            model.add(now, event);
            latest = latest.max(now);
            prop_assert_eq!(usage.total(), &model.sum(|_| true));
            // A clock that was ahead made what was too old then go for good.
            let (hour, day) = (now / HOUR, now / DAY);
            for n in 0..24 - (latest / HOUR - hour).min(24) {
                prop_assert_eq!(usage.get(SeriesPeriod::Hour, hour - n), model.sum(|at| at / HOUR == hour - n));
            }
            for n in 0..30 - (latest / DAY - day).min(30) {
                prop_assert_eq!(usage.get(SeriesPeriod::Day, day - n), model.sum(|at| at / DAY == day - n));
            }
            // What is listed is what is not empty, in order.
            for (period, kept) in [(SeriesPeriod::Hour, 24), (SeriesPeriod::Day, 30)] {
                for n in [0, 1, 7, kept] {
                    let listed: Vec<_> = usage.newest(period, n, Micros(now)).collect();
                    let newest = period.of(Micros(now));
                    let expected: Vec<_> = (0..n)
                        .rev()
                        .map(|back| (newest - back, usage.get(period, newest - back)))
                        .filter(|(_, tally)| *tally != UsageTally::default())
                        .collect();
                    let listed: Vec<_> = listed.into_iter().map(|(number, tally)| (number, *tally)).collect();
                    prop_assert_eq!(listed, expected);
                }
            }
            let mut bytes = Vec::new();
            usage.write(&mut bytes);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(&UsageSeries::read(&mut reader).unwrap(), &usage);
            prop_assert!(reader.is_empty());
            prop_assert!(usage.memory() <= 23_000);
        }
    }

    #[test]
    fn percentiles_are_off_by_a_thirtysecond_at_most(
        mut all in prop::collection::vec(prop_oneof![0..100_u64, 0..100_000_u64, 0..30_000_000_000_u64], 1..200),
    ) {
        let mut durations = Durations::default();
        all.iter().for_each(|&ms| durations.add(ms, 1));
        all.sort_unstable();
        for percent in [50, 95, 99, 100] {
            let rank = (all.len() * percent).div_ceil(100).max(1);
            let exact = all[rank - 1];
            let told = durations.percentile(percent as u64).unwrap();
            prop_assert!(told.abs_diff(exact) * 32 <= exact, "{told} for {exact}");
            prop_assert!(exact > 31 || told == exact);
        }
    }

    /// Against arithmetic on the digits themselves: any digits, any exponent, and half
    /// to even at the twelfth decimal.
    #[test]
    fn spend_is_exact_and_rounded_half_to_even(
        whole in "[0-9]{0,14}", fraction in "[0-9]{0,30}|[0-9]{0,14}50{0,20}", sign in "[+-]?",
        exponent in prop::option::of(-40..20i64), upper: bool,
    ) {
        let mut text = format!("{sign}{whole}");
        if !fraction.is_empty() || whole.is_empty() {
            text = format!("{text}.{fraction}");
        }
        if let Some(exponent) = exponent {
            text = format!("{text}{}{exponent}", if upper { "E" } else { "e" });
        }
        let parsed = Spend::parse(text.as_bytes()).map(|spend| spend.0);
        if whole.is_empty() && fraction.is_empty() {
            prop_assert!(parsed.is_err());
            return Ok(());
        }
        match picos(&format!("{whole}{fraction}"), exponent.unwrap_or(0) - fraction.len() as i64 + 12) {
            Some(picos) if picos <= 10_i128.pow(24) => {
                let signed = if sign == "-" { -picos } else { picos };
                prop_assert_eq!(parsed.as_ref().ok(), Some(&signed), "{}", text);
                let shown = Spend(signed).to_string();
                prop_assert_eq!(Spend::parse(shown.as_bytes()).unwrap(), Spend(signed), "{}", shown);
            }
            _ => prop_assert_eq!(parsed.unwrap_err().reason, "beyond 1000000000000 either way"),
        }
    }

    /// What a program prints of a double and reads again is kept to 12 decimals.
    #[test]
    fn spend_takes_what_programs_print(number in -1e12..1e12f64, scale in 0..20i32) {
        let number = number / 10f64.powi(scale);
        for text in [format!("{number}"), format!("{number:e}"), format!("{number:.25}"), format!("{number:?}")] {
            let spend = Spend::parse(text.as_bytes()).unwrap();
            prop_assert!((spend.0 as f64 / 1e12 - number).abs() <= 1e-12 + number.abs() * 1e-15, "{text}: {spend}");
        }
    }

    #[test]
    fn spend_as_an_unsigned_number_comes_back(spend: i128) {
        prop_assert_eq!(Spend::from_zigzag(Spend(spend).zigzag()), Spend(spend));
    }

    #[test]
    fn damaged_bytes_are_refused_or_stand_for_something(at in 0..400_usize, bit in 0..8, cut in any::<bool>()) {
        let mut usage = UsageSeries::new(Micros(DAY * 20_000));
        for n in 0..40_u64 {
            let outcome = WorkOutcome { ok: n.is_multiple_of(2), cached: false, count: 1, spend: Spend(7), duration_ms: Some(n * n) };
            usage.record(Micros(DAY * 20_000 + n * HOUR), &outcome);
        }
        let mut bytes = Vec::new();
        usage.write(&mut bytes);
        let at = at % bytes.len();
        if cut { bytes.truncate(at) } else { bytes[at] ^= 1_u8 << bit }
        let mut reader = Reader::new(&bytes);
        if let Ok(read) = UsageSeries::read(&mut reader) && reader.is_empty() {
            let mut again = Vec::new();
            read.write(&mut again);
            prop_assert_eq!(again, bytes);
        }
    }
}

/// The whole number `digits`·10^`power`, rounded half to even; `None` where it is huge.
fn picos(digits: &str, power: i64) -> Option<i128> {
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some(0);
    }
    if digits.len() as i64 + power > 30 {
        return None;
    }
    if power >= 0 {
        return Some(digits.parse::<i128>().unwrap() * 10_i128.pow(power as u32));
    }
    let padded = format!("{}{digits}", "0".repeat(60));
    let (kept, beyond) = padded.split_at(padded.len() - power.unsigned_abs() as usize);
    let kept: i128 = kept.trim_start_matches('0').parse().unwrap_or(0);
    let half = format!("5{}", "0".repeat(beyond.len() - 1));
    let up = *beyond > *half || *beyond == half && kept % 2 == 1;
    Some(kept + i128::from(up))
}

#[test]
fn spend_as_people_write_it() {
    for (text, shown) in [
        ("0", "0"),
        ("-0", "0"),
        (".5", "0.5"),
        ("5.", "5"),
        ("0.10", "0.1"),
        ("12", "12"),
        ("+12", "12"),
        ("0.000000000001", "0.000000000001"),
        ("1e-07", "0.0000001"),
        ("1E-7", "0.0000001"),
        ("-0.5", "-0.5"),
        ("-1.5e2", "-150"),
        ("1e3", "1000"),
        ("0.30000000000000004", "0.3"),
        ("0.0000000000005", "0"),
        ("0.0000000000015", "0.000000000002"),
        ("0.0000000000025", "0.000000000002"),
        ("0.00000000000250000001", "0.000000000003"),
        ("-0.0000000000015", "-0.000000000002"),
        ("1000000000000", "1000000000000"),
        ("-1e12", "-1000000000000"),
        ("0e999999999999999999999999", "0"),
        ("1e-999999999999999999999999", "0"),
        ("0000000000000000000000000000000000001.25", "1.25"),
        ("0.000000000000000000000000000000000000000000000000001e50", "0.1"),
    ] {
        assert_eq!(Spend::parse(text.as_bytes()).unwrap().to_string(), shown, "{text}");
    }
    let million = [b"1".as_slice(), &b"0".repeat(1_000_000), b"e-1000000"].concat();
    assert_eq!(Spend::parse(&million).unwrap().to_string(), "1");
    let mut sum = Spend::default();
    for _ in 0..10 {
        sum = sum.plus(Spend::parse(b"0.1").unwrap());
    }
    assert_eq!(sum.to_string(), "1", "unlike binary floating point");
    for text in [
        ".", "-", "+", "1,5", "--1", "1e", "1e+", "e5", "1e5.0", "1..2", "1.2.3", "0x10", "1_000", "nan",
        "inf", " 1", "1 ",
    ] {
        let reason = Spend::parse(text.as_bytes()).unwrap_err().reason;
        assert_eq!(reason, "expected a number, such as 12, -0.5 or 1e-7", "{text}");
    }
    for text in
        ["1000000000001", "-1000000000000.5", "99999999999999999999999", "1e13", "1e999999999999999999999"]
    {
        assert_eq!(
            Spend::parse(text.as_bytes()).unwrap_err().reason,
            "beyond 1000000000000 either way",
            "{text}"
        );
    }
    assert_eq!(Spend::parse(b"").unwrap_err().reason, "empty");
}

#[test]
fn hours_and_days_have_their_names() {
    assert_eq!(SeriesPeriod::Hour.name(1_795_186_800 / 3600), "2026-11-20T15");
    assert_eq!(SeriesPeriod::Day.name(1_795_186_800 / 86_400), "2026-11-20");
    assert_eq!(SeriesPeriod::Day.name(0), "1970-01-01");
    assert_eq!(SeriesPeriod::Day.name(11_016), "2000-02-29");
}

/// What version 0.1 wrote of a key: each number as its varint, spend in nano-units.
#[test]
fn what_0_1_wrote_is_read() {
    use floodgate::core::wire::{put_u64, put_u128};
    let now = 20_000 * DAY + 5 * HOUR;
    let tally = |out: &mut Vec<u8>| {
        [7, 2, 11, 5, 3, 1, 1].into_iter().for_each(|n| put_u64(out, n));
        put_u128(out, 1_500_000_001);
    };
    let mut bytes = Vec::new();
    [now - HOUR, now].into_iter().for_each(|at| put_u64(&mut bytes, at));
    tally(&mut bytes);
    for number in [now / HOUR, now / DAY] {
        put_u64(&mut bytes, 1);
        put_u64(&mut bytes, number);
        tally(&mut bytes);
    }
    bytes.extend([0, 0]);
    let mut reader = Reader::new(&bytes);
    let usage = UsageSeries::read_of_0_1(&mut reader).unwrap();
    assert!(reader.is_empty());
    let expected = UsageTally {
        requests: 7,
        denied_requests: 2,
        granted: 11,
        denied: 5,
        used: 11,
        ok: 3,
        fail: 1,
        cached: 1,
        spend: Spend::parse(b"1.500000001").unwrap(),
    };
    assert_eq!(*usage.total(), expected);
    assert_eq!(usage.get(SeriesPeriod::Hour, now / HOUR), expected);
    assert_eq!(usage.get(SeriesPeriod::Day, now / DAY), expected);
    assert_eq!(Spend::from_nanos(u128::MAX), Spend(i128::MAX));
}
