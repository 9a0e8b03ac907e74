//! Figures of the last minute, and the alerts that they start and end, against a
//! model that keeps every event and looks at each of them anew.

use crate::models::alerts::{Event, MinuteModel};
use floodgate::core::stats::alerts::heaviest::{HeaviestKeys, KEYS, LONGEST};
use floodgate::core::stats::alerts::{
    AlertKind, AlertTally, AlertTransition, Blamed, ENOUGH, EndedCalls, Figure, History, KINDS, REMEMBERED,
    RollingMinute, Thresholds,
};
use floodgate::core::time::Micros;
use proptest::prelude::*;
use std::collections::BTreeMap;

const SECOND: u64 = 1_000_000;
const START: u64 = 1_800_000_000 * SECOND;
const THRESHOLDS: Thresholds = Thresholds {
    error_rate: 5,
    queue: 80,
    breaker_openings: 3,
    breaker_open: 60,
    response_time: 500,
    batch_failures: 10,
    stall: 100,
};

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (any::<bool>(), 1..2000u64, prop::option::of(0..2 * SECOND))
            .prop_map(|(failed, count, us)| Event::Results { failed, count, us }),
        (0..100 * SECOND).prop_map(|before| Event::Opened { before }),
        any::<bool>().prop_map(|denied| Event::Item { denied }),
    ]
}

/// What the clock does before an event.
#[derive(Clone, Copy, Debug)]
enum ClockStep {
    Stands,
    On(u64),
    Back(u64),
}

fn clock_step() -> impl Strategy<Value = ClockStep> {
    (0u64..8 * SECOND, 0u8..40).prop_map(|(step, jump)| match jump {
        0 => ClockStep::Back(step * 10),
        1 => ClockStep::On(step * 10),
        2..=10 => ClockStep::Stands,
        _ => ClockStep::On(step / 10),
    })
}

fn tell(minute: &mut RollingMinute, now: u64, key: u8, event: Event) {
    let (now, name) = (Micros(now), [b'k', key]);
    match event {
        Event::Results { failed, count, us } => {
            minute.ended(now, &name, EndedCalls { count, failed, duration_us: us });
        }
        Event::Opened { before } => minute.opened(now, now.minus(before), &name),
        Event::Item { denied } => {
            minute.items(now, 1);
            if denied {
                minute.item_denied(now, &name);
            }
        }
    }
}

