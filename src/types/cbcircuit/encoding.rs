//! How a `cbcircuit` is stored: in RDB, DUMP, AOF and digests.
//!
//! A payload is a row of [sections](crate::types::tlv), as that of a `ratelimit` is.

use super::rules;
use super::{CbCircuit, FROM_CALLER, GIVEN_BY_REPORT, epochs, state_counts};
use crate::core::breaker::{Circuit, TEXT_BYTES};
use crate::core::time::Micros;
use crate::core::wire::{Corrupt, Reader, put_bytes, put_u64};
use crate::server::context;
use crate::server::main_thread::MainThread;
use crate::types::cbcircuit::BreakerPin;
use crate::types::cbcircuit::rules::BreakerRef;
use crate::types::tlv::{OPTIONAL, Sections, Writer};
use crate::types::until::{Until, Validity};

/// The encoding that this version writes.
pub const VERSION: u16 = 1;

/// A circuit as version 0.1 wrote it.
const CIRCUIT_0_1: u64 = 1;
const GIVEN: u64 = 2;
const PIN: u64 = 3;
const CIRCUIT: u64 = 4;

/// Appends the whole `value`.
pub fn save(value: &CbCircuit, out: &mut Vec<u8>) {
    let mut sections = Writer::new(out);
    if let Some(given) = value.given() {
        sections.put(GIVEN, |body| put_rule(body, given));
    }
    if let Some(pin) = &value.0.pin {
        sections.put(PIN, |body| {
            put_rule(body, &pin.rule);
            pin.validity.recorded().put(body);
            put_u64(body, pin.validity.since().0);
        });
    }
    sections.put(CIRCUIT, |body| {
        put_rule(body, value.rule());
        body.push(value.circuit().marks());
        value.circuit().write(body);
    });
}

/// Reads the payload that [`save`] wrote.
///
/// # Errors
/// [`Corrupt`] if the payload is cut, malformed or impossible.
pub fn load(main: MainThread, version: u16, payload: &[u8]) -> Result<CbCircuit, Corrupt> {
    if version != VERSION {
        return Err(Corrupt("unknown encoding version"));
    }
    state_counts::advance(context::now(main));
    let (mut circuit, mut given, mut pin, mut marks) = (None, None, None, None);
    let mut sections = Sections::new(payload);
    while let Some((tag, mut body)) = sections.read()? {
        match tag {
            CIRCUIT_0_1 => {
                let rule = read_rule(main, &mut body)?;
                circuit = Some((Circuit::read_0_1(&mut body, rule.breaker())?, rule));
            }
            CIRCUIT if circuit.is_some() => return Err(Corrupt("two circuits")),
            CIRCUIT => {
                let rule = read_rule(main, &mut body)?;
                let bits = body.byte()?;
                if bits & !(FROM_CALLER | GIVEN_BY_REPORT) != 0 {
                    return Err(Corrupt("unknown marks of a circuit"));
                }
                marks = Some(bits);
                circuit = Some((Circuit::read(&mut body, rule.breaker())?, rule));
            }
            GIVEN => given = Some(read_rule(main, &mut body)?),
            PIN => {
                let (rule, until) = (read_rule(main, &mut body)?, Until::read(&mut body)?);
                // Version 0.1 did not store when the pin began.
                let began = if body.is_empty() { 0 } else { body.u64_to(Micros::MAX.0)? };
                pin = Some(BreakerPin { rule, validity: Validity::new(Micros(began), until) });
            }
            OPTIONAL.. => continue,
            _ => return Err(Corrupt("unknown section")),
        }
        body.end()?;
    }
    let (circuit, rule) = circuit.ok_or(Corrupt("no circuit"))?;
    epochs::learn(main, circuit.epoch());
    let mut value = CbCircuit::of(circuit, rule, given, pin);
    if let Some(marks) = marks {
        value.0.circuit.mark(marks);
    }
    Ok(value)
}

/// Appends a breaker as text.
pub(in crate::types) fn put_rule(out: &mut Vec<u8>, rule: &BreakerRef) {
    put_bytes(out, rule.canonical().as_bytes());
}

/// Reads the text that [`put_rule`] wrote.
pub(in crate::types) fn read_rule(main: MainThread, body: &mut Reader<'_>) -> Result<BreakerRef, Corrupt> {
    rules::find_stored(main, body.bytes(TEXT_BYTES)?).map_err(|_| Corrupt("malformed breaker"))
}
