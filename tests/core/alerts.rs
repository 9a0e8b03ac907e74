//! Figures of the last minute, and the alerts that they start and end.

use floodgate::core::stats::alerts::{
    AlertKind, AlertTally, AlertTransition, ENOUGH, History, KINDS, MajorityVote, REMEMBERED, RollingMinute,
    Thresholds,
};
use floodgate::core::time::Micros;
use proptest::prelude::*;

const SECOND: u64 = 1_000_000;
const THRESHOLDS: Thresholds = Thresholds {
    error_rate: 5,
    queue: 80,
    breaker_openings: 3,
    response_time: 500,
    batch_failures: 10,
    latency: 100,
};

proptest! {
    #[test]
    fn a_minute_holds_what_is_young_and_nothing_old(
        steps in prop::collection::vec(0u64..20_000_000, 1..200),
    ) {
        let mut minute = RollingMinute::default();
        let mut times = Vec::new();
        let mut now = 1_800_000_000 * SECOND;
        for step in steps {
            now += step;
            minute.at(Micros(now)).openings += 1;
            times.push(now);
            let within = |us: u64| times.iter().filter(|&&at| now - at < us).count() as u64;
            let sum = minute.sum(Micros(now)).openings;
            prop_assert!(within(55 * SECOND) <= sum && sum <= within(60 * SECOND));
        }
    }
}

#[test]
fn a_clock_that_steps_back_starts_a_new_minute() {
    let mut minute = RollingMinute::default();
    minute.at(Micros(1_000 * SECOND)).openings = 7;
    assert_eq!(minute.sum(Micros(500 * SECOND)).openings, 0);
    minute.at(Micros(500 * SECOND)).openings = 1;
    assert_eq!(minute.sum(Micros(501 * SECOND)).openings, 1);
}

/// A minute with a figure of exactly `value` for `kind`.
fn tally(kind: AlertKind, value: u64) -> (AlertTally, u64) {
    let mut tally = AlertTally::default();
    let mut queue = 0;
    match kind {
        AlertKind::ErrorRate => (tally.results, tally.failures) = (100, value),
        AlertKind::Queue => queue = value,
        AlertKind::BreakerOpenings => tally.openings = value,
        AlertKind::ResponseTime => (tally.timed, tally.time_us) = (10, value * 10_000),
        AlertKind::BatchFailures => (tally.items, tally.items_denied) = (100, value),
        AlertKind::Latency => tally.stall = value,
    }
    (tally, queue)
}

#[test]
fn each_starts_at_its_threshold_and_ends_below_once() {
    for kind in KINDS {
        let mut history = History::default();
        let mut look = |at: u64, value: u64| {
            let (tally, queue) = tally(kind, value);
            history.look(Micros(at), &tally, queue, &THRESHOLDS, |_| Some(b"k".to_vec()))
        };
        let threshold = THRESHOLDS.of(kind);
        assert_eq!(look(1, threshold - 1), []);
        let started = look(2, threshold);
        let [AlertTransition::Starts(alert)] = &started[..] else { panic!("{kind:?}: {started:?}") };
        assert_eq!((alert.kind, alert.value, alert.started, alert.ended), (kind, threshold, Micros(2), None));
        assert_eq!(look(3, threshold + 7), []);
        assert_eq!(look(4, threshold), []);
        let ended = look(5, threshold - 1);
        let [AlertTransition::Ends(alert)] = &ended[..] else { panic!("{kind:?}: {ended:?}") };
        assert_eq!((alert.peak, alert.ended), (threshold + 7, Some(Micros(5))));
        assert_eq!(look(6, 0), []);
        assert_eq!(look(7, threshold).len(), 1);
    }
}

#[test]
fn zero_switches_off_and_few_results_say_nothing() {
    let off = Thresholds {
        error_rate: 0,
        queue: 0,
        breaker_openings: 0,
        response_time: 0,
        batch_failures: 0,
        latency: 0,
    };
    let mut history = History::default();
    let mut tally = AlertTally { results: ENOUGH - 1, failures: ENOUGH - 1, ..AlertTally::default() };
    tally.items = ENOUGH - 1;
    tally.items_denied = ENOUGH - 1;
    tally.timed = ENOUGH - 1;
    tally.time_us = u64::MAX;
    assert_eq!(history.look(Micros(1), &tally, 0, &THRESHOLDS, |_| None), []);
    tally.results += 1;
    assert_eq!(history.look(Micros(1), &tally, 100, &off, |_| None), []);
    assert_eq!(history.look(Micros(1), &tally, 0, &THRESHOLDS, |_| None).len(), 1);
}

#[test]
fn history_is_bounded_and_can_be_ended() {
    let mut history = History::default();
    for round in 0..500 {
        let (tally, queue) = tally(AlertKind::Latency, if round % 2 == 0 { 200 } else { 0 });
        history.look(Micros(round), &tally, queue, &THRESHOLDS, |_| None);
    }
    assert_eq!(history.recent().count(), REMEMBERED);
    assert_eq!(history.recent().next().map(|alert| alert.started), Some(Micros(498)));
    let (tally, queue) = tally(AlertKind::Latency, 200);
    history.look(Micros(600), &tally, queue, &THRESHOLDS, |_| None);
    assert_eq!(history.lasting().count(), 1);
    history.end_all(Micros(601));
    assert_eq!(history.lasting().count(), 0);
}

proptest! {
    #[test]
    fn a_majority_is_the_suspect(noise in prop::collection::vec(0u8..50, 0..100), order: u64) {
        let mut stream: Vec<Vec<u8>> = noise.iter().map(|n| vec![b'n', *n]).collect();
        stream.extend(vec![b"guilty".to_vec(); noise.len() + 1]);
        // Any order: a cheap shuffle.
        let len = stream.len();
        for i in 0..len {
            stream.swap(i, (order as usize).wrapping_mul(i + 1) % len);
        }
        let mut suspect = MajorityVote::default();
        stream.iter().for_each(|name| suspect.blame(name, Micros(7)));
        prop_assert_eq!(suspect.name(), Some(&b"guilty"[..]));
        // A minute later it is forgotten.
        suspect.blame(b"other", Micros(7 + 60 * SECOND));
        prop_assert_eq!(suspect.name(), Some(&b"other"[..]));
    }
}
