//! Gauges that change by time, against a model that looks at every thing anew.

use floodgate::core::stats::gauge_schedule::{GaugeSchedule, GaugeStep};
use floodgate::core::time::Micros;
use proptest::prelude::*;

/// A thing that is in the first state until a moment, then in the second, and
/// whether the moment was counted.
#[derive(Clone, Copy, Debug)]
struct Thing {
    end: u64,
    counted: bool,
}

/// What happens to the things.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// One comes; it ends so long after ten microseconds ago, perhaps before it comes.
    Comes {
        ends_in: u64,
    },
    /// One of them goes; where there is none, time passes.
    Goes {
        which: usize,
        else_passes: u64,
    },
    /// The clock steps back; where it may not, time passes.
    StepsBack {
        by: u64,
    },
    Passes {
        us: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    (0u8..10, 0u64..40, 0usize..1000).prop_map(|(what, how, which)| match what {
        0..=3 => Step::Comes { ends_in: how },
        4..=5 => Step::Goes { which, else_passes: how / 4 },
        6 => Step::StepsBack { by: how },
        _ => Step::Passes { us: how / 4 },
    })
}

const ENDS: GaugeStep<2, 1> = GaugeStep { gauges: [-1, 1], counts: [1] };

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn gauges_and_counts_equal_looking_at_each(
        steps in prop::collection::vec(step(), 1..80),
        steps_back: bool,
    ) {
        let mut schedule = GaugeSchedule::<2, 1>::new();
        let (mut things, mut counts): (Vec<Thing>, u64) = (Vec::new(), 0);
        let mut now = 1000;
        schedule.advance(Micros(now), true);
        for step in steps {
            match step {
                // It may have ended before it comes, in a dump for example.
                Step::Comes { ends_in } => {
                    let end = now + ends_in - 10;
                    schedule.change([1, 0], 1);
                    schedule.plan(Micros(end), &ENDS, false);
                    things.push(Thing { end, counted: end <= now });
                }
                Step::Goes { which, .. } if !things.is_empty() => {
                    let thing = things.swap_remove(which % things.len());
                    schedule.take_back(Micros(thing.end), &ENDS);
                    schedule.change([1, 0], -1);
                }
                Step::StepsBack { by } if steps_back => now -= by,
                Step::StepsBack { by } => now += by / 4,
                Step::Goes { else_passes: us, .. } | Step::Passes { us } => now += us,
            }
            schedule.advance(Micros(now), true);
            for thing in things.iter_mut().filter(|thing| thing.end <= now && !thing.counted) {
                thing.counted = true;
                counts += 1;
            }
            let ended = things.iter().filter(|thing| thing.end <= now).count() as u64;
            prop_assert_eq!(schedule.gauges(), [things.len() as u64 - ended, ended]);
            if !steps_back {
                prop_assert_eq!(schedule.counts(), [counts]);
            }
            prop_assert!(schedule.len() <= things.len());
        }
    }
}

#[test]
fn a_clock_that_steps_back_counts_nothing_twice() {
    let mut schedule = GaugeSchedule::<2, 1>::new();
    schedule.advance(Micros(100), true);
    schedule.change([1, 0], 1);
    schedule.plan(Micros(200), &ENDS, true);
    for (now, gauges, counts) in [(199, [1, 0], 0), (200, [0, 1], 1), (150, [1, 0], 1), (300, [0, 1], 1)] {
        schedule.advance(Micros(now), true);
        assert_eq!((schedule.gauges(), schedule.counts()), (gauges, [counts]), "at {now}");
    }
    schedule.take_back(Micros(200), &ENDS);
    schedule.change([1, 0], -1);
    assert_eq!((schedule.gauges(), schedule.counts(), schedule.is_empty()), ([0, 0], [1], true));
}

#[test]
fn what_others_count_is_not_counted_later() {
    let mut schedule = GaugeSchedule::<2, 1>::new();
    schedule.plan(Micros(200), &ENDS, true);
    schedule.advance(Micros(200), false);
    schedule.advance(Micros(100), true);
    schedule.advance(Micros(300), true);
    assert_eq!(schedule.counts(), [0]);
    // Told late, but not told by anybody else.
    schedule.plan(Micros(250), &ENDS, true);
    assert_eq!(schedule.counts(), [1]);
}
