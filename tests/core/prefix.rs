//! The longest prefix, against a model that tries them all.

use floodgate::core::text::prefix::longest;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Short words over few letters: many are prefixes of each other.
fn word() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(vec![0_u8, b'a', b'b', 255]), 0..7)
}

#[derive(Clone, Debug)]
enum Step {
    Insert(Vec<u8>, u32),
    Remove(Vec<u8>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (word(), any::<u32>()).prop_map(|(word, n)| Step::Insert(word, n)),
        1 => word().prop_map(Step::Remove),
    ]
}

proptest! {
    #[test]
    fn finds_what_trying_them_all_finds(
        steps in prop::collection::vec(step(), 0..80),
        names in prop::collection::vec(word(), 1..20),
    ) {
        let mut map: BTreeMap<Box<[u8]>, u32> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Insert(prefix, n) => map.insert(prefix.into(), n),
                Step::Remove(prefix) => map.remove(&*prefix),
            };
            for name in &names {
                for fits in [|_: &u32| true, |n: &u32| n.is_multiple_of(2)] {
                    let by_trying = map
                        .iter()
                        .filter(|(prefix, n)| name.starts_with(prefix) && fits(n))
                        .max_by_key(|(prefix, _)| prefix.len())
                        .map(|(_, n)| n);
                    prop_assert_eq!(longest(&map, name, fits), by_trying);
                }
            }
        }
    }
}
