//! The pointer that knows which of three types it points to.

use floodgate::server::keys::tagged_box::{OneOf, TaggedBox};

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
