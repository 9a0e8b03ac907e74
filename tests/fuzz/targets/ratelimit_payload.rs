//! Forged payloads of a `ratelimit`: refused, or a value that every command can
//! work on.

#![no_main]

use floodgate::types::ratelimit::encoding;
use floodgate::server::main_thread::StandIn;
use floodgate_fuzz::{draw::Draw, values};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut draw = Draw(input);
    let (mut now, cost) = (floodgate_fuzz::draw::START, draw.number());
    draw.step(&mut now);
    let stand_in = StandIn::enter();
    let main = stand_in.main();
    if let Ok(value) = encoding::load(main, encoding::VERSION, draw.0) {
        for now in [now, now.plus(1), now.plus(1_000_000), now.plus(u64::MAX)] {
            values::check(main, &value, now.min(floodgate::core::time::Micros::MAX), cost);
        }
    }
});
