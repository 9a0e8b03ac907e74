//! The map against a plain one, and the shape of its tree. `tests/core` has the map as a module of
//! its own, with these.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Checks that sums and first keys are right, and that no node is empty or too wide. Returns
/// the height.
fn check(node: &Summed<u32, u64>, root: bool) -> usize {
    match node {
        Summed::Leaf(row) => {
            assert!(root || !row.is_empty());
            assert!(row.len() <= WIDE && row.is_sorted_by(|a, b| a.0 < b.0));
            0
        }
        Summed::Inner(children) => {
            assert!(!children.is_empty() && children.len() <= WIDE && !(root && children.len() == 1));
            let heights: Vec<usize> = children.iter().map(|child| check(&child.node, false)).collect();
            assert!(heights.iter().all(|height| *height == heights[0]));
            for child in children.iter() {
                assert_eq!(child.sum, child.node.total());
                assert_eq!(Some(child.first), child.node.first().map(|(key, _)| *key));
            }
            heights[0] + 1
        }
    }
}

/// Calls `see` for all entries in order.
fn each(node: &Summed<u32, u64>, see: &mut impl FnMut(u32, u64)) {
    match node {
        Summed::Leaf(row) => row.iter().for_each(|(key, value)| see(*key, *value)),
        Summed::Inner(children) => children.iter().for_each(|child| each(&child.node, see)),
    }
}

fn grow(keys: impl Iterator<Item = u32>) -> Summed<u32, u64> {
    let mut ours = Summed::default();
    keys.for_each(|key| ours.insert(key, 1));
    ours
}

#[derive(Clone, Debug)]
enum Op {
    Insert(u32, u64),
    Remove(u32),
    RemoveRun(u32, u32),
    Change(u32, u64),
    Cut(u64),
    /// Goes on with a copy, while the original stays as it is.
    GoOnAsCopy,
}

