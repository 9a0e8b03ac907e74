//! The slots of a cluster, as the server computes them.

use floodgate::server::cluster_slot::{SLOTS, hash_tag, numbers, slot, slot_of, tag_in_slot_of};
use std::collections::HashSet;

#[test]
fn a_tag_is_in_the_slot_of_its_key() {
    for key in ["user:42", "{a}b", "x{a}b{c}", "a{b", "a}b", "{}a", "{}", "", "}{a}", "{a}}", "{{a}b"] {
        let tag = tag_in_slot_of(key.as_bytes());
        let name = [b"{", &*tag, b"}waits"].concat();
        assert_eq!(hash_tag(&name), Some(&*tag), "{key}");
        assert_eq!(slot_of(&name), slot_of(key.as_bytes()), "{key}");
    }
    assert_eq!(&*tag_in_slot_of(b"x{a}b"), b"a");
}

/// As CLUSTER KEYSLOT says.
#[test]
fn slots_are_those_of_the_server() {
    assert_eq!([slot(b""), slot(b"foo"), slot(b"user:42")], [0, 12_182, 15_880]);
}

#[test]
fn each_slot_has_a_number() {
    let slots: HashSet<u16> = numbers().take(500_000).map(|tag| slot(tag.as_bytes())).collect();
    assert_eq!(slots.len(), usize::from(SLOTS));
}
