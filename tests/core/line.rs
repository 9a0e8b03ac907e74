//! Random histories of waiting lines against a list of who stands where.

use floodgate::core::time::Micros;
use floodgate::core::wait_queue::{AT_ONCE, WaitQueues, WaiterId};
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Op {
    Join { place: u8, due: Option<u64> },
    Leave { nth: usize },
    LookAt { place: u8, due: Option<u64> },
    Touch { place: u8 },
    TouchAll { even: bool },
    TakeDue { now: u64 },
    TimeIs { now: u64 },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let place = 0..4u8;
    let time = 1..20u64;
    let due = proptest::option::of(time.clone());
    let op = prop_oneof![
        5 => (place.clone(), due.clone()).prop_map(|(place, due)| Op::Join { place, due }),
        4 => (0..12usize).prop_map(|nth| Op::Leave { nth }),
        2 => (place.clone(), due).prop_map(|(place, due)| Op::LookAt { place, due }),
        1 => place.prop_map(|place| Op::Touch { place }),
        1 => any::<bool>().prop_map(|even| Op::TouchAll { even }),
        3 => time.clone().prop_map(|now| Op::TakeDue { now }),
        2 => time.prop_map(|now| Op::TimeIs { now }),
    ];
    proptest::collection::vec(op, 1..80)
}

/// Who stands in each line, and when it is to be looked at.
#[derive(Default)]
struct Model {
    lines: BTreeMap<u8, (Vec<WaiterId>, Option<Micros>)>,
    last: WaiterId,
    seen: u64,
}

impl Model {
    fn plan(&mut self, place: u8, due: Option<Micros>) {
        if let Some(line) = self.lines.get_mut(&place) {
            line.1 = due;
        }
    }
}

fn history(ops: &[Op]) {
    let mut lines: WaitQueues<u8, WaiterId, ()> = WaitQueues::default();
    let mut model = Model::default();
    for (step, op) in ops.iter().enumerate() {
        match *op {
            Op::Join { place, due } => {
                let due = due.map(Micros);
                model.last += 1;
                assert_eq!(lines.next_ticket(), model.last);
                assert_eq!(lines.join(&place, model.last, due), model.last);
                let line = model.lines.entry(place).or_default();
                if line.0.is_empty() {
                    line.1 = due;
                }
                line.0.push(model.last);
            }
            Op::Leave { nth } => {
                let all: Vec<WaiterId> = model.lines.values().flat_map(|(line, _)| line.clone()).collect();
                let ticket = all.get(nth).copied().unwrap_or(999);
                let place =
                    model.lines.iter().find(|(_, (line, _))| line.contains(&ticket)).map(|(at, _)| *at);
                assert_eq!(lines.leave(ticket), place.map(|place| (place, ticket)), "step {step}");
                let Some(place) = place else { continue };
                let line = model.lines.get_mut(&place).unwrap();
                if line.0[0] == ticket {
                    line.1 = Some(AT_ONCE);
                }
                line.0.retain(|one| *one != ticket);
                model.lines.retain(|_, (line, _)| !line.is_empty());
            }
            Op::LookAt { place, due } => {
                lines.look_at(&place, due.map(Micros));
                model.plan(place, due.map(Micros));
            }
            Op::Touch { place } => {
                assert_eq!(lines.touch(&place), model.lines.contains_key(&place));
                model.plan(place, Some(AT_ONCE));
            }
            Op::TouchAll { even } => {
                lines.touch_all(|place| (place % 2 == 0) == even);
                (0..4)
                    .filter(|place| (place % 2 == 0) == even)
                    .for_each(|place| model.plan(place, Some(AT_ONCE)));
            }
            Op::TakeDue { now } => {
                let due = model.lines.iter().filter_map(|(place, (_, due))| Some(((*due)?, *place)));
                let first = due.min().filter(|(due, _)| due.0 <= now);
                assert_eq!(lines.take_due(Micros(now)), first.map(|(_, place)| place), "step {step}");
                if let Some((_, place)) = first {
                    model.plan(place, None);
                }
            }
            Op::TimeIs { now } => {
                lines.time_is(Micros(now));
                if now < model.seen {
                    // By a clock that stepped back nothing is known any more.
                    (0..4).for_each(|place| model.plan(place, Some(AT_ONCE)));
                }
                model.seen = now;
            }
        }
        let next = model.lines.values().filter_map(|(_, due)| *due).min();
        assert_eq!(lines.next_due(), next, "step {step}: nothing to wait for, no alarm");
        assert_eq!(lines.waiting(), model.lines.values().map(|(line, _)| line.len()).sum::<usize>());
        assert_eq!(lines.longest().map(|(_, n)| n), model.lines.values().map(|(line, _)| line.len()).max());
        for place in 0..4 {
            let line = model.lines.get(&place).map(|(line, _)| line.clone()).unwrap_or_default();
            assert_eq!(lines.length(&place), line.len());
            assert_eq!(lines.head(&place).map(|(ticket, _)| ticket), line.first().copied());
            assert!(lines.after(&place, 0).map(|(ticket, _)| ticket).eq(line));
        }
    }
}

proptest! {
    #![proptest_config(crate::world::cases())]

    #[test]
    fn everybody_stands_where_they_came(ops in ops()) {
        history(&ops);
    }
}
