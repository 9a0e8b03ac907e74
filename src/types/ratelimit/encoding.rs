//! How a `ratelimit` is stored: in RDB, DUMP, AOF and digests.
//!
//! A payload is a row of [sections](crate::types::tlv).

use super::RateLimit;
use super::tracked::Tracked;
use crate::core::limits::{Limit, MAX_LIMITS, MAX_UNLISTED, State, UnlistedLimit};
use crate::core::time::Micros;
use crate::core::usage::UsageSeries;
use crate::core::wire::{Corrupt, Reader, put_bytes, put_u64};
use crate::server::context;
use crate::server::keys::tagged_box::OneOf;
use crate::server::main_thread::MainThread;
use crate::types::intern;
use crate::types::operator::{Block, Pin};
use crate::types::ratelimit::full::Full;
use crate::types::ratelimit::{reservations, reserved};
use crate::types::tlv::{OPTIONAL, Sections, Writer, read_text};
use crate::types::until::{Until, Validity};

/// The encoding that this version writes.
pub const VERSION: u16 = 1;

const USAGE: u64 = 1;
const UNLISTED: u64 = 2;
const PIN: u64 = 3;
const BLOCK: u64 = 4;
/// Reservations as version 0.1 wrote them, without the units of each on each limit.
const RESERVATIONS_OF_0_1: u64 = 5;
const RESERVATIONS: u64 = 8;
/// The usage of a tracked key as version 0.1 wrote it.
const HISTORY_OF_0_1: u64 = 64;
const HISTORY: u64 = 65;
/// When pin and block began; 0 for one that does not exist or does not end. Version 0.1 did not
/// write this section. A pin or block of 0.1 ends at its recorded moment, even if the clock steps
/// back.
const BEGINNINGS: u64 = 66;
/// An empty section: the key's last change was made under the debug clock.
const WITHOUT_EXPIRY: u64 = 80;

/// The longest reason of a block in bytes.
pub const LONGEST_REASON: usize = 1024;

/// Appends the whole `value`.
pub fn save(value: &RateLimit, main: MainThread, out: &mut Vec<u8>) {
    let mut sections = Writer::new(out);
    save_contents(value, main, &mut sections);
    if value.is_without_expiry() {
        sections.put(WITHOUT_EXPIRY, |_| {});
    }
}

fn save_contents(value: &RateLimit, main: MainThread, sections: &mut Writer<'_>) {
    if let Some(id) = value.limits_id() {
        sections.put(USAGE, |body| {
            put_bytes(body, intern::get(main, id).canonical().as_bytes());
            value.with_states(|states| states.iter().for_each(|state| state.write(body)));
        });
    }
    let OneOf::Third(full) = value.0.get() else { return };
    if !full.unlisted.is_empty() {
        sections.put(UNLISTED, |body| {
            for one in &*full.unlisted {
                put_bytes(body, one.limit.stored().as_bytes());
                one.state.write(body);
            }
        });
    }
    if let Some(pin) = &full.pin {
        sections.put(PIN, |body| {
            put_bytes(body, pin.text.as_bytes());
            pin.validity.recorded().put(body);
        });
    }
    if let Some(block) = &full.block {
        sections.put(BLOCK, |body| {
            put_bytes(body, &block.reason);
            block.validity.recorded().put(body);
        });
    }
    if let Some(reservations) = value.reservations().filter(|all| !all.book().is_empty()) {
        sections.put(RESERVATIONS, |body| reserved::save(main, reservations, body));
    }
    if let Some(usage) = &full.usage {
        sections.put(HISTORY, |body| usage.write(body));
    }
    let beginnings = [
        full.pin.as_ref().map_or(Micros::default(), |pin| pin.validity.since()),
        full.block.as_ref().map_or(Micros::default(), |block| block.validity.since()),
    ];
    if beginnings != [Micros::default(); 2] {
        sections.put(BEGINNINGS, |body| beginnings.iter().for_each(|since| put_u64(body, since.0)));
    }
}

