//! The filter of keys that have a queue, beside a plain set of their names.

use floodgate::queue::key_filter;
use floodgate::server::main_thread::StandIn;
use proptest::prelude::*;
use std::collections::HashMap;

fn name(number: usize) -> Vec<u8> {
    format!("key:{number}").into_bytes()
}

/// The number of names. So many share few of the filter's slots.
const NAMES: usize = 2_000;

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// The filter never says "no" of a name with a queue, says it of nearly all others, and of all
    /// once no queue is left.
    #[test]
    fn agrees_with_a_plain_set(steps in prop::collection::vec((0..NAMES, prop::bool::weighted(0.6)), 1..400)) {
        // The filter is one for the process, so no other test may use it meanwhile.
        let _alone = StandIn::enter();
        let mut queues: HashMap<usize, usize> = HashMap::new();
        for (number, joins) in steps {
            let count = queues.entry(number).or_default();
            if joins {
                key_filter::add(&name(number));
                *count += 1;
            } else if *count > 0 {
                key_filter::remove(&name(number));
                *count -= 1;
            }
            prop_assert!(*count == 0 || key_filter::may_contain(&name(number)));
        }
        let (mut there, mut missing, mut perhaps) = (0, 0, 0);
        for number in 0..NAMES {
            let has_queue = queues.get(&number).is_some_and(|count| *count > 0);
            let may = key_filter::may_contain(&name(number));
            prop_assert!(may || !has_queue, "{number} has a queue");
            there += usize::from(has_queue);
            missing += usize::from(!has_queue);
            perhaps += usize::from(may && !has_queue);
        }
        prop_assert!(perhaps * 100 <= missing, "{perhaps} of {missing} beside {there} queues");
        for (number, count) in queues {
            (0..count).for_each(|_| key_filter::remove(&name(number)));
        }
        prop_assert!((0..NAMES).all(|number| !key_filter::may_contain(&name(number))));
    }
}

/// One name in so many databases that a slot cannot count them.
#[test]
fn a_slot_that_is_full_says_perhaps_for_good() {
    let _alone = StandIn::enter();
    let crowded = b"in every database";
    (0..300).for_each(|_| key_filter::add(crowded));
    for _ in 0..299 {
        key_filter::remove(crowded);
        assert!(key_filter::may_contain(crowded));
    }
}
