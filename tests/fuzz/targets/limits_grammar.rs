//! Limits: any text is refused in one printable line, or is understood and
//! survives its own canonical form.

#![no_main]

use floodgate::core::limits::{Expression, Limits, MAX_LIMITS};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    if let Err(refused) = Expression::parse(text) {
        let line = refused.to_string();
        assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{line:?}");
        assert!(line.len() < 700 && line.starts_with("invalid limit '"), "{line:?}");
    }
    for parse in [Limits::parse, Limits::parse_stored] {
        if let Ok(limits) = parse(text) {
            assert!((1..=MAX_LIMITS).contains(&limits.as_slice().len()));
            let canonical = limits.canonical();
            let again = Limits::parse_stored(canonical.as_bytes());
            assert_eq!(again.as_ref(), Ok(&limits), "{canonical}");
            for limit in limits.as_slice() {
                limit.label();
            }
        }
    }
});
