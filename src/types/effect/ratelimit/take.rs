//! Changes that count units on limits, and the change that only records the time on them.

use super::changed_value::{ChangedValue, RateLimitKind};
use crate::core::limits::{MAX_COUNT, MAX_LIMITS, Taken, charge_all, take, touch};
use crate::core::wire::{Corrupt, Reader, put_u64};

/// Units are taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TakeUnits<'a> {
    /// The canonical text of the limits, unless they are the key's own already.
    pub limits: Option<&'a str>,
    /// The units for each limit.
    pub taken: Taken,
}

impl<'a> RateLimitKind<'a> for TakeUnits<'a> {
    fn put(&self, out: &mut Vec<u8>) {
        put_taken(out, &self.taken);
    }

    fn read(limits: Option<&'a str>, rest: &mut Reader<'a>) -> Result<Self, Corrupt> {
        Ok(Self { limits, taken: read_taken(rest)? })
    }

    fn apply(&self, value: &mut ChangedValue<'_>) -> Result<(), Corrupt> {
        value.update(self.limits, |limits, states, now| take(limits, states, now, &self.taken))?;
        value.grant(&self.taken);
        Ok(())
    }
}

/// Units are charged, whether they fit or not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChargeUnits<'a> {
    /// The same as for [`TakeUnits`].
    pub limits: Option<&'a str>,
    /// The units for each limit.
    pub taken: Taken,
    /// The units that a tracked key counts as used.
    pub used: Option<u64>,
}

impl<'a> RateLimitKind<'a> for ChargeUnits<'a> {
    fn put(&self, out: &mut Vec<u8>) {
        put_u64(out, self.used.map_or(0, |units| units.saturating_add(1)));
        put_taken(out, &self.taken);
    }

    fn read(limits: Option<&'a str>, rest: &mut Reader<'a>) -> Result<Self, Corrupt> {
        let used = rest.u64_to(MAX_COUNT + 1)?.checked_sub(1);
        Ok(Self { limits, taken: read_taken(rest)?, used })
    }

    fn apply(&self, value: &mut ChangedValue<'_>) -> Result<(), Corrupt> {
        value.update(self.limits, |limits, states, now| charge_all(limits, states, now, &self.taken))?;
        value.grant(&self.taken);
        if let Some(units) = self.used {
            let (now, units) = (value.now, i64::try_from(units).unwrap_or(i64::MAX));
            value.count(|usage| usage.corrected(now, units));
        }
        Ok(())
    }
}

/// Nothing is taken from these limits, or from the key's own, but a clock that stepped back is
/// recorded. Version 0.1 let a denied call change the limits.
impl<'a> RateLimitKind<'a> for Option<&'a str> {
    fn put(&self, _: &mut Vec<u8>) {}

    fn read(limits: Option<&'a str>, _: &mut Reader<'a>) -> Result<Self, Corrupt> {
        Ok(limits)
    }

    fn apply(&self, value: &mut ChangedValue<'_>) -> Result<(), Corrupt> {
        value.update(*self, touch)
    }
}

/// Appends the units of each limit, up to the last that has some. Nothing may follow.
pub(super) fn put_taken(out: &mut Vec<u8>, taken: &Taken) {
    let all = taken.as_array();
    let used = all.iter().rposition(|&units| units > 0).map_or(0, |last| last + 1);
    all.iter().take(used).for_each(|&units| put_u64(out, units));
}

/// Reads the rest of the payload as units of each limit.
pub(super) fn read_taken(rest: &mut Reader<'_>) -> Result<Taken, Corrupt> {
    let mut units = [0; MAX_LIMITS];
    let mut count = 0;
    // Every number is accepted: CL.THROTTLE takes up to 2^63 - 1, and counting saturates.
    while !rest.is_empty() {
        *units.get_mut(count).ok_or(Corrupt("too many limits"))? = rest.u64()?;
        count += 1;
    }
    Ok(Taken::new(units))
}
