//! What must hold of every value of a key, however it came about.

use floodgate::core::retry_after::RetryAfter;
use floodgate::core::time::Micros;
use floodgate::core::limits::{Request, decide, limit_quota};
use floodgate::server::keys::data_type::NativeType;
use floodgate::server::main_thread::MainThread;
use floodgate::types::intern;
use floodgate::types::ratelimit::{Lifetime, RateLimit, encoding};

/// The value as bytes.
pub fn bytes_of(main: MainThread, value: &RateLimit) -> Vec<u8> {
    let mut out = Vec::new();
    encoding::save(value, main, &mut out);
    out
}

/// Looks at a value in every way, at a time and for a cost: nothing panics, and
/// what is said agrees with itself. What it saves loads again as the same.
pub fn check(main: MainThread, value: &RateLimit, now: Micros, cost: u64) {
    let cost = cost.max(1);
    let saved = bytes_of(main, value);
    assert!(!saved.is_empty() || value.limits_id().is_none());
    if let Lifetime::Until(until) = value.lifetime(main, now) {
        assert!(until.lasts(now));
    }
    if !saved.is_empty() {
        let again = encoding::load(main, encoding::VERSION, &saved).expect("what was saved loads");
        assert_eq!(bytes_of(main, &again), saved);
    }
    assert_eq!(bytes_of(main, &value.duplicate(main)), saved);
    assert!(value.memory() > 0 && value.free_effort() > 0);
    value.pin(now);
    value.block(now);
    let Some(id) = value.limits_id() else { return };
    let set = intern::get(main, id);
    value.with_states(|states| {
        for (limit, state) in set.limits().iter().zip(states) {
            limit_quota(limit, state, now, cost);
        }
        for partial in [false, true] {
            for critical in [false, true] {
                let request = Request { cost, calls: 1, partial, critical };
                let decision = decide(set.limits(), states, now, &request);
                assert!(decision.granted <= cost);
                assert_eq!(decision.granted == 0, decision.status.retry != RetryAfter::Now);
            }
        }
    });
}
