//! How a `ratelimit` is stored: in RDB, DUMP, AOF and digests.
//!
//! A payload is a row of [sections](crate::types::tlv).

use super::RateLimit;
use super::tracked::Tracked;
use crate::core::limits::{Limit, MAX_LIMITS, MAX_ORPHANS, Orphan, State};
use crate::core::time::Micros;
use crate::core::usage::UsageSeries;
use crate::core::wire::{Corrupt, Reader, put_bytes, put_u64};
use crate::server::context;
use crate::server::keys::tagged_box::OneOf;
use crate::server::main_thread::MainThread;
use crate::types::intern;
use crate::types::operator::{Block, Pin};
use crate::types::ratelimit::layout::Full;
use crate::types::ratelimit::{reservations, reserved};
use crate::types::tlv::{OPTIONAL, Sections, Writer, read_text};
use crate::types::until::Until;

/// The encoding that this version writes.
pub const VERSION: u16 = 1;

const USAGE: u64 = 1;
const ASIDE: u64 = 2;
const PIN: u64 = 3;
const BLOCK: u64 = 4;
/// What was reserved, as 0.1 wrote it: not whose units are whose.
const RESERVATIONS_OF_0_1: u64 = 5;
const RESERVATIONS: u64 = 8;
/// What happened on the key, as 0.1 wrote it.
const HISTORY_OF_0_1: u64 = 64;
const HISTORY: u64 = 65;
/// Empty: the key's last change was made under the debug clock.
const WITHOUT_EXPIRY: u64 = 80;

/// The longest reason of a block.
pub const LONGEST_REASON: usize = 1024;

/// Appends everything that `value` is.
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
    if !full.orphans.is_empty() {
        sections.put(ASIDE, |body| {
            for orphan in &full.orphans {
                put_bytes(body, orphan.limit.stored().as_bytes());
                orphan.state.write(body);
            }
        });
    }
    if let Some(pin) = &full.pin {
        sections.put(PIN, |body| {
            put_bytes(body, pin.text.as_bytes());
            put_until(body, pin.until);
        });
    }
    if let Some(block) = &full.block {
        sections.put(BLOCK, |body| {
            put_bytes(body, &block.reason);
            put_until(body, block.until);
        });
    }
    if let Some(reservations) = value.reservations().filter(|all| !all.book().is_empty()) {
        sections.put(RESERVATIONS, |body| reserved::save(main, reservations, body));
    }
    if let Some(usage) = &full.usage {
        sections.put(HISTORY, |body| usage.write(body));
    }
}

/// Reads what [`save`] wrote.
///
/// # Errors
/// Where the payload is cut, malformed or impossible.
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
            ASIDE => full.orphans = read_aside(&mut body)?,
            PIN => {
                let text = read_text(&mut body)?;
                crate::core::limits::Expression::parse(text.as_bytes())
                    .map_err(|_| Corrupt("malformed pin"))?;
                full.pin = Some(Box::new(Pin { text: text.into(), until: read_until(&mut body)? }));
            }
            BLOCK => {
                let reason = body.bytes(LONGEST_REASON)?.into();
                full.block = Some(Box::new(Block { until: read_until(&mut body)?, reason }));
            }
            RESERVATIONS_OF_0_1 => {
                let reservations = reserved::read_of_0_1(main, &full, &mut body)?;
                full.reservations = Some(Box::new(reservations));
            }
            RESERVATIONS if full.reservations.is_some() => return Err(Corrupt("reservations twice")),
            RESERVATIONS => full.reservations = Some(Box::new(reserved::read(main, &mut body)?)),
            WITHOUT_EXPIRY => without_expiry = true,
            HISTORY_OF_0_1 => full.usage = Some(Tracked::new(UsageSeries::read_of_0_1(&mut body)?)),
            HISTORY if full.usage.is_some() => return Err(Corrupt("two histories")),
            HISTORY => full.usage = Some(Tracked::new(UsageSeries::read(&mut body)?)),
            unknown if unknown >= OPTIONAL => continue,
            _ => return Err(Corrupt("unknown section")),
        }
        body.end()?;
    }
    let Full { limits, states: _, orphans, pin, block, reservations, usage } = &full;
    if limits.is_none()
        && orphans.is_empty()
        && pin.is_none()
        && block.is_none()
        && reservations.is_none()
        && usage.is_none()
    {
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

fn read_aside(body: &mut Reader<'_>) -> Result<Vec<Orphan>, Corrupt> {
    let mut orphans = Vec::new();
    while !body.is_empty() {
        if orphans.len() == MAX_ORPHANS {
            return Err(Corrupt("too many limits set aside"));
        }
        let limit =
            Limit::parse_stored(read_text(body)?.as_bytes()).map_err(|_| Corrupt("malformed limit"))?;
        orphans.push(Orphan { state: State::read(body, limit.rule())?, limit });
    }
    if orphans.is_empty() { Err(Corrupt("empty section")) } else { Ok(orphans) }
}

/// A moment, or 0 for "forever".
pub fn put_until(out: &mut Vec<u8>, until: Until) {
    put_u64(
        out,
        match until {
            Until::Forever => 0,
            Until::At(at) => at.0.max(1),
        },
    );
}

/// What [`put_until`] wrote.
///
/// # Errors
/// When cut or beyond the end of time.
pub fn read_until(body: &mut Reader<'_>) -> Result<Until, Corrupt> {
    Ok(match body.u64_to(Micros::MAX.0)? {
        0 => Until::Forever,
        at => Until::At(Micros(at)),
    })
}
