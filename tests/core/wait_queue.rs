//! Random histories of waiting queues against a list of who stands where.

use crate::models::wait_queue::WaitQueueModel;
use floodgate::core::time::Micros;
use floodgate::core::wait_queue::{AT_ONCE, QueuePlace, WaitQueues, WaiterClass, WaiterId};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Join { key: u8, class: WaiterClass, due: Option<u64> },
    Leave { nth: usize },
    LookAt { key: u8, due: Option<u64> },
    Touch { key: u8 },
    TouchAll { even: bool },
    TakeDue { now: u64 },
    TimeIs { now: u64 },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let key = 0..4u8;
    let time = 1..20u64;
    let due = proptest::option::of(time.clone());
    let class = prop_oneof![1 => Just(WaiterClass::Critical), 2 => Just(WaiterClass::Ordinary)];
    let op = prop_oneof![
        5 => (key.clone(), class, due.clone()).prop_map(|(key, class, due)| Op::Join { key, class, due }),
        4 => (0..12usize).prop_map(|nth| Op::Leave { nth }),
        2 => (key.clone(), due).prop_map(|(key, due)| Op::LookAt { key, due }),
        1 => key.prop_map(|key| Op::Touch { key }),
        1 => any::<bool>().prop_map(|even| Op::TouchAll { even }),
        3 => time.clone().prop_map(|now| Op::TakeDue { now }),
        2 => time.prop_map(|now| Op::TimeIs { now }),
    ];
    proptest::collection::vec(op, 1..80)
}

fn history(ops: &[Op]) {
    let mut queues: WaitQueues<u8, WaiterId, ()> = WaitQueues::default();
    let mut model = WaitQueueModel::default();
    for (step, op) in ops.iter().enumerate() {
        match *op {
            Op::Join { key, class, due } => {
                let due = due.map(Micros);
                model.join(key, class, due);
                assert_eq!(queues.next_id(), model.last);
                assert_eq!(queues.join(&key, model.last, class, due), model.last);
            }
            Op::Leave { nth } => {
                let all: Vec<QueuePlace> =
                    model.queues.values().flat_map(|(queue, _)| queue.clone()).collect();
                let place = all.get(nth).copied().unwrap_or((WaiterClass::Ordinary, 999));
                let key =
                    model.queues.iter().find(|(_, (queue, _))| queue.contains(&place)).map(|(at, _)| *at);
                assert_eq!(queues.leave(place.1), key.map(|key| (key, place.1)), "step {step}");
                let Some(key) = key else { continue };
                let queue = model.queues.get_mut(&key).unwrap();
                if queue.0[0] == place {
                    queue.1 = Some(AT_ONCE);
                }
                queue.0.retain(|one| *one != place);
                model.queues.retain(|_, (queue, _)| !queue.is_empty());
            }
            Op::LookAt { key, due } => {
                queues.look_at(&key, due.map(Micros));
                model.plan(key, due.map(Micros));
            }
            Op::Touch { key } => {
                assert_eq!(queues.touch(&key), model.queues.contains_key(&key));
                model.plan(key, Some(AT_ONCE));
            }
            Op::TouchAll { even } => {
                queues.touch_all(|key| (key % 2 == 0) == even);
                (0..4).filter(|key| (key % 2 == 0) == even).for_each(|key| model.plan(key, Some(AT_ONCE)));
            }
            Op::TakeDue { now } => {
                let due = model.queues.iter().filter_map(|(key, (_, due))| Some(((*due)?, *key)));
                let first = due.min().filter(|(due, _)| due.0 <= now);
                assert_eq!(queues.take_due(Micros(now)), first.map(|(_, key)| key), "step {step}");
                if let Some((_, key)) = first {
                    model.plan(key, None);
                }
            }
            Op::TimeIs { now } => {
                queues.time_is(Micros(now));
                if now < model.seen {
                    // By a clock that stepped back nothing is known any more.
                    (0..4).for_each(|key| model.plan(key, Some(AT_ONCE)));
                }
                model.seen = now;
            }
        }
        let next = model.queues.values().filter_map(|(_, due)| *due).min();
        assert_eq!(queues.next_due(), next, "step {step}: nothing to wait for, no alarm");
        assert_eq!(queues.waiting(), model.queues.values().map(|(queue, _)| queue.len()).sum::<usize>());
        assert_eq!(
            queues.longest().map(|(_, n)| n),
            model.queues.values().map(|(queue, _)| queue.len()).max()
        );
        for key in 0..4 {
            let queue = model.queues.get(&key).map(|(queue, _)| queue.clone()).unwrap_or_default();
            assert_eq!(queues.length(&key), queue.len());
            assert_eq!(queues.head(&key).map(|(id, _)| id), queue.first().map(|(_, id)| *id));
            compare_order(&queues, key, &queue);
        }
    }
}

/// Each newcomer stands behind those of its class and of the earlier one.
fn compare_order(queues: &WaitQueues<u8, WaiterId, ()>, key: u8, queue: &[QueuePlace]) {
    let firsts = [WaiterClass::Critical, WaiterClass::Ordinary].map(|class| {
        let ahead = || queue.iter().filter(move |(other, _)| *other <= class).copied();
        assert!(queues.ahead_of(&key, class, None).map(|(place, _)| place).eq(ahead()));
        for after in ahead() {
            let behind = ahead().filter(|place| *place > after);
            assert!(queues.ahead_of(&key, class, Some(after)).map(|(place, _)| place).eq(behind));
        }
        queue.iter().find(|(other, _)| *other == class).map(|(_, id)| *id)
    });
    assert!(queues.fronts(&key).copied().eq(firsts.into_iter().flatten()));
}

proptest! {
    #![proptest_config(crate::checked_limiter::cases())]

    #[test]
    fn everybody_stands_where_they_came(ops in ops()) {
        history(&ops);
    }
}
