//! How a `cbcircuit` is stored: in RDB, DUMP, AOF and digests.
//!
//! A payload is a row of [sections](crate::types::tlv), as that of a
//! `ratelimit`.

use super::rules;
use super::{CbCircuit, epochs, state_counts};
use crate::core::breaker::{Circuit, TEXT_BYTES};
use crate::core::wire::{Corrupt, Reader, put_bytes};
use crate::server::context;
use crate::server::main_thread::MainThread;
use crate::types::cbcircuit::BreakerPin;
use crate::types::cbcircuit::rules::BreakerRef;
use crate::types::ratelimit::encoding::{put_until, read_until};
use crate::types::tlv::{OPTIONAL, Sections, Writer};

/// The encoding that this version writes.
pub const VERSION: u16 = 1;

const CIRCUIT: u64 = 1;
const GIVEN: u64 = 2;
const PIN: u64 = 3;

/// Appends everything that `value` is.
pub fn save(value: &CbCircuit, out: &mut Vec<u8>) {
    let mut sections = Writer::new(out);
    sections.put(CIRCUIT, |body| {
        put_rule(body, value.rule());
        value.circuit().write(body);
    });
    if let Some(given) = value.given() {
        sections.put(GIVEN, |body| put_rule(body, given));
    }
    if let Some(pin) = &value.0.pin {
        sections.put(PIN, |body| {
            put_rule(body, &pin.rule);
            put_until(body, pin.until);
        });
    }
}

/// Reads what [`save`] wrote.
///
/// # Errors
/// Where the payload is cut, malformed or impossible.
pub fn load(main: MainThread, version: u16, payload: &[u8]) -> Result<CbCircuit, Corrupt> {
    if version != VERSION {
        return Err(Corrupt("unknown encoding version"));
    }
    state_counts::advance(context::now(main));
    let (mut circuit, mut given, mut pin) = (None, None, None);
    let mut sections = Sections::new(payload);
    while let Some((tag, mut body)) = sections.read()? {
        match tag {
            CIRCUIT => {
                let rule = read_rule(main, &mut body)?;
                circuit = Some((Circuit::read(&mut body, rule.breaker())?, rule));
            }
            GIVEN => given = Some(read_rule(main, &mut body)?),
            PIN => {
                pin = Some(BreakerPin { rule: read_rule(main, &mut body)?, until: read_until(&mut body)? });
            }
            OPTIONAL.. => continue,
            _ => return Err(Corrupt("unknown section")),
        }
        body.end()?;
    }
    let (circuit, rule) = circuit.ok_or(Corrupt("no circuit"))?;
    epochs::learn(main, circuit.epoch());
    Ok(CbCircuit::of(circuit, rule, given, pin))
}

/// A breaker as text.
pub(in crate::types) fn put_rule(out: &mut Vec<u8>, rule: &BreakerRef) {
    put_bytes(out, rule.canonical().as_bytes());
}

/// What [`put_rule`] wrote.
pub(in crate::types) fn read_rule(main: MainThread, body: &mut Reader<'_>) -> Result<BreakerRef, Corrupt> {
    rules::find(main, body.bytes(TEXT_BYTES)?).map_err(|_| Corrupt("malformed breaker"))
}
