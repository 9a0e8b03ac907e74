//! Forged payloads of a circuit: refused, or a circuit that works on from there.

#![no_main]

use floodgate::core::breaker::{Breaker, Circuit};
use floodgate::core::wire::Reader;
use floodgate_fuzz::circuits::{BREAKERS, History, reload};
use floodgate_fuzz::draw::{Draw, START};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut draw = Draw(input);
    let Ok(breaker) = Breaker::parse(draw.one_of(BREAKERS).as_bytes()) else { return };
    let payload = draw.bytes();
    let mut reader = Reader::new(payload);
    let Ok(circuit) = Circuit::read(&mut reader, &breaker) else { return };
    assert_eq!(reload(&circuit, &breaker), circuit);
    let mut now = START;
    draw.step(&mut now);
    History::new(breaker, circuit, now).play(&mut draw);
});