const ALL_BLAMED: [Blamed; 4] = [Blamed::Failures, Blamed::Time, Blamed::Openings, Blamed::Denials];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Events told late, in any order, by a clock that steps back now and then.
    #[test]
    fn a_minute_equals_counting_anew(
        steps in prop::collection::vec((clock_step(), 0u8..12, event()), 1..150),
    ) {
        let (mut minute, mut model) = (RollingMinute::default(), MinuteModel::default());
        let (mut now, mut stepped_back) = (START, false);
        for (step, key, event) in steps {
            match step {
                ClockStep::Stands => {}
                ClockStep::On(us) => now += us,
                ClockStep::Back(us) => {
                    now -= us;
                    stepped_back = true;
                }
            }
            model.step_back(now);
            tell(&mut minute, now, key, event);
            model.add(now, key, event);
            let at = Micros(now);
            prop_assert_eq!(minute.sum(at), model.sum(now));
            for of in ALL_BLAMED {
                // Never more keys in a second than are told apart: exact. A clock that
                // steps back puts seconds together, and may lose the name of one.
                let blamed = model.blamed(now, of).map(|key| vec![b'k', key]);
                let named = minute.blamed(at, of).map(<[u8]>::to_vec);
                prop_assert!(named == blamed || stepped_back && named.is_none(), "{:?}: {:?}", of, named);
            }
            // And it is what will be found later, when nothing comes any more.
            for later in [SECOND, 30 * SECOND, 60 * SECOND] {
                prop_assert_eq!(minute.sum(at.plus(later)), model.sum(now + later));
            }
        }
    }

    /// What is older than a minute is gone, what is younger than 59 seconds is there.
    #[test]
    fn a_minute_holds_what_is_young_and_nothing_old(
        steps in prop::collection::vec(0u64..20 * SECOND, 1..100),
    ) {
        let mut minute = RollingMinute::default();
        let mut times = Vec::new();
        let mut now = START;
        for step in steps {
            now += step;
            minute.items(Micros(now), 1);
            times.push(now);
            let within = |us: u64| times.iter().filter(|&&at| now - at < us).count() as u64;
            let sum = minute.sum(Micros(now)).items;
            prop_assert!(within(59 * SECOND) <= sum && sum <= within(60 * SECOND));
        }
    }

    /// With any number of keys: whoever is named has more than half, and whoever has
    /// much more than half is named.
    #[test]
    fn only_who_surely_has_most_is_named(
        events in prop::collection::vec((0u16..300, 1u64..50), 1..400),
        guilty in 0u64..20_000,
        at in 0usize..400,
    ) {
        let (mut minute, mut weights) = (RollingMinute::default(), BTreeMap::<u16, u64>::new());
        let mut all = events;
        all.insert(at.min(all.len()), (9999, guilty));
        for (key, weight) in all {
            minute.ended(Micros(START), key.to_string().as_bytes(), EndedCalls { count: weight, failed: true, duration_us: None });
            *weights.entry(key).or_default() += weight;
        }
        let total: u64 = weights.values().sum();
        let named = minute.blamed(Micros(START), Blamed::Failures).map(|name| String::from_utf8(name.to_vec()).unwrap());
        if let Some(name) = &named {
            prop_assert!(weights[&name.parse::<u16>().unwrap()] * 2 > total, "{name}");
        }
        for (key, weight) in weights {
            if weight * 2 > total + 2 * total / KEYS as u64 {
                prop_assert_eq!(named.as_deref(), Some(&*key.to_string()));
            }
        }
    }

    /// What is told of a key is never too much, and too little by a share at most.
    #[test]
    fn weights_are_bounds(events in prop::collection::vec((0u64..60, 0u64..1000), 1..300)) {
        let (mut keys, mut weights) = (HeaviestKeys::default(), BTreeMap::<u64, u64>::new());
        for (key, weight) in events {
            keys.add(key, key.to_string().as_bytes(), weight);
            *weights.entry(key).or_default() += weight;
        }
        let total: u64 = weights.values().sum();
        for (&key, &weight) in &weights {
            let told = keys.weight(key);
            prop_assert!(told <= weight && weight <= told + total / (KEYS as u64 + 1));
        }
        if let Some((key, name)) = keys.heaviest() {
            prop_assert_eq!(key.to_string().into_bytes(), name);
        }
    }
}

#[test]
fn more_than_can_be_counted_blames_nobody_and_long_names_are_not_kept() {
    let mut minute = RollingMinute::default();
    minute.ended(
        Micros(START),
        b"k",
        EndedCalls { count: u64::MAX, failed: true, duration_us: Some(u64::MAX) },
    );
    assert_eq!(minute.blamed(Micros(START), Blamed::Failures), None);
    assert_eq!(minute.sum(Micros(START)).time_us, u64::MAX);
    let mut minute = RollingMinute::default();
    minute.opened(Micros(START), Micros(START), &[b'x'; LONGEST + 1]);
    assert_eq!(minute.blamed(Micros(START), Blamed::Openings), None);
    minute.stalled(Micros(START), 70);
    minute.stalled(Micros(START + SECOND), 30);
    assert_eq!(
        (minute.sum(Micros(START + SECOND)).stall, minute.sum(Micros(START + 60 * SECOND)).stall),
        (70, 30)
    );
}

/// A figure for one kind, nothing for the others.
fn only(kind: AlertKind, figure: Figure) -> impl Fn(AlertKind) -> Figure {
    move |of| if of == kind { figure } else { Figure::Is(0) }
}

fn look(history: &mut History, at: u64, kind: AlertKind, figure: Figure) -> Vec<AlertTransition> {
    history.check(Micros(at), only(kind, figure), &THRESHOLDS, |_| Some(b"k".to_vec()))
}

