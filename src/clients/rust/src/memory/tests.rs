//! What is kept, and for how long.

use std::time::{Duration, Instant};

use super::{Memory, matches};

#[test]
fn kept_until_its_time_is_over_and_no_more_than_so_many() {
    let (now, second) = (Instant::now(), Duration::from_secs(1));
    let mut memory = Memory::new(2);
    memory.set("a", "1".into(), None, now);
    memory.set("b", "2".into(), Some(second), now);
    assert_eq!((memory.get("a", now), memory.ttl("a", now)), (Some("1"), Some(Duration::MAX)));
    assert_eq!((memory.get("b", now), memory.ttl("b", now)), (Some("2"), Some(second)));
    assert_eq!((memory.get("b", now + second), memory.ttl("b", now + second)), (None, None));
    // What is set anew is new.
    memory.set("a", "3".into(), None, now);
    memory.set("c", "4".into(), None, now);
    assert_eq!(["a", "b", "c"].map(|key| memory.get(key, now)), [Some("3"), None, Some("4")]);
    assert_eq!([memory.delete("a", now), memory.delete("a", now)], [true, false]);
    memory.set("user:1", "5".into(), None, now);
    assert_eq!([memory.clear("user:*", now), memory.clear("*", now)], [1, 1]);
    memory.set("a", "6".into(), Some(second), now);
    assert_eq!(memory.clear("*", now + second), 0);
    // For as long as one outage lasts.
    for (outage, kept) in [(Some(1), None), (Some(1), Some("7")), (Some(2), None), (None, None), (None, None)]
    {
        memory.lasts(outage);
        assert_eq!(memory.get("a", now), kept, "{outage:?}");
        memory.set("a", "7".into(), None, now);
    }
}

#[test]
fn keys_match_as_those_of_redis() {
    for (pattern, key, expected) in [
        ("*", "", true),
        ("*", "a\nb", true),
        ("user:*", "user:1", true),
        ("user:*", "users", false),
        ("a?c", "abc", true),
        ("a?c", "ac", false),
        ("a*c*e", "abcde", true),
        ("a*c*e", "abcd", false),
        ("[ab]1", "b1", true),
        ("\\*", "*", true),
        ("\\*", "a", false),
        ("", "a", false),
    ] {
        let letters = |text: &str| text.chars().collect::<Vec<_>>();
        assert_eq!(matches(&letters(pattern), &letters(key)), expected, "{pattern} {key}");
    }
}