/// Reads the payload that [`save`] wrote.
///
/// # Errors
/// [`Corrupt`] if the payload is cut, malformed or impossible.
pub fn load(main: MainThread, version: u16, payload: &[u8]) -> Result<RateLimit, Corrupt> {
    if version != VERSION {
        return Err(Corrupt("unknown encoding version"));
    }
    reservations::advance(context::now(main));
    let mut full = Full::default();
    let mut without_expiry = false;
    let mut sections = Sections::new(payload);
    while let Some((tag, mut body)) = sections.read()? {
        match tag {
            USAGE => read_usage(main, &mut full, &mut body)?,
            UNLISTED => full.unlisted = read_unlisted(&mut body)?.into(),
            PIN => {
                let text = read_text(&mut body)?;
                crate::core::limits::Expression::parse(text.as_bytes())
                    .map_err(|_| Corrupt("malformed pin"))?;
                full.pin = Some(Box::new(Pin { text: text.into(), validity: read_end(&mut body)? }));
            }
            BLOCK => {
                let reason = body.bytes(LONGEST_REASON)?.into();
                full.block = Some(Box::new(Block { validity: read_end(&mut body)?, reason }));
            }
            RESERVATIONS_OF_0_1 => {
                let reservations = reserved::read_of_0_1(main, &full, &mut body)?;
                full.reservations = Some(Box::new(reservations));
            }
            RESERVATIONS if full.reservations.is_some() => return Err(Corrupt("reservations twice")),
            RESERVATIONS => full.reservations = Some(Box::new(reserved::read(main, &mut body)?)),
            BEGINNINGS => read_beginnings(&mut full, &mut body)?,
            WITHOUT_EXPIRY => without_expiry = true,
            HISTORY_OF_0_1 => full.usage = Some(Tracked::new(UsageSeries::read_of_0_1(&mut body)?)),
            HISTORY if full.usage.is_some() => return Err(Corrupt("two histories")),
            HISTORY => full.usage = Some(Tracked::new(UsageSeries::read(&mut body)?)),
            unknown if unknown >= OPTIONAL => continue,
            _ => return Err(Corrupt("unknown section")),
        }
        body.end()?;
    }
    if full.limits.is_none() && full.is_bare() {
        return Err(Corrupt("empty"));
    }
    let mut value = RateLimit::pack(full);
    value.set_without_expiry(without_expiry);
    Ok(value)
}

fn read_usage(main: MainThread, full: &mut Full, body: &mut Reader<'_>) -> Result<(), Corrupt> {
    let limits = intern::stored(main, read_text(body)?)?;
    full.states = limits
        .get(main)
        .limits()
        .iter()
        .map(|limit| State::read(body, limit.rule()))
        .collect::<Result<_, _>>()?;
    debug_assert!(full.states.len() <= MAX_LIMITS);
    full.limits = Some(limits);
    Ok(())
}

fn read_unlisted(body: &mut Reader<'_>) -> Result<Vec<UnlistedLimit>, Corrupt> {
    let mut unlisted = Vec::new();
    while !body.is_empty() {
        if unlisted.len() == MAX_UNLISTED {
            return Err(Corrupt("too many limits set aside"));
        }
        let limit =
            Limit::parse_stored(read_text(body)?.as_bytes()).map_err(|_| Corrupt("malformed limit"))?;
        unlisted.push(UnlistedLimit { state: State::read(body, limit.rule())?, limit });
    }
    if unlisted.is_empty() { Err(Corrupt("empty section")) } else { Ok(unlisted) }
}

/// Reads the end of something that began at a time that is not known yet.
fn read_end(body: &mut Reader<'_>) -> Result<Validity, Corrupt> {
    Ok(Validity::new(Micros::default(), Until::read(body)?))
}

/// Reads when pin and block began.
fn read_beginnings(full: &mut Full, body: &mut Reader<'_>) -> Result<(), Corrupt> {
    let pin = full.pin.as_mut().map(|pin| &mut pin.validity);
    let block = full.block.as_mut().map(|block| &mut block.validity);
    let mut any = false;
    for validity in [pin, block] {
        let since = Micros(body.u64_to(Micros::MAX.0)?);
        if since == Micros::default() {
            continue;
        }
        let validity = validity.ok_or(Corrupt("the beginning of nothing"))?;
        *validity = Validity::new(since, validity.recorded());
        if validity.since() != since {
            return Err(Corrupt("it begins after its end"));
        }
        any = true;
    }
    if any { Ok(()) } else { Err(Corrupt("empty section")) }
}
