//! Fetching ahead changes nothing, whatever the address is.

use floodgate::core::prefetch_hint::PrefetchHint;
use floodgate::server::fast::prefetch::prefetch;

#[test]
fn no_address_is_read() {
    for start in [0, 1, 63, 64, 4_095, usize::MAX - 64, usize::MAX] {
        for bytes in [0, 1, 48, 64, 65, 4_096] {
            prefetch(PrefetchHint { start: std::ptr::without_provenance(start), bytes });
        }
    }
}

#[test]
fn what_is_fetched_stays_as_it_is() {
    let values: Vec<u64> = (0..1_000).collect();
    prefetch(PrefetchHint::of(&*values));
    assert!(values.iter().copied().eq(0..1_000));
}