#[test]
fn figures_of_a_minute() {
    let tally = AlertTally {
        results: 200,
        failures: 13,
        items: 10,
        items_denied: 3,
        openings: 4,
        timed: 10,
        time_us: 5_009_999,
        stall: 77,
    };
    let expected = [
        (AlertKind::ErrorRate, Some(Figure::Is(6))),
        (AlertKind::Queue, None),
        (AlertKind::BreakerOpenings, Some(Figure::Is(4))),
        (AlertKind::BreakerOpen, None),
        (AlertKind::ResponseTime, Some(Figure::Is(500))),
        (AlertKind::BatchFailures, Some(Figure::Is(30))),
        (AlertKind::Stall, Some(Figure::Is(77))),
    ];
    assert_eq!(KINDS.map(|kind| (kind, Figure::of(kind, &tally))), expected);
    let few = AlertTally {
        results: ENOUGH - 1,
        failures: 1,
        items: 1,
        items_denied: 1,
        timed: 1,
        ..AlertTally::default()
    };
    for kind in [AlertKind::ErrorRate, AlertKind::ResponseTime, AlertKind::BatchFailures] {
        assert_eq!(Figure::of(kind, &few), Some(Figure::TooFew));
        assert_eq!(Figure::of(kind, &AlertTally::default()), Some(Figure::TooFew));
    }
    let most = AlertTally { results: u64::MAX, failures: u64::MAX, ..AlertTally::default() };
    assert_eq!(Figure::of(AlertKind::ErrorRate, &most), Some(Figure::Is(100)));
}

#[test]
fn each_starts_at_its_threshold_and_ends_once_after_a_minute_below() {
    for kind in KINDS {
        let mut history = History::default();
        let threshold = THRESHOLDS.of(kind);
        let (high, low) = (Figure::Is(threshold), Figure::Is(threshold - 1));
        assert_eq!(look(&mut history, START, kind, low), []);
        let started = look(&mut history, START + 1, kind, high);
        let [AlertTransition::Starts(alert)] = &started[..] else { panic!("{kind:?}: {started:?}") };
        assert_eq!(
            (alert.kind, alert.value, alert.started.0, alert.ended),
            (kind, threshold, START + 1, None)
        );
        assert_eq!(look(&mut history, START + 2, kind, Figure::Is(threshold + 7)), []);
        // Below for a moment, and again.
        for second in 1..60 {
            assert_eq!(look(&mut history, START + second * SECOND, kind, low), []);
        }
        assert_eq!(look(&mut history, START + 60 * SECOND, kind, high), []);
        let below = START + 61 * SECOND;
        assert_eq!(look(&mut history, below, kind, low), []);
        assert_eq!(look(&mut history, below + 60 * SECOND - 1, kind, low), []);
        let ended = look(&mut history, below + 60 * SECOND, kind, low);
        let [AlertTransition::Ends(alert)] = &ended[..] else { panic!("{kind:?}: {ended:?}") };
        assert_eq!((alert.peak, alert.ended), (threshold + 7, Some(Micros(below + 60 * SECOND))));
        assert_eq!(look(&mut history, below + 61 * SECOND, kind, Figure::Is(0)), []);
        assert_eq!(look(&mut history, below + 62 * SECOND, kind, high).len(), 1);
    }
}

#[test]
fn too_few_events_neither_start_nor_end_until_ten_minutes_of_that() {
    let kind = AlertKind::ErrorRate;
    let mut history = History::default();
    assert_eq!(look(&mut history, START, kind, Figure::TooFew), []);
    assert_eq!(look(&mut history, START, kind, Figure::Is(100)).len(), 1);
    // Sometimes too few, sometimes bad, for an hour: one start.
    for second in 1..3600 {
        let figure = if second % 500 == 0 { Figure::Is(100) } else { Figure::TooFew };
        assert_eq!(look(&mut history, START + second * SECOND, kind, figure), []);
    }
    let quiet = START + 3600 * SECOND;
    assert_eq!(look(&mut history, quiet - SECOND, kind, Figure::Is(100)), []);
    for second in 0..600 {
        assert_eq!(look(&mut history, quiet + second * SECOND, kind, Figure::TooFew), []);
    }
    assert_eq!(look(&mut history, quiet + 600 * SECOND, kind, Figure::TooFew).len(), 1);
    // Good and too few in turn, neither long enough: it ends all the same.
    let again = quiet + 1000 * SECOND;
    assert_eq!(look(&mut history, again, kind, Figure::Is(100)).len(), 1);
    let ended = (1..2000).find(|second| {
        let figure = if second % 30 < 15 { Figure::Is(0) } else { Figure::TooFew };
        !look(&mut history, again + second * SECOND, kind, figure).is_empty()
    });
    assert_eq!(ended, Some(660));
}

#[test]
fn zero_switches_off_at_once() {
    let off = Thresholds { error_rate: 0, ..THRESHOLDS };
    let mut history = History::default();
    assert_eq!(look(&mut history, START, AlertKind::ErrorRate, Figure::Is(100)).len(), 1);
    let figure = only(AlertKind::ErrorRate, Figure::Is(100));
    let ended = history.check(Micros(START + 1), &figure, &off, |_| None);
    assert!(matches!(&ended[..], [AlertTransition::Ends(_)]), "{ended:?}");
    assert_eq!(history.check(Micros(START + 2), &figure, &off, |_| None), []);
}

