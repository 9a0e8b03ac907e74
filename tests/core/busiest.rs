//! The busiest keys against exact counts.

use floodgate::core::stats::heavy_hitters::{BusyPeriod, GAP_US, LONGEST, SETS, TopK, WAYS};
use floodgate::core::time::Micros;
use proptest::prelude::*;
use std::collections::HashMap;

const NOW: Micros = Micros(1_800_000_000_000_000);

fn exact(stream: &[Vec<u8>]) -> HashMap<&[u8], u64> {
    let mut counts = HashMap::new();
    for key in stream {
        *counts.entry(&**key).or_insert(0) += 1;
    }
    counts
}

fn counted(seed: usize, stream: &[Vec<u8>]) -> TopK {
    let mut busiest = TopK::new(seed);
    stream.iter().for_each(|key| busiest.record(key, NOW));
    busiest
}

proptest! {
    #[test]
    fn few_keys_are_counted_exactly(
        seed: usize,
        stream in prop::collection::vec(prop::collection::vec(0u8..3, 0..3), 0..400),
    ) {
        let mut busiest = counted(seed, &stream);
        let truth = exact(&stream);
        let list = busiest.list(NOW);
        prop_assert_eq!(list.len(), truth.len());
        for busy in &list {
            prop_assert_eq!((truth[&busy.name[..]], 0), (busy.count, busy.error));
        }
        prop_assert!(list.windows(2).all(|pair| pair[0].count >= pair[1].count));
    }

    #[test]
    fn counts_are_within_the_error_however_many_keys(
        seed: usize,
        picks in prop::collection::vec((0u32..20_000, prop::bool::weighted(0.3)), 20_000),
    ) {
        // A few keys often, very many seldom.
        let stream: Vec<Vec<u8>> = picks
            .iter()
            .map(|&(n, busy)| if busy { n % 20 } else { n }.to_string().into_bytes())
            .collect();
        let mut busiest = counted(seed, &stream);
        let truth = exact(&stream);
        let list = busiest.list(NOW);
        prop_assert!(list.len() <= SETS * WAYS);
        let mut sum = 0;
        for busy in &list {
            let t = truth[&busy.name[..]];
            prop_assert!(busy.count - busy.error <= t && t <= busy.count, "{busy:?} {t}");
            sum += busy.count;
        }
        // Every event is in some count, so no set can err by more than its share.
        prop_assert_eq!(sum, stream.len() as u64);
        let top: Vec<_> = list.iter().take(20).map(|busy| &busy.name[..]).collect();
        for n in 0..20 {
            let name = n.to_string();
            prop_assert!(top.contains(&name.as_bytes()), "{name} is not among {top:?}");
        }
    }
}

#[test]
fn the_longest_names() {
    let stream = [vec![b'a'; LONGEST], vec![b'b'; LONGEST + 1], Vec::new()];
    let mut busiest = counted(1, &stream);
    let names: Vec<usize> = busiest.list(NOW).iter().map(|busy| busy.name.len()).collect();
    assert_eq!(names, [0, LONGEST]);
}

proptest! {
    /// Events of a few keys, some seconds and some minutes apart.
    #[test]
    fn spells_are_those_of_all_events(
        steps in prop::collection::vec((0u8..4, prop_oneof![0u64..5_000_000, 0u64..200_000_000]), 1..200),
    ) {
        let mut busiest = TopK::new(1);
        let mut events: HashMap<u8, Vec<u64>> = HashMap::new();
        let mut now = NOW.0;
        for (key, pause) in steps {
            now += pause;
            busiest.record(&[key], Micros(now));
            events.entry(key).or_default().push(now);
        }
        for busy in busiest.list(Micros(now)) {
            let times = &events[&busy.name[0]];
            // Backwards from now, as far as no gap is surely too long, and as far
            // as none is surely short enough: it is told to two steps of 2^20 us.
            let reach = |gap: u64| {
                let later = times.iter().skip(1).chain([&now]).collect::<Vec<_>>();
                let gaps = times.iter().zip(later).map(|(at, next)| next - at).collect::<Vec<_>>();
                gaps.iter().rev().take_while(|&&one| one <= gap).count()
            };
            let (most, least) = (reach(GAP_US + (2 << 20)), reach(GAP_US));
            let count = busy.period.map_or(0, |period| period.count);
            prop_assert!((least as u64..=most as u64).contains(&count), "{busy:?} {least} {most}");
            if let Some(BusyPeriod { since, count }) = busy.period {
                prop_assert_eq!(since.0, times[times.len() - usize::try_from(count).unwrap()]);
            }
        }
    }
}
