//! How a `cbcircuit` is stored: in RDB, DUMP, AOF and digests.
//!
//! A payload is a row of sections like that of a `ratelimit`, each a tag, a
//! length and that many bytes, in the order of their tags. A later minor
//! version may add sections with tags from `OPTIONAL` on; this version passes
//! over those it does not know, and refuses everything else it does not know.

use super::rules::{self, Rule};
use super::{CbCircuit, Pin, epochs};
use crate::core::breaker::{Circuit, TEXT_BYTES};
use crate::core::wire::{Corrupt, Reader, put_bytes, put_u64};
use crate::server::main_thread::MainThread;
use crate::types::ratelimit::encoding::{put_until, read_until};

/// The encoding that this version writes.
pub const VERSION: u16 = 1;

const CIRCUIT: u64 = 1;
const GIVEN: u64 = 2;
const PIN: u64 = 3;
/// Sections from this tag on may be passed over by a version that does not know them.
const OPTIONAL: u64 = 64;

/// Appends everything that `value` is.
pub fn save(value: &CbCircuit, out: &mut Vec<u8>) {
    let mut section = Vec::new();
    let mut put = |tag: u64, body: &mut dyn FnMut(&mut Vec<u8>)| {
        section.clear();
        body(&mut section);
        put_u64(out, tag);
        put_bytes(out, &section);
    };
    put(CIRCUIT, &mut |body| {
        put_rule(body, value.rule());
        value.circuit().write(body);
    });
    if let Some(given) = value.given() {
        put(GIVEN, &mut |body| put_rule(body, given));
    }
    if let Some(pin) = &value.0.pin {
        put(PIN, &mut |body| {
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
    let (mut circuit, mut given, mut pin) = (None, None, None);
    let mut rest = Reader::new(payload);
    let mut last = 0;
    while !rest.is_empty() {
        let tag = rest.u64()?;
        if tag <= last {
            return Err(Corrupt("sections out of order"));
        }
        last = tag;
        let mut body = Reader::new(rest.bytes(payload.len())?);
        match tag {
            CIRCUIT => {
                let rule = read_rule(main, &mut body)?;
                circuit = Some((Circuit::read(&mut body, rule.breaker())?, rule));
            }
            GIVEN => given = Some(read_rule(main, &mut body)?),
            PIN => pin = Some(Pin { rule: read_rule(main, &mut body)?, until: read_until(&mut body)? }),
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
pub(super) fn put_rule(out: &mut Vec<u8>, rule: &Rule) {
    put_bytes(out, rule.canonical().as_bytes());
}

/// What [`put_rule`] wrote.
pub(super) fn read_rule(main: MainThread, body: &mut Reader<'_>) -> Result<Rule, Corrupt> {
    rules::find(main, body.bytes(TEXT_BYTES)?).map_err(|_| Corrupt("malformed breaker"))
}
