//! Usage against a model that keeps every event and counts anew each time.

use floodgate::core::text::duration::{DAY, HOUR};
use floodgate::core::time::Micros;
use floodgate::core::usage::{Decided, Durations, SeriesPeriod, Spend, UsageSeries, UsageTally, WorkOutcome};
use floodgate::core::wire::Reader;
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Event {
    Decided(Decided),
    Outcome(WorkOutcome),
}

impl Event {
    fn tally(&self) -> UsageTally {
        match self {
            Self::Decided(decided) => UsageTally::of_decision(*decided),
            Self::Outcome(outcome) => UsageTally::of_outcome(outcome),
        }
    }
}

/// Every event with the time under which it is counted.
#[derive(Default)]
struct Model(Vec<(u64, Event)>);

impl Model {
    fn add(&mut self, now: u64, event: Event) {
        self.step_back(now);
        // What is older than 30 days is of interest to the total alone.
        self.0.push((now, event));
    }

    /// What was counted in a future that did not come is counted now.
    fn step_back(&mut self, now: u64) {
        for (at, _) in &mut self.0 {
            *at = (*at).min(now);
        }
    }

    fn sum(&self, within: impl Fn(u64) -> bool) -> UsageTally {
        let mut sum = UsageTally::default();
        self.0.iter().filter(|(at, _)| within(*at)).for_each(|(_, event)| sum.add(&event.tally()));
        sum
    }
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0..100_u64, 0..100_u64).prop_map(|(granted, denied)| Event::Decided(Decided { granted, denied })),
        (
            any::<bool>(),
            any::<bool>(),
            1..50_u64,
            0..u128::from(u64::MAX),
            prop::option::of(0..10_000_000_u64)
        )
            .prop_map(|(ok, cached, count, spend, duration_ms)| {
                Event::Outcome(WorkOutcome { ok, cached, count, spend: Spend(spend), duration_ms })
            }),
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
        let mut model = Model::default();
        let mut latest = now;
        for (step, event) in events {
            now = now.saturating_add_signed(step);
            match event {
                Event::Decided(decided) => usage.decided(Micros(now), decided),
                Event::Outcome(outcome) => usage.record(Micros(now), &outcome),
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

    #[test]
    fn spend_is_exact(units in 0..1_000_000_000_000_u64, nanos in 0..1_000_000_000_u64) {
        let text = format!("{units}.{nanos:09}");
        let spend = Spend::parse(text.as_bytes()).unwrap();
        prop_assert_eq!(spend.0, u128::from(units) * 1_000_000_000 + u128::from(nanos));
        prop_assert_eq!(Spend::parse(spend.to_string().as_bytes()).unwrap(), spend);
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

#[test]
fn spend_as_people_write_it() {
    for (text, shown) in
        [("0", "0"), (".5", "0.5"), ("0.10", "0.1"), ("12", "12"), ("0.000000001", "0.000000001")]
    {
        assert_eq!(Spend::parse(text.as_bytes()).unwrap().to_string(), shown);
    }
    let mut sum = Spend::default();
    for _ in 0..10 {
        sum = sum.plus(Spend::parse(b"0.1").unwrap());
    }
    assert_eq!(sum.to_string(), "1", "unlike binary floating point");
    for (text, reason) in [
        ("", "empty"),
        (".", "expected digits, perhaps with a point among them"),
        ("1.", "expected digits, perhaps with a point among them"),
        ("-1", "expected digits, perhaps with a point among them"),
        ("1e3", "expected digits, perhaps with a point among them"),
        ("1.0000000001", "more than nine decimals"),
        ("1000000000001", "above 1000000000000"),
        ("99999999999999999999999", "above 1000000000000"),
    ] {
        assert_eq!(Spend::parse(text.as_bytes()).unwrap_err().reason, reason, "{text}");
    }
}

#[test]
fn hours_and_days_have_their_names() {
    assert_eq!(SeriesPeriod::Hour.name(1_795_186_800 / 3600), "2026-11-20T15");
    assert_eq!(SeriesPeriod::Day.name(1_795_186_800 / 86_400), "2026-11-20");
    assert_eq!(SeriesPeriod::Day.name(0), "1970-01-01");
    assert_eq!(SeriesPeriod::Day.name(11_016), "2000-02-29");
}
