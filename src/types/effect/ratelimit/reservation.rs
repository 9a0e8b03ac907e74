//! Changes of reservations.

use super::changed_value::{ChangedValue, RateLimitKind};
use super::take::{put_taken, read_taken};
use crate::core::limits::{MAX_COUNT, Taken, take};
use crate::core::reservations::MAX_ID;
use crate::core::time::Micros;
use crate::core::wire::{Corrupt, Reader, put_bytes, put_u64};
use crate::server::context;
use crate::types::ratelimit::reservations::{self, Settlement};

/// Units are reserved until they are settled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reserve<'a> {
    /// The canonical text of the limits, unless they are the key's own already.
    pub limits: Option<&'a str>,
    /// The units for each limit.
    pub taken: Taken,
    /// The ID of the reservation.
    pub id: &'a [u8],
    /// The units asked for.
    pub cost: u64,
    /// When the reservation ends.
    pub end: Micros,
}

impl<'a> RateLimitKind<'a> for Reserve<'a> {
    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.id);
        put_u64(out, self.cost);
        put_u64(out, self.end.0);
        put_taken(out, &self.taken);
    }

    fn read(limits: Option<&'a str>, rest: &mut Reader<'a>) -> Result<Self, Corrupt> {
        let (id, cost) = (read_id(rest)?, rest.u64_to(MAX_COUNT)?);
        let end = Micros(rest.u64_to(Micros::MAX.0)?);
        Ok(Self { limits, taken: read_taken(rest)?, id, cost, end })
    }

    fn apply(&self, value: &mut ChangedValue<'_>) -> Result<(), Corrupt> {
        let (main, now) = (value.main, value.now);
        reservations::advance(context::now(main));
        value.update(self.limits, |limits, states, now| take(limits, states, now, &self.taken))?;
        if let Some(value) = value.get_mut() {
            value.rebuild(|full| full.reserve(main, now, self.id, self.cost, self.end, &self.taken));
        }
        Ok(())
    }
}

/// A reservation is settled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settle<'a> {
    /// The ID of the reservation.
    pub id: &'a [u8],
    /// How it is settled.
    pub how: Settlement,
}

impl<'a> RateLimitKind<'a> for Settle<'a> {
    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.id);
        let number = match self.how {
            Settlement::Release => 0,
            Settlement::At(units) => units.saturating_add(1),
        };
        put_u64(out, number);
    }

    fn read(_: Option<&'a str>, rest: &mut Reader<'a>) -> Result<Self, Corrupt> {
        let id = read_id(rest)?;
        let units = rest.u64_to(MAX_COUNT + 1)?.checked_sub(1);
        Ok(Self { id, how: units.map_or(Settlement::Release, Settlement::At) })
    }

    fn apply(&self, value: &mut ChangedValue<'_>) -> Result<(), Corrupt> {
        let (main, now) = (value.main, value.now);
        value.rebuild(|full| full.settle(main, now, self.id, self.how));
        Ok(())
    }
}

/// A reservation gets another end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Renew<'a> {
    /// The ID of the reservation.
    pub id: &'a [u8],
    /// The new end.
    pub end: Micros,
}

impl<'a> RateLimitKind<'a> for Renew<'a> {
    fn put(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.id);
        put_u64(out, self.end.0);
    }

    fn read(_: Option<&'a str>, rest: &mut Reader<'a>) -> Result<Self, Corrupt> {
        Ok(Self { id: read_id(rest)?, end: Micros(rest.u64_to(Micros::MAX.0)?) })
    }

    fn apply(&self, value: &mut ChangedValue<'_>) -> Result<(), Corrupt> {
        let (main, now) = (value.main, value.now);
        value.rebuild(|full| {
            full.sweep(main, now);
            if let Some(reservations) = &mut full.reservations {
                reservations.renew(main, self.id, now, self.end);
            }
        });
        Ok(())
    }
}

fn read_id<'a>(rest: &mut Reader<'a>) -> Result<&'a [u8], Corrupt> {
    match rest.bytes(MAX_ID)? {
        [] => Err(Corrupt("empty id")),
        id => Ok(id),
    }
}