fn op() -> impl Strategy<Value = Op> {
    let key = 0..400u32;
    prop_oneof![
        6 => (key.clone(), 0..9u64).prop_map(|(key, weight)| Op::Insert(key, weight)),
        2 => key.clone().prop_map(Op::Remove),
        1 => (key.clone(), 0..90u32).prop_map(|(key, run)| Op::RemoveRun(key, run)),
        2 => (key, 0..9u64).prop_map(|(key, weight)| Op::Change(key, weight)),
        1 => prop_oneof![0..9u64, 0..600u64].prop_map(Op::Cut),
        1 => Just(Op::GoOnAsCopy),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// After any operations, the map holds and sums what a plain map does.
    #[test]
    fn it_sums_what_a_plain_map_sums(
        before in prop_oneof![Just(0u32), Just(400)],
        ops in prop::collection::vec(op(), 0..150),
    ) {
        let mut ours = grow(0..before);
        let mut plain: BTreeMap<u32, u64> = (0..before).map(|key| (key, 1)).collect();
        let mut left_behind = Vec::new();
        for op in ops {
            match op {
                Op::Insert(key, weight) => {
                    ours.insert(key, weight);
                    plain.insert(key, weight);
                }
                Op::Remove(key) => prop_assert_eq!(ours.remove(&key).map(|(_, v)| v), plain.remove(&key)),
                Op::RemoveRun(key, run) => for key in key..key + run {
                    prop_assert_eq!(ours.remove(&key).map(|(_, v)| v), plain.remove(&key));
                },
                Op::Change(key, weight) => {
                    let changed = ours.change(&key, |value| *value = weight);
                    prop_assert_eq!(changed, plain.get_mut(&key).map(|there| *there = weight));
                }
                Op::Cut(weight) => {
                    let mut left = weight;
                    while let Some((&key, &there)) = plain.iter().next_back() && there <= left {
                        left -= there;
                        plain.remove(&key);
                    }
                    prop_assert_eq!(ours.cut(u128::from(weight)), u128::from(left));
                }
                Op::GoOnAsCopy => {
                    let copy = ours.clone();
                    left_behind.push((std::mem::replace(&mut ours, copy), plain.clone()));
                }
            }
            check(&ours, true);
            let mut seen = Vec::new();
            each(&ours, &mut |key, value| seen.push((key, value)));
            prop_assert!(seen.iter().copied().eq(plain.iter().map(|(key, weight)| (*key, *weight))));
            let total: u64 = plain.values().sum();
            prop_assert_eq!(ours.total(), u128::from(total));
            prop_assert_eq!(ours.is_empty(), plain.is_empty());
            prop_assert_eq!(ours.first().map(|first| first.0), plain.keys().next().copied());
            prop_assert_eq!(ours.last().map(|last| last.0), plain.keys().next_back().copied());
            let entries = ours.entries().map(|(key, value)| (*key, *value));
            prop_assert!(entries.eq(plain.iter().map(|(key, weight)| (*key, *weight))));
            for key in (0..410).step_by(37) {
                let after: u64 = plain.range(key + 1..).map(|(_, weight)| weight).sum();
                prop_assert_eq!(ours.after(&key), u128::from(after));
                prop_assert_eq!(ours.next(&key), plain.range(key + 1..).next().map(|(key, _)| *key));
                prop_assert_eq!(ours.get(&key).map(|(_, v)| *v), plain.get(&key).copied());
                prop_assert_eq!(ours.get_mut(&key).map(|v| *v), plain.get(&key).copied());
            }
            for wanted in [0, 1, total / 2, total, total + 1] {
                let mut sum = 0;
                let reached = plain.iter().find(|(_, weight)| { sum += **weight; sum >= wanted });
                prop_assert_eq!(ours.reached(u128::from(wanted)), reached.map(|(key, _)| *key));
            }
        }
        for (ours, plain) in left_behind {
            check(&ours, true);
            let mut seen = Vec::new();
            each(&ours, &mut |key, value| seen.push((key, value)));
            prop_assert!(seen.iter().copied().eq(plain.iter().map(|(key, weight)| (*key, *weight))));
        }
    }
}

/// The number of nodes that only one map has.
fn unshared(node: &Summed<u32, u64>) -> usize {
    let Summed::Inner(children) = node else { return 0 };
    let own = children.iter().filter(|child| Arc::strong_count(&child.node) == 1);
    own.map(|child| 1 + unshared(&child.node)).sum()
}

/// A change copies only the nodes on its way, whether of the copy or of the original.
#[test]
fn a_copy_shares_what_nobody_changes() {
    let mut ours = grow(0..100_000);
    let mut copy = ours.clone();
    assert_eq!((unshared(&ours), unshared(&copy)), (0, 0));
    ours.change(&70_000, |value| *value = 2);
    copy.insert(100_000, 1);
    copy.remove(&5);
    assert!(unshared(&ours) <= 16 && unshared(&copy) <= 16, "{} {}", unshared(&ours), unshared(&copy));
    assert_eq!((ours.total(), copy.total()), (100_001, 100_000));
}

/// The tree stays low, whatever the order of insertions and removals.
#[test]
fn it_stays_low() {
    let scattered = |n: u32| n.wrapping_mul(2_654_435_761) >> 8;
    for mut ours in [grow(0..100_000), grow((0..100_000).rev()), grow((0..100_000).map(scattered))] {
        assert!(check(&ours, true) <= 4);
        assert!(ours.memory() < 100_000 * size_of::<(u32, u64)>() * 3);
        let mut keys = Vec::new();
        each(&ours, &mut |key, _| keys.push(key));
        keys.iter().filter(|key| **key % 64 > 0).for_each(|key| assert!(ours.remove(key).is_some()));
        assert!(check(&ours, true) <= 3);
        assert!(ours.memory() < 100_000 / 64 * size_of::<(u32, u64)>() * 8);
    }
}
