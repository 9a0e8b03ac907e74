//! Breakers and permits: any text is refused in one printable line, or is
//! understood and survives its own canonical form.

#![no_main]

use floodgate::core::breaker::{Breaker, Permit};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    match Breaker::parse(text) {
        Ok(breaker) => {
            let canonical = breaker.canonical();
            assert_eq!(Breaker::parse(canonical.as_bytes()), Ok(breaker), "{canonical}");
        }
        Err(refused) => {
            let line = refused.to_string();
            assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{line:?}");
            // Token and reason may each quote 64 bytes, four characters each.
            assert!(line.len() < 700 && line.starts_with("invalid breaker '"), "{line:?}");
        }
    }
    if let Ok(permit) = Permit::parse(text) {
        assert_eq!(Permit::parse(permit.text().as_bytes()), Ok(permit));
    }
});
