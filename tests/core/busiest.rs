//! The busiest keys against exact counts.

use floodgate::core::busiest::{Busiest, LONGEST, SETS, WAYS};
use proptest::prelude::*;
use std::collections::HashMap;

fn exact(stream: &[Vec<u8>]) -> HashMap<&[u8], u64> {
    let mut counts = HashMap::new();
    for key in stream {
        *counts.entry(&**key).or_insert(0) += 1;
    }
    counts
}

fn counted(seed: usize, stream: &[Vec<u8>]) -> Busiest {
    let mut busiest = Busiest::new(seed);
    stream.iter().for_each(|key| busiest.count(key));
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
        let list = busiest.list();
        prop_assert_eq!(list.len(), truth.len());
        for busy in &list {
            prop_assert_eq!((truth[busy.name], 0), (busy.count, busy.error));
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
        let list = busiest.list();
        prop_assert!(list.len() <= SETS * WAYS);
        let mut sum = 0;
        for busy in &list {
            let t = truth[busy.name];
            prop_assert!(busy.count - busy.error <= t && t <= busy.count, "{busy:?} {t}");
            sum += busy.count;
        }
        // Every event is in some count, so no set can err by more than its share.
        prop_assert_eq!(sum, stream.len() as u64);
        let top: Vec<_> = list.iter().take(20).map(|busy| busy.name).collect();
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
    let names: Vec<usize> = busiest.list().iter().map(|busy| busy.name.len()).collect();
    assert_eq!(names, [0, LONGEST]);
}
