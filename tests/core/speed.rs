//! How long one decision takes. Run with `--ignored --nocapture` and `--release`.

use crate::world::World;
use floodgate::core::clock::Micros;
use floodgate::core::limits::{Request, decide, take};
use std::hint::black_box;
use std::time::Instant;

#[test]
#[ignore = "a measurement, not a check"]
fn decide_and_take() {
    for text in [
        "5/s",
        "64/s",
        "100/s",
        "100000/m",
        "bucket:10/s:burst=50",
        "fixed:1000/m",
        "fixed:1000/d:tz=Europe/Paris",
        "10/s,1000/h",
        "90000/m,60/m:per=call,bucket:5/s:shadow",
    ] {
        let mut world = World::new(text);
        let limits = world.limits.clone();
        let rounds = 2_000_000u64;
        let mut granted = 0u64;
        let begin = Instant::now();
        for round in 0..rounds {
            let now = Micros(1_800_000_000_000_000 + round * 9973);
            let decision = decide(limits.as_slice(), &world.states, now, black_box(&Request::of(1)));
            if decision.is_granted() {
                granted += 1;
                take(limits.as_slice(), &mut world.states, now, &decision.taken);
            }
        }
        let each = begin.elapsed().as_nanos() as u64 / rounds;
        println!("{text:45} {each:4} ns, {granted} of {rounds} granted");
    }
}
