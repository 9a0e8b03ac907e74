//! The pointer that knows which of three types it points to.

use floodgate::server::keys::tagged_box::{OneOf, TaggedBox};
use proptest::prelude::*;

type Three = TaggedBox<u64, [u64; 8], Vec<u64>>;

#[test]
fn each_type_comes_back_as_it_went_in() {
    let mut all =
        [Three::first(Box::new(7)), Three::second(Box::new([9; 8])), Three::third(Box::new(vec![1, 2]))];
    assert_eq!([0, 1, 2].map(|index| all[index].as_third().is_some()), [false, false, true]);
    for one in &mut all {
        match one.get_mut() {
            OneOf::First(n) => *n += 1,
            OneOf::Second(a) => a.fill(10),
            OneOf::Third(v) => v.push(3),
        }
    }
    let seen = all.map(|one| match one.into_inner() {
        OneOf::First(n) => *n,
        OneOf::Second(a) => a.iter().sum::<u64>(),
        OneOf::Third(v) => v.iter().sum::<u64>(),
    });
    assert_eq!(seen, [8, 80, 6]);
}

/// The plain version, and the mark beside it.
#[derive(Clone, Debug, PartialEq)]
enum Plain {
    First(u64),
    Second([u64; 8]),
    Third(Vec<u64>),
}

fn boxed(plain: Plain) -> Three {
    match plain {
        Plain::First(n) => Three::first(Box::new(n)),
        Plain::Second(all) => Three::second(Box::new(all)),
        Plain::Third(all) => Three::third(Box::new(all)),
    }
}

fn shown(one: &Three) -> Plain {
    match one.get() {
        OneOf::First(n) => Plain::First(*n),
        OneOf::Second(all) => Plain::Second(*all),
        OneOf::Third(all) => Plain::Third(all.clone()),
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(Plain),
    Mark(bool),
    Add(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let plain = prop_oneof![
        any::<u64>().prop_map(Plain::First),
        any::<[u64; 8]>().prop_map(Plain::Second),
        prop::collection::vec(any::<u64>(), 0..5).prop_map(Plain::Third),
    ];
    let step = prop_oneof![
        plain.prop_map(Step::Put),
        any::<bool>().prop_map(Step::Mark),
        any::<u64>().prop_map(Step::Add)
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #[test]
    fn holds_what_a_box_of_an_enum_holds(steps in steps()) {
        let (mut one, mut plain, mut marked) = (boxed(Plain::First(0)), Plain::First(0), false);
        for step in steps {
            match step {
                Step::Put(next) => (one, plain, marked) = (boxed(next.clone()), next, false),
                Step::Mark(mark) => {
                    one.mark(mark);
                    marked = mark;
                }
                Step::Add(n) => {
                    match one.get_mut() {
                        OneOf::First(own) => *own ^= n,
                        OneOf::Second(all) => all[3] ^= n,
                        OneOf::Third(all) => all.push(n),
                    }
                    match &mut plain {
                        Plain::First(own) => *own ^= n,
                        Plain::Second(all) => all[3] ^= n,
                        Plain::Third(all) => all.push(n),
                    }
                }
            }
            prop_assert_eq!(one.is_marked(), marked);
            prop_assert_eq!(one.as_third().is_some(), matches!(plain, Plain::Third(_)));
            prop_assert_eq!(shown(&one), plain.clone());
        }
    }
}