#[test]
fn a_look_back_ends_and_never_starts() {
    let mut history = History::default();
    let kind = AlertKind::BreakerOpenings;
    let back = |history: &mut History, at: u64, n: u64| {
        history.look_back(Micros(START + at * SECOND), only(kind, Figure::Is(n)), &THRESHOLDS)
    };
    assert_eq!(back(&mut history, 1, 9), []);
    assert_eq!(look(&mut history, START + 2 * SECOND, kind, Figure::Is(3)).len(), 1);
    assert_eq!(back(&mut history, 30, 9), []);
    assert_eq!(back(&mut history, 31, 0), []);
    let ended = back(&mut history, 91, 0);
    assert!(matches!(&ended[..], [AlertTransition::Ends(alert)] if alert.peak == 9), "{ended:?}");
}

#[test]
fn a_clock_that_steps_back_lets_no_alert_last_for_ever() {
    let mut history = History::default();
    let kind = AlertKind::Stall;
    let hour = 3600 * SECOND;
    assert_eq!(look(&mut history, START + hour, kind, Figure::Is(200)).len(), 1);
    assert_eq!(look(&mut history, START + hour + 1, kind, Figure::Is(0)), []);
    for second in 0..60 {
        assert_eq!(look(&mut history, START + second * SECOND, kind, Figure::Is(0)), []);
    }
    let ended = look(&mut history, START + 60 * SECOND, kind, Figure::Is(0));
    let [AlertTransition::Ends(alert)] = &ended[..] else { panic!("{ended:?}") };
    assert!(alert.ended >= Some(alert.started));
}

#[test]
fn history_is_bounded_and_can_be_ended() {
    let mut history = History::default();
    let mut at = START;
    for _ in 0..250 {
        assert_eq!(look(&mut history, at, AlertKind::Stall, Figure::Is(200)).len(), 1);
        assert_eq!(look(&mut history, at + SECOND, AlertKind::Stall, Figure::Is(0)).len(), 0);
        assert_eq!(look(&mut history, at + 61 * SECOND, AlertKind::Stall, Figure::Is(0)).len(), 1);
        at += 100 * SECOND;
    }
    assert_eq!(history.recent().count(), REMEMBERED);
    assert_eq!(history.recent().next().map(|alert| alert.started.0), Some(at - 100 * SECOND));
    look(&mut history, at, AlertKind::Stall, Figure::Is(200));
    assert_eq!(history.active().count(), 1);
    let ended = history.end_all(Micros(at + 1));
    assert!(matches!(&ended[..], [AlertTransition::Ends(_)]), "{ended:?}");
    assert_eq!((history.active().count(), history.end_all(Micros(at + 2)).len()), (0, 0));
}

fn figure() -> impl Strategy<Value = Figure> {
    (0usize..3).prop_map(|at| [Figure::Is(100), Figure::Is(0), Figure::TooFew][at])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// When the alert of one kind lasts, by a plain reading of the contract.
    #[test]
    fn starts_and_ends_equal_a_plain_reading(
        spells in prop::collection::vec((figure(), 1u64..900), 1..30),
    ) {
        let mut history = History::default();
        let figures =
            spells.into_iter().flat_map(|(figure, seconds)| std::iter::repeat_n(figure, seconds as usize));
        let (mut past, mut lasts) = (Vec::new(), false);
        for (second, figure) in figures.enumerate() {
            past.push(figure);
            let lately = |seconds: usize, is: fn(&Figure) -> bool| {
                past.len() > seconds && past.iter().rev().take(seconds + 1).all(is)
            };
            let over = lately(60, |f| *f == Figure::Is(0))
                || lately(600, |f| *f == Figure::TooFew)
                || lately(659, |f| *f != Figure::Is(100));
            let now = if lasts { !over } else { figure == Figure::Is(100) };
            let transitions = look(&mut history, START + second as u64 * SECOND, AlertKind::ErrorRate, figure);
            match (lasts, now) {
                (false, true) => prop_assert!(matches!(&transitions[..], [AlertTransition::Starts(_)])),
                (true, false) => prop_assert!(matches!(&transitions[..], [AlertTransition::Ends(_)])),
                _ => prop_assert_eq!(&transitions[..], &[]),
            }
            lasts = now;
        }
    }
}
