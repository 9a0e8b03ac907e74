//! Random calls on a circuit that began honestly.

#![no_main]

use floodgate::core::breaker::{Breaker, Circuit};
use floodgate_fuzz::circuits::{BREAKERS, History};
use floodgate_fuzz::draw::{Draw, START};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut draw = Draw(input);
    let Ok(breaker) = Breaker::parse(draw.one_of(BREAKERS).as_bytes()) else { return };
    let circuit = Circuit::new(&breaker, START, draw.number());
    History::new(breaker, circuit, START).play(&mut draw);
});
