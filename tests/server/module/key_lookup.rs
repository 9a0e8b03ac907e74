//! What a server is told about the keys of a call, by its version and its settings.

use floodgate::server::load::key_lookup::{KeyLookup, Traits, may_ask_on_threads};

#[test]
fn only_a_cluster_with_threads_that_may_ask_is_told_the_first_key() {
    let asking = Traits { reads_steps: false, in_cluster: true, io_threads: true, may_ask_on_threads: true };
    assert_eq!(KeyLookup::of(asking), KeyLookup::FirstKey);
    for other in [
        Traits { in_cluster: false, ..asking },
        Traits { io_threads: false, ..asking },
        Traits { may_ask_on_threads: false, ..asking },
    ] {
        assert_eq!(KeyLookup::of(other), KeyLookup::Question, "{other:?}");
    }
    assert_eq!(KeyLookup::of(Traits { reads_steps: true, ..asking }), KeyLookup::Specifications);
}

#[test]
fn versions_that_may_ask_on_threads() {
    for (valkey, redis, may) in [
        (None, "6.2.14", false),
        (None, "7.0.15", false),
        (None, "8.0.2", false),
        (None, "8.2.1", true),
        (None, "255.255.255", true),
        (Some("7.2.9"), "7.2.4", false),
        (Some("8.1.1"), "7.2.4", true),
        (Some("9.1.2"), "7.2.4", false),
    ] {
        assert_eq!(may_ask_on_threads(valkey, Some(redis)), may, "{valkey:?} {redis}");
    }
}
